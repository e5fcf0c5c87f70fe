//! The heap: extents in an AVL tree, slabs for the small.
//!
//! The heap is a range of the file's pages of 4096 bytes. Its first page is the header (`header`); the page map (`map`) says of each
//! page what it is; free extents are in a tree by address (`tree`); blocks up to 16 KiB lie in slabs (`slab`) of a size
//! class (`class`), longer ones are runs of pages (`runs`). Each of these modules draws its part of the format.
//!
//! All of it is words that are loaded and stored through [`Load`] and [`Space`]. The heap itself keeps nothing but where it starts, and hints.
//! It trusts nothing that it reads: a contradiction is `Error::Corrupt`, and what a damaged heap cannot cause is a panic, an endless loop, or an access
//! outside the file. It does not search for damage either: that is [`Heap::check`].
//!
//! A call that fails with `NoSpace`, `MaxSize`, `TooLarge`, `BadOption` or `BadOffset` has changed no block and left the heap whole. After any other
//! error of a changing call the transaction must be rolled back to before that call.

mod check;
mod class;
mod fault;
mod header;
mod map;
#[cfg(test)]
mod mock;
mod runs;
mod slab;
mod space;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

#[allow(unused_imports)]
pub(crate) use check::{Finding, Report};
use class::{CLASSES, SLOT_ALIGN, class_of};
use header::Header;
use map::{ARRAYS, BLOCK, Run, SLAB, kind};
use slab::{SlabHint, Slot};
pub(crate) use space::{Load, Space};
#[allow(unused_imports)]
pub(crate) use tree::Extent;
#[allow(unused_imports)]
pub(crate) use walk::{ClassStats, Stats};

use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

/// Largest alignment of a block, in bytes.
pub(crate) const MAX_ALIGN: u64 = PAGE;
/// Least number of pages of a heap.
pub(crate) const MIN_PAGES: u32 = runs::MIN_PAGES as u32;

/// An allocated block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where it starts, in bytes from the start of the file.
    pub(crate) offset: u64,
    /// Its length in bytes, exactly as asked for.
    pub(crate) len: u64,
    /// Bytes that it could have where it is.
    pub(crate) capacity: u64,
    /// Whether its content is outside of transactions.
    pub(crate) unlogged: bool,
}

impl Block {
    /// Whether a change to length `len` (at most the capacity) makes another place much better. Only the change that crosses half the
    /// capacity does: a block that is smaller than that has its reason, an alignment, and would be moved each time.
    const fn is_worth_moving(&self, len: u64) -> bool {
        len < self.capacity / 2 && self.len >= self.capacity / 2
    }
}

/// What a process knows of a heap: where it is, and hints that make the next call faster.
///
/// Reading takes `&self` and uses no hints: any thread may do it, on any state. Changes take `&mut self`; their hints hold for one line
/// of states, each following from the other by calls of this value. When that line breaks (roll back, also to a save point; a commit by
/// somebody else), call [`Heap::forget_hints`].
#[derive(Debug, Clone)]
pub(crate) struct Heap {
    header: Header,
    slabs: [SlabHint; CLASSES],
    /// The page-map arrays as far as known; 0: not known.
    arrays: [Page; ARRAYS],
}

/// What an offset leads to.
enum Place {
    Slot(Slot, u64),
    Run(Page, Run),
}

impl Heap {
    /// The heap that starts at page `first`, at least 1, of a file.
    pub(crate) const fn new(first: Page) -> Self {
        Self { header: Header { first }, slabs: [const { SlabHint::NONE }; CLASSES], arrays: [0; ARRAYS] }
    }

    /// Makes an empty heap up to page `end`, or a little less. The first page must be zero in this transaction's view.
    ///
    /// `BadOption` if there are fewer pages than [`MIN_PAGES`], or more than a heap can have.
    pub(crate) fn format<S: Space>(&mut self, s: &mut S, end: Page) -> Result<()> {
        self.forget_hints();
        self.format_runs(s, end)
    }

    /// Checks that a heap starts here; returns the page at which it ends.
    pub(crate) fn open<L: Load>(&self, l: &L) -> Result<Page> {
        self.header.check_magic(l)?;
        self.header.end(l)
    }

    /// Drops the hints: the state is not the one that this value's last change made.
    pub(crate) fn forget_hints(&mut self) {
        *self = Self::new(self.header.first);
    }

    /// Offset of the word that belongs to the layer above; 0 in a new heap.
    pub(crate) const fn roots_at(&self) -> u64 {
        self.header.roots_at()
    }

    /// Allocates `len` bytes, undefined, at a multiple of `align`, which is a power of two up to [`MAX_ALIGN`]. A block of 0 bytes
    /// has an offset of its own too. Blocks of at least a page start on a page of their own if they are over 16 KiB or `align` is over 256.
    #[inline]
    pub(crate) fn alloc<S: Space>(&mut self, s: &mut S, len: u64, align: u64) -> Result<u64> {
        if align <= SLOT_ALIGN
            && align.is_power_of_two()
            && let Some(class) = class_of(len, align)
        {
            return self.alloc_slot(s, class, len);
        }
        if !align.is_power_of_two() || align > MAX_ALIGN {
            return Err(Error::BadOption {
                option: "align",
                value: align,
                why: "a power of two, at most 4096",
            });
        }
        self.alloc_run(s, len, false)
    }

    /// Allocates `len` bytes in pages of their own, flagged as unlogged.
    pub(crate) fn alloc_unlogged<S: Space>(&mut self, s: &mut S, len: u64) -> Result<u64> {
        self.alloc_run(s, len, true)
    }

    /// The block at `offset`; `BadOffset` if there is none.
    #[inline]
    pub(crate) fn block<L: Load>(&self, l: &L, offset: u64) -> Result<Block> {
        let page = self.page_of(l, offset)?;
        let entry = self.header.entry(l, page)?;
        match self.place(l, offset, page, entry)? {
            Place::Slot(slot, states) => slot.block(slot.state_in(states)),
            Place::Run(page, run) => {
                self.check_reach(l, page, run)?;
                Ok(run_block(page, run))
            }
        }
    }

    /// Frees the block at `offset`; `BadOffset` if there is none.
    #[inline]
    pub(crate) fn free<S: Space>(&mut self, s: &mut S, offset: u64) -> Result<()> {
        match self.place_to_change(s, offset)? {
            Place::Slot(slot, states) => self.free_slot(s, slot, states),
            Place::Run(page, run) => self.free_run(s, page, run),
        }
    }

    /// Gives the block at `offset` another length where it is. False, with nothing changed, if it has to be moved for that, or should be because it
    /// would leave more than half of its place empty.
    pub(crate) fn resize_in_place<S: Space>(&mut self, s: &mut S, offset: u64, len: u64) -> Result<bool> {
        match self.place_to_change(s, offset)? {
            Place::Slot(slot, states) => self.resize_slot(s, slot, states, len),
            Place::Run(page, run) => self.resize_run(s, page, run, len),
        }
    }

    /// The page of a user's offset, which lies not before the heap.
    #[inline]
    fn page_of<L: Load>(&self, l: &L, offset: u64) -> Result<Page> {
        let page = offset / PAGE;
        if page < u64::from(self.header.first) || page > u64::from(Page::MAX) {
            return Err(self.fault(l, offset));
        }
        Ok(page as Page)
    }

    /// What lies at `offset`, by the hint where the page map's array is.
    #[inline]
    fn place_to_change<S: Space>(&mut self, s: &S, offset: u64) -> Result<Place> {
        let page = self.page_of(s, offset)?;
        let (array, at) = self.header.array_of(page);
        let start = &mut self.arrays[array as usize % ARRAYS];
        if *start == 0 {
            *start = self.header.array(s, array)?;
        }
        let entry = if *start == 0 { 0 } else { s.load(page_offset(*start) + at)? };
        self.place(s, offset, page, entry)
    }

    /// What lies at `offset`, on `page` with this entry.
    #[inline]
    fn place<L: Load>(&self, l: &L, offset: u64, page: Page, entry: u64) -> Result<Place> {
        if kind(entry) == SLAB {
            let (slab, shape) = self.header.slab_of(entry, page)?;
            if let Some(index) = shape.slot_at((offset - page_offset(slab)) as u32) {
                let slot = Slot { slab, shape, index };
                let states = l.load(slot.state_at())?;
                if slot.state_in(states) != 0 {
                    return Ok(Place::Slot(slot, states));
                }
            }
        } else if kind(entry) == BLOCK && offset.is_multiple_of(PAGE) {
            return Ok(Place::Run(page, Run::of(entry, offset)?));
        }
        Err(self.fault(l, offset))
    }
}

fn run_block(page: Page, run: Run) -> Block {
    Block {
        offset: page_offset(page),
        len: run.len(),
        capacity: page_offset(run.pages),
        unlogged: run.unlogged,
    }
}
