//! Named points at which a test may have the process killed or stopped.
//!
//! Without the feature `testing` this is nothing at all. With it, `HEAPFILE_FAILPOINT=NAME` or `NAME#N` kills the
//! process with SIGKILL when it passes the point for the first, or N-th, time; `HEAPFILE_STOPPOINT` likewise stops it
//! with SIGSTOP. `rest_at_points` has threads rest for a moment at points by chance, so that others come between two steps of theirs.
//!
//! On a simulated disk a thread stands for a process: `die_after` unwinds it to the test at any failpoint or step of the
//! disk, and `at_failpoint` and `at_point` let another handle act at a point, as another process might.

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn failpoint(_name: &str) {}

/// Whether the process that this thread stands for is dead, so that nothing is to be written any more.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn is_dead() -> bool {
    false
}

#[cfg(feature = "testing")]
pub use enabled::{Died, at_failpoint, at_no_point, at_point, die_after, rest_at_points};
#[cfg(feature = "testing")]
pub(crate) use enabled::{failpoint, is_dead, step};

/// The names on the way of a commit, so that tests can go through them.
#[cfg(feature = "testing")]
pub const FAILPOINTS: &[&str] = &[
    "commit: begin",
    "commit: in place filled",
    "commit: in place synced",
    "commit: spill written",
    "commit: in doubt set",
    "commit: record durable",
    "commit: intent prepared",
    "commit: intent valid",
    "commit: before void",
    "commit: void durable",
    "commit: gate shut",
    "commit: half applied",
    "commit: copied",
    "commit: applied",
    "commit: head moved",
    "commit: done",
    "checkpoint: before sync",
    "checkpoint: after sync",
    "checkpoint: slot durable",
    "checkpoint: slot known",
    "log: a piece of its new place filled",
    "log: about to move",
    "log: a slot names its new place",
    "log: moved",
    "recover: log rewritten",
    "recover: replayed",
    "mark: set",
    "sync: before the lock",
    "sync: with the lock",
    "sync: mark cleared",
    "grow: file longer",
];

/// The names on the way of a snapshot.
#[cfg(feature = "testing")]
pub const SNAPSHOTPOINTS: &[&str] = &[
    "snapshot: begun",
    "snapshot: piece copied",
    "snapshot: before the last round",
    "snapshot: before the rename",
    "snapshot: renamed",
];

/// The names inside the protocol of lock and gate.
#[cfg(feature = "testing")]
pub const LOCKPOINTS: &[&str] = &[
    "attach: length known",
    "attach: slot locked",
    "slot: about to be cleaned",
    "lock: gives way",
    "lock: owner judged dead",
    "lock: taken over",
    "gate: reader counted",
    "gate: shut before readers",
];

#[cfg(feature = "testing")]
mod enabled {
    use crate::media::sim::SplitMix64;
    use std::cell::{Cell, RefCell};
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    enum When {
        At(&'static str),
        After(u64),
    }

    impl When {
        fn is_now(&mut self, name: &str) -> bool {
            match self {
                Self::At(at) => *at == name,
                Self::After(0) => true,
                Self::After(left) => {
                    *left -= 1;
                    false
                }
            }
        }
    }

    type Action = (When, Box<dyn FnOnce()>);

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static DEAD: Cell<bool> = const { Cell::new(false) };
        static ACTION: RefCell<Option<Action>> = const { RefCell::new(None) };
    }

    /// What a call unwinds with that was made to die.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Died;

    /// Lets this thread pass so many more failpoints and steps of simulated disks; at the next one it dies: it unwinds with
    /// [`Died`], and handles that it drops from then on write nothing. `None`, or another number, lets it live again.
    pub fn die_after(points: Option<u64>) {
        LEFT.set(points);
        DEAD.set(false);
    }

    pub(crate) fn is_dead() -> bool {
        DEAD.get()
    }

    /// Runs `action` when this thread passes the failpoint for the first time from now on.
    pub fn at_failpoint(name: &'static str, action: impl FnOnce() + 'static) {
        set_action(Some((When::At(name), Box::new(action))));
    }

    /// Runs `action` when this thread has passed `points` failpoints from now on, at the next one.
    pub fn at_point(points: u64, action: impl FnOnce() + 'static) {
        set_action(Some((When::After(points), Box::new(action))));
    }

    /// Forgets the action; whether there was one that had not run.
    pub fn at_no_point() -> bool {
        set_action(None)
    }

    /// What the one before has with it may pass points itself when it goes.
    fn set_action(action: Option<Action>) -> bool {
        ACTION.replace(action).is_some()
    }

    /// Passes a step of a simulated disk, about to be done.
    pub(crate) fn step() {
        match LEFT.get() {
            None => {}
            Some(0) => {
                LEFT.set(None);
                DEAD.set(true);
                std::panic::resume_unwind(Box::new(Died));
            }
            Some(left) => LEFT.set(Some(left - 1)),
        }
    }

    /// What one environment variable asks for.
    struct Point {
        name: String,
        count: u64,
        passed: AtomicU64,
        signal: libc::c_int,
    }

    static WANTED: OnceLock<Vec<Point>> = OnceLock::new();

    fn wanted() -> &'static [Point] {
        WANTED.get_or_init(|| {
            [("HEAPFILE_FAILPOINT", libc::SIGKILL), ("HEAPFILE_STOPPOINT", libc::SIGSTOP)]
                .into_iter()
                .filter_map(|(variable, signal)| {
                    let text = std::env::var(variable).ok()?;
                    let (name, count) = match text.rsplit_once('#') {
                        Some((name, count)) => (name.to_owned(), count.parse().unwrap_or(1)),
                        None => (text, 1),
                    };
                    Some(Point { name, count, passed: AtomicU64::new(0), signal })
                })
                .collect()
        })
    }

    /// One in so many points is rested at; 0: none.
    static RESTS: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        static RNG: RefCell<SplitMix64> = RefCell::new(SplitMix64(RandomState::new().hash_one(())));
    }

    /// All threads of this process rest for up to four milliseconds at one in `points` failpoints; at none for 0.
    pub fn rest_at_points(points: u64) {
        RESTS.store(points, Ordering::Relaxed);
    }

    fn rest() {
        let points = RESTS.load(Ordering::Relaxed);
        let draw = |rng: &mut SplitMix64| (rng.below(points) == 0).then(|| rng.below(4000));
        if points > 0
            && let Some(micros) = RNG.with_borrow_mut(draw)
        {
            std::thread::sleep(Duration::from_micros(micros));
        }
    }

    #[inline]
    pub(crate) fn failpoint(name: &str) {
        step();
        rest();
        let due = |action: &mut Action| action.0.is_now(name);
        // A thread that ends may come by when it has no action any more.
        if let Ok(Some((_, action))) = ACTION.try_with(|action| action.borrow_mut().take_if(due)) {
            action();
        }
        for point in wanted() {
            if point.name == name && point.passed.fetch_add(1, Ordering::Relaxed) + 1 == point.count {
                // SAFETY: a plain system call. The signal goes to this thread, so that it takes not one step more.
                unsafe { libc::raise(point.signal) };
            }
        }
    }
}
