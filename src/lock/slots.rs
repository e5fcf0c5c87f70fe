//! Process slots: who has the file open, and whether it lives.
//!
//! Each open handle owns a slot and holds, for life, a lock on that slot's first byte in the file. Dead is whose byte is free, or whose generation
//! has passed; never judged by PID. A slot is cleaned only by who holds its byte lock, one thread at a time.
//!
//! ```text
//! line 0      word 0 generation (bumped at each attach) · word 1 PID as the owner sees it ·
//!             word 2 threads that wait for the writer lock · word 3 threads that wait at the gate
//! lines 1-7   one count of readers each; a thread always uses the same one
//! ```

use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::layout::{PROCESS_SLOT_BYTES, PROCESS_SLOTS, RUNTIME_PAGE, page_offset};
use crate::media::Media;
use crate::runtime::SLOT_WORDS;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

const GENERATION: usize = 0;
const PID: usize = 1;
const WAITING_WRITERS: usize = 2;
const WAITING_READERS: usize = 3;
/// Reader counts of a slot, each on a cache line of its own.
const COUNTS: usize = 7;

const _: () = assert!(SLOT_WORDS == 8 * (COUNTS + 1));

fn offset(slot: u32) -> u64 {
    page_offset(RUNTIME_PAGE + 1) + u64::from(slot) * PROCESS_SLOT_BYTES
}

/// The words of one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot<'a>(&'a [AtomicU64]);

impl<'a> Slot<'a> {
    #[inline]
    pub(crate) fn of(media: &'a Media, slot: u32) -> Self {
        Self(media.runtime().slot(slot))
    }

    pub(crate) fn generation(&self) -> u32 {
        self.0[GENERATION].load(Acquire) as u32
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0[PID].load(Relaxed) as u32
    }

    pub(crate) fn waiting(&self) -> (u64, u64) {
        (self.0[WAITING_WRITERS].load(Relaxed), self.0[WAITING_READERS].load(Relaxed))
    }

    pub(crate) fn wait_begin(&self, writer: bool) {
        self.0[if writer { WAITING_WRITERS } else { WAITING_READERS }].fetch_add(1, Relaxed);
    }

    pub(crate) fn wait_end(&self, writer: bool) {
        self.0[if writer { WAITING_WRITERS } else { WAITING_READERS }].fetch_sub(1, Relaxed);
    }

    /// The count that this thread uses.
    #[inline]
    pub(crate) fn count(&self) -> &'a AtomicU64 {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mut thread = THREAD.get();
        if thread == usize::MAX {
            thread = THREADS.fetch_add(1, Relaxed) % COUNTS;
            THREAD.set(thread);
        }
        &self.0[8 * (1 + thread)]
    }

    /// Readers counted in this slot.
    #[inline(always)]
    pub(crate) fn readers(&self) -> u64 {
        (0..COUNTS).map(|count| self.0[8 * (1 + count)].load(SeqCst)).fold(0, u64::wrapping_add)
    }

    /// Everything but the generation back to zero. The caller holds the slot's byte lock.
    fn clean(&self) {
        for word in &self.0[1..] {
            word.store(0, SeqCst);
        }
    }
}

/// Whether the handle that had `slot` under `generation` lives.
pub(crate) fn is_alive(media: &Media, slot: u32, generation: u32) -> Result<bool> {
    Ok(Slot::of(media, slot).generation() == generation && media.is_byte_locked(offset(slot), 1)?)
}

/// Whether any other handle has a slot.
pub(crate) fn any_other(media: &Media) -> Result<bool> {
    media.is_byte_locked(offset(0), u64::from(PROCESS_SLOTS) * PROCESS_SLOT_BYTES)
}

/// Slots whose owner lives, the own one excepted.
pub(crate) fn others(media: &Media, own: u32, used: u32) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for slot in (0..used).filter(|&slot| slot != own) {
        if media.is_byte_locked(offset(slot), 1)? {
            all.push(slot);
        }
    }
    Ok(all)
}

/// Takes a free slot for this handle; returns it and its generation. The whole-file lock is held.
pub(crate) fn attach(media: &Media) -> Result<(u32, u32)> {
    for slot in 0..PROCESS_SLOTS {
        if media.try_lock_byte(offset(slot))? {
            failpoint("attach: slot locked");
            let words = Slot::of(media, slot);
            words.clean();
            let generation = words.generation().wrapping_add(1).max(1);
            words.0[PID].store(u64::from(std::process::id()), Relaxed);
            words.0[GENERATION].store(u64::from(generation), SeqCst);
            return Ok((slot, generation));
        }
    }
    Err(Error::NoSlot { slots: PROCESS_SLOTS })
}

/// Gives the own slot back.
pub(crate) fn detach(media: &Media, slot: u32) {
    Slot::of(media, slot).clean();
    media.unlock_byte(offset(slot));
}

/// Cleans a slot whose owner died, so that its readers hold nobody up. Whether it was dead. By one thread of a handle at a time, and not the handle's own slot:
/// its lock on the byte is of all its threads.
pub(crate) fn bury(media: &Media, slot: u32) -> Result<bool> {
    if !media.try_lock_byte(offset(slot))? {
        return Ok(false);
    }
    failpoint("slot: about to be cleaned");
    Slot::of(media, slot).clean();
    media.unlock_byte(offset(slot));
    Ok(true)
}
