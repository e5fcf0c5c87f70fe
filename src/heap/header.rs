//! The heap's first page: its end, its counts, and where everything else is found.
//!
//! ```text
//! word       bytes        content
//! 0          0..8         magic "heapfil1"
//! 1          8..16        end of the heap (page) u32 | 0, or a page past the end u32: the pages from the end
//!                         up to there may be punched
//! 2          16..24       used runs u32 | free pages u32
//! 3          24..32       root of the free tree (offset of a node; 0: no extent is free)
//! 4          32..40       first of the spare nodes (offset; 0: none)
//! 5          40..48       nodes in all u32 | nodes in the tree u32
//! 6          48..56       roots: belongs to the layer above
//! 7          56..64       run A of the log (first page; 0: none) u32 | its pages u32
//! 8 ..= 31   64..256      page-map array k (page; 0: none)
//! 32 ..=103  256..832     class c: first slab of its list (page; 0: none) u32 | number of slabs u32
//! 104        832..840     run B of the log, as A
//! 105 ..     840..4096    0
//! ```
//!
//! A *run* is a range of pages in use as one: a block, a slab, a node page, a page-map array, a run of the log, this page. A
//! run that was freed but may not be used again before the commit counts as used until it joins the free
//! tree.

use super::class::CLASSES;
use super::map::ARRAYS;
use super::space::{Load, Space};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"heapfil1");

const MAGIC_WORD: u64 = 0;
const END_WORD: u64 = 1;
const RUNS_WORD: u64 = 2;
const ROOT_WORD: u64 = 3;
const SPARE_WORD: u64 = 4;
const NODES_WORD: u64 = 5;
const ROOTS_WORD: u64 = 6;
const LOG_WORDS: [u64; 2] = [7, 104];
const ARRAYS_WORD: u64 = 8;
const CLASSES_WORD: u64 = ARRAYS_WORD + ARRAYS as u64;
/// Words in use; the rest of the page is zero.
pub(super) const HEADER_WORDS: u64 = LOG_WORDS[1] + 1;

const _: () =
    assert!(CLASSES_WORD == 32 && CLASSES_WORD + CLASSES as u64 == LOG_WORDS[1] && HEADER_WORDS * 8 <= PAGE);

/// Low and high half of a word.
#[inline]
pub(super) const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// A word of two halves.
#[inline]
pub(super) const fn word_of(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Where the heap starts; knows the header's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) first: Page,
}

impl Header {
    const fn at(self, word: u64) -> u64 {
        page_offset(self.first) + word * 8
    }

    pub(super) const fn magic_at(self) -> u64 {
        self.at(MAGIC_WORD)
    }

    pub(super) const fn end_at(self) -> u64 {
        self.at(END_WORD)
    }

    pub(super) const fn runs_at(self) -> u64 {
        self.at(RUNS_WORD)
    }

    pub(super) const fn root_at(self) -> u64 {
        self.at(ROOT_WORD)
    }

    pub(super) const fn spare_at(self) -> u64 {
        self.at(SPARE_WORD)
    }

    pub(super) const fn nodes_at(self) -> u64 {
        self.at(NODES_WORD)
    }

    pub(super) const fn roots_at(self) -> u64 {
        self.at(ROOTS_WORD)
    }

    /// Where the header names the runs that the log has in the heap.
    pub(super) fn logs_at(self) -> [u64; 2] {
        LOG_WORDS.map(|word| self.at(word))
    }

    #[inline]
    pub(super) const fn array_at(self, array: u32) -> u64 {
        self.at(ARRAYS_WORD + array as u64)
    }

    pub(super) const fn class_at(self, class: usize) -> u64 {
        self.at(CLASSES_WORD + class as u64)
    }

    /// Writes what an empty header needs beyond zeros.
    pub(super) fn format<S: Space>(self, s: &mut S, end: Page) -> Result<()> {
        s.store(self.magic_at(), MAGIC)?;
        self.set_end(s, end, 0)
    }

    pub(super) fn check_magic<L: Load>(self, l: &L) -> Result<()> {
        if l.load(self.magic_at())? == MAGIC {
            return Ok(());
        }
        Err(Error::corrupt(self.magic_at(), "the heap's header has another magic"))
    }

    /// The page at which the heap ends.
    #[inline]
    pub(super) fn end<L: Load>(self, l: &L) -> Result<Page> {
        Ok(self.end_and_punched(l)?.0)
    }

    /// The page at which the heap ends, and the page up to which what follows may be punched (0: nothing is).
    #[inline]
    pub(super) fn end_and_punched<L: Load>(self, l: &L) -> Result<(Page, Page)> {
        let (end, punched) = halves(l.load(self.end_at())?);
        if end <= self.first || punched != 0 && punched <= end {
            return Err(Error::corrupt(self.end_at(), "the heap's end contradicts itself"));
        }
        Ok((end, punched))
    }

    /// Moves the heap's end to `end`; what follows may be punched up to `punched`.
    pub(super) fn set_end<S: Space>(self, s: &mut S, end: Page, punched: Page) -> Result<()> {
        s.store(self.end_at(), word_of(end, if punched > end { punched } else { 0 }))
    }

    /// Adds to the counts of used runs and of free pages.
    pub(super) fn count_runs<S: Space>(self, s: &mut S, runs: i64, free: i64) -> Result<()> {
        add_halves(s, self.runs_at(), runs, free, "the counts of runs and free pages are wrong")
    }

    /// Adds to the counts of nodes in all and of nodes in the tree.
    pub(super) fn count_nodes<S: Space>(self, s: &mut S, all: i64, in_tree: i64) -> Result<()> {
        add_halves(s, self.nodes_at(), all, in_tree, "the counts of nodes are wrong")
    }
}

fn add_halves<S: Space>(s: &mut S, at: u64, low: i64, high: i64, what: &'static str) -> Result<()> {
    let (a, b) = halves(s.load(at)?);
    let sum = |count: u32, change: i64| u32::try_from(i64::from(count) + change);
    match (sum(a, low), sum(b, high)) {
        (Ok(a), Ok(b)) => s.store(at, word_of(a, b)),
        _ => Err(Error::corrupt(at, what)),
    }
}
