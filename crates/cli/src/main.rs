//! The command `heapfile`: creates, inspects and checks arenas, and shows what they can do.
//!
//! Each subcommand is one module with an `Args` struct and `run(Args) -> Outcome`; to add one is to add the module, a
//! variant of [`Command`] and an arm of [`run`].
//!
//! Exit codes: 0 done; 1 damage was found (`check`, `kv stat --check`), or nothing (`dump`, `find`, `kv`), or a promise did not hold (`demo`); 2 an error. Data goes to
//! stdout, everything else to stderr; a reader of stdout that goes away is no error, and hides no finding.

#![deny(unsafe_code)]

mod advice;
mod check;
mod create;
mod demo;
mod dump;
mod find;
mod hexdump;
mod info;
mod kv;
mod manual;
mod map;
mod output;
mod progress;
mod shrink;
mod snapshot;
mod stats;
mod target;
mod units;
mod usage;

use clap::{Parser, Subcommand};
use std::io::{ErrorKind, Write, stderr};
use std::process::ExitCode;

/// Why a command could not do its work.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a command hands to the shell.
type Outcome = Result<ExitCode, Failure>;

/// Exit code for "there are findings", "not found" and "did not hold".
const FOUND: u8 = 1;
/// Exit code for errors.
const ERROR: u8 = 2;

/// A heap in a file: create, inspect and check arenas; search and show files of any size.
#[derive(Debug, Parser)]
#[command(name = "heapfile", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 damage was found (check, kv stat --check), or nothing (dump, find, kv), or a promise did not hold (demo), 2 an error.\n\n\
    To begin with:\n  heapfile demo\n  heapfile create my.heap\n  heapfile info my.heap"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    Info(info::Args),
    Stats(stats::Args),
    Map(map::Args),
    Check(check::Args),
    Shrink(shrink::Args),
    Snapshot(snapshot::Args),
    Dump(dump::Args),
    Find(find::FindArgs),
    Hexdump(hexdump::HexdumpArgs),
    Kv(kv::Args),
    Demo(demo::Args),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
    #[command(name = demo::EDITOR, hide = true)]
    DemoEditor(demo::EditorArgs),
}

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|failure| report(failure.as_ref()))
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Create(args) => create::run(args),
        Command::Info(args) => info::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Map(args) => map::run(args),
        Command::Check(args) => check::run(args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Snapshot(args) => snapshot::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Find(args) => find::run(&args),
        Command::Hexdump(args) => hexdump::run(&args),
        Command::Kv(args) => kv::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::DemoEditor(args) => demo::run_editor(args),
    }
}

/// Says what went wrong, and which exit code that is.
fn report(failure: &(dyn std::error::Error + 'static)) -> ExitCode {
    if is_broken_pipe(failure) {
        return ExitCode::SUCCESS;
    }
    say(&advice::told(failure));
    ExitCode::from(ERROR)
}

/// What was asked for is not there, or damage is: says so, and which exit code that is.
fn found(why: &str) -> ExitCode {
    say(why);
    ExitCode::from(FOUND)
}

fn say(what: &str) {
    // Nobody is left to tell if stderr is gone too.
    let _ = writeln!(stderr(), "heapfile: {what}");
}

/// What a command told of its findings: that nobody reads it changes nothing about them, nor about their exit code.
fn unless_unread(told: Result<(), Failure>) -> Result<(), Failure> {
    told.or_else(|failure| if is_broken_pipe(failure.as_ref()) { Ok(()) } else { Err(failure) })
}

/// Whether the reader of our output went away.
fn is_broken_pipe(failure: &(dyn std::error::Error + 'static)) -> bool {
    let kind = match failure.downcast_ref::<std::io::Error>() {
        Some(e) => Some(e.kind()),
        None => failure.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind),
    };
    kind == Some(ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapfile::{Error, OffsetFault};

    /// Only `dump` is given offsets by its user: from everywhere else a bad one is damage, not something that is not there.
    #[test]
    fn a_bad_offset_is_an_error_and_told_as_damage() {
        let e = Error::BadOffset { offset: 4096, fault: OffsetFault::NotAllocated };
        assert_eq!(format!("{:?}", report(&e)), format!("{:?}", ExitCode::from(ERROR)));
    }
}
