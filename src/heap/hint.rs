//! Where a class's free slots may be: what a handle remembers, so that most allocations need no search.
//!
//! Nothing of it is in the file, and nothing that is remembered is believed: a word of states that had a free slot is looked at again. Whoever finds
//! that others have changed the heap forgets it all.
//!
//! Two rules keep slabs few. A word is filled again only where most of its slots are in use. And of each class with more than a few slabs
//! the last one in the file is left to empty: what is freed there is not remembered, and found again only by a search. It goes back
//! when its last block goes, and the one before it is next. Otherwise a class would keep the slabs of the time when it had most blocks, each with a
//! few free slots.

use super::class::CLASSES;
use crate::layout::Page;
use std::collections::VecDeque;

/// Most words of state arrays that one class remembers.
const MOST_FREED: usize = 4096;

/// Where a class's free slots may be.
#[derive(Debug, Clone)]
pub(super) struct SlabHint {
    /// Words in which a slot was freed, the latest last: slots that were freed last are taken first, so that their
    /// slabs stay as full as they were, and what is touched is what was touched before.
    freed: VecDeque<FreeWord>,
    /// The word that the last search found, and where the next one begins.
    pub(super) found: FreeWord,
    /// Whether it had no free slot any more.
    pub(super) is_found_full: bool,
    /// The slab that is left to empty; 0: to be found out; [`Page::MAX`]: none, the class has too few.
    pub(super) emptying: Page,
}

/// A word of a state array.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct FreeWord {
    /// First page of the slab; 0: none.
    pub(super) slab: Page,
    pub(super) word: u16,
    /// Index into `SHAPE`.
    pub(super) shape: u16,
}

impl FreeWord {
    pub(super) const NONE: Self = Self { slab: 0, word: 0, shape: 0 };

    /// All of it, as it lies in memory.
    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.slab) | u64::from(self.word) << 32 | u64::from(self.shape) << 48
    }
}

// Each allocation and each free compares some: as one word, not field by field.
impl PartialEq for FreeWord {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl SlabHint {
    const NONE: Self =
        Self { freed: VecDeque::new(), found: FreeWord::NONE, is_found_full: true, emptying: 0 };

    /// The word that is to be used.
    #[inline(always)]
    pub(super) fn latest(&self) -> FreeWord {
        match self.freed.back() {
            Some(freed) => *freed,
            None if self.is_found_full => FreeWord::NONE,
            None => self.found,
        }
    }

    /// Forgets that word.
    #[inline(always)]
    pub(super) fn pop(&mut self) {
        if self.freed.pop_back().is_none() {
            self.is_found_full = true;
        }
    }

    /// Remembers a word in which a slot was freed, in place of the oldest if there are too many. Whether it was another one that was to be used.
    #[inline(always)]
    pub(super) fn push(&mut self, word: FreeWord) -> bool {
        if self.found == word {
            self.is_found_full = false;
            return false;
        }
        let is_another = self.freed.back() != Some(&word);
        if is_another {
            if self.freed.len() == MOST_FREED {
                self.freed.pop_front();
            }
            self.freed.push_back(word);
        }
        is_another
    }

    /// Forgets a slab, which goes or is left to empty, and has another one found that is.
    pub(super) fn forget(&mut self, slab: Page) {
        self.freed.retain(|word| word.slab != slab);
        if self.found.slab == slab {
            (self.found, self.is_found_full) = (FreeWord::NONE, true);
        }
        self.emptying = 0;
    }

    /// Forgets everything, keeps the memory.
    fn clear(&mut self) {
        self.freed.clear();
        (self.found, self.is_found_full) = (FreeWord::NONE, true);
        self.emptying = 0;
    }
}

/// Hints for all classes; nothing at first, so that a `Heap` made for one call costs nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct SlabHints(Vec<SlabHint>);

impl SlabHints {
    pub(super) const NONE: Self = Self(Vec::new());

    #[inline(always)]
    pub(super) fn of(&mut self, class: usize) -> &mut SlabHint {
        if self.0.len() < CLASSES {
            self.make();
        }
        &mut self.0[class]
    }

    #[cold]
    #[inline(never)]
    fn make(&mut self) {
        self.0.resize(CLASSES, SlabHint::NONE);
    }

    /// Forgets everything, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(SlabHint::clear);
    }
}
