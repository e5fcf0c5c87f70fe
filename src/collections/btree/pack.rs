//! Packing a tree: its entries in full nodes, its smaller long values side by side.

#![forbid(unsafe_code)]

use super::cursor::{Cursor, Way};
use super::load::{Entry, Loader};
use super::node::{Slot, own};
use super::tree::{Tree, out_of_order};
use crate::error::Result;
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use std::ops::Bound;

/// Entries that are copied at a time.
const BATCH: usize = 512;
/// Longer values have pages of their own: moving them packs nothing.
const LONGEST_MOVED: u64 = 16 << 10;

/// Writes all nodes anew and frees the old ones.
pub(super) fn pack(tx: &mut WriteTxn<'_>, tree: Tree) -> Result<()> {
    let old = tree.head(tx)?;
    if old.root == 0 {
        return Ok(());
    }
    let mut loader = Loader::new(tree);
    let (mut from, mut above) = (Bound::Unbounded, None::<Vec<u8>>);
    loop {
        let batch = read(tx, tree, from.as_ref().map(Vec::as_slice))?;
        let Some(last) = batch.last() else { break };
        from = Bound::Excluded(last.key.clone());
        for mut entry in batch {
            if above.as_ref().is_some_and(|above| *above >= entry.key) {
                return Err(out_of_order(tree));
            }
            above = Some(entry.key.clone());
            if entry.flags & Slot::LONG_VALUE != 0 {
                move_value(tx, tree, &mut entry)?;
            }
            loader.push_entry(tx, entry)?;
        }
    }
    loader.finish(tx)?;
    tree.free_nodes(tx, &old)
}

fn read(tx: &WriteTxn<'_>, tree: Tree, from: Bound<&[u8]>) -> Result<Vec<Entry>> {
    let mut batch = Vec::new();
    let Some(mut cursor) = Cursor::seek(tx, tree, from, Way::Forth)? else { return Ok(batch) };
    loop {
        batch.push(cursor.entry()?);
        if batch.len() == BATCH || !cursor.step(Way::Forth)? {
            return Ok(batch);
        }
    }
}

fn move_value(tx: &mut WriteTxn<'_>, tree: Tree, entry: &mut Entry) -> Result<()> {
    let Ok(raw) = entry.value.as_slice().try_into() else { return Ok(()) };
    let old = Offset::<[u8]>::from_raw(u64::from_le_bytes(raw));
    let len = own(tx.len_of(old), tree.0)?;
    if len > LONGEST_MOVED {
        return Ok(());
    }
    let new = tx.alloc_unset(len, 16)?;
    tx.copy(old, 0..len, new, 0)?;
    own(tx.free(old), tree.0)?;
    entry.value = new.raw().to_le_bytes().to_vec();
    Ok(())
}
