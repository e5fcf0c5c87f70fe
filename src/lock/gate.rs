//! `Locking::Shared`: writer lock and reader gate in one word of the file, at the speed of an atomic operation.
//!
//! ```text
//! bits  0-15  slot of the owner + 1; 0: nobody
//! bit  16     the gate is shut: readers wait
//! bit  17     somebody sleeps on the word
//! bits 32-63  generation of the owner's slot
//! ```
//!
//! - Writers: compare-and-swap from "nobody" to themselves. The body of a transaction leaves the gate open.
//!   Whoever slept and was woken comes too late for one who takes the lock again at once; so that one [gives way](super::tenure) now and then.
//! - Readers: count themselves in their own slot (`SeqCst`), then look at the gate (`SeqCst`); if it is shut they take the count back and
//!   wait, unless this thread reads already through this handle: the committer waits for that one anyway.
//! - A commit shuts the gate (`SeqCst`), then waits until all counts are zero; either the reader sees the gate shut, or the
//!   committer sees the count. It does not wait long with a shut gate at first: it opens it again, backs off, and tries with a growing
//!   share of the time, up to the timeout. Counts of dead handles are cleaned on the way.
//! - Whoever waits sleeps on a futex, first 1 ms, at most 50 ms at a time, then asks whether the owner lives (its byte lock and generation). A dead
//!   owner's word is taken over by compare-and-swap from exactly the word that was judged, gate bit kept: a slot's next owner has another
//!   generation, so its word is another. The new owner completes what is in doubt, with the gate shut and the readers gone, before it
//!   opens the gate. Where the dead one had shut it a part may be applied: then it does not open at all meanwhile.
//! - A handle that could not complete its commit gives the lock up and leaves the gate shut: "nobody, shut" is taken over like a dead owner's.
//!   So does who opens the file alone, until it has recovered.
//! - `tests/gate_model` explores all this exhaustively; whoever changes it changes both.
//!
//! Invariants: only the owner changes slot and generation of a word that names it; committed bytes that a reader can have a view of change only while the gate is
//! shut and all counts are zero; the word is reset only when no slot's byte is locked.

use super::slots::{self, Slot};
use super::tenure::{COURTESY, Tenure};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::media::Media;
use rustix::thread::futex;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

const SHUT: u64 = 1 << 16;
pub(crate) const SLEEPERS: u64 = 1 << 17;
const OWNER: u64 = 0xFFFF_FFFF_0000_FFFF;
/// First and longest sleep before asking whether the owner lives; each sleep is twice as long as the one before, so that who has
/// not waited long does not wait long after a death either.
const FIRST_PROBE: Duration = Duration::from_millis(1);
const LONGEST_PROBE: Duration = Duration::from_millis(50);
/// How long the gate stays shut at the first attempt to drain the readers; twice as long at each further one, at most so long:
/// a reader that runs gets its work done meanwhile, also on a machine that has far more to do than it can.
const FIRST_SHUT: Duration = Duration::from_micros(50);
const LONGEST_SHUT: Duration = Duration::from_millis(100);
/// For how long the committer spins behind a shut gate before it sleeps between looks.
const SPIN_SHUT: Duration = FIRST_SHUT;
/// Between looks whether a writer that was woken has come.
const LOOK_AGAIN: Duration = Duration::from_micros(20);
/// Longest time for which the gate is open again between attempts: with the time before it the growing share.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// Looks at the word before the first sleep, and pauses of the processor between the last of them: twice as many after each look, for every look
/// takes the word's cache line from its owner, who needs it for each of its steps.
const LOOKS: u32 = 24;
const MOST_PAUSES: u32 = 64;
/// Looks of a reader before it sets the sleepers' bit without sleeping: beside a writer that commits without a break the gate is open for shorter than it takes to see
/// that.
const LOOKS_UNSEEN: u32 = 6;

/// This handle's part in the protocol.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    tenure: Tenure,
    /// Held by the thread that cleans slots of the dead. The lock on a slot's byte is of all threads of this handle together: a second one would get it too,
    /// and still clean when the first one has let the slot's next owner in.
    burying: Mutex<()>,
}

/// What the word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Slot and generation.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) is_shut: bool,
}

/// Whether the lock came from an owner that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Free,
    Over,
}

/// The low half of the word, on which waiters sleep.
fn futex_word(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: the low half of a little-endian 64-bit atomic, aligned and alive as the whole; it is only handed to the kernel's
    // futex calls, which read it atomically.
    unsafe { &*std::ptr::from_ref(word).cast::<AtomicU32>() }
}

/// When each sleep of this process on a lock word began and how long it could be, so that tests can count those after a death.
#[cfg(feature = "testing")]
static SLEEPS: std::sync::Mutex<Vec<(Instant, Duration)>> = std::sync::Mutex::new(Vec::new());

/// When each sleep of this process on a lock word began, and how long it could be.
#[cfg(feature = "testing")]
pub fn sleeps() -> Vec<(Instant, Duration)> {
    SLEEPS.lock().map(|all| all.clone()).unwrap_or_default()
}

/// Sleeps of this process on a lock word that another's wake-up ended.
#[cfg(feature = "testing")]
static WOKEN: AtomicU64 = AtomicU64::new(0);

/// How many sleeps of this process on a lock word were ended by a wake-up, not by their own time.
#[cfg(feature = "testing")]
pub fn woken() -> u64 {
    WOKEN.load(SeqCst)
}

/// Sleeps while the word is as it was seen; whether another's wake-up ended it.
fn sleep_on(word: &AtomicU64, seen: u64, at_most: Duration) -> bool {
    #[cfg(feature = "testing")]
    if let Ok(mut all) = SLEEPS.lock() {
        all.push((Instant::now(), at_most));
    }
    let timeout = futex::Timespec { tv_sec: at_most.as_secs() as _, tv_nsec: at_most.subsec_nanos() as _ };
    // Woken, timed out, interrupted, changed in between: in every case the caller looks again.
    let woken = futex::wait(futex_word(word), futex::Flags::empty(), seen as u32, Some(&timeout)).is_ok();
    #[cfg(feature = "testing")]
    WOKEN.fetch_add(u64::from(woken), SeqCst);
    woken
}

/// The pauses after so many looks at the word.
fn pause(looks: u32) {
    for _ in 0..(1u32 << looks.min(31)).min(MOST_PAUSES) {
        std::hint::spin_loop();
    }
}

fn wake_all(word: &AtomicU64) {
    let _ = futex::wake(futex_word(word), futex::Flags::empty(), i32::MAX as u32);
}

/// Whether the lock is nobody's, and the gate open.
fn is_free(word: u64) -> bool {
    word & !SLEEPERS == 0
}

fn slot_of(word: u64) -> Option<u32> {
    ((word & 0xFFFF) as u32).checked_sub(1)
}

fn generation_of(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Gate {
    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation, tenure: Tenure::new(), burying: Mutex::new(()) }
    }

    fn me(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot + 1)
    }

    /// Whether the word's owner can no longer open the gate, or has left what it says it does.
    fn is_abandoned(media: &Media, word: u64) -> Result<bool> {
        match slot_of(word) {
            None => Ok(word & SHUT != 0),
            Some(slot) if slot < crate::layout::PROCESS_SLOTS => {
                Ok(!slots::is_alive(media, slot, generation_of(word))?)
            }
            // No slot has this number: the word is damaged, and nobody's.
            Some(_) => Ok(true),
        }
    }

    fn is_mine(&self, word: u64) -> bool {
        word & OWNER == self.me()
    }

    /// `is_abandoned`, for a word that may be this handle's own (another thread's).
    fn may_take(&self, media: &Media, word: u64) -> Result<bool> {
        let may = !self.is_mine(word) && Self::is_abandoned(media, word)?;
        if may {
            failpoint("lock: owner judged dead");
        }
        Ok(may)
    }

    fn busy(media: &Media, word: u64, waited: Duration) -> Error {
        let slot = slot_of(word).filter(|&slot| slot < crate::layout::PROCESS_SLOTS);
        let pid = slot.map(|slot| Slot::of(media, slot).pid());
        Error::Busy { slot, pid, waited }
    }

    /// Takes the writer lock; with `shut` the gate too, in the same step.
    #[inline]
    pub(crate) fn lock(&self, media: &Media, timeout: Duration, shut: bool) -> Result<Taken> {
        let word = media.runtime().lock_word();
        let mine = self.me() | if shut { SHUT } else { 0 };
        if self.tenure.is_over() {
            self.give_way(media, word, timeout);
        }
        if word.compare_exchange(0, mine, SeqCst, Relaxed).is_ok() {
            return Ok(Taken::Free);
        }
        self.lock_slowly(media, word, mine, timeout)
    }

    /// Has somebody else take the lock first, if anybody waits for it. Where nobody comes some may be dead, and are waited for once.
    #[cold]
    fn give_way(&self, media: &Media, word: &AtomicU64, timeout: Duration) {
        failpoint("lock: gives way");
        let start = Instant::now();
        let is_free = || is_free(word.load(Relaxed));
        let waiting = || {
            let used = 0..media.runtime().slots_used();
            used.filter(|&slot| Slot::of(media, slot).waiting().0 > 0)
        };
        while is_free() && start.elapsed() < COURTESY.min(timeout) && waiting().next().is_some() {
            std::thread::sleep(LOOK_AGAIN);
        }
        if is_free() {
            for slot in waiting() {
                let _ = self.bury(media, slot);
            }
        }
        self.tenure.begin();
    }

    #[cold]
    fn lock_slowly(&self, media: &Media, word: &AtomicU64, mine: u64, timeout: Duration) -> Result<Taken> {
        for look in 0..LOOKS {
            let seen = word.load(Relaxed);
            if is_free(seen) && word.compare_exchange(seen, mine | (seen & SLEEPERS), SeqCst, Relaxed).is_ok()
            {
                return Ok(Taken::Free);
            }
            pause(look);
        }
        let start = Instant::now();
        let own = Slot::of(media, self.slot);
        own.wait_begin(true);
        let outcome = self.wait_for_lock(media, word, mine, start, timeout);
        own.wait_end(true);
        self.tenure.begin();
        outcome
    }

    fn wait_for_lock(
        &self,
        media: &Media,
        word: &AtomicU64,
        mine: u64,
        start: Instant,
        timeout: Duration,
    ) -> Result<Taken> {
        let mut probe = FIRST_PROBE;
        loop {
            let seen = word.load(SeqCst);
            if is_free(seen) {
                // Who unlocked woke everybody; who still has to wait says so anew.
                if word.compare_exchange(seen, mine | seen, SeqCst, Relaxed).is_ok() {
                    return Ok(Taken::Free);
                }
                continue;
            }
            if self.outwait(media, word, seen, start, timeout, &mut probe)? {
                return Ok(Taken::Over);
            }
        }
    }

    /// One step of waiting for the owner in `seen`: takes the word over if that is gone (`true`), else sleeps for a probe at most. Busy at
    /// the timeout.
    fn outwait(
        &self,
        media: &Media,
        word: &AtomicU64,
        seen: u64,
        start: Instant,
        timeout: Duration,
        probe: &mut Duration,
    ) -> Result<bool> {
        if self.may_take(media, seen)? {
            return Ok(self.take_over(word, seen));
        }
        let waited = start.elapsed();
        if waited >= timeout {
            return Err(Self::busy(media, seen, waited));
        }
        if seen & SLEEPERS != 0 || word.compare_exchange(seen, seen | SLEEPERS, SeqCst, Relaxed).is_ok() {
            // Who is woken waits for another owner's end, or another of the same one.
            let woken = sleep_on(word, seen | SLEEPERS, (*probe).min(timeout - waited));
            *probe = if woken { FIRST_PROBE } else { (*probe * 2).min(LONGEST_PROBE) };
        }
        Ok(false)
    }

    /// From exactly the word that was judged abandoned; the gate stays as it is.
    fn take_over(&self, word: &AtomicU64, seen: u64) -> bool {
        let taken =
            word.compare_exchange(seen, self.me() | (seen & SHUT) | SLEEPERS, SeqCst, Relaxed).is_ok();
        if taken {
            failpoint("lock: taken over");
        }
        taken
    }

    /// Gives the lock back and opens the gate.
    #[inline(always)]
    pub(crate) fn unlock(&self, media: &Media) {
        let word = media.runtime().lock_word();
        // Others change nothing of a word that names an owner but the sleepers' bit. Where nobody sleeps a plain store is enough, at half the
        // price of an empty transaction: who falls asleep between the two steps is not woken, and looks again after its first sleep.
        if word.load(Relaxed) & SLEEPERS == 0 {
            word.store(0, Release);
        } else {
            self.unlock_and_wake(word);
        }
    }

    #[cold]
    fn unlock_and_wake(&self, word: &AtomicU64) {
        word.swap(0, SeqCst);
        wake_all(word);
        self.tenure.end_if_long();
    }

    /// Gives the lock back but leaves the gate shut: the next owner has something to complete.
    pub(crate) fn abandon(&self, media: &Media) {
        let runtime = media.runtime();
        runtime.lock_word().swap(SHUT, SeqCst);
        wake_all(runtime.lock_word());
    }

    /// Before anything is known of what is in doubt: nobody's, and shut. The whole-file lock is held, and no slot's byte is locked.
    pub(crate) fn reset(media: &Media) {
        media.runtime().lock_word().store(SHUT, SeqCst);
    }

    /// Shuts the gate and waits until no reader is left. With `may_open` it opens the gate again between attempts and on an
    /// error; without, what is applied may be half a commit, and the gate stays shut whatever happens.
    #[inline(always)]
    pub(crate) fn shut(&self, media: &Media, timeout: Duration, may_open: bool) -> Result<()> {
        let runtime = media.runtime();
        let word = runtime.lock_word();
        if word.load(Relaxed) & SHUT == 0 {
            word.fetch_or(SHUT, SeqCst);
        }
        // Mostly there is one handle, which has the first slot.
        if runtime.slots_used() == 1 && Slot::of(media, 0).readers() == 0 {
            return Ok(());
        }
        self.wait_for_readers(media, timeout, may_open)
    }

    fn wait_for_readers(&self, media: &Media, timeout: Duration, may_open: bool) -> Result<()> {
        let runtime = media.runtime();
        if self.busy_reader(media, runtime.slots_used()).is_none() {
            return Ok(());
        }
        let word = runtime.lock_word();
        self.drain(media, timeout, may_open).inspect_err(|_| {
            if may_open {
                Self::open_word(word);
            }
        })
    }

    /// Cleans another handle's slot if its owner died, unless a thread of this handle is at that already. Whether this one did.
    fn bury(&self, media: &Media, slot: u32) -> Result<bool> {
        let alone = self.burying.try_lock();
        Ok(alone.is_ok() && slot != self.slot && slots::bury(media, slot)?)
    }

    /// Opens the gate, the lock kept.
    pub(crate) fn open(&self, media: &Media) {
        Self::open_word(media.runtime().lock_word());
    }

    fn open_word(word: &AtomicU64) {
        if word.fetch_and(!(SHUT | SLEEPERS), SeqCst) & SLEEPERS != 0 {
            wake_all(word);
        }
    }

    /// A slot that has readers, if there is one.
    #[inline]
    fn busy_reader(&self, media: &Media, used: u32) -> Option<u32> {
        (0..used).find(|&slot| Slot::of(media, slot).readers() != 0)
    }

    #[cold]
    fn drain(&self, media: &Media, timeout: Duration, may_open: bool) -> Result<()> {
        let runtime = media.runtime();
        let word = runtime.lock_word();
        let start = Instant::now();
        let mut share = FIRST_SHUT;
        loop {
            let shut_at = Instant::now();
            let mut left = None;
            while shut_at.elapsed() < share {
                left = self.busy_reader(media, runtime.slots_used());
                if left.is_none() {
                    return Ok(());
                }
                if shut_at.elapsed() < SPIN_SHUT {
                    std::hint::spin_loop();
                } else {
                    std::thread::sleep(SPIN_SHUT);
                }
            }
            let Some(slot) = left else { continue };
            if self.bury(media, slot)? {
                continue;
            }
            failpoint("gate: shut before readers");
            let waited = start.elapsed();
            if waited >= timeout {
                let pid = Slot::of(media, slot).pid();
                return Err(Error::Busy { slot: Some(slot), pid: Some(pid), waited });
            }
            if may_open {
                Self::open_word(word);
                std::thread::sleep((share * 4).min(LONGEST_PAUSE).min(timeout - waited));
                word.fetch_or(SHUT, SeqCst);
            }
            share = (share * 2).min(LONGEST_SHUT).min(timeout);
        }
    }

    /// Counts this thread as a reader. `nested`: it reads already, so a shut gate is no reason to wait. Returns `Over` where the
    /// gate's owner is gone: then this call holds the lock, and no count; the caller completes what is in doubt and tries again.
    #[inline]
    pub(crate) fn read(&self, media: &Media, timeout: Duration, nested: bool) -> Result<Taken> {
        let count = Slot::of(media, self.slot).count();
        let word = media.runtime().lock_word();
        count.fetch_add(1, SeqCst);
        failpoint("gate: reader counted");
        if word.load(SeqCst) & SHUT == 0 || nested {
            return Ok(Taken::Free);
        }
        count.fetch_sub(1, SeqCst);
        self.read_slowly(media, count, word, timeout)
    }

    #[cold]
    fn read_slowly(
        &self,
        media: &Media,
        count: &AtomicU64,
        word: &AtomicU64,
        timeout: Duration,
    ) -> Result<Taken> {
        let start = Instant::now();
        let own = Slot::of(media, self.slot);
        own.wait_begin(false);
        let outcome = self.wait_for_gate(media, count, word, start, timeout);
        own.wait_end(false);
        outcome
    }

    fn wait_for_gate(
        &self,
        media: &Media,
        count: &AtomicU64,
        word: &AtomicU64,
        start: Instant,
        timeout: Duration,
    ) -> Result<Taken> {
        let (mut looks, mut probe) = (0, FIRST_PROBE);
        loop {
            let seen = word.load(SeqCst);
            if seen & SHUT == 0 {
                count.fetch_add(1, SeqCst);
                if word.load(SeqCst) & SHUT == 0 {
                    return Ok(Taken::Free);
                }
                count.fetch_sub(1, SeqCst);
                continue;
            }
            looks += 1;
            if looks < LOOKS {
                if looks > LOOKS_UNSEEN && seen & SLEEPERS == 0 {
                    // Whoever opens the gate wakes those who sleep: that takes it long enough for one who is awake to get in.
                    let _ = word.compare_exchange(seen, seen | SLEEPERS, SeqCst, Relaxed);
                }
                pause(looks - LOOKS_UNSEEN.min(looks));
                continue;
            }
            if self.outwait(media, word, seen, start, timeout, &mut probe)? {
                return Ok(Taken::Over);
            }
        }
    }

    /// Takes the count back.
    #[inline]
    pub(crate) fn read_end(&self, media: &Media) {
        Slot::of(media, self.slot).count().fetch_sub(1, Release);
    }

    /// Claims the checkpoint that has become due, unless another handle is at it, and lives. For one thread of this one at a time, until [`Gate::end_checkpoint`].
    pub(crate) fn claim_checkpoint(&self, media: &Media) -> bool {
        let word = media.runtime().checkpointer();
        let seen = word.load(SeqCst);
        let is_unclaimed =
            slot_of(seen).is_none() || self.is_mine(seen) || Self::is_abandoned(media, seen).unwrap_or(true);
        is_unclaimed && word.compare_exchange(seen, self.me(), SeqCst, Relaxed).is_ok()
    }

    pub(crate) fn end_checkpoint(&self, media: &Media) {
        media.runtime().checkpointer().store(0, SeqCst);
    }

    /// What the word says at the moment.
    pub(crate) fn word(media: &Media) -> State {
        let word = media.runtime().lock_word().load(Acquire);
        State { owner: slot_of(word).map(|slot| (slot, generation_of(word))), is_shut: word & SHUT != 0 }
    }
}
