//! Small blocks: slabs of slots of one size class.
//!
//! A slab is a run of pages. It starts with a header of two words and the state array, which says of each
//! slot whether it is free, and if not, how long the block in it is. Slots hold nothing of ours: a free one
//! has no link in it. No count of used slots is kept: to allocate and to free a block changes one word, its state.
//!
//! ```text
//! bytes        content
//! 0..8         0xA5 u8 | shape + 4 * class u16 | pages u8 | listed u16: 0 or 1 | slots u16
//! 8..16        previous u32 | next u32 in the class's list (first pages; 0: none). Both 0 if not listed
//! 16..         states, w = 1 byte each (size <= 248) or 2: 0 free, else 1 + size - length of the block.
//!              What the last slot leaves of the last word is 0xFF
//! start ..     slots of `size` bytes; for `start` and the number of slots see `class`
//! ```
//!
//! Slabs with a free slot are in their class's list. One that became full stays there until the next search for a free
//! slot finds it so; a slab that is not in the list is full, and comes back with the first block that is freed in it. A slab whose last
//! block is freed goes back to the free pages if its class's list has another: so each class keeps one slab, and a
//! pair of alloc and free does not make and drop one each time.

use super::class::{MOST_WORDS, SHAPE, SLAB_HEADER, Shape};
use super::header::{Header, halves, word_of};
use super::hint::{FreeWord, SlabHint};
use super::map::{SLAB, kind};
use super::space::{Load, Space};
use super::{Block, Heap, damage};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};
use std::cmp::Ordering;

/// In a slab's first word: it is in its class's list.
pub(super) const LISTED: u64 = 1 << 32;

/// Words that are remembered until the commit.
const MOST_LATER: usize = 4096;
/// Slabs of a class from which on one of them is left to empty. With fewer it would be too large a part of them.
const ENOUGH_SLABS: u32 = 4;

impl SlabHint {
    /// Puts a block into a free slot with this word of states, which is the one to be used.
    #[inline(always)]
    fn fill_slot<S: Space>(&mut self, s: &mut S, slot: Slot, states: u64, len: u64) -> Result<u64> {
        if slot.index >= slot.shape.slots {
            return damage(slot.state_at(), "a slab's state array is not closed");
        }
        let states = slot.with_state(states, 0, 1 + u64::from(slot.shape.size) - len);
        s.store_states(slot.state_at(), states)?;
        match free_in(states, slot.shape) {
            // Where most slots are in use this one's pages are mapped.
            Some(bit) if S::IS_ONE_CALL && is_dense(states, slot.shape) => slot.in_same_word(bit).prefetch(s),
            Some(_) => {}
            None => self.pop(),
        }
        Ok(slot.offset())
    }
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
    pub(super) const NONE: Self = Self { start: 0, bytes: 0, shape: Shape::ANY };

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

    /// Where that word is, the first slot that has its state there, and how many have.
    #[inline(always)]
    pub(super) fn word(&self) -> (u64, u64, u32) {
        (self.state_at(), self.in_same_word(0).offset(), 64 >> self.shape.state_shift)
    }

    /// The slot whose state is at a bit of the word that has this one's.
    #[inline(always)]
    fn in_same_word(&self, bit: u32) -> Self {
        slot_of(self.slab, self.shape, self.bit() / 64, bit)
    }

    /// A block comes here soon. To bring its place into the cache now spares what follows that a wait: stores are done in their order, and a lock is
    /// not taken before those to that place.
    #[inline(always)]
    fn prefetch<S: Space>(&self, s: &S) {
        s.prefetch(self.offset(), self.shape.size.into());
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
pub(super) fn free_in(states: u64, shape: &Shape) -> Option<u32> {
    let free = states.wrapping_sub(shape.state_lows) & !states & shape.state_highs;
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

/// How many states of a word are not 0.
#[inline(always)]
fn used_in(states: u64, shape: &Shape) -> u32 {
    let highs = shape.state_highs;
    // The highest bit of each state that is not 0: bits below it carry into it if one of them is set.
    let used = ((states & !highs).wrapping_add(highs - shape.state_lows) | states) & highs;
    // Their sum ends up in the highest state.
    ((used >> (shape.state_bits() - 1)).wrapping_mul(shape.state_lows) >> (64 - shape.state_bits())) as u32
}

/// Whether at least half of the slots of a word of states are used.
#[inline(always)]
fn is_dense(states: u64, shape: &Shape) -> bool {
    used_in(states, shape) << shape.state_shift >= 32
}

/// The slot whose state is at a bit of a word of the state array.
#[inline(always)]
fn slot_of(slab: Page, shape: &'static Shape, word: u32, bit: u32) -> Slot {
    Slot { slab, shape, index: (word * 64 + bit) >> shape.state_shift }
}

/// Checks the first word of a slab of this shape; returns whether the slab is in its class's list.
#[inline(always)]
pub(super) fn is_listed(head: u64, shape: &Shape, slab: Page) -> Result<bool> {
    if head & !LISTED != shape.head {
        return damage(page_offset(slab), "a slab's first word does not fit the page map");
    }
    Ok(head & LISTED != 0)
}

/// Whether no slot of a slab is in use.
pub(super) fn is_empty<L: Load>(l: &L, slab: Page, shape: &Shape) -> Result<bool> {
    for word in 0..shape.words {
        let unused = if word + 1 == shape.words { padding(shape) } else { 0 };
        if l.load(state_word_at(slab, word))? != unused {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many slots of a slab are in use.
pub(super) fn used_slots<L: Load>(l: &L, slab: Page, shape: &Shape) -> Result<u32> {
    let mut used = 0;
    for word in 0..shape.words {
        let mut states = l.load(state_word_at(slab, word))?;
        if word + 1 == shape.words {
            states &= !padding(shape);
        }
        used += used_in(states, shape);
    }
    Ok(used)
}

/// Whether a listed slab is the only one in its class's list, thus stays when its last block is freed.
#[inline(always)]
pub(super) fn is_only_one<L: Load>(l: &L, slab: Page) -> Result<bool> {
    Ok(l.load_layout(links_at(slab))? == 0)
}

/// Where a slab's links in its class's list are.
pub(super) const fn links_at(slab: Page) -> u64 {
    page_offset(slab) + 8
}

impl Heap {
    /// Drops the hints.
    #[cold]
    #[inline(never)]
    pub(super) fn forget_slabs(&mut self) {
        self.slabs.clear();
        self.freed_later.clear();
        self.recent = RecentSlab::NONE;
        self.cool();
    }

    /// The transaction was committed: the slots that it freed are free in the committed state now.
    pub(super) fn remember_freed(&mut self) {
        self.cool();
        for word in self.freed_later.drain(..) {
            if let Some(shape) = SHAPE.get(usize::from(word.shape)) {
                self.slabs.of(shape.class()).push(word);
            }
        }
    }

    /// Allocates a block of a class.
    #[inline(always)]
    pub(super) fn alloc_slot<S: Space>(&mut self, s: &mut S, class: usize, len: u64) -> Result<u64> {
        let hint = self.slabs.of(class);
        let FreeWord { slab, word, shape } = hint.latest();
        if slab != 0
            && let Some(shape) = SHAPE.get(usize::from(shape))
            && let Ok(states) = s.load_states(state_word_at(slab, word.into()))
            && let Some(bit) = free_in(states | s.used_before(state_word_at(slab, word.into())), shape)
        {
            self.in_free_place = true;
            return hint.fill_slot(s, slot_of(slab, shape, word.into(), bit), states, len);
        }
        self.alloc_slot_elsewhere(s, class, len)
    }

    /// Where the latest hint is of no use: tries the others, searches on in the slab that was searched last, then the class's list, then makes a new slab.
    /// Full slabs on the way leave the list.
    #[inline(never)]
    fn alloc_slot_elsewhere<S: Space>(&mut self, s: &mut S, class: usize, len: u64) -> Result<u64> {
        self.in_free_place = true;
        self.cool();
        let hint = self.slabs.of(class);
        loop {
            let FreeWord { slab, word, shape } = hint.latest();
            if slab == 0 {
                break;
            }
            let (shape, word) = (&SHAPE[usize::from(shape)], word.into());
            let states = s.load(state_word_at(slab, word))?;
            if let Some(bit) = free_in(states | s.used_before(state_word_at(slab, word)), shape) {
                return hint.fill_slot(s, slot_of(slab, shape, word, bit), states, len);
            }
            hint.pop();
        }
        loop {
            // A slab that was found remains one of its class; only whether it is in the list may have changed.
            let FreeWord { slab, word: from, shape } = self.slabs.of(class).found;
            let (slab, shape) = match slab {
                0 => self.first_slab(s, class)?,
                _ => (slab, &SHAPE[usize::from(shape)]),
            };
            if let Some((word, bit, states)) = self.search_slab(s, slab, shape, from.into())? {
                let hint = self.slabs.of(class);
                hint.found = FreeWord { slab, word: word as u16, shape: shape.index() };
                hint.is_found_full = false;
                self.recent = RecentSlab::new(slab, shape);
                return hint.fill_slot(s, slot_of(slab, shape, word, bit), states, len);
            }
            self.slabs.of(class).found = FreeWord::NONE;
            if is_listed(s.load(page_offset(slab))?, shape, slab)? {
                self.unlink(s, slab, shape)?;
            }
        }
    }

    /// The first slab in a class's list, which is made if there is none.
    fn first_slab<S: Space>(&mut self, s: &mut S, class: usize) -> Result<(Page, &'static Shape)> {
        let slab = match halves(s.load(self.header.class_at(class))?).0 {
            0 => self.new_slab(s, class)?,
            first => first,
        };
        Ok((slab, self.listed_slab(s, slab, class)?))
    }

    /// A free slot of a slab: the word of its state, the bit there, and the word's content. The first from word `from` on
    /// that is free in the committed state too, else one that this transaction freed.
    fn search_slab<S: Space>(
        &mut self,
        s: &S,
        slab: Page,
        shape: &Shape,
        from: u32,
    ) -> Result<Option<(u32, u32, u64)>> {
        self.in_free_place = true;
        let from = from.min(shape.words);
        for word in (from..shape.words).chain(0..from) {
            let before = s.used_before(state_word_at(slab, word));
            if free_in(before, shape).is_none() {
                continue;
            }
            let states = s.load(state_word_at(slab, word))?;
            if let Some(bit) = free_in(states | before, shape) {
                return Ok(Some((word, bit, states)));
            }
        }
        self.in_free_place = false;
        for word in 0..shape.words {
            let states = s.load(state_word_at(slab, word))?;
            if let Some(bit) = free_in(states, shape) {
                return Ok(Some((word, bit, states)));
            }
        }
        Ok(None)
    }

    /// Shape of a slab, which must be one in the class's list.
    pub(super) fn listed_slab<L: Load>(&self, l: &L, slab: Page, class: usize) -> Result<&'static Shape> {
        let shape = self.slab_shape(l, slab, class)?;
        if !is_listed(l.load(page_offset(slab))?, shape, slab)? {
            return Err(Error::corrupt(page_offset(slab), "a slab in its class's list says that it is not"));
        }
        Ok(shape)
    }

    /// Checks by the page map that a slab of the class starts at `slab`.
    fn slab_shape<L: Load>(&self, l: &L, slab: Page, class: usize) -> Result<&'static Shape> {
        if slab > self.header.first && slab < self.header.end(l)? {
            let entry = self.entry(l, slab)?;
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
        let Some(more) = count.checked_add(1) else {
            return Err(Error::corrupt(class_at, "the count of a class's slabs is wrong"));
        };
        let shape = Shape::next(class, count);
        let slab = self.take_run(s, shape.pages)?;
        for distance in 0..shape.pages {
            let entry = word_of(shape.entry, distance);
            self.header.set_entry(s, slab + distance, entry)?;
        }
        let mut states = [0; MOST_WORDS];
        states[shape.words as usize - 1] = padding(shape);
        s.store_fresh(state_word_at(slab, 0), &states[..shape.words as usize])?;
        s.store(class_at, word_of(first, more))?;
        self.slabs.of(class).emptying = 0;
        self.link(s, slab, shape)?;
        Ok(slab)
    }

    /// Puts a slab in front of its class's list.
    #[cold]
    #[inline(never)]
    fn link<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        self.cool();
        let class = shape.class();
        let class_at = self.header.class_at(class);
        let (first, count) = halves(s.load(class_at)?);
        s.store(links_at(slab), word_of(0, first))?;
        if first != 0 {
            self.slab_shape(s, first, class)?;
            let (_, next) = halves(s.load(links_at(first))?);
            s.store(links_at(first), word_of(slab, next))?;
        }
        s.store(page_offset(slab), shape.head | LISTED)?;
        s.store(class_at, word_of(slab, count))
    }

    /// Takes a slab out of its class's list.
    fn unlink<S: Space>(&self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        let class = shape.class();
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
        s.store(page_offset(slab), shape.head)?;
        s.store(links_at(slab), 0)
    }

    /// Frees the block in a slot, whose state in `states` is not 0.
    #[inline(always)]
    pub(super) fn free_slot<S: Space>(&mut self, s: &mut S, slot: Slot, states: u64) -> Result<()> {
        let shape = slot.shape;
        let listed = is_listed(s.load_layout(page_offset(slot.slab))?, shape, slot.slab)?;
        let left = slot.with_state(states, slot.state_in(states), 0);
        s.store_states(slot.state_at(), left)?;
        let word = slot.bit() / 64;
        let freed = FreeWord { slab: slot.slab, word: word as u16, shape: shape.index() };
        let empties = match slot.slab.cmp(&self.slabs.of(shape.class()).emptying) {
            Ordering::Less => false,
            Ordering::Equal => true,
            Ordering::Greater => self.leave_to_empty(s, slot.slab, shape.class())?,
        };
        let hint = self.slabs.of(shape.class());
        // Put there by this transaction.
        let is_new = !S::IS_ONE_CALL && slot.state_in(s.used_before(slot.state_at())) == 0;
        let refills = || !empties && is_dense(left, shape);
        if hint.found == freed || (S::IS_ONE_CALL || is_new) && refills() {
            if hint.push(freed)
                && S::IS_ONE_CALL
                && let Some(bit) = free_in(left, shape)
            {
                slot.in_same_word(bit).prefetch(s);
            }
            if is_new && listed && word + 1 < shape.words && hint.latest() == freed {
                self.heat(s, slot)?;
            } else if is_new {
                self.cool();
            }
        } else if !refills() {
            // What empties is left to empty: its slab may go back to the free pages.
        } else if self.freed_later.len() < MOST_LATER {
            self.freed_later.push(freed);
            // The next transaction fills it: its lines come while this one goes on.
            slot.prefetch(s);
        }
        if !listed {
            return self.link(s, slot.slab, shape);
        }
        if (left == 0 || word + 1 == shape.words) && !is_only_one(s, slot.slab)? {
            return self.drop_if_empty(s, slot.slab, shape);
        }
        Ok(())
    }

    /// Leaves a slab of a class to empty, the last one that this handle knows of, if the class has enough of them; whether it does.
    #[cold]
    #[inline(never)]
    fn leave_to_empty<S: Space>(&mut self, s: &S, slab: Page, class: usize) -> Result<bool> {
        let (_, count) = halves(s.load(self.header.class_at(class))?);
        let enough = count >= ENOUGH_SLABS;
        let hint = self.slabs.of(class);
        if enough {
            hint.forget(slab);
        }
        hint.emptying = if enough { slab } else { Page::MAX };
        self.cool();
        Ok(enough)
    }

    /// Gives a listed slab back if it is empty.
    #[inline(never)]
    fn drop_if_empty<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        if is_empty(s, slab, shape)? { self.drop_slab(s, slab, shape) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn drop_slab<S: Space>(&mut self, s: &mut S, slab: Page, shape: &Shape) -> Result<()> {
        s.runs_change()?;
        let class = shape.class();
        if self.header.end(s)?.checked_sub(shape.pages).is_none_or(|last| slab > last) {
            return Err(Error::corrupt(page_offset(slab), "a slab reaches past the heap's end"));
        }
        self.slabs.of(class).forget(slab);
        self.freed_later.retain(|word| word.slab != slab);
        self.recent = RecentSlab::NONE;
        self.cool();
        self.unlink(s, slab, shape)?;
        let class_at = self.header.class_at(class);
        let (first, count) = halves(s.load(class_at)?);
        let Some(count) = count.checked_sub(1) else {
            return Err(Error::corrupt(class_at, "the count of a class's slabs is wrong"));
        };
        s.store(class_at, word_of(first, count))?;
        for page in slab..slab + shape.pages {
            self.header.set_entry(s, page, 0)?;
        }
        self.give_run(s, slab, shape.pages, shape.header_bytes())
    }

    /// Notes the slab in which a block was found by the page map.
    #[inline(always)]
    pub(super) fn note_slab(&mut self, slot: &Slot) {
        self.recent = RecentSlab::new(slot.slab, slot.shape);
    }

    /// Gives the block in a slot another length, if the slot is right for it, or long enough where it is to `stay`.
    pub(super) fn resize_slot<S: Space>(
        &self,
        s: &mut S,
        slot: Slot,
        states: u64,
        len: u64,
        stay: bool,
    ) -> Result<bool> {
        let block = slot.block(slot.state_in(states))?;
        if len > block.capacity || block.is_worth_moving(len) && !stay {
            return Ok(false);
        }
        if len != block.len {
            let state = 1 + block.capacity - len;
            s.store_states(slot.state_at(), slot.with_state(states, slot.state_in(states), state))?;
        }
        Ok(true)
    }
}
