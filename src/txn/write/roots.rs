//! Roots: what a write transaction makes the names lead to.
#![forbid(unsafe_code)]

use super::WriteTxn;
use crate::error::{Error, Result};
use crate::heap::Space;
use crate::offset::{Offset, Shape};
use crate::roots;

impl WriteTxn<'_> {
    /// Makes the unnamed root lead to a block, whatever it led to before.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&1u32)?;
    /// tx.set_root(x)?;
    /// assert_eq!(tx.root::<u32>()?, Some(x));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn set_root<T: Shape + ?Sized>(&mut self, offset: Offset<T>) -> Result<()> {
        self.set_named_root("", offset)
    }

    /// Makes the root of that name lead to a block, whatever it led to before. The name has up to 1,024 bytes. O(n) in the number of
    /// roots: meant for tens or thousands, not for millions.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&1u32)?;
    /// tx.set_named_root("x", x)?;
    /// assert_eq!(tx.named_root::<u32>("x")?, Some(x));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn set_named_root<T: Shape + ?Sized>(&mut self, name: &str, offset: Offset<T>) -> Result<()> {
        self.whole(|tx| roots::set::<T>(tx, name, offset.raw()))
    }

    /// As [`set_named_root`](Self::set_named_root), but an existing root of that name is [`Error::RootExists`].
    ///
    /// ```
    /// # use heapfile::{Arena, Error, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&1u32)?;
    /// tx.create_root("x", x)?;
    /// assert!(matches!(tx.create_root("x", x), Err(Error::RootExists { .. })));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn create_root<T: Shape + ?Sized>(&mut self, name: &str, offset: Offset<T>) -> Result<()> {
        if roots::find(self, name)?.is_some() {
            return Err(Error::RootExists { name: name.to_owned() });
        }
        self.whole(|tx| roots::set::<T>(tx, name, offset.raw()))
    }

    /// Gives a root another name.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&1u32)?;
    /// tx.create_root("old", x)?;
    /// tx.rename_root("old", "new")?;
    /// assert_eq!(tx.named_root::<u32>("new")?, Some(x));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn rename_root(&mut self, from: &str, to: &str) -> Result<()> {
        self.whole(|tx| roots::rename(tx, from, to))
    }

    /// Removes a root. The block that it led to stays.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&1u32)?;
    /// tx.create_root("x", x)?;
    /// tx.remove_root("x")?;
    /// assert!(tx.roots()?.is_empty());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn remove_root(&mut self, name: &str) -> Result<()> {
        self.whole(|tx| roots::remove(tx, name))
    }

    pub(crate) fn store_word(&mut self, offset: u64, word: u64) -> Result<()> {
        self.parts().1.store(offset, word)
    }
}
