//! Bench `laps`: what durable commits cost in the long run, checkpoints included: what the disk writes and how often it flushes for each, over two laps
//! of the log's ring.
//!
//! A change of one block is made in few blocks again and again, or anywhere; and once more after another process has read the whole file. Then the file is in the page
//! cache in large folios, and a program that changed it through a mapping would have each of them written whole.

use std::fs::File;
use std::io::{self, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use heapfile::{Arena, Offset};

use crate::contender::Place;
use crate::disk::Counts;
use crate::figures::Figures;
use crate::places::Places;
use crate::rng::Rng;
use crate::system::{Failure, Result};

/// Blocks of 64 bytes.
const BLOCKS: usize = 500_000;
/// Blocks that are changed where few are.
const HOT: usize = 100;
/// Laps of the ring.
const LAPS: u64 = 2;
/// Commits between two looks at the log.
const LOOK: u64 = 100;

const ROWS: [(&str, usize, bool); 4] = [
    ("hot", HOT, false),
    ("scattered", BLOCKS, false),
    ("hot, read whole by another process before", HOT, true),
    ("scattered, read whole before", BLOCKS, true),
];

/// Options of the bench `laps`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// Where the file goes: on a disk.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    disk_dir: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let places = Places::make(Path::new("/dev/shm"), &options.disk_dir)?;
    let path = places.file(Place::Disk, "laps");
    let arena = Arena::create(&path)?;
    let mut tx = arena.write()?;
    let blocks = (0..BLOCKS as u64).map(|n| tx.alloc(&[n; 8])).collect::<Result<Vec<_>, _>>()?;
    tx.commit()?;
    arena.checkpoint()?;
    let kinds = [
        ("time", "ns per commit"),
        ("disk_bytes", "bytes per commit"),
        ("disk_flushes", "flushes per commit"),
    ];
    let mut all = kinds.map(|(name, unit)| {
        let title = "a change of one block, durable, over two laps of the log";
        ROWS.iter().fold(Figures::new(format!("laps/{name}"), title, unit), |all, row| all.row(row.0, None))
    });
    for (row, &(_, hot, is_read)) in ROWS.iter().enumerate() {
        if is_read {
            read_by_another(&path)?;
        }
        for (figures, value) in all.iter_mut().zip(measure(&arena, &path, &blocks[..hot])?) {
            value.into_iter().for_each(|value| figures.add(row, value));
        }
    }
    let mut out = stdout().lock();
    for figures in all.iter().filter(|figures| !figures.is_empty()) {
        if options.json { figures.print_json("laps", &mut out)? } else { figures.print(&mut out)? }
    }
    Ok(())
}

/// Has the file brought into the page cache anew, in whatever pieces the kernel likes.
fn read_by_another(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let status = Command::new("cat").arg(path).stdout(File::create("/dev/null")?).status()?;
    if status.success() { Ok(()) } else { Err(Failure::new("cat could not read the file")) }
}

/// Nanoseconds, bytes and, if they are counted, flushes for a commit.
fn measure(arena: &Arena, path: &Path, blocks: &[Offset<[u64; 8]>]) -> Result<[Option<f64>; 3]> {
    let unknown = || io::Error::other("the disk does not say what it writes: is it one?");
    let before = Counts::now(path).ok_or_else(unknown)?;
    let stats = arena.stats()?;
    let (mut rng, start) = (Rng::new(1), Instant::now());
    let (mut used, mut last, mut commits) = (0, stats.log_used_bytes, 0u64);
    while used < LAPS * stats.log_bytes {
        for _ in 0..LOOK {
            commits += 1;
            let mut tx = arena.write()?;
            let block = tx.get_mut(blocks[rng.below(blocks.len())])?;
            (block[0], block[7]) = (commits, commits);
            tx.commit()?;
        }
        let now = arena.stats()?.log_used_bytes;
        // A checkpoint in between has freed what was there.
        used += if now >= last { now - last } else { now };
        last = now;
    }
    let time = start.elapsed();
    let disk = Counts::now(path).ok_or_else(unknown)?.since(before);
    let each = |n: u64| n as f64 / commits as f64;
    Ok([Some(each(time.as_nanos() as u64)), Some(each(disk.bytes)), disk.flushes.map(each)])
}
