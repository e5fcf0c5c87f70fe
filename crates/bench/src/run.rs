//! What the benches share: options, the run of one workload with its contenders interleaved, output.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::Cli;
use crate::cell::Spec;
use crate::contender::{Contender, Place, SystemId};
use crate::peers::Peers;
use crate::places::Places;
use crate::report::{Table, print_head, print_head_json};
use crate::scenes::{Scene, Stage};
use crate::system::{Failure, Result};
use crate::work::Kind;
use crate::worker::{PATIENCE, Worker};

/// Options of every bench.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Fewer and shorter rounds, smaller heaps: under 45 s.
    #[arg(long)]
    pub(crate) quick: bool,
    /// One JSON object per line instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only workloads whose name starts with one of these.
    #[arg(long, value_delimiter = ',')]
    work: Vec<String>,
    /// Only these systems (Boost is kept as the measure of the others if it is named).
    #[arg(long, value_delimiter = ',')]
    system: Vec<SystemId>,
    /// Only these places.
    #[arg(long, value_delimiter = ',')]
    place: Vec<Place>,
    /// Where files in memory go.
    #[arg(long, default_value = "/dev/shm")]
    shm_dir: PathBuf,
    /// Where files on a disk go; by default the directory of the program.
    #[arg(long)]
    disk_dir: Option<PathBuf>,
}

/// Ends the program, as for any value that an option does not take, if no workload's name starts with one that is asked for.
pub(crate) fn refuse_unknown<'n>(asked: &[String], known: impl Iterator<Item = &'n str>) {
    let known: Vec<&str> = known.collect();
    let unknown = asked.iter().find(|&asked| !known.iter().any(|name| name.starts_with(asked)));
    if let Some(asked) = unknown {
        let what = format!("no workload's name starts with {asked:?}; there are {}", known.join(", "));
        Cli::command().error(ErrorKind::InvalidValue, what).exit()
    }
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.work.is_empty() || self.work.iter().any(|w| name.starts_with(w.as_str()))
    }

    /// Scenes are heapfile's own, on files in shared memory.
    fn wants_scene(&self, scene: &Scene) -> bool {
        self.wants(scene.name)
            && (self.system.is_empty() || self.system.contains(&SystemId::Heapfile))
            && (self.place.is_empty() || self.place.contains(&Place::Shm))
    }

    fn wants_contender(&self, contender: &Contender) -> bool {
        (self.system.is_empty() || self.system.contains(&contender.system))
            && (self.place.is_empty() || self.place.contains(&contender.place))
    }
}

/// How a workload is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// All contenders prepare their heaps, then measure in turn, round by round.
    Kept,
    /// A new process and heap for each round.
    Fresh,
    /// Two processes on one file measure at the same time.
    Together,
    /// The file is built once; each round opens it in a new process after a clean close.
    Reopened,
    /// Each round opens it after the last process was killed at work.
    Killed,
}

/// One workload.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    pub(crate) plan: Plan,
    pub(crate) live: usize,
    pub(crate) sizes: (u32, u32),
    pub(crate) threads: usize,
    pub(crate) rounds: usize,
    pub(crate) millis: u64,
    pub(crate) contenders: Vec<Contender>,
}

/// A figure of an answer, and the table it goes to.
struct Measure {
    /// Its name in the answer.
    name: &'static str,
    /// Goes after the workload's name.
    suffix: &'static str,
    /// What it is, if not what the workload's title says.
    title: Option<&'static str>,
    unit: &'static str,
}

const fn space(name: &'static str, suffix: &'static str, title: &'static str) -> Measure {
    Measure { name, suffix, title: Some(title), unit: "bytes per live byte" }
}

const MEASURES: [Measure; 8] = [
    Measure { name: "time", suffix: "", title: None, unit: "ns per op" },
    Measure { name: "build", suffix: "", title: None, unit: "ns per block" },
    Measure {
        name: "random_free",
        suffix: "/random_free",
        title: Some("free all of them in random order"),
        unit: "ns per block",
    },
    Measure {
        name: "disk_bytes",
        suffix: "/disk_bytes",
        title: Some("what the disk wrote meanwhile, for all programs"),
        unit: "bytes per op",
    },
    Measure {
        name: "disk_flushes",
        suffix: "/disk_flushes",
        title: Some("flushes of the disk meanwhile, by all programs"),
        unit: "flushes per op",
    },
    space("space_span", "/space_span", "from the lowest live byte to the highest"),
    space("space_pages", "/space_pages", "pages that the blocks made the file, or the process, occupy"),
    space("space_heap", "/space_heap", "what the system itself counts as used"),
];

struct Runner<'r> {
    places: &'r Places,
    peers: &'r Peers,
    work: &'r Work,
    tables: Vec<Table>,
    files: usize,
}

/// Runs a bench: looks for the systems, runs the scenes and workloads asked for, prints as they end.
pub(crate) fn bench(name: &str, options: &Options, scenes: &[Scene], works: Vec<Work>) -> Result<()> {
    let names = scenes.iter().map(|scene| scene.name).chain(works.iter().map(|work| work.name.as_str()));
    refuse_unknown(&options.work, names);
    let disk = match &options.disk_dir {
        Some(dir) => dir.clone(),
        None => std::env::current_exe()?.with_file_name(""),
    };
    let places = Places::make(&options.shm_dir, &disk)?;
    let mut systems: Vec<SystemId> = Vec::new();
    let mut works: Vec<Work> = works.into_iter().filter(|w| options.wants(&w.name)).collect();
    for work in &mut works {
        work.contenders.retain(|c| options.wants_contender(c));
        for contender in &work.contenders {
            if !systems.contains(&contender.system) {
                systems.push(contender.system);
            }
        }
    }
    let peers = Peers::look_for(&systems);
    let mut out = std::io::stdout();
    let machine = places.machine();
    if options.json {
        print_head_json(name, &machine, &peers, &mut out)?;
    } else {
        print_head(&machine, &peers, &mut out)?;
    }
    let stage = Stage { places: &places, quick: options.quick };
    for scene in scenes.iter().filter(|s| options.wants_scene(s)) {
        progress(scene.name);
        let figures = (scene.run)(&stage).map_err(|e| Failure::new(format!("{}: {e}", scene.name)))?;
        progress("");
        for figures in figures {
            if options.json {
                figures.print_json(name, &mut out)?;
            } else {
                figures.print(&mut out)?;
            }
        }
    }
    for work in &mut works {
        work.contenders.retain(|c| peers.has(c.system));
        for table in Runner::new(&places, &peers, work).run() {
            if options.json {
                table.print_json(name, &mut out)?;
            } else {
                table.print(&mut out)?;
            }
        }
    }
    Ok(())
}

impl<'r> Runner<'r> {
    fn new(places: &'r Places, peers: &'r Peers, work: &'r Work) -> Self {
        let table = |measure: &Measure| {
            let title = measure.title.unwrap_or(&work.title);
            Table::new(format!("{}{}", work.name, measure.suffix), title, measure.unit, work.threads)
        };
        Self { places, peers, work, tables: MEASURES.iter().map(table).collect(), files: 0 }
    }

    fn run(mut self) -> Vec<Table> {
        match self.work.plan {
            Plan::Kept => self.kept(),
            Plan::Fresh => self.each_round(|runner, c| runner.fresh(c)),
            Plan::Together => self.each_round(|runner, c| runner.together(c)),
            Plan::Reopened | Plan::Killed => self.reopened(),
        }
        progress("");
        self.tables.retain(|t| !t.is_empty());
        self.tables
    }

    fn spec(&mut self, contender: Contender) -> Spec {
        self.files += 1;
        let work = self.work;
        Spec {
            system: contender.system,
            place: contender.place,
            mode: contender.mode,
            kind: work.kind,
            live: work.live,
            min: work.sizes.0,
            max: work.sizes.1,
            threads: work.threads,
            processes: if work.plan == Plan::Together { 2 } else { 1 },
            millis: work.millis,
            seed: 1,
            file: self.places.file(contender.place, &format!("{}.heap", self.files)),
            join: false,
        }
    }

    fn take(&mut self, contender: Contender, values: Vec<(String, f64)>) {
        for (name, value) in values {
            if let Some(at) = MEASURES.iter().position(|m| m.name == name) {
                self.tables[at].add(contender, value);
            }
        }
    }

    fn fail(&mut self, contender: Contender, why: String) {
        let main = if self.work.kind == Kind::Build { "build" } else { "time" };
        let at = MEASURES.iter().position(|m| m.name == main).unwrap_or(0);
        self.tables[at].fail(contender, why);
    }

    /// The contenders in an order that moves on from round to round, so that none always follows the same.
    fn turn(&self, round: usize, count: usize) -> impl Iterator<Item = usize> + use<> {
        (0..count).map(move |i| (i + round) % count)
    }

    fn prepared(&mut self, spec: &Spec) -> Result<Worker> {
        let mut worker = self.peers.start(spec)?;
        worker.answer(PATIENCE)?;
        Ok(worker)
    }

    fn kept(&mut self) {
        let mut workers: Vec<(Contender, Spec, Worker)> = Vec::new();
        for &contender in &self.work.contenders {
            progress(&format!("{}: {contender} prepares", self.work.name));
            let spec = self.spec(contender);
            match self.prepared(&spec) {
                Ok(worker) => workers.push((contender, spec, worker)),
                Err(failure) => self.fail(contender, failure.to_string()),
            }
        }
        for round in 0..self.work.rounds {
            progress(&format!("{}: round {} of {}", self.work.name, round + 1, self.work.rounds));
            let mut broken = Vec::new();
            for at in self.turn(round, workers.len()) {
                let (contender, _, worker) = &mut workers[at];
                let contender = *contender;
                match worker.round() {
                    Ok(values) => self.take(contender, values),
                    Err(failure) => {
                        self.fail(contender, failure.to_string());
                        broken.push(contender);
                    }
                }
            }
            workers.retain(|(contender, ..)| !broken.contains(contender));
        }
        for (contender, spec, worker) in workers {
            match worker.finish() {
                Ok(values) => self.take(contender, values),
                Err(failure) => self.fail(contender, failure.to_string()),
            }
            remove(&spec);
        }
    }

    fn each_round(&mut self, mut one: impl FnMut(&mut Self, Contender) -> Result<()>) {
        let contenders = &self.work.contenders;
        let mut broken = Vec::new();
        for round in 0..self.work.rounds {
            for at in self.turn(round, contenders.len()) {
                let contender = contenders[at];
                if broken.contains(&contender) {
                    continue;
                }
                progress(&format!(
                    "{}: round {} of {}, {contender}",
                    self.work.name,
                    round + 1,
                    self.work.rounds
                ));
                if let Err(failure) = one(self, contender) {
                    self.fail(contender, failure.to_string());
                    broken.push(contender);
                }
            }
        }
    }

    fn fresh(&mut self, contender: Contender) -> Result<()> {
        let spec = self.spec(contender);
        let mut worker = self.prepared(&spec)?;
        let mut values = worker.round()?;
        values.append(&mut worker.finish()?);
        remove(&spec);
        self.take(contender, values);
        Ok(())
    }

    fn together(&mut self, contender: Contender) -> Result<()> {
        let first = self.spec(contender);
        let second = Spec { join: true, seed: 2, ..first.clone() };
        let mut workers = [self.prepared(&first)?, self.prepared(&second)?];
        workers.iter_mut().try_for_each(|w| w.tell("round"))?;
        let mut sum = 0.0;
        for worker in &mut workers {
            let time = worker.answer(PATIENCE)?["values"]["time"].as_f64();
            sum += time.ok_or_else(|| Failure::new("an answer without a time"))?;
        }
        for worker in workers {
            worker.finish()?;
        }
        remove(&first);
        self.take(contender, vec![("time".to_owned(), sum / 2.0)]);
        Ok(())
    }

    /// Not interleaved: the files of all systems at once might not fit into memory.
    fn reopened(&mut self) {
        for &contender in &self.work.contenders {
            progress(&format!("{}: {contender}", self.work.name));
            if let Err(failure) = self.reopen(contender) {
                self.fail(contender, failure.to_string());
            }
        }
    }

    fn reopen(&mut self, contender: Contender) -> Result<()> {
        /// An open or an allocation that takes this long will not end.
        const OPENING: Duration = Duration::from_secs(2);
        let opens = self.spec(contender);
        let makes = Spec { kind: Kind::Make, ..opens.clone() };
        let opens = Spec { join: true, ..opens };
        let leave = |mut worker: Worker, plan| -> Result<()> {
            if plan == Plan::Reopened {
                return worker.finish().map(drop);
            }
            worker.tell("churn")?;
            let works = worker.answer(OPENING);
            works.map_err(|e| Failure::new(format!("opened, but the first allocation failed: {e}")))?;
            std::thread::sleep(Duration::from_millis(20));
            drop(worker);
            Ok(())
        };
        leave(self.prepared(&makes)?, self.work.plan)?;
        for _ in 0..self.work.rounds {
            let mut worker = self.peers.start(&opens)?;
            worker.answer(OPENING)?;
            let values = worker.round()?;
            self.take(contender, values);
            leave(worker, self.work.plan)?;
        }
        remove(&opens);
        Ok(())
    }
}

/// Frees the space now; the directory goes at the end in any case.
fn remove(spec: &Spec) {
    let _ = std::fs::remove_file(&spec.file);
}

/// One line on a terminal that the next one overwrites; nothing in a pipe.
fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}");
        let _ = err.flush();
    }
}
