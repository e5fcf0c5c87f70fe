//! One process of a round: it works until it is killed, and tells the oracle what it does.

use super::alone::Alone;
use super::plan::{Part, Told, bequeath, told};
use super::work::Work;
use crate::common::{cause, tell};
use heapfile::testing::{self, SplitMix64};
use heapfile::{Arena, Error, Result, SnapshotOptions};
use std::hash::{Hash, Hasher};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

/// Whether this process is one of a round.
pub fn is_child() -> bool {
    told().is_some()
}

/// Lives the life that this process was told to. Ends the process.
pub fn live() -> ! {
    let mut told = told().expect("this is a process of a round");
    if told.plan.rests {
        testing::rest_at_points(16);
    }
    // Among others that write where they copy.
    testing::small_stretches(told.seed.is_multiple_of(2));
    testing::copy_by_kernel(told.seed.is_multiple_of(4));
    let work = Work::new(told.plan.tables);
    let id = id();
    let alone = Alone::new(seed_of(&id), std::mem::take(&mut told.estate));
    let life = Life { id, rng: SplitMix64(told.seed), told, seen: 0, work, alone };
    let code = match life.live() {
        Ok(()) => 0,
        Err(e) => {
            tell(&format!("bad {e}").replace('\n', " "));
            3
        }
    };
    // SAFETY: ends the process without running anything; what it has open the kernel closes.
    unsafe { libc::_exit(code) }
}

/// A name that no other process of the round has, nor this one before an `exec`.
fn id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{}", std::process::id(), now.as_nanos())
}

/// A seed that nobody else has.
fn seed_of(id: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl Told {
    /// Somebody waited in vain who has no patience; nothing has changed. Any other error is wrong.
    fn excuse(&self, error: Error) -> Lived {
        match matches!(cause(&error), Error::Busy { .. }) && self.plan.impatient {
            true => Ok(()),
            false => wrong(format!("{:?}: {error}", self.part)),
        }
    }
}

struct Life {
    id: String,
    told: Told,
    rng: SplitMix64,
    /// The latest state that it saw or made.
    seen: u64,
    /// The latest state that it looked at.
    work: Work,
    /// What it does in calls that are transactions of their own.
    alone: Alone,
}

fn wrong<T>(what: String) -> std::result::Result<T, String> {
    Err(what)
}

type Lived = std::result::Result<(), String>;

impl Life {
    fn live(mut self) -> Lived {
        self.seen = self.told.acknowledged;
        let mut arena = self.open()?;
        match self.told.part {
            Part::Writer => loop {
                arena = self.write(arena)?;
            },
            Part::Reader => loop {
                self.read(&arena)?;
                if self.rng.below(50) == 0 {
                    drop(arena);
                    arena = self.open()?;
                }
            },
            Part::Opener => {
                for _ in 0..1 + self.rng.below(30) {
                    self.read(&arena)?;
                    if self.rng.below(3) == 0 {
                        arena = self.write(arena)?;
                    }
                    if self.rng.below(2) == 0 {
                        drop(arena);
                        arena = self.open()?;
                    } else {
                        // The new one before the old one is gone.
                        arena = self.open()?;
                    }
                    self.settle(arena.handles().map(drop))?;
                }
                Ok(())
            }
        }
    }

    /// Errors end the round, unless they are excused.
    fn settle<T>(&self, outcome: Result<T>) -> std::result::Result<Option<T>, String> {
        outcome.map(Some).or_else(|error| self.told.excuse(error).map(|()| None))
    }

    fn open(&mut self) -> std::result::Result<Arena, String> {
        let options = self.told.plan.options();
        loop {
            let read_only = self.told.part == Part::Reader && self.seen > 0 && self.rng.below(3) == 0;
            let opened = match read_only {
                true => options.open_read_only(&self.told.file),
                false => options.open_or_create(&self.told.file),
            };
            let Some(arena) = self.settle(opened)? else { continue };
            tell("did open");
            if !read_only && self.settle(self.work.begin_if_empty(&arena))?.is_none() {
                continue;
            }
            return Ok(arena);
        }
    }

    /// Sees that what is there is a whole state, and no older one than before.
    fn read(&mut self, arena: &Arena) -> Lived {
        let Some(tx) = self.settle(arena.read())? else { return Ok(()) };
        let failed = |e: Error| format!("reading: {e}");
        let count = self.work.count_in(&tx).map_err(failed)?;
        if count < self.seen {
            return wrong(format!("{count} commits are there, {} were", self.seen));
        }
        self.seen = count;
        self.work.go_to(count);
        let beside = self.work.look(&tx).map_err(failed)?.map_err(|what| format!("TORN: {what}"))?;
        if let Some(what) = self.alone.difference(&tx) {
            return wrong(format!("LOST: {what}"));
        }
        if self.rng.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(self.rng.below(3_000)));
            let later = self.work.look(&tx).map_err(failed)?;
            // One that is added is seen at once: it takes nothing from anybody.
            if !later.is_ok_and(|later| beside.iter().all(|single| later.contains(single))) {
                return wrong("a state changed under its reader".to_owned());
            }
        }
        tell(&format!("saw {} {count}", self.id));
        Ok(())
    }

    /// A snapshot is an arena with a whole state, no older than what was seen before.
    fn snapshot(&mut self, arena: &Arena) -> Lived {
        let to = self.told.file.with_extension(format!("{}.snapshot", self.id));
        if self.settle(arena.snapshot(&to, &SnapshotOptions::new()))?.is_none() {
            return Ok(());
        }
        let snapshot = self.told.plan.options().open(&to).map_err(|e| format!("a snapshot: {e}"))?;
        let report = snapshot.check().map_err(|e| format!("a snapshot: {e}"))?;
        if let Some(first) = report.findings.first() {
            return wrong(format!("a snapshot: {first}"));
        }
        self.read(&snapshot)?;
        drop(snapshot);
        tell("did snapshot");
        std::fs::remove_file(to).map_err(|e| e.to_string())
    }

    fn commit(&mut self, arena: &Arena) -> Lived {
        let begun = Instant::now();
        let Some(mut tx) = self.settle(arena.write())? else { return Ok(()) };
        let n = self.work.edit(&mut tx).map_err(|e| e.to_string())?;
        tell(&format!("begin {} {n}", self.id));
        if n <= self.seen {
            return wrong(format!("the next commit is {n}, and {} was there", self.seen));
        }
        match self.settle(tx.commit())? {
            Some(()) => {
                self.seen = n;
                tell(&format!("ack {} {n} {}", self.id, begun.elapsed().as_millis()));
            }
            None => tell(&format!("back {} {n}", self.id)),
        }
        Ok(())
    }

    /// Several threads commit together.
    fn commit_together(&mut self, arena: &Arena) -> Lived {
        let (members, this) = (2 + self.rng.below(3), &*self);
        let made: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..members).map(|i| scope.spawn(move || this.member(arena, i))).collect();
            all.into_iter()
                .map(|one| one.join().unwrap_or_else(|_| wrong("a member panics".to_owned())))
                .collect()
        });
        for n in made {
            self.seen = n?.max(self.seen);
        }
        tell("did group");
        Ok(())
    }

    /// One of them; what it has committed, if it was not taken back.
    fn member(&self, arena: &Arena, number: u64) -> std::result::Result<u64, String> {
        let (begun, id) = (Instant::now(), format!("{}.{number}", self.id));
        let mut n = 0;
        let outcome = arena.submit(|tx| {
            n = self.work.edit(tx)?;
            tell(&format!("begin {id} {n}"));
            Ok(())
        });
        if n > 0 && n <= self.seen {
            return wrong(format!("the next commit is {n}, and {} was there", self.seen));
        }
        match self.settle(outcome)? {
            Some(()) => {
                tell(&format!("ack {id} {n} {}", begun.elapsed().as_millis()));
                Ok(n)
            }
            None => {
                if n > 0 {
                    tell(&format!("back {id} {n}"));
                }
                Ok(0)
            }
        }
    }

    /// Calls that are transactions of their own.
    fn call_alone(&mut self, arena: &Arena) -> Lived {
        let Self { alone, told, id, .. } = self;
        alone.work(arena, id, |error| told.excuse(error))
    }

    /// The same by several threads.
    fn call_alone_together(&mut self, arena: &Arena) -> Lived {
        let (members, seed, this) = (2 + self.rng.below(3), self.rng.next(), &*self);
        let made: Vec<_> = std::thread::scope(|scope| {
            let member = |number: u64| {
                let id = format!("{}.alone{number}", this.id);
                let mut alone = Alone::new(seed_of(&id) ^ seed, Vec::new());
                alone.work(arena, &id, |error| this.told.excuse(error))?;
                Ok(alone)
            };
            let all: Vec<_> = (0..members).map(|number| scope.spawn(move || member(number))).collect();
            all.into_iter()
                .map(|one| one.join().unwrap_or_else(|_| wrong("a member panics".to_owned())))
                .collect()
        });
        for alone in made {
            self.alone.take_over(alone?);
        }
        Ok(())
    }

    fn write(&mut self, arena: Arena) -> std::result::Result<Arena, String> {
        match self.rng.below(48) {
            0 => self.fork(&arena)?,
            1 if self.rng.below(2) == 0 => return wrong(self.exec(&arena)?),
            2 => {
                // Rolled back, with all its blocks.
                if let Some(mut tx) = self.settle(arena.write())? {
                    self.work.edit(&mut tx).map_err(|e| e.to_string())?;
                }
            }
            3 => {
                drop(arena);
                return self.open();
            }
            n @ 4..=6 => {
                let done = match n {
                    4 => arena.sync(),
                    5 if self.rng.below(2) == 0 => arena.checkpoint(),
                    5 => testing::move_log(&arena, [0, 20, 24, 64][self.rng.below(4) as usize]),
                    _ => arena.shrink().map(drop),
                };
                self.settle(done)?;
                tell("did maintain");
            }
            7 => self.read(&arena)?,
            8 => self.snapshot(&arena)?,
            9..=15 => self.commit_together(&arena)?,
            16..=25 if !self.told.plan.tables => self.call_alone(&arena)?,
            26..=28 if !self.told.plan.tables => self.call_alone_together(&arena)?,
            _ => self.commit(&arena)?,
        }
        Ok(arena)
    }

    /// A child that cannot use what it inherited, and opens the arena for itself. This process does not wait for it: either may die first.
    fn fork(&mut self, arena: &Arena) -> Lived {
        // In a transaction now and then: the child inherits that too.
        let tx = if self.rng.below(2) == 0 { self.settle(arena.write())? } else { None };
        // SAFETY: the child goes on in this thread alone and ends by `_exit`; what it needs of the library's locks is released by its
        // own fork handlers.
        match unsafe { libc::fork() } {
            0 => {
                // A panic ends here: what would catch it further up is its parent's.
                let outcome = catch_unwind(AssertUnwindSafe(|| self.grow_up(arena, tx)))
                    .unwrap_or_else(|_| wrong("it panics".to_owned()));
                if let Err(what) = &outcome {
                    tell(&format!("bad child: {what}").replace('\n', " "));
                }
                // SAFETY: ends the process without running anything.
                unsafe { libc::_exit(i32::from(outcome.is_err())) }
            }
            pid if pid > 0 => {
                tell("did fork");
                Ok(())
            }
            _ => wrong(format!("fork: {}", std::io::Error::last_os_error())),
        }
    }

    fn grow_up(&mut self, arena: &Arena, tx: Option<heapfile::WriteTxn<'_>>) -> Lived {
        self.id = id();
        tell(&format!("born {}", std::process::id()));
        // The blocks stay its parent's.
        self.alone = Alone::new(seed_of(&self.id), Vec::new());
        drop(tx);
        for (what, outcome) in [
            ("read", arena.read().map(drop)),
            ("write", arena.write().map(drop)),
            ("sync", arena.sync()),
            ("alloc", arena.alloc(&1u64).map(drop)),
        ] {
            if !matches!(outcome, Err(Error::Forked)) {
                return wrong(format!("{what} after fork: {outcome:?}"));
            }
        }
        let own = self.open()?;
        for _ in 0..self.rng.below(10) {
            self.commit(&own)?;
            if !self.told.plan.tables {
                self.call_alone(&own)?;
            }
        }
        Ok(())
    }

    /// Another program in this process's place: all that it had open is closed, in the middle of a transaction.
    fn exec(&mut self, arena: &Arena) -> std::result::Result<String, String> {
        let tx = if self.rng.below(2) == 0 { self.settle(arena.write())? } else { None };
        let _read = if tx.is_none() { self.settle(arena.read())? } else { None };
        tell("did exec");
        let arguments = std::env::args_os().skip(1);
        let mut command = Command::new("/proc/self/exe");
        bequeath(&mut command, self.alone.live());
        let error = command.args(arguments).exec();
        Ok(format!("exec: {error}"))
    }
}
