//! Where the log of a `Power` arena lies, and how long it is.
//!
//! A checkpoint writes each page that was changed since the one before, once. How many of them fall to a commit depends on how many commits there are
//! between two checkpoints, thus on the log's length: where they change a few bytes here and there, one that is short for its heap has nearly every
//! changed page written anew for each commit. So as the heap grows, the log does: from where the superblock has it into a run of the heap of twice its
//! length, and so on.
//!
//! Steps of a move, each of which finds out anew, with the writer lock held, what there is:
//!
//! 1. A transaction frees what runs of the log are not in use, and takes a new one, full of zeros, of which the heap's header takes note.
//! 2. `PowerLog::move_to`: everything is synced, and both checkpoint slots come to name the new place.
//! 3. A transaction frees the run that the log has left.
//!
//! A death in between leaves a run too many, which the next checkpoint in passing frees. Several handles may be at it together: who finds the run of its first step gone, or
//! in use, has nothing left to do. A call on the file that fails here fails no commit; but as in any transaction, it may take the handle out of use.

use super::{Committed, Inner};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::layout::{LogPlace, PAGE, page_offset};
use crate::log::power::PowerLog;
use crate::log::ring;
use crate::txn::WriteTxn;

/// The part of the heap that the log may become.
const PART: u64 = 4;
/// So many times its length has to be free in the handle's address space: blocks come first.
const ROOM: u64 = 8;

impl Inner {
    /// Makes a log that is short for its heap twice as long; else frees what a move that was cut off has left over.
    pub(super) fn tend_log(&self, log: &PowerLog) -> Result<()> {
        if let Some(pages) = self.longer_log(log)? {
            return self.move_log(log, pages);
        }
        let used = self.media.runtime().log().place;
        if self.log_runs()?.into_iter().any(|run| run != LogPlace::FIRST && run != used) {
            self.change_log_runs(log, 0)?;
        }
        Ok(())
    }

    fn log_runs(&self) -> Result<[LogPlace; 2]> {
        Heap::new(self.heap_page()).log_runs(&Committed(&self.media))
    }

    /// Whether the committed heap has a run for a log at `place`, in which nothing else lies; `Corrupt` if not.
    pub(super) fn see_log_run(&self, place: LogPlace) -> Result<()> {
        if place != LogPlace::FIRST
            && !Heap::new(self.heap_page()).is_log_run(&Committed(&self.media), place)?
        {
            return Err(Error::corrupt(page_offset(place.page), "the heap has no run where the log lies"));
        }
        Ok(())
    }

    /// Pages that the log should have, if those are more than it has.
    fn longer_log(&self, log: &PowerLog) -> Result<Option<u32>> {
        let len = 2 * log.capacity(self.media.runtime());
        let has_room = self.heap_end()?.saturating_add(ROOM * len) <= self.media.capacity();
        Ok((len <= self.longest_log()? && has_room).then_some((len / PAGE) as u32))
    }

    /// Bytes that the log may have in a heap as long as this one.
    pub(crate) fn longest_log(&self) -> Result<u64> {
        let heap_len = self.heap_end()? - page_offset(self.heap_page());
        Ok((heap_len / PART).min(self.options.log_limit).min(page_offset(*ring::PAGES.end())))
    }

    /// Moves the log into a run of `pages` pages that it takes from the heap, or for 0 back to where the superblock has it.
    pub(super) fn move_log(&self, log: &PowerLog, pages: u32) -> Result<()> {
        self.change_log_runs(log, pages)?;
        {
            let runtime = self.media.runtime();
            let _locked = self.lock_exclusive(false)?;
            self.see_whole()?;
            let from = runtime.log().place;
            let to = match pages {
                0 => Some(LogPlace::FIRST),
                _ => self.log_runs()?.into_iter().find(|run| run.pages == pages && *run != from),
            };
            if let Some(to) = to.filter(|&to| to != from) {
                log.move_to(&self.media, runtime, to)?;
            }
        }
        self.change_log_runs(log, 0)
    }

    /// Frees the runs of the log that are not in use, and takes a new one of `pages` pages, unless the log is as long already: another handle
    /// may have been first.
    fn change_log_runs(&self, log: &PowerLog, pages: u32) -> Result<()> {
        let mut tx = WriteTxn::begin(self, false)?;
        let runtime = self.media.runtime();
        let used = runtime.log().place;
        let is_short = page_offset(pages) > log.capacity(runtime);
        tx.with_heap(|heap, work| {
            heap.free_log_runs(work, used)?;
            if is_short { heap.take_log_run(work, pages) } else { Ok(()) }
        })?;
        tx.commit()
    }
}

#[cfg(feature = "testing")]
impl super::Arena {
    /// See `testing::move_log`.
    pub(crate) fn move_log(&self, pages: u32) -> Result<()> {
        self.inner.power.as_ref().map_or(Ok(()), |log| self.inner.move_log(log, pages))
    }
}
