//! Bringing what is committed to the disk: the sync of a `Process` arena, and the mark that says whether it needs one; the checkpoint of a `Power` arena.

use super::{Access, Inner, open};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::layout::{MARK_PAGE, Mark, PAGE, Sealed, page_offset};
use crate::log::power::PowerLog;
use crate::log::ring::Cursor;
use crate::runtime::{MarkState, Runtime, boot_id};
use crate::sabotage::{Break, broken};
use crate::txn::commit::Outcome;
use std::sync::atomic::Ordering;

impl Inner {
    /// Before the first commit after a sync: the disk has to know that the heap is no longer one state.
    #[inline(always)]
    pub(crate) fn mark_changed(&self, runtime: Runtime<'_>) -> Result<()> {
        if runtime.mark() == MarkState::Set { Ok(()) } else { self.mark_first_change(runtime) }
    }

    #[cold]
    fn mark_first_change(&self, runtime: Runtime<'_>) -> Result<()> {
        // The caller's code may have run since the lock was taken, and this be a child that it made.
        self.usable()?;
        runtime.set_mark(MarkState::Unknown);
        self.write_mark(runtime, true)?;
        failpoint("mark: set");
        runtime.no_failed_sync()?;
        runtime.set_mark(MarkState::Set);
        Ok(())
    }

    pub(super) fn write_mark(&self, runtime: Runtime<'_>, changed: bool) -> Result<()> {
        let mark = Mark::new(changed, boot_id(), runtime.sequence()).sealed();
        if broken(Break::MarkNotFlushed) {
            return self.media.write(page_offset(MARK_PAGE), bytemuck::bytes_of(&mark));
        }
        self.media.write_durable(page_offset(MARK_PAGE), bytemuck::bytes_of(&mark))
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.usable()?;
        // Before anything of the mapping is looked at.
        self.still_there()?;
        if self.power.is_some() {
            return Ok(());
        }
        if self.may_sync() {
            return self.sync_changes();
        }
        if self.media.runtime().mark() == MarkState::Clear { Ok(()) } else { Err(Error::ReadOnly) }
    }

    /// Whether this handle may say of a `Process` arena that it is synced: a reader that may write the file says it for writers, but never of what it merely
    /// looks at, which was lost with another boot.
    pub(super) fn may_sync(&self) -> bool {
        match self.access {
            Access::Write => true,
            Access::Read => open::is_this(self.media.runtime().boot()),
            Access::Private => false,
        }
    }

    /// Of a `Process` arena.
    pub(super) fn sync_changes(&self) -> Result<()> {
        self.still_there()?;
        let runtime = self.media.runtime();
        if runtime.failed_syncs() == 0 && !broken(Break::ClearWithoutSync) {
            // Most of the work without the lock; what is written meanwhile is little.
            runtime.synced(self.media.sync())?;
        }
        failpoint("sync: before the lock");
        let _locked = self.lock_exclusive(false)?;
        self.see_whole()?;
        if runtime.mark() == MarkState::Clear {
            return Ok(());
        }
        if !broken(Break::ClearWithoutSync) {
            runtime.synced(self.media.sync())?;
        }
        failpoint("sync: with the lock");
        runtime.no_failed_sync()?;
        // Whoever comes after a death or failure here must not rely on a mark that may be cleared on the disk.
        runtime.set_mark(MarkState::Unknown);
        self.write_mark(runtime, false)?;
        failpoint("sync: mark cleared");
        runtime.set_mark(MarkState::Clear);
        Ok(())
    }

    pub(super) fn checkpoint(&self) -> Result<()> {
        let Some(log) = &self.power else { return self.sync() };
        self.usable()?;
        self.still_there()?;
        if self.access != Access::Write {
            return Ok(());
        }
        let runtime = self.media.runtime();
        let head = {
            let _locked = self.lock_exclusive(false)?;
            self.see_whole()?;
            log.checkpoint_begin(runtime)
        };
        self.finish_checkpoint(log, head)
    }

    pub(super) fn finish_checkpoint(&self, log: &PowerLog, head: Cursor) -> Result<()> {
        let runtime = self.media.runtime();
        log.checkpoint_sync(&self.media, runtime)?;
        let _locked = self.lock_exclusive(false)?;
        log.checkpoint_end(&self.media, runtime, head)
    }

    /// What a commit found due: a checkpoint, and a longer log where that one is short for its heap. Its own failure is not the commit's: the next one tries again.
    pub(crate) fn follow_up(&self, outcome: Outcome) {
        let Some(log) = &self.power else { return };
        let (head, scattered) = match outcome {
            Outcome::Done => return,
            Outcome::CheckpointDue { head, scattered } => (Some(head), scattered),
            Outcome::LogShort { scattered } => (None, scattered),
        };
        if self.checkpointing.swap(true, Ordering::AcqRel) {
            return;
        }
        // One is enough: two that sync the same pages at the same time both wait for all of them.
        if self.lock.claim_checkpoint(&self.media) {
            let checkpointed = head.map_or(Ok(()), |head| self.finish_checkpoint(log, head));
            let _ = checkpointed.and_then(|()| self.tend_log(log, scattered));
            self.lock.end_checkpoint(&self.media);
        }
        self.checkpointing.store(false, Ordering::Release);
    }

    /// Rule 4 for a `Process` arena: after a failed sync every page of the heap is written again. Those before it need no sync.
    pub(super) fn rewrite_all(&self) -> Result<()> {
        let mut page = vec![0u8; PAGE as usize];
        let mut at = page_offset(self.heap_page());
        while at + PAGE <= self.media.len() {
            self.media.copy_to(at, &mut page).ok_or(Error::SyncFailed)?;
            self.media.write(at, &page)?;
            at += PAGE;
        }
        self.media.sync()?;
        failpoint("recover: replayed");
        Ok(())
    }
}
