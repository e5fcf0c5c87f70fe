//! What transactions this thread has open, so that it never waits for itself.
//!
//! Each file that this process has open has a number, the same for all handles on it, and each handle has one; a thread's
//! holds are found by these numbers.
//!
//! Invariant: no number is used again, for a thread may have forgotten a transaction (`mem::forget`): it holds that for ever, through a handle that is gone.

use crate::error::{Error, Result};
use std::cell::{Cell, RefCell};
use std::sync::{Mutex, PoisonError};

/// Identity of an arena's file as this process has it: device, inode, forks. A child of `fork` holds nothing of what its
/// parent held.
type FileKey = (u64, u64, u64);

/// A file that is open.
#[derive(Debug)]
struct OpenFile {
    key: FileKey,
    number: u32,
    handles: usize,
}

#[derive(Debug)]
struct Numbers {
    open: Vec<OpenFile>,
    next_file: u32,
    next_handle: u32,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { open: Vec::new(), next_file: 0, next_handle: 0 });

/// The next of numbers that are counted up.
fn take_next(next: &mut u32) -> u32 {
    std::mem::replace(next, next.wrapping_add(1))
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

/// What a thread holds through one handle.
#[derive(Debug, Clone, Copy)]
struct Hold {
    whose: Whose,
    reads: u32,
    writes: u32,
}

/// A file's number, below, and a handle's: one word, so that one comparison tells whether a hold is a handle's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Whose(u64);

impl Whose {
    const fn new(file: u32, handle: u32) -> Self {
        Self((handle as u64) << 32 | file as u64)
    }

    const fn file(self) -> u32 {
        self.0 as u32
    }
}

impl Hold {
    const NONE: Self = Self { whose: Whose(0), reads: 0, writes: 0 };

    #[inline]
    fn is_empty(&self) -> bool {
        self.reads == 0 && self.writes == 0
    }
}

/// What a thread holds, but for the list of it.
struct Holds {
    /// Through one handle; mostly that is all, and needs nothing but two loads and a store.
    one: Cell<Hold>,
    /// Through how many others, listed in [`OTHERS`]; `usize::MAX` once that is gone.
    others: Cell<usize>,
}

thread_local! {
    static HOLDS: Holds = const { Holds { one: Cell::new(Hold::NONE), others: Cell::new(0) } };
    /// What it holds through others, one entry for each.
    static OTHERS: RefCell<Vec<Hold>> = const { RefCell::new(Vec::new()) };
}

/// The numbers of a handle and its file, as long as it lives.
#[derive(Debug)]
pub(crate) struct HandleNumber(Whose);

impl HandleNumber {
    /// Numbers for a new handle on the file with this device and inode.
    pub(crate) fn new((device, inode): (u64, u64)) -> Self {
        let key = (device, inode, super::fork::count());
        // A fork while the numbers are locked would leave the child without them.
        let _no_fork = super::fork::hold_off();
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let Numbers { open, next_file, next_handle } = &mut *numbers;
        let known = open.iter().position(|file| file.key == key).unwrap_or_else(|| {
            open.push(OpenFile { key, number: take_next(next_file), handles: 0 });
            open.len() - 1
        });
        open[known].handles += 1;
        Self(Whose::new(open[known].number, take_next(next_handle)))
    }

    /// What this thread holds on the handle's file.
    #[inline]
    pub(crate) fn held(&self) -> Held {
        let (one, others) = HOLDS.with(|holds| (holds.one.get(), holds.others.get()));
        let mut held = Held::default();
        self.add(one, &mut held);
        if others > 0 {
            self.add_others(&mut held);
        }
        held
    }

    #[inline]
    fn add(&self, hold: Hold, held: &mut Held) {
        if hold.whose.file() == self.0.file() {
            held.reads += hold.reads;
            held.writes += hold.writes;
            held.own_reads += if self.is_own(&hold) { hold.reads } else { 0 };
        }
    }

    #[cold]
    fn add_others(&self, held: &mut Held) {
        // A transaction that the user keeps in a thread-local may be dropped after ours is gone: nothing is left to guard.
        let _ = OTHERS.try_with(|others| others.borrow().iter().for_each(|hold| self.add(*hold, held)));
    }

    #[inline]
    pub(crate) fn read_begins(&self) {
        self.change(|hold| hold.reads += 1);
    }

    #[inline]
    pub(crate) fn read_ends(&self) {
        self.change(|hold| hold.reads -= 1);
    }

    /// Whether this thread holds nothing that would have it wait for itself if it waited for the writer lock.
    pub(crate) fn may_write(&self) -> Result<()> {
        let held = self.held();
        if held.writes > 0 {
            return Err(Error::WouldDeadlock { held: "a write transaction" });
        }
        if held.reads > 0 {
            return Err(Error::WouldDeadlock { held: "a read transaction" });
        }
        Ok(())
    }

    /// Notes that this thread begins to write, if it [may](Self::may_write).
    #[inline(always)]
    pub(crate) fn write_begins_alone(&self) -> Result<()> {
        let is_alone = HOLDS.with(|holds| {
            let is_alone = holds.one.get().is_empty() && holds.others.get() == 0;
            if is_alone {
                holds.one.set(Hold { whose: self.0, reads: 0, writes: 1 });
            }
            is_alone
        });
        if is_alone { Ok(()) } else { self.write_begins_among_others() }
    }

    #[cold]
    fn write_begins_among_others(&self) -> Result<()> {
        self.may_write()?;
        self.write_begins();
        Ok(())
    }

    #[inline]
    pub(crate) fn write_begins(&self) {
        self.change(|hold| hold.writes += 1);
    }

    #[inline(always)]
    pub(crate) fn write_ends(&self) {
        let was_alone = HOLDS.with(|holds| {
            let one = holds.one.get();
            let was_alone = self.is_own(&one) && (one.reads, one.writes) == (0, 1);
            if was_alone {
                holds.one.set(Hold { writes: 0, ..one });
            }
            was_alone
        });
        if !was_alone {
            self.write_ends_among_others();
        }
    }

    #[cold]
    fn write_ends_among_others(&self) {
        self.change(|hold| hold.writes -= 1);
    }

    #[inline]
    fn change(&self, change: impl Fn(&mut Hold)) {
        let is_here = HOLDS.with(|holds| {
            let mut one = holds.one.get();
            // Where it is empty what is asked for may be among the others.
            let is_here = if one.is_empty() { holds.others.get() == 0 } else { self.is_own(&one) };
            if is_here {
                one.whose = self.0;
                change(&mut one);
                holds.one.set(one);
            }
            is_here
        });
        if !is_here {
            self.change_others(change);
        }
    }

    #[inline]
    fn is_own(&self, hold: &Hold) -> bool {
        hold.whose == self.0
    }

    #[cold]
    fn change_others(&self, change: impl Fn(&mut Hold)) {
        let look = |others: &RefCell<Vec<Hold>>| {
            let mut others = others.borrow_mut();
            let at = others.iter().position(|hold| self.is_own(hold)).unwrap_or_else(|| {
                others.push(Hold { whose: self.0, ..Hold::NONE });
                others.len() - 1
            });
            change(&mut others[at]);
            if others[at].is_empty() {
                others.swap_remove(at);
            }
            HOLDS.with(|holds| holds.others.set(others.len()));
        };
        if OTHERS.try_with(look).is_err() {
            // The thread ends, and they are gone. What it holds from now on is not known, so its end must not be looked for in `one`.
            HOLDS.with(|holds| holds.others.set(usize::MAX));
        }
    }
}

impl Drop for HandleNumber {
    fn drop(&mut self) {
        let _no_fork = super::fork::hold_off();
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let open = &mut numbers.open;
        if let Some(at) = open.iter().position(|file| file.number == self.0.file()) {
            open[at].handles -= 1;
            if open[at].handles == 0 {
                open.swap_remove(at);
            }
        }
    }
}
