//! Building nodes: entries in order, laid out in a buffer, ready to be written in one go.

#![forbid(unsafe_code)]

use super::change::Change;
use super::node::{
    self, FRONT, Front, INLINE_KEY, NODE_ALIGN, NODE_MAX, Node, Slot, common, head_of, own, place, slots,
};
use crate::collections::blocks::Blocks;
use crate::error::Result;
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};

/// An entry on its way into a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// The key.
    pub(super) key: &'a [u8],
    /// What is stored of it: itself or the offset of its block.
    pub(super) stored_key: &'a [u8],
    pub(super) stored_value: &'a [u8],
    /// [`Slot::LONG_KEY`], [`Slot::LONG_VALUE`].
    pub(super) flags: u64,
}

impl Piece<'_> {
    /// Bytes that the entry takes, slot and all, not counting padding.
    pub(super) fn room(&self) -> usize {
        8 + self.stored_key.len() + self.stored_value.len()
    }
}

/// Length of the node for entries that need so much: the heap's size classes that are multiples of [`NODE_ALIGN`], eight to each doubling, so that on
/// average a twentieth of a node is empty.
pub(super) fn length_for(need: usize) -> usize {
    length_in_steps(need, 8)
}

/// Length of the block that a node of one entry more moves to: in half as many steps, so that it moves half as often, and an eleventh of a node is
/// empty on average.
pub(super) fn roomy_length_for(need: usize) -> usize {
    length_in_steps(need, 4)
}

/// The next length, of which there are so many to each doubling.
fn length_in_steps(need: usize, steps: usize) -> usize {
    if need <= 128 {
        return 128;
    }
    let step = (1 << (need - 1).ilog2()) / steps;
    need.next_multiple_of(step.max(NODE_ALIGN))
}

/// What the entries need, padding and all.
pub(super) fn need(pieces: &[Piece<'_>]) -> usize {
    node::need(pieces.iter().map(|piece| (piece.stored_key.len(), piece.stored_value.len())))
}

/// All entries of a node.
pub(super) fn pieces<'t, S: View + ?Sized>(node: &Node<'t, S>) -> Result<Vec<Piece<'t>>> {
    let mut all = Vec::with_capacity(node.count() + 1);
    for i in 0..node.count() {
        all.push(piece(node, i)?);
    }
    Ok(all)
}

pub(super) fn piece<'t, S: View + ?Sized>(node: &Node<'t, S>, i: usize) -> Result<Piece<'t>> {
    Ok(Piece {
        key: node.key(i)?,
        stored_key: node.stored_key(i)?,
        stored_value: node.stored_value(i)?,
        flags: node.slot(i)?.0 & (Slot::LONG_KEY | Slot::LONG_VALUE),
    })
}

/// A node in memory.
pub(super) struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// A node of `len` bytes, which the entries have to fit in. `None` if they do not: their lengths came from a damaged file.
    pub(super) fn new(level: u8, len: usize, pieces: &[Piece<'_>]) -> Option<Self> {
        if len > NODE_MAX {
            return None;
        }
        let mut bytes = vec![0; len];
        let keyed = pieces.get(usize::from(level > 0)..).unwrap_or(&[]);
        let prefix = match keyed {
            [first, .., last] => common(first.key, last.key).min(INLINE_KEY),
            _ => 0,
        };
        let mut used = 0;
        for (i, piece) in pieces.iter().enumerate() {
            let (key, value) = (piece.stored_key, piece.stored_value);
            used = place(used, key.len(), value.len());
            let at = len.checked_sub(used).filter(|&at| at >= FRONT + 8 * pieces.len())?;
            bytes[at..at + value.len()].copy_from_slice(value);
            bytes[at + value.len()..at + value.len() + key.len()].copy_from_slice(key);
            let head = if level > 0 && i == 0 { 0 } else { head_of(piece.key, prefix) };
            let slot = Slot::new(head, piece.flags, at, key.len(), value.len());
            bytes[FRONT + 8 * i..FRONT + 8 * i + 8].copy_from_slice(&slot.0.to_le_bytes());
        }
        let front = Front { level, count: pieces.len(), low: len - used, holes: 0, prefix };
        bytes[..FRONT].copy_from_slice(&front.to_bytes());
        Some(Self { bytes })
    }

    /// A node as it is, but longer: the entries move to the end.
    pub(super) fn grown<S: View + ?Sized>(node: &Node<'_, S>, len: usize) -> Result<Self> {
        let (old, low) = (node.bytes()?, node.front.low);
        let more = len.checked_sub(node.len).filter(|_| len <= NODE_MAX);
        let more = more.ok_or_else(|| node.corrupt("a node of an ordered map is longer than nodes are"))?;
        let mut bytes = vec![0; len];
        bytes[low + more..].copy_from_slice(&old[low..]);
        let end = FRONT + 8 * node.count();
        for (new, slot) in bytes[FRONT..end].chunks_exact_mut(8).zip(slots(&old[FRONT..end])) {
            new.copy_from_slice(&slot.moved(more).0.to_le_bytes());
        }
        let front = Front { low: low + more, ..node.front };
        bytes[..FRONT].copy_from_slice(&front.to_bytes());
        Ok(Self { bytes })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Makes a change in it.
    pub(super) fn apply(&mut self, change: &Change) {
        change.each_write(|at, bytes| self.bytes[at..at + bytes.len()].copy_from_slice(bytes));
    }

    /// Writes the node to a new block.
    pub(super) fn alloc(&self, tx: &mut WriteTxn<'_>) -> Result<u64> {
        let block = tx.alloc_copy(&self.bytes, NODE_ALIGN)?;
        Ok(block.raw())
    }

    /// Writes the node to a new block, together with others.
    pub(super) fn alloc_in(&self, blocks: &mut Blocks, tx: &mut WriteTxn<'_>) -> Result<u64> {
        let (block, content) = blocks.alloc(tx, self.len() as u64, NODE_ALIGN)?;
        content.extend_from_slice(&self.bytes);
        Ok(block.raw())
    }

    /// Overwrites a node of the same length.
    pub(super) fn write(&self, tx: &mut WriteTxn<'_>, at: u64) -> Result<()> {
        own(tx.write_at(Offset::from_raw(at), 0, &self.bytes), at)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("len", &self.len()).finish_non_exhaustive()
    }
}
