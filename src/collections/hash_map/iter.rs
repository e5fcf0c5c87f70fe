//! Going through a hash map, with positions at which another transaction can go on.
//!
//! The order is that of the hashes with their bits reversed. In linear hashing a bucket has all the entries whose hashes have certain low
//! bits, which is an interval of that order; splitting and joining buckets cuts and joins intervals, and moves no entry in the order.
#![forbid(unsafe_code)]

use super::entry::Layout;
use super::table::{Head, Link, Table, bucket_of, depth_of};
use super::{HashMap, hash};
use crate::collections::{Item, Key};
use crate::error::{Error, Result};
use crate::txn::View;
use std::iter::FusedIterator;
use std::marker::PhantomData;

/// A place in the order of a hash map's entries, valid in all transactions.
///
/// ```
/// use heapfile::collections::hash_map::Position;
/// assert_eq!(Position::from_raw(Position::START.raw()), Position::START);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// Before the first entry.
    ///
    /// ```
    /// assert_eq!(heapfile::collections::hash_map::Position::START.raw(), 0);
    /// ```
    pub const START: Self = Self(0);

    /// The position as a number, to be kept somewhere.
    ///
    /// ```
    /// assert_eq!(heapfile::collections::hash_map::Position::START.raw(), 0);
    /// ```
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The position of a number; any number is one.
    ///
    /// ```
    /// assert_eq!(heapfile::collections::hash_map::Position::from_raw(7).raw(), 7);
    /// ```
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl<K: Key + ?Sized, V: Item + ?Sized> HashMap<K, V> {
    /// All entries, in an order that follows from their hashes alone. The iterator ends after an error, which damage in the file gives.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, str>::new_in(&mut tx)?;
    /// map.insert(&mut tx, &1, "one")?;
    /// for entry in map.iter(&tx)? {
    ///     let (key, value): (u32, &str) = entry?;
    ///     assert_eq!((key, value), (1, "one"));
    /// }
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn iter<'t, X: View>(&self, tx: &'t X) -> Result<Iter<'t, K, V, X>> {
        self.iter_from(tx, Position::START)
    }

    /// The keys, in the order of [`iter`](Self::iter).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<str, u32>::from_entries(&mut tx, [("a", 1)])?;
    /// assert_eq!(map.keys(&tx)?.collect::<Result<Vec<_>, _>>()?, ["a"]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn keys<'t, X: View>(
        &self,
        tx: &'t X,
    ) -> Result<impl Iterator<Item = Result<K::Ref<'t>>> + use<'t, K, V, X>> {
        Ok(self.iter(tx)?.map(|entry| entry.map(|(key, _)| key)))
    }

    /// The values, in the order of [`iter`](Self::iter).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<str, u32>::from_entries(&mut tx, [("a", 1), ("b", 2)])?;
    /// assert_eq!(map.values(&tx)?.sum::<Result<u32, _>>()?, 3);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn values<'t, X: View>(
        &self,
        tx: &'t X,
    ) -> Result<impl Iterator<Item = Result<&'t V>> + use<'t, K, V, X>> {
        Ok(self.iter(tx)?.map(|entry| entry.map(|(_, value)| value)))
    }

    /// The entries from a position on, which another iterator, perhaps of an earlier transaction, was at. Entries that are there all the time are
    /// returned exactly once, whatever is inserted and removed meanwhile: so a long listing needs no long transaction.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::{HashMap, hash_map::Position}};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
    /// map.extend(&mut tx, (0..1000).map(|n| (n, n)))?;
    /// # tx.commit()?;
    /// let (mut at, mut sum) = (Some(Position::START), 0);
    /// while let Some(from) = at {
    ///     let tx = arena.read()?; // a short one each time
    ///     let mut some = map.iter_from(&tx, from)?;
    ///     for entry in some.by_ref().take(100) {
    ///         sum += entry?.1;
    ///     }
    ///     at = some.position()?;
    /// }
    /// assert_eq!(sum, 499_500);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn iter_from<'t, X: View>(&self, tx: &'t X, from: Position) -> Result<Iter<'t, K, V, X>> {
        let head = self.head(tx)?;
        Ok(Iter::new(tx, head, Table::of(self.offset(), &head)?, from))
    }
}

/// Iterator of [`HashMap::iter`].
///
/// ```
/// # use heapfile::{Arena, collections::HashMap};
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = Arena::create(dir.path().join("a.heap"))?;
/// # let mut tx = arena.write()?;
/// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
/// assert!(map.iter(&tx)?.next().is_none());
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct Iter<'t, K: ?Sized, V: ?Sized, X: ?Sized> {
    tx: &'t X,
    key: [u64; 2],
    header: Link,
    buckets: u64,
    /// Entries of the bucket that was read last, with their places in the order, the next one last.
    ready: Vec<(u64, Link)>,
    /// Where the next bucket begins.
    next: Option<u64>,
    of: PhantomData<fn(&K, &V)>,
}

impl<'t, K: Key + ?Sized, V: Item + ?Sized, X: View> Iter<'t, K, V, X> {
    pub(super) fn new(tx: &'t X, head: Head, table: Table, from: Position) -> Self {
        Self {
            tx,
            key: head.key,
            header: table.header,
            buckets: table.buckets,
            ready: Vec::new(),
            next: Some(from.0),
            of: PhantomData,
        }
    }

    /// Ends after an error.
    fn end(&mut self) {
        self.ready.clear();
        self.next = None;
    }

    /// Reads buckets until one has an entry, or none is left.
    fn fill(&mut self) -> Result<()> {
        let table = Table { header: self.header, buckets: self.buckets };
        while self.ready.is_empty()
            && let Some(from) = self.next
        {
            let bucket = bucket_of(from.reverse_bits(), self.buckets);
            // The first place behind all that have the bucket's low bits.
            let width = 64 - depth_of(bucket, self.buckets);
            self.next = ((from >> width) + 1).checked_shl(width).filter(|&next| next >> width != 0);
            self.read(table, bucket, from).inspect_err(|_| self.end())?;
        }
        Ok(())
    }

    /// Makes the entries of a bucket ready.
    fn read(&mut self, table: Table, bucket: u64, from: u64) -> Result<()> {
        let mut chain = table.chain(self.tx, bucket)?;
        while let Some(found) = chain.next(self.tx)? {
            let entry = found.word.entry();
            let place = self.place(entry)?;
            if place >= from {
                self.ready.push((place, entry));
            }
        }
        self.ready.sort_unstable_by(|a, b| b.cmp(a));
        // Who goes on from a place has to come past it: only where two hashes are the same are there two entries.
        for pair in self.ready.windows(2) {
            let [(place, one), (next, other)] = [pair[0], pair[1]];
            if place == next && Layout::<K, V>::key(self.tx, one)? == Layout::<K, V>::key(self.tx, other)? {
                return Err(Error::corrupt(one.raw(), "an entry of a hash map is named twice"));
            }
        }
        Ok(())
    }

    fn place(&self, entry: Link) -> Result<u64> {
        let head = Head { shape: 0, len: 0, buckets: self.buckets, key: self.key, zeros: [0; 3] };
        Ok(hash(&head, Layout::<K, V>::key(self.tx, entry)?).reverse_bits())
    }

    /// Where the next entry is, for [`HashMap::iter_from`]; `None` at the end.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
    /// assert!(map.iter(&tx)?.position()?.is_none());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn position(&mut self) -> Result<Option<Position>> {
        self.fill()?;
        Ok(self.ready.last().map(|&(place, _)| Position(place)))
    }

    fn step(&mut self) -> Result<Option<(K::Ref<'t>, &'t V)>> {
        self.fill()?;
        let Some((_, entry)) = self.ready.pop() else { return Ok(None) };
        let (key, value) = Layout::<K, V>::read(self.tx, entry)?;
        Ok(Some((Layout::<K, V>::typed_key(entry, key)?, Layout::<K, V>::typed_value(entry, value)?)))
    }
}

impl<'t, K: Key + ?Sized, V: Item + ?Sized, X: View> Iterator for Iter<'t, K, V, X> {
    type Item = Result<(K::Ref<'t>, &'t V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.end();
        }
        step.transpose()
    }
}

impl<K: Key + ?Sized, V: Item + ?Sized, X: View> FusedIterator for Iter<'_, K, V, X> {}
