//! What transactions this thread has open, so that it never waits for itself.
//!
//! Each file that this process has open has a small number, the same for all handles on it; a thread's holds are found by
//! that number.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// Identity of an arena's file as this process has it: device, inode, forks. A child of `fork` holds nothing of what its
/// parent held.
type FileKey = (u64, u64, u64);

/// Files that are open, with the number of handles on each; a place is used again when there are none.
static FILES: Mutex<Vec<(FileKey, usize)>> = Mutex::new(Vec::new());

/// What a thread holds on one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) reads: u32,
    pub(crate) writes: u32,
}

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// A file's number, as long as a handle has it.
#[derive(Debug)]
pub(crate) struct FileNumber(usize);

impl FileNumber {
    /// The number of the file with this device and inode.
    pub(crate) fn of((device, inode): (u64, u64)) -> Self {
        let key = (device, inode, super::fork::count());
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        let place = files
            .iter()
            .position(|(k, handles)| *k == key && *handles > 0)
            .or_else(|| files.iter().position(|(_, handles)| *handles == 0))
            .unwrap_or(files.len());
        match files.get_mut(place) {
            None => files.push((key, 1)),
            Some(entry) => *entry = (key, entry.1 + 1),
        }
        Self(place)
    }

    /// Looks at, and may change, what this thread holds on the file.
    #[inline]
    pub(crate) fn with<T>(&self, f: impl Fn(&mut Held) -> T) -> T {
        HELD.try_with(|all| {
            let mut all = all.borrow_mut();
            if self.0 >= all.len() {
                all.resize(self.0 + 1, Held::default());
            }
            f(&mut all[self.0])
        })
        // A transaction that the user keeps in a thread-local may be dropped after ours is gone: nothing is left to guard.
        .unwrap_or_else(|_| f(&mut Held { reads: 1, writes: 1 }))
    }
}

impl Drop for FileNumber {
    fn drop(&mut self) {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, handles)) = files.get_mut(self.0) {
            *handles = handles.saturating_sub(1);
        }
    }
}
