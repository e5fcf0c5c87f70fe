//! For how long a writer goes on while others wait.
//!
//! A lock goes to whoever is awake when it becomes free. Mostly that is its last owner, for who is woken needs some 50 us to get there: one that takes the
//! lock again and again would keep the others out until their time is up. So a handle has a tenure. Where others still sleep when it gives the
//! lock back after [`TENURE`], it lets one of them be first the next time.
//!
//! Not each time, because to change owners costs as much as a hundred small commits. The tenure is the handle's own idea, in its memory; nothing depends on it, and where
//! nobody waits it costs a look.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// For how long a handle takes the lock again as it likes while others wait.
pub(crate) const TENURE: Duration = Duration::from_millis(4);
/// For how long it then waits until another has the lock: who was woken, and has not come by then, comes to nothing by waiting either.
pub(super) const COURTESY: Duration = Duration::from_millis(1);

/// One handle's tenure.
#[derive(Debug)]
pub(crate) struct Tenure {
    opened: Instant,
    /// When it began: nanoseconds since `opened`.
    began: AtomicU64,
    is_over: AtomicBool,
}

impl Tenure {
    pub(crate) fn new() -> Self {
        Self { opened: Instant::now(), began: AtomicU64::new(0), is_over: AtomicBool::new(false) }
    }

    fn now(&self) -> u64 {
        self.opened.elapsed().as_nanos() as u64
    }

    /// The handle got the lock after it had waited, or has let others be first.
    pub(super) fn begin(&self) {
        self.began.store(self.now(), Relaxed);
        self.is_over.store(false, Relaxed);
    }

    /// The handle gives the lock back, and others sleep.
    pub(super) fn end_if_long(&self) {
        if self.is_long() {
            self.is_over.store(true, Relaxed);
        }
    }

    /// Whether it has had its time.
    pub(super) fn is_long(&self) -> bool {
        self.now().wrapping_sub(self.began.load(Relaxed)) >= TENURE.as_nanos() as u64
    }

    /// Whether another is to have the lock before this handle takes it again.
    #[inline(always)]
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_ends_only_where_others_wait_and_after_its_time() {
        let tenure = Tenure::new();
        tenure.begin();
        std::thread::sleep(TENURE);
        assert!(!tenure.is_over(), "nobody waits");
        tenure.end_if_long();
        assert!(tenure.is_over());
        tenure.begin();
        assert!(!tenure.is_over());
    }
}
