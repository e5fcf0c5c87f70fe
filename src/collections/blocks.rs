//! Many new blocks, written together where they lie side by side: one write for dozens of them.
//!
//! The heap hands out neighbours as long as it has them. What is between the content of one block and the next one is the rest of the first one's
//! place, so both can be written in one go. Nothing of it may be read before [`Blocks::write`].

#![forbid(unsafe_code)]

use crate::error::Result;
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};

/// Bytes that are written together.
pub(super) const PIECE: usize = 64 << 10;

/// New blocks on their way into the file.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    start: u64,
    bytes: Vec<u8>,
    /// A length and an alignment, and the place that a block of these takes.
    place: ((u64, usize), u64),
}

impl Blocks {
    /// Allocates a block of up to 4096 bytes. Its content, all of it, is to be appended to what this returns.
    pub(super) fn alloc(
        &mut self,
        tx: &mut WriteTxn<'_>,
        len: u64,
        align: usize,
    ) -> Result<(Offset<[u8]>, &mut Vec<u8>)> {
        let block = tx.alloc_unset(len, align)?;
        // Where a neighbour of the last block begins: behind its place.
        let end = (self.bytes.len() as u64).next_multiple_of(self.place.1.max(1));
        if block.raw() == self.start + end && self.bytes.len() < PIECE {
            self.bytes.resize(end as usize, 0);
            return Ok((block, &mut self.bytes));
        }
        self.write(tx)?;
        if (len, align) != self.place.0 {
            self.place = ((len, align), tx.block_info(block)?.capacity);
        }
        self.start = block.raw();
        Ok((block, &mut self.bytes))
    }

    /// Writes what there is.
    pub(super) fn write(&mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        tx.write_side_by_side(Offset::from_raw(self.start), &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
