//! What transactions this thread has open, so that it never waits for itself.

use std::cell::RefCell;

/// Identity of an arena's file as this process has it: device, inode, forks.
pub(crate) type FileKey = (u64, u64, u64);

/// What a thread holds on one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) reads: u32,
    pub(crate) writes: u32,
}

thread_local! {
    static HELD: RefCell<Vec<(FileKey, Held)>> = const { RefCell::new(Vec::new()) };
}

/// What this thread holds on the file.
#[inline]
pub(crate) fn held(key: FileKey) -> Held {
    HELD.with_borrow(|all| all.iter().find(|(k, _)| *k == key).map_or(Held::default(), |(_, h)| *h))
}

/// Changes what this thread holds on the file.
#[inline]
pub(crate) fn change(key: FileKey, change: impl FnOnce(&mut Held)) {
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
