//! Loading a tree from entries that come in order: full nodes, written once, from the leaves up.

#![forbid(unsafe_code)]

use super::image::{Image, Piece, length_for, need};
use super::node::{FRONT, INLINE_KEY, INLINE_VALUE, NODE_MAX, Slot, common, place};
use super::tree::{MAX_HEIGHT, Tree};
use crate::error::{Error, Result};
use crate::txn::WriteTxn;

/// An entry that waits for its node to be full.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    /// Offset of the key's block, if it has one already.
    pub(super) key_block: Option<[u8; 8]>,
    /// The value as it is stored in the node.
    pub(super) value: Vec<u8>,
    pub(super) flags: u64,
}

#[derive(Default)]
struct Level {
    waiting: Vec<Entry>,
    used: usize,
    /// The last key of the node before: the separator is cut behind the first byte that differs from it.
    before: Option<Vec<u8>>,
    /// Separator that stands in front of the node being filled.
    separator: Option<Vec<u8>>,
}

/// Fills a tree that is empty, or whose nodes are freed afterwards.
pub(super) struct Loader {
    tree: Tree,
    levels: Vec<Level>,
    len: u64,
}

impl Loader {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, levels: vec![Level::default()], len: 0 }
    }

    /// Adds an entry if its key is above all before; otherwise `false`, and nothing is done.
    pub(super) fn push(&mut self, tx: &mut WriteTxn<'_>, key: &[u8], value: &[u8]) -> Result<bool> {
        let leaf = &self.levels[0];
        let last = leaf.waiting.last().map(|w| &w.key).or(leaf.before.as_ref());
        if last.is_some_and(|last| last.as_slice() >= key) {
            return Ok(false);
        }
        let (value, flags) = if value.len() > INLINE_VALUE {
            let block = tx.alloc_unset(value.len() as u64, 16)?;
            tx.write_at(block, 0, value)?;
            (block.raw().to_le_bytes().to_vec(), Slot::LONG_VALUE)
        } else {
            (value.to_vec(), 0)
        };
        self.push_entry(tx, Entry { key: key.to_vec(), key_block: None, value, flags })?;
        Ok(true)
    }

    /// Adds an entry whose key is above all before.
    pub(super) fn push_entry(&mut self, tx: &mut WriteTxn<'_>, entry: Entry) -> Result<()> {
        self.len += 1;
        self.add(tx, 0, entry)
    }

    fn add(&mut self, tx: &mut WriteTxn<'_>, level: usize, entry: Entry) -> Result<()> {
        let Entry { key, key_block, value, mut flags } = entry;
        let long = key.len() > INLINE_KEY;
        let stored_len = if long { 8 } else { key.len() };
        let state = &self.levels[level];
        let used = place(state.used, stored_len, value.len());
        if FRONT + 8 * (state.waiting.len() + 1) + used > NODE_MAX {
            self.flush(tx, level)?;
            let state = &mut self.levels[level];
            state.separator = Some(match &state.before {
                Some(before) if level == 0 => key[..(common(before, &key) + 1).min(key.len())].to_vec(),
                _ => key.clone(),
            });
        }
        let first_of_inner = level > 0 && self.levels[level].waiting.is_empty();
        let key_block = if key_block.is_some() {
            key_block
        } else if long && !first_of_inner {
            let block = tx.alloc_bytes(&key)?;
            flags |= Slot::LONG_KEY;
            Some(block.raw().to_le_bytes())
        } else {
            None
        };
        let key = if first_of_inner { Vec::new() } else { key };
        let state = &mut self.levels[level];
        state.used = place(state.used, if first_of_inner { 0 } else { stored_len }, value.len());
        state.waiting.push(Entry { key, key_block, value, flags });
        Ok(())
    }

    /// Writes the node that is being filled and makes it known to the level above.
    fn flush(&mut self, tx: &mut WriteTxn<'_>, level: usize) -> Result<()> {
        let at = self.write(tx, level)?;
        let state = &mut self.levels[level];
        let separator = state.separator.take().unwrap_or_default();
        state.before = state.waiting.pop().map(|last| last.key);
        state.waiting.clear();
        state.used = 0;
        if level + 1 == self.levels.len() {
            if level + 1 >= MAX_HEIGHT {
                return Err(Error::corrupt(self.tree.0, "an ordered map is higher than it can be"));
            }
            self.levels.push(Level::default());
        }
        let child = at.to_le_bytes().to_vec();
        self.add(tx, level + 1, Entry { key: separator, key_block: None, value: child, flags: 0 })
    }

    fn write(&self, tx: &mut WriteTxn<'_>, level: usize) -> Result<u64> {
        let pieces: Vec<Piece<'_>> = self.levels[level]
            .waiting
            .iter()
            .map(|w| Piece {
                key: &w.key,
                stored_key: w.key_block.as_ref().map_or(&w.key[..], |block| &block[..]),
                stored_value: &w.value,
                flags: w.flags,
            })
            .collect();
        Image::new(level as u8, length_for(need(&pieces)), &pieces)
            .ok_or_else(|| Error::corrupt(self.tree.0, "entries of an ordered map are longer than a node"))?
            .alloc(tx)
    }

    /// Writes what is left and makes it the tree's.
    pub(super) fn finish(mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        let mut level = 0;
        while level + 1 < self.levels.len() {
            self.flush(tx, level)?;
            level += 1;
        }
        // An upper level may hold a single child: that is the root then.
        let top = &self.levels[level];
        let root = match top.waiting.as_slice() {
            [only] if level > 0 => u64::from_le_bytes(only.value.as_slice().try_into().unwrap_or_default()),
            _ => {
                let root = self.write(tx, level)?;
                level += 1;
                root
            }
        };
        let mut head = self.tree.head(tx)?;
        (head.root, head.len, head.height) = (root, self.len, level as u64);
        self.tree.set_head(tx, &head)
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("tree", &self.tree).field("len", &self.len).finish_non_exhaustive()
    }
}
