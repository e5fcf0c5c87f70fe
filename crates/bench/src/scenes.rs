//! Scenes of `sharing`: what several threads and processes cost one another on one arena of `Durability::Process`.
//!
//! One thread or more of the bench's own process are measured; the other processes are cells (`company`). Rows of a scene take turns
//! round by round, like the systems of a workload.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heapfile::{Arena, Durability, Offset};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::cell::Spec;
use crate::company::SPELL;
use crate::contender::{Mode, Place, SystemId};
use crate::figures::{Figures, turns};
use crate::latency::Latencies;
use crate::places::Places;
use crate::system::{Failure, Result};
use crate::work::Kind;
use crate::worker::{PATIENCE, Worker};

/// Where the files are, and how long it may take.
pub(crate) struct Stage<'s> {
    pub(crate) places: &'s Places,
    pub(crate) quick: bool,
}

/// What is measured, and under which name.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Stage<'_>) -> Result<Vec<Figures>>,
}

/// The scenes, in the order in which they run.
pub(crate) const SCENES: [Scene; 5] = [
    Scene { name: "lock", run: lock },
    Scene { name: "read", run: read },
    Scene { name: "take_over", run: take_over },
    Scene { name: "writer_beside_reader", run: writer_beside_reader },
    Scene { name: "writer_beside_writer", run: writer_beside_writer },
];

impl Stage<'_> {
    /// Rounds of what takes nanoseconds: so short that most of them pass without another program in between, so many that the
    /// median is one of those.
    fn short_rounds(&self) -> (usize, Duration) {
        (if self.quick { 101 } else { 501 }, Duration::from_millis(4))
    }

    /// Rounds that have room for some spells of a reader.
    fn long_rounds(&self) -> (usize, Duration) {
        if self.quick { (7, Duration::from_millis(360)) } else { (15, Duration::from_secs(1)) }
    }

    /// A new arena in shared memory, with the cell that `kind` makes of it.
    fn arena(&self, name: &str, kind: Kind, time: Duration) -> Result<(Arena, Spec)> {
        let file = self.places.file(Place::Shm, name);
        let arena = Arena::options().durability(Durability::Process).create(&file)?;
        let spec = Spec {
            system: SystemId::Heapfile,
            place: Place::Shm,
            mode: Mode::Each,
            kind,
            live: 0,
            min: 1,
            max: 1,
            threads: 1,
            processes: 2,
            millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            seed: 1,
            file,
            join: true,
        };
        Ok((arena, spec))
    }
}

/// Starts a cell and waits until it is ready.
fn start(spec: &Spec) -> Result<Worker> {
    let mut worker = Worker::start(spec, None)?;
    worker.answer(PATIENCE)?;
    Ok(worker)
}

/// A word alone in its cache lines.
#[repr(align(128))]
struct Word(AtomicU64);

impl Word {
    /// Takes the lock and releases it.
    #[inline]
    fn lock_and_unlock(&self, owner: u64) {
        while self.0.compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        self.0.store(0, Ordering::Release);
    }

    /// The same, released so that it is seen whether somebody sleeps on it.
    #[inline]
    fn lock_and_exchange(&self, owner: u64) {
        while self.0.compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        let sleepers = self.0.swap(0, Ordering::Release) != owner;
        assert!(!sleepers, "nobody else is here");
    }
}

/// Does `op` in each of `threads` threads at the same time until `time` is over; nanoseconds per operation and thread.
///
/// Each has a processor of its own, if there are enough, and they wait for each other without sleeping: the scheduler would wake
/// one on the processor of the other, and for a short round they would run one after the other.
fn each(threads: usize, time: Duration, op: impl Fn(u64) -> heapfile::Result<()> + Sync) -> Result<f64> {
    const CHUNK: u64 = 1000;
    let missing = AtomicUsize::new(threads);
    let processors = processors()?;
    let timed = &|thread: usize| -> Result<f64> {
        if let Some(&processor) = processors.get(thread) {
            let mut only = CpuSet::new();
            only.set(processor);
            // Without, the figure is only less sure.
            let _ = sched_setaffinity(None, &only);
        }
        missing.fetch_sub(1, Ordering::SeqCst);
        while missing.load(Ordering::SeqCst) > 0 {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        let mut done = 0;
        loop {
            (0..CHUNK).try_for_each(|_| op(thread as u64 + 1))?;
            done += CHUNK;
            let elapsed = start.elapsed();
            if elapsed >= time {
                return Ok(elapsed.as_nanos() as f64 / done as f64);
            }
        }
    };
    let sum = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|n| scope.spawn(move || timed(n))).collect();
        let panicked = || Failure::new("a thread panicked");
        all.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(panicked()))).sum::<Result<f64>>()
    })?;
    Ok(sum / threads as f64)
}

/// The processors that this program may run on.
fn processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&n| set.is_set(n)).collect())
}

/// The writer lock that nobody else wants, against bare locks: taken by a compare-and-swap, released by a store, which can tell nobody that it is free, or
/// by an exchange, which can.
fn lock(stage: &Stage<'_>) -> Result<Vec<Figures>> {
    let title =
        "take and release a lock that nobody else wants; of heapfile, a write transaction without a change";
    let (arena, _) = stage.arena("lock.heap", Kind::Attend, Duration::ZERO)?;
    let (rounds, time) = stage.short_rounds();
    let word = Word(AtomicU64::new(0));
    let figures = Figures::new("lock", title, "ns per pair")
        .row("compare-and-swap, store", None)
        .row("compare-and-swap, exchange", Some(0))
        .row("write, drop", Some(1))
        .row("write, commit", Some(1));
    let figures = figures.interleave(rounds, |row| match row {
        0 => each(1, time, |owner| {
            word.lock_and_unlock(owner);
            Ok(())
        }),
        1 => each(1, time, |owner| {
            word.lock_and_exchange(owner);
            Ok(())
        }),
        2 => each(1, time, |_| arena.write().map(drop)),
        _ => each(1, time, |_| arena.write()?.commit()),
    })?;
    Ok(vec![figures])
}

/// Begin and end of a read transaction: one thread and two, alone and with another process that has the file open.
fn read(stage: &Stage<'_>) -> Result<Vec<Figures>> {
    let title = "begin and end a read transaction";
    let (arena, attends) = stage.arena("read.heap", Kind::Attend, Duration::ZERO)?;
    let (rounds, time) = stage.short_rounds();
    let (shared, _) = stage.arena("read-shared.heap", Kind::Attend, Duration::ZERO)?;
    let attends = Spec { file: shared.path().to_owned(), ..attends };
    let other = start(&attends)?;
    let figures = Figures::new("read", title, "ns per transaction and thread")
        .row("1 thread", None)
        .row("2 threads", Some(0))
        .row("1 thread, 2 processes attached", Some(0))
        .row("2 threads, 2 processes attached", Some(2));
    let figures = figures.interleave(rounds, |row| {
        let arena = if row < 2 { &arena } else { &shared };
        each(1 + row % 2, time, |_| arena.read().map(drop))
    })?;
    other.finish()?;
    Ok(vec![figures])
}

/// From the kill of the lock's owner to the return of `write` in this process.
fn take_over(stage: &Stage<'_>) -> Result<Vec<Figures>> {
    let kills = if stage.quick { 30 } else { 100 };
    let title =
        "from SIGKILL to the writer lock's owner until another process's write() returns; the median is p50";
    let (arena, owns) = stage.arena("take-over.heap", Kind::Own, Duration::ZERO)?;
    let mut kill = 0u64;
    let figures = Figures::new("take_over", title, "us")
        .row("write() called after the kill", None)
        .row("write() waited 1 to 70 ms before", Some(0))
        .interleave(kills, |row| {
            let mut owner = start(&owns)?;
            kill += 1;
            if row == 0 {
                let killed = Instant::now();
                owner.kill()?;
                drop(arena.write()?);
                return Ok(micros(killed.elapsed()));
            }
            let ahead = Duration::from_millis(1 + kill * 23 % 70);
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| arena.write().map(|_| Instant::now()));
                std::thread::sleep(ahead);
                let killed = Instant::now();
                owner.kill()?;
                let taken = waiting.join().map_err(|_| Failure::new("a thread panicked"))??;
                Ok(micros(taken.duration_since(killed)))
            })
        })?;
    Ok(vec![figures])
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// Commits of eight bytes, alone and beside a process that reads for 10 ms and pauses for 10 ms.
fn writer_beside_reader(stage: &Stage<'_>) -> Result<Vec<Figures>> {
    writer_beside(stage, Kind::Spells, "writer_beside_reader", ["no reader", "a reader, 10 ms of 20"])
}

/// The same beside a process whose write transactions take 5 ms, and follow each other without a pause.
fn writer_beside_writer(stage: &Stage<'_>) -> Result<Vec<Figures>> {
    writer_beside(
        stage,
        Kind::Busy,
        "writer_beside_writer",
        ["no other writer", "one with 5 ms at a time, no pause"],
    )
}

fn writer_beside(
    stage: &Stage<'_>,
    kind: Kind,
    scene: &str,
    [alone, beside]: [&'static str; 2],
) -> Result<Vec<Figures>> {
    let (rounds, time) = stage.long_rounds();
    let (arena, part) = stage.arena(&format!("{scene}.heap"), kind, time + 2 * SPELL)?;
    let counter = arena.alloc(&0u64)?;
    let mut other = start(&part)?;
    let name = |measure: &str| format!("{scene}{measure}");
    let table =
        |measure, title, unit| Figures::new(name(measure), title, unit).row(alone, None).row(beside, Some(0));
    let mut tables = vec![
        table("", "one writer commits 8 bytes again and again", "ns per commit"),
        table("/p50", "latency of its commits, median", "ns"),
        table("/p99", "latency of its commits, 99th percentile", "ns"),
        table("/max", "latency of its commits, the longest", "us"),
    ];
    for row in turns(rounds, 2) {
        if row == 1 {
            other.tell("round")?;
        }
        let (commit, latencies) = commits(&arena, counter, time)?;
        if row == 1 {
            other.answer(PATIENCE)?;
        }
        let longest = micros(Duration::from_nanos(latencies.longest()));
        let quantile = |share| latencies.quantile(share) as f64;
        for (table, sample) in tables.iter_mut().zip([commit, quantile(0.5), quantile(0.99), longest]) {
            table.add(row, sample);
        }
    }
    other.finish()?;
    Ok(tables)
}

/// Commits until `time` is over: nanoseconds per commit, and the latency of each from `write()` to the end of `commit()`.
fn commits(arena: &Arena, counter: Offset<u64>, time: Duration) -> Result<(f64, Latencies)> {
    let mut latencies = Latencies::new();
    let start = Instant::now();
    let (mut before, mut done) = (Duration::ZERO, 0u64);
    while before < time {
        let mut tx = arena.write()?;
        *tx.get_mut(counter)? += 1;
        tx.commit()?;
        done += 1;
        let now = start.elapsed();
        latencies.add((now - before).as_nanos() as u64);
        before = now;
    }
    Ok((before.as_nanos() as f64 / done as f64, latencies))
}
