//! Putting in many entries that come in any order: collected, sorted, and merged with the leaves, one after the other.
//!
//! Entries that go to the same leaf go there together, so that a leaf is found, read and written once for all of them. What is collected is bytes in one
//! buffer and 16 bytes for each entry, and goes to a file where it becomes too much; long values go to blocks of their own at once, so they are not collected.

#![forbid(unsafe_code)]

use super::ahead::insert_all;
use super::collect::{Collected, Collection, LONG_VALUE};
use super::image::{Image, Piece, length_for, need, pieces};
use super::node::{FRONT, INLINE_KEY, NODE_MAX, Node, Slot, common, own, place};
use super::spool::Spool;
use super::tree::{Head, New, Part, Path, Tree, store_value};
use crate::collections::blocks::Blocks;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::WriteTxn;

/// Bytes that are collected before they are put in.
const MOST_BYTES: usize = 128 << 20;
/// Bytes that are taken from the spool at a time.
const MOST_MERGED: usize = 8 << 20;
/// Entries that are merged with a leaf at a time.
const MOST_ENTRIES: usize = 512;
/// From so many on nodes are filled one after the other; fewer entries are shared out evenly.
const MANY: usize = 64;
/// From so many on they are written together. A few have better chances alone: places that were free before can be filled at once where a commit costs no flush.
const MANY_NODES: usize = 4;
/// A leaf is not written anew for less than the `FEW`th part of its entries.
const FEW: usize = 8;
/// Entries that are inserted one by one at most before there is another look for neighbours.
const MOST_ALONE: usize = 63;

/// Entries that come in any order, on their way into a tree.
#[derive(Debug)]
pub(super) struct Batch {
    tree: Tree,
    collected: Collection,
    /// Sorted runs, if more came than may be collected.
    spool: Option<Spool>,
    /// There can be none.
    has_no_spool: bool,
}

impl Batch {
    pub(super) fn new(tree: Tree) -> Self {
        Self::with(tree, MOST_BYTES)
    }

    /// `most`: bytes that are collected.
    fn with(tree: Tree, most: usize) -> Self {
        Self { tree, collected: Collection::new(most), spool: None, has_no_spool: false }
    }

    /// Adds an entry; of several with one key the last one counts.
    pub(super) fn push(&mut self, tx: &mut WriteTxn<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        if key.len() > INLINE_KEY {
            return self.tree.insert(tx, key, New::Bytes(value)).map(|_| ());
        }
        let stored = store_value(tx, New::Bytes(value))?;
        if self.collected.is_full_for(key.len() + stored.bytes().len()) {
            self.put_aside(tx)?;
        }
        let flag = if matches!(stored, Part::Block(_)) { LONG_VALUE } else { 0 };
        self.collected.push(key, stored.bytes(), stored.bytes().len() as u16 | flag);
        Ok(())
    }

    /// Makes room: as a run in the spool, or, where that cannot be, in the tree.
    fn put_aside(&mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        free_all(tx, self.collected.sort())?;
        if self.spool.is_none() && !self.has_no_spool {
            self.spool = tx.nameless_file().map(Spool::new);
        }
        if let Some(spool) = &mut self.spool {
            if spool.write(&self.collected).is_ok() {
                self.collected.clear();
                return Ok(());
            }
            // What came before has to be in the tree before what comes now.
            self.put_in_spool(tx)?;
        }
        self.has_no_spool = true;
        put_in(tx, self.tree, &self.collected)?;
        self.collected.clear();
        Ok(())
    }

    /// Puts everything in.
    pub(super) fn finish(mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        // What never overflowed needs none.
        self.has_no_spool |= self.spool.is_none();
        self.put_aside(tx)?;
        self.put_in_spool(tx)
    }

    /// Puts in what is in the spool, if there is one.
    fn put_in_spool(&mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        let Some(spool) = self.spool.take() else { return Ok(()) };
        let (mut merge, mut some, mut outdated) = (spool.merge()?, Collection::new(MOST_MERGED), Vec::new());
        loop {
            let has_more = merge.fill(&mut some, &mut outdated)?;
            free_all(tx, outdated.drain(..))?;
            put_in(tx, self.tree, &some)?;
            some.clear();
            if !has_more {
                return Ok(());
            }
        }
    }
}

fn free_all(tx: &mut WriteTxn<'_>, blocks: impl IntoIterator<Item = Offset<[u8]>>) -> Result<()> {
    blocks.into_iter().try_for_each(|block| own(tx.free(block), block.raw()))
}

/// Puts in entries that rise.
fn put_in(tx: &mut WriteTxn<'_>, tree: Tree, sorted: &Collection) -> Result<()> {
    let (mut rest, mut alone) = (sorted.entries(), 0);
    while !rest.is_empty() {
        let (n, was_worth_it) = merge(tx, tree, sorted.bytes(), rest)?;
        rest = &rest[n..];
        // Where entries lie far apart the look for neighbours is spared, more and more of them.
        alone = if was_worth_it { 0 } else { (2 * alone + 1).min(MOST_ALONE) };
        let (now, later) = rest.split_at(alone.min(rest.len()));
        insert_all(tx, tree, sorted.bytes(), now)?;
        rest = later;
    }
    Ok(())
}

/// Puts in the first few of the entries, which rise; returns how many, and whether they were enough to write their leaf anew.
fn merge(tx: &mut WriteTxn<'_>, tree: Tree, bytes: &[u8], entries: &[Collected]) -> Result<(usize, bool)> {
    let mut head = tree.head(tx)?;
    let first = entries[0];
    if head.root == 0 {
        insert(tx, tree, bytes, first)?;
        return Ok((1, true));
    }
    let (mut path, leaf, _) = tree.path(tx, &head, first.key(bytes))?;
    let leaf_count = leaf.count();
    let entries = &entries[..entries.len().min(MOST_ENTRIES)];
    let count = match upper_bound(tx, &head, &path)? {
        Some(bound) => entries.partition_point(|entry| entry.key(bytes) < bound).max(1),
        None => entries.len(),
    };
    if count * FEW < leaf_count {
        entries[..count].iter().try_for_each(|entry| insert(tx, tree, bytes, *entry))?;
        return Ok((count, false));
    }
    let merged = Merged::new(tx, tree, path.node(0), bytes, &entries[..count])?;
    free_all(tx, merged.outdated)?;
    head.len = head.len.saturating_add(merged.more);
    let Some(((_, first), more)) = merged.nodes.split_first() else { return Ok((count, true)) };
    tree.renew(tx, &mut head, &mut path, 0, merged.old_len, first)?;
    for ((separator, _), right) in more.iter().zip(alloc_all(tx, more)?) {
        // The nodes above may have been split for the one before.
        let (mut path, ..) = tree.path(tx, &head, separator)?;
        tree.put_child(tx, &mut head, &mut path, 1, (separator, None), right)?;
    }
    tree.set_len(tx, head.len)?;
    Ok((count, true))
}

/// Writes nodes to new blocks.
fn alloc_all(tx: &mut WriteTxn<'_>, nodes: &[(Vec<u8>, Image)]) -> Result<Vec<u64>> {
    if nodes.len() < MANY_NODES {
        return nodes.iter().map(|(_, image)| image.alloc(tx)).collect();
    }
    let mut blocks = Blocks::default();
    let all = nodes.iter().map(|(_, image)| image.alloc_in(&mut blocks, tx)).collect::<Result<_>>()?;
    blocks.write(tx)?;
    Ok(all)
}

pub(super) fn insert(tx: &mut WriteTxn<'_>, tree: Tree, bytes: &[u8], entry: Collected) -> Result<()> {
    tree.insert(tx, entry.key(bytes), entry.to_insert(bytes)).map(|_| ())
}

/// The least key that belongs behind the path's leaf; `None` for the last leaf.
fn upper_bound<'t>(tx: &'t WriteTxn<'_>, head: &Head, path: &Path) -> Result<Option<&'t [u8]>> {
    for level in 1..head.levels() {
        let node = Node::open(tx, path.node(level), level as u8)?;
        let next = path.index(level) + 1;
        if next < node.count() {
            return node.key(next).map(Some);
        }
    }
    Ok(None)
}

/// A leaf and new entries in as many nodes as they need.
struct Merged {
    /// Each with the separator in front of it.
    nodes: Vec<(Vec<u8>, Image)>,
    old_len: usize,
    /// Blocks of values that were replaced.
    outdated: Vec<Offset<[u8]>>,
    /// Entries that there are more.
    more: u64,
}

impl Merged {
    fn new(tx: &WriteTxn<'_>, tree: Tree, leaf: u64, bytes: &[u8], new: &[Collected]) -> Result<Self> {
        let node = Node::open_whole(tx, leaf, 0)?;
        let old = pieces(&node)?;
        let mut outdated = Vec::new();
        let mut all: Vec<Piece<'_>> = Vec::with_capacity(old.len() + new.len());
        let mut rest = &old[..];
        for entry in new {
            let piece = entry.piece(bytes);
            let before = rest.iter().take_while(|old| old.key < piece.key).count();
            all.extend_from_slice(&rest[..before]);
            rest = &rest[before..];
            if let [same, others @ ..] = rest
                && same.key == piece.key
            {
                if same.flags & Slot::LONG_VALUE != 0 {
                    outdated.push(node.block(same.stored_value)?);
                }
                rest = others;
            }
            all.push(piece);
        }
        all.extend_from_slice(rest);
        let more = (all.len() - old.len()) as u64;
        let mut nodes = Vec::new();
        let mut start = 0;
        for end in cuts(&all, new.len()) {
            let separator = match start {
                0 => Vec::new(),
                _ => {
                    let (before, after) = (all[start - 1].key, all[start].key);
                    after[..(common(before, after) + 1).min(after.len())].to_vec()
                }
            };
            let part = &all[start..end];
            let image = Image::new(0, length_for(need(part)), part)
                .ok_or_else(|| Error::corrupt(tree.0, "entries of an ordered map are longer than a node"))?;
            nodes.push((separator, image));
            start = end;
        }
        Ok(Self { nodes, old_len: node.len, outdated, more })
    }
}

/// Where to cut the entries so that each part fits into a node; ends with their number.
fn cuts(all: &[Piece<'_>], new: usize) -> Vec<usize> {
    let total = need(all);
    let parts = total.div_ceil(NODE_MAX);
    let even = if new >= MANY { NODE_MAX } else { total / parts + total / 64 };
    let (mut cuts, mut start, mut used) = (Vec::with_capacity(parts + 1), 0, 0);
    for (i, piece) in all.iter().enumerate() {
        let more = place(used, piece.stored_key.len(), piece.stored_value.len());
        if i > start && FRONT + 8 * (i + 1 - start) + more > even.min(NODE_MAX) {
            cuts.push(i);
            start = i;
            used = place(0, piece.stored_key.len(), piece.stored_value.len());
        } else {
            used = more;
        }
    }
    cuts.push(all.len());
    cuts
}

#[cfg(test)]
mod tests;
