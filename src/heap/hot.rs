//! The word of states in which a transaction allocates and frees in turn, kept ready: what such a pair has to work out anew each time is where
//! the slots of the word lie and which of them are used in the committed state.
//!
//! Whoever has the word at hand, because it was the last that the transaction changed, asks here first, and needs nothing else if this serves.
//!
//! Invariants: only within one transaction of more than one call, which ends with [`Heap::cool`]. The word is the one that its class would use next, so that who looks here
//! first takes the same slot as who does not. All slots of the word exist: it is not its slab's last. Its slab is in the class's list.

use super::Heap;
use super::class::{Shape, lengths_of_class};
use super::slab::{Slot, free_in, is_only_one};
use super::space::Space;
use crate::error::Result;

/// The word; if there is none it has 0 bytes, and is for no length.
#[derive(Debug, Clone, Copy)]
pub(super) struct HotWord {
    /// Where it is.
    at: u64,
    /// Its first slot.
    start: u64,
    /// Bytes of all its slots.
    bytes: u64,
    /// The least length of a block of its class, and how many lengths there are.
    least: u64,
    lengths: u64,
    shape: &'static Shape,
    /// What it is in the committed state, as [`Space::used_before`] tells it.
    before: u64,
    /// Its slab is the only one in the class's list, thus stays when its last block is freed.
    may_empty: bool,
}

impl HotWord {
    pub(super) const NONE: Self = Self {
        at: 0,
        start: 0,
        bytes: 0,
        least: 0,
        lengths: 0,
        shape: Shape::ANY,
        before: 0,
        may_empty: false,
    };
}

impl Heap {
    /// Keeps the word with this slot's state ready.
    #[cold]
    #[inline(never)]
    pub(super) fn heat<S: Space>(&mut self, s: &S, slot: Slot) -> Result<()> {
        let (shape, (at, start, slots)) = (slot.shape, slot.word());
        let (least, lengths) = lengths_of_class(shape.class());
        self.hot = HotWord {
            at,
            start,
            bytes: u64::from(slots * shape.size),
            least,
            lengths,
            shape,
            before: s.used_before(at),
            may_empty: is_only_one(s, slot.slab)?,
        };
        Ok(())
    }

    /// Keeps no word ready.
    #[inline]
    pub(super) fn cool(&mut self) {
        (self.hot.bytes, self.hot.lengths) = (HotWord::NONE.bytes, HotWord::NONE.lengths);
    }

    /// Puts a block into a free slot of the word, if it is of this class, at hand, and has one. `at_hand`: the word at an offset, if it is.
    #[inline(always)]
    pub(crate) fn alloc_hot<'w>(
        &mut self,
        len: u64,
        align: u64,
        at_hand: impl FnOnce(u64) -> Option<&'w mut u64>,
    ) -> Option<u64> {
        let HotWord { at, start, least, lengths, shape, before, .. } = self.hot;
        // To multiples of 8 every slot is right.
        if len.wrapping_sub(least) >= lengths || align > 8 {
            return None;
        }
        let states = at_hand(at)?;
        let bit = free_in(*states | before, shape)?;
        *states = states.wrapping_add((1 + u64::from(shape.size) - len) << bit);
        self.in_free_place = true;
        Some(start + u64::from((bit >> shape.state_shift) * shape.size))
    }

    /// Frees the block at `offset` if it is in the word, this is at hand, and its slab stays; whether it did.
    #[inline(always)]
    pub(crate) fn free_hot<'w>(
        &mut self,
        offset: u64,
        at_hand: impl FnOnce(u64) -> Option<&'w mut u64>,
    ) -> bool {
        let HotWord { at, start, bytes, shape, may_empty, .. } = self.hot;
        let from = offset.wrapping_sub(start);
        if from >= bytes {
            return false;
        }
        let (Some(slot), Some(states)) = (shape.slot_from(from as u32), at_hand(at)) else { return false };
        let left = *states & !(shape.state_mask << (slot << shape.state_shift));
        if left == *states || left == 0 && !may_empty {
            return false;
        }
        *states = left;
        true
    }
}
