//! Values of plain types, stored and borrowed as they are.

#![forbid(unsafe_code)]

use super::Table;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use bytemuck::Pod;

impl Table {
    /// A value as a plain type, borrowed from the file.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] if the value has another length than the type; [`Error::Unaligned`] if it lies where no such type can be
    /// borrowed: types aligned to more than 16 bytes, and values in hashed tables that another writer of the format put elsewhere than it asks; [`put_plain`](Self::put_plain) moves those.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put_plain(&mut tx, b"point", &[1.5f64, 2.5])?;
    /// assert_eq!(table.get_plain::<[f64; 2]>(&tx, b"point")?, Some(&[1.5, 2.5]));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get_plain<'t, T: Pod>(self, tx: &'t impl View, key: &[u8]) -> Result<Option<&'t T>> {
        use crate::collections::Item;
        let Some(bytes) = self.get(tx, key)? else { return Ok(None) };
        // What is empty may lie anywhere in the file, but a type without bytes has an alignment too.
        let bytes = if bytes.is_empty() { bytemuck::bytes_of(&[0u128; 0]) } else { bytes };
        match <T as Item>::from_bytes(bytes) {
            Some(value) => Ok(Some(value)),
            None => Err(self.not_plain::<T>(tx, key)),
        }
    }

    /// Why the value of a key is not borrowed as a plain type.
    #[cold]
    fn not_plain<T: Pod>(self, tx: &impl View, key: &[u8]) -> Error {
        let (block, start, len) = match self.place(tx, key) {
            Ok(place) => place.unwrap_or((Offset::from_raw(self.offset()), 0, 0)),
            Err(e) => return e,
        };
        let (offset, type_name) = (block.raw() + start, std::any::type_name::<T>());
        if len == size_of::<T>() as u64 {
            return Error::Unaligned { offset, align: align_of::<T>() as u64, type_name };
        }
        Error::SizeMismatch { offset, len, size: size_of::<T>() as u64, type_name }
    }

    /// Stores a plain type; as [`put`](Self::put).
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put_plain(&mut tx, b"count", &7u64)?;
    /// assert_eq!(table.get_plain(&tx, b"count")?, Some(&7u64));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn put_plain<T: Pod>(self, tx: &mut WriteTxn<'_>, key: &[u8], value: &T) -> Result<bool> {
        use crate::collections::Item;
        self.put(tx, key, <T as Item>::as_bytes(value))
    }

    /// Lets `change` edit a plain value in place; whether there is one.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] if the value has another length than the type.
    ///
    /// ```
    /// # use heapfile::store::{Store, Table};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path().join("a.heap"))?;
    /// # let mut tx = store.write()?;
    /// # let table = Table::open_or_create(&mut tx, "t")?;
    /// table.put_plain(&mut tx, b"count", &7u64)?;
    /// table.update_plain::<u64>(&mut tx, b"count", |n| *n += 1)?;
    /// assert_eq!(table.get_plain(&tx, b"count")?, Some(&8u64));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update_plain<T: Pod>(
        self,
        tx: &mut WriteTxn<'_>,
        key: &[u8],
        change: impl FnOnce(&mut T),
    ) -> Result<bool> {
        let Some(bytes) = self.get(tx, key)? else { return Ok(false) };
        let value = bytemuck::try_pod_read_unaligned(bytes);
        let mut value: T = value.map_err(|_| self.not_plain::<T>(tx, key))?;
        change(&mut value);
        self.put_plain(tx, key, &value)?;
        Ok(true)
    }
}
