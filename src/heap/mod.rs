//! The heap: extents in an AVL tree, slabs for the small.
//!
//! The heap is a range of the file's pages of 4096 bytes. Its first page is the header (`header`); the page
//! map (`map`) says of each page what it is; free extents are in a tree by address (`tree`); blocks up to 16
//! KiB lie in slabs (`slab`) of a size class (`class`), longer ones are runs of pages (`runs`). Each of these
//! modules draws its part of the format.
//!
//! All of it is words that are loaded and stored through [`Load`] and [`Space`]. The heap itself keeps
//! nothing but where it starts, and hints. It trusts nothing that it reads: a contradiction is
//! `Error::Corrupt`, and what a damaged heap cannot cause is a panic, an endless loop, or an access outside
//! the file. It does not search for damage either: that is [`Heap::check`].
//!
//! A call that fails with `NoSpace`, `MaxSize`, `TooLarge`, `BadOption` or `BadOffset` has changed no block
//! and left the heap whole. After any other error of a changing call the transaction must be rolled back to
//! before that call.

mod check;
mod class;
mod cut;
mod fault;
mod header;
mod hint;
mod hot;
mod log_run;
mod map;
#[cfg(test)]
mod mock;
mod rebuild;
mod runs;
mod slab;
mod space;
mod stretch;
mod survey;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

#[allow(unused_imports)]
pub(crate) use check::{Finding, Report};
use class::{SLOT_ALIGN, Shape, class_of};
#[allow(unused_imports)]
pub(crate) use cut::Cut;
use header::Header;
use hint::{FreeWord, SlabHints};
use hot::HotWord;
use map::{ARRAYS, BLOCK, Run, SLAB, kind};
pub(crate) use rebuild::Rebuilt;
use slab::{RecentSlab, Slot};
pub(crate) use space::{Load, Space};
pub(crate) use stretch::{Stretch, Use};
#[allow(unused_imports)]
pub(crate) use tree::Extent;
#[allow(unused_imports)]
pub(crate) use walk::{ClassStats, Stats};

use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

/// Largest alignment of a block, in bytes.
pub(crate) const MAX_ALIGN: u64 = PAGE;

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
    /// Whether a change to length `len` (at most the capacity) makes another place much better. Only the
    /// change that crosses half the capacity does: a block that is smaller than that has its reason, an
    /// alignment, and would be moved each time.
    const fn is_worth_moving(&self, len: u64) -> bool {
        len < self.capacity / 2 && self.len >= self.capacity / 2
    }
}

/// What a process knows of a heap: where it is, and hints that make the next call faster.
///
/// Reading takes `&self` and uses no hints: any thread may do it, on any state. Changes take `&mut self`;
/// their hints hold for one line of states, each following from the other by calls of this value. When that
/// line breaks (roll back, also to a save point; a commit by somebody else), call [`Heap::forget_hints`].
#[derive(Debug, Clone)]
pub(crate) struct Heap {
    header: Header,
    slabs: SlabHints,
    recent: RecentSlab,
    hot: HotWord,
    /// Words in which this transaction freed a slot that is used in the committed state: a block in it would have to be logged, one
    /// in another can be filled in place. So they are hints only after the commit.
    freed_later: Vec<FreeWord>,
    /// The page-map arrays as far as known; 0: not known.
    arrays: [Page; ARRAYS],
    /// See [`Heap::is_in_free_place`].
    in_free_place: bool,
}

impl Heap {
    /// The heap that starts at page `first`, at least 1, of a file.
    pub(crate) const fn new(first: Page) -> Self {
        Self {
            header: Header { first },
            slabs: SlabHints::NONE,
            recent: RecentSlab::NONE,
            hot: HotWord::NONE,
            freed_later: Vec::new(),
            arrays: [0; ARRAYS],
            in_free_place: false,
        }
    }

    /// Makes an empty heap up to page `end`, or a little less. The first page must be zero in this
    /// transaction's view.
    ///
    /// `BadOption` if there are too few pages, or more than a heap can have.
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
        self.forget_slabs();
        self.arrays = [0; ARRAYS];
    }

    /// The changes made through this value are committed: what they freed may be used.
    pub(crate) fn committed(&mut self) {
        self.remember_freed();
    }

    /// Offset of the word that belongs to the layer above; 0 in a new heap.
    pub(crate) const fn roots_at(&self) -> u64 {
        self.header.roots_at()
    }

    /// Allocates `len` bytes, undefined, at a multiple of `align`, which is a power of two up to
    /// [`MAX_ALIGN`]. A block of 0 bytes has an offset of its own too. Blocks of at least a page start on a
    /// page of their own if they are over 16 KiB or `align` is over 256.
    #[inline(always)]
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
    #[cfg(test)]
    pub(crate) fn alloc_unlogged<S: Space>(&mut self, s: &mut S, len: u64) -> Result<u64> {
        self.alloc_run(s, len, true)
    }

    /// The block at `offset`; `BadOffset` if there is none.
    #[cfg(test)]
    pub(crate) fn block<L: Load>(&self, l: &L, offset: u64) -> Result<Block> {
        self.header.block(l, offset)
    }

    /// Whether the block that was allocated last has a place that is free in the committed state, as [`Space::used_before`] tells it.
    #[inline]
    pub(crate) fn is_in_free_place(&self) -> bool {
        self.in_free_place
    }

    /// The first block that starts after `offset` (0: the first of all). A few loads: free extents and the
    /// rest of a run are skipped. `offset` need not be a block, so that a walk can go on after changes.
    pub(crate) fn next_block<L: Load>(&self, l: &L, offset: u64) -> Result<Option<Block>> {
        self.header.next_block(l, offset)
    }

    /// Frees the block at `offset`; `BadOffset` if there is none.
    #[inline(always)]
    pub(crate) fn free<S: Space>(&mut self, s: &mut S, offset: u64) -> Result<()> {
        match self.find_place(s, offset) {
            Some(Place::Slot(slot, states)) => self.free_slot(s, slot, states),
            Some(Place::Run(page, run)) => self.free_run(s, page, run),
            None => Err(self.header.fault(s, offset)),
        }
    }

    /// Gives the block at `offset` another length where it is. False, with nothing changed, if it has to be
    /// moved for that, or (unless it is to `stay`) should be because it would leave more than half of its place empty.
    pub(crate) fn resize_in_place<S: Space>(
        &mut self,
        s: &mut S,
        offset: u64,
        len: u64,
        stay: bool,
    ) -> Result<bool> {
        match self.find_place(s, offset) {
            Some(Place::Slot(slot, states)) => self.resize_slot(s, slot, states, len, stay),
            Some(Place::Run(page, run)) => self.resize_run(s, page, run, len, stay),
            None => Err(self.header.fault(s, offset)),
        }
    }

    /// The page map's word of a page of the heap.
    fn entry<L: Load>(&self, l: &L, page: Page) -> Result<u64> {
        let (array, at) = self.header.array_of(page);
        match self.arrays[array as usize % ARRAYS] {
            0 => self.header.entry(l, page),
            start => l.load(page_offset(start) + at),
        }
    }

    /// What the block at `offset` is, by the hints where they help.
    #[inline(always)]
    fn find_place<S: Space>(&mut self, s: &S, offset: u64) -> Option<Place> {
        if let Some((slab, shape)) = self.recent.around(offset) {
            let (slot, states) = find_slot(s, offset, slab, shape)?;
            return Some(Place::Slot(slot, states));
        }
        let page = self.header.page_of(offset)?;
        let (array, at) = self.header.array_of(page);
        let start = &mut self.arrays[array as usize % ARRAYS];
        if *start == 0 {
            *start = self.header.array(s, array).ok()?;
            if *start == 0 {
                return None;
            }
        }
        let entry = s.load_layout(page_offset(*start) + at).ok()?;
        if kind(entry) == SLAB {
            let (slab, shape) = self.header.find_slab(entry, page)?;
            let (slot, states) = find_slot(s, offset, slab, shape)?;
            self.note_slab(&slot);
            Some(Place::Slot(slot, states))
        } else {
            self.header.find_run(s, offset, entry).map(|run| Place::Run(page, run))
        }
    }
}

/// What a block is.
enum Place {
    /// A slot, and the word with its state.
    Slot(Slot, u64),
    Run(Page, Run),
}

/// The block at `offset` of the heap that starts at page `first`; `BadOffset` if there is none. For readers, who have no hints:
/// a `Heap` made for one call would be kilobytes of them to fill.
#[inline]
pub(crate) fn block_at<L: Load>(first: Page, l: &L, offset: u64) -> Result<Block> {
    Header { first }.block(l, offset)
}

/// Where the word is that says of the block at `offset` whether it is one, if that is in a slab. For hints: little is checked.
#[inline]
pub(crate) fn state_word_of<L: Load>(first: Page, l: &L, offset: u64) -> Option<u64> {
    let header = Header { first };
    let page = header.page_of(offset)?;
    let entry = header.find_entry(l, page)?;
    if kind(entry) != SLAB {
        return None;
    }
    let (slab, shape) = header.find_slab(entry, page)?;
    Some(slot_in(offset, slab, shape)?.state_at())
}

// Reading needs to know only where the heap starts; it is here, and by value. What finds nothing returns
// `None`, not an error: `fault` then finds out why. That keeps
// hot code small.
impl Header {
    #[inline]
    fn block<L: Load>(self, l: &L, offset: u64) -> Result<Block> {
        match self.find_block(l, offset) {
            Some(block) => Ok(block),
            None => Err(self.fault(l, offset)),
        }
    }

    #[inline(always)]
    fn find_block<L: Load>(self, l: &L, offset: u64) -> Option<Block> {
        let page = self.page_of(offset)?;
        let entry = self.find_entry(l, page)?;
        if kind(entry) == SLAB {
            let (slab, shape) = self.find_slab(entry, page)?;
            let (slot, states) = find_slot(l, offset, slab, shape)?;
            slot.find_block(slot.state_in(states))
        } else {
            Some(run_block(page, self.find_run(l, offset, entry)?))
        }
    }

    /// The page of a user's offset, if it is not before the heap.
    #[inline(always)]
    fn page_of(self, offset: u64) -> Option<Page> {
        let index = (offset / PAGE).wrapping_sub(u64::from(self.first));
        (index <= u64::from(Page::MAX - self.first)).then(|| self.first + index as Page)
    }

    /// The run that is a block at `offset`, whose page has this entry.
    #[inline(always)]
    fn find_run<L: Load>(self, l: &L, offset: u64, entry: u64) -> Option<Run> {
        if kind(entry) != BLOCK || !offset.is_multiple_of(PAGE) {
            return None;
        }
        let run = Run::of(entry)?;
        let end = offset / PAGE + u64::from(run.pages);
        (end <= u64::from(self.end(l).ok()?)).then_some(run)
    }
}

/// The slot that starts at `offset`, which lies in this slab.
#[inline(always)]
fn slot_in(offset: u64, slab: Page, shape: &'static Shape) -> Option<Slot> {
    let index = shape.slot_at((offset - page_offset(slab)) as u32)?;
    Some(Slot { slab, shape, index })
}

/// The slot of a block at `offset`, which lies in this slab, and the word of its state.
#[inline(always)]
fn find_slot<L: Load>(l: &L, offset: u64, slab: Page, shape: &'static Shape) -> Option<(Slot, u64)> {
    let slot = slot_in(offset, slab, shape)?;
    let states = l.load_states(slot.state_at()).ok()?;
    (slot.state_in(states) != 0).then_some((slot, states))
}

/// For hot code, which is better without the making of errors.
#[cold]
#[inline(never)]
fn damage<T>(offset: u64, what: &'static str) -> Result<T> {
    Err(Error::corrupt(offset, what))
}

fn run_block(page: Page, run: Run) -> Block {
    Block {
        offset: page_offset(page),
        len: run.len(),
        capacity: page_offset(run.pages),
        unlogged: run.unlogged,
    }
}
