//! The account of a pool's memory: who holds a [`Charge`] may hold that many bytes.
//!
//! Invariant: the sum of all live charges is `bytes`, and no charge is granted over the limit unless forced
//! (a soft limit with everything pinned). Charges give themselves back when dropped, on any thread.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) struct Budget {
    limit: u64,
    bytes: AtomicU64,
    peak: AtomicU64,
    windows: AtomicU64,
}

/// Bytes (and perhaps one window) of the account; given back on drop.
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
    windows: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, bytes: AtomicU64::new(0), peak: AtomicU64::new(0), windows: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// Windows alive, those that only guards still know among them.
    pub(super) fn windows(&self) -> u64 {
        self.windows.load(Relaxed)
    }

    /// Grants `bytes`, and `windows` in the count of windows; `None` if that is over the limit and not forced.
    pub(super) fn charge(self: &Arc<Self>, bytes: u64, windows: u64, force: bool) -> Option<Charge> {
        let before = self.bytes.fetch_update(Relaxed, Relaxed, |now| {
            now.checked_add(bytes).filter(|&then| force || then <= self.limit)
        });
        let now = before.ok()? + bytes;
        self.peak.fetch_max(now, Relaxed);
        self.windows.fetch_add(windows, Relaxed);
        Some(Charge { budget: Arc::clone(self), bytes, windows })
    }
}

impl Charge {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Relaxed);
        self.budget.windows.fetch_sub(self.windows, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_stop_at_the_limit_and_come_back() {
        let budget = Arc::new(Budget::new(100));
        let first = budget.charge(60, 1, false).unwrap();
        assert!(budget.charge(41, 1, false).is_none());
        let second = budget.charge(40, 1, false).unwrap();
        assert_eq!((budget.bytes(), budget.windows(), budget.peak()), (100, 2, 100));
        drop(first);
        drop(second);
        assert_eq!((budget.bytes(), budget.windows(), budget.peak()), (0, 0, 100));
    }

    #[test]
    fn force_exceeds_the_limit_but_never_wraps() {
        let budget = Arc::new(Budget::new(100));
        let over = budget.charge(150, 0, true).unwrap();
        assert_eq!(budget.bytes(), 150);
        assert!(budget.charge(u64::MAX, 0, true).is_none());
        drop(over);
    }
}
