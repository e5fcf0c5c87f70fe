//! How costs and fragmentation go with size: of an arena of `Durability::Process` on /dev/shm. Tables, and with `--svg` pictures.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use heapfile::{Arena, Durability, Offset};
use serde_json::json;

use crate::cell::Spec;
use crate::contender::{Mode, Place, SystemId};
use crate::places::Places;
use crate::plot::{Chart, Line};
use crate::report::median;
use crate::rng::{Rng, Sizes};
use crate::system::Result;
use crate::work::Kind;
use crate::worker::{PATIENCE, Worker};

/// How the bench is to be run.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Options {
    /// Smaller heaps, fewer operations: under 45 s
    #[arg(long)]
    quick: bool,
    /// Write JSON lines
    #[arg(long)]
    json: bool,
    /// Write a picture of each table into this directory
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Where files in memory go
    #[arg(long, default_value = "/dev/shm")]
    shm_dir: PathBuf,
}

/// Runs the bench.
pub(crate) fn run(options: &Options) -> Result<()> {
    let places = Places::make(&options.shm_dir, &std::env::temp_dir())?;
    let most = |all: u32, quick: u32| if options.quick { quick } else { all };
    for (name, chart) in [
        ("scale_live", by_live(&places, most(7, 5))?),
        ("scale_extents", by_extents(&places, most(6, 4))?),
        ("scale_fragmentation", fragmentation(&places, most(8, 6))?),
    ] {
        print(name, &chart, options.json);
        if let Some(directory) = &options.svg {
            std::fs::create_dir_all(directory)?;
            std::fs::write(directory.join(format!("{name}.svg")), chart.svg())?;
        }
    }
    Ok(())
}

fn print(name: &str, chart: &Chart, json: bool) {
    if !json {
        return print!("\n{name}: {}\n\n{}", chart.title, chart.table());
    }
    for line in &chart.lines {
        for &(x, y) in &line.points {
            let row = json!({ "bench": "scale", "work": name, "system": "heapfile", "row": line.name, "x": x, "value": y, "unit": chart.y });
            println!("{row}");
        }
    }
}

fn arena(places: &Places, name: &str) -> Result<Arena> {
    let file = places.file(Place::Shm, name);
    Ok(Arena::options().durability(Durability::Process).create(file)?)
}

fn remove(arena: Arena) {
    let path = arena.path().to_owned();
    drop(arena);
    // What is left goes with the directory.
    let _ = std::fs::remove_file(path);
}

/// Nanoseconds of one of `count` calls.
fn per_call(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

fn lines(names: &[&str]) -> Vec<Line> {
    names.iter().map(|name| Line { name: (*name).to_owned(), points: Vec::new() }).collect()
}

/// What calls cost in heaps of up to `10^most` blocks.
fn by_live(places: &Places, most: u32) -> Result<Chart> {
    let mut lines = lines(&[
        "alloc, in a transaction",
        "free, in a transaction",
        "commit of one changed word",
        "alloc, a commit of its own",
        "free, a commit of its own",
        "the last two, two processes",
    ]);
    for power in 3..=most {
        let live = 10usize.pow(power);
        let arena = arena(places, "live.heap")?;
        let (mut rng, sizes) = (Rng::new(1), Sizes::log_uniform(16, 512));
        let mut blocks = fill(&arena, live, &mut rng, &sizes)?;
        let figures = [
            in_transactions(&arena, &mut blocks, &mut rng, &sizes)?.to_vec(),
            alone(&arena, &mut blocks, &mut rng, &sizes)?.to_vec(),
            vec![beside_another(&arena)?],
        ];
        for (line, figure) in lines.iter_mut().zip(figures.concat()) {
            line.points.push((live as f64, figure));
        }
        remove(arena);
    }
    Ok(Chart {
        title: "Costs by live blocks of 16 to 512 bytes",
        x: "live blocks",
        y: "ns",
        from: 0.0,
        lines,
    })
}

fn fill(arena: &Arena, live: usize, rng: &mut Rng, sizes: &Sizes) -> Result<Vec<Offset<[u8]>>> {
    let mut blocks = Vec::with_capacity(live);
    while blocks.len() < live {
        let mut tx = arena.write()?;
        for _ in 0..(live - blocks.len()).min(10_000) {
            blocks.push(tx.alloc_with(sizes.draw(rng).into(), 8, touch)?);
        }
        tx.commit()?;
    }
    Ok(blocks)
}

fn touch(_: Offset<[u8]>, bytes: &mut [u8]) {
    if let [first, .., last] = bytes {
        (*first, *last) = (1, 1);
    }
}

/// Alloc, free, and commit of one word: nanoseconds, medians of rounds.
fn in_transactions(
    arena: &Arena,
    blocks: &mut [Offset<[u8]>],
    rng: &mut Rng,
    sizes: &Sizes,
) -> Result<[f64; 3]> {
    const BATCH: usize = 1000;
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..101 {
        let batch = BATCH.min(blocks.len());
        rng_front(blocks, batch, rng);
        let mut tx = arena.write()?;
        let start = Instant::now();
        for block in &blocks[..batch] {
            tx.free(*block)?;
        }
        samples[1].push(per_call(start, batch));
        let start = Instant::now();
        for block in &mut blocks[..batch] {
            *block = tx.alloc_with(sizes.draw(rng).into(), 8, touch)?;
        }
        samples[0].push(per_call(start, batch));
        tx.commit()?;
        let start = Instant::now();
        for block in &blocks[..batch] {
            let mut tx = arena.write()?;
            tx.write_at(*block, 0, &[1; 8])?;
            tx.commit()?;
        }
        samples[2].push(per_call(start, batch));
    }
    Ok(samples.map(|all| median(&all).unwrap_or(f64::NAN)))
}

/// Puts some that are chosen at random in front.
fn rng_front(blocks: &mut [Offset<[u8]>], count: usize, rng: &mut Rng) {
    for i in 0..count {
        let other = i + rng.below(blocks.len() - i);
        blocks.swap(i, other);
    }
}

/// Alloc and free as commits of their own.
fn alone(arena: &Arena, blocks: &mut [Offset<[u8]>], rng: &mut Rng, sizes: &Sizes) -> Result<[f64; 2]> {
    const BATCH: usize = 1000;
    let mut samples = [const { Vec::new() }; 2];
    for _ in 0..101 {
        let batch = BATCH.min(blocks.len());
        rng_front(blocks, batch, rng);
        let start = Instant::now();
        for block in &blocks[..batch] {
            arena.free(*block)?;
        }
        samples[1].push(per_call(start, batch));
        let start = Instant::now();
        for block in &mut blocks[..batch] {
            *block = arena.alloc_with(sizes.draw(rng).into(), 8, touch)?;
        }
        samples[0].push(per_call(start, batch));
    }
    Ok(samples.map(|all| median(&all).unwrap_or(f64::NAN)))
}

/// An alloc and a free of 64 bytes, each its own commit, while another process does the same.
fn beside_another(arena: &Arena) -> Result<f64> {
    let time = Duration::from_millis(300);
    let mut other = Worker::start(
        &Spec {
            system: SystemId::Heapfile,
            place: Place::Shm,
            mode: Mode::Each,
            kind: Kind::Pair,
            live: 0,
            min: 64,
            max: 64,
            threads: 1,
            processes: 2,
            millis: time.as_millis() as u64,
            seed: 1,
            file: arena.path().to_owned(),
            join: true,
        },
        None,
    )?;
    other.answer(PATIENCE)?;
    other.tell("round")?;
    let (start, mut pairs) = (Instant::now(), 0);
    while start.elapsed() < time {
        for _ in 0..100 {
            let block = arena.alloc_unset(64, 8)?;
            arena.free(block)?;
        }
        pairs += 100;
    }
    let cost = per_call(start, pairs);
    other.answer(PATIENCE)?;
    other.finish()?;
    Ok(cost)
}

/// What whole pages cost in heaps of up to `10^most` free extents.
fn by_extents(places: &Places, most: u32) -> Result<Chart> {
    const PAGE: usize = 4096;
    const COUNT: usize = 10;
    let mut lines = lines(&["alloc of a page", "free of a page", "alloc of 20 pages"]);
    for power in 1..=most {
        let extents = 10usize.pow(power);
        let arena = arena(places, "extents.heap")?;
        let mut pages = Vec::with_capacity(2 * extents);
        while pages.len() < 2 * extents {
            let mut tx = arena.write()?;
            for _ in 0..(2 * extents - pages.len()).min(10_000) {
                pages.push(tx.alloc_unset(PAGE as u64, PAGE)?);
            }
            tx.commit()?;
        }
        for some in pages.chunks(10_000) {
            let mut tx = arena.write()?;
            some.iter().step_by(2).try_for_each(|page| tx.free(*page))?;
            tx.commit()?;
        }
        // One extent that is long enough for all: the file need not grow in each round.
        let room = arena.alloc_unset((COUNT * 21 * PAGE) as u64, PAGE)?;
        arena.free(room)?;
        let mut samples = [const { Vec::new() }; 3];
        for _ in 0..101 {
            let mut tx = arena.write()?;
            for (sample, len) in [(0, PAGE), (2, 20 * PAGE)] {
                let start = Instant::now();
                let some: heapfile::Result<Vec<_>> =
                    (0..COUNT).map(|_| tx.alloc_unset(len as u64, PAGE)).collect();
                samples[sample].push(per_call(start, COUNT));
                let some = some?;
                let start = Instant::now();
                some.iter().try_for_each(|block| tx.free(*block))?;
                if len == PAGE {
                    samples[1].push(per_call(start, COUNT));
                }
            }
        }
        for (line, all) in lines.iter_mut().zip(&samples) {
            line.points.push((extents as f64, median(all).unwrap_or(f64::NAN)));
        }
        remove(arena);
    }
    Ok(Chart { title: "Costs by free extents", x: "free extents", y: "ns", from: 0.0, lines })
}

/// Bytes that the heap uses for a live byte, over `10^most` operations of three mixes.
fn fragmentation(places: &Places, most: u32) -> Result<Chart> {
    struct Mix {
        name: &'static str,
        sizes: Sizes,
        live: usize,
        /// Whether the number of blocks goes up and down by a half.
        waves: bool,
    }
    let mixes = [
        Mix { name: "16 to 512 bytes", sizes: Sizes::log_uniform(16, 512), live: 100_000, waves: false },
        Mix { name: "16 bytes to 64 KiB", sizes: Sizes::log_uniform(16, 65536), live: 20_000, waves: false },
        Mix {
            name: "16 to 4096 bytes, in waves",
            sizes: Sizes::log_uniform(16, 4096),
            live: 50_000,
            waves: true,
        },
    ];
    let mut lines = Vec::new();
    for mix in mixes {
        let arena = arena(places, "mix.heap")?;
        let mut rng = Rng::new(3);
        let mut blocks: Vec<(Offset<[u8]>, u32)> = Vec::new();
        let (mut live_bytes, mut points, mut done) = (0u64, Vec::new(), 0usize);
        let mut next = 1000usize;
        let total = 10usize.pow(most);
        while done < total {
            let mut tx = arena.write()?;
            for _ in 0..1000 {
                // A wave is ten times as long as filling the heap takes.
                let low = mix.waves && done / (10 * mix.live) % 2 == 1;
                let target = if low { mix.live / 2 } else { mix.live };
                if blocks.len() < target {
                    let len = mix.sizes.draw(&mut rng);
                    blocks.push((tx.alloc_with(len.into(), 8, touch)?, len));
                    live_bytes += u64::from(len);
                } else {
                    let at = rng.below(blocks.len());
                    let (block, len) = blocks.swap_remove(at);
                    tx.free(block)?;
                    live_bytes -= u64::from(len);
                }
                done += 1;
            }
            tx.commit()?;
            if done >= next {
                let stats = arena.stats()?;
                points.push((done as f64, (stats.heap_bytes - stats.free_bytes) as f64 / live_bytes as f64));
                next = (next as f64 * 1.5) as usize;
            }
        }
        lines.push(Line { name: mix.name.to_owned(), points });
        remove(arena);
    }
    Ok(Chart {
        title: "Used bytes of the heap for a live byte",
        x: "operations",
        y: "ratio",
        from: 1.0,
        lines,
    })
}
