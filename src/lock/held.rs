//! What transactions this thread has open, so that it never waits for itself.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// One handle on one file, as this process has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandleKey {
    device: u64,
    inode: u64,
    /// Forks up to this process: a child holds nothing of what its parent held.
    forks: u64,
    handle: u64,
}

impl HandleKey {
    /// A key that no other handle has; `file` is its device and inode.
    pub(crate) fn new(file: (u64, u64)) -> Self {
        static HANDLES: AtomicU64 = AtomicU64::new(0);
        let handle = HANDLES.fetch_add(1, Ordering::Relaxed);
        Self { device: file.0, inode: file.1, forks: super::fork::count(), handle }
    }

    fn is_on_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.forks) == (other.device, other.inode, other.forks)
    }
}

/// What a thread holds on one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    /// Of `reads`, those through the handle that asks. Only under one of these may a shut gate be passed: the thread then keeps
    /// a count that the committer sees above zero without a break. A count that came later, in another handle's slot,
    /// could be missed by a scan that saw that slot before and the first one after.
    pub(crate) own_reads: u32,
}

thread_local! {
    static HELD: RefCell<Vec<(HandleKey, Held)>> = const { RefCell::new(Vec::new()) };
}

/// What this thread holds on the file, through any handle.
#[inline]
pub(crate) fn held(key: HandleKey) -> Held {
    HELD.with_borrow(|all| {
        let mut sum = Held::default();
        for (at, held) in all {
            if at.is_on_same_file(&key) {
                sum.reads += held.reads;
                sum.writes += held.writes;
                if *at == key {
                    sum.own_reads = held.reads;
                }
            }
        }
        sum
    })
}

/// Changes what this thread holds through one handle.
#[inline]
pub(crate) fn change(key: HandleKey, change: impl FnOnce(&mut Held)) {
    // A transaction kept in a thread-local of the user may be dropped after ours is gone.
    let _ = HELD.try_with(|all| {
        let mut all = all.borrow_mut();
        match all.iter_mut().find(|(k, _)| *k == key) {
            Some((_, held)) => change(held),
            None => {
                let mut held = Held::default();
                change(&mut held);
                all.push((key, held));
            }
        }
        if all.len() > 8 {
            all.retain(|(_, h)| *h != Held::default());
        }
    });
}
