//! [`BTreeMap`]: an ordered map.
//!
//! A B+ tree whose nodes are blocks of up to 4 KiB. Short keys and values lie in the leaves, longer ones (keys over 511 bytes, values over 1023) in
//! blocks of their own. A node's block is as long as its entries need, in four or eight steps to each doubling, so that a tree filled in random order wastes little. A change
//! writes the lines it touches.
//!
//! `node` reads and searches, `image` builds nodes, `tree` changes, `cursor` walks, `load` fills from sorted input, `check` verifies; all of these know byte strings
//! only. What is here, and in `iter`, `pop` and `update`, gives them types.

#![deny(unsafe_code)]

mod ahead;
mod change;
mod check;
mod collect;
mod cursor;
mod image;
mod iter;
mod load;
mod merge;
mod node;
mod pack;
mod pop;
mod route;
mod spool;
mod tree;
mod update;

pub use iter::Iter;
pub(crate) use iter::after_prefix;

use super::item::{Item, Key, KeyBuffer};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{InBlock, View, WriteTxn};
use cursor::{Entries, Way};
use load::Loader;
use merge::Batch;
use std::ops::Bound;
use tree::{New, Tree, out_of_order};

handle! {
    /// An ordered map in an arena: `std::collections::BTreeMap`, as a handle of 8 bytes that can be stored in blocks and other collections.
    ///
    /// Reading takes any transaction and borrows from it; changing takes the write transaction. The handle is plain data: copies of it
    /// name the same map, and nothing is freed before [`free`](Self::free). A set is a `BTreeMap<K, ()>`.
    ///
    /// ```
    /// use heapfile::{Arena, View, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let ages = BTreeMap::<str, u32>::new_in(&mut tx)?;
    /// ages.insert(&mut tx, "Ada", &36)?;
    /// ages.insert(&mut tx, "Alan", &41)?;
    /// let root = tx.alloc(&ages)?;
    /// tx.set_root(root)?;
    /// tx.commit()?;
    ///
    /// let tx = arena.read()?;
    /// let ages: BTreeMap<str, u32> = *tx.get(tx.root()?.unwrap())?;
    /// assert_eq!(ages.get(&tx, "Ada")?, Some(&36));
    /// let names: Result<Vec<_>, _> = ages.iter(&tx)?.map(|entry| entry.map(|(name, _)| name)).collect();
    /// assert_eq!(names?, ["Ada", "Alan"]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    BTreeMap<K, V>
}

/// The value that the bytes are.
fn value_of<V: Item + ?Sized>(tree: Tree, bytes: &[u8]) -> Result<&V> {
    V::from_bytes(bytes).ok_or_else(|| wrong_type(tree))
}

fn key_of<K: Key + ?Sized>(tree: Tree, bytes: &[u8]) -> Result<K::Ref<'_>> {
    K::from_ordered(bytes).ok_or_else(|| wrong_type(tree))
}

#[cold]
fn wrong_type(tree: Tree) -> Error {
    Error::corrupt(tree.0, "a map holds keys or values of another type than it is read as")
}

impl<K: Key + ?Sized, V: Item + ?Sized> BTreeMap<K, V> {
    /// An empty map: one block of 32 bytes.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<u64, str>::new_in(&mut tx)?;
    /// assert!(map.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn new_in(tx: &mut WriteTxn<'_>) -> Result<Self> {
        Ok(Self::from_offset(Offset::from_raw(Tree::create(tx)?.0)))
    }

    /// A map of the given entries. From entries in rising order of keys its nodes are filled to the brim and written once; what comes out of
    /// order is added as by [`extend`](Self::extend).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let squares = BTreeMap::<u64, u64>::from_entries(&mut tx, (0..1000).map(|n| (n, n * n)))?;
    /// assert_eq!(squares.get(&tx, &31)?, Some(&961));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn from_entries<BK, BV>(
        tx: &mut WriteTxn<'_>,
        entries: impl IntoIterator<Item = (BK, BV)>,
    ) -> Result<Self>
    where
        BK: std::borrow::Borrow<K>,
        BV: std::borrow::Borrow<V>,
    {
        tx.in_steps(|tx| {
            let map = Self::new_in(tx)?;
            map.extend(tx, entries)?;
            Ok(map)
        })
    }

    /// Inserts entries; later ones replace earlier ones with the same key. They are collected, sorted, and put into each leaf together:
    /// many in any order cost a fraction of as many calls of [`insert`](Self::insert). From 128 MiB of keys and short values on sorted runs go to a file without
    /// a name beside the arena's, which takes as much space until all are put in; where there can be none, 128 MiB at a time are put in. After an error in the middle the
    /// transaction can only be rolled back ([`Error::HalfChanged`]).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<str, str>::new_in(&mut tx)?;
    /// map.extend(&mut tx, [("a", "1"), ("b", "2"), ("a", "3")])?;
    /// assert_eq!(map.get(&tx, "a")?, Some("3"));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn extend<BK, BV>(
        self,
        tx: &mut WriteTxn<'_>,
        entries: impl IntoIterator<Item = (BK, BV)>,
    ) -> Result<()>
    where
        BK: std::borrow::Borrow<K>,
        BV: std::borrow::Borrow<V>,
    {
        tx.in_steps(|tx| {
            let mut loader = if self.is_empty(tx)? { Some(Loader::new(self.tree())) } else { None };
            let (mut batch, mut buffer) = (Batch::new(self.tree()), KeyBuffer::new());
            for (key, value) in entries {
                let (key, value) = (key.borrow().ordered(&mut buffer), value.borrow().as_bytes());
                if let Some(sorted) = &mut loader {
                    if sorted.push(tx, key, value)? {
                        continue;
                    }
                    if let Some(sorted) = loader.take() {
                        sorted.finish(tx)?;
                    }
                }
                batch.push(tx, key, value)?;
            }
            match loader {
                Some(loader) => loader.finish(tx),
                None => batch.finish(tx),
            }
        })
    }

    #[inline]
    fn tree(self) -> Tree {
        Tree(self.at.raw())
    }

    /// Number of entries. O(1).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<u8, u8>::from_entries(&mut tx, [(1, 2), (3, 4)])?;
    /// assert_eq!(map.len(&tx)?, 2);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn len(self, tx: &impl View) -> Result<u64> {
        Ok(self.tree().head(tx)?.len)
    }

    /// Whether there is no entry. O(1).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(BTreeMap::<u8, u8>::new_in(&mut tx)?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn is_empty(self, tx: &impl View) -> Result<bool> {
        Ok(self.len(tx)? == 0)
    }

    /// The value of a key, borrowed from the file. O(log n): four nodes at a million entries.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<[u8; 2], str>::from_entries(&mut tx, [([1, 2], "x")])?;
    /// assert_eq!(map.get(&tx, &[1, 2])?, Some("x"));
    /// assert_eq!(map.get(&tx, &[2, 1])?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    #[inline]
    pub fn get<'t>(self, tx: &'t impl View, key: &K) -> Result<Option<&'t V>> {
        match self.tree().get(tx, key.ordered(&mut KeyBuffer::new()))? {
            Some(bytes) => value_of(self.tree(), bytes).map(Some),
            None => Ok(None),
        }
    }

    /// As [`get`](Self::get), of a map that the transaction's state is known to have: by a look-up in the same one, or what has not changed since an earlier one.
    #[inline]
    pub(crate) fn get_known<'t>(self, tx: &'t impl View, key: &K) -> Result<Option<&'t V>> {
        match self.tree().get_known(tx, key.ordered(&mut KeyBuffer::new()))? {
            Some(bytes) => value_of(self.tree(), bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Where the value of a key lies, in a map as [`get_known`](Self::get_known) reads it.
    #[inline]
    pub(crate) fn value_known(self, tx: &impl View, key: &K) -> Result<Option<InBlock>> {
        self.tree().value_known(tx, key.ordered(&mut KeyBuffer::new()))
    }

    /// Whether there is an entry with that key. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let set = BTreeMap::<str, ()>::from_entries(&mut tx, [("a", ())])?;
    /// assert!(set.contains_key(&tx, "a")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn contains_key(self, tx: &impl View, key: &K) -> Result<bool> {
        Ok(self.tree().entry(tx, key.ordered(&mut KeyBuffer::new()))?.is_some())
    }

    /// Where a value lies: its block, its first byte in that block, its length. Good until the map changes. For reading or overwriting
    /// a part of a long value, by [`View::bytes_range`] and [`WriteTxn::write_at`], without touching the rest.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<str, [u8]>::new_in(&mut tx)?;
    /// map.insert(&mut tx, "film", &[0; 1 << 20])?;
    /// let (block, start, len) = map.place(&tx, "film")?.unwrap();
    /// tx.write_at(block, start + len - 4, b"end.")?;
    /// assert!(map.get(&tx, "film")?.unwrap().ends_with(b"end."));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn place(self, tx: &impl View, key: &K) -> Result<Option<super::Place>> {
        match self.tree().entry(tx, key.ordered(&mut KeyBuffer::new()))? {
            Some((leaf, i)) => leaf.value_place(i).map(Some),
            None => Ok(None),
        }
    }

    /// Inserts an entry, or gives it another value if there is one with that key; returns whether there was. A value of the same length is
    /// overwritten in place: what is logged is the value. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<u32, str>::new_in(&mut tx)?;
    /// assert!(!map.insert(&mut tx, &1, "one")?);
    /// assert!(map.insert(&mut tx, &1, "eins")?);
    /// assert_eq!(map.get(&tx, &1)?, Some("eins"));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert(self, tx: &mut WriteTxn<'_>, key: &K, value: &V) -> Result<bool> {
        self.tree().insert(tx, key.ordered(&mut KeyBuffer::new()), New::Bytes(value.as_bytes()))
    }

    /// Removes an entry; returns whether there was one. What the value leads to stays. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<u32, u32>::from_entries(&mut tx, [(1, 1)])?;
    /// assert!(map.remove(&mut tx, &1)?);
    /// assert!(!map.remove(&mut tx, &1)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn remove(self, tx: &mut WriteTxn<'_>, key: &K) -> Result<bool> {
        self.tree().remove(tx, key.ordered(&mut KeyBuffer::new()))
    }

    /// The entry with the least key. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, str>::from_entries(&mut tx, [(3, "c"), (-1, "a")])?;
    /// assert_eq!(map.first(&tx)?, Some((-1, "a")));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn first<'t>(self, tx: &'t impl View) -> Result<Option<(K::Ref<'t>, &'t V)>> {
        self.outermost(tx, Way::Forth)
    }

    /// The entry with the greatest key. O(log n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, str>::from_entries(&mut tx, [(3, "c"), (-1, "a")])?;
    /// assert_eq!(map.last(&tx)?, Some((3, "c")));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn last<'t>(self, tx: &'t impl View) -> Result<Option<(K::Ref<'t>, &'t V)>> {
        self.outermost(tx, Way::Back)
    }

    fn outermost<'t>(self, tx: &'t impl View, way: Way) -> Result<Option<(K::Ref<'t>, &'t V)>> {
        let Some(cursor) = cursor::Cursor::seek(tx, self.tree(), Bound::Unbounded, way)? else {
            return Ok(None);
        };
        Ok(Some((key_of::<K>(self.tree(), cursor.key()?)?, value_of(self.tree(), cursor.value()?)?)))
    }

    /// Keeps the entries for which `keep` is true and removes the others. O(n + m log n) for m removed.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, i32>::from_entries(&mut tx, (0..100).map(|n| (n, n)))?;
    /// map.retain(&mut tx, |key, _| key % 2 == 0)?;
    /// assert_eq!(map.len(&tx)?, 50);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn retain(self, tx: &mut WriteTxn<'_>, keep: impl FnMut(K::Ref<'_>, &V) -> bool) -> Result<()> {
        tx.in_steps(|tx| self.retain_in_steps(tx, keep))
    }

    fn retain_in_steps(
        self,
        tx: &mut WriteTxn<'_>,
        mut keep: impl FnMut(K::Ref<'_>, &V) -> bool,
    ) -> Result<()> {
        const BATCH: usize = 1024;
        let mut from: Bound<Vec<u8>> = Bound::Unbounded;
        loop {
            // Looking and removing take turns, so that what is kept in memory stays small.
            let (mut seen, mut drop, mut last) = (0, Vec::new(), None);
            let mut entries =
                Entries::new(tx, self.tree(), from.as_ref().map(Vec::as_slice), Bound::Unbounded)?;
            while seen < BATCH {
                let Some(entry) = entries.take(Way::Forth) else { break };
                let (key, value) = entry?;
                if !keep(key_of::<K>(self.tree(), key)?, value_of(self.tree(), value)?) {
                    drop.push(key.to_vec());
                }
                last = Some(key);
                seen += 1;
            }
            let Some(last) = last.map(<[u8]>::to_vec) else { return Ok(()) };
            if matches!(&from, Bound::Excluded(before) if *before >= last) {
                return Err(out_of_order(self.tree()));
            }
            for key in drop {
                self.tree().remove(tx, &key)?;
            }
            if seen < BATCH {
                return Ok(());
            }
            from = Bound::Excluded(last);
        }
    }

    /// Writes the map anew in full nodes, with values of up to 16 KiB that lie outside of them side by side, so that [`Arena::shrink`](crate::Arena::shrink) after the commit
    /// finds more to give back. O(n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, i32>::from_entries(&mut tx, (0..100).map(|n| (n, n)))?;
    /// map.retain(&mut tx, |key, _| key % 10 == 0)?;
    /// map.pack(&mut tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pack(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        tx.in_steps(|tx| pack::pack(tx, self.tree()))
    }

    /// Removes all entries and frees their blocks. O(n).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, i32>::from_entries(&mut tx, (0..100).map(|n| (n, n)))?;
    /// map.clear(&mut tx)?;
    /// assert!(map.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn clear(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        tx.in_steps(|tx| self.tree().clear(tx, None))
    }

    /// Frees the map. What its values lead to stays. O(n).
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, i32>::from_entries(&mut tx, (0..100).map(|n| (n, n)))?;
    /// map.free(&mut tx)?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        tx.in_steps(|tx| self.tree().free(tx, None))
    }

    /// Frees the map; `each` is called with every value before, to free what it leads to.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let inner = BTreeMap::<u32, u32>::from_entries(&mut tx, [(1, 2)])?;
    /// let outer = BTreeMap::<str, BTreeMap<u32, u32>>::from_entries(&mut tx, [("a", inner)])?;
    /// outer.free_with(&mut tx, |tx, inner| inner.free(tx))?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free_with(
        self,
        tx: &mut WriteTxn<'_>,
        mut each: impl FnMut(&mut WriteTxn<'_>, &V) -> Result<()>,
    ) -> Result<()> {
        let tree = self.tree();
        let mut each = |tx: &mut WriteTxn<'_>, bytes: &[u8]| {
            // A copy, so that the value can be looked at while the transaction changes; aligned for every item.
            let mut lines = vec![0u128; bytes.len().div_ceil(16)];
            let copy = &mut bytemuck::cast_slice_mut(&mut lines)[..bytes.len()];
            copy.copy_from_slice(bytes);
            each(tx, value_of(tree, copy)?)
        };
        tx.in_steps(|tx| tree.free(tx, Some(&mut each)))
    }

    /// Verifies everything that the map relies on: every node, every key and value, their order and number, and that it leads to no block twice. O(n),
    /// with eight bytes of memory for each node and each long key and value.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for the first contradiction found.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::BTreeMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = BTreeMap::<i32, i32>::from_entries(&mut tx, (0..100).map(|n| (n, n)))?;
    /// map.check(&tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(self, tx: &impl View) -> Result<()> {
        let tree = self.tree();
        check::check(tx, tree, &mut |key, value| {
            key_of::<K>(tree, key)?;
            value_of::<V>(tree, value).map(|_| ())
        })
    }
}
