//! What can be done with values of one length, or of bytes, in their place.
#![forbid(unsafe_code)]

use super::super::item::{Item, Key, KeyBuffer};
use super::tree::New;
use super::{BTreeMap, value_of};
use crate::error::Result;
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use bytemuck::Pod;

impl<K: Key + ?Sized, V: Pod + Item> BTreeMap<K, V> {
    /// Changes the value of a key in place; `None` if there is no such key. What is logged are the words that differ afterwards. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let hits = BTreeMap::<str, u64>::from_entries(&mut tx, [("/", 1)])?;
    /// assert_eq!(hits.update(&mut tx, "/", |n| { *n += 1; *n })?, Some(2));
    /// assert_eq!(hits.update(&mut tx, "/none", |_| ())?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update<R>(
        self,
        tx: &mut WriteTxn<'_>,
        key: &K,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>> {
        let Some((block, start, len)) = self.place(tx, key)? else { return Ok(None) };
        let mut value = *value_of::<V>(self.tree(), tx.bytes_range(block, start..start + len)?)?;
        let result = change(&mut value);
        tx.write_at(block, start, bytemuck::bytes_of(&value))?;
        Ok(Some(result))
    }

    /// Changes the value of a key in place; where there is none, inserts `first` before. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let counts = BTreeMap::<str, u32>::new_in(&mut tx)?;
    /// for word in ["to", "be", "or", "not", "to", "be"] {
    ///     counts.update_or_insert(&mut tx, word, 0, |n| *n += 1)?;
    /// }
    /// assert_eq!(counts.first(&tx)?, Some(("be", &2)));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update_or_insert<R>(
        self,
        tx: &mut WriteTxn<'_>,
        key: &K,
        first: V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        let mut value = self.get(tx, key)?.copied().unwrap_or(first);
        let result = change(&mut value);
        self.insert(tx, key, &value)?;
        Ok(result)
    }
}

impl<K: Key + ?Sized> BTreeMap<K, [u8]> {
    /// Inserts an entry, or replaces its value, by one of `len` bytes that are not set: they hold whatever the file holds there. For values that are streamed in
    /// by [`WriteTxn::write_at`], of any length that the arena has room for. Returns the value's block and where it begins there.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<str, [u8]>::new_in(&mut tx)?;
    /// let (block, start) = map.insert_unset(&mut tx, "film", 1 << 20)?;
    /// for piece in 0..16 {
    ///     tx.write_at(block, start + (piece << 16), &[piece as u8; 1 << 16])?;
    /// }
    /// assert_eq!(map.get(&tx, "film")?.unwrap()[1 << 19], 8);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert_unset(self, tx: &mut WriteTxn<'_>, key: &K, len: u64) -> Result<(Offset<[u8]>, u64)> {
        self.tree().head(tx)?;
        tx.in_steps(|tx| {
            let block = tx.alloc_unset(len, 16)?;
            self.tree().insert(tx, key.ordered(&mut KeyBuffer::new()), New::Block(block))?;
            Ok((block, 0))
        })
    }
}
