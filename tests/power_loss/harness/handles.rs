//! Several handles on one file, as several processes have them: their commits and checkpoints interleave.

use super::Outcome;
use super::budget::Budget;
use super::model::{Kind, transact};
use super::oracle::Bench;
use super::recording::{Ack, Recorder, Recording};
use heapfile::testing::{self, SplitMix64};
use heapfile::{Arena, Durability, Error};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const KINDS: [Kind; 7] =
    [Kind::Small, Kind::Small, Kind::Pages, Kind::InPlace, Kind::Spill, Kind::FreeLarge, Kind::Even];

/// Commits through one handle; the acknowledgement.
fn commit(recorder: &Recorder, arena: &Arena, kind: Kind, rng: &mut SplitMix64) -> Ack {
    let (disk, before) = (recorder.disk.clone(), recorder.state());
    let begun = disk.steps();
    let state = transact(arena, &before, kind, rng).and_then(|pending| pending.commit()).unwrap();
    Ack::new(begun, disk.steps(), Arc::new(state))
}

/// A checkpoint through `one`, in the middle of which `other` commits.
fn checkpoint_around_a_commit(
    recorder: &Recorder,
    one: &Arena,
    other: &Arena,
    rng: &mut SplitMix64,
) -> Option<Ack> {
    let point = ["checkpoint: before sync", "checkpoint: after sync"][rng.below(2) as usize];
    let kind = KINDS[rng.below(7) as usize];
    let acknowledged = Rc::new(RefCell::new(None));
    let (disk, before, other) = (recorder.disk.clone(), recorder.state(), other.clone());
    let (told, mut own) = (acknowledged.clone(), SplitMix64(rng.next()));
    testing::at_failpoint(point, move || {
        let begun = disk.steps();
        let state = transact(&other, &before, kind, &mut own).and_then(|pending| pending.commit()).unwrap();
        told.replace(Some(Ack::new(begun, disk.steps(), Arc::new(state))));
    });
    one.checkpoint().unwrap();
    testing::at_failpoint("", || {});
    acknowledged.take()
}

fn history(seed: u64) -> Recording {
    let mut recorder = Recorder::create(seed, Durability::Power);
    let mut rng = SplitMix64(seed);
    let open = |recorder: &Recorder| testing::open(&recorder.disk, &recorder.options).unwrap();
    let mut handles = vec![recorder.take_arena(), open(&recorder), open(&recorder)];
    for _ in 0..14 {
        let (one, other) = (rng.below(3) as usize, rng.below(3) as usize);
        match rng.below(8) {
            0 => {
                drop(handles.swap_remove(one));
                handles.push(open(&recorder));
            }
            1 | 2 => {
                let during = checkpoint_around_a_commit(&recorder, &handles[one], &handles[other], &mut rng);
                recorder.acks.extend(during);
            }
            _ => {
                let ack = commit(&recorder, &handles[one], KINDS[rng.below(7) as usize], &mut rng);
                recorder.acks.push(ack);
            }
        }
        // Each sees what the others committed.
        let seen = recorder.state().difference(&handles[other]).unwrap();
        assert_eq!(seen, None, "seed {seed}");
    }
    drop(handles);
    recorder.put_arena(open(&recorder));
    recorder.finish()
}

/// Rule 6: a commit whose readers would not go takes its record back; neither it nor what follows is ever seen wrong.
fn history_of_busy_commits(seed: u64) -> Recording {
    let mut recorder = Recorder::create(seed, Durability::Power);
    let patience = Duration::from_millis(1);
    drop(recorder.take_arena());
    let impatient = recorder.options.clone().lock_timeout(patience);
    let arena = testing::open(&recorder.disk, &impatient).unwrap();
    let reader = testing::open(&recorder.disk, &recorder.options).unwrap();
    let mut rng = SplitMix64(seed);
    for round in 0..8 {
        let kind = [Kind::Small, Kind::InPlace, Kind::Spill, Kind::Even][rng.below(4) as usize];
        if round % 2 == 0 {
            let ack = commit(&recorder, &arena, kind, &mut rng);
            recorder.acks.push(ack);
            continue;
        }
        let (begun, before) = (recorder.disk.steps(), recorder.state());
        let pending = transact(&arena, &before, kind, &mut rng).unwrap();
        let next = Arc::new(pending.next.clone());
        let (reads, read) = mpsc::channel();
        let (ends, end) = mpsc::channel::<()>();
        let outcome = thread::scope(|scope| {
            let reader = &reader;
            scope.spawn(move || {
                let tx = reader.read().unwrap();
                reads.send(()).unwrap();
                // Until the other end is dropped.
                let _ = end.recv();
                drop(tx);
            });
            read.recv().unwrap();
            let outcome = pending.commit();
            drop(ends);
            outcome
        });
        // One that changed nothing has nobody to wait for, unless it took a place and gave it back: that is written all the same.
        let outcome = outcome.map(drop);
        let is_busy = matches!(outcome, Err(Error::Busy { .. }));
        let is_idle = next == before && outcome.is_ok();
        assert!(is_busy || is_idle, "seed {seed}, round {round}: {outcome:?}");
        assert_eq!(before.difference(&arena).unwrap(), None, "nothing has changed");
        let taken_back = Some(next);
        recorder.acks.push(Ack { taken_back, ..Ack::new(begun, recorder.disk.steps(), before) });
    }
    drop(reader);
    recorder.put_arena(arena);
    recorder.finish()
}

pub(crate) fn cuts_around_commits_taken_back(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let recording = history_of_busy_commits(seed);
    bench.sweep(&recording, budget).map_err(|violation| violation.describe(&recording))
}

pub(crate) fn cuts_under_several_handles(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let recording = history(seed);
    bench.sweep(&recording, budget).map_err(|violation| violation.describe(&recording))
}
