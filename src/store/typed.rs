//! Values of any type through serde, in the postcard format: compact, without names of fields, so a type may only grow at the end of an enum.

#![forbid(unsafe_code)]

use super::{Store, Table};
use crate::error::{Error, Result};
use crate::txn::{View, WriteTxn};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(value)
        .map_err(|e| Error::Value { type_name: std::any::type_name::<T>(), why: e.to_string() })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let wrong = |why: String| Error::Value { type_name: std::any::type_name::<T>(), why };
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(wrong(format!("{} bytes are left over", rest.len()))),
        Err(e) => Err(wrong(e.to_string())),
    }
}

impl Table {
    /// A value as another type, through serde. Needs the feature `serde`.
    ///
    /// # Errors
    /// [`Error::Value`] if the bytes are no value of that type.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put_as(&mut tx, b"ada", &("countess", 36u8))?;
    /// assert_eq!(table.get_as::<(String, u8)>(&tx, b"ada")?, Some(("countess".to_owned(), 36)));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get_as<T: DeserializeOwned>(self, tx: &impl View, key: &[u8]) -> Result<Option<T>> {
        self.get(tx, key)?.map(decode).transpose()
    }

    /// Stores a value of any type, through serde; as [`put`](Self::put). [`Error::Value`] for what the postcard format cannot hold. Needs the feature `serde`.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put_as(&mut tx, b"primes", &[2u64, 3, 5])?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn put_as<T: Serialize + ?Sized>(self, tx: &mut WriteTxn<'_>, key: &[u8], value: &T) -> Result<bool> {
        self.put(tx, key, &encode(value)?)
    }
}

impl Store {
    /// [`Table::get_as`] in a transaction of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// store.put_as("t", b"a", &vec![1u8, 2])?;
    /// assert_eq!(store.get_as::<Vec<u8>>("t", b"a")?, Some(vec![1, 2]));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get_as<T: DeserializeOwned>(&self, table: &str, key: &[u8]) -> Result<Option<T>> {
        Ok(self.reading(table, |tx, table| table.get_as(tx, key))?.flatten())
    }

    /// [`Table::put_as`] in a transaction of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = heapfile::store::Store::open(dir.path().join("a.heap"))?;
    /// assert!(!store.put_as("t", b"a", "text")?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn put_as<T: Serialize + ?Sized>(&self, table: &str, key: &[u8], value: &T) -> Result<bool> {
        self.put(table, key, &encode(value)?)
    }
}
