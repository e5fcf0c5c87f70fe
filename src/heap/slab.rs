//! Small blocks: slabs of slots of one size class.
//!
//! A slab is a run of pages. It starts with a header of two words and the state array, which says of each slot
//! whether it is free, and if not, how long the block in it is. Slots hold nothing of ours: a free one has no link in it.
//!
//! ```text
//! bytes        content
//! 0..8         0xA5 u8 | class u8 | shape u8 | pages u8 | used slots u16 | slots u16
//! 8..16        previous u32 | next u32 in the class's list of partial slabs (first pages; 0: none). 0 in a full slab
//! 16..         states of w = 1 byte (size <= 248) or w = 2 bytes: 0 free, else 1 + size - length of the block;
//!              the last word is filled up with 0xFF
//! start ..     slots of `size` bytes; `start` and the number of slots: see `class`
//! ```
//!
//! Partial slabs, those with a free slot, are in their class's list. A slab whose last block is freed goes back to the free
//! pages if its class has another partial one: so each class keeps one slab, and a pair of alloc and free does not make and drop one each time.

use super::class::{SLAB_HEADER, Shape};
use super::header::{Header, halves, word_of};
use super::map::{SLAB, kind};
use super::space::{Load, Space};
use super::{Block, Heap};
use crate::error::{Error, Result};
use crate::layout::{Page, page_offset};

const USED: u64 = 0xFFFF << 32;
const ONE_USED: u64 = 1 << 32;
/// Lowest bit of each state, by `Shape::wide`; the highest is `<< 7` or `<< 15`.
const LOW_BITS: [u64; 2] = [0x0101_0101_0101_0101, 0x0001_0001_0001_0001];

/// Where the class's next free slot may be. Only a hint: what it says is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlabHint {
    /// First page of the slab; 0: no hint.
    slab: Page,
    /// Word of its state array.
    word: u32,
}

impl SlabHint {
    pub(super) const NONE: Self = Self { slab: 0, word: 0 };
}

/// A slot of a slab.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) slab: Page,
    pub(super) shape: &'static Shape,
    pub(super) index: u32,
}

impl Slot {
    /// Where the word with the slot's state is.
    #[inline]
    pub(super) fn state_at(&self) -> u64 {
        state_word_at(self.slab, self.index >> (3 - self.shape.wide))
    }

    /// The slot's state in that word, in place.
    #[inline]
    fn shift(&self) -> u32 {
        (self.index & (7 >> self.shape.wide)) << (3 + self.shape.wide)
    }

    /// The slot's state.
    #[inline]
    pub(super) fn state_in(&self, states: u64) -> u64 {
        states >> self.shift() & state_mask(self.shape)
    }

    #[inline]
    fn with_state(&self, states: u64, state: u64) -> u64 {
        states & !(state_mask(self.shape) << self.shift()) | state << self.shift()
    }

    #[inline]
    pub(super) fn offset(&self) -> u64 {
        page_offset(self.slab) + u64::from(self.shape.start + self.index * self.shape.size)
    }

    /// The block in the slot, whose state is not 0.
    #[inline]
    pub(super) fn block(&self, state: u64) -> Result<Block> {
        let capacity = u64::from(self.shape.size);
        let Some(len) = (capacity + 1).checked_sub(state) else {
            return Err(Error::corrupt(self.state_at(), "a slot's slack is longer than the slot"));
        };
        Ok(Block { offset: self.offset(), len, capacity, unlogged: false })
    }
}

#[inline]
fn state_mask(shape: &Shape) -> u64 {
    (1 << (8 << shape.wide)) - 1
}

#[inline]
pub(super) const fn state_word_at(slab: Page, word: u32) -> u64 {
    page_offset(slab) + SLAB_HEADER + word as u64 * 8
}

/// What the last word of a state array holds past the last slot's state.
pub(super) fn padding(shape: &Shape) -> u64 {
    match (shape.slots << shape.wide) % 8 {
        0 => 0,
        used => u64::MAX << (used * 8),
    }
}

/// The first free state in a word of states.
#[inline]
fn free_in(states: u64, shape: &Shape) -> Option<u32> {
    let low = LOW_BITS[shape.wide as usize & 1];
    let free = states.wrapping_sub(low) & !states & low << (7 << shape.wide | shape.wide);
    (free != 0).then(|| free.trailing_zeros() >> (3 + shape.wide))
}

impl Header {
    /// Reads the entry of a slab's page: the slab's first page and its shape.
    #[inline]
    pub(super) fn slab_of(self, entry: u64, page: Page) -> Result<(Page, &'static Shape)> {
        let distance = (entry >> 32) as u32;
        match Shape::of(entry) {
            Some(shape)
                if shape.entry == entry as u32 && distance < shape.pages && distance < page - self.first =>
            {
                Ok((page - distance, shape))
            }
            _ => Err(Error::corrupt(page_offset(page), "the page map's word of this slab page is damaged")),
        }
    }
}

/// Checks the first word of a slab of this shape; returns how many of its slots are used.
#[inline]
pub(super) fn used_in(head: u64, shape: &Shape, slab: Page) -> Result<u32> {
    let used = (head >> 32) as u32 & 0xFFFF;
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
    #[inline]
    pub(super) fn alloc_slot<S: Space>(&mut self, s: &mut S, class: usize, len: u64) -> Result<u64> {
        let hint = self.slabs[class];
        if hint.slab != 0 {
            let head_at = page_offset(hint.slab);
            let head = s.load(head_at)?;
            if let Some(shape) = Shape::of(head)
                && shape.class() == class
                && head & !USED == shape.head
                && (head & USED) < u64::from(shape.slots) << 32
                && hint.word < shape.words
            {
                let states_at = state_word_at(hint.slab, hint.word);
                let states = s.load(states_at)?;
                if let Some(free) = free_in(states, shape) {
                    let slot = Slot { slab: hint.slab, shape, index: (hint.word << (3 - shape.wide)) + free };
                    return self.fill_slot(s, slot, head, states, len);
                }
            }
        }
        self.alloc_slot_elsewhere(s, class, len)
    }

    /// Puts a block into a free slot of a slab with these first word and word of states.
    #[inline]
    fn fill_slot<S: Space>(
        &mut self,
        s: &mut S,
        slot: Slot,
        head: u64,
        states: u64,
        len: u64,
    ) -> Result<u64> {
        let shape = slot.shape;
        if slot.index >= shape.slots {
            return Err(Error::corrupt(slot.state_at(), "a slab's state array is not closed"));
        }
        s.store(slot.state_at(), slot.with_state(states, 1 + u64::from(shape.size) - len))?;
        let head = head + ONE_USED;
        s.store(page_offset(slot.slab), head)?;
        if head >> 32 & 0xFFFF == u64::from(shape.slots) {
            self.unlink_full(s, slot.slab, shape)?;
        }
        Ok(slot.offset())
    }

    /// Without a good hint: searches the hinted slab, then takes the class's first partial one, then makes a new one.
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
            if let Some(free) = free_in(states, shape) {
                self.slabs[class] = SlabHint { slab, word };
                let slot = Slot { slab, shape, index: (word << (3 - shape.wide)) + free };
                return self.fill_slot(s, slot, head, states, len);
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
    fn unlink_full<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        self.slabs[shape.class()] = SlabHint::NONE;
        self.unlink_partial(s, slab, shape.class())
    }

    /// Frees the block in a slot, whose state in `states` is not 0.
    #[inline]
    pub(super) fn free_slot<S: Space>(&mut self, s: &mut S, slot: Slot, states: u64) -> Result<()> {
        let shape = slot.shape;
        let head_at = page_offset(slot.slab);
        let head = s.load(head_at)?;
        let used = used_in(head, shape, slot.slab)?;
        if used == 0 {
            return Err(Error::corrupt(head_at, "an empty slab has a slot in use"));
        }
        s.store(slot.state_at(), slot.with_state(states, 0))?;
        s.store(head_at, head - ONE_USED)?;
        let hint = &mut self.slabs[shape.class()];
        if hint.slab == slot.slab || hint.slab == 0 {
            *hint = SlabHint { slab: slot.slab, word: slot.index >> (3 - shape.wide) };
        }
        if used == shape.slots {
            self.link_partial(s, slot.slab, shape.class())?;
        } else if used == 1 {
            self.slab_emptied(s, slot.slab, shape)?;
        }
        Ok(())
    }

    /// Gives an empty slab back unless it is its class's only partial one.
    fn slab_emptied<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        let (previous, next) = halves(s.load(links_at(slab))?);
        if previous == 0 && next == 0 { Ok(()) } else { self.drop_slab(s, slab, shape) }
    }

    #[cold]
    fn drop_slab<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        let class = shape.class();
        if self.header.end(s)?.checked_sub(shape.pages).is_none_or(|last| slab > last) {
            return Err(Error::corrupt(page_offset(slab), "a slab reaches past the heap's end"));
        }
        if self.slabs[class].slab == slab {
            self.slabs[class] = SlabHint::NONE;
        }
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

    /// Gives the block in a slot another length, if the slot is right for it.
    pub(super) fn resize_slot<S: Space>(&self, s: &mut S, slot: Slot, states: u64, len: u64) -> Result<bool> {
        let block = slot.block(slot.state_in(states))?;
        if len > block.capacity || block.is_worth_moving(len) {
            return Ok(false);
        }
        if len != block.len {
            s.store(slot.state_at(), slot.with_state(states, 1 + block.capacity - len))?;
        }
        Ok(true)
    }

    /// The first used slot of the slab from slot `index` on, with its state.
    pub(super) fn next_used<L: Load>(&self, l: &L, mut slot: Slot) -> Result<Option<(Slot, u64)>> {
        let per_word = 8 >> slot.shape.wide;
        while slot.index < slot.shape.slots {
            let states = l.load(slot.state_at())?;
            loop {
                let state = slot.state_in(states);
                if state != 0 {
                    return Ok(Some((slot, state)));
                }
                slot.index += 1;
                if slot.index == slot.shape.slots || slot.index.is_multiple_of(per_word) {
                    break;
                }
            }
        }
        Ok(None)
    }
}
