//! Checking a tree: everything that reading relies on for right answers.

#![forbid(unsafe_code)]

use super::node::{FRONT, Node, head_of};
use super::tree::Tree;
use crate::error::{Error, Result};
use crate::txn::View;

/// Looks at an entry's key and value.
type Look<'f> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'f;

/// Walks the whole tree: levels, order, bounds, heads, prefixes, room, blocks of long keys and values, that no block is in it twice, the number of
/// entries. `item` looks at each entry's key and value. Takes eight bytes of memory for each block.
pub(super) fn check<S: View + ?Sized>(tx: &S, tree: Tree, item: &mut Look<'_>) -> Result<()> {
    let head = tree.head(tx)?;
    if head.root == 0 {
        return Ok(());
    }
    let mut walk = Walk { tx, item, last: None, count: 0, blocks: vec![tree.0] };
    walk.node(head.root, head.levels() - 1, None, None)?;
    walk.blocks.sort_unstable();
    if let Some(pair) = walk.blocks.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::corrupt(pair[0], "an ordered map leads to this block twice"));
    }
    if walk.count != head.len {
        return Err(Error::corrupt(
            tree.0,
            "an ordered map has another number of entries than its header says",
        ));
    }
    Ok(())
}

struct Walk<'t, 'f, S: ?Sized> {
    tx: &'t S,
    item: &'f mut Look<'f>,
    last: Option<&'t [u8]>,
    count: u64,
    /// Where each block of the map is.
    blocks: Vec<u64>,
}

impl<'t, S: View + ?Sized> Walk<'t, '_, S> {
    /// `low`, `high`: what the separators around the node say.
    fn node(&mut self, at: u64, level: usize, low: Option<&'t [u8]>, high: Option<&'t [u8]>) -> Result<()> {
        let node = Node::open_whole(self.tx, at, level as u8)?;
        self.room(&node)?;
        self.blocks.push(at);
        let keyed = usize::from(level > 0);
        for i in 0..node.count() {
            let (slot, key) = (node.slot(i)?, node.key(i)?);
            let prefix = node.front.prefix;
            if slot.has_long_key() {
                self.blocks.push(node.block(node.stored_key(i)?)?.raw());
            }
            if i < keyed {
                if !key.is_empty() {
                    return Err(node.corrupt("the first entry of an inner node has a key"));
                }
            } else {
                if slot.with_head(head_of(key, prefix)) != slot || key.len() < prefix {
                    return Err(node.corrupt("the head of a slot is not that of its key"));
                }
                if prefix > 0 && !node.key(node.count() - 1)?.starts_with(&key[..prefix]) {
                    return Err(node.corrupt("the keys of a node have less in common than it says"));
                }
                if low.is_some_and(|low| key < low) || high.is_some_and(|high| key >= high) {
                    return Err(node.corrupt("a key lies outside of its node's bounds"));
                }
            }
            if level == 0 {
                self.entry(&node, i, key)?;
                continue;
            }
            if i > keyed && node.key(i - 1)? >= key {
                return Err(node.corrupt("the separators of a node do not rise"));
            }
            let low = if i < keyed { low } else { Some(key) };
            let high = if i + 1 < node.count() { Some(node.key(i + 1)?) } else { high };
            self.node(node.child(i)?, level - 1, low, high)?;
        }
        Ok(())
    }

    fn entry(&mut self, node: &Node<'t, S>, i: usize, key: &'t [u8]) -> Result<()> {
        if self.last.is_some_and(|last| last >= key) {
            return Err(node.corrupt("the keys of an ordered map do not rise"));
        }
        self.last = Some(key);
        self.count += 1;
        if node.slot(i)?.has_long_value() {
            self.blocks.push(node.block(node.stored_value(i)?)?.raw());
        }
        (self.item)(key, node.value(i)?)
    }

    /// Entries lie above `low`, apart from each other, and with the holes they fill the rest but for padding.
    fn room(&self, node: &Node<'t, S>) -> Result<()> {
        let mut spans = Vec::with_capacity(node.count());
        for i in 0..node.count() {
            let slot = node.slot(i)?;
            spans.push((slot.at(), slot.at() + slot.value_len() + slot.key_len()));
        }
        // What has no bytes lies nowhere.
        spans.retain(|(start, end)| start < end);
        spans.sort_unstable();
        let apart = spans.is_sorted_by(|a, b| a.1 <= b.0);
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return Ok(()) };
        let inside = first.0 >= node.front.low && first.0 >= FRONT + 8 * node.count() && last.1 <= node.len;
        let taken: usize = spans.iter().map(|(start, end)| end - start).sum();
        if apart && inside && taken + node.front.holes <= node.len - node.front.low {
            Ok(())
        } else {
            Err(node.corrupt("the entries of a node overlap, or lie outside of it"))
        }
    }
}
