//! The directory: which tables there are.
//!
//! The root `store` leads to a block of 32 bytes: kind, a count of the changes made to the set of tables, the handle of an ordered map from names to
//! tables, zero. The count lets a handle keep what it has looked up: it is good as long as the count is the same.

#![forbid(unsafe_code)]

use super::table::{Kind, Table};
use crate::collections::BTreeMap;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use bytemuck::{Pod, Zeroable};

/// Name of the root that leads to the directory.
pub(super) const ROOT: &str = "store";
const KIND: u64 = u64::from_le_bytes(*b"Store\0\0\x01");
/// Longest name of a table in bytes.
const MAX_NAME: usize = 255;

/// The directory's block.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    kind: u64,
    changes: u64,
    tables: BTreeMap<str, TableInfo>,
    reserved: u64,
}

/// What the directory holds of a table.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct TableInfo {
    /// 1: ordered, 2: hashed.
    pub(super) kind: u64,
    /// Where the header of its map lies.
    pub(super) map: u64,
}

/// The directory as a transaction sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    pub(super) at: u64,
    pub(super) changes: u64,
    tables: BTreeMap<str, TableInfo>,
}

impl Directory {
    /// The directory, if the arena has one.
    pub(super) fn find(tx: &impl View) -> Result<Option<Self>> {
        match tx.named_root::<[u8]>(ROOT) {
            Ok(Some(at)) => Self::at(tx, at.raw()).map(Some),
            Ok(None) => Ok(None),
            Err(e @ Error::TypeMismatch { .. }) => Err(Self::under_another_type(tx)?.unwrap_or(e)),
            Err(e) => Err(e),
        }
    }

    /// The error for a root that has another type than a store's, if it leads to a directory all the same.
    #[cold]
    fn under_another_type(tx: &impl View) -> Result<Option<Error>> {
        let root = tx.root_info(ROOT)?;
        let there = root.filter(|root| Self::at(tx, root.offset.raw()).is_ok());
        Ok(there.map(|root| {
            let what = "the root `store` leads to a directory of tables, but its record says that it has another type";
            Error::corrupt(root.offset.raw(), what)
        }))
    }

    /// The directory that lies there.
    pub(super) fn at(tx: &impl View, at: u64) -> Result<Self> {
        match tx.get(Offset::<Block>::from_raw(at)) {
            Ok(block) if block.kind == KIND => Ok(Self { at, changes: block.changes, tables: block.tables }),
            Err(Error::SizeMismatch { len, .. }) if !Self::begins(tx, at) => Err(Error::TypeMismatch {
                name: ROOT.to_owned(),
                stored: format!("a block of {len} bytes"),
                asked: "a directory of tables".to_owned(),
            }),
            Ok(_) | Err(Error::BadOffset { .. } | Error::SizeMismatch { .. }) => {
                Err(Error::corrupt(at, "the root `store` leads to no directory of tables"))
            }
            Err(e) => Err(e),
        }
    }

    /// Whether the block there says that it is a directory.
    #[cold]
    fn begins(tx: &impl View, at: u64) -> bool {
        tx.bytes_range(Offset::from_raw(at), 0..8).is_ok_and(|word| word == KIND.to_le_bytes())
    }

    /// Whether a directory that was found at `at` before, in a committed state, still stands at that count. Two words tell: while its root leads there
    /// the block is nobody else's.
    #[inline]
    pub(super) fn is_unchanged(tx: &impl View, at: u64, changes: u64) -> bool {
        let word = |i: u64| tx.word_in_block(at + 8 * i).ok();
        at != 0 && word(0) == Some(KIND) && word(1) == Some(changes)
    }

    pub(super) fn find_or_create(tx: &mut WriteTxn<'_>) -> Result<Self> {
        if let Some(directory) = Self::find(tx)? {
            return Ok(directory);
        }
        tx.whole(|tx| {
            let tables = BTreeMap::new_in(tx)?;
            let at = tx.alloc(&Block { kind: KIND, changes: 0, tables, reserved: 0 })?;
            tx.create_root::<[u8]>(ROOT, at.cast())?;
            Ok(Self { at: at.raw(), changes: 0, tables })
        })
    }

    pub(super) fn table(self, tx: &impl View, name: &str) -> Result<Option<Table>> {
        match self.tables.get(tx, name)? {
            Some(info) => Table::from_info(*info).map(Some),
            None => Ok(None),
        }
    }

    /// All names with their tables.
    pub(super) fn all(self, tx: &impl View) -> Result<Vec<(String, Table)>> {
        self.tables
            .iter(tx)?
            .map(|entry| entry.and_then(|(name, info)| Ok((name.to_owned(), Table::from_info(*info)?))))
            .collect()
    }

    pub(super) fn create(self, tx: &mut WriteTxn<'_>, name: &str, kind: Kind) -> Result<Table> {
        if name.is_empty() {
            return Err(Error::BadOption {
                option: "length of a table's name",
                value: 0,
                why: "1 to 255 bytes",
            });
        }
        if name.len() > MAX_NAME {
            return Err(Error::TooLarge {
                what: "a table's name",
                len: name.len() as u64,
                max: MAX_NAME as u64,
            });
        }
        tx.whole(|tx| {
            let table = Table::new_in(tx, kind)?;
            self.tables.insert(tx, name, &table.info())?;
            self.count(tx)?;
            Ok(table)
        })
    }

    pub(super) fn remove(self, tx: &mut WriteTxn<'_>, name: &str) -> Result<()> {
        self.tables.remove(tx, name)?;
        self.count(tx)
    }

    pub(super) fn check(self, tx: &impl View) -> Result<()> {
        self.tables.check(tx)
    }

    /// Counts a change, so that no handle goes on with what it knew.
    fn count(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        let block = tx.get_mut(Offset::<Block>::from_raw(self.at))?;
        block.changes = block.changes.wrapping_add(1);
        Ok(())
    }
}
