//! Listings that do not hold writers up.
//!
//! A listing copies a few entries in a short read transaction, ends it, hands them out, and goes on behind the last key. What is committed in between is seen
//! if it lies ahead. In a hashed table it goes on behind the last place in the order of hashes. Each entry is one that was there at the time of its batch.

#![forbid(unsafe_code)]

use super::Store;
use super::table::Table;
use crate::collections::HashMap;
use crate::collections::hash_map::Position;
use crate::error::{Error, Result};
use crate::txn::ReadTxn;
use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

/// Entries of a batch, at most.
const BATCH: usize = 256;
/// Bytes of a batch: the entry that reaches it is the last.
const BATCH_BYTES: usize = 1 << 20;

/// An entry of a [`Listing`]: key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Iterator over copies of a table's entries, in batches with a short read transaction each. See [`Store::list`]. It ends after an error.
///
/// ```
/// # use heapfile::store::Store;
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Store::open(dir.path().join("a.heap"))?;
/// store.put("t", b"a", b"1")?;
/// let mut listing = store.list("t", ..);
/// assert_eq!(listing.next().unwrap()?, (b"a".to_vec(), b"1".to_vec()));
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct Listing<'a> {
    store: &'a Store,
    table: String,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    keys_only: bool,
    /// Where to go on in a hashed table.
    position: Position,
    batch: VecDeque<Entry>,
    ended: bool,
}

impl<'a> Listing<'a> {
    pub(super) fn new(store: &'a Store, table: &str, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Self {
        let table = table.to_owned();
        Self {
            store,
            table,
            low,
            high,
            keys_only: false,
            position: Position::START,
            batch: VecDeque::new(),
            ended: false,
        }
    }

    /// Copies the keys only; the values are empty.
    ///
    /// ```
    /// # use heapfile::store::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// store.put("t", b"a", b"1")?;
    /// assert_eq!(store.list("t", ..).keys_only().next().unwrap()?.1, b"");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    fn fill(&mut self) -> Result<()> {
        self.ended = true;
        let tx = self.store.read()?;
        let Some(table) = Table::open(&tx, &self.table)? else { return Ok(()) };
        if let Some(map) = table.hashed() {
            return self.fill_hashed(&tx, map);
        }
        let keys = (self.low.as_ref().map(Vec::as_slice), self.high.as_ref().map(Vec::as_slice));
        let mut bytes = 0;
        let entries = table.range(&tx, keys)?;
        for entry in entries {
            let (key, value) = entry?;
            bytes += self.keep(key, value);
            if self.batch.len() == BATCH || bytes >= BATCH_BYTES {
                self.ended = false;
                break;
            }
        }
        if let Some((last, _)) = self.batch.back() {
            if matches!(&self.low, Bound::Excluded(before) if before >= last) {
                return Err(Error::corrupt(table.info().map, "the keys of a table do not rise"));
            }
            self.low = Bound::Excluded(last.clone());
        }
        Ok(())
    }

    fn fill_hashed(&mut self, tx: &ReadTxn<'_>, map: HashMap<[u8], [u8]>) -> Result<()> {
        let mut entries = map.iter_from(tx, self.position)?;
        let (mut bytes, mut seen) = (0, 0);
        while let Some(entry) = entries.next() {
            let (key, value) = entry?;
            let keys = (self.low.as_ref().map(Vec::as_slice), self.high.as_ref().map(Vec::as_slice));
            if RangeBounds::<[u8]>::contains(&keys, key) {
                bytes += self.keep(key, value);
            }
            seen += 1;
            if seen >= BATCH || bytes >= BATCH_BYTES {
                if let Some(position) = entries.position()? {
                    if position <= self.position {
                        return Err(Error::corrupt(map.offset().raw(), "an entry of a table is named twice"));
                    }
                    (self.position, self.ended) = (position, false);
                }
                break;
            }
        }
        Ok(())
    }

    /// Copies an entry; its length.
    fn keep(&mut self, key: &[u8], value: &[u8]) -> usize {
        let value = if self.keys_only { &[] } else { value };
        self.batch.push_back((key.to_vec(), value.to_vec()));
        key.len() + value.len()
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.batch.is_empty() && !self.ended {
            if let Err(e) = self.fill() {
                (self.ended, self.batch) = (true, VecDeque::new());
                return Some(Err(e));
            }
        }
        self.batch.pop_front().map(Ok)
    }
}
