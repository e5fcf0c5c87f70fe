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
use std::process::{Command, ExitStatus, Stdio};
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
        state(self.child.id()) == Some(STOPPED)
    }
}

/// A child that a process of the round forked.
struct Forked {
    pid: u32,
    parent: u32,
    /// When it was last heard of.
    heard: Instant,
    /// Nobody kills it but a failpoint of its own: it has to come to its end.
    spared: bool,
}

const STOPPED: char = 'T';
/// Dead, and not waited for yet.
const ZOMBIE: char = 'Z';

/// What the process's threads do.
fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit(')').next()?.trim_start().chars().next()
}

/// Who says this line, if it tells: a process's name begins with its number.
fn speaker(line: &str) -> Option<u32> {
    line.split(' ').nth(1)?.split_once('.')?.0.parse().ok()
}

/// A child of this process, in that group, that is dead: it is waited for. `None` if all live, an error if there are none.
fn wait_in_group(group: u32, flags: i32) -> std::io::Result<Option<(u32, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: a plain system call.
    match unsafe { libc::waitpid(-(group as i32), &mut status, flags) } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some((pid as u32, ExitStatus::from_raw(status)))),
    }
}

struct Round<'a> {
    plan: Plan,
    rng: SplitMix64,
    file: &'a Path,
    command: &'a dyn Fn() -> Command,
    processes: Vec<Process>,
    /// Children that those processes forked, as far as they were heard of. This process is the one that inherits them.
    forked: Vec<Forked>,
    /// Such children that were waited for before they were heard of.
    gone: BTreeSet<u32>,
    /// Groups whose leaders are dead and waited for. Who else is in them is a child of this process.
    orphaned: Vec<u32>,
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
        gone: BTreeSet::new(),
        orphaned: Vec::new(),
        heard,
        say,
        open_pipes: BTreeSet::new(),
        oracle: Oracle::default(),
        tally: Tally::new(),
    };
    let outcome = round.run(kills).and_then(|()| round.end()).and_then(|()| round.judge());
    // Whatever happened, nobody is left behind.
    round.end_all();
    outcome.map_err(|what| format!("seed {seed}, {:?}: {what}", round.plan))?;
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
            self.tend_the_forked(false)?;
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
        let speaker = line.as_deref().and_then(speaker);
        if let Some(forked) = self.forked.iter_mut().find(|forked| Some(forked.pid) == speaker) {
            forked.heard = Instant::now();
        } else if let Some(process) = self.processes.iter_mut().find(|p| p.child.id() == id) {
            process.heard = Instant::now();
        }
        match line {
            Some(line) if line.starts_with("born ") => {
                let pid = line[5..].parse().map_err(|_| format!("no process: {line:?}"))?;
                if !self.gone.remove(&pid) {
                    let spared = self.rng.below(2) == 0;
                    self.forked.push(Forked { pid, parent: id, heard: Instant::now(), spared });
                }
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
                    self.bury(process, status)?;
                    self.spawn()?;
                }
            }
        }
        Ok(())
    }

    /// It ended so, and was waited for.
    fn bury(&mut self, process: Process, status: ExitStatus) -> Result<(), String> {
        self.orphaned.push(process.child.id());
        self.ended("a process", status)?;
        if status.success() {
            // An opener that has done its part.
            self.count("ended by themselves");
            return Ok(());
        }
        self.count("kills");
        match process.failpoint {
            Some(name) if !process.killed => {
                self.count("kills at a failpoint");
                self.count(format!("at {name}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whoever ends was killed, or came to an end of its own.
    fn ended(&mut self, who: &str, status: ExitStatus) -> Result<(), String> {
        if status.success() || status.signal() == Some(libc::SIGKILL) {
            return Ok(());
        }
        // What it said before is all that there is to know.
        self.listen(Duration::from_millis(200))?;
        Err(format!("{who} ended with {status}: {}", self.oracle.noise))
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
                        let group = self.rng.below(2) == 0;
                        self.kill(i, group);
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
    }

    /// Forked children that came to a point where they stop go on, or are killed. Nobody else waits for them: until this process does, their
    /// numbers are theirs.
    fn tend_the_forked(&mut self, end: bool) -> Result<(), String> {
        for forked in &mut self.forked {
            let (pid, state) = (forked.pid, state(forked.pid));
            let signal = match !forked.spared && (end || self.rng.below(300) == 0) {
                true => libc::SIGKILL,
                false if state == Some(STOPPED) => {
                    forked.heard = Instant::now();
                    libc::SIGCONT
                }
                // Its parent, who does not wait for it, may live for long.
                false if forked.heard.elapsed() > PATIENCE && state != Some(ZOMBIE) => {
                    return Err(format!("a forked child, {pid}, hangs: {}", self.oracle.noise));
                }
                false => continue,
            };
            // SAFETY: a plain system call; nobody has waited for the process yet.
            unsafe { libc::kill(pid as i32, signal) };
        }
        let mut i = 0;
        while i < self.orphaned.len() {
            match wait_in_group(self.orphaned[i], libc::WNOHANG) {
                Ok(Some((pid, status))) => {
                    let known = self.forked.len();
                    self.forked.retain(|forked| forked.pid != pid);
                    if self.forked.len() == known {
                        self.gone.insert(pid);
                    }
                    self.ended("a forked child", status)?;
                    self.count(match status.success() {
                        true => "forked children that ended by themselves",
                        false => "kills of forked children",
                    });
                }
                Ok(None) => i += 1,
                Err(_) => drop(self.orphaned.swap_remove(i)),
            }
        }
        Ok(())
    }

    /// Kills a process; with its group, unless somebody in it is spared.
    fn kill(&mut self, at: usize, group: bool) {
        let process = &mut self.processes[at];
        process.killed = true;
        let is_spared = |forked: &Forked| forked.spared && forked.parent == process.child.id();
        let group =
            group && !self.forked.iter().any(|forked| is_spared(forked) && state(forked.pid) != Some(ZOMBIE));
        process.signal(libc::SIGKILL, group);
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
                self.kill(at, group);
            }
            _ => {}
        }
    }

    /// Ends everybody. Forked children that are spared are waited for.
    fn end(&mut self) -> Result<(), String> {
        for process in &self.processes {
            process.signal(libc::SIGKILL, false);
        }
        while let Some(mut process) = self.processes.pop() {
            process.killed = true;
            let status = process.child.wait().map_err(|e| e.to_string())?;
            self.bury(process, status)?;
        }
        // Until nobody, no child of a child either, can say anything.
        let mut known = Instant::now();
        while !self.open_pipes.is_empty() || !self.orphaned.is_empty() {
            self.listen(Duration::from_millis(1))?;
            self.tend_the_forked(true)?;
            if !self.forked.is_empty() {
                known = Instant::now();
            } else if known.elapsed() > PATIENCE {
                return Err(format!(
                    "somebody hangs who was forked and never heard of: {}",
                    self.oracle.noise
                ));
            }
        }
        Ok(())
    }

    /// Kills whoever is still there.
    fn end_all(&mut self) {
        for mut process in std::mem::take(&mut self.processes) {
            process.signal(libc::SIGKILL, true);
            let _ = process.child.wait();
            self.orphaned.push(process.child.id());
        }
        for group in std::mem::take(&mut self.orphaned) {
            // SAFETY: a plain system call. The number is this group's: somebody in it was not waited for yet, or nobody has looked since the last one was.
            unsafe { libc::kill(-(group as i32), libc::SIGKILL) };
            while wait_in_group(group, 0).is_ok() {}
        }
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
            if let Some(single) = is_whole(&work, &arena)?.first() {
                return Err(format!("{single} was freed, and is there"));
            }
            work.left_over(&arena).map_or(Ok(()), Err)?;
            snapshots_are_whole(plan, file)
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
        work.left_over(&snapshot).map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// The arena holds this and is sound; what it holds beside.
fn is_whole(work: &Work, arena: &heapfile::Arena) -> Result<Vec<Single>, String> {
    crate::common::assert_clean(arena);
    arena.read().and_then(|tx| work.look(&tx)).map_err(|e| e.to_string())?
}
