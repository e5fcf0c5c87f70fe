//! Named points at which a test may have the process killed or stopped.
//!
//! Without the feature `testing` this is nothing at all. With it, `HEAPFILE_FAILPOINT=NAME` or `NAME#N` kills the
//! process with SIGKILL when it passes the point for the first, or N-th, time; `HEAPFILE_STOPPOINT` likewise stops it
//! with SIGSTOP.

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn failpoint(_name: &str) {}

#[cfg(feature = "testing")]
pub(crate) use enabled::failpoint;

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
    "commit: applied",
    "commit: head moved",
    "commit: done",
    "checkpoint: before sync",
    "checkpoint: after sync",
    "checkpoint: slot durable",
    "recover: log rewritten",
    "recover: replayed",
    "mark: set",
    "sync: mark cleared",
    "grow: file longer",
];

/// The names inside the protocol of lock and gate.
#[cfg(feature = "testing")]
pub const LOCKPOINTS: &[&str] = &[
    "attach: slot locked",
    "lock: owner judged dead",
    "lock: taken over",
    "gate: reader counted",
    "gate: shut before readers",
];

#[cfg(feature = "testing")]
mod enabled {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

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

    #[inline]
    pub(crate) fn failpoint(name: &str) {
        for point in wanted() {
            if point.name == name && point.passed.fetch_add(1, Ordering::Relaxed) + 1 == point.count {
                // SAFETY: a plain system call. The signal goes to this thread, so that it takes not one step more.
                unsafe { libc::raise(point.signal) };
            }
        }
    }
}
