//! Entries of a hash map: one block each, which never moves as long as its value keeps its length.
//!
//! ```text
//! key of fixed length    key · zeros up to the value's alignment · value
//! key of any length      length of the key (8 bytes) · key · zeros up to the value's alignment · value
//! ```
//!
//! The key is its ordered bytes. The value ends where the block ends.
#![forbid(unsafe_code)]

use super::table::Link;
use crate::collections::{Item, Key};
use crate::error::{Error, Result};
use crate::txn::{Located, View, WriteTxn};
use std::marker::PhantomData;
use std::ops::Range;

const DAMAGED: &str = "an entry of a hash map has a key or value of impossible length";

/// How entries of these types are laid out.
pub(super) struct Layout<K: ?Sized, V: ?Sized>(PhantomData<fn(&K, &V)>);

impl<K: Key + ?Sized, V: Item + ?Sized> Layout<K, V> {
    /// Where the key begins.
    const KEY_AT: u64 = if K::SIZE.is_some() { 0 } else { 8 };
    /// Alignment of the block: that of its length word, which words of the table rely on too, or that of the value.
    pub(super) const ALIGN: usize = if V::ALIGN > 8 { V::ALIGN } else { 8 };

    /// Where the value of a key of this length begins; `None` if there is no such length.
    #[inline]
    fn value_at(key_len: u64) -> Option<u64> {
        Self::KEY_AT.checked_add(key_len)?.checked_next_multiple_of(V::ALIGN as u64)
    }

    /// Length of the key of the entry in this block, and where its value begins. Checked against the block's length.
    #[inline]
    fn parts(entry: Link, key_len: Option<u64>, block_len: u64) -> Result<(Range<u64>, Range<u64>)> {
        let key_len = match (K::SIZE, key_len) {
            (Some(size), _) => size as u64,
            (None, Some(len)) => len,
            (None, None) => return Err(Error::corrupt(entry.raw(), DAMAGED)),
        };
        let at = Self::value_at(key_len).filter(|&at| at <= block_len);
        let at = at.ok_or_else(|| Error::corrupt(entry.raw(), DAMAGED))?;
        if V::SIZE.is_some_and(|size| size as u64 != block_len - at) {
            return Err(Error::corrupt(entry.raw(), DAMAGED));
        }
        Ok((Self::KEY_AT..Self::KEY_AT + key_len, at..block_len))
    }

    /// The entry's block, and where key and value lie in it.
    #[inline]
    pub(super) fn places(tx: &impl View, entry: Link) -> Result<(Located, Range<u64>, Range<u64>)> {
        let block = tx.block(entry.raw())?;
        let key_len = match K::SIZE {
            Some(_) => None,
            None if block.len < 8 => return Err(Error::corrupt(entry.raw(), DAMAGED)),
            None => Some(tx.word_in_block(entry.raw())?),
        };
        let (key, value) = Self::parts(entry, key_len, block.len)?;
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
        let block = tx.bytes(entry)?;
        let key_len = block.first_chunk().map(|word| u64::from_le_bytes(*word));
        let (key, value) = Self::parts(entry, key_len, block.len() as u64)?;
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

    /// Length of the block for a key and value of these lengths.
    pub(super) fn block_len(key_len: u64, value_len: u64) -> Result<(u64, u64)> {
        let at = Self::value_at(key_len);
        let len = at.and_then(|at| at.checked_add(value_len));
        at.zip(len).ok_or(Error::TooLarge { what: "an entry", len: value_len, max: u64::MAX / 2 })
    }

    /// Writes an entry into its block, which is all zeros. `value`: where it begins, and its bytes.
    pub(super) fn write(block: &mut [u8], key: &[u8], (value_at, value): (u64, &[u8])) {
        let key_at = Self::KEY_AT as usize;
        block[..key_at].copy_from_slice(&(key.len() as u64).to_le_bytes()[..key_at]);
        block[key_at..][..key.len()].copy_from_slice(key);
        block[value_at as usize..].copy_from_slice(value);
    }

    /// Allocates an entry. `value`: its bytes, or only how many.
    pub(super) fn alloc(tx: &mut WriteTxn<'_>, key: &[u8], value: Content<'_>) -> Result<Link> {
        const SHORT: usize = 1024;
        let (value_at, len) = Self::block_len(key.len() as u64, value.len())?;
        if let Content::Bytes(value) = value
            && len <= SHORT as u64
            && Self::ALIGN <= 8
        {
            // In one piece, which a commit without flush puts straight into its place.
            let mut block = [0; SHORT];
            let block = &mut block[..len as usize];
            Self::write(block, key, (value_at, value));
            return tx.alloc_bytes(block);
        }
        let entry = tx.alloc_unset(len, Self::ALIGN)?;
        let head_len = (key.len() as u64).to_le_bytes();
        tx.write_at(entry, 0, &head_len[..Self::KEY_AT as usize])?;
        tx.write_at(entry, Self::KEY_AT, key)?;
        let gap = (value_at - Self::KEY_AT - key.len() as u64) as usize;
        tx.write_at(entry, Self::KEY_AT + key.len() as u64, &[0; 16][..gap])?;
        if let Content::Bytes(value) = value {
            tx.write_at(entry, value_at, value)?;
        }
        Ok(entry)
    }

    /// Gives an entry another value: in its block where that is right for the new length, else in a new one. Returns where it is now.
    pub(super) fn replace(
        tx: &mut WriteTxn<'_>,
        (block, old): (Located, Range<u64>),
        key: &[u8],
        value: Content<'_>,
    ) -> Result<Link> {
        let entry = Link::from_raw(block.offset);
        if let Content::Bytes(value) = value
            && value.len() as u64 == old.end - old.start
        {
            tx.write_in(block, old.start, value)?;
            return Ok(entry);
        }
        let len = old.start.saturating_add(value.len());
        let info = tx.block_info(entry)?;
        let stays = len == info.len || len <= info.capacity && len >= info.capacity / 2;
        if !stays {
            let new = Self::alloc(tx, key, value)?;
            tx.free(entry)?;
            return Ok(new);
        }
        let entry = if len == info.len { entry } else { tx.resize(entry, len)? };
        if let Content::Bytes(value) = value {
            tx.write_at(entry, old.start, value)?;
        }
        Ok(entry)
    }
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
