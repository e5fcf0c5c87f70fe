//! How entries and nodes go.
//!
//! An entry that is taken out leaves a hole in its node. A node without entries goes; one that falls below a quarter is joined with a neighbour where both fit well
//! into one; a block that became much too long for its node is exchanged for a shorter one.

#![forbid(unsafe_code)]

use super::super::change::Change;
use super::super::image::{Piece, length_for, need, pieces};
use super::super::node::{NODE_MAX, Node, Slot, own};
use super::{Each, Head, KIND, Path, Tree};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::WriteTxn;

/// A node that uses less is joined with a neighbour.
const SPARSE: usize = NODE_MAX / 4;
/// Each time so many more entries of a node are gone, all that are left are looked at.
const LOOKED_AT: usize = 8;
/// Two nodes are joined if they fit into this, so that the next insert does not split them again.
const JOINED: usize = NODE_MAX * 3 / 4;

impl Tree {
    /// Removes an entry; whether there was one.
    pub(in crate::collections::btree) fn remove(self, tx: &mut WriteTxn<'_>, key: &[u8]) -> Result<bool> {
        tx.in_steps(|tx| self.remove_in_steps(tx, key))
    }

    fn remove_in_steps(self, tx: &mut WriteTxn<'_>, key: &[u8]) -> Result<bool> {
        let mut head = self.head(tx)?;
        if head.root == 0 {
            return Ok(false);
        }
        let (mut path, _, found) = self.path(tx, &head, key)?;
        let Ok(i) = found else { return Ok(false) };
        let node = Node::open(tx, path.node(0), 0)?;
        if node.slot(i)?.has_long_value() {
            let block = node.block(node.stored_value(i)?)?;
            own(tx.free(block), path.node(0))?;
        }
        head.len = head.len.saturating_sub(1);
        self.set_len(tx, head.len)?;
        self.take(tx, &mut head, &mut path, 0, true)?;
        Ok(true)
    }

    /// Takes an entry out of a node. `free_key`: its key's block, if it has one, goes with it.
    fn take(
        self,
        tx: &mut WriteTxn<'_>,
        head: &mut Head,
        path: &mut Path,
        level: usize,
        free_key: bool,
    ) -> Result<()> {
        let (at, i) = (path.node(level), path.index(level));
        let node = Node::open(tx, at, level as u8)?;
        let key_block = |i: usize| -> Result<Option<Offset<[u8]>>> {
            if node.slot(i)?.has_long_key() { node.block(node.stored_key(i)?).map(Some) } else { Ok(None) }
        };
        if node.count() == 1 {
            let block = key_block(i)?.filter(|_| free_key);
            own(tx.free(Offset::<[u8]>::from_raw(at)), at)?;
            self.free_block(tx, block)?;
            return self.drop_node(tx, head, path, level);
        }
        if level > 0 && i == 0 {
            // The next entry becomes the one without a key.
            let block = key_block(1)?;
            let mut all = pieces(&Node::open_whole(tx, at, level as u8)?)?;
            all.remove(0);
            all[0] = Piece { key: &[], stored_key: &[], flags: 0, ..all[0] };
            let (image, old_len) = (self.image(level, &all)?, node.len);
            self.free_block(tx, block)?;
            self.renew(tx, head, path, level, old_len, &image)?;
        } else {
            let block = key_block(i)?.filter(|_| free_key);
            let (change, node) = (Change::take(&node, i)?, node.located());
            change.write(tx, node)?;
            self.free_block(tx, block)?;
        }
        self.settle(tx, head, path, level)
    }

    fn free_block(self, tx: &mut WriteTxn<'_>, block: Option<Offset<[u8]>>) -> Result<()> {
        block.map_or(Ok(()), |block| own(tx.free(block), block.raw()))
    }

    /// The last entry of a node went, and the node with it.
    fn drop_node(self, tx: &mut WriteTxn<'_>, head: &mut Head, path: &mut Path, level: usize) -> Result<()> {
        if level + 1 < head.levels() {
            return self.take(tx, head, path, level + 1, true);
        }
        (head.root, head.height) = (0, 0);
        if head.len != 0 {
            return Err(Error::corrupt(self.0, "an ordered map has fewer entries than its header says"));
        }
        self.set_head(tx, head)
    }

    /// After an entry was taken out: a root with one child gives way to it, a sparse node is joined with a neighbour, a block
    /// that became much too long is exchanged.
    fn settle(self, tx: &mut WriteTxn<'_>, head: &mut Head, path: &mut Path, level: usize) -> Result<()> {
        let at = path.node(level);
        let node = Node::open(tx, at, level as u8)?;
        let (mut used, len) = (node.front.used(node.len), node.len);
        if node.count().is_multiple_of(LOOKED_AT) {
            used = node.need()?;
        }
        if level + 1 == head.levels() && level > 0 && node.count() == 1 {
            head.root = node.child(0)?;
            head.height -= 1;
            own(tx.free(Offset::<[u8]>::from_raw(at)), at)?;
            self.set_head(tx, head)?;
            return Ok(());
        }
        if used < SPARSE && level + 1 < head.levels() {
            let (i, count) = {
                let parent = Node::open(tx, path.node(level + 1), level as u8 + 1)?;
                (path.index(level + 1), parent.count())
            };
            if i + 1 < count && self.join(tx, head, path, level, i)? {
                return Ok(());
            }
            if i > 0 && self.join(tx, head, path, level, i - 1)? {
                return Ok(());
            }
        }
        if length_for(used + used / 8) * 3 <= len * 2 {
            let node = Node::open_whole(tx, at, level as u8)?;
            let (image, old_len) = (self.image(level, &pieces(&node)?)?, node.len);
            self.renew(tx, head, path, level, old_len, &image)?;
        }
        Ok(())
    }

    /// Joins the children `i` and `i + 1` of the path's node above `level`, if they fit.
    fn join(
        self,
        tx: &mut WriteTxn<'_>,
        head: &mut Head,
        path: &mut Path,
        level: usize,
        i: usize,
    ) -> Result<bool> {
        let parent = Node::open(tx, path.node(level + 1), level as u8 + 1)?;
        let left = Node::open(tx, parent.child(i)?, level as u8)?;
        let right = Node::open(tx, parent.child(i + 1)?, level as u8)?;
        let most = left.front.used(left.len) + right.front.used(right.len);
        if left.at == right.at || most > JOINED && left.need()? + right.need()? > JOINED {
            return Ok(false);
        }
        let (left, right) =
            (Node::open_whole(tx, left.at, level as u8)?, Node::open_whole(tx, right.at, level as u8)?);
        let mut all = pieces(&left)?;
        let middle = all.len();
        all.extend(pieces(&right)?);
        if level > 0 {
            // The separator comes down, with its block if it has one.
            let flags = parent.slot(i + 1)?.0 & Slot::LONG_KEY;
            let (key, stored_key) = (parent.key(i + 1)?, parent.stored_key(i + 1)?);
            all[middle] = Piece { key, stored_key, flags, ..all[middle] };
        }
        if need(&all) > NODE_MAX {
            return Ok(false);
        }
        let image = self.image(level, &all)?;
        let (left_at, left_len, right_at) = (left.at, left.len, right.at);
        path.steps[level + 1].1 = i as u32;
        path.steps[level].0 = left_at;
        self.renew(tx, head, path, level, left_len, &image)?;
        own(tx.free(Offset::<[u8]>::from_raw(right_at)), right_at)?;
        path.steps[level + 1].1 = i as u32 + 1;
        self.take(tx, head, path, level + 1, level == 0)?;
        Ok(true)
    }

    /// Frees all blocks but the header. `each` is called for each value before.
    pub(in crate::collections::btree) fn clear(
        self,
        tx: &mut WriteTxn<'_>,
        mut each: Option<Each<'_>>,
    ) -> Result<()> {
        let head = self.head(tx)?;
        if head.root != 0 {
            self.free_node(tx, head.root, head.levels() - 1, true, &mut each)?;
        }
        self.set_head(tx, &Head { kind: KIND, root: 0, len: 0, height: 0 })
    }

    /// Frees the nodes of a tree whose entries are in other nodes by now.
    pub(in crate::collections::btree) fn free_nodes(self, tx: &mut WriteTxn<'_>, old: &Head) -> Result<()> {
        self.free_node(tx, old.root, old.levels() - 1, false, &mut None)
    }

    /// Frees a node and all below it; with `items`, also the blocks of the leaves' keys and values.
    fn free_node(
        self,
        tx: &mut WriteTxn<'_>,
        at: u64,
        level: usize,
        items: bool,
        each: &mut Option<Each<'_>>,
    ) -> Result<()> {
        let count = Node::open(tx, at, level as u8)?.count();
        for i in 0..count {
            let node = Node::open(tx, at, level as u8)?;
            let slot = node.slot(i)?;
            let key = if slot.has_long_key() { Some(node.block(node.stored_key(i)?)?) } else { None };
            if level > 0 {
                let child = node.child(i)?;
                self.free_node(tx, child, level - 1, items, each)?;
            } else if !items {
                continue;
            } else {
                let value =
                    if slot.has_long_value() { Some(node.block(node.stored_value(i)?)?) } else { None };
                if let Some(each) = each {
                    let content = node.value(i)?.to_vec();
                    each(tx, &content)?;
                }
                self.free_block(tx, value)?;
            }
            self.free_block(tx, key)?;
        }
        own(tx.free(Offset::<[u8]>::from_raw(at)), at)
    }

    /// Frees everything.
    pub(in crate::collections::btree) fn free(
        self,
        tx: &mut WriteTxn<'_>,
        each: Option<Each<'_>>,
    ) -> Result<()> {
        self.clear(tx, each)?;
        tx.free(Offset::<[u8]>::from_raw(self.0))
    }
}
