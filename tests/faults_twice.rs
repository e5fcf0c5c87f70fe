//! Two calls on the file fail, the second one often while the first is made up for: by the handle that met it, by another one beside it, by opening
//! again. What was acknowledged stays, no commit is ever seen by half, neither here nor there, and work goes on.
//!
//! Each call fails as the first one, and two are drawn as the second; twenty with `HEAPFILE_TEST_THOROUGH` set.

mod common;

use common::is_thorough;
use common::script::{self, Script};
use common::{BOTH, FAILURES, assert_clean, small};
use heapfile::testing::{self, Break, Call, SimDisk, SplitMix64};
use heapfile::{Arena, Durability, Error, Locking, Options, Result};
use std::ops::RangeInclusive;
use std::panic::catch_unwind;

/// Commits before the first call fails, and all of them.
const BEFORE: u64 = 2;
const COMMITS: u64 = 7;

/// Which calls fail: the `nth` of the first kind, and the second so many calls of its kind after that.
#[derive(Debug, Clone, Copy)]
struct Pair {
    durability: Durability,
    locking: Locking,
    first: (Call, i32),
    nth: u64,
    second: (Call, i32),
    then: u64,
}

/// Two handles on a disk on which a pair of calls fails.
struct Trial {
    pair: Pair,
    disk: SimDisk,
    options: Options,
    one: Arena,
    other: Arena,
}

/// Does it again for as long as calls fail; a handle that is out of use is opened anew.
fn persist<T>(
    (disk, options, pair): (&SimDisk, &Options, Pair),
    arena: &mut Arena,
    work: impl Fn(&Arena) -> Result<T>,
) -> T {
    for _ in 0..6 {
        match work(arena) {
            Ok(done) => return done,
            Err(Error::Poisoned { .. }) => match testing::open(disk, options) {
                Ok(anew) => *arena = anew,
                Err(e) => assert!(is_fault(&e), "{pair:?}: opening again: {e}"),
            },
            Err(e) => assert!(is_fault(&e), "{pair:?}: {e}"),
        }
    }
    panic!("{pair:?}: more fails than two calls");
}

fn is_fault(e: &Error) -> bool {
    matches!(e, Error::Io { .. } | Error::NoSpace { .. } | Error::SyncFailed | Error::Poisoned { .. })
}

impl Trial {
    fn begin(pair: Pair) -> Self {
        let disk = SimDisk::new().unwrap();
        disk.record(false).unwrap();
        // Long enough for most commits, so that there are several to make up for.
        let options = small(pair.durability).log_size(1 << 20).locking(pair.locking);
        let one = testing::create(&disk, &options).unwrap();
        script::begin(&one).unwrap();
        (0..BEFORE).for_each(|_| _ = script::play(&one).unwrap());
        let other = testing::open(&disk, &options).unwrap();
        disk.fail(pair.first.0, pair.nth, pair.first.1);
        disk.fail_then(pair.second.0, pair.then, pair.second.1);
        Self { pair, disk, options, one, other }
    }

    /// Both handles see a whole state, of so many commits; how many the second one, which looks last, sees.
    fn look(&mut self, allowed: RangeInclusive<u64>) -> u64 {
        let (mut last, with) = (0, (&self.disk, &self.options, self.pair));
        for arena in [&mut self.one, &mut self.other] {
            last = persist(with, arena, |arena| {
                let tx = arena.read()?;
                let count = script::count_in(&tx)?;
                assert!(allowed.contains(&count), "{:?}: {count} commits, not {allowed:?}", self.pair);
                assert_eq!(Script::after(count).difference(&tx), None, "{:?}", self.pair);
                Ok(count)
            });
        }
        last
    }

    /// Commits, sometimes syncs, and looks after each; how many commits there are then.
    fn step(&mut self, count: u64) -> u64 {
        let outcome = script::play(&self.one);
        let allowed = match &outcome {
            Ok(_) => count + 1..=count + 1,
            Err(Error::Poisoned { .. }) => count..=count + 1,
            Err(e) if is_fault(e) => count..=count,
            Err(e) => panic!("{:?}: {e}", self.pair),
        };
        self.look(allowed.clone());
        // Whoever writes next settles what is in doubt.
        persist((&self.disk, &self.options, self.pair), &mut self.other, |arena| arena.write().map(drop));
        let count = self.look(allowed);
        // Seldom, so that the log has several commits to make up for.
        if count % 5 == 4 {
            for outcome in [self.one.checkpoint(), self.one.sync()] {
                if let Err(e) = outcome {
                    assert!(is_fault(&e), "{:?}: {e}", self.pair);
                    self.look(count..=count);
                }
            }
        }
        std::mem::swap(&mut self.one, &mut self.other);
        count
    }
}

/// Works with the two calls failing; how many of them did.
fn work(pair: Pair) -> usize {
    let mut trial = Trial::begin(pair);
    let (mut count, mut steps) = (BEFORE, 0);
    while count < COMMITS {
        count = trial.step(count);
        steps += 1;
        assert!(steps < COMMITS + 4, "{pair:?}: work does not go on");
    }
    let struck = 2 - trial.disk.clear_faults();
    assert_clean(&trial.one);
    let Trial { disk, options, one, other, .. } = trial;
    one.sync().unwrap_or_else(|e| panic!("{pair:?}: {e}"));
    drop((one, other));
    let arena = testing::open(&disk, &options).unwrap_or_else(|e| panic!("{pair:?}: {e}"));
    Script::after(count).assert_in(&arena);
    assert_clean(&arena);
    struck
}

fn sweep(durability: Durability) {
    let draws = if is_thorough() { 20 } else { 2 };
    let (mut struck, mut rng) = ([0u64; 3], SplitMix64(2));
    for first in FAILURES {
        for nth in 0.. {
            let mut reached = 0;
            for _ in 0..draws {
                let locking = [Locking::Shared, Locking::File][rng.below(2) as usize];
                // In what makes up for a failure there are more writes than all else.
                let second = FAILURES[(rng.below(18) as usize).saturating_sub(9)];
                let then = rng.below(if second.0 == Call::Write { 30 } else { 3 });
                let fell = work(Pair { durability, locking, first, nth, second, then });
                struck[fell] += 1;
                reached = reached.max(fell);
            }
            if reached == 0 {
                break;
            }
        }
    }
    println!("{durability:?}: none, one, both of two calls failed in {struck:?} trials");
    assert!(struck[2] > 5, "{durability:?}: {struck:?}");
}

#[test]
fn two_calls_of_a_power_arena() {
    sweep(BOTH[0]);
}

#[test]
fn two_calls_of_a_process_arena() {
    sweep(BOTH[1]);
}

/// The sync of a checkpoint fails, and then one of the writes that make up for it: the first so many in turn.
fn make_up(then: u64) {
    let durability = Durability::Power;
    let locking = [Locking::Shared, Locking::File][(then % 2) as usize];
    work(Pair {
        durability,
        locking,
        first: (Call::Sync, libc::EIO),
        nth: 1,
        second: (Call::Write, libc::EIO),
        then,
    });
}

#[test]
fn what_makes_up_for_a_failed_sync_fails() {
    (0..40).for_each(make_up);
}

/// The control: older values of words, written before the last ones, are seen by the handle beside.
#[test]
fn older_values_would_be_seen() {
    testing::sabotage(Some(Break::ReplayOldValues));
    let found = (20..40).any(|then| catch_unwind(|| make_up(then)).is_err());
    testing::sabotage(None);
    assert!(found);
}
