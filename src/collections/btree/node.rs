//! Nodes of a B+ tree as a transaction sees them: layout, checks, search.
//!
//! A node is a block of a multiple of 64 bytes, 4096 at most, that holds its entries sorted by key. Slots grow from the front, what they lead to from
//! the back:
//!
//! ```text
//! 0      u8   mark 0xB7
//! 1      u8   level: 0 in leaves, otherwise one more than the children's
//! 2      u16  count of entries, at least 1
//! 4      u16  low: where the lowest entry starts
//! 6      u16  holes: bytes above low that belong to no entry any more
//! 8      u16  prefix: leading bytes that all keys have in common
//! 10     zeros
//! 16     u64  slots, one for each entry
//!             bits 63-32  head: the four bytes of the key behind the prefix, big-endian, filled up with zeros
//!             bit  31     the key lies in a block of its own
//!             bit  30     the value lies in a block of its own
//!             bits 29-20  where the entry starts, divided by 4
//!             bits 19-10  length of the key as stored here
//!             bits 9-0    length of the value as stored here
//! low         entries: value, then key
//! ```
//!
//! Of what lies in a block of its own the offset is stored here, 8 bytes. An entry starts at a multiple of the largest power of two that divides the
//! value's length, but of at least 4 and at most 16, so that a plain value can be borrowed. In inner nodes the value is the child's offset; the first entry's
//! key is empty and stands for everything below the second's; the others are separators: not above any key in their child, and
//! above all keys in the child before.
//!
//! A search compares heads, which lie side by side, and then one or two keys. Invariants that reading does not rely on for safety, only for
//! right answers: order of the keys, prefix and heads. `check` verifies them.

#![forbid(unsafe_code)]

use super::route::lower_bound;
use crate::collections::{Place, shape};
use crate::error::{Error, OffsetFault, Result};
use crate::offset::Offset;
use crate::txn::{InBlock, Located, View};

pub(super) const MARK: u8 = 0xB7;
/// Length of the longest node.
pub(super) const NODE_MAX: usize = 4096;
/// Alignment of nodes, and what their lengths are multiples of.
pub(super) const NODE_ALIGN: usize = 64;
/// Bytes in front of the slots.
pub(super) const FRONT: usize = 16;
/// Longer keys get a block of their own.
pub(super) const INLINE_KEY: usize = 511;
/// Longer values get a block of their own.
pub(super) const INLINE_VALUE: usize = 1023;

/// A slot of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u64);

impl Slot {
    pub(super) const LONG_KEY: u64 = 1 << 31;
    pub(super) const LONG_VALUE: u64 = 1 << 30;

    #[inline]
    pub(super) fn new(head: u32, flags: u64, at: usize, key_len: usize, value_len: usize) -> Self {
        Self(
            u64::from(head) << 32 | flags | (at as u64 / 4) << 20 | (key_len as u64) << 10 | value_len as u64,
        )
    }

    #[inline]
    pub(super) fn at(self) -> usize {
        ((self.0 >> 20) & 0x3FF) as usize * 4
    }

    #[inline]
    pub(super) fn key_len(self) -> usize {
        ((self.0 >> 10) & 0x3FF) as usize
    }

    #[inline]
    pub(super) fn value_len(self) -> usize {
        (self.0 & 0x3FF) as usize
    }

    #[inline]
    pub(super) fn has_long_key(self) -> bool {
        self.0 & Self::LONG_KEY != 0
    }

    #[inline]
    pub(super) fn has_long_value(self) -> bool {
        self.0 & Self::LONG_VALUE != 0
    }

    /// The slot of the same entry `more` bytes, a multiple of 4, further on.
    #[inline]
    pub(super) fn moved(self, more: usize) -> Self {
        let at = ((self.at() + more) as u64 / 4) & 0x3FF;
        Self(self.0 & !(0x3FF << 20) | at << 20)
    }

    #[inline]
    pub(super) fn with_head(self, head: u32) -> Self {
        Self(self.0 & 0xFFFF_FFFF | u64::from(head) << 32)
    }
}

/// The head of a key in a node with that prefix.
#[inline]
pub(super) fn head_of(key: &[u8], prefix: usize) -> u32 {
    let rest = key.get(prefix..).unwrap_or(&[]);
    if let Some(four) = rest.first_chunk::<4>() {
        return u32::from_be_bytes(*four);
    }
    let mut four = [0; 4];
    four[..rest.len()].copy_from_slice(rest);
    u32::from_be_bytes(four)
}

/// How many leading bytes two keys have in common.
#[inline]
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Where an entry starts, counted from the node's end, if the one before starts at `used`.
#[inline]
pub(super) fn place(used: usize, key_len: usize, value_len: usize) -> usize {
    let align = 1 << value_len.trailing_zeros().clamp(2, 4);
    // An empty entry takes room too: where it starts has to be below the node's end.
    (used + key_len + value_len).max(4).next_multiple_of(align)
}

/// Bytes that a node needs, padding and all, for entries with keys and values of these lengths, as they are stored.
#[inline]
pub(super) fn need(lengths: impl ExactSizeIterator<Item = (usize, usize)>) -> usize {
    let slots = 8 * lengths.len();
    FRONT + slots + lengths.fold(0, |used, (key_len, value_len)| place(used, key_len, value_len))
}

/// The slots that these bytes are.
#[inline]
pub(super) fn slots(bytes: &[u8]) -> impl ExactSizeIterator<Item = Slot> {
    bytes.as_chunks().0.iter().map(|slot| Slot(u64::from_le_bytes(*slot)))
}

/// The 16 bytes in front of a node's slots, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    pub(super) level: u8,
    pub(super) count: usize,
    pub(super) low: usize,
    pub(super) holes: usize,
    pub(super) prefix: usize,
}

impl Front {
    pub(super) fn to_bytes(self) -> [u8; FRONT] {
        let mut bytes = [0; FRONT];
        bytes[0] = MARK;
        bytes[1] = self.level;
        for (at, word) in [(2, self.count), (4, self.low), (6, self.holes), (8, self.prefix)] {
            bytes[at..at + 2].copy_from_slice(&(word as u16).to_le_bytes());
        }
        bytes
    }

    /// Bytes that a node with these entries needs at most: the padding of entries that are gone counts. [`Node::need`] tells exactly.
    pub(super) fn used(&self, len: usize) -> usize {
        FRONT + 8 * self.count + (len - self.low - self.holes)
    }
}

/// Of an ordered map; see [`shape::own`].
pub(super) fn own<T>(result: Result<T>, offset: u64) -> Result<T> {
    shape::own(result, offset, "an ordered map leads to something that is no part of it")
}

/// A node in a transaction.
#[derive(Debug)]
pub(super) struct Node<'t, S: ?Sized> {
    tx: &'t S,
    pub(super) at: u64,
    pub(super) len: usize,
    pub(super) front: Front,
    /// All of the node where that costs nothing. A write transaction may have to put changed bytes together, so there only
    /// the pieces that are needed are read.
    whole: Option<&'t [u8]>,
}

impl<S: ?Sized> Clone for Node<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: ?Sized> Copy for Node<'_, S> {}

impl<'t, S: View + ?Sized> Node<'t, S> {
    /// The node at `at`, which has to be of that level.
    #[inline(always)]
    pub(super) fn open(tx: &'t S, at: u64, level: u8) -> Result<Self> {
        Self::open_as(tx, at, level, |len| tx.is_piecewise(at, len))
    }

    /// As [`open`](Self::open), for who is going to read most of the node.
    pub(super) fn open_whole(tx: &'t S, at: u64, level: u8) -> Result<Self> {
        Self::open_as(tx, at, level, |_| false)
    }

    #[inline(always)]
    fn open_as(tx: &'t S, at: u64, level: u8, is_piecewise: impl FnOnce(u64) -> bool) -> Result<Self> {
        let block = own(tx.block(at), at)?;
        let len = block.len as usize;
        if block.len > NODE_MAX as u64 || !len.is_multiple_of(NODE_ALIGN) || len == 0 {
            return Err(Error::corrupt(at, "an ordered map leads to a block that is no node"));
        }
        let (bytes, whole) = if is_piecewise(block.len) {
            (tx.bytes_at(at, FRONT as u64)?, None)
        } else {
            let bytes = tx.bytes_at(at, block.len)?;
            (bytes, Some(bytes))
        };
        let front = Self::check_front(at, len, bytes, level)?;
        Ok(Self { tx, at, len, front, whole })
    }

    #[inline(always)]
    fn check_front(at: u64, len: usize, bytes: &[u8], level: u8) -> Result<Front> {
        let Some(bytes) = bytes.first_chunk::<FRONT>() else {
            return Err(Error::corrupt(at, "a node of an ordered map is too short"));
        };
        let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let front = Front { level, count: word(2), low: word(4), holes: word(6), prefix: word(8) };
        if bytes[0] != MARK || bytes[1] != level {
            return Err(Error::corrupt(at, "an ordered map leads to a block that is no node of that level"));
        }
        let fits = FRONT + 8 * front.count <= front.low && front.low <= len && front.holes <= len - front.low;
        if front.count == 0 || !fits {
            return Err(Error::corrupt(at, "a node of an ordered map has more entries than room"));
        }
        Ok(front)
    }

    #[inline]
    fn piece(&self, start: usize, end: usize) -> Result<&'t [u8]> {
        if let Some(whole) = self.whole {
            return whole.get(start..end).ok_or_else(|| self.corrupt("an entry reaches outside its node"));
        }
        if start > end || end > self.len {
            return Err(self.corrupt("an entry reaches outside its node"));
        }
        self.tx.bytes_at(self.at + start as u64, (end - start) as u64)
    }

    /// The node's block, as it was looked up.
    pub(super) fn located(&self) -> Located {
        Located { offset: self.at, len: self.len as u64 }
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> Result<&'t [u8]> {
        self.piece(0, self.len)
    }

    /// The slots from entry `i` on.
    pub(super) fn slots_from(&self, i: usize) -> Result<&'t [u8]> {
        self.piece(FRONT + 8 * i.min(self.count()), FRONT + 8 * self.count())
    }

    /// Bytes that a node with these entries needs. A look at each slot.
    pub(super) fn need(&self) -> Result<usize> {
        Ok(need(slots(self.slots_from(0)?).map(|slot| (slot.key_len(), slot.value_len()))))
    }

    #[cold]
    pub(super) fn corrupt(&self, what: &'static str) -> Error {
        Error::corrupt(self.at, what)
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.front.count
    }

    /// The slot of entry `i`.
    #[inline]
    pub(super) fn slot(&self, i: usize) -> Result<Slot> {
        if i >= self.count() {
            return Err(self.corrupt("a node has fewer entries than another one relies on"));
        }
        self.word(i).map(Slot)
    }

    /// The slot of entry `i`, which is less than the count.
    #[inline]
    fn word(&self, i: usize) -> Result<u64> {
        let at = FRONT + 8 * i;
        match self.whole {
            Some(whole) => match whole[at..].first_chunk() {
                Some(bytes) => Ok(u64::from_le_bytes(*bytes)),
                None => Err(self.corrupt("a slot reaches outside its node")),
            },
            None => self.tx.word_in_block(self.at + at as u64),
        }
    }

    /// The key of entry `i` as it is stored in the node.
    #[inline]
    pub(super) fn stored_key(&self, i: usize) -> Result<&'t [u8]> {
        let slot = self.slot(i)?;
        let start = slot.at() + slot.value_len();
        self.piece(start, start + slot.key_len())
    }

    /// The value of entry `i` as it is stored in the node.
    #[inline]
    pub(super) fn stored_value(&self, i: usize) -> Result<&'t [u8]> {
        let slot = self.slot(i)?;
        self.piece(slot.at(), slot.at() + slot.value_len())
    }

    /// The key of entry `i`.
    #[inline(always)]
    pub(super) fn key(&self, i: usize) -> Result<&'t [u8]> {
        let stored = self.stored_key(i)?;
        if self.slot(i)?.has_long_key() { self.long(stored) } else { Ok(stored) }
    }

    /// The value of entry `i`.
    #[inline]
    pub(super) fn value(&self, i: usize) -> Result<&'t [u8]> {
        let stored = self.stored_value(i)?;
        if self.slot(i)?.has_long_value() { self.long(stored) } else { Ok(stored) }
    }

    /// Where the value of entry `i` lies: its block, the first byte in it, its length.
    pub(super) fn value_place(&self, i: usize) -> Result<Place> {
        let (block, range) = self.value_range(i)?;
        Ok((Offset::from_raw(block.offset), range.start, range.end - range.start))
    }

    /// The same, with the block as it was looked up.
    #[inline]
    pub(super) fn value_range(&self, i: usize) -> Result<InBlock> {
        let slot = self.slot(i)?;
        if slot.has_long_value() {
            let block = self.block(self.stored_value(i)?)?;
            let block = own(self.tx.block(block.raw()), self.at)?;
            return Ok((block, 0..block.len));
        }
        Ok((self.located(), slot.at() as u64..(slot.at() + slot.value_len()) as u64))
    }

    /// The block that a stored key or value leads to.
    pub(super) fn block(&self, stored: &[u8]) -> Result<Offset<[u8]>> {
        match stored.try_into() {
            Ok(bytes) => Ok(Offset::from_raw(u64::from_le_bytes(bytes))),
            Err(_) => Err(self.corrupt("an entry of an ordered map has an offset of another length")),
        }
    }

    #[cold]
    fn long(&self, stored: &[u8]) -> Result<&'t [u8]> {
        let block = self.block(stored)?;
        own(self.tx.bytes(block), self.at)
    }

    /// The child that entry `i` leads to.
    #[inline]
    pub(super) fn child(&self, i: usize) -> Result<u64> {
        Ok(self.block(self.stored_value(i)?)?.raw())
    }

    /// The first entry that has a key.
    #[inline]
    fn first_keyed(&self) -> usize {
        usize::from(self.front.level > 0)
    }

    /// Index of the entry with that key, or where it belongs.
    #[inline]
    pub(super) fn search(&self, key: &[u8]) -> Result<Result<usize, usize>> {
        let (first, prefix) = (self.first_keyed(), self.front.prefix);
        if first >= self.count() {
            return Ok(Err(first));
        }
        let found = self.search_heads(first, key)?;
        if found.is_ok() || prefix == 0 {
            return Ok(found);
        }
        // Where a key belongs that has another prefix, the heads do not tell.
        let have = self.key(self.count() - 1)?;
        let have =
            have.get(..prefix).ok_or_else(|| self.corrupt("a key is shorter than its node's prefix"))?;
        Ok(match key[..key.len().min(prefix)].cmp(have) {
            std::cmp::Ordering::Less => Err(first),
            std::cmp::Ordering::Greater => Err(self.count()),
            std::cmp::Ordering::Equal => found,
        })
    }

    /// The entry with that key, if there is one: as [`search`](Self::search), but what does not begin with the prefix is not found by its head either.
    #[inline(always)]
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.search_heads(self.first_keyed().min(self.count()), key)?.ok())
    }

    /// Index of the entry with that key, or where it belongs if it has the node's prefix, among the entries from `first` on.
    #[inline(always)]
    fn search_heads(&self, first: usize, key: &[u8]) -> Result<Result<usize, usize>> {
        let head = head_of(key, self.front.prefix);
        let least = u64::from(head) << 32;
        let mut low = match self.whole.and_then(|whole| whole.get(FRONT..FRONT + 8 * self.count())) {
            Some(slots) => {
                let slots = slots.as_chunks().0;
                lower_bound(first, self.count(), least, |i| {
                    slots.get(i).map(|slot| u64::from_le_bytes(*slot))
                })
            }
            None => lower_bound(first, self.count(), least, |i| self.word(i).ok()),
        }
        .ok_or_else(|| self.corrupt("a slot reaches outside its node"))?;
        let mut high = low;
        while high < self.count() && (self.word(high)? >> 32) as u32 == head {
            high += 1;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle)?.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Ok(middle)),
            }
        }
        Ok(Err(low))
    }

    /// Index of the child under which `key` belongs.
    #[inline]
    pub(super) fn route(&self, key: &[u8]) -> Result<usize> {
        Ok(match self.search(key)? {
            Ok(i) => i,
            Err(i) => i - 1,
        })
    }
}

/// The error for a handle that leads to no ordered map.
#[cold]
pub(super) fn no_map(at: u64) -> Error {
    if at == 0 {
        return Error::bad_offset(0, OffsetFault::Null);
    }
    Error::corrupt(at, "there is no ordered map here: is the handle of another collection?")
}
