//! Named points at which a test may have the process killed.
//!
//! Without the feature `testing` this is nothing at all. With it, `HEAPFILE_FAILPOINT=NAME` or `NAME#N` kills the
//! process with SIGKILL when it passes the point for the first, or N-th, time.

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn failpoint(_name: &str) {}

#[cfg(feature = "testing")]
pub(crate) use enabled::failpoint;

/// All names, so that tests can go through them.
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

#[cfg(feature = "testing")]
mod enabled {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();

    fn wanted() -> &'static Option<(String, u64)> {
        WANTED.get_or_init(|| {
            let text = std::env::var("HEAPFILE_FAILPOINT").ok()?;
            Some(match text.rsplit_once('#') {
                Some((name, count)) => (name.to_owned(), count.parse().unwrap_or(1)),
                None => (text, 1),
            })
        })
    }

    #[inline]
    pub(crate) fn failpoint(name: &str) {
        if let Some((point, count)) = wanted()
            && point == name
            && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
