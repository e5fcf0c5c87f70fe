//! The word of states in which a transaction allocates and frees in turn, kept ready: what such a pair has to work out anew each time is where
//! the slots of the word lie and which of them are used in the committed state.
//!
//! Invariants: only within one transaction of more than one call, which ends with [`Heap::cool`]. The word is the one that its class would use next, so that who looks here
//! first takes the same slot as who does not. All slots of the word exist: it is not its slab's last. Its slab is in the class's list.

use super::Heap;
use super::class::Shape;
use super::slab::{Slot, free_in, is_only_one};
use super::space::Space;
use crate::error::Result;

/// The word; if there is none it has 0 bytes, and is of no class.
#[derive(Debug, Clone, Copy)]
pub(super) struct HotWord {
    /// Where it is.
    at: u64,
    /// Its first slot.
    start: u64,
    /// Bytes of all its slots.
    bytes: u64,
    class: usize,
    shape: &'static Shape,
    /// What it is in the committed state, as [`Space::used_before`] tells it.
    before: u64,
    /// Its slab is the only one in the class's list, thus stays when its last block is freed.
    may_empty: bool,
}

impl HotWord {
    pub(super) const NONE: Self =
        Self { at: 0, start: 0, bytes: 0, class: usize::MAX, shape: Shape::ANY, before: 0, may_empty: false };
}

impl Heap {
    /// Keeps the word with this slot's state ready.
    #[cold]
    #[inline(never)]
    pub(super) fn heat<S: Space>(&mut self, s: &S, slot: Slot) -> Result<()> {
        let (shape, (at, start, slots)) = (slot.shape, slot.word());
        self.hot = HotWord {
            at,
            start,
            bytes: u64::from(slots * shape.size),
            class: shape.class(),
            shape,
            before: s.used_before(at),
            may_empty: is_only_one(s, slot.slab)?,
        };
        Ok(())
    }

    /// Keeps no word ready.
    #[inline]
    pub(super) fn cool(&mut self) {
        (self.hot.bytes, self.hot.class) = (HotWord::NONE.bytes, HotWord::NONE.class);
    }

    /// Puts a block of a class into a free slot of the word, if it is of this class and has one.
    #[inline(always)]
    pub(super) fn alloc_hot<S: Space>(&mut self, s: &mut S, class: usize, len: u64) -> Result<Option<u64>> {
        let HotWord { at, start, shape, before, .. } = self.hot;
        if S::IS_ONE_CALL || self.hot.class != class {
            return Ok(None);
        }
        let states = s.load_states(at)?;
        let Some(bit) = free_in(states | before, shape) else { return Ok(None) };
        s.store_states(at, states.wrapping_add((1 + u64::from(shape.size) - len) << bit))?;
        self.in_free_place = true;
        Ok(Some(start + u64::from((bit >> shape.state_shift) * shape.size)))
    }

    /// Frees the block at `offset` if it is in the word and its slab stays; whether it was.
    #[inline(always)]
    pub(super) fn free_hot<S: Space>(&mut self, s: &mut S, offset: u64) -> Result<bool> {
        let HotWord { at, start, bytes, shape, may_empty, .. } = self.hot;
        let from = offset.wrapping_sub(start);
        if S::IS_ONE_CALL || from >= bytes {
            return Ok(false);
        }
        let Some(slot) = shape.slot_from(from as u32) else { return Ok(false) };
        let (states, bit) = (s.load_states(at)?, slot << shape.state_shift);
        let left = states & !(shape.state_mask << bit);
        if left == states || left == 0 && !may_empty {
            return Ok(false);
        }
        s.store_states(at, left)?;
        Ok(true)
    }
}
