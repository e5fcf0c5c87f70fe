//! Where the log of a `Power` arena lies, and how long it is.
//!
//! A checkpoint writes each page that was changed since the one before, once. How many of them fall to a commit depends on how many commits there are
//! between two checkpoints, thus on the log's length: where they change a few bytes here and there, one that is short for its heap has nearly every
//! changed page written anew for each commit. So as the heap grows, the log does, while records fill it, furthest where they change so many pages that a checkpoint writes more than
//! twice what the log took: from where the superblock has it into a run of the heap of up to eight times its length, and so on.
//!
//! Steps of a move, each of which finds out anew, with the writer lock held, what there is:
//!
//! 1. A transaction frees what runs of the log are not in use, and takes a new one, of which the heap's header takes note. A runtime word has its number.
//! 2. The run is filled with zeros piece by piece, and synced without the lock, so that no writer waits for either.
//! 3. `PowerLog::move_to`: what was changed since is synced, and both checkpoint slots come to name the new place.
//! 4. A transaction frees the run that the log has left.
//!
//! A death in between leaves a run too many, which the next checkpoint in passing frees. Several handles may be at it together: a run is free for whoever is at its first
//! step, who changes the runtime word; who finds another number there than its own gives up, and leaves the rest to the other. A call on the file that fails here, in passing, fails no commit and
//! leaves the handle in use: what is in doubt then, the next owner of the lock finds out.

use super::{Committed, Inner};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::heap::Heap;
use crate::layout::{LogPlace, PAGE, page_offset};
use crate::log::power::PowerLog;
use crate::log::ring;
use crate::runtime::Runtime;
use crate::txn::WriteTxn;

/// The part of any heap that the log may become.
const PART: u64 = 4;
/// How many times as long as everything else in the heap it may become where changes are scattered.
const TIMES: u64 = 2;
/// How often it is doubled at once. A run of eight times the length leaves less space behind, in all, than three that follow each other.
const DOUBLINGS: u32 = 3;
/// So many times its length has to be free in the handle's address space: blocks come first.
const ROOM: u64 = 8;
/// Most bytes of a new run that are filled while the lock is held.
const PIECE: u64 = 256 << 10;

/// A run that was taken for the log.
#[derive(Debug, Clone, Copy)]
struct Taken {
    run: LogPlace,
    /// Number of the commit.
    commit: u64,
}

impl Taken {
    /// Whether nobody has freed it since. The lock is held.
    fn is_kept(self, runtime: Runtime<'_>) -> bool {
        runtime.log_taken() == self.commit
    }
}

impl Inner {
    /// Makes a log that is short for its heap longer; else frees what a move that was cut off has left over.
    pub(super) fn tend_log(&self, log: &PowerLog, scattered: bool) -> Result<()> {
        if let Some(pages) = self.longer_log(log, scattered)? {
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
    fn longer_log(&self, log: &PowerLog, scattered: bool) -> Result<Option<u32>> {
        let (now, longest) = (log.capacity(self.media.runtime()), self.longest_log(scattered)?);
        let room = self.media.capacity().saturating_sub(self.heap_end()?);
        let longer = (1..=DOUBLINGS).map(|doublings| now << doublings);
        let len = longer.rev().find(|len| *len <= longest && ROOM * len <= room);
        Ok(len.map(|len| (len / PAGE) as u32))
    }

    /// Bytes that the log may have: a quarter of the heap or, if what changes is `scattered`, twice as many as everything else there.
    pub(crate) fn longest_log(&self, scattered: bool) -> Result<u64> {
        let heap_len = self.heap_end()? - page_offset(self.heap_page());
        let logs: u64 = self.log_runs()?.map(|run| page_offset(run.pages)).iter().sum();
        let besides = heap_len.saturating_sub(logs);
        let longest = if scattered { TIMES * besides } else { heap_len / PART };
        Ok(longest.min(self.options.log_limit).min(page_offset(*ring::PAGES.end())))
    }

    /// Moves the log into a run of `pages` pages that it takes from the heap, or for 0 back to where the superblock has it.
    pub(super) fn move_log(&self, log: &PowerLog, pages: u32) -> Result<()> {
        let runtime = self.media.runtime();
        // The transaction will sync what there is, with the lock held. Who takes that mends a sync that failed.
        let _ = log.checkpoint_sync(&self.media, runtime);
        let taken = self.change_log_runs(log, pages)?;
        if let Some(taken) = taken {
            self.fill(taken)?;
            log.checkpoint_sync(&self.media, runtime)?;
        } else if pages > 0 {
            return Ok(());
        }
        let to = taken.map_or(LogPlace::FIRST, |taken| taken.run);
        {
            let _locked = self.lock_exclusive(false)?;
            self.see_whole()?;
            if taken.is_some_and(|taken| !taken.is_kept(runtime)) {
                // Who freed it may be filling another, which is not in use yet either.
                return Ok(());
            }
            if to != runtime.log().place {
                log.move_to(&self.media, runtime, to)?;
            }
        }
        self.change_log_runs(log, 0).map(drop)
    }

    /// Frees the runs of the log that are not in use, and takes a new one of `pages` pages, unless the log is as long already: another handle
    /// may have been first.
    fn change_log_runs(&self, log: &PowerLog, pages: u32) -> Result<Option<Taken>> {
        let mut tx = WriteTxn::begin(self, false)?;
        let runtime = self.media.runtime();
        let used = runtime.log().place;
        let is_short = page_offset(pages) > log.capacity(runtime);
        let run = tx.with_heap(|heap, work| {
            heap.free_log_runs(work, used)?;
            is_short.then(|| heap.take_log_run(work, pages)).transpose()
        })?;
        let commit = runtime.sequence().wrapping_add(1);
        runtime.set_log_taken(if run.is_some() { commit } else { 0 });
        tx.commit_upkeep()?;
        Ok(run.map(|run| Taken { run, commit }))
    }

    /// Fills a run with zeros: what is written to the log later changes nothing but its content, so that each commit is one flush. Ends early where the run is
    /// given up.
    fn fill(&self, taken: Taken) -> Result<()> {
        let (mut at, len) = (page_offset(taken.run.page), page_offset(taken.run.pages));
        let (end, zeros) = (at + len, vec![0u8; (len / 4).min(PIECE) as usize]);
        while at < end && self.fill_piece(taken, at, &zeros[..zeros.len().min((end - at) as usize)])? {
            failpoint("log: a piece of its new place filled");
            at += zeros.len() as u64;
        }
        Ok(())
    }

    /// One piece; whether the run was still there.
    fn fill_piece(&self, taken: Taken, at: u64, zeros: &[u8]) -> Result<bool> {
        let _locked = self.lock_exclusive(false)?;
        self.see_whole()?;
        let is_kept = taken.is_kept(self.media.runtime());
        if is_kept {
            self.media.write(at, zeros)?;
        }
        Ok(is_kept)
    }
}

#[cfg(feature = "testing")]
impl super::Arena {
    /// See `testing::move_log`.
    pub(crate) fn move_log(&self, pages: u32) -> Result<()> {
        self.inner.power.as_ref().map_or(Ok(()), |log| self.inner.settled(self.inner.move_log(log, pages)))
    }
}
