//! Walking over entries, both ways.
//!
//! A cursor keeps the nodes between the root and its entry; a step moves within the leaf, or goes up and down again. Keys have to rise from one leaf to the next: that is
//! checked at each change of leaf, so that a damaged tree whose nodes are shared or out of order ends the walk instead of prolonging it.

#![forbid(unsafe_code)]

use super::image::piece;
use super::load::Entry;
use super::node::{Node, Slot};
use super::tree::{Head, Tree};
use crate::error::Result;
use crate::txn::View;
use std::ops::Bound;

/// Place of an entry.
pub(super) struct Cursor<'t, S: ?Sized> {
    tx: &'t S,
    /// From the root down; the index is that of the entry taken.
    steps: Vec<(Node<'t, S>, usize)>,
}

impl<S: ?Sized> Clone for Cursor<'_, S> {
    fn clone(&self) -> Self {
        Self { tx: self.tx, steps: self.steps.clone() }
    }
}

impl<S: ?Sized> std::fmt::Debug for Cursor<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(node, i)| (node.at, i))).finish()
    }
}

/// Which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Forth,
    Back,
}

impl<'t, S: View + ?Sized> Cursor<'t, S> {
    /// The first entry of a range of keys on the way: the least going forth, the greatest going back. The bound is the range's on that side.
    pub(super) fn seek(tx: &'t S, tree: Tree, bound: Bound<&[u8]>, way: Way) -> Result<Option<Self>> {
        let head = tree.head(tx)?;
        if head.root == 0 {
            return Ok(None);
        }
        let mut cursor = Self { tx, steps: Vec::with_capacity(head.levels()) };
        let (Bound::Included(key) | Bound::Excluded(key)) = bound else {
            cursor.descend(head.root, head.levels() - 1, way)?;
            return Ok(Some(cursor));
        };
        let found = cursor.find(&head, key)?;
        let inclusive = matches!(bound, Bound::Included(_));
        // One before the entry wanted, seen on the way, so that a step leads there.
        let outside = match (found, way) {
            (Ok(_), _) if inclusive => false,
            (Ok(_), _) => true,
            (Err(i), Way::Forth) => {
                let (node, at) = cursor.last();
                *at = i.min(node.count() - 1);
                i >= node.count()
            }
            (Err(i), Way::Back) => {
                *cursor.last().1 = i;
                true
            }
        };
        if outside && !cursor.step(way)? {
            return Ok(None);
        }
        Ok(Some(cursor))
    }

    fn find(&mut self, head: &Head, key: &[u8]) -> Result<Result<usize, usize>> {
        let mut at = head.root;
        for level in (1..head.levels()).rev() {
            let node = Node::open(self.tx, at, level as u8)?;
            let i = node.route(key)?;
            self.steps.push((node, i));
            at = node.child(i)?;
        }
        let node = Node::open(self.tx, at, 0)?;
        let found = node.search(key)?;
        let (Ok(i) | Err(i)) = found;
        self.steps.push((node, i));
        Ok(found)
    }

    fn last(&mut self) -> (Node<'t, S>, &mut usize) {
        let (node, i) = self.steps.last_mut().expect("a cursor has a step for each level, and one at least");
        (*node, i)
    }

    /// Goes down to the outermost entry below a node.
    fn descend(&mut self, mut at: u64, level: usize, way: Way) -> Result<()> {
        for level in (0..=level).rev() {
            let node = Node::open(self.tx, at, level as u8)?;
            let i = if way == Way::Forth { 0 } else { node.count() - 1 };
            self.steps.push((node, i));
            if level > 0 {
                at = node.child(i)?;
            }
        }
        Ok(())
    }

    /// Moves one entry on; `false`, and nothing moved, at the end.
    pub(super) fn step(&mut self, way: Way) -> Result<bool> {
        let next = |node: &Node<'t, S>, i: usize| match way {
            Way::Forth => (i + 1 < node.count()).then_some(i + 1),
            Way::Back => i.checked_sub(1),
        };
        let Some(level) = self.steps.iter().rposition(|(node, i)| next(node, *i).is_some()) else {
            return Ok(false);
        };
        let bottom = self.steps.len() - 1;
        let (node, i) = &mut self.steps[level];
        let (node, to) = (*node, next(node, *i).unwrap_or(*i));
        *i = to;
        if level == bottom {
            return Ok(true);
        }
        let (before, _) = self.last();
        self.steps.truncate(level + 1);
        self.descend(node.child(to)?, bottom - level - 1, way)?;
        let (after, _) = self.last();
        let (first, last) = (after.key(0)?, after.key(after.count() - 1)?);
        let rises = match way {
            Way::Forth => before.key(before.count() - 1)? < first,
            Way::Back => last < before.key(0)?,
        };
        // A leaf whose keys fall would follow itself.
        if rises && first <= last {
            Ok(true)
        } else {
            Err(after.corrupt("the keys of an ordered map do not rise from node to node"))
        }
    }

    #[inline]
    fn place(&self) -> (&Node<'t, S>, usize) {
        let (node, i) = self.steps.last().expect("a cursor has a step for each level, and one at least");
        (node, *i)
    }

    #[inline]
    pub(super) fn key(&self) -> Result<&'t [u8]> {
        let (node, i) = self.place();
        node.key(i)
    }

    #[inline]
    pub(super) fn value(&self) -> Result<&'t [u8]> {
        let (node, i) = self.place();
        node.value(i)
    }

    /// A copy of the entry as it is stored.
    pub(super) fn entry(&self) -> Result<Entry> {
        let (node, i) = self.place();
        let piece = piece(node, i)?;
        let key_block =
            if piece.flags & Slot::LONG_KEY != 0 { piece.stored_key.try_into().ok() } else { None };
        Ok(Entry {
            key: piece.key.to_vec(),
            key_block,
            value: piece.stored_value.to_vec(),
            flags: piece.flags,
        })
    }

    fn is_at(&self, other: &Self) -> bool {
        let ((a, i), (b, j)) = (self.place(), other.place());
        a.at == b.at && i == j
    }
}

/// The entries of a range of keys that are not yet taken.
#[derive(Debug)]
pub(super) struct Entries<'t, S: ?Sized> {
    /// First and last entry left; `None` when there is none.
    ends: Option<(Cursor<'t, S>, Cursor<'t, S>)>,
}

impl<S: ?Sized> Clone for Entries<'_, S> {
    fn clone(&self) -> Self {
        Self { ends: self.ends.clone() }
    }
}

type KeyAndValue<'t> = (&'t [u8], &'t [u8]);

impl<'t, S: View + ?Sized> Entries<'t, S> {
    pub(super) fn new(tx: &'t S, tree: Tree, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Result<Self> {
        let first = Cursor::seek(tx, tree, low, Way::Forth)?;
        let last = Cursor::seek(tx, tree, high, Way::Back)?;
        let ends = match first.zip(last) {
            Some((first, last)) if first.key()? <= last.key()? => Some((first, last)),
            _ => None,
        };
        Ok(Self { ends })
    }

    /// From here on there are none.
    #[cold]
    pub(super) fn end(&mut self) {
        self.ends = None;
    }

    /// Takes the outermost entry on one side. After an error there are no more.
    #[inline]
    pub(super) fn take(&mut self, way: Way) -> Option<Result<KeyAndValue<'t>>> {
        let (first, last) = self.ends.as_mut()?;
        let cursor = if way == Way::Forth { &*first } else { &*last };
        let entry = cursor.key().and_then(|key| Ok((key, cursor.value()?)));
        let more = match &entry {
            Ok(_) if first.is_at(last) => Ok(false),
            Ok(_) if way == Way::Forth => first.step(way),
            Ok(_) => last.step(way),
            Err(_) => Ok(false),
        };
        match more {
            Ok(true) => {}
            Ok(false) => self.ends = None,
            Err(e) => {
                self.ends = None;
                return Some(Err(e));
            }
        }
        Some(entry)
    }
}
