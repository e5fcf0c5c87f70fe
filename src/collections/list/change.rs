//! Changing a [`List`]: elements put in, moved and taken out.
//!
//! Each change rewrites the links of its neighbours only, and looks first whether they lead to each other.
#![deny(unsafe_code)]

use super::{AFTER_AT, BEFORE_AT, End, FIRST_AT, Head, LAST_AT, LEN_AT, LENGTH, Link, Links, List, Node};
use crate::error::{Error, Result};
use crate::txn::WriteTxn;
use bytemuck::Pod;

impl<T: Pod> List<T> {
    pub(super) fn set(tx: &mut WriteTxn<'_>, block: Link, at: u64, link: Link) -> Result<()> {
        tx.write_at(block, at, bytemuck::bytes_of(&link))
    }

    /// Makes `from` (null: the header) lead to `to` as what comes after it.
    pub(super) fn set_after(&self, tx: &mut WriteTxn<'_>, from: Link, to: Link) -> Result<()> {
        if from.is_null() {
            Self::set(tx, self.offset(), FIRST_AT, to)
        } else {
            Self::set(tx, from, AFTER_AT, to)
        }
    }

    pub(super) fn set_before(&self, tx: &mut WriteTxn<'_>, from: Link, to: Link) -> Result<()> {
        if from.is_null() {
            Self::set(tx, self.offset(), LAST_AT, to)
        } else {
            Self::set(tx, from, BEFORE_AT, to)
        }
    }

    /// The length with so many more.
    pub(super) fn longer(&self, head: &Head, more: u64) -> Result<u64> {
        head.len.checked_add(more).ok_or_else(|| Error::corrupt(self.offset().raw(), LENGTH))
    }

    pub(super) fn set_len(&self, tx: &mut WriteTxn<'_>, len: u64) -> Result<()> {
        tx.write_at(self.offset(), LEN_AT, &len.to_le_bytes())
    }

    /// Changes the value of an element in place.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let node = list.push_back(&mut tx, 7u8)?;
    /// list.update(&mut tx, node, |n| *n += 1)?;
    /// assert_eq!(list.get(&tx, node)?, &8);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update<R>(
        &self,
        tx: &mut WriteTxn<'_>,
        node: Node<T>,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let mut value = *self.get(tx, node)?;
        let result = change(&mut value);
        tx.write_at(node.offset(), Self::VALUE_AT, bytemuck::bytes_of(&value))?;
        Ok(result)
    }

    /// Allocates a node and links it between two neighbours; null: the header.
    fn add(
        &self,
        tx: &mut WriteTxn<'_>,
        head: &Head,
        value: T,
        before: Link,
        after: Link,
    ) -> Result<Node<T>> {
        let len = self.longer(head, 1)?;
        let node = tx.alloc_unset(Self::NODE_LEN, Self::NODE_ALIGN)?;
        let mut bytes = vec![0; Self::NODE_LEN as usize];
        bytes[..size_of::<Links>()].copy_from_slice(bytemuck::bytes_of(&Links { before, after }));
        bytes[Self::VALUE_AT as usize..].copy_from_slice(bytemuck::bytes_of(&value));
        tx.write_at(node, 0, &bytes)?;
        self.set_after(tx, before, node)?;
        self.set_before(tx, after, node)?;
        self.set_len(tx, len)?;
        Ok(Node::from_offset(node))
    }

    /// Adds an element at the end.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 7u8)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn push_back(&self, tx: &mut WriteTxn<'_>, value: T) -> Result<Node<T>> {
        let head = self.head(tx)?;
        let last = Self::checked_end(tx, &head, End::Last)?;
        self.add(tx, &head, value, last, Link::null())
    }

    /// Adds an element at the beginning.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_front(&mut tx, 7u8)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn push_front(&self, tx: &mut WriteTxn<'_>, value: T) -> Result<Node<T>> {
        let head = self.head(tx)?;
        let first = Self::checked_end(tx, &head, End::First)?;
        self.add(tx, &head, value, Link::null(), first)
    }

    /// Adds an element after one.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let one = list.push_back(&mut tx, 1u8)?;
    /// let two = list.insert_after(&mut tx, one, 2)?;
    /// assert_eq!(list.back(&tx)?, Some(two));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert_after(&self, tx: &mut WriteTxn<'_>, node: Node<T>, value: T) -> Result<Node<T>> {
        let head = self.head(tx)?;
        let links = self.linked(tx, &head, node.offset())?;
        self.add(tx, &head, value, node.offset(), links.after)
    }

    /// Adds an element before one.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let one = list.push_back(&mut tx, 1u8)?;
    /// let zero = list.insert_before(&mut tx, one, 0)?;
    /// assert_eq!(list.front(&tx)?, Some(zero));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert_before(&self, tx: &mut WriteTxn<'_>, node: Node<T>, value: T) -> Result<Node<T>> {
        let head = self.head(tx)?;
        let links = self.linked(tx, &head, node.offset())?;
        self.add(tx, &head, value, links.before, node.offset())
    }

    /// Takes a node out of the chain; its block stays.
    fn unlink(&self, tx: &mut WriteTxn<'_>, node: Link) -> Result<()> {
        let head = self.head(tx)?;
        let links = self.linked(tx, &head, node)?;
        let only = links.before.is_null() && links.after.is_null();
        if head.len == 0 || (head.len == 1) != only {
            return Err(Error::corrupt(self.offset().raw(), LENGTH));
        }
        self.set_after(tx, links.before, links.after)?;
        self.set_before(tx, links.after, links.before)?;
        self.set_len(tx, head.len - 1)
    }

    /// Removes an element, which has to be one of this list, and returns its value. O(1).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let node = list.push_back(&mut tx, 7u8)?;
    /// assert_eq!(list.remove(&mut tx, node)?, 7);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn remove(&self, tx: &mut WriteTxn<'_>, node: Node<T>) -> Result<T> {
        let value = *self.get(tx, node)?;
        self.unlink(tx, node.offset())?;
        tx.free(node.offset())?;
        Ok(value)
    }

    /// Removes the first element and returns its value.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 7u8)?;
    /// assert_eq!((list.pop_front(&mut tx)?, list.pop_front(&mut tx)?), (Some(7), None));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pop_front(&self, tx: &mut WriteTxn<'_>) -> Result<Option<T>> {
        self.front(tx)?.map(|node| self.remove(tx, node)).transpose()
    }

    /// Removes the last element and returns its value.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 7u8)?;
    /// assert_eq!(list.pop_back(&mut tx)?, Some(7));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pop_back(&self, tx: &mut WriteTxn<'_>) -> Result<Option<T>> {
        self.back(tx)?.map(|node| self.remove(tx, node)).transpose()
    }

    /// Links a chain of nodes, already linked among themselves, between two neighbours; null: the header.
    pub(super) fn join(
        &self,
        tx: &mut WriteTxn<'_>,
        first: Link,
        last: Link,
        before: Link,
        after: Link,
    ) -> Result<()> {
        Self::set(tx, first, BEFORE_AT, before)?;
        Self::set(tx, last, AFTER_AT, after)?;
        self.set_after(tx, before, first)?;
        self.set_before(tx, after, last)
    }

    /// Makes an element the first, without moving its block.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 1u8)?;
    /// let two = list.push_back(&mut tx, 2)?;
    /// list.move_to_front(&mut tx, two)?;
    /// assert_eq!(list.front(&tx)?, Some(two));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn move_to_front(&self, tx: &mut WriteTxn<'_>, node: Node<T>) -> Result<()> {
        let (head, node) = (self.head(tx)?, node.offset());
        let first = Self::checked_end(tx, &head, End::First)?;
        if first == node {
            return Ok(());
        }
        self.unlink(tx, node)?;
        self.join(tx, node, node, Link::null(), first)?;
        self.set_len(tx, head.len)
    }

    /// Makes an element the last, without moving its block.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let one = list.push_back(&mut tx, 1u8)?;
    /// list.push_back(&mut tx, 2)?;
    /// list.move_to_back(&mut tx, one)?;
    /// assert_eq!(list.back(&tx)?, Some(one));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn move_to_back(&self, tx: &mut WriteTxn<'_>, node: Node<T>) -> Result<()> {
        let (head, node) = (self.head(tx)?, node.offset());
        let last = Self::checked_end(tx, &head, End::Last)?;
        if last == node {
            return Ok(());
        }
        self.unlink(tx, node)?;
        self.join(tx, node, node, last, Link::null())?;
        self.set_len(tx, head.len)
    }

    /// Removes all elements for which `keep` says no.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// for n in 0..10u8 {
    ///     list.push_back(&mut tx, n)?;
    /// }
    /// list.retain(&mut tx, |n| n % 5 == 0)?;
    /// assert_eq!(list.len(&tx)?, 2);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn retain(&self, tx: &mut WriteTxn<'_>, mut keep: impl FnMut(&T) -> bool) -> Result<()> {
        tx.in_steps(|tx| {
            let mut steps = self.nodes(tx)?.steps();
            while let Some(node) = steps.next(tx)? {
                if !keep(Self::value(tx, node)?) {
                    self.remove(tx, Node::from_offset(node))?;
                    steps.removed();
                }
            }
            Ok(())
        })
    }

    /// Removes all elements.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 7u8)?;
    /// list.clear(&mut tx)?;
    /// assert!(list.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn clear(&self, tx: &mut WriteTxn<'_>) -> Result<()> {
        tx.in_steps(|tx| {
            let mut steps = self.nodes(tx)?.steps();
            tx.write_at(self.offset(), LEN_AT, &[0; 24])?;
            while let Some(node) = steps.next(tx)? {
                tx.free(node)?;
            }
            Ok(())
        })
    }

    /// Frees the list with all of its nodes. What the elements lead to stays; see [`free_with`](Self::free_with).
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 7u8)?;
    /// list.free(&mut tx)?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        self.free_with(tx, |_, _| Ok(()))
    }

    /// Frees the list and hands each element to `free`, which frees what that leads to. A list that leads to itself, which only a
    /// damaged file can hold, ends in [`Error::BadOffset`].
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::{List, Text}};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let lines = List::new_in(&mut tx)?;
    /// let line = Text::from_str(&mut tx, "first")?;
    /// lines.push_back(&mut tx, line)?;
    /// lines.free_with(&mut tx, |tx, line| line.free(tx))?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free_with(
        self,
        tx: &mut WriteTxn<'_>,
        mut free: impl FnMut(&mut WriteTxn<'_>, T) -> Result<()>,
    ) -> Result<()> {
        tx.in_steps(|tx| {
            let mut steps = self.nodes(tx)?.steps();
            // The header goes first, so that nobody comes here a second time.
            tx.free(self.offset())?;
            while let Some(node) = steps.next(tx)? {
                let value = *Self::value(tx, node)?;
                tx.free(node)?;
                free(tx, value)?;
            }
            Ok(())
        })
    }
}
