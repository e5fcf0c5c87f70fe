//! Several handles on one file, as several processes have them: their commits and checkpoints interleave.

use crate::budget::Budget;
use crate::model::{Kind, transact};
use crate::oracle::Bench;
use crate::recording::{Ack, Recorder, Recording, options};
use heapfile::testing::{self, SplitMix64};
use heapfile::{Arena, Durability};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

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
fn checkpoint_around_a_commit(recorder: &Recorder, one: &Arena, other: &Arena, rng: &mut SplitMix64) -> Option<Ack> {
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

#[test]
fn cuts_under_several_handles() {
    let budget = Budget::of(100);
    let mut bench = Bench::new(options(Durability::Power));
    budget.spend("cuts_under_several_handles", |seed| {
        let recording = history(seed);
        bench
            .sweep(&recording, &budget)
            .unwrap_or_else(|violation| violation.report("cuts_under_several_handles", &recording))
    });
}
