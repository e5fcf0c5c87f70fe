//! The page map: what each page of the heap is, from its number alone.
//!
//! One word for each page, in arrays that double: array 0 has the words of the heap's first 512 pages, array
//! `k >= 1` those of the pages `512 << (k - 1) .. 512 << k`, counted from the heap's start. The header names
//! the page at which each array starts; array `k` is a run of `1 << (k - 1)` pages (array 0: one page).
//!
//! Invariant: a heap of `n` pages has exactly the arrays `0 ..= k` for the least `k` with `n <= 511 << k`. So
//! array `k + 1` comes into being while there is still room for it below the pages that it describes, and the
//! word of an array's own page always lies in an array before it.
//!
//! ```text
//! kind       bits 0..4   bits 4..32                                  bits 32..64
//! none       0           0                                           0
//! block      1           4: unlogged; 16..32: 4096 * pages - length  pages
//! slab       2           8..10: shape; 10..24: class; 24..32: pages  distance to the slab's first page
//! nodes      3           0                                           1
//! array      4           8..16: number of the array                  pages
//! header     5           0                                           1
//! log        6           0                                           pages
//! ```
//!
//! Bits not named are 0. The word of a page is nonzero if, and only if, the page is the first of a run, or
//! any page of a slab. Words of pages past the heap's end are 0.

use super::class::SLAB_KIND;
use super::header::Header;
use super::space::{Load, Space};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

/// Number of arrays that a heap can have.
pub(super) const ARRAYS: usize = 24;
/// Most pages of a heap: what the arrays can describe.
pub(super) const MOST_PAGES: u64 = 511 << (ARRAYS - 1);

pub(super) const BLOCK: u64 = 1;
pub(super) const SLAB: u64 = SLAB_KIND as u64;
pub(super) const NODES: u64 = 3;
pub(super) const ARRAY: u64 = 4;
pub(super) const HEADER: u64 = 5;
pub(super) const LOG: u64 = 6;

const UNLOGGED: u64 = 1 << 4;
const BLOCK_BITS: u64 = 0xFFFF_FFFF_FFFF_001F;

pub(super) const NODES_ENTRY: u64 = NODES | 1 << 32;
pub(super) const HEADER_ENTRY: u64 = HEADER | 1 << 32;

/// Entry of the first page of a run that the log has.
pub(super) const fn log_entry(pages: u32) -> u64 {
    LOG | (pages as u64) << 32
}

/// Pages of the run of the log that has this entry.
pub(super) fn log_pages(entry: u64) -> Option<u32> {
    let pages = (entry >> 32) as u32;
    (entry == log_entry(pages) && pages > 0).then_some(pages)
}

#[inline]
pub(super) const fn kind(entry: u64) -> u64 {
    entry & 15
}

/// A run of pages that is one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) pages: u32,
    /// Bytes of the pages that the block's length leaves unused.
    pub(super) slack: u64,
    pub(super) unlogged: bool,
}

impl Run {
    pub(super) fn new(len: u64, pages: u32, unlogged: bool) -> Self {
        Self { pages, slack: page_offset(pages) - len, unlogged }
    }

    pub(super) const fn entry(self) -> u64 {
        let flag = if self.unlogged { UNLOGGED } else { 0 };
        BLOCK | flag | self.slack << 16 | (self.pages as u64) << 32
    }

    /// Reads a block's entry; `None` if it contradicts itself.
    #[inline(always)]
    pub(super) fn of(entry: u64) -> Option<Self> {
        let (pages, slack) = ((entry >> 32) as u32, entry >> 16 & 0xFFFF);
        let good = pages != 0 && (slack < 4096 || slack == 4096 && pages == 1);
        let run = Self { pages, slack, unlogged: entry & UNLOGGED != 0 };
        (good && entry & !BLOCK_BITS == 0).then_some(run)
    }

    pub(super) const fn len(self) -> u64 {
        page_offset(self.pages) - self.slack
    }
}

/// Entry of a page-map array's first page.
pub(super) const fn array_entry(array: u32) -> u64 {
    ARRAY | (array as u64) << 8 | (array_pages(array) as u64) << 32
}

/// Pages of array `array`.
pub(super) const fn array_pages(array: u32) -> u32 {
    1 << array.saturating_sub(1)
}

/// The last array that a heap of `pages` pages has; `None` if no heap can have so many.
pub(super) fn last_array(pages: u64) -> Option<u32> {
    (0..ARRAYS as u32).find(|&array| pages <= pages_with(array))
}

/// Most pages of a heap whose last array is `array`.
pub(super) const fn pages_with(array: u32) -> u64 {
    511 << array
}

/// Index of the first page that `array` describes.
pub(super) const fn array_start(array: u32) -> u64 {
    (512 << array >> 1) & !511
}

impl Header {
    /// The array with the word of `page` (not before the heap's start), and the word's place in it in bytes.
    #[inline(always)]
    pub(super) const fn array_of(self, page: Page) -> (u32, u64) {
        let index = page - self.first;
        let log = (index | 256).ilog2();
        let start = (1 << log) & !511;
        (log - 8, (index as u64 - start) * 8)
    }

    /// The page at which an array starts; 0 if there is none.
    pub(super) fn array<L: Load>(self, l: &L, array: u32) -> Result<Page> {
        let word = l.load(self.array_at(array))?;
        if word > u64::from(u32::MAX) || word != 0 && word <= u64::from(self.first) {
            return Err(Error::corrupt(self.array_at(array), "a page-map array lies outside the heap"));
        }
        Ok(word as Page)
    }

    /// The word of `page`, which is not before the heap's start; 0 where no array has it.
    pub(super) fn entry<L: Load>(self, l: &L, page: Page) -> Result<u64> {
        let (array, at) = self.array_of(page);
        match self.array(l, array)? {
            0 => Ok(0),
            start => l.load(page_offset(start) + at),
        }
    }

    /// Like [`Header::entry`], but `None` where there is no array or something is wrong with it.
    #[inline(always)]
    pub(super) fn find_entry<L: Load>(self, l: &L, page: Page) -> Option<u64> {
        let (array, at) = self.array_of(page);
        let start = l.load(self.array_at(array)).ok()?;
        if start <= u64::from(self.first) || start > u64::from(u32::MAX) {
            return None;
        }
        l.load(start * PAGE + at).ok()
    }

    /// Offset of the word of `page`.
    pub(super) fn entry_at<L: Load>(self, l: &L, page: Page) -> Result<u64> {
        let (array, at) = self.array_of(page);
        match self.array(l, array)? {
            0 => Err(Error::corrupt(self.end_at(), "the page map does not reach to the heap's end")),
            start => Ok(page_offset(start) + at),
        }
    }

    pub(super) fn set_entry<S: Space>(self, s: &mut S, page: Page, entry: u64) -> Result<()> {
        let at = self.entry_at(s, page)?;
        s.store(at, entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_follow_each_other_without_gap() {
        let header = Header { first: 7 };
        let mut expected = (0, 0);
        for index in 0..1 << 16 {
            assert_eq!(header.array_of(7 + index), expected);
            expected.1 += 8;
            if expected.1 == page_offset(array_pages(expected.0)) {
                expected = (expected.0 + 1, 0);
            }
        }
        let (array, at) = header.array_of(u32::MAX);
        assert!(array < ARRAYS as u32 && at < page_offset(array_pages(array)));
    }

    #[test]
    fn there_is_room_for_each_array_below_what_it_describes() {
        for array in 1..ARRAYS as u32 {
            let without = pages_with(array - 1);
            assert_eq!(without + u64::from(array_pages(array)), array_start(array));
            assert_eq!(last_array(without), Some(array - 1));
            assert_eq!(last_array(without + 1), Some(array));
        }
        assert_eq!(last_array(MOST_PAGES + 1), None);
    }

    #[test]
    fn run_entries_keep_length_and_flag() {
        for (len, pages) in [(0, 1), (1, 1), (4096, 1), (4097, 2), (page_offset(u32::MAX), u32::MAX)] {
            for unlogged in [false, true] {
                let run = Run::new(len, pages, unlogged);
                assert_eq!(Run::of(run.entry()).unwrap(), run);
                assert_eq!((run.len(), kind(run.entry())), (len, BLOCK));
            }
        }
        assert!(Run::of(BLOCK).is_none());
        assert!(Run::of(BLOCK | 4096 << 16 | 2 << 32).is_none());
        assert!(Run::of(BLOCK | 1 << 5 | 1 << 32).is_none());
    }
}
