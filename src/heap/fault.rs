//! Why an offset is refused: the search, done only then, for what lies there.

use super::Heap;
use super::map::{BLOCK, HEADER, NODES, SLAB, kind};
use super::slab::Slot;
use super::space::Load;
use super::tree::Tree;
use crate::error::{Error, OffsetFault, Result};
use crate::layout::{PAGE, Page, page_offset};

/// How many pages are searched backwards for the run that a page belongs to.
const SEARCHED: u32 = 1 << 20;

impl Heap {
    /// The error for an offset at which no block starts.
    #[cold]
    #[inline(never)]
    pub(super) fn fault<L: Load>(&self, l: &L, offset: u64) -> Error {
        match self.find_fault(l, offset) {
            Ok(fault) => Error::bad_offset(offset, fault),
            Err(error) => error,
        }
    }

    fn find_fault<L: Load>(&self, l: &L, offset: u64) -> Result<OffsetFault> {
        let (first, end) = (self.header.first, self.header.end(l)?);
        if offset == 0 {
            return Ok(OffsetFault::Null);
        }
        if offset < page_offset(first) || offset >= page_offset(end) {
            return Ok(OffsetFault::OutOfRange);
        }
        let page = (offset / PAGE) as Page;
        let entry = self.header.entry(l, page)?;
        Ok(match kind(entry) {
            0 => self.fault_in_body(l, page)?,
            BLOCK => OffsetFault::InsideBlock,
            SLAB => {
                let (slab, shape) = self.header.slab_of(entry, page)?;
                let at = (offset - page_offset(slab)) as u32;
                match shape.slot_around(at) {
                    None if at < shape.start => OffsetFault::Metadata,
                    None => OffsetFault::NotAllocated,
                    Some(index) => {
                        let slot = Slot { slab, shape, index };
                        match slot.state_in(l.load(slot.state_at())?) {
                            0 => OffsetFault::NotAllocated,
                            _ => OffsetFault::InsideBlock,
                        }
                    }
                }
            }
            NODES..=HEADER => OffsetFault::Metadata,
            _ => {
                let at = self.header.entry_at(l, page)?;
                return Err(Error::corrupt(at, "the page map has a word of unknown kind"));
            }
        })
    }

    /// For a page without an entry: is it free, or in which run is it?
    fn fault_in_body<L: Load>(&self, l: &L, page: Page) -> Result<OffsetFault> {
        let (before, _) = Tree::open(self.header, l)?.around(l, page)?;
        let used_from = before.map_or(self.header.first, |free| free.end());
        if used_from > page {
            return Ok(OffsetFault::NotAllocated);
        }
        let from = used_from.max(page.saturating_sub(SEARCHED));
        for head in (from..page).rev() {
            let entry = self.header.entry(l, head)?;
            if entry != 0 {
                // What a run no longer covers was freed in this transaction.
                let inside = u64::from(head) + (entry >> 32) > u64::from(page);
                return Ok(match kind(entry) {
                    BLOCK if inside => OffsetFault::InsideBlock,
                    SLAB | BLOCK => OffsetFault::NotAllocated,
                    _ if inside => OffsetFault::Metadata,
                    _ => OffsetFault::NotAllocated,
                });
            }
        }
        // Only a block goes on for that long.
        Ok(if from > used_from { OffsetFault::InsideBlock } else { OffsetFault::NotAllocated })
    }
}
