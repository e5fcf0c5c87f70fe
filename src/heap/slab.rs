//! Small blocks: slabs of slots of one size class.
//!
//! A slab is a run of pages. It starts with a header of two words and the state array, which says of each
//! slot whether it is free, and if not, how long the block in it is. Slots hold nothing of ours: a free one
//! has no link in it.
//!
//! ```text
//! bytes        content
//! 0..8         0xA5 u8 | shape + 4 * class u16 | pages u8 | used slots u16 | slots u16
//! 8..16        previous u32 | next u32 of the class's partial slabs (first pages; 0: none). Both 0 if full
//! 16..         states, w = 1 byte each (size <= 248) or 2: 0 free, else 1 + size - length of the block.
//!              What the last slot leaves of the last word is 0xFF
//! start ..     slots of `size` bytes; for `start` and the number of slots see `class`
//! ```
//!
//! Partial slabs, those with a free slot, are in their class's list. A slab whose last block is freed goes
//! back to the free pages if its class has another partial one: so each class keeps one slab, and a pair of
//! alloc and free does not make and drop one each time.

use super::class::{SHAPE, SLAB_HEADER, Shape};
use super::header::{Header, halves, word_of};
use super::map::{SLAB, kind};
use super::space::{Load, Space};
use super::{Block, Heap, damage};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

const USED: u64 = 0xFFFF << 32;
const ONE_USED: u64 = 1 << 32;
/// Where the class's next free slot may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlabHint {
    /// First page of the slab; 0: no hint.
    slab: Page,
    /// Word of its state array.
    word: u32,
    shape: &'static Shape,
}

impl SlabHint {
    pub(super) const NONE: Self = Self { slab: 0, word: 0, shape: &SHAPE[0] };
}

/// The slab that was used last: most blocks that are freed are near it, and need no look into the page map.
/// Holds as long as the other hints, and is dropped with its slab.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecentSlab {
    start: u64,
    /// 0: no hint.
    bytes: u64,
    shape: &'static Shape,
}

impl RecentSlab {
    pub(super) const NONE: Self = Self { start: 0, bytes: 0, shape: &SHAPE[0] };

    fn new(slab: Page, shape: &'static Shape) -> Self {
        Self { start: page_offset(slab), bytes: page_offset(shape.pages), shape }
    }

    /// The slab, if `offset` lies in it.
    #[inline(always)]
    pub(super) fn around(&self, offset: u64) -> Option<(Page, &'static Shape)> {
        (offset.wrapping_sub(self.start) < self.bytes).then_some(((self.start / PAGE) as Page, self.shape))
    }
}

/// A slot of a slab.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) slab: Page,
    pub(super) shape: &'static Shape,
    pub(super) index: u32,
}

impl Slot {
    /// First bit of the slot's state in the state array.
    #[inline(always)]
    fn bit(&self) -> u32 {
        self.index << self.shape.state_shift
    }

    /// Where the word with the slot's state is.
    #[inline(always)]
    pub(super) fn state_at(&self) -> u64 {
        state_word_at(self.slab, self.bit() / 64)
    }

    /// The slot's state in that word.
    #[inline(always)]
    pub(super) fn state_in(&self, states: u64) -> u64 {
        states >> (self.bit() % 64) & self.shape.state_mask
    }

    /// The word of states with this one changed by as much as its state changes.
    #[inline(always)]
    fn with_state(&self, states: u64, from: u64, to: u64) -> u64 {
        states.wrapping_add(to.wrapping_sub(from) << (self.bit() % 64))
    }

    #[inline(always)]
    pub(super) fn offset(&self) -> u64 {
        page_offset(self.slab) + u64::from(self.shape.start + self.index * self.shape.size)
    }

    /// The block in the slot, whose state is not 0. `None` if that is more than a slot can have.
    #[inline(always)]
    pub(super) fn find_block(&self, state: u64) -> Option<Block> {
        let capacity = u64::from(self.shape.size);
        let len = (capacity + 1).checked_sub(state)?;
        Some(Block { offset: self.offset(), len, capacity, unlogged: false })
    }

    /// The block in the slot, whose state is not 0.
    pub(super) fn block(&self, state: u64) -> Result<Block> {
        self.find_block(state)
            .ok_or_else(|| Error::corrupt(self.state_at(), "a slot's slack is longer than the slot"))
    }

    /// The first slot in use from this one on (which may be past the last) in its slab, and its state.
    pub(super) fn next_used<L: Load>(mut self, l: &L) -> Result<Option<(Self, u64)>> {
        let per_word = 64 >> self.shape.state_shift;
        while self.index < self.shape.slots {
            let states = l.load(self.state_at())?;
            loop {
                let state = self.state_in(states);
                if state != 0 {
                    return Ok(Some((self, state)));
                }
                self.index += 1;
                if self.index == self.shape.slots || self.index.is_multiple_of(per_word) {
                    break;
                }
            }
        }
        Ok(None)
    }
}

#[inline(always)]
pub(super) const fn state_word_at(slab: Page, word: u32) -> u64 {
    page_offset(slab) + SLAB_HEADER + word as u64 * 8
}

/// What the last word of a state array holds past the last slot's state.
pub(super) fn padding(shape: &Shape) -> u64 {
    match (shape.slots << shape.state_shift) % 64 {
        0 => 0,
        used => u64::MAX << used,
    }
}

/// The first bit of the first free state in a word of states.
#[inline(always)]
fn free_in(states: u64, shape: &Shape) -> Option<u32> {
    let free =
        states.wrapping_sub(shape.state_lows) & !states & (shape.state_lows << (shape.state_bits() - 1));
    (free != 0).then(|| free.trailing_zeros() + 1 - shape.state_bits())
}

impl Header {
    /// Reads the entry of a slab's page: the slab's first page and its shape. `None` if it contradicts
    /// itself.
    #[inline(always)]
    pub(super) fn find_slab(self, entry: u64, page: Page) -> Option<(Page, &'static Shape)> {
        let (distance, shape) = ((entry >> 32) as u32, Shape::of(entry)?);
        let good = shape.entry == entry as u32 && distance < shape.pages && distance < page - self.first;
        good.then(|| (page - distance, shape))
    }

    /// Reads the entry of a slab's page.
    pub(super) fn slab_of(self, entry: u64, page: Page) -> Result<(Page, &'static Shape)> {
        self.find_slab(entry, page).ok_or_else(|| {
            Error::corrupt(page_offset(page), "the page map's word of this slab page is damaged")
        })
    }
}

/// How many slots are used, by a slab's first word.
#[inline(always)]
const fn used_of(head: u64) -> u32 {
    (head >> 32) as u16 as u32
}

/// The slot whose state is at a bit of a word of the state array.
#[inline(always)]
fn slot_of(slab: Page, shape: &'static Shape, word: u32, bit: u32) -> Slot {
    Slot { slab, shape, index: (word * 64 + bit) >> shape.state_shift }
}

/// Checks the first word of a slab of this shape; returns how many of its slots are used.
pub(super) fn used_in(head: u64, shape: &Shape, slab: Page) -> Result<u32> {
    let used = used_of(head);
    if head & !USED != shape.head || used > shape.slots {
        return Err(Error::corrupt(page_offset(slab), "a slab's first word does not fit the page map"));
    }
    Ok(used)
}

/// Where a slab's links in its class's list are.
pub(super) const fn links_at(slab: Page) -> u64 {
    page_offset(slab) + 8
}

impl Heap {
    /// Allocates a block of a class.
    #[inline(always)]
    pub(super) fn alloc_slot<S: Space>(&mut self, s: &mut S, class: usize, len: u64) -> Result<u64> {
        let SlabHint { slab, word, shape } = self.slabs[class];
        if slab != 0
            && let Ok(head) = s.load(page_offset(slab))
            && head & !USED == shape.head
            && let Ok(states) = s.load(state_word_at(slab, word))
            && let Some(bit) = free_in(states, shape)
        {
            return self.fill_slot(s, slot_of(slab, shape, word, bit), head, states, len);
        }
        self.alloc_slot_elsewhere(s, class, len)
    }

    /// Puts a block into a free slot of a slab with this first word and word of states.
    #[inline(always)]
    fn fill_slot<S: Space>(
        &mut self,
        s: &mut S,
        slot: Slot,
        head: u64,
        states: u64,
        len: u64,
    ) -> Result<u64> {
        let shape = slot.shape;
        let used = used_of(head) + 1;
        if slot.index >= shape.slots || used > shape.slots {
            return damage(slot.state_at(), "a slab's states do not fit its counts");
        }
        s.store(slot.state_at(), slot.with_state(states, 0, 1 + u64::from(shape.size) - len))?;
        s.store(page_offset(slot.slab), head + ONE_USED)?;
        if used == shape.slots {
            self.unlink_full(s, slot.slab, shape)?;
        }
        Ok(slot.offset())
    }

    /// Without a good hint: searches the hinted slab, then takes the class's first partial one, then makes a
    /// new one.
    #[inline(never)]
    fn alloc_slot_elsewhere<S: Space>(&mut self, s: &mut S, class: usize, len: u64) -> Result<u64> {
        let hint = self.slabs[class];
        let hinted = match hint.slab {
            0 => None,
            slab => self.partial_slab(s, slab, class).ok().map(|(head, shape)| (slab, head, shape)),
        };
        let (from, (slab, head, shape)) = match hinted {
            Some(found) => (hint.word.min(found.2.words), found),
            None => {
                let slab = match halves(s.load(self.header.class_at(class))?).0 {
                    0 => self.new_slab(s, class)?,
                    first => first,
                };
                let (head, shape) = self.partial_slab(s, slab, class)?;
                (0, (slab, head, shape))
            }
        };
        for word in (from..shape.words).chain(0..from) {
            let states = s.load(state_word_at(slab, word))?;
            if let Some(bit) = free_in(states, shape) {
                self.slabs[class] = SlabHint { slab, word, shape };
                self.recent = RecentSlab::new(slab, shape);
                return self.fill_slot(s, slot_of(slab, shape, word, bit), head, states, len);
            }
        }
        Err(Error::corrupt(page_offset(slab), "a slab counts a free slot that it does not have"))
    }

    /// First word and shape of a slab, which must be one of the class with a free slot.
    pub(super) fn partial_slab<L: Load>(
        &self,
        l: &L,
        slab: Page,
        class: usize,
    ) -> Result<(u64, &'static Shape)> {
        let shape = self.slab_shape(l, slab, class)?;
        let head = l.load(page_offset(slab))?;
        if used_in(head, shape, slab)? == shape.slots {
            return Err(Error::corrupt(page_offset(slab), "a full slab is in its class's list"));
        }
        Ok((head, shape))
    }

    /// Checks by the page map that a slab of the class starts at `slab`.
    fn slab_shape<L: Load>(&self, l: &L, slab: Page, class: usize) -> Result<&'static Shape> {
        if slab > self.header.first && slab < self.header.end(l)? {
            let entry = self.header.entry(l, slab)?;
            if kind(entry) == SLAB {
                let (first, shape) = self.header.slab_of(entry, slab)?;
                if first == slab && shape.class() == class {
                    return Ok(shape);
                }
            }
        }
        Err(Error::corrupt(
            self.header.class_at(class),
            "a class's list of slabs leads to what is no slab of it",
        ))
    }

    #[cold]
    #[inline(never)]
    fn new_slab<S: Space>(&mut self, s: &mut S, class: usize) -> Result<Page> {
        let class_at = self.header.class_at(class);
        let (first, count) = halves(s.load(class_at)?);
        let shape = Shape::next(class, count);
        let slab = self.take_run(s, shape.pages)?;
        for distance in 0..shape.pages {
            let entry = word_of(shape.entry, distance);
            self.header.set_entry(s, slab + distance, entry)?;
        }
        s.store(page_offset(slab), shape.head)?;
        for word in 0..shape.words {
            let states = if word + 1 == shape.words { padding(shape) } else { 0 };
            s.store(state_word_at(slab, word), states)?;
        }
        let Some(count) = count.checked_add(1) else {
            return Err(Error::corrupt(class_at, "the count of a class's slabs is wrong"));
        };
        s.store(class_at, word_of(first, count))?;
        self.link_partial(s, slab, class)?;
        Ok(slab)
    }

    /// Puts a slab in front of its class's list.
    #[cold]
    #[inline(never)]
    fn link_partial<S: Space>(&self, s: &mut S, slab: Page, class: usize) -> Result<()> {
        let class_at = self.header.class_at(class);
        let (first, count) = halves(s.load(class_at)?);
        s.store(links_at(slab), word_of(0, first))?;
        if first != 0 {
            self.slab_shape(s, first, class)?;
            let (_, next) = halves(s.load(links_at(first))?);
            s.store(links_at(first), word_of(slab, next))?;
        }
        s.store(class_at, word_of(slab, count))
    }

    /// Takes a slab out of its class's list.
    fn unlink_partial<S: Space>(&self, s: &mut S, slab: Page, class: usize) -> Result<()> {
        let class_at = self.header.class_at(class);
        let (previous, next) = halves(s.load(links_at(slab))?);
        let (first, count) = halves(s.load(class_at)?);
        if (previous == 0) != (first == slab) {
            return Err(Error::corrupt(links_at(slab), "a slab's place in its class's list is wrong"));
        }
        for neighbour in [previous, next].into_iter().filter(|&page| page != 0) {
            self.slab_shape(s, neighbour, class)?;
        }
        if previous == 0 {
            s.store(class_at, word_of(next, count))?;
        } else {
            let (before, _) = halves(s.load(links_at(previous))?);
            s.store(links_at(previous), word_of(before, next))?;
        }
        if next != 0 {
            let (_, after) = halves(s.load(links_at(next))?);
            s.store(links_at(next), word_of(previous, after))?;
        }
        s.store(links_at(slab), 0)
    }

    #[cold]
    #[inline(never)]
    fn unlink_full<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        self.slabs[shape.class()] = SlabHint::NONE;
        self.unlink_partial(s, slab, shape.class())
    }

    /// Frees the block in a slot, whose state in `states` is not 0.
    #[inline(always)]
    pub(super) fn free_slot<S: Space>(&mut self, s: &mut S, slot: Slot, states: u64) -> Result<()> {
        let shape = slot.shape;
        let head_at = page_offset(slot.slab);
        let head = s.load(head_at)?;
        let used = used_of(head);
        if head & !USED != shape.head || used.wrapping_sub(1) >= shape.slots {
            return damage(head_at, "a slab's first word does not fit its slots in use");
        }
        s.store(slot.state_at(), slot.with_state(states, slot.state_in(states), 0))?;
        s.store(head_at, head - ONE_USED)?;
        let hint = &mut self.slabs[shape.class()];
        if hint.slab == slot.slab || hint.slab == 0 {
            *hint = SlabHint { slab: slot.slab, word: slot.bit() / 64, shape };
        }
        if used == shape.slots {
            return self.link_partial(s, slot.slab, shape.class());
        }
        // An empty slab is given back unless it is its class's only partial one.
        if used == 1 && s.load(links_at(slot.slab))? != 0 {
            return self.drop_slab(s, slot.slab, shape);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn drop_slab<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        let class = shape.class();
        if self.header.end(s)?.checked_sub(shape.pages).is_none_or(|last| slab > last) {
            return Err(Error::corrupt(page_offset(slab), "a slab reaches past the heap's end"));
        }
        if self.slabs[class].slab == slab {
            self.slabs[class] = SlabHint::NONE;
        }
        self.recent = RecentSlab::NONE;
        self.unlink_partial(s, slab, class)?;
        let class_at = self.header.class_at(class);
        let (first, count) = halves(s.load(class_at)?);
        let Some(count) = count.checked_sub(1) else {
            return Err(Error::corrupt(class_at, "the count of a class's slabs is wrong"));
        };
        s.store(class_at, word_of(first, count))?;
        for page in slab..slab + shape.pages {
            self.header.set_entry(s, page, 0)?;
        }
        self.give_run(s, slab, shape.pages)
    }

    /// Notes the slab in which a block was found by the page map.
    #[inline(always)]
    pub(super) fn note_slab(&mut self, slot: &Slot) {
        self.recent = RecentSlab::new(slot.slab, slot.shape);
    }

    /// Gives the block in a slot another length, if the slot is right for it.
    pub(super) fn resize_slot<S: Space>(&self, s: &mut S, slot: Slot, states: u64, len: u64) -> Result<bool> {
        let block = slot.block(slot.state_in(states))?;
        if len > block.capacity || block.is_worth_moving(len) {
            return Ok(false);
        }
        if len != block.len {
            let state = 1 + block.capacity - len;
            s.store(slot.state_at(), slot.with_state(states, slot.state_in(states), state))?;
        }
        Ok(true)
    }
}
