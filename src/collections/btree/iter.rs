//! Going through an ordered map: all of it, a range of keys, those with a prefix.

#![forbid(unsafe_code)]

use super::cursor::{Entries, Way};
use super::tree::Tree;
use super::{BTreeMap, key_of, value_of};
use crate::collections::item::{Item, Key, KeyBuffer};
use crate::error::Result;
use crate::txn::View;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// An entry on its way out of an iterator.
type Entry<'t, K, V> = Result<(<K as Key>::Ref<'t>, &'t V)>;

impl<K: Key + ?Sized, V: Item + ?Sized> BTreeMap<K, V> {
    /// All entries in the order of their keys; from both ends.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, i32>::from_entries(&mut tx, (0..100).map(|n| (n, n)))?;
    /// assert_eq!(map.iter(&tx)?.count(), 100);
    /// assert_eq!(map.iter(&tx)?.next_back().unwrap()?, (99, &99));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn iter<S: View>(self, tx: &S) -> Result<Iter<'_, K, V, S>> {
        self.between(tx, Bound::Unbounded, Bound::Unbounded)
    }

    /// The keys in their order; from both ends. Looks the values up too: it costs what [`iter`](Self::iter) does.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<str, u32>::from_entries(&mut tx, [("b", 1), ("a", 2)])?;
    /// assert_eq!(map.keys(&tx)?.collect::<Result<Vec<_>, _>>()?, ["a", "b"]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn keys<'t, S: View>(
        self,
        tx: &'t S,
    ) -> Result<impl DoubleEndedIterator<Item = Result<K::Ref<'t>>> + use<'t, K, V, S>> {
        Ok(self.iter(tx)?.map(|entry| entry.map(|(key, _)| key)))
    }

    /// The values in the order of their keys; from both ends.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<str, u32>::from_entries(&mut tx, [("b", 1), ("a", 2)])?;
    /// assert_eq!(map.values(&tx)?.sum::<Result<u32, _>>()?, 3);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn values<'t, S: View>(
        self,
        tx: &'t S,
    ) -> Result<impl DoubleEndedIterator<Item = Result<&'t V>> + use<'t, K, V, S>> {
        Ok(self.iter(tx)?.map(|entry| entry.map(|(_, value)| value)))
    }

    /// The entries whose keys lie in a range, in their order; from both ends. A range that ends before it begins is empty.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, i32>::from_entries(&mut tx, (0..100).map(|n| (n, n)))?;
    /// assert_eq!(map.range(&tx, 10..=20)?.count(), 11);
    /// assert_eq!(map.range(&tx, ..5)?.rev().next().unwrap()?, (4, &4));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn range<S: View>(self, tx: &S, keys: impl RangeBounds<K>) -> Result<Iter<'_, K, V, S>> {
        let (mut low, mut high) = (KeyBuffer::new(), KeyBuffer::new());
        let low = keys.start_bound().map(|key| key.ordered(&mut low));
        let high = keys.end_bound().map(|key| key.ordered(&mut high));
        self.between(tx, low, high)
    }

    fn between<'t, S: View>(
        self,
        tx: &'t S,
        low: Bound<&[u8]>,
        high: Bound<&[u8]>,
    ) -> Result<Iter<'t, K, V, S>> {
        Ok(Iter { tree: self.tree(), entries: Entries::new(tx, self.tree(), low, high)?, of: PhantomData })
    }
}

impl<V: Item + ?Sized> BTreeMap<[u8], V> {
    /// The entries whose keys begin with `prefix`, in their order; from both ends.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<[u8], u8>::new_in(&mut tx)?;
    /// map.insert(&mut tx, b"user:1", &1)?;
    /// map.insert(&mut tx, b"zone:1", &2)?;
    /// assert_eq!(map.prefix(&tx, b"user:")?.count(), 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn prefix<'t, S: View>(self, tx: &'t S, prefix: &[u8]) -> Result<Iter<'t, [u8], V, S>> {
        let end = after_prefix(prefix);
        let high = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.between(tx, Bound::Included(prefix), high)
    }
}

impl<V: Item + ?Sized> BTreeMap<str, V> {
    /// The entries whose keys begin with `prefix`, in their order; from both ends.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<str, u8>::from_entries(&mut tx, [("user:1", 1), ("zone:1", 2)])?;
    /// assert_eq!(map.prefix(&tx, "user:")?.count(), 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn prefix<'t, S: View>(self, tx: &'t S, prefix: &str) -> Result<Iter<'t, str, V, S>> {
        let end = after_prefix(prefix.as_bytes());
        let high = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.between(tx, Bound::Included(prefix.as_bytes()), high)
    }
}

/// The least byte string above all that begin with `prefix`, if there is one.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Iterator over entries of a [`BTreeMap`], from both ends. It ends after an error.
///
/// ```
/// # use heapfile::{Arena, collections::BTreeMap};
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = Arena::create(dir.path().join("a.heap"))?;
/// # let mut tx = arena.write()?;
/// let map = BTreeMap::<i32, str>::from_entries(&mut tx, [(1, "one"), (2, "two")])?;
/// for entry in map.iter(&tx)? {
///     let (key, value) = entry?;
///     println!("{key} {value}");
/// }
/// # Ok::<(), heapfile::Error>(())
/// ```
pub struct Iter<'t, K: ?Sized, V: ?Sized, S> {
    tree: Tree,
    entries: Entries<'t, S>,
    of: PhantomData<fn(&K, &V)>,
}

impl<K: ?Sized, V: ?Sized, S> Clone for Iter<'_, K, V, S> {
    fn clone(&self) -> Self {
        Self { tree: self.tree, entries: self.entries.clone(), of: PhantomData }
    }
}

impl<K: ?Sized, V: ?Sized, S> std::fmt::Debug for Iter<'_, K, V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("map", &self.tree.0).finish_non_exhaustive()
    }
}

impl<'t, K: Key + ?Sized, V: Item + ?Sized, S: View> Iter<'t, K, V, S> {
    #[inline]
    fn take(&mut self, way: Way) -> Option<Entry<'t, K, V>> {
        let entry = self.entries.take(way)?;
        let typed =
            entry.and_then(|(key, value)| Ok((key_of::<K>(self.tree, key)?, value_of(self.tree, value)?)));
        Some(typed.inspect_err(|_| self.entries.end()))
    }
}

impl<'t, K: Key + ?Sized, V: Item + ?Sized, S: View> Iterator for Iter<'t, K, V, S> {
    type Item = Result<(K::Ref<'t>, &'t V)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.take(Way::Forth)
    }
}

impl<K: Key + ?Sized, V: Item + ?Sized, S: View> DoubleEndedIterator for Iter<'_, K, V, S> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(Way::Back)
    }
}

impl<K: Key + ?Sized, V: Item + ?Sized, S: View> std::iter::FusedIterator for Iter<'_, K, V, S> {}
