//! What all clones of a handle share, and how lock, log and heap come together: taking the lock and completing what a dead owner left,
//! transactions that begin and end, closing.
//!
//! Invariants: whoever gets the writer lock completes what is in doubt before anything else; the gate opens only on a state that is whole; a handle that
//! could not complete a commit that somebody waits for is out of use.

use super::{Options, open, submit};
use crate::error::{Error, Result};
use crate::failpoint::is_dead;
use crate::layout::{DURABILITY_POWER, Page, Superblock, page_offset};
use crate::lock::gate::Taken;
use crate::lock::guarded::{Guarded, Owned};
use crate::lock::held::{HandleNumber, Held};
use crate::lock::{Lock, slots};
use crate::log::power::{Extent, PowerLog};
use crate::log::replay::Apply;
use crate::log::ring::largest;
use crate::log::{intent, power};
use crate::media::Media;
use crate::runtime::MarkState;
use crate::txn::commit::{self, Outcome};
use crate::txn::write::State;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For how long a handle that closes waits for others that open or close the file.
const LONGEST_CLOSE: Duration = Duration::from_secs(1);

/// What a handle may do to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    /// Writes nothing but what recovery needs, and what the last one to close the file writes.
    Read,
    /// The file may not be written: the mapping is private, and a shared lock is held for life.
    Private,
}

/// What all clones of a handle share.
pub(crate) struct Inner {
    pub(super) media: Media,
    pub(super) superblock: Superblock,
    pub(super) power: Option<PowerLog>,
    pub(super) apply: Apply,
    pub(super) access: Access,
    pub(super) options: Options,
    pub(super) lock: Lock,
    pub(super) number: HandleNumber,
    /// What the write transaction works with.
    pub(super) state: Guarded<State>,
    pub(super) group: submit::Group,
    pub(super) poisoned: OnceLock<&'static str>,
    pub(super) checkpointing: AtomicBool,
    /// Count of cuts, and number of the commit, as of which the file's length is known to reach the heap's end.
    pub(super) cuts_seen: AtomicU64,
    pub(super) sequence_seen: AtomicU64,
    /// Where the heap ended then, or at some time since.
    pub(super) end_seen: AtomicU64,
}

impl Inner {
    pub(crate) fn media(&self) -> &Media {
        &self.media
    }

    pub(crate) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    pub(crate) fn power_log(&self) -> Option<&PowerLog> {
        self.power.as_ref()
    }

    #[inline]
    pub(crate) fn apply(&self) -> Apply {
        self.apply
    }

    pub(crate) fn heap_page(&self) -> u32 {
        self.superblock.heap_page
    }

    /// Takes the handle out of use; the error to report.
    pub(crate) fn poison(&self, why: &'static str) -> Error {
        Error::Poisoned { why: self.poisoned.get_or_init(|| why) }
    }

    /// Takes the handle out of use if the outcome of somebody's commit is in doubt: who made it has to know, and to open the arena again tells.
    #[inline]
    pub(crate) fn settled<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(Error::Poisoned { why }) = outcome {
            return Err(self.poison(why));
        }
        outcome
    }

    /// Whether this process inherited the handle through `fork`.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.media.is_forked()
    }

    #[inline]
    pub(super) fn usable(&self) -> Result<()> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        match self.poisoned.get() {
            None => Ok(()),
            Some(why) => Err(Error::Poisoned { why }),
        }
    }

    #[inline]
    pub(crate) fn begin_read(&self) -> Result<()> {
        self.begin_read_within(self.options.lock_timeout)
    }

    #[inline]
    pub(super) fn begin_read_within(&self, timeout: Duration) -> Result<()> {
        self.usable()?;
        let held = self.number.held();
        if held.writes > 0 && self.lock.is_exclusive() {
            return Err(Error::WouldDeadlock { held: "a write transaction" });
        }
        if self.access != Access::Private {
            while !self.try_begin_read(timeout, held)? {}
        }
        self.number.read_begins();
        Ok(())
    }

    /// One attempt to read; `false` if a dead owner's commit was completed instead.
    #[inline]
    pub(super) fn try_begin_read(&self, timeout: Duration, held: Held) -> Result<bool> {
        let nested = held.own_reads > 0;
        if self.lock.read(&self.media, timeout, nested, held.reads > 0)? == Taken::Over {
            self.number.write_begins();
            self.complete(Exclusive(self), Taken::Over, true)?;
            return Ok(false);
        }
        // With the whole-file lock nobody can be in the middle of a commit now; with the gate, what is not yet applied is
        // not yet there.
        if self.lock.is_exclusive() && !nested && self.needs_recovery(false) {
            self.lock.read_end(&self.media);
            drop(self.lock_exclusive(false)?);
            return Ok(false);
        }
        self.see_length().inspect_err(|_| self.lock.read_end(&self.media))?;
        Ok(true)
    }

    #[inline]
    pub(crate) fn end_read(&self) {
        self.number.read_ends();
        if self.access != Access::Private && !self.is_forked() && !is_dead() {
            self.lock.read_end(&self.media);
        }
    }

    /// Whether this thread may begin a write transaction.
    #[inline]
    pub(super) fn may_begin_write(&self) -> Result<()> {
        self.usable()?;
        if self.access != Access::Write {
            return Err(Error::ReadOnly);
        }
        self.number.may_write()
    }

    /// Takes the writer lock for a batch of changes of several threads; the one that opens it has waited for its turn since `begun`.
    pub(super) fn open_batch(&self, begun: Instant) -> Result<()> {
        let timeout = self.options.lock_timeout.saturating_sub(begun.elapsed());
        let (locked, _) = self.lock_state_within(false, timeout).map_err(|error| match error {
            Error::Busy { slot, pid, .. } => Error::Busy { slot, pid, waited: begun.elapsed() },
            other => other,
        })?;
        std::mem::forget(locked);
        // It belongs to none of them.
        self.number.write_ends();
        Ok(())
    }

    /// What the write transaction works with, for the member of a batch whose turn it is.
    pub(crate) fn batch_state(&self) -> Owned<'_, State> {
        self.number.write_begins();
        // SAFETY: the writer lock is held for the batch, whose members take turns by its mutex and keep nothing of this.
        unsafe { self.state.own() }
    }

    /// A member's part in a batch is over.
    pub(crate) fn leave_batch(&self) {
        self.number.write_ends();
    }

    /// Commits a batch, and gives the writer lock back.
    pub(super) fn commit_batch(&self) -> Result<Outcome> {
        let mut state = self.batch_state();
        let outcome = match self.poisoned.get() {
            // A member's part in it is lost.
            Some(why) => Err(Error::Poisoned { why }),
            None => self.settled(commit::run(self, &mut state)),
        };
        self.end_write(&mut state);
        outcome
    }

    /// Changed bytes from which on a batch is committed: a quarter of the log, over which a record does not go into it.
    pub(super) fn batch_bytes(&self) -> u64 {
        self.power.as_ref().map_or(1 << 20, |log| largest(log.capacity(self.media.runtime())))
    }

    /// The writer lock, with `shut` the gate too, for a transaction that is about to commit; and what it works with, to be used no longer than
    /// the lock is held.
    #[inline(always)]
    pub(crate) fn lock_state(&self, shut: bool) -> Result<(Exclusive<'_>, Owned<'_, State>)> {
        self.lock_state_within(shut, self.options.lock_timeout)
    }

    #[inline(always)]
    fn lock_state_within(&self, shut: bool, timeout: Duration) -> Result<(Exclusive<'_>, Owned<'_, State>)> {
        if self.access != Access::Write {
            self.usable()?;
            return Err(Error::ReadOnly);
        }
        let locked = self.lock_exclusive_within(shut, timeout)?;
        self.see_length()?;
        // SAFETY: this thread has the writer lock; its callers give it back after the last use of the state, and nobody takes it twice.
        let mut state = unsafe { self.state.own() };
        let runtime = self.media.runtime();
        if runtime.layout() > state.sequence || state.end == 0 {
            state.heap.forget_hints();
            state.end = match state.heap.open(&Committed(&self.media)) {
                // What is about to be repaired may say anything.
                Err(Error::Corrupt { .. }) if self.options.repairing => 0,
                end => end?,
            };
        }
        state.sequence = runtime.sequence();
        Ok((locked, state))
    }

    /// Ends a write transaction; whatever `state` still holds is rolled back.
    #[inline]
    pub(crate) fn end_write(&self, state: &mut Owned<'_, State>) {
        if !state.changes.is_empty() {
            state.changes.clear();
            state.heap.forget_hints();
        }
        drop(Exclusive(self));
    }

    /// Takes the lock for writing and completes what a dead owner left.
    #[inline(always)]
    pub(super) fn lock_exclusive(&self, shut: bool) -> Result<Exclusive<'_>> {
        self.lock_exclusive_within(shut, self.options.lock_timeout)
    }

    #[inline(always)]
    fn lock_exclusive_within(&self, shut: bool, timeout: Duration) -> Result<Exclusive<'_>> {
        self.usable()?;
        self.number.write_begins_alone()?;
        let taken = self.lock.write(&self.media, timeout, shut);
        let taken = taken.inspect_err(|_| self.number.write_ends())?;
        let locked = Exclusive(self);
        if taken == Taken::Over || self.needs_recovery(true) {
            return self.complete(locked, taken, shut);
        }
        Ok(locked)
    }

    /// Completes what is in doubt, with the gate shut and the readers gone; `shut`: leaves the gate so.
    ///
    /// An owner that died with the gate shut may have applied a part: then nobody gets in before the rest is. One that died with the
    /// gate open had applied nothing: if its readers do not go, all stays as it is, and the next writer tries again.
    #[cold]
    pub(super) fn complete<'a>(
        &'a self,
        locked: Exclusive<'a>,
        taken: Taken,
        shut: bool,
    ) -> Result<Exclusive<'a>> {
        self.still_there()?;
        if self.needs_recovery(true) {
            let begun = taken == Taken::Over && self.lock.is_shut(&self.media);
            if begun && self.number.held().reads > 0 {
                // The gate stays shut, so this thread would wait for itself.
                return Err(Error::WouldDeadlock { held: "a read transaction" });
            }
            if let Err(e) = self.lock.shut(&self.media, self.options.lock_timeout, !begun) {
                if !begun {
                    locked.release();
                }
                return Err(e);
            }
            self.recover(Extent::SinceApplied)?;
        }
        if !shut {
            self.lock.open(&self.media);
        }
        Ok(locked)
    }

    /// Before a commit changes anything: it will wait for readers, of whom this thread must not be one.
    #[inline]
    pub(crate) fn may_wait_for_readers(&self) -> Result<()> {
        self.usable()?;
        if self.number.held().reads > 0 {
            return Err(Error::WouldDeadlock { held: "a read transaction" });
        }
        Ok(())
    }

    /// Waits until no reader is left and lets none in, for the apply.
    #[inline]
    pub(crate) fn shut_gate(&self) -> Result<()> {
        self.lock.shut(&self.media, self.options.lock_timeout, true)
    }

    /// Whether the file under the handle is still the one at its path, and long enough to be looked at. Touches nothing of the mapping,
    /// which may be gone. Three system calls.
    pub(super) fn still_there(&self) -> Result<()> {
        if !self.media.is_in_place() {
            return Err(Error::Replaced { path: self.media.path().to_owned() });
        }
        let (found, needed) = (self.media.file_len()?, page_offset(self.heap_page() + 1));
        if found < needed {
            return Err(Error::Truncated { needed, found });
        }
        Ok(())
    }

    /// Whether so much was cut off the file that nothing of its mapping can be looked at. One system call.
    fn is_cut_off(&self) -> bool {
        self.media.file_len().is_ok_and(|len| len < page_offset(self.heap_page()))
    }

    /// Whether the file has all of the heap. The writer lock is held.
    pub(super) fn see_whole(&self) -> Result<()> {
        self.media.refresh_len()?;
        self.see_heap_end()
    }

    /// Whether a commit was cut off, or (for a writer) a sync failed.
    #[inline(always)]
    pub(super) fn needs_recovery(&self, writing: bool) -> bool {
        let runtime = self.media.runtime();
        // Each kind of arena has its own word; what the other one holds in a damaged file means nothing.
        let cut_off = if self.power.is_some() { runtime.in_doubt() } else { runtime.intent().is_some() };
        cut_off || (writing && runtime.failed_syncs() > 0)
    }

    /// Completes what was cut off. The lock is held exclusively; a handle that may not write the file holds the whole file's with other
    /// readers, and completes it in memory of its own.
    pub(super) fn recover(&self, extent: Extent) -> Result<()> {
        let runtime = self.media.runtime();
        // Another may have changed the file's length, and ended, since this handle looked.
        self.media.refresh_len()?;
        match &self.power {
            Some(log) if self.access == Access::Private => log.replay_only(&self.media, self.apply),
            Some(log) => log.recover(&self.media, runtime, extent, self.apply),
            None => {
                if let Some(found) = runtime.intent() {
                    intent::replay(&self.media, &self.superblock, runtime, found, self.apply)?;
                }
                match runtime.failed_syncs() {
                    0 => Ok(()),
                    failed => {
                        self.rewrite_all()?;
                        // The mark is no page of the heap: what the disk has of it is not known.
                        runtime.set_mark(MarkState::Unknown);
                        runtime.mended(failed)
                    }
                }
            }
        }
    }

    /// Takes notice of the file's length where others changed it.
    #[inline(always)]
    pub(super) fn see_length(&self) -> Result<()> {
        let runtime = self.media.runtime();
        // As of the commit before the layout is looked at: one that is about to change it says so first.
        let sequence = runtime.sequence();
        if self.cuts_seen.load(Ordering::Acquire) == runtime.cuts()
            && runtime.layout() <= self.sequence_seen.load(Ordering::Acquire)
            && self.end_seen.load(Ordering::Acquire) <= self.media.len()
        {
            return Ok(());
        }
        self.see_new_length(sequence)
    }

    #[cold]
    pub(super) fn see_new_length(&self, sequence: u64) -> Result<()> {
        let cuts = self.media.runtime().cuts();
        if self.cuts_seen.load(Ordering::Acquire) != cuts {
            self.media.refresh_len()?;
            self.cuts_seen.store(cuts, Ordering::Release);
        }
        self.see_heap_end()?;
        self.sequence_seen.store(sequence, Ordering::Release);
        Ok(())
    }

    /// This handle made the commit: it knows where the heap ends, and that the file is long enough.
    #[inline]
    pub(crate) fn saw_own_commit(&self, sequence: u64, end: Page) {
        self.end_seen.store(page_offset(end), Ordering::Release);
        self.sequence_seen.store(sequence, Ordering::Release);
    }

    #[cold]
    pub(super) fn see_heap_end(&self) -> Result<()> {
        if self.options.repairing {
            // Where the heap ends may be what is to be found out.
            return self.media.refresh_len().map(drop);
        }
        let end = self.heap_end()?;
        if end > self.media.len() && end > self.media.refresh_len()? {
            return Err(match self.media.capacity() {
                max if end > max => Error::MaxSize { needed: end, max },
                _ => Error::Truncated { needed: end, found: self.media.len() },
            });
        }
        self.end_seen.store(end, Ordering::Release);
        Ok(())
    }

    /// Where the committed heap ends, in bytes.
    pub(super) fn heap_end(&self) -> Result<u64> {
        let heap = crate::heap::Heap::new(self.heap_page());
        Ok(page_offset(heap.open(&Committed(&self.media))?))
    }

    /// Leaves the file as easy to open as can be, if no other handle has it open.
    fn close(&self) -> Result<()> {
        self.usable()?;
        let runtime = self.media.runtime();
        let is_shared = matches!(self.lock, Lock::Shared(_));
        if is_shared && slots::any_other(&self.media)? {
            return Ok(());
        }
        let writes = self.access == Access::Write;
        match &self.power {
            Some(log) if writes && log.used(runtime) > 0 => self.checkpoint(),
            // A reader does it for writers that left before it; with the whole file's lock each of them does so itself.
            None if runtime.mark() != MarkState::Clear && (writes || is_shared) && self.may_sync() => {
                self.sync_changes()
            }
            _ => Ok(()),
        }
    }
}

/// What a reader of a log wants to know, not the whole state.
impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("path", &self.media.path())
            .field("access", &self.access)
            .field("poisoned", &self.poisoned.get())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if is_dead() || self.is_forked() || self.is_cut_off() {
            return;
        }
        let closed = self.close();
        // Released by name, not only with the descriptor: a child that is about to `exec` may still have that open.
        if let Lock::Shared(gate) = &self.lock {
            // Of handles that close at the same time each sees the others. So they leave one by one, and the last one sees that it is: mostly there is
            // nothing left to do by then.
            let patience = LONGEST_CLOSE.min(self.options.lock_timeout);
            // Without the lock, if who has it is stopped.
            let _ = open::wait_for_lock(patience, || self.media.try_lock(true));
            if closed.is_ok() {
                let _ = self.close();
            }
            slots::detach(&self.media, gate.slot);
        }
        open::leave(&self.media);
    }
}

/// The writer lock, for the time this lives.
pub(crate) struct Exclusive<'a>(&'a Inner);

impl Exclusive<'_> {
    /// Ends with the gate open, without a look at what may be in doubt: nothing is, or nothing of it is applied.
    #[inline(always)]
    pub(crate) fn release(self) {
        self.0.number.write_ends();
        self.0.lock.write_end(&self.0.media);
        std::mem::forget(self);
    }
}

impl Drop for Exclusive<'_> {
    /// Opens the gate, unless something is left to complete: that is for the next owner, before any reader gets in.
    #[inline]
    fn drop(&mut self) {
        self.0.number.write_ends();
        if self.0.is_forked() || is_dead() {
            return;
        }
        if self.0.poisoned.get().is_some() || self.0.needs_recovery(false) {
            self.0.lock.abandon(&self.0.media);
        } else {
            self.0.lock.write_end(&self.0.media);
        }
    }
}

/// The committed state as the heap's code sees it.
pub(crate) struct Committed<'a>(pub(crate) &'a Media);

impl crate::heap::Load for Committed<'_> {
    #[inline]
    fn load(&self, offset: u64) -> Result<u64> {
        crate::txn::work::load_committed(self.0, offset)
    }

    fn load_unused(&self, offset: u64) -> Result<u64> {
        if offset.saturating_add(8) > self.0.len() {
            return self.load(offset);
        }
        let mut word = [0; 8];
        self.0.read_at(offset, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }
}

/// Whether the superblock's arena keeps a log.
pub(super) fn power_log(superblock: &Superblock) -> Option<PowerLog> {
    (superblock.durability == DURABILITY_POWER).then(|| power::PowerLog::new(superblock))
}

#[cfg(test)]
mod tests {
    use crate::arena::{Arena, Durability};
    use crate::error::Error;
    use crate::failpoint::at_failpoint;
    use crate::layout::{MARK_PAGE, page_offset};
    use crate::lock::gate::SLEEPERS;
    use crate::lock::slots::Slot;
    use crate::lock::tenure::TENURE;
    use crate::runtime::MarkState;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn a_writer_that_died_waiting_is_waited_for_once() {
        let arena = Arena::options().durability(Durability::Process).create_anonymous().expect("an arena");
        let media = arena.inner.media();
        let dead = Slot::of(media, 5);
        media.runtime().set_slots_used(6);
        dead.wait_begin(true);
        let tx = arena.write().expect("a writer");
        // As if somebody slept on the word.
        media.runtime().lock_word().fetch_or(SLEEPERS, SeqCst);
        std::thread::sleep(TENURE);
        drop(tx);
        assert_eq!(dead.waiting().0, 1, "nobody looked for it yet");
        drop(arena.write().expect("a writer"));
        assert_eq!(dead.waiting().0, 0, "it still counts");
    }

    /// Who began to sync before all was written anew is told alone, and late, of what both should have written.
    #[test]
    fn a_sync_that_fails_beside_the_mending_of_another_is_not_forgotten() {
        let arena = Arena::options().durability(Durability::Process).create_anonymous().expect("an arena");
        let failed = |arena: &Arena| arena.inner.media().runtime().failed_syncs();
        arena.inner.media().runtime().count_failed_sync();
        let beside = arena.clone();
        at_failpoint("recover: replayed", move || beside.inner.media().runtime().count_failed_sync());
        assert!(matches!(arena.write(), Err(Error::SyncFailed)));
        assert!(failed(&arena) > 0);
        drop(arena.write().expect("all is written anew"));
        assert_eq!(failed(&arena), 0);
    }

    /// The disk may have it clear although a durable write set it: a thread that synced meanwhile was told alone.
    #[test]
    fn the_mark_is_set_again_after_a_sync_that_failed_beside_it() {
        let arena = Arena::options().durability(Durability::Process).create_anonymous().expect("an arena");
        let mark = |arena: &Arena| arena.inner.media().runtime().mark();
        let beside = arena.clone();
        at_failpoint("mark: set", move || beside.inner.media().runtime().count_failed_sync());
        assert!(matches!(arena.alloc(&1u64), Err(Error::SyncFailed)));
        assert!(mark(&arena) != MarkState::Set);
        arena.alloc(&1u64).expect("all is written anew");
        assert!(mark(&arena) == MarkState::Set);
        arena.inner.media().runtime().count_failed_sync();
        drop(arena.write().expect("all is written anew"));
        assert!(mark(&arena) == MarkState::Unknown, "as what the failed sync left of it");
    }

    /// 64 bytes are copied word by word, and another process may be copying others there.
    #[test]
    fn a_mark_that_is_being_written_is_no_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.heap");
        let arena = Arena::options().durability(Durability::Process).create(&path).expect("an arena");
        arena.alloc(&1u64).expect("a block");
        let at = page_offset(MARK_PAGE);
        let mut whole = [0; 64];
        let write = |bytes: &[u8]| arena.inner.media().write(at, bytes).expect("it is written");
        arena.inner.media().copy_to(at, &mut whole).expect("it is there");
        for look in [true, false] {
            write(&[0xEE; 24]);
            let other = arena.clone();
            at_failpoint("look: torn", move || other.inner.media().write(at, &whole).expect("it is written"));
            if look {
                Arena::open(&path).expect("it opens beside the writer");
            } else {
                assert!(arena.check().expect("the check runs").is_clean());
            }
        }
    }
}
