//! heapfile measured beside Boost.Interprocess, PMDK, mimalloc, jemalloc and glibc. `README.md` says how to run and read it.
#![deny(unsafe_code)]

mod arena;
mod cell;
mod company;
mod contender;
mod disk;
mod ffi;
mod figures;
mod heap;
mod laps;
mod latency;
mod loads;
mod peers;
mod places;
mod plot;
mod raw;
mod report;
mod rng;
mod run;
mod scale;
mod scenes;
mod sharing;
mod store;
mod system;
mod window;
mod work;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// heapfile measured beside Boost.Interprocess, PMDK, mimalloc, jemalloc and glibc.
#[derive(Parser)]
#[command(name = "heapfile-bench")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// What an allocation, a free and a change cost, and how much space is lost.
    Heap(run::Options),
    /// Several threads and processes on one heap.
    Sharing(run::Options),
    /// How costs and fragmentation go with the number of blocks, free extents and operations.
    Scale(scale::Options),
    /// Reading, scanning and searching of large files.
    Window(WindowOptions),
    /// Entries by key, beside key-value stores and databases.
    Store(store::Options),
    /// What a load takes that waits for the one before, by the size of what it goes to: the least that a look-up costs.
    Loads(loads::Options),
    /// What durable commits make the disk write in the long run, checkpoints included.
    Laps(laps::Options),
    /// One measurement; the benches start it themselves.
    #[command(hide = true)]
    Cell(cell::Spec),
    /// One store; the bench `store` starts it itself.
    #[command(hide = true)]
    StoreCell(store::CellSpec),
}

/// Options of the bench `window`.
#[derive(clap::Args)]
struct WindowOptions {
    /// Smaller files and fewer rounds
    #[arg(long)]
    quick: bool,
    /// Write JSON lines
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().bench {
        Bench::Heap(options) => run::bench("heap", &options, &[], heap::works(options.quick)),
        Bench::Sharing(options) => {
            run::bench("sharing", &options, &scenes::SCENES, sharing::works(options.quick))
        }
        Bench::Scale(options) => scale::run(&options),
        Bench::Window(options) => {
            window::run(options.quick, options.json);
            Ok(())
        }
        Bench::Store(options) => store::bench(&options),
        Bench::Loads(options) => loads::run(&options),
        Bench::Laps(options) => laps::run(&options),
        Bench::Cell(spec) => return cell::main(&spec),
        Bench::StoreCell(spec) => return store::cell::main(&spec),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("heapfile-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
