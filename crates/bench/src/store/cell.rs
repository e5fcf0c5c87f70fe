//! One store in a process of its own: reads a command per line, answers each with one line of JSON.
//!
//! It says `{"ready":true}` when the store is open, with the time from the call that opened it to the first entry found. `load`, `get MS`,
//! `replace MS`, `batch MS`, `stretch MS` and `latency MS` measure once: `{"values":{NAME:NUMBER}}`; `churn` replaces until
//! the process is killed; `finish`, or the end of the input, closes the store. `{"error":TEXT}` ends it at any time.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::kv::{Key, Kind, Kv, LONG, StoreId, VALUE, expected, key, value};
use super::peers;
use crate::disk::Counts;
use crate::latency::Latencies;
use crate::rng::Rng;
use crate::system::{Failure, Result};

/// Replacements in one transaction of the workload `batch`.
const BATCH: usize = 1000;

/// What the cell works on. The bench passes these to itself.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct CellSpec {
    #[arg(long)]
    pub(super) store: StoreId,
    #[arg(long)]
    pub(super) kind: Kind,
    #[arg(long)]
    pub(super) entries: u64,
    /// Seed of the order in which entries are chosen.
    #[arg(long)]
    pub(super) seed: u64,
    /// A directory of the store's own.
    #[arg(long)]
    pub(super) dir: PathBuf,
}

impl CellSpec {
    pub(super) fn args(&self) -> Vec<String> {
        use clap::ValueEnum;
        let name =
            |v: Option<clap::builder::PossibleValue>| v.map_or(String::new(), |v| v.get_name().to_owned());
        vec![
            "store-cell".to_owned(),
            format!("--store={}", name(self.store.to_possible_value())),
            format!("--kind={}", name(self.kind.to_possible_value())),
            format!("--entries={}", self.entries),
            format!("--seed={}", self.seed),
            format!("--dir={}", self.dir.display()),
        ]
    }
}

type Values = BTreeMap<&'static str, f64>;

fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Runs the cell; exit code of the process.
pub(crate) fn main(spec: &CellSpec) -> ExitCode {
    match run(spec) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if the parent's pipe is shut.
            let _ = say(&json!({ "error": failure.to_string() }));
            ExitCode::FAILURE
        }
    }
}

struct Cell<'s> {
    spec: &'s CellSpec,
    store: Box<dyn Kv>,
    rng: Rng,
    /// Goes into each value, so that none is written over by itself.
    version: u64,
}

fn run(spec: &CellSpec) -> Result<()> {
    // A bench that is killed takes its cells with it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let (open, version) = peers::find(spec.store).map_err(Failure::new)?;
    let start = Instant::now();
    let mut store = open(&spec.dir, spec.kind)?;
    let found = store.get(&key(0))?.is_some();
    let opened = start.elapsed().as_nanos() as f64;
    say(&json!({ "ready": true, "version": version, "opened": opened, "found": found }))?;
    let mut cell = Cell { spec, store, rng: Rng::new(spec.seed), version: spec.seed };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (command, millis) = line.split_once(' ').unwrap_or((&line, "0"));
        let time = Duration::from_millis(millis.parse()?);
        let values = match command {
            "load" => cell.load()?,
            "get" => cell.timed("get", time, 100, Cell::get)?,
            "replace" => cell.timed("replace", time, 20, Cell::replace)?,
            "batch" => cell.timed("batch", time, 1, Cell::batch)?,
            "stretch" => cell.timed("stretch", time, 5, Cell::stretch)?,
            "latency" => cell.latency(time)?,
            "churn" => loop {
                cell.replace()?;
            },
            "finish" => break,
            _ => return Err(Failure::new(format!("unknown command {command}"))),
        };
        say(&json!({ "values": values }))?;
    }
    Ok(())
}

impl Cell<'_> {
    /// All entries in one transaction, in random order; then what they take on the disk.
    fn load(&mut self) -> Result<Values> {
        let entries = self.spec.entries;
        let start = Instant::now();
        self.store.put_all(&mut (0..entries).map(|n| (key(n), value(&key(n), 0, VALUE))))?;
        let load = start.elapsed().as_nanos() as f64;
        self.store.sync()?;
        let bytes = bytes_in(&self.spec.dir)? as f64;
        Ok(Values::from([("load", load / entries as f64), ("bytes", bytes / entries as f64)]))
    }

    fn any(&mut self) -> Key {
        key(self.rng.below(self.spec.entries as usize) as u64)
    }

    #[inline]
    fn get(&mut self) -> Result<()> {
        let key = self.any();
        let found = self.store.get(&key)?;
        if found == expected(&key) { Ok(()) } else { Err(Failure::new(format!("{key:?} has {found:?}"))) }
    }

    fn replace(&mut self) -> Result<()> {
        let key = self.any();
        self.version += 1;
        self.store.put(&key, &value(&key, self.version, VALUE))
    }

    fn batch(&mut self) -> Result<()> {
        let keys: Vec<Key> = (0..BATCH).map(|_| self.any()).collect();
        self.version += 1;
        let version = self.version;
        self.store.put_all(&mut keys.into_iter().map(|key| (key, value(&key, version, VALUE))))
    }

    /// A value becomes long, and short again.
    fn stretch(&mut self) -> Result<()> {
        let key = self.any();
        self.version += 1;
        self.store.put(&key, &value(&key, self.version, LONG))?;
        self.store.put(&key, &value(&key, self.version, VALUE))
    }

    /// Does `step` until the time is over, `chunk` times between two looks at the clock; with what the disk did meanwhile.
    fn timed(
        &mut self,
        name: &'static str,
        time: Duration,
        chunk: usize,
        mut step: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<Values> {
        let (disk, mut done) = (Counts::now(&self.spec.dir), 0);
        let start = Instant::now();
        let elapsed = loop {
            (0..chunk).try_for_each(|_| step(self))?;
            done += chunk;
            let elapsed = start.elapsed();
            if elapsed >= time {
                break elapsed;
            }
        };
        let per_step = |n: u64| n as f64 / done as f64;
        let mut values = Values::from([(name, elapsed.as_nanos() as f64 / done as f64)]);
        if let (Some(before), Some(after)) = (disk, Counts::now(&self.spec.dir))
            && self.spec.kind == Kind::Power
        {
            let disk = after.since(before);
            values.insert("disk_bytes", per_step(disk.bytes));
            values.extend(disk.flushes.map(|flushes| ("disk_flushes", per_step(flushes))));
        }
        Ok(values)
    }

    /// Gets one by one, with the clock read between them.
    fn latency(&mut self, time: Duration) -> Result<Values> {
        let mut latencies = Latencies::new();
        let (start, mut before, mut done) = (Instant::now(), Duration::ZERO, 0u64);
        while before < time {
            self.get()?;
            done += 1;
            let now = start.elapsed();
            latencies.add((now - before).as_nanos() as u64);
            before = now;
        }
        let each = before.as_nanos() as f64 / done as f64;
        Ok(Values::from([("beside", each), ("beside_p99", latencies.quantile(0.99) as f64)]))
    }
}

/// Bytes that all files of a directory occupy.
fn bytes_in(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let data = entry.metadata()?;
        sum += if data.is_dir() { bytes_in(&entry.path())? } else { data.blocks() * 512 };
    }
    Ok(sum)
}
