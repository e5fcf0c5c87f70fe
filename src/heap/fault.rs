//! Why an offset is refused: the search, done only then, for what lies there.

use super::header::Header;
use super::map::{BLOCK, LOG, NODES, Run, SLAB, kind};
use super::slab::Slot;
use super::space::Load;
use super::tree::Tree;
use crate::error::{Error, OffsetFault, Result};
use crate::layout::{PAGE, Page, page_offset};

/// How many pages are searched backwards for the run that a page belongs to.
const SEARCHED: u32 = 1 << 20;

impl Header {
    /// The error for an offset at which no block starts.
    #[cold]
    #[inline(never)]
    pub(super) fn fault<L: Load>(self, l: &L, offset: u64) -> Error {
        match self.find_fault(l, offset) {
            Ok(fault) => Error::bad_offset(offset, fault),
            Err(error) => error,
        }
    }

    fn find_fault<L: Load>(self, l: &L, offset: u64) -> Result<OffsetFault> {
        let (first, end) = (self.first, self.end(l)?);
        if offset == 0 {
            return Ok(OffsetFault::Null);
        }
        if offset < page_offset(first) || offset >= page_offset(end) {
            return Ok(OffsetFault::OutOfRange);
        }
        let page = (offset / PAGE) as Page;
        let entry = self.entry(l, page)?;
        Ok(match kind(entry) {
            0 => self.fault_in_body(l, page)?,
            BLOCK if !offset.is_multiple_of(PAGE) => OffsetFault::InsideBlock,
            BLOCK => return Err(self.block_fault(l, page, entry)?),
            SLAB => {
                let (slab, shape) = self.slab_of(entry, page)?;
                let at = (offset - page_offset(slab)) as u32;
                match shape.slot_around(at) {
                    None if at < shape.start => OffsetFault::Metadata,
                    None => OffsetFault::NotAllocated,
                    Some(index) => {
                        let slot = Slot { slab, shape, index };
                        match slot.state_in(l.load(slot.state_at())?) {
                            0 => OffsetFault::NotAllocated,
                            // At the block's start this ends in the error that brought us here.
                            state if slot.block(state)?.offset == offset => return Err(unstable(offset)),
                            _ => OffsetFault::InsideBlock,
                        }
                    }
                }
            }
            NODES..=LOG => OffsetFault::Metadata,
            _ => {
                let at = self.entry_at(l, page)?;
                return Err(Error::corrupt(at, "the page map has a word of unknown kind"));
            }
        })
    }

    /// What is wrong with the entry of a block.
    fn block_fault<L: Load>(self, l: &L, page: Page, entry: u64) -> Result<Error> {
        let at = self.entry_at(l, page)?;
        Ok(match Run::of(entry) {
            None => Error::corrupt(at, "the page map's word of a block contradicts itself"),
            Some(run) if u64::from(page) + u64::from(run.pages) > u64::from(self.end(l)?) => {
                Error::corrupt(at, "a block reaches past the heap's end")
            }
            Some(_) => unstable(page_offset(page)),
        })
    }

    /// For a page without an entry: is it free, or in which run is it?
    fn fault_in_body<L: Load>(self, l: &L, page: Page) -> Result<OffsetFault> {
        let (before, _) = Tree::open(self, l)?.around(l, page)?;
        // In a free extent, this is past the page, and there is nothing to search.
        let used_from = before.map_or(self.first, |free| free.end());
        let from = used_from.max(page.saturating_sub(SEARCHED));
        for head in (from..page).rev() {
            let entry = self.entry(l, head)?;
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

/// A block that was not found the first time, and found while the reason was sought.
fn unstable(offset: u64) -> Error {
    Error::corrupt(offset, "the heap changed while it was read")
}
