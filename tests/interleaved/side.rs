//! One handle's side: what it can do, and what that makes of the arena.

use crate::common::{assert_clean, cause, small};
use heapfile::testing::{self, SimDisk, move_log};
use heapfile::{Arena, Durability, Error, Locking, Options, Result, SnapshotOptions, View, WriteTxn};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a handle does. What changes something adds one to the number of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Open,
    OpenReadOnly,
    Read,
    /// All that tells what there is.
    Look,
    Commit,
    Grow,
    Drop,
    Spill,
    Alone,
    Submit,
    Undo,
    Lengthen,
    Shorten,
    Checkpoint,
    Sync,
    Shrink,
    Snapshot,
    Check,
    Close,
    /// Closes, and opens again.
    Reopen,
    /// A reader that stays while the other goes on.
    StayReading,
    /// A writer that stays, and commits after that.
    StayWriting,
}

use Op::*;

pub(crate) const OPS: &[Op] = &[
    OpenReadOnly,
    Look,
    Open,
    Read,
    Commit,
    Grow,
    Drop,
    Spill,
    Alone,
    Submit,
    Undo,
    Lengthen,
    Shorten,
    Checkpoint,
    Sync,
    Shrink,
    Snapshot,
    Check,
    Close,
    Reopen,
];

/// Blocks by name, each full of one number, and how many commits there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) commits: u64,
    pub(crate) blocks: BTreeMap<String, u64>,
}

const LONG: usize = 40_000;

/// Pages that the log is lengthened to: more than the file has room for.
const LOG: u32 = 200;

impl State {
    /// Of an arena that [`template`] made.
    pub(crate) fn first() -> Self {
        let blocks = ["a", "b", "spill a", "spill b"].map(|name| (name.to_owned(), 1));
        Self { commits: 1, blocks: blocks.into() }
    }

    /// After `who` did `op`.
    pub(crate) fn after(&self, op: Op, who: &str) -> Self {
        let mut next = self.clone();
        match op {
            Commit | Submit => {}
            Grow => drop(next.blocks.insert(format!("grown {who}"), 2)),
            Drop => drop(next.blocks.remove(who)),
            Spill => drop(next.blocks.insert(format!("spill {who}"), 2)),
            _ => return next,
        }
        next.commits += 1;
        next
    }

    pub(crate) fn read(view: &impl View) -> Result<Self> {
        let commits = *view.get(view.named_root::<u64>("commits")?.expect("it is there"))?;
        let names = ["a", "b", "spill a", "spill b", "grown a", "grown b"];
        let mut blocks = BTreeMap::new();
        for name in names {
            if let Some(block) = view.named_root::<[u64]>(name)? {
                let words = view.slice(block)?;
                assert!(words.iter().all(|&word| word == words[0]), "{name:?} is torn");
                blocks.insert(name.to_owned(), words[0]);
            }
        }
        Ok(Self { commits, blocks })
    }
}

/// Carries `op` out in a transaction that goes on.
pub(crate) fn change(tx: &mut WriteTxn<'_>, op: Op, who: &str) -> Result<()> {
    match op {
        Grow => {
            let block = tx.alloc_slice(&vec![2u64; LONG])?;
            tx.set_named_root(&format!("grown {who}"), block)?;
        }
        Drop => {
            let block = tx.named_root::<[u64]>(who)?.expect("it is there");
            tx.remove_root(who)?;
            tx.free(block)?;
        }
        Spill => {
            let block = tx.named_root::<[u64]>(&format!("spill {who}"))?.expect("it is there");
            tx.slice_mut(block)?.fill(2);
        }
        _ => {}
    }
    let commits = tx.named_root::<u64>("commits")?.expect("it is there");
    *tx.get_mut(commits)? += 1;
    Ok(())
}

/// The arena that each case begins with: blocks, space between them, a log that has moved if asked for.
pub(crate) fn template(path: &Path, durability: Durability, moved: bool) {
    fill(&small(durability).create(path).expect("it can be made"), moved);
}

/// The same on a simulated disk.
pub(crate) fn template_image(durability: Durability, moved: bool) -> Vec<u8> {
    let disk = SimDisk::new().expect("memory");
    disk.record(false).expect("it is new");
    fill(&testing::create(&disk, &small(durability)).expect("it can be made"), moved);
    disk.read_cache().expect("it can be read")
}

fn fill(arena: &Arena, moved: bool) {
    let mut tx = arena.write().expect("a writer");
    let mut holes = Vec::new();
    for name in ["a", "b", "spill a", "spill b"] {
        let len = if name.len() > 1 { LONG / 4 } else { 2000 };
        let block = tx.alloc_slice(&vec![1u64; len]).expect("space");
        tx.set_named_root(name, block).expect("a root");
        holes.push(tx.alloc_zeroed(9000, 8).expect("space"));
    }
    let commits = tx.alloc(&1u64).expect("space");
    tx.set_named_root("commits", commits).expect("a root");
    tx.commit().expect("a commit");
    for hole in holes {
        arena.free(hole).expect("it is there");
    }
    if moved {
        move_log(arena, LOG / 4).expect("the log moves");
    }
}

/// One handle's side of a case.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) who: &'static str,
    pub(crate) home: Home,
    pub(crate) options: Options,
    pub(crate) arena: Option<Arena>,
}

/// Where the arena is.
#[derive(Clone)]
pub(crate) enum Home {
    File(PathBuf),
    Sim(SimDisk),
}

impl Home {
    pub(crate) fn open(&self, options: &Options) -> Result<Arena> {
        match self {
            Self::File(path) => options.open(path),
            Self::Sim(disk) => testing::open(disk, options),
        }
    }

    fn open_read_only(&self, options: &Options) -> Result<Arena> {
        match self {
            Self::File(path) => options.open_read_only(path),
            Self::Sim(disk) => testing::open(disk, options),
        }
    }
}

/// Nobody waits long for who goes on only afterwards.
pub(crate) fn options(locking: Locking) -> Options {
    Options::new().locking(locking).lock_timeout(Duration::from_millis(2)).max_size(64 << 20)
}

impl Side {
    pub(crate) fn open(who: &'static str, home: &Home, options: &Options) -> Self {
        let arena = home.open(options).expect("it opens");
        // It knows the heap, and the other changes it then.
        drop(arena.read().expect("a reader"));
        Self { who, home: home.clone(), options: options.clone(), arena: Some(arena) }
    }

    pub(crate) fn arena(&self) -> &Arena {
        self.arena.as_ref().expect("it is open")
    }

    pub(crate) fn run(&mut self, op: Op) -> Result<()> {
        let arena = self.arena().clone();
        match op {
            Open => self.home.open(&self.options).map(drop),
            OpenReadOnly => State::read(&self.home.open_read_only(&self.options)?.read()?).map(drop),
            Look => {
                arena.stats()?;
                arena.handles()?;
                arena.runs().try_for_each(|run| run.map(drop))?;
                arena.read()?.blocks().try_for_each(|block| block.map(drop))
            }
            Read => State::read(&arena.read()?).map(drop),
            Commit | Grow | Drop | Spill => {
                let mut tx = arena.write()?;
                change(&mut tx, op, self.who)?;
                tx.commit()
            }
            Submit => arena.submit(|tx| change(tx, op, self.who)),
            Undo => {
                let mut tx = arena.write()?;
                change(&mut tx, Grow, self.who)
            }
            // The block is nobody's if it cannot be freed then.
            Alone => arena.alloc_bytes(&[7; 3000]).and_then(|block| arena.free(block)),
            Lengthen => move_log(&arena, LOG),
            Shorten => move_log(&arena, 0),
            Checkpoint => arena.checkpoint(),
            Sync => arena.sync(),
            Shrink => arena.shrink().map(drop),
            Snapshot => {
                let Home::File(path) = &self.home else { return Ok(()) };
                let to = path.with_extension(self.who);
                arena.snapshot(&to, &SnapshotOptions::new())?;
                let copy = Arena::open(&to)?;
                assert_clean(&copy);
                State::read(&copy.read()?).map(drop)?;
                std::fs::remove_file(to).map_err(|e| panic!("{e}"))
            }
            Check => arena.check().map(|report| assert_eq!(report.findings, [])),
            Close | Reopen => {
                drop(arena);
                self.arena = None;
                if op == Reopen {
                    self.arena = Some(self.home.open(&self.options)?);
                }
                Ok(())
            }
            StayReading | StayWriting => unreachable!("the other's part"),
        }
    }
}

/// `Busy` is no fault where another stays, or holds the lock.
pub(crate) fn settled(outcome: Result<()>) -> bool {
    match outcome.as_ref().map_err(cause) {
        Ok(()) => true,
        Err(Error::Busy { .. }) => false,
        Err(e) => panic!("{e}: {e:?}"),
    }
}

/// Looks at what is left, commits, and looks again when all are gone.
pub(crate) fn judge(home: &Home, options: &Options, possible: &[State], first: Option<Side>) {
    let patient = options.clone().lock_timeout(Duration::from_secs(30));
    let judge = home.open(&patient).expect("it opens");
    let found = State::read(&judge.read().expect("a reader")).expect("a whole state");
    assert!(possible.contains(&found), "{found:?} is none of {possible:?}");
    assert_clean(&judge);
    let mut tx = judge.write().expect("a writer");
    change(&mut tx, Commit, "").expect("a change");
    tx.commit().expect("a commit");
    let next = found.after(Commit, "");
    if let Some(arena) = first.and_then(|first| first.arena) {
        assert_eq!(State::read(&arena.read().expect("a reader")).expect("a whole state"), next);
    }
    drop(judge);
    let arena = home.open(&patient).expect("it opens");
    assert_eq!(State::read(&arena.read().expect("a reader")).expect("a whole state"), next);
    assert_clean(&arena);
}

/// Says which case it was that panicked.
pub(crate) fn naming<T>(case: impl Debug, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        eprintln!("{case:?}");
        resume_unwind(panic)
    })
}
