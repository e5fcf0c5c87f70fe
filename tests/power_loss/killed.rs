//! Deaths of processes at any step, followed by a power cut: what the next process found must not be lost.

use crate::budget::Budget;
use crate::model::{Kind, State, transact};
use crate::oracle::{Bench, find, is_exactly};
use crate::recording::{Ack, Recorder, Recording, mixed, options};
use heapfile::testing::{self, Break, Died, SplitMix64};
use heapfile::{Arena, Durability};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Runs `work` until its process dies; nothing if it did.
fn mortal<T>(points: u64, work: impl FnOnce() -> T) -> Option<T> {
    testing::die_after(Some(points));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    match outcome {
        Ok(value) => {
            testing::die_after(None);
            Some(value)
        }
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// A commit, checkpoint or opening during which the process may die. Another handle, open already or opened then, finds what there is.
fn risk(recorder: &mut Recorder, rng: &mut SplitMix64) {
    let before = recorder.state();
    let begun = recorder.disk.steps();
    let bystander = (rng.below(2) == 0).then(|| testing::open(&recorder.disk, &recorder.options).unwrap());
    let most = [6, 30, 150][rng.below(3) as usize];
    let points = rng.below(most);
    let kind = [Kind::Small, Kind::Pages, Kind::InPlace, Kind::Spill][rng.below(4) as usize];
    let what = rng.below(8);
    let mut arena = Some(recorder.take_arena());
    let mut next: Option<State> = None;
    let survived = mortal(points, || match what {
        0 => arena.as_ref().unwrap().checkpoint().unwrap(),
        1 => {
            drop(arena.take());
            arena = Some(testing::open(&recorder.disk, &recorder.options).unwrap());
        }
        _ => {
            let pending = transact(arena.as_ref().unwrap(), &before, kind, rng).unwrap();
            next = Some(pending.next.clone());
            pending.commit().unwrap();
        }
    });
    let mut allowed = vec![before];
    allowed.extend(next.map(Arc::new));
    if survived.is_some() {
        allowed.drain(..allowed.len() - 1);
    } else {
        drop(arena.take());
        testing::die_after(None);
    }
    let open = || testing::open(&recorder.disk, &recorder.options).unwrap();
    let other = bystander.unwrap_or_else(open);
    find(&other, &allowed).unwrap_or_else(|what| panic!("a reader finds something else: {what}"));
    // Whoever writes completes what was left, durably.
    drop(other.write().unwrap());
    let found = find(&other, &allowed).unwrap_or_else(|what| panic!("the next writer finds {what}"));
    recorder.acks.push(Ack::new(begun, recorder.disk.steps(), allowed[found].clone()));
    recorder.put_arena(other);
}

fn history(seed: u64, durability: Durability) -> Recording {
    let mut recorder = Recorder::create(seed, durability);
    let mut rng = SplitMix64(seed);
    for step in mixed(seed, 6) {
        recorder.step(step);
        risk(&mut recorder, &mut rng);
    }
    recorder.finish()
}

#[test]
fn cuts_after_deaths() {
    let budget = Budget::of(100);
    let mut bench = Bench::new(options(Durability::Power));
    budget.spend("cuts_after_deaths", |seed| {
        let recording = history(seed, Durability::Power);
        bench
            .sweep(&recording, &budget)
            .unwrap_or_else(|violation| violation.report("cuts_after_deaths", &recording))
    });
}

/// Rule 3's control: a record that can be read, but was never flushed, is taken for durable.
#[test]
fn rule_3_readable_is_not_durable() {
    crate::controls::must_be_found(Break::TrustReadable, |seed| history(seed, Durability::Power));
}

/// A `Process` arena survives deaths as well; power cuts are another matter.
#[test]
fn deaths_of_writers_of_a_process_arena() {
    for seed in 1..=10 {
        history(seed, Durability::Process);
    }
}

/// Deaths of all processes at once: what the page cache holds is opened under the same boot.
#[test]
fn all_processes_die() {
    for durability in [Durability::Power, Durability::Process] {
        let (disk, options) = (testing::SimDisk::new().unwrap(), options(durability));
        crate::recording::boot(0);
        let mut arena = testing::create(&disk, &options).unwrap();
        let mut rng = SplitMix64(3);
        let mut state = Arc::new(State::default());
        let mut deaths = 0;
        for points in 0..400 {
            let mut next = None;
            let kind = [Kind::Small, Kind::InPlace, Kind::Spill, Kind::Pages][points as usize % 4];
            let survived = mortal(points / 4, || {
                let pending = transact(&arena, &state, kind, &mut rng).unwrap();
                next = Some(Arc::new(pending.next.clone()));
                pending.commit().unwrap();
            });
            deaths += u64::from(survived.is_none());
            drop(arena);
            testing::die_after(None);
            arena = testing::open(&disk, &options).unwrap();
            let both = [Some(state.clone()).filter(|_| survived.is_none()), next];
            let allowed: Vec<_> = both.into_iter().flatten().collect();
            let found = find(&arena, &allowed).unwrap_or_else(|what| panic!("{durability:?}, {points}: {what}"));
            state = allowed[found].clone();
        }
        is_exactly(&arena, &state).unwrap();
        println!("{durability:?}: {deaths} deaths");
        drop::<Arena>(arena);
    }
}

/// Each commit dies at the same point of its way, if it goes that far: those late ones where it does a checkpoint in
/// passing. The ring goes round meanwhile.
#[test]
fn cuts_after_deaths_at_the_same_point() {
    let mut bench = Bench::new(options(Durability::Power));
    for points in 0..28 {
        let mut recorder = Recorder::create(points, Durability::Power);
        let mut deaths = 0;
        for _ in 0..60 {
            let (begun, before) = (recorder.disk.steps(), recorder.state());
            let arena = recorder.take_arena();
            let mut next = None;
            let survived = mortal(points, || {
                let pending = transact(&arena, &before, Kind::Even, &mut recorder.rng).unwrap();
                next = Some(Arc::new(pending.next.clone()));
                pending.commit().unwrap();
            });
            let mut allowed = vec![before];
            allowed.extend(next);
            let arena = if survived.is_some() {
                arena
            } else {
                deaths += 1;
                drop(arena);
                testing::die_after(None);
                testing::open(&recorder.disk, &recorder.options).unwrap()
            };
            let found = find(&arena, &allowed).unwrap_or_else(|what| panic!("{points}: {what}"));
            recorder.acks.push(Ack::new(begun, recorder.disk.steps(), allowed[found].clone()));
            recorder.put_arena(arena);
            if deaths > 3 {
                break;
            }
        }
        let recording = recorder.finish();
        bench
            .sweep(&recording, &Budget::of(0))
            .unwrap_or_else(|violation| violation.report("cuts_after_deaths_at_the_same_point", &recording));
    }
    println!("cuts_after_deaths_at_the_same_point: {} images", bench.images);
}
