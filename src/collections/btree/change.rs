//! What happens to one node: a value of the same length, an entry in or out with the others staying where they are, or its entries in two nodes.

#![forbid(unsafe_code)]

use super::image::{Image, Piece, need};
use super::node::{
    FRONT, Front, INLINE_KEY, INLINE_VALUE, NODE_MAX, Node, Slot, common, head_of, place, slots,
};
use super::tree::{New, Tree};
use crate::error::{Error, Result};
use crate::txn::{Located, View, WriteTxn};

/// A change within a node that leaves all other entries where they are.
#[derive(Debug)]
pub(super) struct Change {
    /// Where the entry starts, and its length in `bytes`; slots follow there.
    entry_at: usize,
    entry_len: usize,
    slots_at: usize,
    bytes: Vec<u8>,
    front: Front,
}

impl Change {
    /// What a node needs at least to take the entry too, the others staying where they are.
    pub(super) fn need<S: View + ?Sized>(node: &Node<'_, S>, piece: &Piece<'_>, instead: bool) -> usize {
        let used = place(node.len - node.front.low, piece.stored_key.len(), piece.stored_value.len());
        FRONT + 8 * (node.count() + usize::from(!instead)) + used
    }

    /// Puts an entry at `i` of the node, once it has `len` bytes; `None` if it has to be written anew for it.
    pub(super) fn put<S: View + ?Sized>(
        node: &Node<'_, S>,
        len: usize,
        i: usize,
        piece: &Piece<'_>,
        instead: bool,
    ) -> Result<Option<Self>> {
        let (mut front, count) = (node.front, node.count());
        let (key, value) = (piece.stored_key, piece.stored_value);
        if Self::need(node, piece, instead) > len {
            return Ok(None);
        }
        if front.prefix > 0 && !instead {
            // An inner node that is left with one child has no key that has the prefix.
            let last = node.key(count - 1)?;
            match (piece.key.get(..front.prefix), last.get(..front.prefix)) {
                (Some(new), Some(old)) if new == old => {}
                _ => return Ok(None),
            }
        }
        let at = len - place(node.len - front.low, key.len(), value.len());
        let slot = Slot::new(head_of(piece.key, front.prefix), piece.flags, at, key.len(), value.len());
        let (entry_len, behind) =
            (value.len() + key.len(), if instead { &[][..] } else { node.slots_from(i)? });
        let mut bytes = Vec::with_capacity(entry_len + 8 + behind.len());
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&slot.0.to_le_bytes());
        if instead {
            let old = node.slot(i)?;
            front.holes += old.key_len() + old.value_len();
        } else {
            let more = len - node.len;
            for slot in slots(behind) {
                bytes.extend_from_slice(&slot.moved(more).0.to_le_bytes());
            }
            front.count += 1;
        }
        front.low = at;
        if front.holes > len - front.low {
            return Err(node.corrupt("the entries of a node overlap"));
        }
        Ok(Some(Self { entry_at: at, entry_len, slots_at: FRONT + 8 * i, bytes, front }))
    }

    /// Takes entry `i` out.
    pub(super) fn take<S: View + ?Sized>(node: &Node<'_, S>, i: usize) -> Result<Self> {
        let mut front = node.front;
        let old = node.slot(i)?;
        let len = old.key_len() + old.value_len();
        if old.at() == front.low {
            front.low = (front.low + len).min(node.len);
        } else {
            front.holes += len;
        }
        if front.holes > node.len - front.low {
            return Err(node.corrupt("the entries of a node overlap"));
        }
        front.count -= 1;
        let bytes = node.slots_from(i + 1)?.to_vec();
        Ok(Self { entry_at: 0, entry_len: 0, slots_at: FRONT + 8 * i, bytes, front })
    }

    /// The pieces to be written, and where in the node.
    pub(super) fn each_write(&self, mut write: impl FnMut(usize, &[u8])) {
        let (entry, slots) = self.bytes.split_at(self.entry_len);
        write(self.entry_at, entry);
        write(self.slots_at, slots);
        write(0, &self.front.to_bytes());
    }

    pub(super) fn write(&self, tx: &mut WriteTxn<'_>, node: Located) -> Result<()> {
        let mut outcome = Ok(());
        self.each_write(|at, bytes| {
            if outcome.is_ok() && !bytes.is_empty() {
                outcome = tx.write_in(node, at as u64, bytes);
            }
        });
        outcome
    }
}

/// A change that the leaf of its key has room for.
pub(super) enum InPlace<'a> {
    /// Another value of the same length.
    Value { leaf: Located, at: u64, bytes: &'a [u8] },
    /// One entry more.
    Entry { leaf: Located, change: Change },
}

impl<'a> InPlace<'a> {
    /// What makes an entry of these in the leaf in which a search for the key ended so, if that is all that has to change.
    #[inline]
    pub(super) fn find<S: View + ?Sized>(
        leaf: &Node<'_, S>,
        found: Result<usize, usize>,
        key: &[u8],
        value: New<'a>,
    ) -> Result<Option<Self>> {
        let New::Bytes(bytes) = value else { return Ok(None) };
        match found {
            Ok(i) => {
                let slot = leaf.slot(i)?;
                let fits = !slot.has_long_value() && bytes.len() == slot.value_len();
                Ok(fits.then(|| Self::Value { leaf: leaf.located(), at: slot.at() as u64, bytes }))
            }
            Err(i) if bytes.len() <= INLINE_VALUE && key.len() <= INLINE_KEY => {
                let piece = Piece { key, stored_key: key, stored_value: bytes, flags: 0 };
                let change = Change::put(leaf, leaf.len, i, &piece, false)?;
                Ok(change.map(|change| Self::Entry { leaf: leaf.located(), change }))
            }
            Err(_) => Ok(None),
        }
    }
}

/// A node's entries in two nodes.
pub(super) struct Split {
    pub(super) left: Image,
    pub(super) right: Image,
    /// Not above any key on the right, above all on the left.
    pub(super) separator: Vec<u8>,
    /// Where the separator lies already, if it is long and was an inner node's.
    pub(super) moved: Option<[u8; 8]>,
}

impl Split {
    /// `new`: index of the entry for whose sake the node is split.
    pub(super) fn new(tree: Tree, level: usize, all: &[Piece<'_>], new: usize) -> Result<Self> {
        let middle = Self::place(all, new);
        let (left, right) = all.split_at(middle);
        let ([.., before], [after, ..]) = (left, right) else {
            return Err(Error::corrupt(tree.0, "a node of an ordered map cannot be split"));
        };
        if level == 0 {
            let separator = after.key[..(common(before.key, after.key) + 1).min(after.key.len())].to_vec();
            return Ok(Self {
                left: tree.image(level, left)?,
                right: tree.image(level, right)?,
                separator,
                moved: None,
            });
        }
        let moved = if after.flags & Slot::LONG_KEY != 0 { after.stored_key.try_into().ok() } else { None };
        let mut right = right.to_vec();
        right[0] = Piece { key: &[], stored_key: &[], flags: 0, ..right[0] };
        Ok(Self {
            left: tree.image(level, left)?,
            right: tree.image(level, &right)?,
            separator: after.key.to_vec(),
            moved,
        })
    }

    /// Where to cut: in the middle, but entries that come in order fill their nodes. What a node held may need more in another order, for
    /// padding, so whatever is chosen has to fit.
    fn place(all: &[Piece<'_>], new: usize) -> usize {
        let fits = |i: &usize| need(&all[..*i]) <= NODE_MAX && need(&all[*i..]) <= NODE_MAX;
        let in_order = if new + 1 == all.len() { Some(new) } else { (new == 0).then_some(1) };
        if let Some(i) = in_order.filter(fits) {
            return i;
        }
        let total: usize = all.iter().map(Piece::room).sum();
        let mut sum = 0usize;
        let mut cuts: Vec<(usize, usize)> = Vec::with_capacity(all.len());
        for (i, piece) in all.iter().enumerate() {
            cuts.push((sum.abs_diff(total - sum), i));
            sum += piece.room();
        }
        cuts.sort_unstable();
        cuts.into_iter().map(|(_, i)| i).find(|i| *i > 0 && fits(i)).unwrap_or(0)
    }
}
