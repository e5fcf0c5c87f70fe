//! Long runs of heapfile's proofs. They are resumable: `--state FILE` adds up what all runs did.
//!
//! ```text
//! cargo run --release -p heapfile-soak -- power --seconds 600 --state soak.json
//! ```
//!
//! `docs/RELIABILITY.md` tells what each of them shows, and what has been run.

mod effort;
mod endurance;
mod fuzz;
mod kill;
mod mutate;
mod plot;
mod power;
mod state;

#[path = "../../../tests/power_loss/harness/mod.rs"]
mod harness;

#[path = "../../../tests/common/mod.rs"]
mod common;

#[path = "../../../tests/torture/harness/mod.rs"]
mod torture;

use clap::{Parser, Subcommand};
use effort::Effort;
use state::State;
use std::path::PathBuf;
use std::process::ExitCode;

/// Long runs of heapfile's proofs
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Power cuts on a simulated disk: each image has to recover to what was acknowledged
    Power {
        #[command(flatten)]
        effort: Effort,
        /// Run one history again: FAMILY:SEED, or FAMILY:SEED:POINT
        #[arg(long)]
        replay: Option<String>,
    },
    /// Kills of processes that work on one file: nothing acknowledged is lost, nothing torn, nobody waits without end
    Kill {
        #[command(flatten)]
        effort: Effort,
        /// Run the round of this seed again, `--count` times (one)
        #[arg(long)]
        replay: Option<u64>,
    },
    /// Mixed work for a long time: no drift of file size and fragmentation
    Endurance(endurance::Work),
    /// The fuzz targets in turn (needs nightly Rust and cargo-fuzz)
    Fuzz {
        #[command(flatten)]
        effort: Effort,
        /// Seconds for a target before it is the turn of the one that is the furthest behind
        #[arg(long, default_value_t = 60)]
        turn: u64,
        /// Where the build, and what is interesting, are kept
        #[arg(long, default_value = "target/fuzz-corpus")]
        work: PathBuf,
    },
    /// Breaks of the library on purpose, in a copy of the tree: a test has to notice each
    Mutate {
        /// Only those whose names contain this; more than once: one of these
        #[arg(long)]
        only: Vec<String>,
        /// From the one on whose name contains this
        #[arg(long)]
        from: Option<String>,
        /// Where the copy and its build are kept
        #[arg(long, default_value = "target/mutations")]
        work: PathBuf,
        /// File of counts, made if it is not there; runs add up in it
        #[arg(long)]
        state: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    if torture::is_child() {
        torture::live();
    }
    let outcome = match Arguments::parse().command {
        Command::Power { replay: Some(what), .. } => power::replay(&what),
        Command::Power { effort, .. } => power::run(&effort),
        Command::Kill { replay: Some(seed), effort } => Ok(kill::replay(seed, effort.limit.count_or(1))),
        Command::Kill { effort, .. } => kill::run(&effort),
        Command::Endurance(work) => endurance::run(&work),
        Command::Fuzz { effort, turn, work } => std::path::absolute(work)
            .map_err(Into::into)
            .and_then(|work| fuzz::run(&mutate::tree(), &work, turn, &effort)),
        Command::Mutate { only, from, work, state } => std::path::absolute(work)
            .map_err(Into::into)
            .and_then(|work| mutate::run(&mutate::tree(), &work, &only, from.as_deref(), State::new(state))),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("heapfile-soak: {e}");
            ExitCode::from(2)
        }
    }
}
