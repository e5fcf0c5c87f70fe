//! `Locking::File`: the lock on the whole file, reading shared, writing exclusive.
//!
//! The file's lock belongs to the open file description, thus to all threads of this handle together; a count beside it keeps
//! them apart. Slow (system calls, polling) and complete: it works wherever a file can be locked, needs no
//! slots, and a killed holder's lock is dropped by the kernel.

use crate::error::{Error, Result};
use crate::media::Media;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    readers: u32,
    writer: bool,
}

/// The threads of one handle in front of the file's lock.
#[derive(Debug, Default)]
pub(crate) struct FileLock {
    state: Mutex<State>,
    changed: Condvar,
}

const LONGEST_PAUSE: Duration = Duration::from_millis(2);

impl FileLock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire(&self, timeout: Duration, mut attempt: impl FnMut(&mut State) -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(20);
        let mut state = self.state();
        loop {
            if attempt(&mut state)? {
                return Ok(());
            }
            let waited = start.elapsed();
            if waited >= timeout {
                return Err(Error::Busy { slot: None, pid: None, waited });
            }
            let wait = pause.min(timeout - waited);
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Shared.
    pub(crate) fn read(&self, media: &Media, timeout: Duration) -> Result<()> {
        self.acquire(timeout, |state| {
            if state.writer {
                return Ok(false);
            }
            let granted = state.readers > 0 || media.try_lock(false)?;
            state.readers += u32::from(granted);
            Ok(granted)
        })
    }

    pub(crate) fn read_end(&self, media: &Media) {
        let mut state = self.state();
        state.readers -= 1;
        if state.readers == 0 {
            media.unlock();
            self.changed.notify_all();
        }
    }

    /// Exclusive.
    pub(crate) fn write(&self, media: &Media, timeout: Duration) -> Result<()> {
        self.acquire(timeout, |state| {
            if state.writer || state.readers > 0 {
                return Ok(false);
            }
            state.writer = media.try_lock(true)?;
            Ok(state.writer)
        })
    }

    pub(crate) fn write_end(&self, media: &Media) {
        let mut state = self.state();
        state.writer = false;
        media.unlock();
        self.changed.notify_all();
    }
}
