//! Entries of a hash map: one block each, which never moves as long as its value keeps its length.
//!
//! ```text
//! key of fixed length    key · zeros up to the value's alignment · value
//! key of any length      length of the key (8 bytes) · key · zeros up to the value's alignment · value
//! both of any length     padding << 56 | length of the key (8 bytes) · key · zeros as above · padding: 0 to 15 zeros · value
//! ```
//!
//! The key is its ordered bytes. The value ends where the block ends. The padding is what lets a value of any length, bytes that may be a
//! plain type, begin at a multiple of the largest power of two that divides its length, but at most of 16.
#![forbid(unsafe_code)]

use super::table::{Link, free_own, own};
use crate::collections::{Item, Key};
use crate::error::{Error, Result};
use crate::txn::{Located, View, WriteTxn};
use std::marker::PhantomData;
use std::ops::Range;

const DAMAGED: &str = "an entry of a hash map has a key or value of impossible length";

/// Where in an entry's first word the padding is counted, above the length of the key.
const PADDING_AT: u32 = 56;

/// How entries of these types are laid out.
pub(super) struct Layout<K: ?Sized, V: ?Sized>(PhantomData<fn(&K, &V)>);

impl<K: Key + ?Sized, V: Item + ?Sized> Layout<K, V> {
    /// Where the key begins.
    const KEY_AT: u64 = if K::SIZE.is_some() { 0 } else { 8 };
    /// Whether there may be padding.
    const PADDED: bool = K::SIZE.is_none() && V::SIZE.is_none();

    /// What the place of a value of this length is a multiple of.
    #[inline]
    fn value_align(value_len: u64) -> u64 {
        let align = V::ALIGN as u64;
        if Self::PADDED && value_len != 0 { align.max(1 << value_len.trailing_zeros().min(4)) } else { align }
    }

    /// Where the value of a key of this length begins without padding; `None` if there is no such length.
    #[inline]
    fn value_at(key_len: u64) -> Option<u64> {
        Self::KEY_AT.checked_add(key_len)?.checked_next_multiple_of(V::ALIGN as u64)
    }

    /// Where key and value of an entry lie, by its first word if it has a length there. Checked against the block's length.
    #[inline]
    fn parts(entry: Link, first: Option<u64>, block_len: u64) -> Result<(Range<u64>, Range<u64>)> {
        let (key_len, padding) = match (K::SIZE, first) {
            (Some(size), _) => (size as u64, 0),
            (None, Some(first)) if Self::PADDED => (first & ((1 << PADDING_AT) - 1), first >> PADDING_AT),
            (None, Some(first)) => (first, 0),
            (None, None) => return Err(Error::corrupt(entry.raw(), DAMAGED)),
        };
        let at = Self::value_at(key_len).map(|at| at + padding);
        let at = at.filter(|&at| at <= block_len && padding < 16);
        let at = at.ok_or_else(|| Error::corrupt(entry.raw(), DAMAGED))?;
        if V::SIZE.is_some_and(|size| size as u64 != block_len - at) {
            return Err(Error::corrupt(entry.raw(), DAMAGED));
        }
        Ok((Self::KEY_AT..Self::KEY_AT + key_len, at..block_len))
    }

    /// The entry's block, and where key and value lie in it.
    #[inline]
    pub(super) fn places(tx: &impl View, entry: Link) -> Result<(Located, Range<u64>, Range<u64>)> {
        let block = own(tx.block(entry.raw()), entry.raw())?;
        let first = match K::SIZE {
            Some(_) => None,
            None if block.len < 8 => return Err(Error::corrupt(entry.raw(), DAMAGED)),
            None => Some(own(tx.word_in_block(entry.raw()), entry.raw())?),
        };
        let (key, value) = Self::parts(entry, first, block.len)?;
        Ok((block, key, value))
    }

    /// The entry's block, and where its value lies in it, if it has this key.
    #[inline]
    pub(super) fn with_key(tx: &impl View, entry: Link, key: &[u8]) -> Result<Option<(Located, Range<u64>)>> {
        let (block, there, value) = Self::places(tx, entry)?;
        let its_key = tx.bytes_at(block.offset + there.start, there.end - there.start)?;
        Ok((its_key == key).then_some((block, value)))
    }

    /// Key and value as bytes.
    #[inline]
    pub(super) fn read(tx: &impl View, entry: Link) -> Result<(&[u8], &[u8])> {
        let block = own(tx.bytes(entry), entry.raw())?;
        let first = block.first_chunk().map(|word| u64::from_le_bytes(*word));
        let (key, value) = Self::parts(entry, first, block.len() as u64)?;
        Ok((&block[key.start as usize..key.end as usize], &block[value.start as usize..]))
    }

    /// The key as bytes.
    pub(super) fn key(tx: &impl View, entry: Link) -> Result<&[u8]> {
        let (_, key, _) = Self::places(tx, entry)?;
        tx.bytes_at(entry.raw() + key.start, key.end - key.start)
    }

    /// The key that the bytes are.
    pub(super) fn typed_key(entry: Link, bytes: &[u8]) -> Result<K::Ref<'_>> {
        K::from_ordered(bytes)
            .ok_or_else(|| Error::corrupt(entry.raw(), "an entry of a hash map has bytes that are no key"))
    }

    /// The value that the bytes are.
    #[inline]
    pub(super) fn typed_value(entry: Link, bytes: &[u8]) -> Result<&V> {
        V::from_bytes(bytes)
            .ok_or_else(|| Error::corrupt(entry.raw(), "an entry of a hash map has bytes that are no value"))
    }

    /// The block for a key and value of these lengths.
    pub(super) fn room(key_len: u64, value_len: u64) -> Result<Room> {
        let align = Self::value_align(value_len);
        let room = Self::value_at(key_len).and_then(|at| {
            let padding = at.wrapping_neg() & (align - 1);
            let value_at = at.checked_add(padding)?;
            let len = value_at.checked_add(value_len)?;
            Some(Room { len, align: align.max(8) as usize, first: key_len | padding << PADDING_AT, value_at })
        });
        room.ok_or(Error::TooLarge { what: "an entry", len: value_len, max: u64::MAX / 2 })
    }

    /// Writes an entry into its block, which is all zeros.
    pub(super) fn write(block: &mut [u8], room: &Room, key: &[u8], value: &[u8]) {
        let key_at = Self::KEY_AT as usize;
        block[..key_at].copy_from_slice(&room.first.to_le_bytes()[..key_at]);
        block[key_at..][..key.len()].copy_from_slice(key);
        block[room.value_at as usize..].copy_from_slice(value);
    }

    /// Allocates an entry. `value`: its bytes, or only how many.
    pub(super) fn alloc(tx: &mut WriteTxn<'_>, key: &[u8], value: Content<'_>) -> Result<Link> {
        const SHORT: usize = 1024;
        let room = Self::room(key.len() as u64, value.len())?;
        if let Content::Bytes(value) = value
            && room.len <= SHORT as u64
        {
            // In one piece, which a commit without flush puts straight into its place.
            let mut block = [0; SHORT];
            let block = &mut block[..room.len as usize];
            Self::write(block, &room, key, value);
            return tx.alloc_copy(block, room.align);
        }
        let entry = tx.alloc_unset(room.len, room.align)?;
        tx.write_at(entry, 0, &room.first.to_le_bytes()[..Self::KEY_AT as usize])?;
        tx.write_at(entry, Self::KEY_AT, key)?;
        let key_end = Self::KEY_AT + key.len() as u64;
        tx.write_at(entry, key_end, &[0; 16][..(room.value_at - key_end) as usize])?;
        if let Content::Bytes(value) = value {
            tx.write_at(entry, room.value_at, value)?;
        }
        Ok(entry)
    }

    /// Gives an entry another value: in its block where that, and the value's place there, are right for the new length, else in a new one. Returns where it is now.
    pub(super) fn replace(
        tx: &mut WriteTxn<'_>,
        (block, old): (Located, Range<u64>),
        key: &[u8],
        value: Content<'_>,
    ) -> Result<Link> {
        let entry = Link::from_raw(block.offset);
        let is_aligned = (block.offset + old.start) & (Self::value_align(value.len()) - 1) == 0;
        // What comes in pieces goes straight to the file, and thus to where nothing was.
        if let Content::Bytes(value) = value
            && is_aligned
        {
            if value.len() as u64 == old.end - old.start {
                tx.write_in(block, old.start, value)?;
                return Ok(entry);
            }
            let len = old.start.saturating_add(value.len() as u64);
            let info = own(tx.block_info(entry), entry.raw())?;
            if len <= info.capacity && len >= info.capacity / 2 {
                let entry = tx.resize(entry, len)?;
                tx.write_at(entry, old.start, value)?;
                return Ok(entry);
            }
        }
        let new = Self::alloc(tx, key, value)?;
        free_own(tx, entry)?;
        Ok(new)
    }
}

/// A block for an entry.
pub(super) struct Room {
    pub(super) len: u64,
    pub(super) align: usize,
    /// The word at its start, if keys are of any length.
    first: u64,
    value_at: u64,
}

/// What a value is to be.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Bytes(&'a [u8]),
    /// So many bytes, which somebody writes later.
    Unset(u64),
}

impl Content<'_> {
    const fn len(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Unset(len) => len,
        }
    }
}
