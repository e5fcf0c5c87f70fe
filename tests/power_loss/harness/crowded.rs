//! Several handles on one file, as several processes have them, of which one dies now and then: in a commit, a checkpoint, a shrink or while it
//! opens. The others see to what it left. Then the power goes.

use super::Outcome;
use super::budget::Budget;
use super::model::{Kind, State, transact};
use super::oracle::{Bench, find};
use super::recording::{Ack, Recorder, Recording, boot};
use crate::common::mortal;
use heapfile::testing::{self, SplitMix64};
use heapfile::{Arena, Durability};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

const KINDS: [Kind; 8] = [
    Kind::Small,
    Kind::Small,
    Kind::Even,
    Kind::Pages,
    Kind::InPlace,
    Kind::Spill,
    Kind::FreeLarge,
    Kind::SavePoints,
];

/// What one handle does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Commit(Kind),
    Checkpoint,
    Shrink,
    Reopen,
}

fn act(rng: &mut SplitMix64) -> Act {
    match rng.below(12) {
        0 => Act::Checkpoint,
        1 => Act::Shrink,
        2 => Act::Reopen,
        _ => Act::Commit(KINDS[rng.below(8) as usize]),
    }
}

fn history(seed: u64) -> Result<Recording, String> {
    let mut recorder = Recorder::create(seed, Durability::Power);
    let mut rng = SplitMix64(seed);
    let (disk, options) = (recorder.disk.clone(), recorder.options.clone());
    let open =
        || testing::open(&disk, &options).map_err(|e| format!("seed {seed}: opening among others: {e}"));
    let mut handles = vec![recorder.take_arena(), open()?, open()?];
    for _ in 0..16 {
        let (begun, before) = (disk.steps(), recorder.state());
        let what = act(&mut rng);
        let most = [8, 40, 200, u64::MAX >> 8][rng.below(4) as usize];
        let points = rng.below(most);
        let one: Arena = handles.swap_remove(rng.below(handles.len() as u64) as usize);
        let mut one = Some(one);
        let mut next: Option<State> = None;
        let life = || -> heapfile::Result<()> {
            match what {
                Act::Checkpoint => one.as_ref().expect("open").checkpoint(),
                Act::Shrink => one.as_ref().expect("open").shrink().map(drop),
                Act::Reopen => {
                    drop(one.take());
                    one = Some(testing::open(&disk, &options)?);
                    Ok(())
                }
                Act::Commit(kind) => {
                    let pending = transact(one.as_ref().expect("open"), &before, kind, &mut rng)?;
                    next = Some(pending.next.clone());
                    pending.commit().map(drop)
                }
            }
        };
        // In a thread of its own: what a thread knows of its handles dies with a process.
        let process = || {
            boot(0);
            mortal(points, life)
        };
        let survived = thread::scope(|scope| scope.spawn(process).join());
        let survived = survived.unwrap_or_else(|panic| resume_unwind(panic));
        let failed = |e| format!("seed {seed}, {what:?}: {e}");
        let mut allowed = vec![before];
        allowed.extend(next.map(Arc::new));
        match survived.transpose().map_err(failed)? {
            Some(()) => {
                allowed.drain(..allowed.len() - 1);
                handles.extend(one);
            }
            None => {
                drop(one);
                testing::die_after(None);
                handles.push(open()?);
            }
        }
        // Somebody looks first, or writes first, or opens the file anew.
        let other = rng.below(handles.len() as u64) as usize;
        if rng.below(2) == 0 {
            find(&handles[other], &allowed)
                .map_err(|e| format!("seed {seed}, {what:?}: a reader finds {e}"))?;
        }
        drop(handles[other].write().map_err(failed)?);
        let found = find(&handles[other], &allowed).map_err(|e| format!("seed {seed}, {what:?}: {e}"))?;
        recorder.acks.push(Ack::new(begun, disk.steps(), allowed[found].clone()));
    }
    drop(handles);
    recorder.put_arena(open()?);
    Ok(recorder.finish())
}

pub(crate) fn cuts_after_deaths_among_others(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let recording = history(seed)?;
    bench.sweep(&recording, budget).map_err(|violation| violation.describe(&recording))
}
