//! The tree: header, descent, and the changes that keep it balanced, over byte strings.
//!
//! A header block of 32 bytes leads to the root: kind, root's offset (0: empty), number of entries, height (levels of nodes). Descent asks
//! each node for the level that it must have, so that no damage makes it endless.
//!
//! A change writes the lines it touches: an entry behind the others, the slots behind its own, the front. A node that is out of room is written anew,
//! in a longer block if its entries need one; a node that would be longer than [`NODE_MAX`] is split. How entries and nodes go is in `removal`.

#![forbid(unsafe_code)]

mod removal;

use super::change::{Change, InPlace, Split};
use super::image::{Image, Piece, length_for, need, pieces, roomy_length_for};
use super::node::{INLINE_KEY, INLINE_VALUE, NODE_MAX, Node, Slot, no_map, own};
use super::route::{fetch, route};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{InBlock, Located, View, WriteTxn};
use bytemuck::{Pod, Zeroable};
use std::sync::atomic::{AtomicU64, Ordering};

const KIND: u64 = u64::from_le_bytes(*b"BTree\0\0\x01");
/// More levels than a file of 16 TiB can fill.
pub(super) const MAX_HEIGHT: usize = 24;

/// The header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Head {
    kind: u64,
    pub(super) root: u64,
    pub(super) len: u64,
    pub(super) height: u64,
}

const LEN_AT: u64 = std::mem::offset_of!(Head, len) as u64;

impl Head {
    pub(super) fn levels(&self) -> usize {
        self.height as usize
    }
}

/// The way from the root to an entry: at each level a node and an index in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    steps: [(u64, u32); MAX_HEIGHT],
}

impl Path {
    pub(super) fn node(&self, level: usize) -> u64 {
        self.steps[level].0
    }

    pub(super) fn index(&self, level: usize) -> usize {
        self.steps[level].1 as usize
    }
}

/// A value on its way into the tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum New<'a> {
    Bytes(&'a [u8]),
    /// A block that becomes the tree's.
    Block(Offset<[u8]>),
}

/// A key or value as a node stores it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    Here(&'a [u8]),
    Block([u8; 8]),
}

impl<'a> Part<'a> {
    fn store(tx: &mut WriteTxn<'_>, bytes: &'a [u8], longest: usize) -> Result<Self> {
        if bytes.len() <= longest {
            return Ok(Self::Here(bytes));
        }
        let block = tx.alloc_unset(bytes.len() as u64, 16)?;
        tx.write_at(block, 0, bytes)?;
        Ok(Self::Block(block.raw().to_le_bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Block(offset) => offset,
        }
    }

    fn flag(&self, flag: u64) -> u64 {
        if matches!(self, Self::Block(_)) { flag } else { 0 }
    }
}

pub(super) fn store_value<'a>(tx: &mut WriteTxn<'_>, value: New<'a>) -> Result<Part<'a>> {
    match value {
        New::Bytes(bytes) => Part::store(tx, bytes, INLINE_VALUE),
        New::Block(block) => Ok(Part::Block(block.raw().to_le_bytes())),
    }
}

/// What is done with each value before its entry is freed.
pub(super) type Each<'f> = &'f mut dyn FnMut(&mut WriteTxn<'_>, &[u8]) -> Result<()>;

/// The error for keys that do not rise where something relies on it to come to an end.
#[cold]
pub(super) fn out_of_order(tree: Tree) -> Error {
    Error::corrupt(tree.0, "the keys of an ordered map do not rise")
}

/// A tree by the offset of its header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree(pub(super) u64);

/// The way down from an inner node: index of the entry under which `key` belongs, and the child.
#[inline]
pub(super) fn way_down<S: View + ?Sized>(tx: &S, at: u64, level: u8, key: &[u8]) -> Result<(usize, u64)> {
    match route(tx, at, level, key) {
        Some(found) => Ok(found),
        None => step_by_keys(tx, at, level, key),
    }
}

/// As [`way_down`], and the child's first lines are on their way.
#[inline]
fn step<S: View + ?Sized>(tx: &S, at: u64, level: u8, key: &[u8]) -> Result<(usize, u64)> {
    let found = way_down(tx, at, level, key)?;
    fetch(tx, found.1);
    Ok(found)
}

#[cold]
#[inline(never)]
fn step_by_keys<S: View + ?Sized>(tx: &S, at: u64, level: u8, key: &[u8]) -> Result<(usize, u64)> {
    let node = Node::open(tx, at, level)?;
    let i = node.route(key)?;
    Ok((i, node.child(i)?))
}

impl Tree {
    pub(super) fn create(tx: &mut WriteTxn<'_>) -> Result<Self> {
        let head = Head { kind: KIND, root: 0, len: 0, height: 0 };
        Ok(Self(tx.alloc(&head)?.raw()))
    }

    /// As [`head`](Self::head), of a map that is known to be there: its block is not looked up.
    #[inline]
    fn known_head<S: View + ?Sized>(self, tx: &S) -> Result<Head> {
        let [kind, root, len, height] = tx.words(self.0, 4) else { return self.head(tx) };
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        self.check_head(Head { kind: word(kind), root: word(root), len: word(len), height: word(height) })
    }

    #[inline]
    pub(super) fn head<S: View + ?Sized>(self, tx: &S) -> Result<Head> {
        let head: Head = match tx.get(Offset::<Head>::from_raw(self.0)) {
            Ok(head) => *head,
            Err(Error::BadOffset { .. } | Error::SizeMismatch { .. }) => return Err(no_map(self.0)),
            Err(e) => return Err(e),
        };
        self.check_head(head)
    }

    #[inline]
    fn check_head(self, head: Head) -> Result<Head> {
        let height = head.height as usize;
        let empty = head.root == 0;
        if head.kind != KIND || height > MAX_HEIGHT || empty != (height == 0) || empty != (head.len == 0) {
            return Err(no_map(self.0));
        }
        Ok(head)
    }

    pub(super) fn set_head(self, tx: &mut WriteTxn<'_>, head: &Head) -> Result<()> {
        own(tx.write_at(Offset::from_raw(self.0), 0, bytemuck::bytes_of(head)), self.0)
    }

    pub(super) fn set_len(self, tx: &mut WriteTxn<'_>, len: u64) -> Result<()> {
        own(tx.write_at(Offset::from_raw(self.0), LEN_AT, &len.to_le_bytes()), self.0)
    }

    /// The leaf under which `key` belongs.
    #[inline]
    fn leaf<'t, S: View + ?Sized>(self, tx: &'t S, head: &Head, key: &[u8]) -> Result<Option<Node<'t, S>>> {
        if head.root == 0 {
            return Ok(None);
        }
        let mut at = head.root;
        for level in (1..head.levels()).rev() {
            at = step(tx, at, level as u8, key)?.1;
        }
        Node::open(tx, at, 0).map(Some)
    }

    /// As [`leaf`](Self::leaf), with the way there.
    pub(super) fn path<'t, 'a>(
        self,
        tx: &'t WriteTxn<'a>,
        head: &Head,
        key: &[u8],
    ) -> Result<(Path, Node<'t, WriteTxn<'a>>, Result<usize, usize>)> {
        let mut path = Path { steps: [(0, 0); MAX_HEIGHT] };
        let mut at = head.root;
        for level in (1..head.levels()).rev() {
            let (i, child) = step(tx, at, level as u8, key)?;
            path.steps[level] = (at, i as u32);
            at = child;
        }
        let leaf = Node::open(tx, at, 0)?;
        let found = leaf.search(key)?;
        let (Ok(i) | Err(i)) = found;
        path.steps[0] = (at, i as u32);
        Ok((path, leaf, found))
    }

    #[inline]
    pub(super) fn get<'t, S: View + ?Sized>(self, tx: &'t S, key: &[u8]) -> Result<Option<&'t [u8]>> {
        self.get_under(tx, &self.head(tx)?, key)
    }

    /// As [`get`](Self::get), in a map that is known to be there.
    #[inline]
    pub(super) fn get_known<'t, S: View + ?Sized>(self, tx: &'t S, key: &[u8]) -> Result<Option<&'t [u8]>> {
        self.get_under(tx, &self.known_head(tx)?, key)
    }

    #[inline]
    fn get_under<'t, S: View + ?Sized>(self, tx: &'t S, head: &Head, key: &[u8]) -> Result<Option<&'t [u8]>> {
        let Some(leaf) = self.leaf(tx, head, key)? else { return Ok(None) };
        leaf.find(key)?.map(|i| leaf.value(i)).transpose()
    }

    /// Where the value of a key lies, in a map that is known to be there.
    #[inline]
    pub(super) fn value_known<S: View + ?Sized>(self, tx: &S, key: &[u8]) -> Result<Option<InBlock>> {
        let Some(leaf) = self.leaf(tx, &self.known_head(tx)?, key)? else { return Ok(None) };
        leaf.find(key)?.map(|i| leaf.value_range(i)).transpose()
    }

    /// The leaf and the index there of the entry with that key, if there is one.
    #[inline]
    pub(super) fn entry<'t, S: View + ?Sized>(
        self,
        tx: &'t S,
        key: &[u8],
    ) -> Result<Option<(Node<'t, S>, usize)>> {
        let Some(leaf) = self.leaf(tx, &self.head(tx)?, key)? else { return Ok(None) };
        Ok(leaf.find(key)?.map(|i| (leaf, i)))
    }

    /// Inserts or replaces; whether there was an entry.
    pub(super) fn insert(self, tx: &mut WriteTxn<'_>, key: &[u8], value: New<'_>) -> Result<bool> {
        tx.in_steps(|tx| self.insert_in_steps(tx, key, value))
    }

    fn insert_in_steps(self, tx: &mut WriteTxn<'_>, key: &[u8], value: New<'_>) -> Result<bool> {
        let mut head = self.head(tx)?;
        if head.root == 0 {
            self.plant(tx, head, key, value)?;
            return Ok(false);
        }
        let (mut path, leaf, found) = self.path(tx, &head, key)?;
        if let Some(in_place) = InPlace::find(&leaf, found, key, value)? {
            return self.make(tx, in_place, |_| Ok(head.len));
        }
        if found.is_ok() {
            self.replace(tx, &mut head, &mut path, value)?;
            return Ok(true);
        }
        let value = store_value(tx, value)?;
        let stored_key = Part::store(tx, key, INLINE_KEY)?;
        head.len = head.len.saturating_add(1);
        self.set_len(tx, head.len)?;
        let flags = stored_key.flag(Slot::LONG_KEY) | value.flag(Slot::LONG_VALUE);
        let piece = Piece { key, stored_key: stored_key.bytes(), stored_value: value.bytes(), flags };
        self.put(tx, &mut head, &mut path, 0, piece, false)?;
        Ok(false)
    }

    /// As [`insert`](Self::insert) into the leaf at `leaf`, which is the key's, if nothing besides has to change; else nothing is changed. Whether it was done.
    pub(super) fn insert_in_leaf(
        self,
        tx: &mut WriteTxn<'_>,
        leaf: u64,
        key: &[u8],
        value: New<'_>,
    ) -> Result<bool> {
        tx.in_steps(|tx| {
            let node = Node::open(tx, leaf, 0)?;
            let Some(in_place) = InPlace::find(&node, node.search(key)?, key, value)? else {
                return Ok(false);
            };
            self.make(tx, in_place, |tx| Ok(self.known_head(tx)?.len)).map(|_| true)
        })
    }

    /// Makes a change of one leaf; whether there was an entry with that key. `len`: how many entries there are, where that changes. The header was looked up in
    /// this transaction, and nothing was freed since.
    fn make(
        self,
        tx: &mut WriteTxn<'_>,
        change: InPlace<'_>,
        len: impl FnOnce(&WriteTxn<'_>) -> Result<u64>,
    ) -> Result<bool> {
        match change {
            InPlace::Value { leaf, at, bytes } => {
                tx.write_in(leaf, at, bytes)?;
                Ok(true)
            }
            InPlace::Entry { leaf, change } => {
                let len = len(tx)?.saturating_add(1);
                change.write(tx, leaf)?;
                let header = Located { offset: self.0, len: size_of::<Head>() as u64 };
                tx.write_in(header, LEN_AT, &len.to_le_bytes())?;
                Ok(false)
            }
        }
    }

    /// The first entry.
    fn plant(self, tx: &mut WriteTxn<'_>, mut head: Head, key: &[u8], value: New<'_>) -> Result<()> {
        let value = store_value(tx, value)?;
        let stored_key = Part::store(tx, key, INLINE_KEY)?;
        let flags = stored_key.flag(Slot::LONG_KEY) | value.flag(Slot::LONG_VALUE);
        let piece = Piece { key, stored_key: stored_key.bytes(), stored_value: value.bytes(), flags };
        head.root = self.image(0, &[piece])?.alloc(tx)?;
        (head.height, head.len) = (1, 1);
        self.set_head(tx, &head)
    }

    /// Gives the entry that `path` leads to another value, which does not just take the old one's place in the leaf.
    fn replace(self, tx: &mut WriteTxn<'_>, head: &mut Head, path: &mut Path, value: New<'_>) -> Result<()> {
        let (at, i) = (path.node(0), path.index(0));
        let node = Node::open(tx, at, 0)?;
        let slot = node.slot(i)?;
        let old = if slot.has_long_value() { Some(node.block(node.stored_value(i)?)?) } else { None };
        if let (New::Bytes(bytes), Some(block)) = (value, old)
            && bytes.len() > INLINE_VALUE
        {
            let info = own(tx.block_info(block), at)?;
            if bytes.len() as u64 <= info.capacity && bytes.len() as u64 * 2 > info.capacity {
                let block = tx.resize(block, bytes.len() as u64)?;
                tx.write_at(block, 0, bytes)?;
                return self.set_offset(tx, at, slot, block.raw());
            }
        }
        let key = node.key(i)?.to_vec();
        let stored_key = node.stored_key(i)?.to_vec();
        let value = store_value(tx, value)?;
        if let Some(block) = old {
            own(tx.free(block), at)?;
        }
        if let (Part::Block(offset), Some(_)) = (value, old) {
            return self.set_offset(tx, at, slot, u64::from_le_bytes(offset));
        }
        let flags = slot.0 & Slot::LONG_KEY | value.flag(Slot::LONG_VALUE);
        let piece = Piece { key: &key, stored_key: &stored_key, stored_value: value.bytes(), flags };
        self.put(tx, head, path, 0, piece, true)
    }

    fn set_offset(self, tx: &mut WriteTxn<'_>, node: u64, slot: Slot, offset: u64) -> Result<()> {
        own(tx.write_at(Offset::from_raw(node), slot.at() as u64, &offset.to_le_bytes()), node)
    }

    pub(super) fn image(self, level: usize, pieces: &[Piece<'_>]) -> Result<Image> {
        let len = length_for(need(pieces));
        Image::new(level as u8, len, pieces)
            .ok_or_else(|| Error::corrupt(self.0, "entries of an ordered map are longer than a node"))
    }

    /// Puts an entry where the path says, instead of the one there if told so.
    fn put(
        self,
        tx: &mut WriteTxn<'_>,
        head: &mut Head,
        path: &mut Path,
        level: usize,
        piece: Piece<'_>,
        instead: bool,
    ) -> Result<()> {
        let (at, i) = (path.node(level), path.index(level));
        let node = Node::open(tx, at, level as u8)?;
        if let Some(change) = Change::put(&node, node.len, i, &piece, instead)? {
            let block = node.located();
            return change.write(tx, block);
        }
        let node = Node::open_whole(tx, at, level as u8)?;
        let longer = roomy_length_for(Change::need(&node, &piece, instead));
        if longer > node.len && longer <= NODE_MAX && node.front.holes < node.len / 16 {
            // The usual way to grow: nothing to be tidied up.
            if let Some(change) = Change::put(&node, longer, i, &piece, instead)? {
                let (mut image, old_len) = (Image::grown(&node, longer)?, node.len);
                image.apply(&change);
                return self.renew(tx, head, path, level, old_len, &image);
            }
        }
        let mut all = pieces(&node)?;
        if instead {
            all[i] = piece;
        } else if i <= all.len() {
            all.insert(i, piece);
        }
        if need(&all) <= NODE_MAX {
            let image = self.image(level, &all)?;
            return self.renew(tx, head, path, level, node.len, &image);
        }
        let split = Split::new(self, level, &all, i)?;
        let old_len = node.len;
        let right = split.right.alloc(tx)?;
        self.renew(tx, head, path, level, old_len, &split.left)?;
        self.put_child(tx, head, path, level + 1, (&split.separator, split.moved), right)
    }

    /// Makes the right half of a split known to the level above.
    pub(super) fn put_child(
        self,
        tx: &mut WriteTxn<'_>,
        head: &mut Head,
        path: &mut Path,
        level: usize,
        (separator, moved): (&[u8], Option<[u8; 8]>),
        right: u64,
    ) -> Result<()> {
        let key = match moved {
            // The block of a long separator moves up with it.
            Some(offset) => Part::Block(offset),
            None => Part::store(tx, separator, INLINE_KEY)?,
        };
        let child = right.to_le_bytes();
        let flags = key.flag(Slot::LONG_KEY);
        let piece = Piece { key: separator, stored_key: key.bytes(), stored_value: &child, flags };
        if level < head.levels() {
            path.steps[level].1 += 1;
            return self.put(tx, head, path, level, piece, false);
        }
        if level >= MAX_HEIGHT {
            return Err(Error::corrupt(self.0, "an ordered map is higher than it can be"));
        }
        let left = path.node(level - 1).to_le_bytes();
        let first = Piece { key: &[], stored_key: &[], stored_value: &left, flags: 0 };
        head.root = self.image(level, &[first, piece])?.alloc(tx)?;
        head.height += 1;
        self.set_head(tx, head)
    }

    /// Writes a node anew: in its place if the length is the same, else in another block.
    pub(super) fn renew(
        self,
        tx: &mut WriteTxn<'_>,
        head: &mut Head,
        path: &mut Path,
        level: usize,
        old_len: usize,
        image: &Image,
    ) -> Result<()> {
        let at = path.node(level);
        if image.len() == old_len {
            return image.write(tx, at);
        }
        own(tx.free(Offset::<[u8]>::from_raw(at)), at)?;
        let new = image.alloc(tx)?;
        path.steps[level].0 = new;
        self.lead(tx, head, path, level + 1, new)
    }

    /// Makes the entry at `level` of the path, or the header above all levels, lead to a node.
    fn lead(
        self,
        tx: &mut WriteTxn<'_>,
        head: &mut Head,
        path: &Path,
        level: usize,
        node: u64,
    ) -> Result<()> {
        if level >= head.levels() {
            head.root = node;
            return self.set_head(tx, head);
        }
        let parent = Node::open(tx, path.node(level), level as u8)?;
        let (slot, block) = (parent.slot(path.index(level))?, parent.located());
        own(tx.write_in(block, slot.at() as u64, &node.to_le_bytes()), block.offset)
    }
}
