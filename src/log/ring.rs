//! The log ring of a `Power` arena: where records go, and how they are found again.
//!
//! Positions count bytes through all laps; position modulo ring length is the place. A record never wraps: one that does not
//! fit before the ring's end begins at its start. The reader needs no marker for that: where no valid record
//! is found it looks at the ring's start too, and the CRC chain rules out everything else.
//!
//! Invariants (rules 2 and 5 of the log): `tail <= head <= tail + len`; the bytes between are the only copy of
//! commits whose application may not be on the disk; nothing else may be overwritten.

use super::record::*;
use crate::error::{Error, Result};
use crate::layout::{LogPlace, PAGE, Page, Superblock, page_offset};
use crate::media::Media;
use crate::sabotage::{Break, broken};
use std::cmp::Ordering;

/// Where the ring lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring {
    start: u64,
    len: u64,
    align: u64,
}

/// Where a record goes or is expected: its position, number and seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) position: u64,
    pub(crate) sequence: u64,
    pub(crate) seed: u32,
}

/// A valid record that was read back.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) header: RecordHeader,
    pub(crate) body: Vec<u64>,
}

/// Least and most pages of a ring.
pub(crate) const PAGES: std::ops::RangeInclusive<u32> = 16..=1 << 18;

/// Records outside of the ring, one behind the other, beyond which a log is damaged: before the next commit each is checkpointed.
const MOST_SPILLED: u32 = 4;

/// Records longer than this part of a ring of `len` bytes go to a spill extent.
pub(crate) const fn largest(len: u64) -> u64 {
    len / 4
}

impl Ring {
    /// Where the superblock has it.
    pub(crate) fn new(superblock: &Superblock) -> Self {
        Self {
            start: page_offset(superblock.log_page),
            len: u64::from(superblock.log_pages) * PAGE,
            align: u64::from(superblock.log_align),
        }
    }

    /// The same log's ring in another place, which must lie in a heap that starts at `heap_page`.
    pub(crate) fn moved(self, to: LogPlace, heap_page: Page) -> Result<Self> {
        if to == LogPlace::FIRST {
            return Ok(self);
        }
        let fits = to.page > heap_page && to.page.checked_add(to.pages).is_some();
        if !fits || !PAGES.contains(&to.pages) {
            return Err(Error::corrupt(page_offset(to.page), "the log is said to lie where it cannot"));
        }
        Ok(Self { start: page_offset(to.page), len: page_offset(to.pages), ..self })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// File offset of a log position.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        self.start + position % self.len
    }

    /// Where a record of `bytes` goes when the head is at `head`.
    pub(crate) fn place(&self, head: u64, bytes: u64) -> u64 {
        let room = self.len - head % self.len;
        if bytes <= room { head } else { head + room }
    }

    /// Position after a record of `bytes` at `position`.
    pub(crate) fn after(&self, position: u64, bytes: u64) -> u64 {
        position + aligned(bytes, self.align)
    }

    /// Whether a record of `bytes`, and one that voids it, fit between head and tail.
    pub(crate) fn fits_with_void(&self, head: u64, tail: u64, bytes: u64) -> bool {
        let next = self.after(self.place(head, bytes), bytes);
        self.after(self.place(next, 64), 64) <= tail.saturating_add(self.len)
    }

    /// The valid record at `cursor`, if there is one, and where the next is to be expected.
    pub(crate) fn read(&self, media: &Media, cursor: Cursor, tail: u64) -> Result<Option<(Record, Cursor)>> {
        if let Some(found) = self.read_at(media, cursor, tail)? {
            return Ok(Some(found));
        }
        let wrapped = cursor.position.next_multiple_of(self.len);
        if wrapped == cursor.position {
            return Ok(None);
        }
        self.read_at(media, Cursor { position: wrapped, ..cursor }, tail)
    }

    /// The valid record at this very position, whatever came before it.
    pub(crate) fn read_alone(
        &self,
        media: &Media,
        position: u64,
        sequence: u64,
        tail: u64,
    ) -> Result<Option<(Record, Cursor)>> {
        let seed = self.header_at(media, self.offset(position))?.seed;
        self.read_at(media, Cursor { position, sequence, seed }, tail)
    }

    fn read_at(&self, media: &Media, cursor: Cursor, tail: u64) -> Result<Option<(Record, Cursor)>> {
        let at = self.offset(cursor.position);
        let header = self.header_at(media, at)?;
        let follows = header.position == cursor.position
            && header.sequence == cursor.sequence
            && header.seed == cursor.seed;
        let expected = header.magic == RECORD_MAGIC
            && (follows || broken(Break::Unchained))
            && (KIND_COMMIT..=KIND_SPILL).contains(&header.kind);
        let room = self.len - cursor.position % self.len;
        let Some(ring_bytes) = header.ring_bytes().filter(|&n| expected && n <= room) else {
            return Ok(None);
        };
        let next = self.after(cursor.position, ring_bytes);
        if next > tail.saturating_add(self.len) {
            return Ok(None);
        }
        let Some(body) = self.read_body(media, &header, at)? else { return Ok(None) };
        if header.computed_crc(&body) != header.crc {
            return Ok(None);
        }
        let next = Cursor { position: next, sequence: cursor.sequence + 1, seed: header.crc };
        Ok(Some((Record { header, body }, next)))
    }

    fn read_body(&self, media: &Media, header: &RecordHeader, at: u64) -> Result<Option<Vec<u64>>> {
        let from = if header.kind == KIND_SPILL { page_offset(header.spill_page) } else { at + 64 };
        let Some(end) = header.body_words.checked_mul(8).and_then(|bytes| from.checked_add(bytes)) else {
            return Ok(None);
        };
        // Before memory is taken for it: the body has to lie inside the file.
        if end > media.len() && end > media.refresh_len()? {
            // Where the file is longer than what this handle maps, it may hold the body: whether it counts cannot be told from here.
            let is_beyond = end > media.capacity() && media.file_len()? >= end;
            return if is_beyond { Err(media.unreachable(end)) } else { Ok(None) };
        }
        let mut body = vec![0u64; header.body_words as usize];
        Ok(media.copy_to(from, bytemuck::cast_slice_mut(&mut body)).map(|()| body))
    }

    /// Whether the ring holds the header of a record that was written after those that end at `head`. The last record written is never
    /// overwritten, so this tells whether they are all there were. A torn record in flight at `head` is none.
    pub(crate) fn has_later(&self, media: &Media, head: Cursor) -> Result<bool> {
        for at in (0..self.len).step_by(size_of::<RecordHeader>()) {
            let header = self.header_at(media, self.start + at)?;
            let sound = header.magic == RECORD_MAGIC && header.position % self.len == at;
            if !sound || header.position < head.position {
                continue;
            }
            let later = match header.sequence.cmp(&head.sequence) {
                Ordering::Greater => true,
                Ordering::Equal if header.seed != head.seed => false,
                // Its body was on the disk before it, and is gone: what it committed is lost.
                Ordering::Equal if header.kind == KIND_SPILL => true,
                // Whole, but further on than records from that tail can be: a newer slot let it.
                Ordering::Equal => {
                    let there = Cursor { position: header.position, ..head };
                    self.read_at(media, there, header.position)?.is_some()
                }
                Ordering::Less => false,
            };
            if later {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn header_at(&self, media: &Media, at: u64) -> Result<RecordHeader> {
        let mut bytes = [0u8; size_of::<RecordHeader>()];
        let truncated = || media.unreachable(self.start + self.len);
        media.copy_to(at, &mut bytes).ok_or_else(truncated)?;
        Ok(bytemuck::cast(bytes))
    }

    /// Reads all valid records from `from` on; `from.position` is the tail. Returns them and the head.
    pub(crate) fn scan(&self, media: &Media, from: Cursor) -> Result<(Vec<Record>, Cursor)> {
        let mut records = Vec::new();
        let head = self.read_on(media, from, from.position, &mut records)?;
        Ok((records, head))
    }

    /// Adds the valid records from `cursor` on; `tail`: where the log begins. Returns the head.
    pub(crate) fn read_on(
        &self,
        media: &Media,
        mut cursor: Cursor,
        tail: u64,
        records: &mut Vec<Record>,
    ) -> Result<Cursor> {
        let mut spilled = 0;
        while let Some((record, next)) = self.read(media, cursor, tail)? {
            if record.header.kind == KIND_SPILL {
                // A ring of headers that all name the same bytes would take memory without bound.
                spilled += 1;
                if spilled > MOST_SPILLED {
                    let at = self.offset(record.header.position);
                    return Err(Error::corrupt(at, "a log has more records outside of its ring than it can"));
                }
            }
            records.push(record);
            cursor = next;
        }
        Ok(cursor)
    }
}
