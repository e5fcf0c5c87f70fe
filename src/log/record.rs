//! Log records: what a commit changes, as words.
//!
//! A record is a 64-byte header and a body. The body lists first the ranges that the transaction filled in place
//! (`page | pages << 32`, one word each), then its writes: a word `offset / 8 << 16 | count`, then `count` words of
//! content. A `Process` arena keeps the body of the commit under way in the intent area, without header and CRC.
//!
//! The CRC-32 is seeded with the CRC of the record before, and covers header and body: a record of an earlier lap, or
//! the successor of a record that was given up, never matches.

use crate::error::{Error, Result};
use crate::layout::{LINE, PAGE, Page, page_offset};
use bytemuck::{Pod, Zeroable};
use std::mem::{offset_of, size_of};

pub(crate) const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"HFRC");
/// A commit whose body follows the header.
pub(crate) const KIND_COMMIT: u32 = 1;
/// Takes back the record before: nothing of it is to be applied.
pub(crate) const KIND_VOID: u32 = 2;
/// A commit whose body lies in a spill extent past the heap's end.
pub(crate) const KIND_SPILL: u32 = 3;
/// Words that one write can have.
const MAX_WRITE_WORDS: usize = 0xFFFF;

/// First 64 bytes of each record in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RecordHeader {
    pub(crate) magic: u32,
    pub(crate) kind: u32,
    pub(crate) sequence: u64,
    /// Log position: bytes ever written to the ring, counted through all laps.
    pub(crate) position: u64,
    pub(crate) body_words: u64,
    pub(crate) ranges: u32,
    pub(crate) writes: u32,
    /// Where the heap ends after this commit: the file has to be that long.
    pub(crate) end_page: Page,
    /// First page of the spill extent, or 0.
    pub(crate) spill_page: Page,
    pub(crate) reserved: [u32; 2],
    /// CRC of the record before.
    pub(crate) seed: u32,
    /// CRC of this header up to here and of the body, seeded with `seed`.
    pub(crate) crc: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 64 && offset_of!(RecordHeader, crc) == 60);

impl RecordHeader {
    /// The CRC that header and body should carry.
    pub(crate) fn computed_crc(&self, body: &[u64]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.seed);
        hasher.update(&bytemuck::bytes_of(self)[..60]);
        hasher.update(bytemuck::cast_slice(body));
        hasher.finalize()
    }

    /// Bytes of the ring that the record takes, before alignment.
    pub(crate) fn ring_bytes(&self) -> Option<u64> {
        let body = if self.kind == KIND_SPILL { 0 } else { self.body_words.checked_mul(8)? };
        body.checked_add(size_of::<Self>() as u64)
    }
}

/// Words that a header takes.
const HEADER_WORDS: usize = size_of::<RecordHeader>() / 8;

/// A record while it is built, with room for its header in front, so that it goes out in one piece.
/// Reused from one commit to the next.
#[derive(Debug)]
pub(crate) struct Body {
    words: Vec<u64>,
    ranges: u32,
    writes: u32,
    /// Index of the open write's head, and the offset where it would go on.
    open: Option<(usize, u64)>,
}

impl Default for Body {
    fn default() -> Self {
        Self { words: vec![0; HEADER_WORDS], ranges: 0, writes: 0, open: None }
    }
}

impl Body {
    pub(crate) fn clear(&mut self) {
        self.words.truncate(HEADER_WORDS);
        self.words.shrink_to(1 << 20);
        self.ranges = 0;
        self.writes = 0;
        self.open = None;
    }

    /// The body alone.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words[HEADER_WORDS..]
    }

    /// Header and body, as they go to the ring.
    pub(crate) fn with_header(&mut self, header: RecordHeader) -> &[u8] {
        self.words[..HEADER_WORDS].copy_from_slice(bytemuck::cast_slice(&[header]));
        bytemuck::cast_slice(&self.words)
    }

    /// The body as recovery will see it.
    pub(crate) fn parsed(&self) -> Parsed<'_> {
        let (ranges, writes) = self.words().split_at(self.ranges as usize);
        Parsed { ranges, writes }
    }

    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.ranges, self.writes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.len() == HEADER_WORDS
    }

    /// Lists a range as filled in place. All ranges come before the first write.
    pub(crate) fn range(&mut self, page: Page, pages: u32) {
        debug_assert_eq!(self.writes, 0);
        self.words.push(u64::from(page) | u64::from(pages) << 32);
        self.ranges += 1;
    }

    /// Adds writes of one word each, as head and word.
    #[inline(always)]
    pub(crate) fn single_words(&mut self, entries: &[[u64; 2]]) {
        self.words.extend_from_slice(entries.as_flattened());
        self.writes += entries.len() as u32;
        self.open = None;
    }

    /// Adds a write; one that goes on where the last ended is joined to it.
    pub(crate) fn write(&mut self, offset: u64, words: &[u64]) {
        if let Some((head, next)) = self.open
            && next == offset
            && (self.words[head] & 0xFFFF) as usize + words.len() <= MAX_WRITE_WORDS
        {
            self.words[head] += words.len() as u64;
            self.words.extend_from_slice(words);
            self.open = Some((head, offset + words.len() as u64 * 8));
            return;
        }
        let head = self.words.len();
        self.words.push(head_of_write(offset, words.len() as u64));
        self.words.extend_from_slice(words);
        self.writes += 1;
        self.open = Some((head, offset + words.len() as u64 * 8));
    }
}

/// The head of a write of one word at `offset`.
#[inline(always)]
pub(crate) const fn head_of_word(offset: u64) -> u64 {
    head_of_write(offset, 1)
}

/// The head of a write of so many words, at most [`MAX_WRITE_WORDS`], from `offset` on.
#[inline(always)]
pub(crate) const fn head_of_write(offset: u64, words: u64) -> u64 {
    (offset / 8) << 16 | words
}

/// Where a write with this head goes.
#[inline(always)]
pub(crate) const fn offset_of_write(head: u64) -> u64 {
    (head >> 16) * 8
}

/// One write of a parsed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write<'a> {
    pub(crate) offset: u64,
    pub(crate) words: &'a [u64],
}

/// A body read back, its counts and bounds checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parsed<'a> {
    pub(crate) ranges: &'a [u64],
    writes: &'a [u64],
}

/// Pages that a record may touch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) first: Page,
    pub(crate) end: Page,
}

impl<'a> Parsed<'a> {
    /// Checks a body. `at` is where it lies in the file, for the error.
    pub(crate) fn new(words: &'a [u64], counts: (u32, u32), bounds: Bounds, at: u64) -> Result<Self> {
        let corrupt = |what| Error::corrupt(at, what);
        let (range_count, write_count) = counts;
        if range_count as usize > words.len() {
            return Err(corrupt("a log record lists more ranges than it has words"));
        }
        let (ranges, writes) = words.split_at(range_count as usize);
        for &range in ranges {
            let (page, pages) = range_of(range);
            if page < bounds.first || u64::from(page) + u64::from(pages) > u64::from(bounds.end) {
                return Err(corrupt("a log record lists a range outside the heap"));
            }
        }
        let parsed = Self { ranges, writes };
        let (mut rest, mut count) = (writes, 0u64);
        let (low, high) = (page_offset(bounds.first), page_offset(bounds.end));
        while let Some((&head, tail)) = rest.split_first() {
            let (offset, len) = (offset_of_write(head), (head & 0xFFFF) as usize);
            if len == 0 || len > tail.len() {
                return Err(corrupt("a write of a log record reaches past its end"));
            }
            if offset < low || offset + len as u64 * 8 > high {
                return Err(corrupt("a log record writes outside the heap"));
            }
            rest = &tail[len..];
            count += 1;
        }
        if count != u64::from(write_count) {
            return Err(corrupt("a log record has another number of writes than it says"));
        }
        Ok(parsed)
    }

    /// The writes in their order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Write<'a>> {
        let mut rest = self.writes;
        std::iter::from_fn(move || {
            let (&head, tail) = rest.split_first()?;
            let (words, after) = tail.split_at((head & 0xFFFF) as usize);
            rest = after;
            Some(Write { offset: offset_of_write(head), words })
        })
    }
}

/// Page and length of a listed range.
pub(crate) fn range_of(word: u64) -> (Page, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Rounds a record's length up to what it takes in the ring.
pub(crate) fn aligned(len: u64, align: u64) -> u64 {
    len.div_ceil(align) * align
}

/// Pages that a spilled body takes.
pub(crate) fn spill_pages(body_words: u64) -> u64 {
    (body_words * 8).div_ceil(PAGE)
}

const _: () = assert!(LINE == 64, "a record header takes one line");

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { first: 1, end: 100 };

    #[test]
    fn a_body_reads_back_as_written() {
        let mut body = Body::default();
        body.range(5, 3);
        body.write(8192, &[1, 2]);
        body.write(8208, &[3]);
        body.write(9000, &[4]);
        assert_eq!(body.counts(), (1, 2));
        let parsed = Parsed::new(body.words(), body.counts(), BOUNDS, 0).unwrap();
        assert_eq!(range_of(parsed.ranges[0]), (5, 3));
        let writes: Vec<_> = parsed.writes().collect();
        assert_eq!(writes[0], Write { offset: 8192, words: &[1, 2, 3] });
        assert_eq!(writes[1], Write { offset: 9000, words: &[4] });
    }

    #[test]
    fn a_body_that_lies_is_refused() {
        let mut body = Body::default();
        body.write(8192, &[1, 2]);
        let good = body.words().to_vec();
        assert!(Parsed::new(&good, (0, 2), BOUNDS, 0).is_err());
        assert!(Parsed::new(&good, (9, 1), BOUNDS, 0).is_err());
        assert!(Parsed::new(&good[..2], (0, 1), BOUNDS, 0).is_err());
        assert!(Parsed::new(&good, (0, 1), Bounds { first: 3, end: 100 }, 0).is_err());
        assert!(Parsed::new(&good, (0, 1), Bounds { first: 1, end: 2 }, 0).is_err());
        assert!(Parsed::new(&[u64::MAX, 0], (0, 1), BOUNDS, 0).is_err());
    }

    #[test]
    fn long_writes_are_split() {
        let mut body = Body::default();
        for i in 0..(MAX_WRITE_WORDS as u64 / 8 + 2) {
            body.write(8192 + i * 64, &[i; 8]);
        }
        assert_eq!(body.counts().1, 2);
    }
}
