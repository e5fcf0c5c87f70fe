//! Power cuts of a `Process` arena: what was synced is there, or the arena says that it was not synced. Never anything else in silence.

use crate::budget::Budget;
use crate::killed::mortal;
use crate::model::{Kind, State, transact};
use crate::oracle::{Bench, Violation, find, guarded, work};
use crate::recording::{Ack, Recorder, Recording, Step, boot, mixed, options};
use heapfile::testing::{self, Break, SplitMix64};
use heapfile::{Durability, Error, View};
use std::sync::Arc;

/// A sync (one that failed or died is never done), or a commit.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Synced { begun: usize, done: usize, state: Arc<State> },
    Changed { begun: usize },
}

/// A history of commits with syncs between, and what happened when.
fn history(seed: u64) -> (Recording, Vec<Event>) {
    let mut recorder = Recorder::create(seed, Durability::Process);
    let created = recorder.disk.steps();
    let mut events = vec![Event::Synced { begun: 0, done: created, state: recorder.state() }];
    let mut rng = SplitMix64(seed);
    for step in mixed(seed, 16) {
        let begun = recorder.disk.steps();
        let synced = |recorder: &Recorder| Event::Synced {
            begun,
            done: recorder.disk.steps(),
            state: recorder.state(),
        };
        match step {
            // Closing syncs, and a checkpoint is a sync.
            Step::Reopen | Step::Checkpoint => {
                recorder.step(step);
                events.push(synced(&recorder));
            }
            Step::Commit(_) | Step::RollBack(_) | Step::Shrink => {
                recorder.step(step);
                events.push(Event::Changed { begun });
            }
        }
        if rng.below(3) == 0 {
            let begun = recorder.disk.steps();
            recorder.arena().sync().unwrap();
            events.push(Event::Synced { begun, done: recorder.disk.steps(), state: recorder.state() });
        }
    }
    let (begun, state) = (recorder.disk.steps(), recorder.state());
    let recording = recorder.finish();
    events.push(Event::Synced { begun, done: recording.history.points() - 1, state });
    (recording, events)
}

/// The same, with deaths in the middle of commits and syncs; a handle that was open all the while, or a new one, goes on.
fn history_with_deaths(seed: u64) -> (Recording, Vec<Event>) {
    let mut recorder = Recorder::create(seed, Durability::Process);
    let mut events = vec![Event::Synced { begun: 0, done: recorder.disk.steps(), state: recorder.state() }];
    let mut rng = SplitMix64(seed);
    for _ in 0..24 {
        let (begun, before) = (recorder.disk.steps(), recorder.state());
        let open = || testing::open(&recorder.disk, &recorder.options).unwrap();
        let bystander = (rng.below(2) == 0).then(open);
        let mut next = None;
        let most = [6, 12, 200][rng.below(3) as usize];
        let (points, syncs) = (rng.below(most), rng.below(2) == 0);
        let kind = [Kind::Small, Kind::Even, Kind::Pages, Kind::Spill][rng.below(4) as usize];
        let arena = recorder.take_arena();
        let survived = mortal(points, || {
            if syncs {
                return arena.sync().unwrap();
            }
            let pending = transact(&arena, &before, kind, &mut rng).unwrap();
            next = Some(Arc::new(pending.next.clone()));
            pending.commit().unwrap();
        });
        let (closing, alone) = (recorder.disk.steps(), bystander.is_none());
        drop(arena);
        testing::die_after(None);
        let closed = recorder.disk.steps();
        let other = bystander.unwrap_or_else(|| testing::open(&recorder.disk, &recorder.options).unwrap());
        drop(other.write().unwrap());
        let mut allowed = vec![before];
        allowed.extend(next);
        let found = find(&other, &allowed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let (done, state) = (recorder.disk.steps(), allowed[found].clone());
        recorder.acks.push(Ack::new(begun, done, state.clone()));
        events.push(match survived {
            _ if !syncs => Event::Changed { begun },
            Some(()) => Event::Synced { begun, done, state: state.clone() },
            // A sync that died may have been complete.
            None => Event::Synced { begun, done: usize::MAX, state: state.clone() },
        });
        if survived.is_some() && alone {
            // The last handle syncs when it is closed.
            events.push(Event::Synced { begun: closing, done: closed, state });
        }
        recorder.put_arena(other);
    }
    let (begun, state) = (recorder.disk.steps(), recorder.state());
    let recording = recorder.finish();
    events.push(Event::Synced { begun, done: recording.history.points() - 1, state });
    (recording, events)
}

/// The synced states that may be found at the point, and whether there must be one.
fn synced(events: &[Event], point: usize) -> (Vec<Arc<State>>, bool) {
    let (mut states, mut certain) = (Vec::new(), false);
    for event in events {
        match event {
            Event::Synced { done, state, .. } if *done <= point => {
                states = vec![state.clone()];
                certain = true;
            }
            Event::Synced { begun, state, .. } if *begun < point => states.push(state.clone()),
            Event::Changed { begun } if *begun < point => certain = false,
            _ => {}
        }
    }
    (states, certain)
}

/// What an image of a `Process` arena turned out to be.
#[derive(Debug, Default)]
pub(crate) struct Found {
    synced: u64,
    sound: u64,
    damaged: u64,
}

fn judge(
    bench: &mut Bench,
    image: &[u8],
    states: &[Arc<State>],
    certain: bool,
    found: &mut Found,
) -> Result<(), String> {
    bench.boot();
    bench.images += 1;
    bench.disk.reset(image).map_err(|e| e.to_string())?;
    let seed = bench.images;
    guarded(|| match testing::open(&bench.disk, &bench.options) {
        Ok(arena) => {
            let which = find(&arena, states)?;
            found.synced += 1;
            work(&arena, &states[which], seed, 3).map(drop)
        }
        Err(Error::Unsynced { .. }) if certain => Err("it was synced and says that it was not".to_owned()),
        Err(Error::Unsynced { .. }) => accept(bench, seed, found),
        Err(e) => Err(format!("it does not open: {e}")),
    })
}

/// Whatever is there: it is refused as damaged, or it is sound and can be worked with.
fn accept(bench: &Bench, seed: u64, found: &mut Found) -> Result<(), String> {
    let arena = match testing::open(&bench.disk, &bench.options.clone().accept_unsynced(true)) {
        Ok(arena) => arena,
        Err(Error::Corrupt { .. } | Error::Truncated { .. }) => {
            found.damaged += 1;
            // A refusal must not make the next one think that somebody had accepted.
            return match testing::open(&bench.disk, &bench.options) {
                Err(Error::Unsynced { .. }) => Ok(()),
                Ok(_) => Err("refused as damaged, then opened as if it were synced".to_owned()),
                Err(e) => Err(format!("refused as damaged, then: {e}")),
            };
        }
        Err(e) => return Err(format!("accepted unsynced: {e}")),
    };
    found.sound += 1;
    let mut rng = SplitMix64(seed);
    let mut last = None;
    for _ in 0..10 {
        let content = rng.next().to_le_bytes().repeat(1 + rng.below(1_500) as usize);
        last = Some((arena.alloc_bytes(&content).map_err(|e| e.to_string())?, content));
    }
    let report = arena.check().map_err(|e| e.to_string())?;
    if let Some(first) = report.findings.first() {
        return Err(format!("accepted as sound; after ten allocations: {first}"));
    }
    drop(arena);
    // Closing synced it.
    let arena = testing::open(&bench.disk, &bench.options).map_err(|e| format!("after closing: {e}"))?;
    let (block, content) = last.expect("ten were allocated");
    let tx = arena.read().map_err(|e| e.to_string())?;
    if tx.bytes(block).map_err(|e| e.to_string())? != content {
        return Err("what was allocated after accepting is lost".to_owned());
    }
    Ok(())
}

pub(crate) fn sweep(
    bench: &mut Bench,
    recording: &Recording,
    events: &[Event],
    budget: &Budget,
    found: &mut Found,
) -> Result<u64, Violation> {
    bench.sweep_points(recording, budget, |bench, point, image| {
        let (states, certain) = synced(events, point);
        judge(bench, image, &states, certain, found)
    })
}

#[test]
fn cuts_of_a_process_arena() {
    let budget = Budget::of(150);
    let mut bench = Bench::new(options(Durability::Process));
    let mut found = Found::default();
    budget.spend("cuts_of_a_process_arena", |seed| {
        let (recording, events) = history(seed);
        sweep(&mut bench, &recording, &events, &budget, &mut found)
            .unwrap_or_else(|violation| violation.report("cuts_of_a_process_arena", &recording))
    });
    println!("cuts_of_a_process_arena: {found:?}");
    assert!(found.synced > 0 && found.sound > 0 && found.damaged > 0, "each outcome was met");
}

/// The mark in the page cache is no more than a hint: its writer may have died before the disk had it.
#[test]
fn cuts_after_deaths_in_a_process_arena() {
    let budget = Budget::of(50);
    let mut bench = Bench::new(options(Durability::Process));
    budget.spend("cuts_after_deaths_in_a_process_arena", |seed| {
        let (recording, events) = history_with_deaths(seed);
        sweep(&mut bench, &recording, &events, &budget, &mut Found::default())
            .unwrap_or_else(|violation| violation.report("cuts_after_deaths_in_a_process_arena", &recording))
    });
}

/// A death at each point of a sync, or of the first commit after one; then commits through another handle.
fn death_around_the_mark(points: u64, in_sync: bool, bystander: bool) -> (Recording, Vec<Event>) {
    let mut recorder = Recorder::create(points, Durability::Process);
    let synced = |begun, done, state| Event::Synced { begun, done, state };
    let created = recorder.disk.steps();
    let mut events = vec![synced(0, created, recorder.state()), Event::Changed { begun: created }];
    recorder.commit(Kind::Even);
    if !in_sync {
        let begun = recorder.disk.steps();
        recorder.arena().sync().unwrap();
        events.push(synced(begun, recorder.disk.steps(), recorder.state()));
    }
    let open = || testing::open(&recorder.disk, &recorder.options).unwrap();
    let bystander = bystander.then(open);
    let (begun, before) = (recorder.disk.steps(), recorder.state());
    let (arena, mut next) = (recorder.take_arena(), None);
    let survived = mortal(points, || {
        if in_sync {
            return arena.sync().unwrap();
        }
        let pending = transact(&arena, &before, Kind::Even, &mut recorder.rng).unwrap();
        next = Some(Arc::new(pending.next.clone()));
        pending.commit().unwrap();
    });
    events.push(match in_sync {
        true if survived.is_some() => synced(begun, recorder.disk.steps(), before.clone()),
        true => synced(begun, usize::MAX, before.clone()),
        false => Event::Changed { begun },
    });
    // Without a close, which would sync.
    if survived.is_some() {
        assert!(mortal(0, || arena.sync()).is_none());
    }
    drop(arena);
    testing::die_after(None);
    let other = bystander.unwrap_or_else(|| testing::open(&recorder.disk, &recorder.options).unwrap());
    drop(other.write().unwrap());
    let allowed: Vec<_> = [before].into_iter().chain(next).collect();
    let found = find(&other, &allowed).unwrap_or_else(|what| panic!("{points}: {what}"));
    recorder.acks.push(Ack::new(begun, recorder.disk.steps(), allowed[found].clone()));
    recorder.put_arena(other);
    events.push(Event::Changed { begun: recorder.disk.steps() });
    for _ in 0..3 {
        recorder.commit(Kind::Even);
    }
    let (begun, state) = (recorder.disk.steps(), recorder.state());
    let recording = recorder.finish();
    events.push(synced(begun, recording.history.points() - 1, state));
    (recording, events)
}

#[test]
fn cuts_after_a_death_around_the_mark() {
    let budget = Budget::of(0).sparse(3);
    let mut bench = Bench::new(options(Durability::Process));
    for (in_sync, bystander) in [(false, false), (false, true), (true, false), (true, true)] {
        for points in 0..16 {
            let (recording, events) = death_around_the_mark(points, in_sync, bystander);
            sweep(&mut bench, &recording, &events, &budget, &mut Found::default()).unwrap_or_else(|found| {
                panic!(
                    "in a sync: {in_sync}, bystander: {bystander}, {points} points: point {}, {:?}: {}\n{}",
                    found.point,
                    found.recipe,
                    found.what,
                    recording.around(found.point)
                )
            });
        }
    }
    println!("cuts_after_a_death_around_the_mark: {} images", bench.images);
}

/// Who accepts an unsynced arena accepts for itself; only a writer who found it sound, and synced it, settles the matter.
#[test]
fn unsynced_is_refused_until_a_writer_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let (live, path) = (dir.path().join("live.heap"), dir.path().join("a.heap"));
    let plain = options(Durability::Process);
    let accepting = plain.clone().accept_unsynced(true);
    boot(1);
    let arena = plain.create(&live).unwrap();
    let block = arena.alloc(&7u64).unwrap();
    std::fs::write(&path, std::fs::read(&live).unwrap()).unwrap();

    // Under the same boot it is a file whose processes were killed.
    assert_eq!(plain.open_read_only(&path).unwrap().read().unwrap().get(block).unwrap(), &7);
    std::fs::write(&path, std::fs::read(&live).unwrap()).unwrap();
    boot(2);
    let refused = || {
        assert!(matches!(plain.open(&path), Err(Error::Unsynced { .. })));
        assert!(matches!(plain.open_read_only(&path), Err(Error::Unsynced { .. })));
    };
    refused();
    let reader = accepting.open_read_only(&path).unwrap();
    assert_eq!(reader.read().unwrap().get(block).unwrap(), &7);
    refused();
    drop(reader);
    refused();
    let writer = accepting.open(&path).unwrap();
    assert!(plain.open(&path).is_ok() && plain.open_read_only(&path).is_ok());
    drop(writer);
    boot(3);
    assert_eq!(plain.open(&path).unwrap().read().unwrap().get(block).unwrap(), &7);
}

fn control(rule: Break) {
    let budget = Budget::of(0);
    let mut bench = Bench::new(options(Durability::Process));
    for seed in 1..=10 {
        let outcome = crate::controls::without(rule, || {
            let (recording, events) = history(seed);
            sweep(&mut bench, &recording, &events, &budget, &mut Found::default())
        });
        if let Err(violation) = outcome {
            println!("{rule:?}: found after {} images, seed {seed}: {}", bench.images, violation.what);
            return;
        }
    }
    panic!("{rule:?} was not found in {} images", bench.images);
}

#[test]
fn the_mark_is_set_before_a_change() {
    control(Break::MarkNotFlushed);
}

#[test]
fn the_mark_is_cleared_after_a_sync() {
    control(Break::ClearWithoutSync);
}
