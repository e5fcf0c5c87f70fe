//! Entries that go, with what they held.

#![forbid(unsafe_code)]

use super::BTreeMap;
use super::cursor::Way;
use super::tree::out_of_order;
use crate::collections::item::{Item, Key};
use crate::error::Result;
use crate::txn::WriteTxn;
use std::borrow::Borrow;

impl<K: Key + ?Sized, V: Item + ToOwned + ?Sized> BTreeMap<K, V> {
    /// Removes the entry with this key and returns a copy of its value. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<u32, str>::from_entries(&mut tx, [(1, "one")])?;
    /// assert_eq!(map.take(&mut tx, &1)?.as_deref(), Some("one"));
    /// assert_eq!(map.take(&mut tx, &1)?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn take(self, tx: &mut WriteTxn<'_>, key: &K) -> Result<Option<V::Owned>> {
        let Some(value) = self.get(tx, key)?.map(V::to_owned) else { return Ok(None) };
        self.remove(tx, key)?;
        Ok(Some(value))
    }
}

/// Key and value, copied.
type Owned<K, V> = (<K as ToOwned>::Owned, <V as ToOwned>::Owned);

impl<K: Key + ToOwned + ?Sized, V: Item + ToOwned + ?Sized> BTreeMap<K, V> {
    /// Removes the entry with the least key and returns a copy of it. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let jobs = BTreeMap::<u64, str>::from_entries(&mut tx, [(2, "sweep"), (1, "wash")])?;
    /// while let Some((number, job)) = jobs.pop_first(&mut tx)? {
    ///     println!("{number}: {job}");
    /// }
    /// assert!(jobs.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pop_first(self, tx: &mut WriteTxn<'_>) -> Result<Option<(K::Owned, V::Owned)>> {
        self.pop(tx, Way::Forth)
    }

    /// Removes the entry with the greatest key and returns a copy of it. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<str, u32>::from_entries(&mut tx, [("a", 1), ("b", 2)])?;
    /// assert_eq!(map.pop_last(&mut tx)?, Some(("b".to_owned(), 2)));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pop_last(self, tx: &mut WriteTxn<'_>) -> Result<Option<(K::Owned, V::Owned)>> {
        self.pop(tx, Way::Back)
    }

    fn pop(self, tx: &mut WriteTxn<'_>, way: Way) -> Result<Option<Owned<K, V>>> {
        let Some((key, value)) = self.outermost(tx, way)? else { return Ok(None) };
        let (key, value) = (key.borrow().to_owned(), value.to_owned());
        // In a damaged map it may not be where its key belongs: whoever pops until there is none has to come to an end.
        if self.remove(tx, key.borrow())? { Ok(Some((key, value))) } else { Err(out_of_order(self.tree())) }
    }
}
