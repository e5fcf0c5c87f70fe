//! Persistent objects by key: tables of byte strings in an arena.
//!
//! A [`Store`] is an arena with named tables. What one call does alone, [`Store`] offers as a call with a transaction of its own; what belongs together is done
//! with [`Table`]s in one transaction, with other blocks and collections of the arena if need be.
//!
//! ```
//! use heapfile::store::Store;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("app.heap");
//! let store = Store::open(&path)?;
//! store.put("users", b"ada", b"countess")?; // on the disk when this returns
//! assert_eq!(store.get("users", b"ada")?.as_deref(), Some(&b"countess"[..]));
//! for entry in store.list("users", ..) {
//!     let (key, value) = entry?;
//!     println!("{} {}", key.escape_ascii(), value.escape_ascii());
//! }
//! # Ok::<(), heapfile::Error>(())
//! ```
//!
//! Keys and values are of any length, from 0 bytes to what the arena has room for. Plain types are stored and borrowed as they are
//! ([`Table::get_plain`]); other types through serde, with the feature `serde` (`Table::get_as`).

#![forbid(unsafe_code)]

mod directory;
mod known;
mod listing;
mod table;
#[cfg(feature = "serde")]
mod typed;

pub use listing::{Entry, Listing};
pub use table::{Entries, Kind, Range, Table};

use crate::arena::{Arena, Shrunk};
use crate::collections::btree::after_prefix;
use crate::error::Result;
use crate::txn::edit::Present;
use crate::txn::{ReadTxn, View, WriteTxn};
use directory::Directory;
use known::Known;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

/// Values up to this length are stored with the gate shut from the start, where a commit costs no flush.
const SHORT: usize = 4096;

/// Named tables in an arena. Clones share one handle.
///
/// The arena's root `store` leads to them, and is the store's own: who renames it, removes it or sets it to something else while a `Store` is open leaves that at work
/// on the tables that it knows, where others no longer look.
///
/// ```
/// use heapfile::store::Store;
/// # let dir = tempfile::tempdir().unwrap();
/// let store = Store::open(dir.path().join("a.heap"))?;
/// store.put("settings", b"colour", b"green")?;
/// assert!(store.contains("settings", b"colour")?);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    arena: Arena,
    known: Arc<Known>,
}

impl Store {
    /// Opens a store, or creates one, in an arena with the default options: what is stored survives loss of power.
    ///
    /// # Errors
    /// Those of [`Arena::open_or_create`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::with(Arena::open_or_create(path)?))
    }

    /// The store in an arena that is open, whatever its options. The first table that is written makes it one.
    ///
    /// ```
    /// use heapfile::{Durability, Options, store::Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = Options::new().durability(Durability::Process).create(dir.path().join("cache.heap"))?;
    /// let store = Store::with(arena);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn with(arena: Arena) -> Self {
        Self { arena, known: Arc::default() }
    }

    /// The arena.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// assert!(store.arena().check()?.findings.is_empty());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Begins a read transaction of the arena.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// let tx = store.read()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn read(&self) -> Result<ReadTxn<'_>> {
        self.arena.read()
    }

    /// Begins the write transaction of the arena.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// let tx = store.write()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn write(&self) -> Result<WriteTxn<'_>> {
        self.arena.write()
    }

    /// The table of that name in a transaction of this store's arena; as [`Table::open`], but remembered, and so faster from the second time on.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"a", b"1")?;
    /// let tx = store.read()?;
    /// let table = store.table(&tx, "t")?.unwrap();
    /// assert_eq!(table.len(&tx)?, 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn table(&self, tx: &impl View, name: &str) -> Result<Option<Table>> {
        match self.known_table(tx, name) {
            Some(table) => Ok(Some(table)),
            None => Table::open(tx, name),
        }
    }

    /// The table of that name, if it is remembered and the directory is as it was then.
    #[inline]
    fn known_table(&self, tx: &impl View, name: &str) -> Option<Table> {
        let (table, directory, changes) = self.known.get(name)?;
        Directory::is_unchanged(tx, directory, changes).then_some(table)
    }

    /// Looks for a table in a committed state, and remembers it.
    #[cold]
    fn remember(&self, tx: &ReadTxn<'_>, name: &str) -> Result<Option<Table>> {
        let Some(directory) = Directory::find(tx)? else { return Ok(None) };
        let Some(table) = directory.table(tx, name)? else { return Ok(None) };
        self.known.set(name, table, directory.at, directory.changes);
        Ok(Some(table))
    }

    /// Reads from a table in a transaction of its own; `None` if there is no such table.
    fn reading<T>(
        &self,
        name: &str,
        read: impl FnOnce(&ReadTxn<'_>, Table) -> Result<T>,
    ) -> Result<Option<T>> {
        let tx = self.arena.read()?;
        let table = match self.known_table(&tx, name) {
            Some(table) => Some(table),
            None => self.remember(&tx, name)?,
        };
        table.map(|table| read(&tx, table)).transpose()
    }

    /// Begins a transaction, which is `short` if its change is.
    fn begin(&self, short: bool) -> Result<WriteTxn<'_>> {
        if short { self.arena.begin_short() } else { self.arena.write() }
    }

    /// Changes a table, made if need be, in a transaction of its own.
    fn changing<T>(
        &self,
        name: &str,
        short: bool,
        change: impl FnOnce(&mut WriteTxn<'_>, Table) -> Result<T>,
    ) -> Result<T> {
        self.changing_in(self.begin(short)?, name, change)
    }

    /// As [`changing`](Self::changing), in this transaction.
    fn changing_in<T>(
        &self,
        mut tx: WriteTxn<'_>,
        name: &str,
        change: impl FnOnce(&mut WriteTxn<'_>, Table) -> Result<T>,
    ) -> Result<T> {
        let known = self.known_table(&tx, name);
        let table = match known {
            Some(table) => table,
            None => Table::open_or_create(&mut tx, name)?,
        };
        self.commit(tx, name, table, known.is_some(), change)
    }

    /// Changes a table in this transaction if there is one of that name.
    fn changing_found<T>(
        &self,
        tx: WriteTxn<'_>,
        name: &str,
        change: impl FnOnce(&mut WriteTxn<'_>, Table) -> Result<T>,
    ) -> Result<Option<T>> {
        let known = self.known_table(&tx, name);
        let found = match known {
            Some(_) => known,
            None => Table::open(&tx, name)?,
        };
        found.map(|table| self.commit(tx, name, table, known.is_some(), change)).transpose()
    }

    fn commit<T>(
        &self,
        mut tx: WriteTxn<'_>,
        name: &str,
        table: Table,
        is_known: bool,
        change: impl FnOnce(&mut WriteTxn<'_>, Table) -> Result<T>,
    ) -> Result<T> {
        let outcome = change(&mut tx, table)?;
        tx.commit()?;
        if !is_known && let Ok(tx) = self.arena.read() {
            // Done is done: what fails here makes the next call slower, no more.
            let _ = self.remember(&tx, name);
        }
        Ok(outcome)
    }

    /// Overwrites a value of the same length, if `may` agrees to what it is, without a write set where that can be. Otherwise does what `otherwise` says, in the same transaction, which it commits.
    #[inline]
    fn overwriting(
        &self,
        name: &str,
        key: &[u8],
        value: &[u8],
        may: impl FnOnce(&[u8]) -> bool,
        otherwise: impl FnOnce(WriteTxn<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let known_value = |now: &Present<'_>| match self.known_table(now, name) {
            Some(table) => table.value_known(now, key),
            None => Ok(None),
        };
        match self.arena.overwrite(value, known_value, may)? {
            None => Ok(true),
            Some(tx) => otherwise(tx),
        }
    }

    /// Stores an entry in a transaction of its own; whether one with that key was replaced. A table that is not there is created, ordered.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// assert!(!store.put("t", b"a", b"1")?);
    /// assert!(store.put("t", b"a", b"2")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn put(&self, table: &str, key: &[u8], value: &[u8]) -> Result<bool> {
        let put = |tx: &mut WriteTxn<'_>, table: Table| table.put(tx, key, value);
        if value.len() > SHORT {
            return self.changing(table, false, put);
        }
        self.overwriting(table, key, value, |_| true, |tx| self.changing_in(tx, table, put))
    }

    /// A copy of a key's value, in a transaction of its own. To borrow it instead use [`Table::get`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// assert_eq!(store.get("t", b"a")?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.reading(table, |tx, table| Ok(table.get_known(tx, key)?.map(<[u8]>::to_vec)))?;
        Ok(value.flatten())
    }

    /// Calls `look` with a key's value, borrowed from the file, in a transaction of its own, which lasts as long as `look` takes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"a", b"12345")?;
    /// assert_eq!(store.get_with("t", b"a", |value| value.len())?, Some(5));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get_with<T>(&self, table: &str, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let value = self.reading(table, |tx, table| Ok(table.get_known(tx, key)?.map(look)))?;
        Ok(value.flatten())
    }

    /// Deletes an entry in a transaction of its own; whether there was one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"a", b"1")?;
    /// assert!(store.delete("t", b"a")?);
    /// assert!(!store.delete("t", b"a")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn delete(&self, table: &str, key: &[u8]) -> Result<bool> {
        if !self.contains(table, key)? {
            return Ok(false);
        }
        let found = self.changing_found(self.begin(true)?, table, |tx, table| table.delete(tx, key))?;
        Ok(found.unwrap_or(false))
    }

    /// Whether there is an entry with that key, in a transaction of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// assert!(!store.contains("t", b"a")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn contains(&self, table: &str, key: &[u8]) -> Result<bool> {
        Ok(self.reading(table, |tx, table| table.contains(tx, key))?.unwrap_or(false))
    }

    /// Number of entries of a table; 0 if there is no such table.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// assert_eq!(store.len("t")?, 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn len(&self, table: &str) -> Result<u64> {
        Ok(self.reading(table, |tx, table| table.len(tx))?.unwrap_or(0))
    }

    /// [`Table::compare_and_swap`] in a transaction of its own: what other threads and processes do in between is noticed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// assert!(store.compare_and_swap("locks", b"door", None, Some(b"me"))?);
    /// assert!(!store.compare_and_swap("locks", b"door", None, Some(b"you"))?);
    /// assert!(store.compare_and_swap("locks", b"door", Some(b"me"), None)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn compare_and_swap(
        &self,
        table: &str,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool> {
        let swap = |tx: &mut WriteTxn<'_>, table: Table| table.compare_and_swap(tx, key, old, new);
        let short = new.is_none_or(|new| new.len() <= SHORT);
        // Where there is no table there is no entry.
        let in_found = |tx: WriteTxn<'_>| Ok(self.changing_found(tx, table, swap)?.unwrap_or(old.is_none()));
        match (old, new) {
            (Some(old), Some(new)) if new.len() == old.len() && short => {
                self.overwriting(table, key, new, |now| now == old, in_found)
            }
            (None, Some(_)) => self.changing(table, short, swap),
            _ => in_found(self.begin(short)?),
        }
    }

    /// [`Table::update`] in a transaction of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"a", b"one")?;
    /// store.update("t", b"a", |value| value.make_ascii_uppercase())?;
    /// assert_eq!(store.get("t", b"a")?.unwrap(), b"ONE");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update(&self, table: &str, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Result<bool> {
        let found =
            self.changing_found(self.begin(false)?, table, |tx, table| table.update(tx, key, change))?;
        Ok(found.unwrap_or(false))
    }

    /// Copies of the entries whose keys lie in a range, however long it takes: no transaction is held between batches, so writers
    /// are not held up. What is committed meanwhile is seen if it lies ahead. Entries of an ordered table come in the order of their keys; those of a hashed one in no
    /// order, and it is read as a whole for any range.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// for n in 0..1000u16 {
    ///     store.put("t", &n.to_be_bytes(), b"")?;
    /// #   if n == 20 { break }
    /// }
    /// let from: &[u8] = &10u16.to_be_bytes();
    /// for entry in store.list("t", (std::ops::Bound::Included(from), std::ops::Bound::Unbounded)) {
    ///     let (key, _) = entry?;
    ///     store.delete("t", &key)?;
    /// }
    /// assert_eq!(store.len("t")?, 10);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn list(&self, table: &str, keys: impl RangeBounds<[u8]>) -> Listing<'_> {
        let low = keys.start_bound().map(<[u8]>::to_vec);
        let high = keys.end_bound().map(<[u8]>::to_vec);
        Listing::new(self, table, low, high)
    }

    /// As [`list`](Self::list), of the entries whose keys begin with `prefix`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"user:ada", b"")?;
    /// store.put("t", b"zone:1", b"")?;
    /// assert_eq!(store.list_prefix("t", b"user:").count(), 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn list_prefix(&self, table: &str, prefix: &[u8]) -> Listing<'_> {
        let high = after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Listing::new(self, table, Bound::Included(prefix.to_vec()), high)
    }

    /// Names of all tables, sorted.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("users", b"ada", b"")?;
    /// assert_eq!(store.tables()?, ["users"]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn tables(&self) -> Result<Vec<String>> {
        let tx = self.arena.read()?;
        let Some(directory) = Directory::find(&tx)? else { return Ok(Vec::new()) };
        Ok(directory.all(&tx)?.into_iter().map(|(name, _)| name).collect())
    }

    /// [`Table::drop_table`] in a transaction of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("users", b"ada", b"")?;
    /// assert!(store.drop_table("users")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn drop_table(&self, name: &str) -> Result<bool> {
        let mut tx = self.arena.write()?;
        let was_there = Table::drop_table(&mut tx, name)?;
        tx.commit()?;
        Ok(was_there)
    }

    /// Writes the entries of an ordered table anew, side by side, in a transaction of its own; whether there is a table of that name. A hashed one packs
    /// itself as it gets smaller, and stays as it is. The space that becomes free goes back to the file system with [`Arena::shrink`]. O(n); writers wait
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace) if the disk has no room for the new nodes beside the old ones: the table is as it was.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"a", b"1")?;
    /// store.put("t", b"b", b"2")?;
    /// store.delete("t", b"a")?;
    /// assert!(store.pack("t")?);
    /// assert!(!store.pack("no such table")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pack(&self, name: &str) -> Result<bool> {
        let mut tx = self.arena.write()?;
        let Some(table) = Table::open(&tx, name)? else { return Ok(false) };
        if let Ok(map) = table.ordered() {
            map.pack(&mut tx)?;
            tx.commit()?;
        }
        Ok(true)
    }

    /// Packs all ordered tables, as [`pack`](Self::pack) does, and gives free space back to the file system. After many deletions
    /// the file is about as large as if what is left had been stored alone. A table that the disk has no room to pack stays as it is. O(n); writers wait for one table at a time.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"a", &[7; 100_000])?;
    /// store.delete("t", b"a")?;
    /// let shrunk = store.shrink()?;
    /// assert!(shrunk.file_bytes <= shrunk.file_bytes_before);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn shrink(&self) -> Result<Shrunk> {
        for name in self.tables()? {
            match self.pack(&name) {
                Err(e) if e.is_want_of_space() => {}
                packed => drop(packed?),
            }
        }
        self.arena.shrink()
    }

    /// Verifies the directory and every table. O(n), in a read transaction for each table.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for the first contradiction found.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.check()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(&self) -> Result<()> {
        let tx = self.arena.read()?;
        if let Some(directory) = Directory::find(&tx)? {
            directory.check(&tx)?;
        }
        drop(tx);
        for name in self.tables()? {
            let tx = self.arena.read()?;
            if let Some(table) = Table::open(&tx, &name)? {
                table.check(&tx)?;
            }
        }
        Ok(())
    }
}
