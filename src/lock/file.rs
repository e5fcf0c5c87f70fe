//! `Locking::File`: the lock on the whole file, reading shared, writing exclusive.
//!
//! The file's lock belongs to the open file description, thus to all threads of this handle together; a count beside it keeps
//! them apart. Slow (system calls, polling) and complete: it works wherever a file can be locked, needs no
//! slots, and a killed holder's lock is dropped by the kernel.
//!
//! Readers that overlap would keep writers out for ever. So whoever waits to write holds a second lock, on one byte, the turn;
//! readers that see it wait a little, then go ahead all the same, for a waiting writer may be stopped; so do writers who have had the lock
//! for a [while](super::tenure), and those let readers in too, who share a lock on another byte while they wait. Where bytes cannot be locked this holds only inside a process.
//!
//! Invariants: the file's lock is shared exactly while `readers > 0`, exclusive exactly while `writer`; a thread
//! that reads already is never made to wait.

use super::tenure::Tenure;
use crate::error::{Error, Result};
use crate::media::Media;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    readers: u32,
    writer: bool,
    waiting_readers: u32,
    waiting_writers: u32,
    /// This handle has the turn.
    turn: bool,
}

/// The threads of one handle in front of the file's lock.
#[derive(Debug)]
pub(crate) struct FileLock {
    state: Mutex<State>,
    changed: Condvar,
    tenure: Tenure,
}

const LONGEST_PAUSE: Duration = Duration::from_millis(2);
/// Between two looks of a writer that lets others go first.
const LOOK_AGAIN: Duration = Duration::from_micros(100);
/// How long a reader lets waiting writers go first.
const COURTESY: Duration = Duration::from_millis(20);
/// How long a writer whose tenure is over lets others go first: they look twice in that time. One of them may be stopped, so it is no longer than a tenure.
const WRITERS_COURTESY: Duration = LONGEST_PAUSE.saturating_mul(2);

impl FileLock {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), tenure: Tenure::new() }
    }

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

    /// Shared. `nested`: this thread reads through this handle already; `reading`: through this or another one.
    pub(crate) fn read(&self, media: &Media, timeout: Duration, nested: bool, reading: bool) -> Result<()> {
        if nested {
            self.state().readers += 1;
            return Ok(());
        }
        let start = Instant::now();
        let mut has_waited = false;
        let outcome = self.acquire(timeout, |state| {
            let courteous = !reading && start.elapsed() < COURTESY.min(timeout / 2);
            let is_held_back =
                state.writer || (courteous && (state.waiting_writers > 0 || media.is_turn_taken()));
            if !is_held_back && (state.readers > 0 || media.try_lock(false)?) {
                state.readers += 1;
                return Ok(true);
            }
            if !std::mem::replace(&mut has_waited, true) {
                state.waiting_readers += 1;
                media.begin_wait();
            }
            Ok(false)
        });
        if has_waited {
            let mut state = self.state();
            state.waiting_readers -= 1;
            if state.waiting_readers == 0 {
                media.end_wait();
            }
        }
        outcome
    }

    pub(crate) fn read_end(&self, media: &Media) {
        let mut state = self.state();
        state.readers -= 1;
        if state.readers == 0 {
            media.unlock();
            self.changed.notify_all();
        }
    }

    /// Whether anybody waits: of this handle for a lock that it does not have, or of another.
    fn is_awaited(&self, media: &Media) -> bool {
        let state = self.state();
        let of_this_handle = state.waiting_writers > 0 || state.waiting_readers > 0;
        !state.writer && (of_this_handle || media.is_turn_taken() || media.has_waiting_readers())
    }

    /// Lets others in first, if this handle has had the lock for long.
    fn give_way(&self, media: &Media, timeout: Duration) {
        if !self.tenure.is_long() {
            return;
        }
        let start = Instant::now();
        while start.elapsed() < WRITERS_COURTESY.min(timeout / 2) && self.is_awaited(media) {
            std::thread::sleep(LOOK_AGAIN);
        }
        self.tenure.begin();
    }

    /// Exclusive.
    pub(crate) fn write(&self, media: &Media, timeout: Duration) -> Result<()> {
        self.give_way(media, timeout);
        self.state().waiting_writers += 1;
        let mut has_waited = false;
        let outcome = self.acquire(timeout, |state| {
            if !state.writer && state.readers == 0 && media.try_lock(true)? {
                state.writer = true;
                return Ok(true);
            }
            has_waited = true;
            state.turn = state.turn || !state.writer && media.try_take_turn();
            Ok(false)
        });
        if has_waited {
            self.tenure.begin();
        }
        let mut state = self.state();
        state.waiting_writers -= 1;
        if state.waiting_writers == 0 && std::mem::replace(&mut state.turn, false) {
            media.end_turn();
        }
        outcome
    }

    pub(crate) fn write_end(&self, media: &Media) {
        let mut state = self.state();
        state.writer = false;
        media.unlock();
        self.changed.notify_all();
    }
}
