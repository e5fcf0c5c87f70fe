//! What can be done with values of one length, or of bytes, in their place.
#![forbid(unsafe_code)]

use super::super::{Item, Key, Place};
use super::HashMap;
use super::entry::{Content, Layout};
use crate::error::Result;
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use bytemuck::Pod;

impl<K: Key + ?Sized, V: Pod + Item> HashMap<K, V> {
    /// Changes the value of a key in place; `None` if there is no such key.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
    /// map.insert(&mut tx, &1, &2)?;
    /// assert_eq!(map.update(&mut tx, &1, |n| { *n += 1; *n })?, Some(3));
    /// assert_eq!(map.update(&mut tx, &5, |_| ())?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update<R>(
        &self,
        tx: &mut WriteTxn<'_>,
        key: &K,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>> {
        let Some(place) = self.place(tx, key)? else { return Ok(None) };
        Self::update_at(tx, place, change).map(Some)
    }

    /// Changes the value of a key in place; where there is none, inserts `first` before.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let counts = HashMap::<str, u32>::new_in(&mut tx)?;
    /// for word in ["to", "be", "or", "not", "to", "be"] {
    ///     counts.update_or_insert(&mut tx, word, 0, |n| *n += 1)?;
    /// }
    /// assert_eq!(counts.get(&tx, "be")?, Some(&2));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update_or_insert<R>(
        &self,
        tx: &mut WriteTxn<'_>,
        key: &K,
        first: V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        if let Some(place) = self.place(tx, key)? {
            return Self::update_at(tx, place, change);
        }
        let mut value = first;
        let result = change(&mut value);
        self.insert(tx, key, &value)?;
        Ok(result)
    }

    fn update_at<R>(
        tx: &mut WriteTxn<'_>,
        (block, start, len): Place,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        let mut value = *Layout::<K, V>::typed_value(block, tx.bytes_range(block, start..start + len)?)?;
        let result = change(&mut value);
        tx.write_at(block, start, bytemuck::bytes_of(&value))?;
        Ok(result)
    }
}

impl<K: Key + ?Sized> HashMap<K, [u8]> {
    /// Gives a key a value of `len` bytes that hold whatever the file holds there, to be filled with [`WriteTxn::write_at`] in pieces.
    /// Returns its block and where it begins there.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<str, [u8]>::new_in(&mut tx)?;
    /// let (block, start) = map.insert_unset(&mut tx, "film", 1 << 20)?;
    /// for piece in 0..16 {
    ///     tx.write_at(block, start + (piece << 16), &[piece as u8; 1 << 16])?;
    /// }
    /// assert_eq!(map.get(&tx, "film")?.unwrap()[5 << 16], 5);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert_unset(&self, tx: &mut WriteTxn<'_>, key: &K, len: u64) -> Result<(Offset<[u8]>, u64)> {
        self.put(tx, key, Content::Unset(len))?;
        let place = self.place(tx, key)?.ok_or_else(|| self.damaged("an entry of a hash map is gone"))?;
        Ok((place.0, place.1))
    }
}
