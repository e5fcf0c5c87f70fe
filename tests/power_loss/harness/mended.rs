//! Recoveries that are cut off: by the death of who recovers, or by the next loss of power, up to three times one after the other. The last one has
//! to show a state that was committed, whatever those before it left half done.
//!
//! What a recovery writes over is what the next one starts from. So the histories here have what makes that hurt: words that several records of the
//! log change, records whose bodies lie where older ones wrote (the heap was cut since), failed syncs that have everything written anew among readers.

use super::Outcome;
use super::budget::Budget;
use super::model::{Kind, State, transact};
use super::oracle::{Bench, find, guarded};
use super::recording::{Ack, Recorder, Recording, boot, options};
use crate::common::mortal;
use heapfile::testing::{self, Break, Call, Recipe, SplitMix64, sabotage};
use heapfile::{Arena, Durability, Locking};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

/// Failpoints and steps of the disk that a call passes before it dies: few and many alike.
fn points(rng: &mut SplitMix64) -> u64 {
    let most = [6, 16, 32, 64][rng.below(4) as usize];
    rng.below(most)
}

impl Bench {
    /// The state that the image recovers to, one of those allowed.
    fn recovered(&mut self, image: &[u8], allowed: &[Arc<State>]) -> Result<Arc<State>, String> {
        self.boot();
        self.disk.reset(image).map_err(|e| e.to_string())?;
        guarded(|| {
            let arena =
                testing::open(&self.disk, &self.options).map_err(|e| format!("it does not open: {e}"))?;
            find(&arena, allowed).map(|found| allowed[found].clone())
        })
    }

    /// Opens what the disk holds, up to `times` times, but dies at it; after that the power goes sometimes, and what the disk may hold then takes the
    /// place of what it held. Stops when a recovery is done, as the one that was not cut off.
    pub(crate) fn cut_recoveries_off(&mut self, times: u64, rng: &mut SplitMix64) -> Result<(), String> {
        let power = rng.below(2) == 0;
        let wrong = |e: heapfile::Error| format!("a recovery to be cut off: {e}");
        self.disk.record(power).map_err(wrong)?;
        let mut image = Vec::new();
        for _ in 0..times {
            let open = || testing::open(&self.disk, &self.options).map(drop);
            let survived = guarded(|| Ok(mortal(points(rng), open)));
            testing::die_after(None);
            if survived?.is_some() {
                break;
            }
            if power && rng.below(2) == 0 {
                let history = self.disk.history();
                let crash = history.at(rng.below(history.points() as u64) as usize);
                let recipes = [Recipe::Old, Recipe::New, Recipe::Sampled(rng.next())];
                crash.build(recipes[rng.below(3) as usize], &mut image);
                self.disk.reset(&image).map_err(wrong)?;
                self.boot();
            }
        }
        self.disk.record(false).map_err(wrong)
    }
}

/// A history in the making, of which much is cut off.
struct Perils {
    recorder: Recorder,
    rng: SplitMix64,
    /// Another handle, which goes on if the first one dies.
    bystander: Option<Arena>,
    /// Left out in the threads.
    rule: Option<Break>,
}

impl Perils {
    /// One of the states allowed, as a reader finds it.
    fn look(&self, allowed: &[Arc<State>]) -> Result<Arc<State>, String> {
        match find(self.recorder.arena(), allowed) {
            Ok(found) => Ok(allowed[found].clone()),
            Err(what) => Err(format!("seed {}: after what was cut off: {what}", self.recorder.seed)),
        }
    }

    fn open(&self) -> Arena {
        testing::open(&self.recorder.disk, &self.recorder.options).unwrap()
    }

    /// Opens another handle, or not.
    fn may_stand_by(&mut self) {
        if self.rng.below(2) == 0 && self.bystander.is_none() {
            self.bystander = Some(self.open());
        }
    }

    /// The handle does something and may die of it; whether it did. Then the bystander goes on, or one that is opened.
    ///
    /// It dies in a thread of its own: what a thread knows of its handles dies with a process.
    fn risk(&mut self, work: impl FnOnce(&Arena) + Send) -> bool {
        self.may_stand_by();
        let (arena, rule, points) = (self.recorder.take_arena(), self.rule, points(&mut self.rng));
        let process = || {
            boot(0);
            sabotage(rule);
            let survived = mortal(points, || work(&arena)).is_some();
            survived.then_some(arena)
        };
        let survivor = thread::scope(|scope| scope.spawn(process).join());
        let survivor = survivor.unwrap_or_else(|panic| resume_unwind(panic));
        let died = survivor.is_none();
        let next = survivor.or_else(|| self.bystander.take()).unwrap_or_else(|| self.open());
        self.recorder.put_arena(next);
        died
    }

    /// Whoever completes what was left dies of that too, up to three times. Then somebody reads.
    fn mend(&mut self, allowed: &[Arc<State>]) -> Result<(), String> {
        for _ in 0..self.rng.below(4) {
            let reads = self.rng.below(3) == 0;
            let died = self.risk(|arena| match reads {
                true => drop(arena.read().unwrap()),
                false => drop(arena.write().unwrap()),
            });
            if !died || self.rng.below(2) == 0 {
                break;
            }
        }
        self.look(allowed).map(drop)
    }

    /// A commit that may be cut off, and so may the recoveries after it.
    fn commit(&mut self, kind: Kind) -> Result<(), String> {
        let (begun, before) = (self.recorder.disk.steps(), self.recorder.state());
        let (mut next, mut own) = (None, SplitMix64(self.rng.next()));
        let died = self.risk(|arena| {
            let pending = transact(arena, &before, kind, &mut own).unwrap();
            next = Some(Arc::new(pending.next.clone()));
            pending.commit().unwrap();
        });
        let mut allowed = Vec::from_iter(next);
        if died {
            allowed.push(before);
        }
        self.mend(&allowed)?;
        // Whoever writes completes what a reader may not have seen.
        drop(self.recorder.arena().write().map_err(|e| format!("seed {}: {e}", self.recorder.seed))?);
        let found = self.look(&allowed)?;
        self.recorder.acks.push(Ack::new(begun, self.recorder.disk.steps(), found));
        Ok(())
    }

    /// Anything that leaves the state as it is, and may be cut off.
    fn upkeep(&mut self, work: impl FnOnce(&Arena) + Send) -> Result<(), String> {
        let state = self.recorder.state();
        self.risk(work);
        self.mend(&[state])
    }

    /// The heap becomes short, and the body of a long record comes to lie where it was; the log still has what was done to it there.
    fn body_over_cut(&mut self) -> Result<(), String> {
        self.recorder.commit(Kind::FreeLarge);
        let points = self.rng.below(12);
        self.upkeep(|arena| {
            testing::at_failpoint("commit: done", move || testing::die_after(Some(points)));
            _ = arena.shrink().unwrap();
        })?;
        let kind = [Kind::Spill, Kind::Spill, Kind::Pages][self.rng.below(3) as usize];
        self.commit(kind)
    }

    /// A sync fails; the next to write writes everything anew.
    fn sync_fails(&mut self) -> Result<(), String> {
        self.may_stand_by();
        let (recorder, state) = (&self.recorder, self.recorder.state());
        recorder.disk.fail(Call::Sync, 0, 5);
        let outcome = recorder.arena().checkpoint().and_then(|()| recorder.arena().sync());
        let struck = recorder.disk.clear_faults() == 0;
        assert_eq!(struck, outcome.is_err(), "seed {}: {outcome:?}", recorder.seed);
        self.mend(&[state])
    }
}

fn history(seed: u64, durability: Durability, rule: Option<Break>) -> Result<Recording, String> {
    let mut rng = SplitMix64(seed);
    let locking = [Locking::Shared, Locking::File][rng.below(2) as usize];
    let recorder = Recorder::create_with(seed, options(durability).locking(locking));
    let mut perils = Perils { recorder, rng, bystander: None, rule };
    for _ in 0..4 {
        for _ in 0..2 + perils.rng.below(3) {
            let kinds = [Kind::Pages, Kind::Small, Kind::Patch, Kind::InPlace];
            perils.recorder.commit(kinds[perils.rng.below(4) as usize]);
        }
        match perils.rng.below(2) {
            0 => perils.sync_fails()?,
            _ => perils.body_over_cut()?,
        }
        if perils.rng.below(4) == 0 {
            perils.upkeep(|arena| arena.checkpoint().unwrap())?;
        }
    }
    drop(perils.bystander);
    Ok(perils.recorder.finish())
}

/// Recoveries from each image are cut off before it is judged. The last one shows what one that is not cut off does: what was whole in the log
/// stays so. `rule` is left out.
pub(crate) fn sweep(bench: &mut Bench, seed: u64, budget: &Budget, rule: Option<Break>) -> Outcome {
    let recording = history(seed, Durability::Power, rule)?;
    let swept = bench.sweep_points(&recording, &budget.sparse(23), |bench, point, image| {
        let mut chance = bench.chance.clone();
        let found = bench.recovered(image, &recording.allowed(point))?;
        bench.boot();
        bench.disk.reset(image).map_err(|e| e.to_string())?;
        bench.cut_recoveries_off(1 + chance.below(3), &mut chance)?;
        bench.judge_disk(&[found], budget.operations(bench.images)).map(drop)
    });
    swept.map_err(|violation| violation.describe(&recording))
}

pub(crate) fn recoveries_cut_off(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    sweep(bench, seed, budget, None)
}

/// Deaths alone; a loss of power is another matter there.
pub(crate) fn recoveries_cut_off_in_a_process_arena(_: &mut Bench, seed: u64, _: &Budget) -> Outcome {
    history(seed, Durability::Process, None).map(|recording| recording.acks.len() as u64)
}
