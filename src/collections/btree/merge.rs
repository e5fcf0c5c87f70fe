//! Putting in many entries that come in any order: collected, sorted, and merged with the leaves, one after the other.
//!
//! Entries that go to the same leaf go there together, so that a leaf is found, read and written once for all of them. What is collected is bytes in one
//! buffer and 16 bytes for each entry; long values go to blocks of their own at once, so they are not collected.

#![forbid(unsafe_code)]

use super::image::{Image, Piece, length_for, need, pieces};
use super::node::{FRONT, INLINE_KEY, NODE_MAX, Node, Slot, common, own, place};
use super::tree::{Head, New, Part, Path, Tree, store_value};
use crate::collections::blocks::Blocks;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::WriteTxn;

/// Bytes that are collected before they are put in.
const MOST_BYTES: usize = 128 << 20;
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

/// An entry in the buffer: key, then value as a leaf stores it.
#[derive(Debug, Clone, Copy)]
struct Collected {
    /// The first bytes of the key, big-endian, filled up with zeros.
    head: u64,
    at: u32,
    key_len: u16,
    value_len: u16,
}

const LONG_VALUE: u16 = 1 << 15;

impl Collected {
    fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at as usize..][..self.key_len.into()]
    }

    fn value(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.at as usize + usize::from(self.key_len)..][..(self.value_len & !LONG_VALUE).into()]
    }

    fn piece(self, bytes: &[u8]) -> Piece<'_> {
        let key = self.key(bytes);
        let flags = if self.value_len & LONG_VALUE != 0 { Slot::LONG_VALUE } else { 0 };
        Piece { key, stored_key: key, stored_value: self.value(bytes), flags }
    }

    /// The block of a long value.
    fn block(self, bytes: &[u8]) -> Option<Offset<[u8]>> {
        let is_long = self.value_len & LONG_VALUE != 0;
        let offset = self.value(bytes).try_into().ok().filter(|_| is_long)?;
        Some(Offset::from_raw(u64::from_le_bytes(offset)))
    }
}

/// Entries on their way into a tree.
#[derive(Debug)]
pub(super) struct Batch {
    tree: Tree,
    bytes: Vec<u8>,
    entries: Vec<Collected>,
}

impl Batch {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, bytes: Vec::new(), entries: Vec::new() }
    }

    /// Adds an entry; of several with one key the last one counts.
    pub(super) fn push(&mut self, tx: &mut WriteTxn<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        if key.len() > INLINE_KEY {
            self.put_in(tx)?;
            return self.tree.insert(tx, key, New::Bytes(value)).map(|_| ());
        }
        if self.bytes.len() + key.len() + value.len() > MOST_BYTES {
            self.put_in(tx)?;
        }
        let stored = store_value(tx, New::Bytes(value))?;
        let flag = if matches!(stored, Part::Block(_)) { LONG_VALUE } else { 0 };
        let mut head = [0; 8];
        let n = key.len().min(8);
        head[..n].copy_from_slice(&key[..n]);
        self.entries.push(Collected {
            head: u64::from_be_bytes(head),
            at: self.bytes.len() as u32,
            key_len: key.len() as u16,
            value_len: stored.bytes().len() as u16 | flag,
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(stored.bytes());
        Ok(())
    }

    /// Puts everything in that was collected.
    pub(super) fn put_in(&mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        let Self { tree, bytes, entries } = self;
        // Where they begin tells those of one key apart: it rises.
        entries.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| a.key(bytes).cmp(b.key(bytes))).then(a.at.cmp(&b.at))
        });
        let mut outdated = Vec::new();
        entries.dedup_by(|later, kept| {
            let same = later.head == kept.head && later.key(bytes) == kept.key(bytes);
            if same {
                outdated.extend(kept.block(bytes));
                *kept = *later;
            }
            same
        });
        for block in outdated {
            own(tx.free(block), block.raw())?;
        }
        let (mut rest, mut alone) = (&entries[..], 0);
        while !rest.is_empty() {
            let (n, was_worth_it) = merge(tx, *tree, bytes, rest)?;
            rest = &rest[n..];
            // Where entries lie far apart the look for neighbours is spared, more and more of them.
            alone = if was_worth_it { 0 } else { (2 * alone + 1).min(MOST_ALONE) };
            let (now, later) = rest.split_at(alone.min(rest.len()));
            now.iter().try_for_each(|entry| insert(tx, *tree, bytes, *entry))?;
            rest = later;
        }
        entries.clear();
        bytes.clear();
        Ok(())
    }
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
    for block in merged.outdated {
        own(tx.free(block), block.raw())?;
    }
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

fn insert(tx: &mut WriteTxn<'_>, tree: Tree, bytes: &[u8], entry: Collected) -> Result<()> {
    let value = entry.block(bytes).map_or(New::Bytes(entry.value(bytes)), New::Block);
    tree.insert(tx, entry.key(bytes), value).map(|_| ())
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
