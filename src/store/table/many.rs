//! What can be done with a table of either kind as with a map of std's.

#![forbid(unsafe_code)]

use super::{Map, Table};
use crate::error::Result;
use crate::txn::{View, WriteTxn};

impl Table {
    /// All keys, in the order of [`iter`](Self::iter).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.extend(&mut tx, [("b", "1"), ("a", "2")])?;
    /// assert_eq!(table.keys(&tx)?.collect::<Result<Vec<_>, _>>()?, [b"a", b"b"]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn keys<'t, S: View>(self, tx: &'t S) -> Result<impl Iterator<Item = Result<&'t [u8]>> + use<'t, S>> {
        Ok(self.iter(tx)?.map(|entry| entry.map(|(key, _)| key)))
    }

    /// All values, in the order of [`iter`](Self::iter).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.extend(&mut tx, [("b", "1"), ("a", "2")])?;
    /// assert_eq!(table.values(&tx)?.collect::<Result<Vec<_>, _>>()?, [b"2", b"1"]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn values<'t, S: View>(
        self,
        tx: &'t S,
    ) -> Result<impl Iterator<Item = Result<&'t [u8]>> + use<'t, S>> {
        Ok(self.iter(tx)?.map(|entry| entry.map(|(_, value)| value)))
    }

    /// Deletes an entry and returns a copy of its value; otherwise as [`delete`](Self::delete).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put(&mut tx, b"key", b"value")?;
    /// assert_eq!(table.take(&mut tx, b"key")?, Some(b"value".to_vec()));
    /// assert_eq!(table.take(&mut tx, b"key")?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn take(self, tx: &mut WriteTxn<'_>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        either!(self, map => map.take(tx, key))
    }

    /// Keeps the entries for which `keep` is true and deletes the others. O(n). After an error in the middle the transaction can only be rolled back
    /// ([`Error::HalfChanged`](crate::Error::HalfChanged)).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.extend(&mut tx, [("b", "1"), ("a", "2")])?;
    /// table.retain(&mut tx, |_, value| value == b"2")?;
    /// assert_eq!(table.len(&tx)?, 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn retain(self, tx: &mut WriteTxn<'_>, keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        either!(self, map => map.retain(tx, keep))
    }

    /// Deletes all entries; the table stays. O(n).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put(&mut tx, b"key", b"value")?;
    /// table.clear(&mut tx)?;
    /// assert!(table.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn clear(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        either!(self, map => map.clear(tx))
    }
}
