//! Deaths of processes at any step, followed by a power cut: what the next process found must not be lost.

use super::Outcome;
use super::budget::Budget;
use super::model::{Kind, State, transact};
use super::oracle::{Bench, find};
use super::recording::{Ack, Recorder, Recording, mixed, moved_log};
use crate::common::mortal;
use heapfile::Durability;
use heapfile::testing::{self, SplitMix64};
use std::sync::Arc;

/// A commit, checkpoint, move of the log or opening during which the process may die. Another handle, open already or opened then, finds what there is.
fn risk(recorder: &mut Recorder, rng: &mut SplitMix64) {
    let before = recorder.state();
    let begun = recorder.disk.steps();
    let bystander = (rng.below(2) == 0).then(|| testing::open(&recorder.disk, &recorder.options).unwrap());
    let most = [6, 30, 150][rng.below(3) as usize];
    let points = rng.below(most);
    let kind = [Kind::Small, Kind::Pages, Kind::InPlace, Kind::Spill][rng.below(4) as usize];
    let (what, pages) = (rng.below(9), moved_log(rng));
    let mut arena = Some(recorder.take_arena());
    let mut next: Option<State> = None;
    let survived = mortal(points, || match what {
        0 => arena.as_ref().unwrap().checkpoint().unwrap(),
        2 => testing::move_log(arena.as_ref().unwrap(), pages).unwrap(),
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

pub(crate) fn history(seed: u64, durability: Durability) -> Recording {
    let mut recorder = Recorder::create(seed, durability);
    let mut rng = SplitMix64(seed);
    for step in mixed(seed, 6) {
        recorder.step(step);
        risk(&mut recorder, &mut rng);
    }
    recorder.finish()
}

pub(crate) fn cuts_after_deaths(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let recording = history(seed, Durability::Power);
    bench.sweep(&recording, budget).map_err(|violation| violation.describe(&recording))
}
