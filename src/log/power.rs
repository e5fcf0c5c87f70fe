//! The log of a `Power` arena at work: append, recover, checkpoint.
//!
//! Every call here is made by the owner of the writer lock. The order of the steps is the promise; each rule of the log that
//! it keeps is named beside the step.

use super::record::*;
use super::replay::{Apply, replay, replay_inside};
use super::resume::now;
use super::ring::{Cursor, Record, Ring, largest};
use super::slots;
use crate::error::Result;
use crate::failpoint::failpoint;
use crate::layout::{CheckpointSlot, LogPlace, Page, Superblock, page_offset};
use crate::media::Media;
use crate::runtime::{LogState, Runtime, boot_id};
use crate::sabotage::{Break, broken};

/// The log of one mapped arena.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PowerLog {
    /// The ring where the superblock has it. It may have moved: see [`move_to`](Self::move_to).
    first: Ring,
    heap_page: Page,
}

/// A record that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    /// Where the log goes on after it.
    pub(crate) next: Cursor,
    /// Where in the file its body lies.
    pub(crate) body_at: u64,
}

/// What recovery has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Whatever the disk may lack: all records since the tail.
    All,
    /// What a killed process left half-done; the page cache has the rest. All, where runtime words and log contradict each other.
    SinceApplied,
}

/// What recovery starts from.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) slot: CheckpointSlot,
    pub(super) records: Vec<Record>,
    pub(super) head: Cursor,
    /// How many of the records, from the first on, are applied and on the disk.
    pub(super) done: usize,
}

impl PowerLog {
    pub(crate) fn new(superblock: &Superblock) -> Self {
        Self { first: Ring::new(superblock), heap_page: superblock.heap_page }
    }

    /// The ring at a place that a slot or the runtime words name.
    pub(crate) fn ring_at(&self, place: LogPlace) -> Result<Ring> {
        self.first.moved(place, self.heap_page)
    }

    /// The ring in use.
    pub(crate) fn ring(&self, runtime: Runtime<'_>) -> Result<Ring> {
        self.ring_at(runtime.log().place)
    }

    /// Writes the first slots and an empty log. Part of creation.
    pub(crate) fn format(&self, media: &Media, salt: u32) -> Result<()> {
        let start = Cursor { position: 0, sequence: 1, seed: salt };
        // Both slots are valid from the start, so that a damaged one is always damage.
        for generation in [1, 2] {
            slots::write(media, &slots::slot(generation, start, LogPlace::FIRST))?;
        }
        let zeros = vec![0u8; 1 << 20];
        let (mut at, end) = (self.first.offset(0), self.first.offset(0) + self.first.len());
        while at < end {
            let n = (end - at).min(zeros.len() as u64);
            // Written, not only reserved: a first write to reserved space would change metadata at each commit.
            media.write(at, &zeros[..n as usize])?;
            at += n;
        }
        Ok(())
    }

    /// Where the next record goes.
    pub(super) fn head(&self, runtime: Runtime<'_>) -> Cursor {
        let log = runtime.log();
        Cursor { position: log.head, sequence: runtime.sequence().wrapping_add(1), seed: log.seed }
    }

    /// Bytes of the ring between tail and head.
    pub(crate) fn used(&self, runtime: Runtime<'_>) -> u64 {
        let log = runtime.log();
        log.head.saturating_sub(log.tail)
    }

    /// Length of the ring in bytes. Where the runtime words lead to none, a commit will tell.
    pub(crate) fn capacity(&self, runtime: Runtime<'_>) -> u64 {
        self.ring(runtime).unwrap_or(self.first).len()
    }

    /// Whether the record is too long for the ring and its body has to go to a spill extent.
    pub(crate) fn must_spill(&self, runtime: Runtime<'_>, body: &Body) -> bool {
        !fits_into(self.capacity(runtime), body)
    }

    /// Writes the record of a commit, durably; then it counts. `spill_page` is where the body was written and synced, if it
    /// was. On an error the outcome is unknown and the in-doubt word stays set.
    pub(crate) fn append(
        &self,
        media: &Media,
        runtime: Runtime<'_>,
        body: &mut Body,
        end_page: Page,
        spill_page: Option<Page>,
    ) -> Result<Appended> {
        let kind = if spill_page.is_some() { KIND_SPILL } else { KIND_COMMIT };
        let (ranges, writes) = body.counts();
        let mut header = RecordHeader {
            magic: RECORD_MAGIC,
            kind,
            sequence: 0,
            position: 0,
            body_words: body.words().len() as u64,
            ranges,
            writes,
            end_page,
            spill_page: spill_page.unwrap_or(0),
            reserved: [0; 2],
            seed: 0,
            crc: 0,
        };
        let bytes = 64 + if spill_page.is_some() { 0 } else { header.body_words * 8 };
        let ring = self.ring(runtime)?;
        let mut cursor = self.head(runtime);
        if !ring.fits_with_void(cursor.position, runtime.log().tail, bytes) {
            self.checkpoint_now(media, runtime)?;
            cursor = self.head(runtime);
        }
        cursor.position = ring.place(cursor.position, bytes);
        (header.sequence, header.position, header.seed) = (cursor.sequence, cursor.position, cursor.seed);
        header.crc = header.computed_crc(body.words());
        let record = &body.with_header(header)[..bytes as usize];
        runtime.set_active(now());
        // Rule 3: whoever comes next must not overlook this record, nor take it for durable.
        runtime.set_in_doubt(true);
        runtime.set_last_record(cursor.position);
        failpoint("commit: in doubt set");
        runtime.synced(media.write_durable(ring.offset(cursor.position), record))?;
        failpoint("commit: record durable");
        runtime.no_failed_sync()?;
        let position = ring.after(cursor.position, bytes);
        let next = Cursor { position, sequence: cursor.sequence + 1, seed: header.crc };
        let behind_header = ring.offset(cursor.position) + size_of::<RecordHeader>() as u64;
        Ok(Appended { next, body_at: spill_page.map_or(behind_header, page_offset) })
    }

    /// Rule 6: takes the record before `next` back, durably, because the readers would not go. Nothing of it was applied.
    pub(crate) fn void(
        &self,
        media: &Media,
        runtime: Runtime<'_>,
        next: Cursor,
        end_page: Page,
    ) -> Result<()> {
        let ring = self.ring(runtime)?;
        let mut header = RecordHeader {
            magic: RECORD_MAGIC,
            kind: KIND_VOID,
            sequence: next.sequence,
            position: ring.place(next.position, 64),
            body_words: 0,
            ranges: 0,
            writes: 0,
            end_page,
            spill_page: 0,
            reserved: [0; 2],
            seed: next.seed,
            crc: 0,
        };
        header.crc = header.computed_crc(&[]);
        failpoint("commit: before void");
        runtime.set_last_record(header.position);
        let written = media.write_durable(ring.offset(header.position), bytemuck::bytes_of(&header));
        runtime.synced(written)?;
        failpoint("commit: void durable");
        runtime.no_failed_sync()?;
        let position = ring.after(header.position, 64);
        self.applied(runtime, Cursor { position, sequence: next.sequence + 1, seed: header.crc });
        Ok(())
    }

    /// The record before `next` is applied: the log goes on at `next`. The in-doubt word stays set until the commit is complete.
    pub(crate) fn applied(&self, runtime: Runtime<'_>, next: Cursor) {
        runtime.set_log(LogState { head: next.position, seed: next.seed, ..runtime.log() });
        runtime.set_sequence(next.sequence - 1);
        runtime.set_active(now());
        failpoint("commit: head moved");
    }

    /// A checkpoint with the lock held all the while.
    pub(crate) fn checkpoint_now(&self, media: &Media, runtime: Runtime<'_>) -> Result<()> {
        let head = self.checkpoint_begin(runtime);
        self.checkpoint_sync(media, runtime)?;
        self.checkpoint_end(media, runtime, head)
    }

    /// First step of a checkpoint, under the lock: what it will cover.
    pub(crate) fn checkpoint_begin(&self, runtime: Runtime<'_>) -> Cursor {
        self.head(runtime)
    }

    /// Second step, without the lock: everything applied so far reaches the disk.
    pub(crate) fn checkpoint_sync(&self, media: &Media, runtime: Runtime<'_>) -> Result<()> {
        runtime.no_failed_sync()?;
        failpoint("checkpoint: before sync");
        if !broken(Break::CheckpointWithoutSync) {
            runtime.synced(media.sync())?;
        }
        failpoint("checkpoint: after sync");
        Ok(())
    }

    /// Last step, under the lock again: the tail moves to `head` (rule 5: never back).
    pub(crate) fn checkpoint_end(&self, media: &Media, runtime: Runtime<'_>, head: Cursor) -> Result<()> {
        let log = runtime.log();
        if head.position <= log.tail {
            return Ok(());
        }
        runtime.no_failed_sync()?;
        self.move_tail(media, runtime, head, log.place, "checkpoint: slot durable")
    }

    /// Writes the next slot, durably, and takes notice of it: with a tail at `head`, and a ring at `place`. `written`: the failpoint in between.
    fn move_tail(
        &self,
        media: &Media,
        runtime: Runtime<'_>,
        head: Cursor,
        place: LogPlace,
        written: &'static str,
    ) -> Result<()> {
        let generation = runtime.log().generation + 1;
        let slot = slots::slot(generation, head, place);
        runtime.synced(slots::write(media, &slot))?;
        runtime.set_active(now());
        failpoint(written);
        runtime.no_failed_sync()?;
        // Before the tail: once the ring is written over up to there, the slot that says so must not be written over.
        runtime.set_generation(generation);
        failpoint("checkpoint: slot known");
        runtime.set_log(LogState { tail: head.position, place, ..runtime.log() });
        Ok(())
    }

    /// Has the log go on in another ring, empty: a checkpoint whose slot names it. The lock is held; what is at `place` is written, on the disk and
    /// nobody else's. On an error it goes on in one of both, which the next writer finds out.
    ///
    /// Both slots are written, so that a damaged one never leads back to the ring that is given up. Whoever comes after a death in between must not
    /// write to that either, as the runtime words would have it: so the log is in doubt from before the first of them.
    pub(crate) fn move_to(&self, media: &Media, runtime: Runtime<'_>, place: LogPlace) -> Result<()> {
        self.ring_at(place)?;
        self.checkpoint_sync(media, runtime)?;
        runtime.no_failed_sync()?;
        let head = self.head(runtime);
        if !broken(Break::MoveWithoutDoubt) {
            runtime.set_in_doubt(true);
        }
        failpoint("log: about to move");
        let named = (0..2)
            .try_for_each(|_| self.move_tail(media, runtime, head, place, "log: a slot names its new place"));
        // Where a slot could not be written the heap is whole: only the next writer, who knows of the failed sync, has to find out what the disk has.
        runtime.set_in_doubt(false);
        named?;
        failpoint("log: moved");
        Ok(())
    }

    /// Reads the log since the tail without changing anything.
    pub(crate) fn read(&self, media: &Media) -> Result<(CheckpointSlot, Vec<Record>, Cursor)> {
        let slot = slots::newest(media, self)?;
        let (records, head) = self.ring_at(slot.log)?.scan(media, slots::cursor(&slot))?;
        Ok((slot, records, head))
    }

    /// Replays the log into the heap without writing to log or runtime: for handles that may not write the file.
    pub(crate) fn replay_only(&self, media: &Media, apply: Apply) -> Result<()> {
        let (slot, records, _) = self.read(media)?;
        replay(media, &self.ring_at(slot.log)?, &records, self.heap_page, (apply, false))
    }

    /// The same with a file that may have been cut short, as far as it goes. Whether that is all that was committed.
    pub(crate) fn replay_inside(&self, media: &Media, apply: Apply) -> Result<bool> {
        let (slot, records, head) = self.read(media)?;
        let ring = self.ring_at(slot.log)?;
        let is_all = replay_inside(media, &ring, &records, self.heap_page, apply)?;
        // The body of a record that was spilled may have gone with the file's end.
        Ok(is_all && !ring.has_later(media, head)?)
    }

    /// Applies every valid record that may not be applied, and computes the runtime words anew.
    pub(crate) fn recover(
        &self,
        media: &Media,
        runtime: Runtime<'_>,
        extent: Extent,
        apply: Apply,
    ) -> Result<()> {
        let failed_syncs = runtime.failed_syncs();
        let failed = failed_syncs > 0;
        let left = match extent {
            Extent::SinceApplied if !failed => self.left_undone(media, runtime)?,
            _ => None,
        };
        let Found { mut slot, records, head, done } = match left {
            Some(found) => found,
            None => {
                let (slot, records, head) = self.read(media)?;
                Found { slot, records, head, done: 0 }
            }
        };
        if !failed && slot.generation != runtime.log().generation {
            // A slot that can be read is no more durable than a record: whoever wrote it may have died before the disk
            // had it. The older one on the disk still needs the ring that this one gives up.
            runtime.synced(slots::write(media, &slot))?;
        }
        let ring = self.ring_at(slot.log)?;
        // Whatever is in doubt is the last commit, or that and the record that voids it.
        let in_doubt = &records[records.len().saturating_sub(2).max(done)..];
        if failed {
            // Rule 4: after a failed sync nothing that was written since the tail can be relied on, nor the slot that says where that is.
            slots::write_again(media, &slot)?;
            rewrite(&ring, &records, |at, bytes| media.write(at, bytes))?;
            media.sync()?;
        } else if runtime.in_doubt() && !broken(Break::TrustReadable) {
            // Rule 3: readable is not durable.
            runtime.synced(rewrite(&ring, in_doubt, |at, bytes| media.write_durable(at, bytes)))?;
        }
        failpoint("recover: log rewritten");
        replay(media, &ring, &records[done..], self.heap_page, (apply, failed))?;
        failpoint("recover: replayed");
        if failed {
            media.sync()?;
            // What follows is as important: whoever comes after a death or failure there has to do it again.
            runtime.set_in_doubt(true);
            runtime.mended(failed_syncs)?;
        }
        if let Some(other) = slots::read(media, slots::index(slot.generation + 1))?
            && other.log != slot.log
        {
            // The move was cut off between its two slots.
            slot = slots::slot(slot.generation + 1, slots::cursor(&slot), slot.log);
            runtime.synced(slots::write(media, &slot))?;
        }
        runtime.set_log(LogState {
            head: head.position,
            seed: head.seed,
            tail: slot.tail,
            generation: slot.generation,
            place: slot.log,
        });
        runtime.set_sequence(head.sequence - 1);
        runtime.set_last_record(records.last().map_or(0, |record| record.header.position));
        runtime.set_boot(boot_id());
        runtime.set_home(media.home().map(|seen| seen.home));
        runtime.set_active(now());
        let outcome = if records.iter().any(|r| r.header.kind == KIND_SPILL) {
            // The spill extent is about to be cut off or reused.
            self.checkpoint_now(media, runtime)
        } else {
            Ok(())
        };
        // A checkpoint that failed has set the sync-failed word: no writer gets past that.
        runtime.set_in_doubt(false);
        outcome
    }
}

/// Whether the record may lie in a ring of `len` bytes.
pub(crate) fn fits_into(len: u64, body: &Body) -> bool {
    body.words().len() as u64 * 8 + 64 <= largest(len)
}

/// Writes records again as they were read, by `write`.
fn rewrite(ring: &Ring, records: &[Record], write: impl Fn(u64, &[u8]) -> Result<()>) -> Result<()> {
    for record in records {
        let at = ring.offset(record.header.position);
        let (header, body) = (bytemuck::bytes_of(&record.header), bytemuck::cast_slice(&record.body));
        if record.header.kind == KIND_SPILL {
            write(page_offset(record.header.spill_page), body)?;
            write(at, header)?;
        } else {
            write(at, &[header, body].concat())?;
        }
    }
    Ok(())
}
