//! `heapfile-soak kill`: round after round of the kill torture.

#![forbid(unsafe_code)]

use crate::effort::Effort;
use crate::state::{Counts, State};
use crate::torture;
use std::error::Error;
use std::process::Command;

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

/// Runs round after round. Whether all was well.
pub(crate) fn run(effort: &Effort) -> Result<bool, Box<dyn Error>> {
    let mut done = effort.run(|state| {
        let seed = state.lock().expect("no thread panicked").add(SECTION, "seeds", 1)?;
        match round(seed) {
            Ok(tally) => {
                add(&mut state.lock().expect("no thread panicked"), &tally)?;
                Ok(Ok(tally.get("kills").copied().unwrap_or(0)))
            }
            Err(what) => Ok(Err(format!("{what}\n  again: heapfile-soak kill --replay {seed}"))),
        }
    })?;
    for (name, count) in done.state.section(SECTION)? {
        println!("{name:<40} {count:>9}");
    }
    println!("this run: {} kills in {:.0} s", done.count, done.seconds);
    Ok(done.well)
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
