//! Tables: byte strings by key, in a transaction.

#![forbid(unsafe_code)]

use super::directory::{Directory, TableInfo};
use crate::collections::{BTreeMap, HashMap, Place, btree, hash_map};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{InBlock, View, WriteTxn};
use std::io::Read;
use std::ops::RangeBounds;

/// How a table finds its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// In the order of the keys: ranges, prefixes, listings in order.
    Ordered,
    /// By hash: faster to get and put, without order.
    Hashed,
}

/// A table of a store in a transaction: entries of a key and a value, both byte strings of any length.
///
/// Good in the transaction that it was opened in, and longer as long as the table is not dropped. Several tables, and other blocks of the arena, can be
/// changed in one transaction. If a call that changes fails for want of space or because of damage, roll the transaction back.
///
/// ```
/// use heapfile::store::{Store, Table};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a.heap");
/// let store = Store::open(&path)?;
/// let mut tx = store.write()?;
/// let (users, log) = (Table::open_or_create(&mut tx, "users")?, Table::open_or_create(&mut tx, "log")?);
/// users.put(&mut tx, b"ada", b"36")?;
/// log.put(&mut tx, &1u64.to_be_bytes(), b"new user ada")?;
/// tx.commit()?; // both or neither
///
/// let tx = store.read()?;
/// let users = Table::open(&tx, "users")?.expect("created above");
/// assert_eq!(users.get(&tx, b"ada")?, Some(&b"36"[..])); // borrowed from the mapped file
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table(Map);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Map {
    Ordered(BTreeMap<[u8], [u8]>),
    Hashed(HashMap<[u8], [u8]>),
}

/// Iterator over a range of entries of an ordered [`Table`], from both ends.
pub type Range<'t, S> = btree::Iter<'t, [u8], [u8], S>;

const ORDERED: u64 = 1;
const HASHED: u64 = 2;

/// Does the same with either kind of map.
macro_rules! either {
    ($table:expr, $map:ident => $what:expr) => {
        match $table.0 {
            Map::Ordered($map) => $what,
            Map::Hashed($map) => $what,
        }
    };
}

mod many;
mod plain;

impl Table {
    pub(super) fn from_info(info: TableInfo) -> Result<Self> {
        let map = Offset::from_raw(info.map);
        match info.kind {
            ORDERED => Ok(Self(Map::Ordered(BTreeMap::from_offset(map)))),
            HASHED => Ok(Self(Map::Hashed(HashMap::from_offset(map)))),
            _ => Err(Error::corrupt(info.map, "a table is of a kind that this version does not know")),
        }
    }

    pub(super) fn info(self) -> TableInfo {
        let kind = match self.kind() {
            Kind::Ordered => ORDERED,
            Kind::Hashed => HASHED,
        };
        TableInfo { kind, map: self.offset() }
    }

    fn offset(self) -> u64 {
        either!(self, map => map.offset().raw())
    }

    /// Where the value of a key lies: its block, its first byte in that block, its length.
    fn place(self, tx: &impl View, key: &[u8]) -> Result<Option<Place>> {
        either!(self, map => map.place(tx, key))
    }

    pub(super) fn new_in(tx: &mut WriteTxn<'_>, kind: Kind) -> Result<Self> {
        Ok(Self(match kind {
            Kind::Ordered => Map::Ordered(BTreeMap::new_in(tx)?),
            Kind::Hashed => Map::Hashed(HashMap::new_in(tx)?),
        }))
    }

    /// The table of that name, if there is one.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// assert!(Table::open(&store.read()?, "users")?.is_none());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open(tx: &impl View, name: &str) -> Result<Option<Self>> {
        match Directory::find(tx)? {
            Some(directory) => directory.table(tx, name),
            None => Ok(None),
        }
    }

    /// The table of that name; created, ordered, if there is none. Names have 1 to 255 bytes.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// let users = Table::open_or_create(&mut tx, "users")?;
    /// assert_eq!(users.len(&tx)?, 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open_or_create(tx: &mut WriteTxn<'_>, name: &str) -> Result<Self> {
        let directory = Directory::find_or_create(tx)?;
        match directory.table(tx, name)? {
            Some(table) => Ok(table),
            None => directory.create(tx, name, Kind::Ordered),
        }
    }

    /// Creates a table of a kind.
    ///
    /// # Errors
    /// [`Error::TableExists`] if there is one of that name; [`Error::BadOption`] for an empty name, [`Error::TooLarge`] for one of more than 255 bytes.
    ///
    /// ```
    /// # use heapfile::store::{Kind, Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// let sessions = Table::create(&mut tx, "sessions", Kind::Hashed)?;
    /// assert_eq!(sessions.kind(), Kind::Hashed);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn create(tx: &mut WriteTxn<'_>, name: &str, kind: Kind) -> Result<Self> {
        let directory = Directory::find_or_create(tx)?;
        if directory.table(tx, name)?.is_some() {
            return Err(Error::TableExists { name: name.to_owned() });
        }
        directory.create(tx, name, kind)
    }

    /// How the table finds its entries.
    ///
    /// ```
    /// # use heapfile::store::{Kind, Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// assert_eq!(Table::open_or_create(&mut tx, "t")?.kind(), Kind::Ordered);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn kind(self) -> Kind {
        match self.0 {
            Map::Ordered(_) => Kind::Ordered,
            Map::Hashed(_) => Kind::Hashed,
        }
    }

    /// Frees the table of that name with all its entries; whether there was one. O(n).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// Table::open_or_create(&mut tx, "users")?;
    /// assert!(Table::drop_table(&mut tx, "users")?);
    /// assert!(Table::open(&tx, "users")?.is_none());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn drop_table(tx: &mut WriteTxn<'_>, name: &str) -> Result<bool> {
        let Some(directory) = Directory::find(tx)? else { return Ok(false) };
        let Some(table) = directory.table(tx, name)? else { return Ok(false) };
        tx.in_steps(|tx| {
            directory.remove(tx, name)?;
            either!(table, map => map.free(tx))
        })?;
        Ok(true)
    }

    /// The map of an ordered table, for all that such maps can do: `first`, `last`, `pop_first`, `pop_last`, `pack`.
    ///
    /// # Errors
    /// [`Error::Unordered`] for a hashed table.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// let users = Table::open_or_create(&mut tx, "users")?;
    /// users.put(&mut tx, b"bob", b"41")?;
    /// users.put(&mut tx, b"ada", b"36")?;
    /// assert_eq!(users.ordered()?.last(&tx)?, Some((&b"bob"[..], &b"41"[..])));
    /// assert_eq!(users.ordered()?.pop_first(&mut tx)?, Some((b"ada".to_vec(), b"36".to_vec())));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn ordered(self) -> Result<BTreeMap<[u8], [u8]>> {
        match self.0 {
            Map::Ordered(map) => Ok(map),
            Map::Hashed(_) => Err(Error::Unordered),
        }
    }

    /// The map of a hashed table; `None` for an ordered one.
    ///
    /// ```
    /// # use heapfile::store::{Kind, Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// let table = Table::create(&mut tx, "t", Kind::Hashed)?;
    /// let position = table.hashed().unwrap().iter(&tx)?.position()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn hashed(self) -> Option<HashMap<[u8], [u8]>> {
        match self.0 {
            Map::Ordered(_) => None,
            Map::Hashed(map) => Some(map),
        }
    }

    /// The value of a key, borrowed from the file. O(log n).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put(&mut tx, b"key", b"value")?;
    /// assert_eq!(table.get(&tx, b"key")?, Some(&b"value"[..]));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    #[inline]
    pub fn get<'t>(self, tx: &'t impl View, key: &[u8]) -> Result<Option<&'t [u8]>> {
        either!(self, map => map.get(tx, key))
    }

    /// As [`get`](Self::get), of a table that the directory was just seen to lead to.
    #[inline]
    pub(super) fn get_known<'t>(self, tx: &'t impl View, key: &[u8]) -> Result<Option<&'t [u8]>> {
        either!(self, map => map.get_known(tx, key))
    }

    /// Where the value of a key lies, in a table that the directory was just seen to lead to.
    #[inline]
    pub(super) fn value_known(self, tx: &impl View, key: &[u8]) -> Result<Option<InBlock>> {
        either!(self, map => map.value_known(tx, key))
    }

    /// Stores an entry; whether one with that key was replaced. O(log n); a value of the same length is overwritten in place.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// assert!(!table.put(&mut tx, b"key", b"value")?);
    /// assert!(table.put(&mut tx, b"key", b"other value")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn put(self, tx: &mut WriteTxn<'_>, key: &[u8], value: &[u8]) -> Result<bool> {
        either!(self, map => map.insert(tx, key, value))
    }

    /// Stores entries; later ones replace earlier ones with the same key. Faster than as many calls of [`put`](Self::put) if the table is ordered or
    /// empty: see [`BTreeMap::extend`], [`HashMap::extend`]. On an error some of them may be stored and some not: roll back.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.extend(&mut tx, [(b"b", b"1"), (b"a", b"2")])?;
    /// assert_eq!(table.get(&tx, b"a")?, Some(&b"2"[..]));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn extend(
        self,
        tx: &mut WriteTxn<'_>,
        entries: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<()> {
        let entries = entries.into_iter().map(|(key, value)| (Bytes(key), Bytes(value)));
        either!(self, map => map.extend(tx, entries))
    }

    /// Deletes an entry; whether there was one. O(log n).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// assert!(!table.delete(&mut tx, b"key")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn delete(self, tx: &mut WriteTxn<'_>, key: &[u8]) -> Result<bool> {
        either!(self, map => map.remove(tx, key))
    }

    /// Whether there is an entry with that key. O(log n).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// assert!(!table.contains(&tx, b"key")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn contains(self, tx: &impl View, key: &[u8]) -> Result<bool> {
        either!(self, map => map.contains_key(tx, key))
    }

    /// Number of entries. O(1).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// assert_eq!(table.len(&tx)?, 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn len(self, tx: &impl View) -> Result<u64> {
        either!(self, map => map.len(tx))
    }

    /// Whether there are no entries. O(1).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// assert!(Table::open_or_create(&mut tx, "t")?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn is_empty(self, tx: &impl View) -> Result<bool> {
        either!(self, map => map.is_empty(tx))
    }

    /// All entries, of an ordered table in the order of their keys. The transaction lives as long, and writers wait for it: for long listings see
    /// [`Store::list`](super::Store::list).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// for entry in table.iter(&tx)? {
    ///     let (key, value) = entry?;
    ///     println!("{key:?} {value:?}");
    /// }
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn iter<S: View>(self, tx: &S) -> Result<Entries<'_, S>> {
        Ok(Entries(match self.0 {
            Map::Ordered(map) => Either::Ordered(map.iter(tx)?),
            Map::Hashed(map) => Either::Hashed(map.iter(tx)?),
        }))
    }

    /// The entries whose keys lie in a range, from both ends: `range(..).next()` is the first of all, `range(..).next_back()` the last.
    ///
    /// # Errors
    /// [`Error::Unordered`] for a hashed table.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put(&mut tx, b"b", b"")?;
    /// assert_eq!(table.range(&tx, (Bound::Included(&b"a"[..]), Bound::Excluded(&b"c"[..])))?.count(), 1);
    /// # use std::ops::Bound;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn range<S: View>(self, tx: &S, keys: impl RangeBounds<[u8]>) -> Result<Range<'_, S>> {
        self.ordered()?.range(tx, keys)
    }

    /// The entries whose keys begin with `prefix`, from both ends.
    ///
    /// # Errors
    /// [`Error::Unordered`] for a hashed table.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// assert_eq!(table.prefix(&tx, b"user:")?.count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn prefix<'t, S: View>(self, tx: &'t S, prefix: &[u8]) -> Result<Range<'t, S>> {
        self.ordered()?.prefix(tx, prefix)
    }

    /// Stores `new` under the key, or deletes the entry for `None`, if what is there is `old` (`None`: nothing). Returns whether it was.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// assert!(table.compare_and_swap(&mut tx, b"lock", None, Some(b"mine"))?);
    /// assert!(!table.compare_and_swap(&mut tx, b"lock", None, Some(b"yours"))?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn compare_and_swap(
        self,
        tx: &mut WriteTxn<'_>,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool> {
        if self.get(tx, key)? != old {
            return Ok(false);
        }
        match new {
            Some(new) => self.put(tx, key, new)?,
            None => self.delete(tx, key)?,
        };
        Ok(true)
    }

    /// Lets `change` edit a value; whether there is one. If the length stays, only the bytes from the first to the last that differ are written.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put(&mut tx, b"log", b"one")?;
    /// table.update(&mut tx, b"log", |value| value.extend_from_slice(b", two"))?;
    /// assert_eq!(table.get(&tx, b"log")?, Some(&b"one, two"[..]));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update(
        self,
        tx: &mut WriteTxn<'_>,
        key: &[u8],
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Result<bool> {
        let Some(old) = self.get(tx, key)? else { return Ok(false) };
        let mut new = old.to_vec();
        change(&mut new);
        if new.len() != old.len() {
            self.put(tx, key, &new)?;
            return Ok(true);
        }
        let differs = |i: &usize| old[*i] != new[*i];
        let Some(first) = (0..new.len()).find(differs) else { return Ok(true) };
        let last = (first..new.len()).rfind(differs).unwrap_or(first);
        self.write_at(tx, key, first as u64, &new[first..=last])?;
        Ok(true)
    }

    /// Overwrites bytes of a value from its byte `at` on; whether there is an entry. Costs what it writes, however long the value is.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] if the bytes reach behind the value's end.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put(&mut tx, b"film", &vec![0; 1 << 20])?;
    /// table.write_at(&mut tx, b"film", 1 << 19, b"cut")?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn write_at(self, tx: &mut WriteTxn<'_>, key: &[u8], at: u64, bytes: &[u8]) -> Result<bool> {
        let Some((block, start, len)) = self.place(tx, key)? else { return Ok(false) };
        let end = at.saturating_add(bytes.len() as u64);
        if end > len {
            return Err(Error::OutOfBounds { offset: block.raw(), start: at, end, len });
        }
        tx.write_at(block, start + at, bytes)?;
        Ok(true)
    }

    /// Stores a value of `len` bytes that `source` gives, piece by piece: of any length, with little memory. If the source fails, ends early or
    /// panics, the transaction can only be rolled back ([`Error::HalfChanged`]); but up to 1 MiB all is read first, and then nothing was changed.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put_from(&mut tx, b"film", 5 << 20, std::io::repeat(7))?;
    /// assert_eq!(table.get(&tx, b"film")?.unwrap().len(), 5 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_from(
        self,
        tx: &mut WriteTxn<'_>,
        key: &[u8],
        len: u64,
        mut source: impl Read,
    ) -> std::io::Result<()> {
        const PIECE: u64 = 1 << 20;
        if len <= PIECE {
            let mut value = vec![0; len as usize];
            source.read_exact(&mut value)?;
            return self.put(tx, key, &value).map(|_| ()).map_err(std::io::Error::other);
        }
        let (block, start) =
            either!(self, map => map.insert_unset(tx, key, len)).map_err(std::io::Error::other)?;
        tx.in_steps(|tx| {
            // What the block held, it may hold still.
            tx.has_begun();
            let mut piece = vec![0; PIECE as usize];
            let mut at = 0;
            while at < len {
                let piece = &mut piece[..(len - at).min(PIECE) as usize];
                source.read_exact(piece)?;
                tx.write_at(block, start + at, piece).map_err(std::io::Error::other)?;
                at += piece.len() as u64;
            }
            Ok(())
        })
    }

    /// Verifies the table's structure. O(n).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// Table::open_or_create(&mut tx, "t")?.check(&tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(self, tx: &impl View) -> Result<()> {
        either!(self, map => map.check(tx))
    }
}

/// Whatever is a byte string, as maps take it.
struct Bytes<T>(T);

impl<T: AsRef<[u8]>> std::borrow::Borrow<[u8]> for Bytes<T> {
    fn borrow(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// Iterator over all entries of a [`Table`]. It ends after an error.
///
/// ```
/// # use heapfile::store::{Store, Table};
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Store::open(dir.path().join("a.heap"))?;
/// # let mut tx = store.write()?;
/// let table = Table::open_or_create(&mut tx, "t")?;
/// table.put(&mut tx, b"a", b"1")?;
/// assert_eq!(table.iter(&tx)?.next().unwrap()?, (&b"a"[..], &b"1"[..]));
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct Entries<'t, S>(Either<'t, S>);

#[derive(Debug)]
enum Either<'t, S> {
    Ordered(btree::Iter<'t, [u8], [u8], S>),
    Hashed(hash_map::Iter<'t, [u8], [u8], S>),
}

impl<'t, S: View> Iterator for Entries<'t, S> {
    type Item = Result<(&'t [u8], &'t [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Either::Ordered(entries) => entries.next(),
            Either::Hashed(entries) => entries.next(),
        }
    }
}
