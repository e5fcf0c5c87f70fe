//! `heapfile-soak kill`: round after round of the kill torture.

#![forbid(unsafe_code)]

use crate::limit::Limit;
use crate::state::{Counts, State};
use crate::torture;
use std::error::Error;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

const SECTION: &str = "kill";
const KILLS_A_ROUND: u64 = 20;

/// This program again, as one process of a round.
fn again() -> Command {
    Command::new("/proc/self/exe")
}

fn round(seed: u64) -> Result<Counts, String> {
    let dir = crate::common::fast_dir();
    torture::round(seed, KILLS_A_ROUND, dir.path(), &again).inspect_err(|_| {
        // The evidence.
        eprintln!("the file stays in {}", dir.keep().display());
    })
}

/// Runs until the limit, so many rounds at a time. Whether all was well.
pub(crate) fn run(state: State, limit: Limit, jobs: usize) -> Result<bool, Box<dyn Error>> {
    let begun = Instant::now();
    let (state, kills, failed) = (Mutex::new(state), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| -> std::io::Result<()> {
                    while !failed.load(Relaxed) && !limit.is_reached(begun, kills.load(Relaxed)) {
                        let seed = state.lock().expect("no thread panicked").add(SECTION, "seeds", 1)?;
                        match round(seed) {
                            Ok(tally) => {
                                kills.fetch_add(tally.get("kills").copied().unwrap_or(0), Relaxed);
                                add(&mut state.lock().expect("no thread panicked"), &tally)?;
                            }
                            Err(what) => {
                                failed.store(true, Relaxed);
                                eprintln!("VIOLATION: {what}\n  again: heapfile-soak kill --replay {seed}");
                            }
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    for (name, count) in state.into_inner().expect("no thread panicked").section(SECTION)? {
        println!("{name:<40} {count:>9}");
    }
    println!("this run: {} kills in {:.0} s", kills.into_inner(), begun.elapsed().as_secs_f64());
    Ok(!failed.into_inner())
}

fn add(state: &mut State, tally: &Counts) -> std::io::Result<()> {
    for (name, &count) in tally {
        match name.starts_with("longest") {
            true => state.raise(SECTION, name, count)?,
            false => drop(state.add(SECTION, name, count)?),
        }
    }
    Ok(())
}

/// Runs the round of a seed again, and again: the moments of the kills differ.
pub(crate) fn replay(seed: u64, times: u64) -> bool {
    (0..times).all(|_| match round(seed) {
        Ok(tally) => {
            println!("seed {seed}: {tally:?}");
            true
        }
        Err(what) => {
            eprintln!("VIOLATION: {what}");
            false
        }
    })
}
