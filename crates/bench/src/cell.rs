//! One measurement in a process of its own: a fresh address space for every system, an allocator of its own by
//! preloading, and a process that can be killed.
//!
//! The parent writes one command per line to the cell's standard input, the cell answers each with one line of JSON.
//! It says `{"ready":true}` once the heap is prepared. `round` measures once: `{"values":{NAME:NUMBER}}`; `finish` checks the
//! blocks, measures space, closes and ends; `churn` goes on until the process is killed. `{"error":TEXT}` ends it
//! at any time; so does the end of the input.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use heapfile::Durability;
use serde_json::json;

use crate::arena::ArenaSystem;
use crate::company;
use crate::contender::{Mode, Place, SystemId};
use crate::disk::Counts;
use crate::ffi::{self, Foreign};
use crate::raw;
use crate::rng::{Rng, Sizes};
use crate::system::{Block, Failure, Heap, Result, System};
use crate::work::{Change, Churn, Kind, Pair, Step, Timing, run_for, setup_mode};

/// What the cell is to measure. The bench passes these to itself.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Spec {
    #[arg(long)]
    pub(crate) system: SystemId,
    #[arg(long)]
    pub(crate) place: Place,
    #[arg(long)]
    pub(crate) mode: Mode,
    #[arg(long)]
    pub(crate) kind: Kind,
    /// Live blocks, over all threads.
    #[arg(long)]
    pub(crate) live: usize,
    /// Shortest block, in bytes.
    #[arg(long)]
    pub(crate) min: u32,
    /// Longest block, in bytes.
    #[arg(long)]
    pub(crate) max: u32,
    #[arg(long)]
    pub(crate) threads: usize,
    /// Processes on one file, with so many live blocks each.
    #[arg(long)]
    pub(crate) processes: u64,
    /// Length of a round.
    #[arg(long)]
    pub(crate) millis: u64,
    #[arg(long)]
    pub(crate) seed: u64,
    /// The file; ignored by systems without one.
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// Open the file, which exists, instead of creating it.
    #[arg(long)]
    pub(crate) join: bool,
}

impl Spec {
    /// The same as command line arguments.
    pub(crate) fn args(&self) -> Vec<String> {
        use clap::ValueEnum;
        let name =
            |v: Option<clap::builder::PossibleValue>| v.map_or(String::new(), |v| v.get_name().to_owned());
        let mut args = vec!["cell".to_owned()];
        let mut option = |key: &str, value: String| args.push(format!("--{key}={value}"));
        option("system", name(self.system.to_possible_value()));
        option("place", name(self.place.to_possible_value()));
        option("mode", self.mode.to_string());
        option("kind", name(self.kind.to_possible_value()));
        option("live", self.live.to_string());
        option("min", self.min.to_string());
        option("max", self.max.to_string());
        option("threads", self.threads.to_string());
        option("processes", self.processes.to_string());
        option("millis", self.millis.to_string());
        option("seed", self.seed.to_string());
        option("file", self.file.display().to_string());
        if self.join {
            args.push("--join".to_owned());
        }
        args
    }

    /// Room for the blocks of all processes, with a peer's headers and holes. The file is sparse: what is not used costs nothing.
    fn file_bytes(&self, sizes: &Sizes) -> u64 {
        let live = (self.live as f64 * (2.0 * sizes.mean() + 64.0)) as u64;
        (live * self.processes + (256 << 20)).next_multiple_of(1 << 20)
    }
}

/// Named figures of one answer.
pub(crate) type Values = BTreeMap<&'static str, f64>;

fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The cell is what it is to be.
pub(crate) fn say_ready() -> Result<()> {
    say(&json!({ "ready": true }))
}

fn say_values(values: &Values) -> Result<()> {
    say(&json!({ "values": values }))
}

fn next_command() -> Result<Option<String>> {
    let mut line = String::new();
    let n = std::io::stdin().lock().read_line(&mut line)?;
    Ok((n > 0).then(|| line.trim().to_owned()))
}

/// Runs the cell; exit code of the process.
pub(crate) fn main(spec: &Spec) -> std::process::ExitCode {
    match run(spec) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if the parent's pipe is shut.
            let _ = say(&json!({ "error": failure.to_string() }));
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(spec: &Spec) -> Result<()> {
    // A bench that is killed takes its cells with it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if spec.kind == Kind::Probe {
        return say(&json!({ "version": version(spec.system)? }));
    }
    if matches!(spec.kind, Kind::Attend | Kind::Own | Kind::Spells | Kind::Busy) {
        return company::play(spec);
    }
    let sizes = Sizes::log_uniform(spec.min, spec.max);
    let bytes = if spec.join { 0 } else { spec.file_bytes(&sizes) };
    let file = spec.file.as_path();
    let arena = |durability| {
        if spec.join { ArenaSystem::open(file) } else { ArenaSystem::create(file, durability) }
    };
    match spec.system {
        SystemId::Heapfile => serve(|| arena(Durability::Process), spec, &sizes),
        SystemId::HeapfilePower => serve(|| arena(Durability::Power), spec, &sizes),
        SystemId::Boost => serve(|| Foreign::boost(file, bytes), spec, &sizes),
        SystemId::BoostOneLock => serve(|| Foreign::boost_one_lock(file, bytes), spec, &sizes),
        SystemId::Pmdk => serve(|| Foreign::pmdk(file, bytes), spec, &sizes),
        SystemId::Mimalloc | SystemId::Jemalloc | SystemId::Glibc => {
            version(spec.system)?;
            serve(Foreign::malloc, spec, &sizes)
        }
        SystemId::RawDsync => {
            let mut log = raw::Log::create(file)?;
            converse(spec, |time| with_disk(file, || log.change_for(time))).map(drop)
        }
    }
}

/// Version of a system, or why it is missing.
fn version(system: SystemId) -> Result<String> {
    let loaded = |version: Option<String>| {
        version.ok_or_else(|| {
            let names = system.preload().join(", ");
            Failure::new(format!(
                "none of {names} could be loaded (Debian: apt-get install {})",
                system.package()
            ))
        })
    };
    match system {
        SystemId::Boost | SystemId::BoostOneLock => ffi::boost_version(),
        SystemId::Pmdk => ffi::pmdk_version(),
        SystemId::Mimalloc => loaded(ffi::mimalloc_version()),
        SystemId::Jemalloc => loaded(ffi::jemalloc_version()),
        SystemId::Glibc => Ok(ffi::libc_version()),
        SystemId::Heapfile | SystemId::HeapfilePower => Ok("of this tree".to_owned()),
        SystemId::RawDsync => Ok("of this bench".to_owned()),
    }
}

/// Answers `round` until told to finish; false when the parent has gone without a word.
pub(crate) fn converse(spec: &Spec, mut round: impl FnMut(Duration) -> Result<Values>) -> Result<bool> {
    say_ready()?;
    let time = Duration::from_millis(spec.millis);
    while let Some(command) = next_command()? {
        match command.as_str() {
            "round" => say(&json!({ "values": round(time)? }))?,
            "finish" => return Ok(true),
            other => return Err(Failure::new(format!("{other}: no such command"))),
        }
    }
    Ok(false)
}

fn serve<S: System>(open: impl FnOnce() -> Result<S>, spec: &Spec, sizes: &Sizes) -> Result<()> {
    let started = Instant::now();
    let system = open()?;
    match spec.kind {
        Kind::Pair => pair(&system, spec, sizes),
        Kind::Churn => churn(&system, spec, sizes),
        Kind::Build => build(&system, spec, sizes),
        Kind::Make => make(&system, spec, sizes),
        Kind::Open => {
            system.read_root()?;
            reopened(&system, spec, started.elapsed())
        }
        Kind::Change => change(&system, spec, sizes),
        Kind::Probe | Kind::Attend | Kind::Own | Kind::Spells | Kind::Busy => {
            Err(Failure::new("not a workload of a heap"))
        }
    }?;
    drop(system);
    say(&json!({ "closed": true }))
}

/// Steps between two looks at the clock. Flushes are slow: few.
fn chunk(spec: &Spec) -> usize {
    match (spec.kind, spec.mode) {
        (Kind::Change, Mode::Each | Mode::Submit) => 16,
        (_, Mode::Each | Mode::Submit) => 1000,
        (_, Mode::Tx(batch)) => 1000usize.next_multiple_of(batch),
    }
}

/// One table of blocks per thread.
fn tables<'s>(spec: &Spec, sizes: &'s Sizes) -> impl Iterator<Item = Churn<'s>> {
    let (live, seed) = (spec.live / spec.threads, spec.seed);
    (0..spec.threads as u64).map(move |t| Churn::new(live, sizes, Rng::new(seed + t)))
}

fn pair<S: System>(system: &S, spec: &Spec, sizes: &Sizes) -> Result<()> {
    let mut pairs: Vec<Pair<'_>> = tables(spec, sizes).map(Pair).collect();
    timed(system, spec, &mut pairs).map(drop)
}

fn churn<S: System>(system: &S, spec: &Spec, sizes: &Sizes) -> Result<()> {
    let mut churns: Vec<Churn<'_>> = tables(spec, sizes).collect();
    let before = Space::now(spec);
    let finished = timed(system, spec, &mut churns)?;
    // With several threads, their own memory would count as the heap's.
    if finished && spec.threads == 1 {
        say_values(&before.ratios(spec, system, churns.iter().flat_map(|c| c.blocks())))?;
    }
    Ok(())
}

/// Prepares, measures as often as it is told, verifies: each workload in a thread of its own, which lives as long as the
/// cell, or, if there is only one, in the process's first thread, where malloc knows that it is alone.
fn timed<S: System, T: Step>(system: &S, spec: &Spec, works: &mut [T]) -> Result<bool> {
    if let [work] = works {
        let mut heap = system.heap();
        work.prepare(&mut heap)?;
        let finished = converse(spec, |time| {
            run_for(&mut heap, work, spec.mode, chunk(spec), time / 10)?;
            let mut measured = || run_for(&mut heap, work, spec.mode, chunk(spec), time);
            if spec.kind == Kind::Change {
                return with_disk(&spec.file, measured);
            }
            Ok(Values::from([("time", measured()?.step)]))
        })?;
        work.verify(&mut heap)?;
        return Ok(finished);
    }
    let start = Barrier::new(works.len());
    std::thread::scope(|scope| {
        let mut crew = Vec::new();
        for work in works {
            let (command, commands) = mpsc::channel::<Duration>();
            let (answer, answers) = mpsc::channel::<Result<f64>>();
            let start = &start;
            scope.spawn(move || {
                let mut heap = system.heap();
                let prepared = work.prepare(&mut heap).map(|()| 0.0);
                // A parent that has stopped listening needs no answer.
                let _ = answer.send(prepared);
                for time in commands {
                    start.wait();
                    let warm = run_for(&mut heap, work, spec.mode, chunk(spec), time / 10);
                    let measured = warm.and_then(|_| run_for(&mut heap, work, spec.mode, chunk(spec), time));
                    let _ = answer.send(measured.map(|timing| timing.step));
                }
                let _ = answer.send(work.verify(&mut heap).map(|()| 0.0));
            });
            crew.push((command, answers));
        }
        let hear = |answers: &mpsc::Receiver<Result<f64>>| {
            answers.recv().unwrap_or_else(|_| Err(Failure::new("a thread panicked")))
        };
        crew.iter().try_for_each(|(_, answers)| hear(answers).map(drop))?;
        let finished = converse(spec, |time| {
            crew.iter().try_for_each(|(command, _)| command.send(time))?;
            let sum = crew.iter().map(|(_, answers)| hear(answers)).sum::<Result<f64>>()?;
            Ok(Values::from([("time", sum / crew.len() as f64)]))
        })?;
        for (command, answers) in crew {
            drop(command);
            hear(&answers)?;
        }
        Ok(finished)
    })
}

/// A measurement of what is durable, and what the disk that holds the file wrote meanwhile, per step: bytes and flushes of all programs, the file system's
/// journal among them. (What the kernel counts for a process is no use here: one byte changed is a whole large folio there.)
fn with_disk(file: &Path, measure: impl FnOnce() -> Result<Timing>) -> Result<Values> {
    let before = Counts::now(file);
    let timing = measure()?;
    let mut values = Values::from([("time", timing.step)]);
    if let (Some(before), Some(after)) = (before, Counts::now(file)) {
        let per_step = |n: u64| n as f64 / timing.steps as f64;
        let done = after.since(before);
        values.insert("disk_bytes", per_step(done.bytes));
        values.extend(done.flushes.map(|flushes| ("disk_flushes", per_step(flushes))));
    }
    Ok(values)
}

/// Touches memory and gives it back. A hypervisor may take what is free, and takes its time to supply it again: what a system that gets it then has to wait is
/// not its own doing, and as much for all.
fn warm_up_memory(bytes: usize) -> Result<()> {
    const PAGE: usize = 4096;
    let mut memory = memmap2::MmapMut::map_anon(bytes.max(PAGE))?;
    // In the order in which it will be wanted, large pieces first; only advice.
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    Ok(())
}

/// One round per process: a heap that has been built and emptied once is not the same any more.
fn build<S: System>(system: &S, spec: &Spec, sizes: &Sizes) -> Result<()> {
    let mut heap = system.heap();
    let mut churn = Churn::new(spec.live, sizes, Rng::new(spec.seed));
    let mut space = Values::new();
    let finished = converse(spec, |_| {
        let before = Space::now(spec);
        warm_up_memory(spec.live * spec.max as usize)?;
        let start = Instant::now();
        churn.fill(&mut heap, spec.mode)?;
        let build = start.elapsed().as_nanos() as f64 / spec.live as f64;
        churn.verify(&mut heap)?;
        space = before.ratios(spec, system, churn.blocks());
        churn.shuffle();
        let start = Instant::now();
        churn.free_all(&mut heap, spec.mode)?;
        let free = start.elapsed().as_nanos() as f64 / spec.live as f64;
        Ok(Values::from([("build", build), ("random_free", free)]))
    })?;
    if finished { say_values(&space) } else { Ok(()) }
}

fn make<S: System>(system: &S, spec: &Spec, sizes: &Sizes) -> Result<()> {
    let mut heap = system.heap();
    let mode = setup_mode(&heap);
    let mut churn = Churn::new(spec.live, sizes, Rng::new(spec.seed));
    churn.fill(&mut heap, mode)?;
    if let Some(first) = churn.blocks().next() {
        system.set_root(first)?;
    }
    until_killed_or_told(&mut heap, Values::new())
}

fn reopened<S: System>(system: &S, spec: &Spec, time: Duration) -> Result<()> {
    debug_assert!(spec.join);
    until_killed_or_told(&mut system.heap(), Values::from([("time", time.as_nanos() as f64)]))
}

/// Answers `round` with what was measured already; after `churn`, allocates and frees until killed.
fn until_killed_or_told<H: Heap>(heap: &mut H, measured: Values) -> Result<()> {
    say_ready()?;
    while let Some(command) = next_command()? {
        match command.as_str() {
            "round" => say_values(&measured)?,
            "churn" => {
                // Ready only after the first: a heap that can be opened is not always one that works.
                let mut block = heap.alloc_touched(200)?;
                say_ready()?;
                loop {
                    heap.free(block)?;
                    block = heap.alloc_touched(200)?;
                }
            }
            "finish" => break,
            other => return Err(Failure::new(format!("{other}: no such command"))),
        }
    }
    Ok(())
}

fn change<S: System>(system: &S, spec: &Spec, sizes: &Sizes) -> Result<()> {
    let mut works: Vec<Change<'_>> = tables(spec, sizes).map(Change).collect();
    timed(system, spec, &mut works).map(drop)
}

/// What the heap occupied before the blocks were there.
struct Space {
    pages: u64,
}

impl Space {
    fn now(spec: &Spec) -> Self {
        Self { pages: occupied(spec.place, &spec.file) }
    }

    /// Space as a multiple of the live bytes: pages that the file (or, in memory, the process) occupies; span from
    /// the lowest to the highest live byte; bytes that the system itself counts.
    fn ratios<'b, S: System>(
        &self,
        spec: &Spec,
        system: &S,
        blocks: impl Iterator<Item = &'b Block>,
    ) -> Values {
        let (mut live, mut low, mut high) = (0u64, u64::MAX, 0u64);
        for block in blocks {
            let end = block.at() + u64::from(block.len());
            (live, low, high) = (live + u64::from(block.len()), low.min(block.at()), high.max(end));
        }
        let per_live = |bytes: u64| bytes as f64 / live.max(1) as f64;
        let pages = occupied(spec.place, &spec.file).saturating_sub(self.pages);
        let mut values = Values::new();
        // No growth: the system has reserved the whole file before, which says nothing about what it needs.
        if pages > 0 {
            values.insert("space_pages", per_live(pages));
        }
        if spec.place != Place::Dram {
            values.insert("space_span", per_live(high.saturating_sub(low)));
        }
        if let Some(bytes) = system.heap_bytes() {
            values.insert("space_heap", per_live(bytes));
        }
        values
    }
}

/// Bytes of the file's pages that exist, or of the process's memory.
fn occupied(place: Place, file: &Path) -> u64 {
    match place {
        Place::Dram => {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            pages * rustix::param::page_size() as u64
        }
        Place::Shm | Place::Disk => file.metadata().map_or(0, |m| m.blocks() * 512),
    }
}
