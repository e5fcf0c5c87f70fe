//! What transactions this thread has open, so that it never waits for itself.
//!
//! Each file that this process has open has a small number, the same for all handles on it, and each handle has one; a thread's
//! holds are found by these numbers.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// Identity of an arena's file as this process has it: device, inode, forks. A child of `fork` holds nothing of what its
/// parent held.
type FileKey = (u64, u64, u64);

/// Numbers in use; a place is used again when it is free.
#[derive(Debug)]
struct Numbers {
    /// Files that are open, with the number of handles on each.
    files: Vec<(FileKey, usize)>,
    handles: Vec<bool>,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { files: Vec::new(), handles: Vec::new() });

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

/// Holds of one thread: on files, and reads through handles.
#[derive(Debug)]
struct Holds {
    files: Vec<Held>,
    handles: Vec<u32>,
}

thread_local! {
    static HOLDS: RefCell<Holds> = const { RefCell::new(Holds { files: Vec::new(), handles: Vec::new() }) };
}

/// The numbers of a handle and its file, as long as it lives.
#[derive(Debug)]
pub(crate) struct HandleNumber {
    file: usize,
    handle: usize,
}

impl HandleNumber {
    /// Numbers for a new handle on the file with this device and inode.
    pub(crate) fn new((device, inode): (u64, u64)) -> Self {
        let key = (device, inode, super::fork::count());
        // A fork while the numbers are locked would leave the child without them.
        let _no_fork = super::fork::hold_off();
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let files = &mut numbers.files;
        let file = files
            .iter()
            .position(|(k, handles)| *k == key && *handles > 0)
            .or_else(|| files.iter().position(|(_, handles)| *handles == 0))
            .unwrap_or(files.len());
        match files.get_mut(file) {
            None => files.push((key, 1)),
            Some(entry) => *entry = (key, entry.1 + 1),
        }
        let handles = &mut numbers.handles;
        let handle = handles.iter().position(|used| !used).unwrap_or(handles.len());
        match handles.get_mut(handle) {
            None => handles.push(true),
            Some(used) => *used = true,
        }
        Self { file, handle }
    }

    /// Looks at, and may change, what this thread holds.
    #[inline]
    pub(crate) fn with<T>(&self, f: impl Fn(&mut Held) -> T) -> T {
        HOLDS
            .try_with(|holds| {
                let mut holds = holds.borrow_mut();
                let Holds { files, handles } = &mut *holds;
                if self.file >= files.len() {
                    files.resize(self.file + 1, Held::default());
                }
                if self.handle >= handles.len() {
                    handles.resize(self.handle + 1, 0);
                }
                let (held, own) = (&mut files[self.file], &mut handles[self.handle]);
                held.own_reads = *own;
                let outcome = f(held);
                *own = held.own_reads;
                outcome
            })
            // A transaction that the user keeps in a thread-local may be dropped after ours is gone: nothing is left to guard.
            .unwrap_or_else(|_| f(&mut Held { reads: 1, writes: 1, own_reads: 1 }))
    }

    #[inline]
    pub(crate) fn read_begins(&self) {
        self.with(|held| {
            held.reads += 1;
            held.own_reads += 1;
        });
    }

    #[inline]
    pub(crate) fn read_ends(&self) {
        self.with(|held| {
            held.reads -= 1;
            held.own_reads -= 1;
        });
    }
}

impl Drop for HandleNumber {
    fn drop(&mut self) {
        let _no_fork = super::fork::hold_off();
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, handles)) = numbers.files.get_mut(self.file) {
            *handles = handles.saturating_sub(1);
        }
        if let Some(used) = numbers.handles.get_mut(self.handle) {
            *used = false;
        }
    }
}
