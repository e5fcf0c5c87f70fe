//! `heapfile-soak endurance`: mixed work for a long time on a large live set, with growth, shrinking, snapshots, checks and reopening.
//!
//! Blocks of mixed lengths come and go around a live set that swells and ebbs, every eighth time in group commits of several threads. Every block holds
//! bytes that follow from its number, and some are looked at all the time, in the arena and in each snapshot of it. Once a second a line goes to `endurance.csv`; at the end `endurance.svg` shows it. Drift is what
//! has to be absent: of the file per live byte, in the last third against the first third after the live set was first reached. The speed of both is told, not judged.

#![forbid(unsafe_code)]

use crate::plot::{Panel, plot};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Offset, Options, SnapshotOptions, View, WriteTxn};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Work {
    /// Bytes of all live blocks together
    #[arg(long, default_value_t = 64 << 20)]
    live_bytes: u64,
    /// How long, after the live set is first reached
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Directory of the arena; the file is removed at the end
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where endurance.csv and endurance.svg go
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// An arena of durability `Power` instead of `Process`
    #[arg(long)]
    power: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The most that the file per live byte may grow from the first third to the last.
const MOST_DRIFT: f64 = 0.10;

/// Operations of a transaction, and threads that share them in a group commit.
const OPERATIONS: u64 = 64;
const THREADS: u64 = 4;

/// Seconds of work, beside the time that they take, from one to the next of each.
const SHRINK: u64 = 20;
const REOPEN: u64 = 45;
const CHECK: u64 = 60;
const SNAPSHOT: u64 = 240;

#[derive(Debug, Clone, Copy)]
struct Block {
    offset: Offset<[u8]>,
    len: u64,
    number: u64,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    operations: f64,
    /// For each second that a processor worked for it, whatever else the machine had to do.
    busy_operations: f64,
    live: u64,
    file: u64,
    free: u64,
    extents: u64,
    longest: u64,
    filled: bool,
}

impl Sample {
    /// Bytes of the file for each live byte.
    fn ratio(&self) -> f64 {
        self.file as f64 / self.live.max(1) as f64
    }
}

struct Run<'a> {
    work: &'a Work,
    path: PathBuf,
    options: Options,
    rng: SplitMix64,
    blocks: Vec<Block>,
    live: u64,
    numbers: u64,
    operations: u64,
    looked_at: u64,
    groups: u64,
    snapshots: u64,
    reopenings: u64,
    scratch: Vec<u8>,
}

/// Runs, and tells whether there was no drift.
pub(crate) fn run(work: &Work) -> Result<bool, Box<dyn Error>> {
    let dir = match &work.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let durability = if work.power { Durability::Power } else { Durability::Process };
    let mut run = Run {
        work,
        path: dir.path().join("endurance.heap"),
        options: Options::new().durability(durability),
        rng: SplitMix64(work.seed),
        blocks: Vec::new(),
        live: 0,
        numbers: 0,
        operations: 0,
        looked_at: 0,
        groups: 0,
        snapshots: 0,
        reopenings: 0,
        scratch: Vec::new(),
    };
    let samples = run.all()?;
    fs::create_dir_all(&work.out)?;
    fs::write(work.out.join("endurance.csv"), table(&samples))?;
    fs::write(work.out.join("endurance.svg"), drawing(&samples, work))?;
    Ok(verdict(&samples, &run))
}

impl Run<'_> {
    fn all(&mut self) -> Result<Vec<Sample>, Box<dyn Error>> {
        let mut arena = self.options.create(&self.path)?;
        let (begun, mut samples, mut full_since) = (Instant::now(), Vec::new(), None::<Instant>);
        let (mut last, mut busy, mut before, mut rounds) = (Instant::now(), busy_seconds()?, 0, 0u64);
        loop {
            let filled = full_since.is_some();
            let goal = if filled { self.goal(begun) } else { self.work.live_bytes };
            self.transaction(&arena, goal)?;
            if !filled && self.live >= goal {
                full_since = Some(Instant::now());
            }
            if last.elapsed() >= Duration::from_secs(1) {
                let done = (self.operations - before) as f64;
                let speeds = (done / last.elapsed().as_secs_f64(), done / (busy_seconds()? - busy).max(0.01));
                samples.push(self.sample(&arena, begun, speeds, filled)?);
                self.look(&arena)?;
                rounds += 1;
                if rounds.is_multiple_of(SHRINK) {
                    arena.shrink()?;
                }
                if rounds.is_multiple_of(REOPEN) {
                    drop(arena);
                    arena = self.options.open(&self.path)?;
                    self.reopenings += 1;
                }
                if rounds.is_multiple_of(CHECK) {
                    self.check(&arena)?;
                }
                if rounds.is_multiple_of(SNAPSHOT) {
                    self.snapshot(&arena)?;
                }
                (last, busy, before) = (Instant::now(), busy_seconds()?, self.operations);
            }
            if full_since.is_some_and(|then| then.elapsed() >= Duration::from_secs(self.work.seconds)) {
                break;
            }
        }
        drop(arena);
        let arena = self.options.open(&self.path)?;
        self.check(&arena)?;
        self.snapshot(&arena)?;
        for i in 0..self.blocks.len() {
            self.look_at(&arena, self.blocks[i])?;
        }
        Ok(samples)
    }

    /// The live set swells and ebbs by a tenth, once in four minutes.
    fn goal(&self, begun: Instant) -> u64 {
        let phase = begun.elapsed().as_secs_f64() * std::f64::consts::TAU / 240.0;
        (self.work.live_bytes as f64 * (1.0 - 0.1 * (0.5 + 0.5 * phase.sin()))) as u64
    }

    /// Lengths of blocks: most small, most bytes in large ones.
    fn length(&mut self) -> u64 {
        let (low, high) = match self.rng.below(100) {
            0..=59 => (16, 256),
            60..=84 => (256, 4 << 10),
            85..=95 => (4 << 10, 64 << 10),
            96..=98 => (64 << 10, 256 << 10),
            _ => (256 << 10, 1 << 20),
        };
        low + self.rng.below(high - low)
    }

    fn transaction(&mut self, arena: &Arena, goal: u64) -> heapfile::Result<()> {
        if self.rng.below(8) == 0 {
            return self.group(arena, goal);
        }
        let mut tx = arena.write()?;
        self.operate(&mut tx, OPERATIONS, goal)?;
        tx.commit()
    }

    /// The same by several threads in one commit, or a few.
    fn group(&mut self, arena: &Arena, goal: u64) -> heapfile::Result<()> {
        self.groups += 1;
        let run = Mutex::new(self);
        std::thread::scope(|scope| {
            let member = || {
                arena.submit(|tx| {
                    let mut run = run.lock().unwrap_or_else(PoisonError::into_inner);
                    run.operate(tx, OPERATIONS / THREADS, goal)
                })
            };
            let members: Vec<_> = (0..THREADS).map(|_| scope.spawn(member)).collect();
            members.into_iter().try_for_each(|member| member.join().expect("no member panics"))
        })
    }

    fn operate(&mut self, tx: &mut WriteTxn<'_>, count: u64, goal: u64) -> heapfile::Result<()> {
        for _ in 0..count {
            self.operations += 1;
            let grow = self.live < goal;
            match self.rng.below(16) {
                0..=1 if !self.blocks.is_empty() => {
                    // A change in place: the same number, so the same bytes.
                    let block = self.blocks[self.rng.below(self.blocks.len() as u64) as usize];
                    fill(&mut self.scratch, block);
                    let at = self.rng.below(block.len);
                    let end = (at + 100).min(block.len);
                    tx.write_at(block.offset, at, &self.scratch[at as usize..end as usize])?;
                }
                2 if !self.blocks.is_empty() => {
                    let i = self.rng.below(self.blocks.len() as u64) as usize;
                    let mut block = self.blocks[i];
                    self.live -= block.len;
                    block.len = self.length();
                    block.offset = tx.resize(block.offset, block.len)?;
                    fill(&mut self.scratch, block);
                    tx.write_at(block.offset, 0, &self.scratch)?;
                    self.live += block.len;
                    self.blocks[i] = block;
                }
                n if (n < 10) == grow || self.blocks.is_empty() => {
                    self.numbers += 1;
                    let mut block =
                        Block { offset: Offset::null(), len: self.length(), number: self.numbers };
                    fill(&mut self.scratch, block);
                    block.offset = tx.alloc_bytes(&self.scratch)?;
                    self.live += block.len;
                    self.blocks.push(block);
                }
                _ => {
                    let i = self.rng.below(self.blocks.len() as u64) as usize;
                    let block = self.blocks.swap_remove(i);
                    tx.free(block.offset)?;
                    self.live -= block.len;
                }
            }
        }
        Ok(())
    }

    /// A snapshot is sound and holds what the arena holds.
    fn snapshot(&mut self, arena: &Arena) -> Result<(), Box<dyn Error>> {
        let to = self.path.with_extension("snapshot");
        arena.snapshot(&to, &SnapshotOptions::new())?;
        let snapshot = self.options.open_read_only(&to)?;
        self.check(&snapshot)?;
        self.look(&snapshot)?;
        drop(snapshot);
        fs::remove_file(&to)?;
        self.snapshots += 1;
        Ok(())
    }

    fn look(&mut self, arena: &Arena) -> Result<(), Box<dyn Error>> {
        for _ in 0..self.blocks.len().min(200) {
            let block = self.blocks[self.rng.below(self.blocks.len() as u64) as usize];
            self.look_at(arena, block)?;
        }
        Ok(())
    }

    fn look_at(&mut self, arena: &Arena, block: Block) -> Result<(), Box<dyn Error>> {
        fill(&mut self.scratch, block);
        self.looked_at += 1;
        match arena.read()?.bytes(block.offset)? == self.scratch {
            true => Ok(()),
            false => Err(format!("block {} holds other bytes", block.offset).into()),
        }
    }

    fn check(&self, arena: &Arena) -> Result<(), Box<dyn Error>> {
        let report = arena.check()?;
        match report.findings.first() {
            None => Ok(()),
            Some(first) => Err(format!("check: {first}").into()),
        }
    }

    fn sample(
        &self,
        arena: &Arena,
        begun: Instant,
        (operations, busy_operations): (f64, f64),
        filled: bool,
    ) -> Result<Sample, Box<dyn Error>> {
        let stats = arena.stats()?;
        Ok(Sample {
            seconds: begun.elapsed().as_secs_f64(),
            operations,
            busy_operations,
            live: self.live,
            file: stats.file_bytes,
            free: stats.free_bytes,
            extents: stats.extents,
            longest: stats.longest_extent_bytes,
            filled,
        })
    }
}

/// The bytes of a block: of every length the beginning of the same.
fn fill(bytes: &mut Vec<u8>, block: Block) {
    let word = block.number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    bytes.clear();
    (0..block.len.div_ceil(8)).for_each(|_| bytes.extend_from_slice(&word));
    bytes.truncate(block.len as usize);
}

/// Seconds that processors have worked for this process so far, in hundredths.
fn busy_seconds() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // Behind the name in parentheses; in user mode and in the kernel.
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut next =
        || fields.next().ok_or("/proc/self/stat is short")?.parse::<f64>().map_err(Box::<dyn Error>::from);
    Ok((next()? + next()?) / 100.0)
}

fn table(samples: &[Sample]) -> String {
    let mut text =
        "seconds,operations_per_second,operations_per_busy_second,live_bytes,file_bytes,free_bytes,extents,longest_extent_bytes\n"
            .to_owned();
    for s in samples {
        let Sample { seconds, operations, busy_operations: busy, live, file, free, extents, longest, .. } = s;
        let _ =
            writeln!(text, "{seconds:.1},{operations:.0},{busy:.0},{live},{file},{free},{extents},{longest}");
    }
    text
}

fn drawing(samples: &[Sample], work: &Work) -> String {
    let of = |f: fn(&Sample) -> f64| samples.iter().map(|s| (s.seconds, f(s))).collect::<Vec<_>>();
    let gigabytes = |f: fn(&Sample) -> u64| samples.iter().map(|s| (s.seconds, f(s) as f64 / 1e9)).collect();
    let title = format!(
        "heapfile endurance: live set {:.1} GB, {}",
        work.live_bytes as f64 / 1e9,
        if work.power { "Power" } else { "Process" }
    );
    plot(
        &title,
        &[
            Panel {
                name: "GB",
                lines: vec![
                    ("file", gigabytes(|s| s.file)),
                    ("live", gigabytes(|s| s.live)),
                    ("free", gigabytes(|s| s.free)),
                ],
            },
            Panel { name: "file per live byte", lines: vec![("", of(Sample::ratio))] },
            Panel { name: "free extents", lines: vec![("", of(|s| s.extents as f64))] },
            Panel { name: "operations/s", lines: vec![("", of(|s| s.operations))] },
            Panel {
                name: "operations per second of processor time",
                lines: vec![("", of(|s| s.busy_operations))],
            },
        ],
    )
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn verdict(samples: &[Sample], run: &Run<'_>) -> bool {
    let steady: Vec<_> = samples.iter().filter(|s| s.filled).collect();
    let third = steady.len() / 3;
    println!("{} operations, {} blocks looked at, {} live", run.operations, run.looked_at, run.blocks.len());
    let Run { groups, snapshots, reopenings, .. } = run;
    println!("{groups} transactions of {THREADS} threads, {snapshots} snapshots, {reopenings} reopenings");
    if third == 0 {
        println!("too short to tell of drift");
        return true;
    }
    let of = |part: &[&Sample], f: fn(&Sample) -> f64| median(part.iter().map(|s| f(s)).collect());
    let (first, last) = (&steady[..third], &steady[steady.len() - third..]);
    let (ratio, ratio_then) = (of(last, Sample::ratio), of(first, Sample::ratio));
    let (speed, speed_then) = (of(last, |s| s.operations), of(first, |s| s.operations));
    println!("file per live byte: {ratio_then:.4} in the first third, {ratio:.4} in the last");
    println!("operations/s: {speed_then:.0} in the first third, {speed:.0} in the last");
    let (busy, busy_then) = (of(last, |s| s.busy_operations), of(first, |s| s.busy_operations));
    println!("of processor time: {busy_then:.0} in the first third, {busy:.0} in the last");
    println!("seconds: {:.0}", samples.last().map_or(0.0, |s| s.seconds));
    // Speed is told, not judged: the machine may have had other things to do, and with caches and memory shared, operations take more
    // processor time beside them too.
    ratio <= ratio_then * (1.0 + MOST_DRIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_on_a_small_live_set() {
        let out = tempfile::tempdir().unwrap();
        let dir = Some(PathBuf::from("/dev/shm")).filter(|dir| dir.exists());
        let work =
            Work { live_bytes: 4 << 20, seconds: 3, dir, out: out.path().to_owned(), power: false, seed: 1 };
        // Too short to judge: whether there is drift is for the long runs to say.
        run(&work).unwrap();
        let csv = fs::read_to_string(out.path().join("endurance.csv")).unwrap();
        assert!(csv.lines().count() > 2, "{csv}");
        assert!(fs::read_to_string(out.path().join("endurance.svg")).unwrap().contains("</svg>"));
    }
}
