//! Kill torture: processes that write, read and open one file, are killed, stopped, forked and replaced at any moment, and an oracle outside
//! that knows what they acknowledged.
//!
//! A [`round`] is one file and a few processes, all drawn from a seed (when a kill strikes is up to the machine, so a seed brings the same plan again, not the
//! same moment). The writers all play the script of `common::script`, or that of `common::objects` on the tables of a store, alone or
//! several threads in one commit. The next commit follows from the number of those before; so the oracle needs to know numbers only. It keeps none of its knowledge in the file, and opens it only when everybody else is dead.
//! Beside the script they allocate, replace and free blocks of their own (`alone`), each in a transaction of one call.
//!
//! What has to hold: each number that was acknowledged is there, and was acknowledged once; each that is there was begun; what readers saw stays; the
//! content is that of the script, byte for byte; each block that was allocated alone is there until it is freed, and no other; and nobody waits longer than the lock's timeout.

#![allow(dead_code, unreachable_pub, reason = "the tests and the soak each use a part of it")]

mod alone;
mod child;
mod oracle;
mod plan;
mod work;

pub use child::{is_child, live};
pub use plan::Plan;

use alone::Single;
use heapfile::testing::SplitMix64;
use oracle::Oracle;
use plan::Person;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use work::Work;

/// Longer than any process is silent that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened in a round, by name.
pub type Tally = BTreeMap<String, u64>;

/// A process of the round.
struct Process {
    child: std::process::Child,
    /// When it was last heard of.
    heard: Instant,
    /// Killed by this process; otherwise it dies at its failpoint.
    killed: bool,
    failpoint: Option<String>,
    /// When to let it go on, if it is stopped.
    stopped: Option<Instant>,
}

impl Process {
    fn signal(&self, signal: i32, group: bool) {
        let pid = self.child.id() as i32;
        // SAFETY: a plain system call. The process, leader of its group, is a child of this one and was not waited for yet.
        unsafe { libc::kill(if group { -pid } else { pid }, signal) };
    }

    fn is_stopped(&self) -> bool {
        is_stopped(self.child.id())
    }
}

/// Whether the process's threads are stopped.
fn is_stopped(pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

struct Round<'a> {
    plan: Plan,
    rng: SplitMix64,
    file: &'a Path,
    command: &'a dyn Fn() -> Command,
    processes: Vec<Process>,
    /// Children that those processes forked. This process is the one that inherits them.
    forked: Vec<i32>,
    heard: Receiver<(u32, Option<String>)>,
    say: Sender<(u32, Option<String>)>,
    /// Pipes that somebody may still write to, by the process they were made for.
    open_pipes: BTreeSet<u32>,
    oracle: Oracle,
    tally: Tally,
}

/// Runs the round of this seed in the empty directory `dir`. `command` begins a process that calls [`live`].
pub fn round(seed: u64, kills: u64, dir: &Path, command: &dyn Fn() -> Command) -> Result<Tally, String> {
    // SAFETY: a plain system call: who loses its parent becomes a child of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let (say, heard) = channel();
    let file = dir.join("a.heap");
    let mut round = Round {
        plan: Plan::of(seed),
        rng: SplitMix64(seed ^ 0xD1CE),
        file: &file,
        command,
        processes: Vec::new(),
        forked: Vec::new(),
        heard,
        say,
        open_pipes: BTreeSet::new(),
        oracle: Oracle::default(),
        tally: Tally::new(),
    };
    let outcome = round.run(kills);
    // Whatever happened, nobody is left behind.
    round.end_all();
    outcome
        .and_then(|()| round.hear_the_rest())
        .and_then(|()| round.judge())
        .map_err(|what| format!("seed {seed}, {:?}: {what}", round.plan))?;
    Ok(round.tally)
}

impl Round<'_> {
    fn count(&mut self, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += 1;
    }

    fn kills(&self) -> u64 {
        self.tally.get("kills").copied().unwrap_or(0)
    }

    fn run(&mut self, kills: u64) -> Result<(), String> {
        if !self.plan.created_by_them {
            let arena = self.plan.options().create(self.file).map_err(|e| e.to_string())?;
            Work::new(self.plan.tables).begin_if_empty(&arena).map_err(|e| e.to_string())?;
        }
        for _ in 0..self.plan.processes {
            self.spawn()?;
        }
        let mut next = Instant::now();
        while self.kills() + self.processes.len() as u64 <= kills {
            self.listen(Duration::from_millis(1))?;
            self.reap()?;
            self.tend_the_stopped();
            if Instant::now() >= next {
                self.strike();
                next = Instant::now() + Duration::from_micros(self.rng.below(self.plan.pause_us));
            }
        }
        Ok(())
    }

    fn spawn(&mut self) -> Result<(), String> {
        let person = Person::draw(&mut self.rng, &self.plan);
        let mut command = (self.command)();
        let estate = self.oracle.estate(|pipe| self.open_pipes.contains(&pipe));
        person.tell(&mut command, &self.plan, self.file, self.oracle.acknowledged(), &estate);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|e| format!("a process cannot be started: {e}"))?;
        let (id, pipe, say) = (child.id(), child.stderr.take().expect("it is a pipe"), self.say.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if say.send((id, Some(line))).is_err() {
                    return;
                }
            }
            let _ = say.send((id, None));
        });
        self.open_pipes.insert(id);
        self.oracle.bequeath(&estate, id);
        self.processes.push(Process {
            child,
            heard: Instant::now(),
            killed: false,
            failpoint: person.failpoint,
            stopped: None,
        });
        self.count("processes");
        Ok(())
    }

    /// Hears what they say for so long.
    fn listen(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        loop {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((id, line)) => self.hear(id, line)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn hear(&mut self, id: u32, line: Option<String>) -> Result<(), String> {
        if let Some(process) = self.processes.iter_mut().find(|p| p.child.id() == id) {
            process.heard = Instant::now();
        }
        match line {
            Some(line) if line.starts_with("born ") => {
                self.forked.extend(line[5..].parse::<i32>());
                Ok(())
            }
            Some(line) => self.oracle.hear(id, &line, &mut self.tally),
            None => {
                self.open_pipes.remove(&id);
                Ok(())
            }
        }
    }

    /// Notices who is dead, and puts others in their place.
    fn reap(&mut self) -> Result<(), String> {
        let mut i = 0;
        while i < self.processes.len() {
            let process = &mut self.processes[i];
            match process.child.try_wait().map_err(|e| e.to_string())? {
                None if process.stopped.is_none() && process.heard.elapsed() > PATIENCE => {
                    return Err(format!("process {} hangs", process.child.id()));
                }
                None => i += 1,
                Some(status) => {
                    let process = self.processes.swap_remove(i);
                    match status.signal() {
                        Some(libc::SIGKILL) => {
                            self.count("kills");
                            match process.failpoint {
                                Some(name) if !process.killed => {
                                    self.count("kills at a failpoint");
                                    self.count(format!("at {name}"));
                                }
                                _ => {}
                            }
                        }
                        // An opener that has done its part.
                        None if status.success() => self.count("ended by themselves"),
                        _ => {
                            // What it said before is all that there is to know.
                            self.listen(Duration::from_millis(200))?;
                            return Err(format!("a process ended with {status}: {}", self.oracle.noise));
                        }
                    }
                    self.spawn()?;
                }
            }
        }
        Ok(())
    }

    /// Who stopped, by us or at a point of its own, goes on after a while, or is killed as it lies.
    fn tend_the_stopped(&mut self) {
        for i in 0..self.processes.len() {
            match self.processes[i].stopped {
                Some(until) if Instant::now() >= until => {
                    let process = &mut self.processes[i];
                    process.stopped = None;
                    process.heard = Instant::now();
                    if self.rng.below(3) == 0 {
                        process.killed = true;
                        process.signal(libc::SIGKILL, self.rng.below(2) == 0);
                        self.count("killed while stopped");
                    } else {
                        process.signal(libc::SIGCONT, false);
                    }
                }
                None if self.plan.stops && !self.processes[i].killed && self.processes[i].is_stopped() => {
                    self.processes[i].stopped =
                        Some(Instant::now() + Duration::from_micros(self.rng.below(40_000)));
                    self.count("stops");
                }
                _ => {}
            }
        }
        self.tend_the_forked(false);
    }

    /// Forked children that came to a point where they stop go on, or are killed. Nobody else waits for them: until this process does, their
    /// numbers are theirs.
    fn tend_the_forked(&mut self, end: bool) {
        for pid in std::mem::take(&mut self.forked) {
            let signal = match end || self.rng.below(300) == 0 {
                true => Some(libc::SIGKILL),
                false if is_stopped(pid as u32) => Some(libc::SIGCONT),
                false => None,
            };
            let mut status = 0;
            // SAFETY: plain system calls; the process is a child of this one, or of one that does not wait for it.
            let gone = unsafe {
                signal.map(|signal| libc::kill(pid, signal));
                libc::waitpid(pid, &mut status, if end { 0 } else { libc::WNOHANG }) == pid
            };
            match gone {
                true if libc::WIFSIGNALED(status) => self.count("kills of forked children"),
                true => {}
                false => self.forked.push(pid),
            }
        }
    }

    /// Kills or stops somebody.
    fn strike(&mut self) {
        let at = self.rng.below(self.processes.len() as u64) as usize;
        let (what, group) = (self.rng.below(8), self.rng.below(3) == 0);
        let spared = self.rng.below(4) != 0;
        let process = &mut self.processes[at];
        if spared && process.failpoint.is_some() && process.heard.elapsed() < Duration::from_secs(1) {
            // It is to die at a point of its own.
            return;
        }
        match what {
            0 | 1 if self.plan.stops => process.signal(libc::SIGSTOP, false),
            _ if process.stopped.is_none() && !process.killed => {
                process.killed = true;
                process.signal(libc::SIGKILL, group);
            }
            _ => {}
        }
    }

    fn end_all(&mut self) {
        for process in &mut self.processes {
            process.signal(libc::SIGKILL, true);
        }
        for mut process in std::mem::take(&mut self.processes) {
            if process.child.wait().is_ok_and(|status| status.signal() == Some(libc::SIGKILL)) {
                self.count("kills");
            }
        }
    }

    /// Until nobody, no child of a child either, can say anything.
    fn hear_the_rest(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while !self.open_pipes.is_empty() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("a child of a process hangs: {:?}", self.forked));
            }
            self.listen(Duration::from_millis(1))?;
            // Those that were heard of only now as well.
            self.tend_the_forked(true);
        }
        Ok(())
    }

    /// Everybody is dead: what is in the file?
    fn judge(&mut self) -> Result<(), String> {
        let (plan, file, oracle) = (&self.plan, self.file, &self.oracle);
        let judged = catch_unwind(AssertUnwindSafe(|| -> Result<(), String> {
            let options = plan.options().lock_timeout(PATIENCE);
            let arena = options.open_or_create(file).map_err(|e| format!("it does not open: {e}"))?;
            let mut work = Work::new(plan.tables);
            let wrong = |e: heapfile::Error| e.to_string();
            work.begin_if_empty(&arena).map_err(wrong)?;
            let count = work.count_in(&arena.read().map_err(wrong)?).map_err(wrong)?;
            oracle.judge(count)?;
            work.go_to(count);
            let singles = is_whole(&work, &arena)?;
            oracle.judge_singles(&singles)?;
            for single in singles {
                arena.free(single.block()).map_err(|e| format!("{single} cannot be freed: {e}"))?;
            }
            for n in count + 1..=count + 5 {
                let mut tx = arena.write().map_err(wrong)?;
                work.edit(&mut tx)
                    .and_then(|_| tx.commit())
                    .map_err(|e| format!("work does not go on: {e}"))?;
                work.go_to(n);
            }
            drop(arena);
            let arena = options.open(file).map_err(|e| format!("it does not open again: {e}"))?;
            match is_whole(&work, &arena)?.first() {
                Some(single) => Err(format!("{single} was freed, and is there")),
                None => snapshots_are_whole(plan, file),
            }
        }));
        judged.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
        })?;
        self.count("rounds");
        if self.plan.tables {
            self.count("rounds with tables");
        }
        Ok(())
    }
}

/// What somebody left who was killed when a snapshot had got its name.
fn snapshots_are_whole(plan: &Plan, file: &Path) -> Result<(), String> {
    let dir = file.parent().expect("the file is in a directory").read_dir().map_err(|e| e.to_string())?;
    // Those that are not whole have a dot before their name.
    let is_named = |path: &Path| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.extension().is_some_and(|extension| extension == "snapshot")
    };
    for path in dir.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_named(path)) {
        let wrong = |e: heapfile::Error| format!("{}: {e}", path.display());
        let snapshot = plan.options().open(&path).map_err(wrong)?;
        let mut work = Work::new(plan.tables);
        work.go_to(snapshot.read().and_then(|tx| work.count_in(&tx)).map_err(wrong)?);
        is_whole(&work, &snapshot)?;
    }
    Ok(())
}

/// The arena holds this and is sound; what it holds beside.
fn is_whole(work: &Work, arena: &heapfile::Arena) -> Result<Vec<Single>, String> {
    crate::common::assert_clean(arena);
    arena.read().and_then(|tx| work.look(&tx)).map_err(|e| e.to_string())?
}
