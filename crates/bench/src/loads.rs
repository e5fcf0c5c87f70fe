//! Bench `loads`: what a load takes that has to wait for the one before, at random in so much memory.
//!
//! The least that a look-up in something of that size can cost: a hash table of 16 MiB that leads to entries of 128 MiB takes one of each. It says of a
//! machine, and of its hour, how much of its caches and its memory a program gets. Pages are large ones where the system has them.

use std::hint::black_box;
use std::io::stdout;
use std::time::Instant;

use crate::figures::Figures;
use crate::rng::Rng;
use crate::system::Result;

/// Mebibytes of memory, and their names.
const SIZES: [(usize, &str); 8] = [
    (1, "1 MiB"),
    (2, "2 MiB"),
    (4, "4 MiB"),
    (8, "8 MiB"),
    (16, "16 MiB"),
    (32, "32 MiB"),
    (128, "128 MiB"),
    (512, "512 MiB"),
];
/// Loads in a round.
const LOADS: usize = 1 << 20;
const ROUNDS: usize = 7;
const LINE: usize = 64;

/// Options of the bench `loads`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let most = SIZES[SIZES.len() - 1].0 << 20;
    let mut memory = memmap2::MmapMut::map_anon(most)?;
    // Only advice.
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.iter_mut().step_by(LINE).enumerate().for_each(|(n, byte)| *byte = n as u8);
    let title = "a load at random that waits for the one before";
    let figures = Figures::new("loads", title, "ns per load").of("machine");
    let figures = SIZES.iter().fold(figures, |figures, (_, name)| figures.row(name, None));
    let mut rng = Rng::new(1);
    let figures = figures.interleave(ROUNDS, |at| Ok(measure(&memory[..SIZES[at].0 << 20], &mut rng)))?;
    let mut out = stdout().lock();
    if options.json {
        figures.print_json("loads", &mut out)?;
    } else {
        figures.print(&mut out)?;
    }
    Ok(())
}

/// Nanoseconds for a load.
fn measure(memory: &[u8], rng: &mut Rng) -> f64 {
    // What the caches hold of another size goes first.
    pass(memory, rng, LOADS / 4);
    let start = Instant::now();
    pass(memory, rng, LOADS);
    start.elapsed().as_nanos() as f64 / LOADS as f64
}

fn pass(memory: &[u8], rng: &mut Rng, loads: usize) {
    let lines = memory.len() / LINE;
    let mut last = 0;
    for _ in 0..loads {
        // What was loaded goes into where the next load goes.
        let line = (rng.below(lines) + usize::from(last)) % lines;
        last = black_box(memory[line * LINE]);
    }
}
