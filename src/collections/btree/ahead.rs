//! Entries that rise, put in one after the other, most of them into a leaf of their own: the lines of several leaves are asked of memory together, so that it fetches
//! them at the same time.
//!
//! Put in alone each waits for its leaf, and then for the entry there that has its key. So the leaves of some are found first, and what a change of each will look at
//! is asked for. A leaf that was found is its key's until a change reaches further than one leaf: from there on the others of the group are put in alone.

#![forbid(unsafe_code)]

use super::collect::Collected;
use super::merge::insert;
use super::route::{child_at, entry_in};
use super::tree::{Tree, way_down};
use crate::error::Result;
use crate::txn::WriteTxn;
use crate::txn::view::Source;

/// Leaves that are looked ahead: what the processor's first cache has room for, several times over.
const AHEAD: usize = 16;
/// Bytes at the start of a node that one hint asks for; a second one asks for as many behind them, which are slots too.
const FIRST: u64 = 128;

/// Puts in entries that rise.
pub(super) fn insert_all(
    tx: &mut WriteTxn<'_>,
    tree: Tree,
    bytes: &[u8],
    entries: &[Collected],
) -> Result<()> {
    for group in entries.chunks(AHEAD) {
        let mut leaves = [0; AHEAD];
        look_ahead(tx, tree, bytes, group, &mut leaves)?;
        let mut are_theirs = true;
        for (entry, leaf) in group.iter().zip(leaves) {
            are_theirs = are_theirs
                && leaf != 0
                && tree.insert_in_leaf(tx, leaf, entry.key(bytes), entry.to_insert(bytes))?;
            if !are_theirs {
                insert(tx, tree, bytes, *entry)?;
            }
        }
    }
    Ok(())
}

/// Finds the entries' leaves, and has fetched what a change there looks at. No more than [`AHEAD`] are looked for.
fn look_ahead(
    tx: &WriteTxn<'_>,
    tree: Tree,
    bytes: &[u8],
    entries: &[Collected],
    leaves: &mut [u64; AHEAD],
) -> Result<()> {
    let head = tree.head(tx)?;
    if head.root == 0 {
        return Ok(());
    }
    let nodes = &mut leaves[..entries.len()];
    nodes.fill(head.root);
    for level in (1..head.levels()).rev() {
        let mut words = [0; AHEAD];
        for ((entry, node), word) in entries.iter().zip(nodes.iter()).zip(&mut words) {
            *word = child_at(tx, *node, level as u8, entry.key(bytes)).unwrap_or_default();
            tx.prefetch(*word);
        }
        for ((entry, node), word) in entries.iter().zip(nodes.iter_mut()).zip(words) {
            *node = match word {
                0 => way_down(tx, *node, level as u8, entry.key(bytes))?.1,
                _ => tx.word_in_block(word)?,
            };
            match level {
                1 => tx.prefetch_block(*node),
                _ => tx.prefetch(*node),
            }
            tx.prefetch(node.wrapping_add(FIRST));
        }
    }
    for (entry, leaf) in entries.iter().zip(nodes) {
        if let Some(at) = entry_in(tx, *leaf, entry.key(bytes)) {
            tx.prefetch(at);
        }
    }
    Ok(())
}
