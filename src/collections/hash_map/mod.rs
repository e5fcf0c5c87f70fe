//! [`HashMap`]: keys to values, without order, in about two cache misses.
//!
//! A table of buckets (`table`) holds for each entry a word with its place and a part of its hash; the entry (`entry`) is a block with
//! key and value. The table grows and shrinks by one bucket at a time, so that no call moves more than a handful of words, however
//! many entries there are.
//!
//! The hash is SipHash-1-3 of the key's ordered bytes under a random key of the map's own: nobody who chooses keys can make them
//! meet in one bucket. It is part of the file format.
//!
//! Limits: 2^33 buckets, made for 2^35 entries.
#![deny(unsafe_code)]

mod ahead;
mod entry;
mod iter;
mod load;
mod table;
mod update;

pub use iter::{Iter, Position};

use self::ahead::AHEAD;
use self::entry::{Content, Layout};
use self::load::Loader;
use self::table::{Found, Head, Link, Table, Word, bucket_of, free_own};
use super::{Item, Key, KeyBuffer};
use crate::error::{Error, Result};
use crate::txn::{InBlock, Located, View, WriteTxn};
use siphasher::sip::SipHasher13;
use std::borrow::Borrow;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

const KIND: u32 = u32::from_le_bytes(*b"Hash");
const LENGTH: &str = "a hash map has not as many entries as its header says";

handle! {
    /// A hash map in an arena: `HashMap`, as a handle of 8 bytes that can be stored in blocks and other collections.
    ///
    /// Keys are integers, floating-point numbers, offsets, arrays of these, byte strings and text; values are plain types, slices of them,
    /// byte strings and text, of any length. An entry does not move as long as its value keeps its length. For keys in order see
    /// `BTreeMap`.
    ///
    /// ```
    /// use heapfile::{Arena, View, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let ages = HashMap::<str, u32>::new_in(&mut tx)?;
    /// ages.insert(&mut tx, "Ada", &36)?;
    /// ages.insert(&mut tx, "Grace", &85)?;
    /// ages.update(&mut tx, "Ada", |age| *age += 1)?;
    /// let root = tx.alloc(&ages)?;
    /// tx.set_root(root)?;
    /// tx.commit()?;
    ///
    /// let tx = arena.read()?;
    /// let ages: HashMap<str, u32> = *tx.get(tx.root()?.unwrap())?;
    /// assert_eq!(ages.get(&tx, "Ada")?, Some(&37));
    /// assert_eq!(ages.len(&tx)?, 2);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    HashMap<K, V>
}

/// Sixteen bits for the size of an item; all ones: of any length, or longer than these say.
const fn size_code(size: Option<usize>) -> u64 {
    match size {
        Some(size) if size < 0xFFFF => size as u64,
        _ => 0xFFFF,
    }
}

impl<K: Key + ?Sized, V: Item + ?Sized> HashMap<K, V> {
    const SHAPE: u64 = KIND as u64 | size_code(K::SIZE) << 32 | size_code(V::SIZE) << 48;

    /// An empty map: 576 bytes in two blocks.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(HashMap::<u64, u64>::new_in(&mut tx)?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn new_in(tx: &mut WriteTxn<'_>) -> Result<Self> {
        // Keyed by the operating system's random numbers; nothing else of it is used.
        let key = [(); 2].map(|()| RandomState::new().hash_one(0));
        Self::with_hash_key(tx, key)
    }

    /// A map of the given entries, as by [`extend`](Self::extend).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let squares = HashMap::<u64, u64>::from_entries(&mut tx, (0..1000).map(|n| (n, n * n)))?;
    /// assert_eq!(squares.get(&tx, &31)?, Some(&961));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn from_entries<Q: Borrow<K>, W: Borrow<V>>(
        tx: &mut WriteTxn<'_>,
        entries: impl IntoIterator<Item = (Q, W)>,
    ) -> Result<Self> {
        tx.in_steps(|tx| {
            let map = Self::new_in(tx)?;
            map.extend(tx, entries)?;
            Ok(map)
        })
    }

    /// An empty map with a hash key of your own: the same entries always lie in the same order. Keep such keys from those who choose the
    /// entries' keys.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u64, u64>::with_hash_key(&mut tx, [1, 2])?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn with_hash_key(tx: &mut WriteTxn<'_>, key: [u64; 2]) -> Result<Self> {
        let segment = Table::first_segment(tx)?;
        let header = match tx.alloc_zeroed(table::HEADER_LEN, 64) {
            Ok(header) => header,
            Err(e) => {
                tx.free(segment)?;
                return Err(e);
            }
        };
        let head = Head { shape: Self::SHAPE, len: 0, buckets: table::FIRST, key, zeros: [0; 3] };
        tx.write_at(header, 0, bytemuck::bytes_of(&head))?;
        Table { header, buckets: table::FIRST }.set_segment(tx, 0, segment)?;
        Ok(Self::from_offset(header))
    }

    #[inline]
    fn head(&self, tx: &impl View) -> Result<Head> {
        self.check_head(*tx.part::<Head>(self.offset(), 0)?)
    }

    /// As [`head`](Self::head), of a map that is known to be there: its block is not looked up.
    #[inline]
    fn known_head(&self, tx: &impl View) -> Result<Head> {
        let [shape, len, buckets, first, second] = tx.words(self.offset().raw(), 5) else {
            return self.head(tx);
        };
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        self.check_head(Head {
            shape: word(shape),
            len: word(len),
            buckets: word(buckets),
            key: [word(first), word(second)],
            zeros: [0; 3],
        })
    }

    #[inline]
    fn check_head(&self, head: Head) -> Result<Head> {
        if head.shape == Self::SHAPE {
            Ok(head)
        } else {
            Err(self.damaged("no hash map of these types begins here"))
        }
    }

    #[cold]
    fn damaged(&self, what: &'static str) -> Error {
        Error::corrupt(self.offset().raw(), what)
    }

    fn set_len(&self, tx: &mut WriteTxn<'_>, len: u64) -> Result<()> {
        tx.write_at(self.offset(), table::LEN_AT, &len.to_le_bytes())
    }

    /// The entry with this key in ordered bytes, and its word.
    #[inline]
    fn find(
        &self,
        tx: &impl View,
        head: &Head,
        hash: u64,
        key: &[u8],
    ) -> Result<Option<(Found, Located, Range<u64>)>> {
        let table = Table::of(self.offset(), head)?;
        let mut chain = table.chain(tx, bucket_of(hash, table.buckets))?;
        while let Some(found) = chain.find(tx, hash)? {
            if let Some((block, value)) = Layout::<K, V>::with_key(tx, found.word.entry(), key)? {
                return Ok(Some((found, block, value)));
            }
        }
        Ok(None)
    }

    /// Where the value of a key lies, in a map as [`get_known`](Self::get_known) reads it.
    #[inline]
    pub(crate) fn value_known(&self, tx: &impl View, key: &K) -> Result<Option<InBlock>> {
        let (head, mut buffer) = (self.known_head(tx)?, KeyBuffer::new());
        let key = key.ordered(&mut buffer);
        Ok(self.find(tx, &head, hash(&head, key), key)?.map(|(_, block, value)| (block, value)))
    }

    /// Number of entries. A few loads.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert_eq!(HashMap::<u64, u64>::new_in(&mut tx)?.len(&tx)?, 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn len(&self, tx: &impl View) -> Result<u64> {
        Ok(self.head(tx)?.len)
    }

    /// Whether there is no entry.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(HashMap::<u64, u64>::new_in(&mut tx)?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn is_empty(&self, tx: &impl View) -> Result<bool> {
        Ok(self.len(tx)? == 0)
    }

    /// The value of a key, in place. O(1): the line of the bucket, and the entry.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<[u8], [u8]>::new_in(&mut tx)?;
    /// map.insert(&mut tx, b"key", b"value")?;
    /// assert_eq!(map.get(&tx, b"key")?, Some(&b"value"[..]));
    /// assert_eq!(map.get(&tx, b"other")?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    #[inline]
    pub fn get<'t>(&self, tx: &'t impl View, key: &K) -> Result<Option<&'t V>> {
        self.get_under(tx, &self.head(tx)?, key)
    }

    /// As [`get`](Self::get), of a map that the transaction's state is known to have: by a look-up in the same one, or what has not changed since an earlier one.
    #[inline]
    pub(crate) fn get_known<'t>(&self, tx: &'t impl View, key: &K) -> Result<Option<&'t V>> {
        self.get_under(tx, &self.known_head(tx)?, key)
    }

    #[inline]
    fn get_under<'t>(&self, tx: &'t impl View, head: &Head, key: &K) -> Result<Option<&'t V>> {
        let mut buffer = KeyBuffer::new();
        let key = key.ordered(&mut buffer);
        let hash = hash(head, key);
        let table = Table::of(self.offset(), head)?;
        let mut chain = table.chain(tx, bucket_of(hash, table.buckets))?;
        while let Some(found) = chain.find(tx, hash)? {
            let entry = found.word.entry();
            let (there, value) = Layout::<K, V>::read(tx, entry)?;
            if there == key {
                return Ok(Some(Layout::<K, V>::typed_value(entry, value)?));
            }
        }
        Ok(None)
    }

    /// Whether there is an entry with this key.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u64, u64>::new_in(&mut tx)?;
    /// map.insert(&mut tx, &1, &2)?;
    /// assert!(map.contains_key(&tx, &1)? && !map.contains_key(&tx, &2)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn contains_key(&self, tx: &impl View, key: &K) -> Result<bool> {
        Ok(self.place(tx, key)?.is_some())
    }

    /// Where the value of a key lies: its block, where it begins there, and its length. For values that are read, or written with
    /// [`WriteTxn::write_at`], in pieces. Right until the entry is removed or its value gets another length.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<str, [u8]>::new_in(&mut tx)?;
    /// map.insert(&mut tx, "key", b"0123456789")?;
    /// let (block, start, len) = map.place(&tx, "key")?.unwrap();
    /// assert_eq!(len, 10);
    /// tx.write_at(block, start + 4, b"xy")?;
    /// assert_eq!(map.get(&tx, "key")?, Some(&b"0123xy6789"[..]));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn place(&self, tx: &impl View, key: &K) -> Result<Option<super::Place>> {
        let (head, mut buffer) = (self.head(tx)?, KeyBuffer::new());
        let key = key.ordered(&mut buffer);
        let found = self.find(tx, &head, hash(&head, key), key)?;
        Ok(found.map(|(found, _, value)| (found.word.entry(), value.start, value.end - value.start)))
    }

    /// Sets the value of a key; returns whether there was one. Writes the entry and a word or two; a value of the same length is written over the
    /// old one.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<str, str>::new_in(&mut tx)?;
    /// assert!(!map.insert(&mut tx, "key", "old")?);
    /// assert!(map.insert(&mut tx, "key", "longer")?);
    /// assert_eq!(map.get(&tx, "key")?, Some("longer"));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert(&self, tx: &mut WriteTxn<'_>, key: &K, value: &V) -> Result<bool> {
        self.put(tx, key, Content::Bytes(value.as_bytes()))
    }

    fn put(&self, tx: &mut WriteTxn<'_>, key: &K, value: Content<'_>) -> Result<bool> {
        let (head, mut buffer) = (self.head(tx)?, KeyBuffer::new());
        let key = key.ordered(&mut buffer);
        let hash = hash(&head, key);
        if let Some((found, block, there)) = self.find(tx, &head, hash, key)? {
            let old = found.word.entry();
            let new = Layout::<K, V>::replace(tx, (block, there), key, value)?;
            if new != old {
                Table::replace(tx, found, Word::new(hash, new)?)?;
            }
            return Ok(true);
        }
        let entry = Layout::<K, V>::alloc(tx, key, value)?;
        let mut table = Table::of(self.offset(), &head)?;
        let word = Word::new(hash, entry)?;
        if let Err(e) = table.add(tx, bucket_of(hash, table.buckets), word) {
            tx.free(entry)?;
            return Err(e);
        }
        // The entry is in: what fails from here on leaves a half of the change.
        tx.in_steps(|tx| {
            tx.has_begun();
            let len = head.len.checked_add(1).ok_or_else(|| self.damaged(LENGTH))?;
            self.set_len(tx, len)?;
            if table.wants_growth(len) {
                without_space(table.grow(tx, |tx, entry| self.hash_of(tx, &head, entry)))?;
            }
            Ok(false)
        })
    }

    /// The hash of an entry's key.
    fn hash_of(&self, tx: &impl View, head: &Head, entry: Link) -> Result<u64> {
        Ok(hash(head, Layout::<K, V>::key(tx, entry)?))
    }

    /// Removes the entry with this key; whether there was one.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u64, u64>::new_in(&mut tx)?;
    /// map.insert(&mut tx, &1, &2)?;
    /// assert!(map.remove(&mut tx, &1)? && !map.remove(&mut tx, &1)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn remove(&self, tx: &mut WriteTxn<'_>, key: &K) -> Result<bool> {
        let (head, mut buffer) = (self.head(tx)?, KeyBuffer::new());
        let key = key.ordered(&mut buffer);
        let hash = hash(&head, key);
        let Some((found, ..)) = self.find(tx, &head, hash, key)? else { return Ok(false) };
        let mut table = Table::of(self.offset(), &head)?;
        let len = head.len.checked_sub(1).ok_or_else(|| self.damaged(LENGTH))?;
        tx.in_steps(|tx| {
            table.take(tx, bucket_of(hash, table.buckets), found)?;
            free_own(tx, found.word.entry())?;
            self.set_len(tx, len)?;
            if table.wants_shrinking(len) {
                without_space(table.shrink(tx))?;
            }
            Ok(true)
        })
    }

    /// Removes the entry with this key and returns a copy of its value.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, str>::from_entries(&mut tx, [(1, "one")])?;
    /// assert_eq!(map.take(&mut tx, &1)?.as_deref(), Some("one"));
    /// assert_eq!(map.take(&mut tx, &1)?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn take(&self, tx: &mut WriteTxn<'_>, key: &K) -> Result<Option<V::Owned>>
    where
        V: ToOwned,
    {
        let Some(value) = self.get(tx, key)?.map(V::to_owned) else { return Ok(None) };
        self.remove(tx, key)?;
        Ok(Some(value))
    }

    /// Removes all entries for which `keep` says no.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
    /// map.extend(&mut tx, (0..100).map(|n| (n, n)))?;
    /// map.retain(&mut tx, |_, n| n % 10 == 0)?;
    /// assert_eq!(map.len(&tx)?, 10);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn retain(&self, tx: &mut WriteTxn<'_>, mut keep: impl FnMut(K::Ref<'_>, &V) -> bool) -> Result<()> {
        tx.in_steps(|tx| {
            let head = self.head(tx)?;
            let table = Table::of(self.offset(), &head)?;
            let mut len = head.len;
            for bucket in 0..table.buckets {
                for found in table.words(tx, bucket)? {
                    let entry = found.word.entry();
                    let (key, value) = Layout::<K, V>::read(tx, entry)?;
                    let (key, value) =
                        (Layout::<K, V>::typed_key(entry, key)?, Layout::<K, V>::typed_value(entry, value)?);
                    if !keep(key, value) {
                        table.take(tx, bucket, found)?;
                        free_own(tx, entry)?;
                        len = len.checked_sub(1).ok_or_else(|| self.damaged(LENGTH))?;
                    }
                }
            }
            self.set_len(tx, len)?;
            self.shrink_while_sparse(tx, table, len)
        })
    }

    /// Gives buckets up until the table is right for so many entries.
    fn shrink_while_sparse(&self, tx: &mut WriteTxn<'_>, mut table: Table, len: u64) -> Result<()> {
        while table.wants_shrinking(len) {
            let before = table.buckets;
            without_space(table.shrink(tx))?;
            if table.buckets == before {
                break;
            }
        }
        Ok(())
    }

    /// Removes all entries.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
    /// map.insert(&mut tx, &1, &2)?;
    /// map.clear(&mut tx)?;
    /// assert!(map.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn clear(&self, tx: &mut WriteTxn<'_>) -> Result<()> {
        tx.in_steps(|tx| {
            let head = self.head(tx)?;
            let mut table = Table::of(self.offset(), &head)?;
            free_entries(tx, table, free_own)?;
            table.reset(tx)?;
            self.set_len(tx, 0)
        })
    }

    /// Frees the map with its entries. What these lead to stays; see [`free_with`](Self::free_with).
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
    /// map.insert(&mut tx, &1, &2)?;
    /// map.free(&mut tx)?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        self.free_each(tx, free_own)
    }

    fn free_each(
        self,
        tx: &mut WriteTxn<'_>,
        free: impl FnMut(&mut WriteTxn<'_>, Link) -> Result<()>,
    ) -> Result<()> {
        tx.in_steps(|tx| {
            let head = self.head(tx)?;
            let table = Table::of(self.offset(), &head)?;
            let segments = table.segments(tx)?;
            free_entries(tx, table, free)?;
            for segment in segments {
                free_own(tx, segment)?;
            }
            tx.free(self.offset())
        })
    }

    /// Frees the map and hands each value to `each`, which frees what that leads to. A map that leads to itself, which only a damaged file
    /// can hold, ends in [`Error::Corrupt`] or [`Error::BadOffset`].
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::{HashMap, Vector}};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<str, Vector<u32>>::new_in(&mut tx)?;
    /// let primes = Vector::from_slice(&mut tx, &[2, 3, 5])?;
    /// map.insert(&mut tx, "primes", &primes)?;
    /// map.free_with(&mut tx, |tx, vector| vector.free(tx))?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free_with(
        self,
        tx: &mut WriteTxn<'_>,
        mut each: impl FnMut(&mut WriteTxn<'_>, &V) -> Result<()>,
    ) -> Result<()> {
        self.free_each(tx, |tx, entry| {
            let (_, value) = Layout::<K, V>::read(tx, entry)?;
            // A copy, so that the value can be looked at while the transaction changes; aligned for every item.
            let mut lines = vec![0u128; value.len().div_ceil(16)];
            let copy = &mut bytemuck::cast_slice_mut(&mut lines)[..value.len()];
            copy.copy_from_slice(value);
            // The entry goes first, so that nobody comes here a second time.
            free_own(tx, entry)?;
            each(tx, Layout::<K, V>::typed_value(entry, copy)?)
        })
    }

    /// Inserts entries; later ones replace earlier ones with the same key. A map that is empty is filled at once, up to 8 million entries: they are
    /// written side by side, and the table of the size that it needs is built once. That costs 16 bytes of memory for each, and a fraction of as many calls of
    /// [`insert`](Self::insert). After an error in the middle the transaction can only be rolled back ([`Error::HalfChanged`]).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let map = HashMap::<u32, u32>::new_in(&mut tx)?;
    /// map.extend(&mut tx, [(1, 2), (3, 4)])?;
    /// assert_eq!(map.len(&tx)?, 2);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn extend<Q: Borrow<K>, W: Borrow<V>>(
        &self,
        tx: &mut WriteTxn<'_>,
        entries: impl IntoIterator<Item = (Q, W)>,
    ) -> Result<()> {
        tx.in_steps(|tx| {
            let mut entries = entries.into_iter().fuse();
            let head = self.head(tx)?;
            if head.len == 0 && Loader::fill(*self, tx, head, &mut entries)? {
                return Ok(());
            }
            let mut next: Vec<(Q, W)> = Vec::with_capacity(AHEAD);
            while Self::look_ahead(&mut entries, &mut next) {
                self.insert_all(tx, &mut next)?;
            }
            Ok(())
        })
    }

    /// Verifies all of the map: buckets and their overflow blocks, each entry's key, value, hash and place, and their number.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::HashMap};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// HashMap::<u32, u32>::new_in(&mut tx)?.check(&tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(&self, tx: &impl View) -> Result<()> {
        let head = self.head(tx)?;
        let table = Table::of(self.offset(), &head)?;
        table.check(tx)?;
        let mut entries = 0u64;
        for bucket in 0..table.buckets {
            let words = table.words(tx, bucket)?;
            entries += words.len() as u64;
            for (i, found) in words.iter().enumerate() {
                let entry = found.word.entry();
                let (key, value) = Layout::<K, V>::read(tx, entry)?;
                Layout::<K, V>::typed_key(entry, key)?;
                Layout::<K, V>::typed_value(entry, value)?;
                let hash = hash(&head, key);
                if bucket_of(hash, table.buckets) != bucket || !found.word.may_be(hash) {
                    return Err(Error::corrupt(
                        entry.raw(),
                        "an entry of a hash map is where its hash does not belong",
                    ));
                }
                for other in &words[..i] {
                    if other.word.may_be(hash) && Layout::<K, V>::key(tx, other.word.entry())? == key {
                        return Err(Error::corrupt(
                            entry.raw(),
                            "a hash map has two entries with the same key",
                        ));
                    }
                }
            }
        }
        if entries == head.len { Ok(()) } else { Err(self.damaged(LENGTH)) }
    }
}

#[inline]
fn hash(head: &Head, key: &[u8]) -> u64 {
    SipHasher13::new_with_keys(head.key[0], head.key[1]).hash(key)
}

/// A table that cannot grow, for want of space or because its file has no name any more, goes on as it is.
fn without_space(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(e) if e.is_want_of_space() || matches!(e, Error::Replaced { .. }) => Ok(()),
        other => other,
    }
}

/// Frees all entries by `free`, and the overflow blocks.
fn free_entries(
    tx: &mut WriteTxn<'_>,
    table: Table,
    mut free: impl FnMut(&mut WriteTxn<'_>, Link) -> Result<()>,
) -> Result<()> {
    for bucket in 0..table.buckets {
        for found in table.words(tx, bucket)? {
            free(tx, found.word.entry())?;
        }
        table.free_overflow(tx, bucket)?;
    }
    Ok(())
}
