//! The command `heapfile`.

mod find;
mod hexdump;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A heap that lives in a file, and tools for files of any size.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Find(find::FindArgs),
    Hexdump(hexdump::HexdumpArgs),
}

fn main() -> ExitCode {
    let done = match &Cli::parse().command {
        Command::Find(args) => find::run(args),
        Command::Hexdump(args) => hexdump::run(args),
    };
    match done {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(heapfile::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("heapfile: {e}");
            ExitCode::from(2)
        }
    }
}
