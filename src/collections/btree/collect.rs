//! Entries collected in memory, to be sorted: bytes in one buffer, and 16 bytes for each.

#![forbid(unsafe_code)]

use super::image::Piece;
use super::node::Slot;
use super::tree::New;
use crate::offset::Offset;

/// An entry in the buffer: key, then value as a leaf stores it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collected {
    /// The first bytes of the key, big-endian, filled up with zeros.
    head: u64,
    at: u32,
    key_len: u16,
    /// With [`LONG_VALUE`].
    value_len: u16,
}

/// In a value's length: the value is the offset of a block.
pub(super) const LONG_VALUE: u16 = 1 << 15;

impl Collected {
    pub(super) fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at as usize..][..self.key_len.into()]
    }

    pub(super) fn value(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at as usize + usize::from(self.key_len)..][..stored_len(self.value_len)]
    }

    /// Lengths of key and value, the latter with [`LONG_VALUE`].
    pub(super) fn lengths(self) -> [u16; 2] {
        [self.key_len, self.value_len]
    }

    pub(super) fn piece(self, bytes: &[u8]) -> Piece<'_> {
        let key = self.key(bytes);
        let flags = if self.value_len & LONG_VALUE != 0 { Slot::LONG_VALUE } else { 0 };
        Piece { key, stored_key: key, stored_value: self.value(bytes), flags }
    }

    /// The value, for a tree.
    pub(super) fn to_insert(self, bytes: &[u8]) -> New<'_> {
        self.block(bytes).map_or(New::Bytes(self.value(bytes)), New::Block)
    }

    /// The block of a long value.
    pub(super) fn block(self, bytes: &[u8]) -> Option<Offset<[u8]>> {
        block_of(self.value_len, self.value(bytes))
    }
}

/// Bytes that a leaf stores of a value with this length.
pub(super) fn stored_len(value_len: u16) -> usize {
    (value_len & !LONG_VALUE).into()
}

/// The block of a value with this length, if it is a long one.
pub(super) fn block_of(value_len: u16, stored: &[u8]) -> Option<Offset<[u8]>> {
    let offset = stored.try_into().ok().filter(|_| value_len & LONG_VALUE != 0)?;
    Some(Offset::from_raw(u64::from_le_bytes(offset)))
}

/// Entries on their way into a tree.
#[derive(Debug)]
pub(super) struct Collection {
    bytes: Vec<u8>,
    entries: Vec<Collected>,
    /// Most bytes of keys and values.
    most: usize,
}

impl Collection {
    /// `most`: bytes of keys and values, under 4 GiB.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), entries: Vec::new(), most }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn entries(&self) -> &[Collected] {
        &self.entries
    }

    /// Whether a key and a value of so many bytes together have no room any more. An empty collection takes any.
    pub(super) fn is_full_for(&self, more: usize) -> bool {
        !self.entries.is_empty() && self.bytes.len() + more > self.most
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Adds an entry: its value as a leaf stores it, whose length has [`LONG_VALUE`] if that is a block.
    pub(super) fn push(&mut self, key: &[u8], stored: &[u8], value_len: u16) {
        let mut head = [0; 8];
        let n = key.len().min(8);
        head[..n].copy_from_slice(&key[..n]);
        self.entries.push(Collected {
            head: u64::from_be_bytes(head),
            at: self.bytes.len() as u32,
            key_len: key.len() as u16,
            value_len,
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(stored);
        if key.is_empty() && stored.is_empty() {
            // Where entries begin has to rise.
            self.bytes.push(0);
        }
    }

    /// Sorts them; of several with one key the last one is kept. Returns the blocks of the values of the others.
    pub(super) fn sort(&mut self) -> Vec<Offset<[u8]>> {
        let Self { bytes, entries, .. } = self;
        // Where they begin tells those of one key apart: it rises.
        entries.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| a.key(bytes).cmp(b.key(bytes))).then(a.at.cmp(&b.at))
        });
        let mut outdated = Vec::new();
        entries.dedup_by(|later, kept| {
            let same = later.head == kept.head && later.key(bytes) == kept.key(bytes);
            if same {
                outdated.extend(kept.block(bytes));
                *kept = *later;
            }
            same
        });
        outdated
    }
}
