//! The run: which stores are there, who is told to measure what, and when.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use serde_json::json;

use super::cell::CellSpec;
use super::kv::{Kind, StoreId};
use super::peers;
use super::table::Table;
use super::worker::{measure as measure_in, start};
use crate::contender::Place;
use crate::places::Places;
use crate::run::refuse_unknown;
use crate::system::{Failure, Result};
use crate::worker::Worker;

/// Options of the bench `store`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// 100,000 entries, fewer and shorter rounds: under 45 s.
    #[arg(long)]
    quick: bool,
    /// One JSON object per line instead of tables.
    #[arg(long)]
    json: bool,
    /// Numbers of entries [default: 1000000,5000000].
    #[arg(long, value_delimiter = ',')]
    entries: Vec<u64>,
    /// Only workloads whose name starts with one of these.
    #[arg(long, value_delimiter = ',')]
    work: Vec<String>,
    /// Only these stores.
    #[arg(long, value_delimiter = ',')]
    store: Vec<StoreId>,
    /// Where files in memory go: those of kill-safe stores.
    #[arg(long, default_value = "/dev/shm")]
    shm_dir: PathBuf,
    /// Where files on a disk go: those of durable stores; by default the directory of the program.
    #[arg(long)]
    disk_dir: Option<PathBuf>,
}

/// A workload: what its cells are told, and the tables for what they answer.
struct Work {
    name: &'static str,
    kind: Kind,
    step: Step,
    tables: &'static [Measure],
}

/// How the figures are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Filling the store, once.
    Load,
    /// A command, in each round.
    Command(&'static str),
    /// A second cell reads while the first one replaces.
    Beside,
    /// The cell is killed at work, and another one opens what it left.
    Reopen,
}

/// A figure of an answer.
#[derive(Clone, Copy)]
struct Measure {
    /// Its name there.
    name: &'static str,
    /// Goes after the workload's name.
    suffix: &'static str,
    title: &'static str,
    unit: &'static str,
}

const fn measure(
    name: &'static str,
    suffix: &'static str,
    title: &'static str,
    unit: &'static str,
) -> Measure {
    Measure { name, suffix, title, unit }
}

const DISK: [Measure; 2] = [
    measure("disk_bytes", "/disk_bytes", "what the disk wrote meanwhile, for all programs", "bytes per op"),
    measure(
        "disk_flushes",
        "/disk_flushes",
        "flushes of the disk meanwhile, by all programs",
        "flushes per op",
    ),
];

const WORKS: [Work; 8] = [
    Work {
        name: "load",
        kind: Kind::Power,
        step: Step::Load,
        tables: &[
            measure(
                "load",
                "",
                "load all entries in random order, in one durable transaction",
                "ns per entry",
            ),
            measure("bytes", "/bytes", "what the files occupy after that", "bytes per entry"),
        ],
    },
    Work {
        name: "get",
        kind: Kind::Kill,
        step: Step::Command("get"),
        tables: &[measure("get", "", "get a random entry, in a read transaction of its own", "ns per op")],
    },
    Work {
        name: "replace",
        kind: Kind::Kill,
        step: Step::Command("replace"),
        tables: &[measure(
            "replace",
            "",
            "replace a value by one of the same length, kill-safe",
            "ns per op",
        )],
    },
    Work {
        name: "beside_writer",
        kind: Kind::Kill,
        step: Step::Beside,
        tables: &[
            measure("beside", "", "get in a second process while one replaces", "ns per op"),
            measure("beside_p99", "/p99", "latency of these, 99th percentile", "ns"),
        ],
    },
    Work {
        name: "replace_durable",
        kind: Kind::Power,
        step: Step::Command("replace"),
        tables: &[
            measure("replace", "", "replace a value by one of the same length, durable", "ns per op"),
            DISK[0],
            DISK[1],
        ],
    },
    Work {
        name: "batch_durable",
        kind: Kind::Power,
        step: Step::Command("batch"),
        tables: &[
            measure("batch", "", "1000 replacements in one durable transaction", "ns per transaction"),
            DISK[0],
            DISK[1],
        ],
    },
    Work {
        name: "stretch_durable",
        kind: Kind::Power,
        step: Step::Command("stretch"),
        tables: &[measure(
            "stretch",
            "",
            "a value becomes 10 KiB and 100 bytes again, durable",
            "ns per pair",
        )],
    },
    Work {
        name: "reopen_killed",
        kind: Kind::Power,
        step: Step::Reopen,
        tables: &[measure("opened", "", "open after a kill at work, to the first entry found", "ns")],
    },
];

/// What a run has.
struct Runner<'r> {
    options: &'r Options,
    places: &'r Places,
    stores: Vec<StoreId>,
}

/// A store that is filled, its cell running.
struct Ready {
    store: StoreId,
    spec: CellSpec,
    cell: Option<Worker>,
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    refuse_unknown(&options.work, WORKS.iter().map(|work| work.name));
    let disk = match &options.disk_dir {
        Some(dir) => dir.clone(),
        None => std::env::current_exe()?.with_file_name(""),
    };
    let places = Places::make(&options.shm_dir, &disk)?;
    let mut out = std::io::stdout();
    let mut runner = Runner { options, places: &places, stores: Vec::new() };
    runner.look_for_stores(&mut out)?;
    let quick: &[u64] = if options.quick { &[100_000] } else { &[1_000_000, 5_000_000] };
    let sizes = if options.entries.is_empty() { quick } else { &options.entries };
    for &entries in sizes {
        for kind in [Kind::Power, Kind::Kill] {
            let works: Vec<&Work> =
                WORKS.iter().filter(|w| w.kind == kind && options.wants(w.name)).collect();
            if !works.is_empty() {
                runner.measure(entries, kind, &works, &mut out)?;
            }
        }
    }
    Ok(())
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.work.is_empty() || self.work.iter().any(|w| name.starts_with(w.as_str()))
    }
}

impl Runner<'_> {
    /// Asks each store, in a process of its own, whether it is there; prints the head of the report.
    fn look_for_stores(&mut self, out: &mut impl Write) -> Result<()> {
        let machine = self.places.machine();
        if self.options.json {
            writeln!(out, "{}", json!({ "bench": "store", "machine": machine }))?;
        } else {
            let text = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
            writeln!(
                out,
                "{}, {} cores, {}, Linux {}, load {}",
                text("cpu"),
                machine["cores"],
                text("memory"),
                text("kernel"),
                text("load")
            )?;
            writeln!(out, "shm is {}, disk is {}", text("shm"), text("disk"))?;
        }
        for store in StoreId::ALL {
            if !self.options.store.is_empty() && !self.options.store.contains(&store) {
                continue;
            }
            let found = self.look_for(store);
            match (&found, self.options.json) {
                (Ok(version), false) => writeln!(out, "found    {:<18} {version}", store.name())?,
                (Err(why), false) => writeln!(out, "MISSING  {:<18} {why}", store.name())?,
                (Ok(version), true) => {
                    writeln!(
                        out,
                        "{}",
                        json!({ "bench": "store", "system": store.name(), "version": version })
                    )?;
                }
                (Err(why), true) => {
                    writeln!(
                        out,
                        "{}",
                        json!({ "bench": "store", "system": store.name(), "missing": why.to_string() })
                    )?;
                }
            }
            if found.is_ok() {
                self.stores.push(store);
            }
        }
        Ok(())
    }

    fn look_for(&self, store: StoreId) -> Result<String> {
        let without = std::env::var("HEAPFILE_BENCH_WITHOUT").unwrap_or_default();
        if without.split(',').any(|w| w.trim() == store.name()) {
            return Err(Failure::new("left out by HEAPFILE_BENCH_WITHOUT"));
        }
        if store != StoreId::Shelve {
            peers::find(store).map_err(Failure::new)?;
        }
        let spec = self.spec(store, Kind::Kill, 1);
        let started = start(&spec);
        let _ = std::fs::remove_dir_all(&spec.dir);
        Ok(started?.1["version"].as_str().unwrap_or("?").to_owned())
    }

    fn spec(&self, store: StoreId, kind: Kind, entries: u64) -> CellSpec {
        let place = if kind == Kind::Kill { Place::Shm } else { Place::Disk };
        let dir = self.places.file(place, &format!("{}-{}-{entries}", store.name(), kind.name()));
        CellSpec { store, kind, entries, seed: 1, dir }
    }

    /// All works of one kind on stores of one size. Stores of many entries would not fit into memory at once: they come one by one, and
    /// their ratios are those of the medians.
    fn measure(&self, entries: u64, kind: Kind, works: &[&Work], out: &mut impl Write) -> Result<()> {
        let table = |work: &Work, m: &Measure| {
            Table::new(format!("{}{}_{}", work.name, m.suffix, short(entries)), m.title, m.unit)
        };
        let mut tables: Vec<Vec<Table>> =
            works.iter().map(|work| work.tables.iter().map(|m| table(work, m)).collect()).collect();
        let stores: Vec<StoreId> = self.stores.iter().copied().filter(|store| store.has(kind)).collect();
        for group in stores.chunks(if entries > 1_000_000 { 1 } else { stores.len().max(1) }) {
            let mut ready = Vec::new();
            for &store in group {
                progress(&format!("{} {}: load {entries}", store.name(), kind.name()));
                match self.load(store, kind, entries) {
                    Ok((one, values)) => {
                        if let Some(at) = works.iter().position(|w| w.step == Step::Load) {
                            take(works[at], &mut tables[at], store, &values);
                        }
                        ready.push(one);
                    }
                    Err(failure) => tables.iter_mut().for_each(|t| t[0].fail(store, failure.to_string())),
                }
            }
            for (work, tables) in works.iter().zip(&mut tables).filter(|(work, _)| work.step != Step::Load) {
                self.rounds(work, &mut ready, tables);
            }
            for one in ready {
                drop(one.cell);
                let _ = std::fs::remove_dir_all(&one.spec.dir);
            }
        }
        progress("");
        for table in tables.iter().flatten().filter(|table| !table.is_empty()) {
            if self.options.json { table.print_json(out)? } else { table.print(out)? }
        }
        Ok(())
    }

    fn load(&self, store: StoreId, kind: Kind, entries: u64) -> Result<(Ready, Vec<(String, f64)>)> {
        let spec = self.spec(store, kind, entries);
        let (mut cell, _) = start(&spec)?;
        let values = measure_in(&mut cell, "load")?;
        Ok((Ready { store, spec, cell: Some(cell) }, values))
    }

    /// How many rounds there are, and milliseconds of each. Those of durable work are so long that what a store puts off (checkpoints, compactions) falls into
    /// rounds of its own, and not only into those of others.
    fn rounds_of(&self, kind: Kind) -> (usize, u32) {
        match (self.options.quick, kind) {
            (true, _) => (3, 100),
            (false, Kind::Kill) => (7, 500),
            (false, Kind::Power) => (5, 5000),
        }
    }

    fn rounds(&self, work: &Work, ready: &mut [Ready], tables: &mut [Table]) {
        let (rounds, _) = self.rounds_of(work.kind);
        let mut broken = Vec::new();
        for round in 0..rounds {
            for turn in 0..ready.len() {
                // An order that moves on, so that none always follows the same.
                let one = &mut ready[(turn + round) % turn.max(1).max(ready.len())];
                let store = one.store;
                let left_out = work.step == Step::Beside && !store.shares()
                    || store == StoreId::Shelve && !matches!(work.step, Step::Command(_));
                if left_out || broken.contains(&store) {
                    continue;
                }
                progress(&format!("{}: round {} of {rounds}, {}", work.name, round + 1, store.name()));
                match self.round(work, one) {
                    Ok(values) => take(work, tables, store, &values),
                    Err(failure) => {
                        tables[0].fail(store, failure.to_string());
                        broken.push(store);
                    }
                }
            }
        }
    }

    fn round(&self, work: &Work, one: &mut Ready) -> Result<Vec<(String, f64)>> {
        let (_, millis) = self.rounds_of(work.kind);
        let gone = || Failure::new("its process ended before");
        match work.step {
            Step::Load => Err(gone()),
            Step::Command(command) => {
                measure_in(one.cell.as_mut().ok_or_else(gone)?, &format!("{command} {millis}"))
            }
            Step::Beside => {
                let (mut second, _) = start(&CellSpec { seed: 2, ..one.spec.clone() })?;
                let first = one.cell.as_mut().ok_or_else(gone)?;
                first.tell(&format!("replace {}", millis + 100))?;
                let values = measure_in(&mut second, &format!("latency {millis}"));
                first.values()?;
                values
            }
            Step::Reopen => {
                let mut cell = one.cell.take().ok_or_else(gone)?;
                cell.tell("churn")?;
                std::thread::sleep(std::time::Duration::from_millis(100));
                drop(cell);
                let (cell, ready) = start(&one.spec)?;
                one.cell = Some(cell);
                match (ready["found"].as_bool(), ready["opened"].as_f64()) {
                    (Some(true), Some(opened)) => Ok(vec![("opened".to_owned(), opened)]),
                    _ => Err(Failure::new("the first entry was not found again")),
                }
            }
        }
    }
}

fn take(work: &Work, tables: &mut [Table], store: StoreId, values: &[(String, f64)]) {
    for (name, value) in values {
        if let Some(at) = work.tables.iter().position(|m| m.name == name) {
            tables[at].add(store, *value);
        }
    }
}

/// 100000 as `1e5`.
fn short(n: u64) -> String {
    let zeros = n.to_string().bytes().rev().take_while(|&b| b == b'0').count();
    if zeros < 3 { n.to_string() } else { format!("{}e{zeros}", n / 10u64.pow(zeros as u32)) }
}

/// One line on a terminal that the next one overwrites; nothing in a pipe.
fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}");
        let _ = err.flush();
    }
}
