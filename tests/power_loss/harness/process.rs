//! Power cuts of a `Process` arena: what was synced is there, or the arena says that it was not synced. Never anything else in silence.

use super::Outcome;
use super::budget::Budget;
use super::model::{Kind, State, transact};
use super::oracle::{Bench, Found, Violation, find, guarded, work};
use super::recording::{Ack, Recorder, Recording, Step, mixed};
use crate::common::mortal;
use heapfile::testing::{self, SplitMix64};
use heapfile::{Durability, Error, View};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A sync (one that failed or died is never done), or a commit.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Synced { begun: usize, done: usize, state: Arc<State> },
    Changed { begun: usize },
}

/// A history of commits with syncs between, and what happened when.
pub(crate) fn history(seed: u64) -> (Recording, Vec<Event>) {
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
            Step::Commit(_) | Step::RollBack(_) | Step::Shrink | Step::MoveLog(_) => {
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

fn judge(bench: &mut Bench, image: &[u8], states: &[Arc<State>], certain: bool) -> Result<(), String> {
    bench.put(image)?;
    bench.images += 1;
    let seed = bench.images;
    let mut found = Found::default();
    let outcome = guarded(|| match testing::open(&bench.disk, &bench.options) {
        Ok(arena) => {
            let which = find(&arena, states)?;
            found.synced += 1;
            work(&arena, &states[which], seed, 3).map(drop)
        }
        Err(Error::Unsynced { .. }) if certain => Err("it was synced and says that it was not".to_owned()),
        Err(Error::Unsynced { .. }) => accept(bench, seed, &mut found),
        Err(e) => Err(format!("it does not open: {e}")),
    });
    bench.found += found;
    outcome
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
) -> Result<u64, Violation> {
    bench.sweep_points(recording, budget, |bench, point, image| {
        let (states, certain) = synced(events, point);
        judge(bench, image, &states, certain)
    })
}

/// Several handles; commits through one in the middle of the sync of another, which is as of its end.
fn history_of_crowded_syncs(seed: u64) -> (Recording, Vec<Event>) {
    let mut recorder = Recorder::create(seed, Durability::Process);
    let mut events = vec![Event::Synced { begun: 0, done: recorder.disk.steps(), state: recorder.state() }];
    let mut rng = SplitMix64(seed);
    let other = testing::open(&recorder.disk, &recorder.options).unwrap();
    let commit = |recorder: &Recorder, kind, rng: &mut SplitMix64| {
        let begun = recorder.disk.steps();
        let pending = transact(&other, &recorder.state(), kind, rng).unwrap();
        let state = Arc::new(pending.commit().unwrap());
        (Ack::new(begun, recorder.disk.steps(), state), Event::Changed { begun })
    };
    for _ in 0..6 {
        let kind = [Kind::Small, Kind::Pages, Kind::InPlace, Kind::Even][rng.below(4) as usize];
        let (ack, event) = commit(&recorder, kind, &mut rng);
        recorder.acks.push(ack);
        events.push(event);
        // The first half of a sync is done without the lock.
        let (disk, before, handle) = (recorder.disk.clone(), recorder.state(), other.clone());
        let (told, mut own) = (Rc::new(RefCell::new(None)), SplitMix64(rng.next()));
        let tell = told.clone();
        testing::at_failpoint("sync: before the lock", move || {
            let begun = disk.steps();
            let pending = transact(&handle, &before, kind, &mut own).unwrap();
            let state = Arc::new(pending.commit().unwrap());
            tell.replace(Some(Ack::new(begun, disk.steps(), state)));
        });
        let begun = recorder.disk.steps();
        recorder.arena().sync().unwrap();
        let during: Ack = told.take().expect("a sync passes this point");
        events.push(Event::Changed { begun: during.begun });
        recorder.acks.push(during);
        events.push(Event::Synced { begun, done: recorder.disk.steps(), state: recorder.state() });
    }
    let (begun, state) = (recorder.disk.steps(), recorder.state());
    drop(recorder.take_arena());
    recorder.put_arena(other);
    let recording = recorder.finish();
    events.push(Event::Synced { begun, done: recording.history.points() - 1, state });
    (recording, events)
}

pub(crate) fn cuts_of_syncs_among_others(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let (recording, events) = history_of_crowded_syncs(seed);
    sweep(bench, &recording, &events, budget).map_err(|violation| violation.describe(&recording))
}

/// The mark in the page cache is no more than a hint: its writer may have died before the disk had it.
pub(crate) fn cuts_after_deaths_in_a_process_arena(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let (recording, events) = history_with_deaths(seed);
    sweep(bench, &recording, &events, budget).map_err(|violation| violation.describe(&recording))
}

pub(crate) fn cuts_of_a_process_arena(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let (recording, events) = history(seed);
    sweep(bench, &recording, &events, budget).map_err(|violation| violation.describe(&recording))
}
