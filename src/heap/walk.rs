//! Going through the heap: its blocks in order of address, and its figures.

use super::class::{CLASSES, size_of_class};
use super::header::{Header, halves};
use super::map::{BLOCK, LOG, NODES, SLAB, kind};
use super::slab::Slot;
use super::space::Load;
use super::tree::{Extent, NODES_PER_PAGE, Summary, Tree};
use super::{Block, Heap, run_block};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

/// Figures of a heap that cost no search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stats {
    /// First page of the heap.
    pub(crate) first: Page,
    /// The page at which it ends.
    pub(crate) end: Page,
    /// Free pages.
    pub(crate) free_pages: u32,
    /// Free extents.
    pub(crate) extents: u32,
    /// Pages of the longest free extent.
    pub(crate) longest_extent: u32,
    /// Runs in use, metadata included.
    pub(crate) runs: u32,
    /// Pages of nodes of the free tree.
    pub(crate) node_pages: u32,
    /// Slabs of each size class.
    pub(crate) classes: [ClassStats; CLASSES],
}

/// Figures of one size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClassStats {
    /// Bytes of a slot.
    pub(crate) size: u32,
    /// Number of slabs.
    pub(crate) slabs: u32,
}

impl Heap {
    /// Figures from the header alone.
    pub(crate) fn stats<L: Load>(&self, l: &L) -> Result<Stats> {
        let header = self.header;
        let (runs, free_pages) = halves(l.load(header.runs_at())?);
        let (nodes, extents) = halves(l.load(header.nodes_at())?);
        let end = header.end(l)?;
        let root = Tree::new(header, end).link(l, header.root_at())?;
        let top = if root == 0 { Summary::default() } else { Summary::of(l.load(root + 8)?) };
        let mut classes = [ClassStats::default(); CLASSES];
        for (class, stats) in classes.iter_mut().enumerate() {
            let (_, slabs) = halves(l.load(header.class_at(class))?);
            *stats = ClassStats { size: size_of_class(class) as u32, slabs };
        }
        Ok(Stats {
            first: header.first,
            end,
            free_pages,
            extents,
            longest_extent: top.longest,
            runs,
            node_pages: nodes / NODES_PER_PAGE,
            classes,
        })
    }
}

impl Header {
    /// See [`Heap::next_block`].
    pub(super) fn next_block<L: Load>(self, l: &L, offset: u64) -> Result<Option<Block>> {
        let end = self.end(l)?;
        let mut from = offset.saturating_add(1).max(page_offset(self.first));
        while from < page_offset(end) {
            let page = (from / PAGE) as Page;
            let entry = self.entry(l, page)?;
            let next = match kind(entry) {
                0 if entry == 0 => self.skip_unused(l, page, end)?,
                SLAB => {
                    let (slab, shape) = self.slab_of(entry, page)?;
                    let at = (from - page_offset(slab)) as u32;
                    let index = at.saturating_sub(shape.start).div_ceil(shape.size);
                    if let Some((slot, state)) = (Slot { slab, shape, index }).next_used(l)? {
                        return Ok(Some(slot.block(state)?));
                    }
                    u64::from(slab) + u64::from(shape.pages)
                }
                BLOCK => {
                    let Some(run) = self.find_run(l, page_offset(page), entry) else {
                        return Err(self.fault(l, page_offset(page)));
                    };
                    if from == page_offset(page) {
                        return Ok(Some(run_block(page, run)));
                    }
                    u64::from(page) + u64::from(run.pages)
                }
                NODES..=LOG if entry >> 32 != 0 => u64::from(page) + (entry >> 32),
                _ => {
                    let at = self.entry_at(l, page)?;
                    return Err(Error::corrupt(at, "the page map has a word that names nothing"));
                }
            };
            from = next * PAGE;
        }
        Ok(None)
    }

    /// The page after the free extent, or the pages freed in this transaction, at `page`, which has no entry.
    fn skip_unused<L: Load>(self, l: &L, page: Page, end: Page) -> Result<u64> {
        let (before, after) = Tree::new(self, end).around(l, page)?;
        if let Some(free) = before.filter(|free| free.end() > page) {
            return Ok(free.end().into());
        }
        let limit = after.map_or(end, |Extent { page, .. }| page);
        for page in page..limit {
            // Where there is no page map, this fails: the file bounds the search.
            if l.load(self.entry_at(l, page)?)? != 0 {
                return Ok(page.into());
            }
        }
        Ok(limit.into())
    }
}
