//! [`List`]: a doubly linked list of plain values.
//!
//! A header block names the first and the last node; a node is a block with the offsets of its neighbours and the value behind them.
//! Nodes never move, so a [`Node`] stays right until its element is removed.
//!
//! Nothing read is trusted: whoever steps from one node to the next looks whether that one leads back, which is also what ends
//! cycles: a chain whose nodes all lead back to where it came from, and whose first leads nowhere, has none.
#![deny(unsafe_code)]

use super::shape::{self, element_shape};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use bytemuck::{Pod, Zeroable};
use std::iter::FusedIterator;
use std::marker::PhantomData;

const KIND: u32 = u32::from_le_bytes(*b"List");
const BROKEN: &str = "neighbours in a list do not lead to each other";
const LENGTH: &str = "a list has not as many elements as its header says";

/// What the header block holds.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    /// [`KIND`], and the size of an element.
    shape: u64,
    len: u64,
    first: Link,
    last: Link,
}

/// A node's block; null: none.
type Link = Offset<[u8]>;

const LEN_AT: u64 = 8;
const FIRST_AT: u64 = 16;
const LAST_AT: u64 = 24;

/// Where a node has its neighbours.
const BEFORE_AT: u64 = 0;
const AFTER_AT: u64 = 8;

handle! {
    /// A doubly linked list in an arena: `LinkedList` with handles of its elements, itself a handle of 8 bytes that can be stored in
    /// blocks and other collections.
    ///
    /// An element is inserted and removed, and a whole list moved into another, in O(1). A step costs a look-up of a block: for
    /// what is mostly iterated a [`Vector`](super::Vector) is better.
    ///
    /// ```
    /// use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let recent = List::<u32>::new_in(&mut tx)?;
    /// recent.push_back(&mut tx, 1)?;
    /// let two = recent.push_back(&mut tx, 2)?;
    /// recent.push_back(&mut tx, 3)?;
    /// recent.move_to_front(&mut tx, two)?;
    /// let all: Vec<u32> = recent.iter(&tx)?.map(|n| n.copied()).collect::<Result<_, _>>()?;
    /// assert_eq!(all, [2, 1, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    List<T>
}

handle! {
    /// An element of a [`List`], which can be stored in blocks as well: right until that element is removed. It is checked at each use,
    /// but one that was kept for longer may name a newer element.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let node = list.push_back(&mut tx, 7u8)?;
    /// assert_eq!(list.get(&tx, node)?, &7);
    /// list.remove(&mut tx, node)?;
    /// assert!(list.get(&tx, node).is_err());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    Node<T>
}

/// The neighbours of a node.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Links {
    before: Link,
    after: Link,
}

impl<T: Pod> List<T> {
    const SHAPE: u64 = element_shape(KIND, size_of::<T>());
    /// Where a node has its value.
    const VALUE_AT: u64 = (size_of::<Links>() as u64).next_multiple_of(align_of::<T>() as u64);
    const NODE_LEN: u64 = Self::VALUE_AT + size_of::<T>() as u64;
    const NODE_ALIGN: usize = if align_of::<T>() > 8 { align_of::<T>() } else { 8 };

    /// An empty list: one block of 32 bytes, and one of 16 and the element for each.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(List::<u64>::new_in(&mut tx)?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn new_in(tx: &mut WriteTxn<'_>) -> Result<Self> {
        let head = Head { shape: Self::SHAPE, len: 0, first: Link::null(), last: Link::null() };
        Ok(Self::from_offset(tx.alloc(&head)?.cast()))
    }

    fn head(&self, tx: &impl View) -> Result<Head> {
        let head: Head = *shape::head(tx, self.offset(), Self::SHAPE)?;
        let empty = head.len == 0;
        if head.first.is_null() != empty || head.last.is_null() != empty {
            return Err(Error::corrupt(self.offset().raw(), LENGTH));
        }
        Ok(head)
    }

    /// The neighbours of a node, whose block has the length of one.
    fn links(tx: &impl View, node: Link) -> Result<Links> {
        let len = tx.len_of(node)?;
        if len != Self::NODE_LEN {
            return Err(Error::SizeMismatch {
                offset: node.raw(),
                len,
                size: Self::NODE_LEN,
                type_name: std::any::type_name::<Node<T>>(),
            });
        }
        tx.part::<Links>(node, BEFORE_AT).copied()
    }

    fn value(tx: &impl View, node: Link) -> Result<&T> {
        tx.part::<T>(node, Self::VALUE_AT)
    }

    /// The neighbours of a node of this list, if those lead back to it.
    fn linked(&self, tx: &impl View, head: &Head, node: Link) -> Result<Links> {
        let links = Self::links(tx, node)?;
        let from_before =
            if links.before.is_null() { head.first } else { Self::links(tx, links.before)?.after };
        let from_after = if links.after.is_null() { head.last } else { Self::links(tx, links.after)?.before };
        if from_before != node || from_after != node {
            return Err(Error::corrupt(node.raw(), BROKEN));
        }
        Ok(links)
    }

    fn set(tx: &mut WriteTxn<'_>, block: Link, at: u64, link: Link) -> Result<()> {
        tx.write_at(block, at, bytemuck::bytes_of(&link))
    }

    /// Makes `from` (null: the header) lead to `to` as what comes after it.
    fn set_after(&self, tx: &mut WriteTxn<'_>, from: Link, to: Link) -> Result<()> {
        if from.is_null() {
            Self::set(tx, self.offset(), FIRST_AT, to)
        } else {
            Self::set(tx, from, AFTER_AT, to)
        }
    }

    fn set_before(&self, tx: &mut WriteTxn<'_>, from: Link, to: Link) -> Result<()> {
        if from.is_null() {
            Self::set(tx, self.offset(), LAST_AT, to)
        } else {
            Self::set(tx, from, BEFORE_AT, to)
        }
    }

    /// The length with so many more.
    fn longer(&self, head: &Head, more: u64) -> Result<u64> {
        head.len.checked_add(more).ok_or_else(|| Error::corrupt(self.offset().raw(), LENGTH))
    }

    fn set_len(&self, tx: &mut WriteTxn<'_>, len: u64) -> Result<()> {
        tx.write_at(self.offset(), LEN_AT, &len.to_le_bytes())
    }

    /// Number of elements. A few loads.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 7u8)?;
    /// assert_eq!(list.len(&tx)?, 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn len(&self, tx: &impl View) -> Result<u64> {
        Ok(self.head(tx)?.len)
    }

    /// Whether there is no element.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(List::<u8>::new_in(&mut tx)?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn is_empty(&self, tx: &impl View) -> Result<bool> {
        Ok(self.len(tx)? == 0)
    }

    /// The value of an element, in place.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let node = list.push_back(&mut tx, 7u8)?;
    /// assert_eq!(list.get(&tx, node)?, &7);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get<'t>(&self, tx: &'t impl View, node: Node<T>) -> Result<&'t T> {
        Self::links(tx, node.offset())?;
        Self::value(tx, node.offset())
    }

    /// The first element.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let node = list.push_back(&mut tx, 7u8)?;
    /// assert_eq!(list.front(&tx)?, Some(node));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn front(&self, tx: &impl View) -> Result<Option<Node<T>>> {
        Ok(some(self.head(tx)?.first))
    }

    /// The last element.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::<u8>::new_in(&mut tx)?;
    /// assert_eq!(list.back(&tx)?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn back(&self, tx: &impl View) -> Result<Option<Node<T>>> {
        Ok(some(self.head(tx)?.last))
    }

    /// The element after one.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let (one, two) = (list.push_back(&mut tx, 1u8)?, list.push_back(&mut tx, 2u8)?);
    /// assert_eq!((list.next(&tx, one)?, list.next(&tx, two)?), (Some(two), None));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn next(&self, tx: &impl View, node: Node<T>) -> Result<Option<Node<T>>> {
        Ok(some(self.linked(tx, &self.head(tx)?, node.offset())?.after))
    }

    /// The element before one.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let (one, two) = (list.push_back(&mut tx, 1u8)?, list.push_back(&mut tx, 2u8)?);
    /// assert_eq!((list.previous(&tx, one)?, list.previous(&tx, two)?), (None, Some(one)));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn previous(&self, tx: &impl View, node: Node<T>) -> Result<Option<Node<T>>> {
        Ok(some(self.linked(tx, &self.head(tx)?, node.offset())?.before))
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
        self.add(tx, &head, value, head.last, Link::null())
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
        self.add(tx, &head, value, Link::null(), head.first)
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
    fn join(&self, tx: &mut WriteTxn<'_>, first: Link, last: Link, before: Link, after: Link) -> Result<()> {
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
        let node = node.offset();
        if self.head(tx)?.first == node {
            return Ok(());
        }
        self.unlink(tx, node)?;
        let head = self.head(tx)?;
        self.join(tx, node, node, Link::null(), head.first)?;
        self.set_len(tx, head.len + 1)
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
        let node = node.offset();
        if self.head(tx)?.last == node {
            return Ok(());
        }
        self.unlink(tx, node)?;
        let head = self.head(tx)?;
        self.join(tx, node, node, head.last, Link::null())?;
        self.set_len(tx, head.len + 1)
    }

    /// Moves all elements of another list to the end of this one, in O(1). The other list is empty afterwards.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let (a, b) = (List::new_in(&mut tx)?, List::new_in(&mut tx)?);
    /// a.push_back(&mut tx, 1u8)?;
    /// let two = b.push_back(&mut tx, 2u8)?;
    /// a.append(&mut tx, &b)?;
    /// assert_eq!(a.back(&tx)?, Some(two));
    /// assert!(b.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn append(&self, tx: &mut WriteTxn<'_>, other: &Self) -> Result<()> {
        let last = self.head(tx)?.last;
        self.splice_between(tx, last, Link::null(), other)
    }

    /// Moves all elements of another list behind an element of this one, in O(1). The other list is empty afterwards.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let (a, b) = (List::new_in(&mut tx)?, List::new_in(&mut tx)?);
    /// let one = a.push_back(&mut tx, 1u8)?;
    /// let three = a.push_back(&mut tx, 3u8)?;
    /// let two = b.push_back(&mut tx, 2u8)?;
    /// a.splice_after(&mut tx, one, &b)?;
    /// assert_eq!((a.next(&tx, one)?, a.next(&tx, two)?), (Some(two), Some(three)));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn splice_after(&self, tx: &mut WriteTxn<'_>, node: Node<T>, other: &Self) -> Result<()> {
        let after = self.linked(tx, &self.head(tx)?, node.offset())?.after;
        self.splice_between(tx, node.offset(), after, other)
    }

    fn splice_between(&self, tx: &mut WriteTxn<'_>, before: Link, after: Link, other: &Self) -> Result<()> {
        if self == other {
            return Err(Error::BadOption {
                option: "the other list",
                value: other.offset().raw(),
                why: "a list cannot be moved into itself",
            });
        }
        let (head, moved) = (self.head(tx)?, other.head(tx)?);
        if moved.len == 0 {
            return Ok(());
        }
        let len = self.longer(&head, moved.len)?;
        other.linked(tx, &moved, moved.first)?;
        other.linked(tx, &moved, moved.last)?;
        self.join(tx, moved.first, moved.last, before, after)?;
        self.set_len(tx, len)?;
        other.set_after(tx, Link::null(), Link::null())?;
        other.set_before(tx, Link::null(), Link::null())?;
        other.set_len(tx, 0)
    }

    /// An iterator over the values, from both ends. It ends after an error, which damage in the file gives.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// for n in [1u8, 2, 3] {
    ///     list.push_back(&mut tx, n)?;
    /// }
    /// let backwards: Vec<&u8> = list.iter(&tx)?.rev().collect::<Result<_, _>>()?;
    /// assert_eq!(backwards, [&3, &2, &1]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn iter<'t, V: View>(&self, tx: &'t V) -> Result<Iter<'t, T, V>> {
        Ok(Iter(self.nodes(tx)?))
    }

    /// An iterator over the elements' handles, from both ends; otherwise as [`iter`](Self::iter).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// let node = list.push_back(&mut tx, 7u8)?;
    /// assert_eq!(list.nodes(&tx)?.next().unwrap()?, node);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn nodes<'t, V: View>(&self, tx: &'t V) -> Result<Nodes<'t, T, V>> {
        let head = self.head(tx)?;
        Ok(Nodes {
            tx,
            left: head.len,
            front: head.first,
            back: head.last,
            before_front: Link::null(),
            after_back: Link::null(),
            of: PhantomData,
        })
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
        let mut steps = self.nodes(tx)?.steps();
        while let Some(node) = steps.next(tx)? {
            if !keep(Self::value(tx, node)?) {
                self.remove(tx, Node::from_offset(node))?;
                steps.removed();
            }
        }
        Ok(())
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
        let mut steps = self.nodes(tx)?.steps();
        tx.write_at(self.offset(), LEN_AT, &[0; 24])?;
        while let Some(node) = steps.next(tx)? {
            tx.free(node)?;
        }
        Ok(())
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
        let mut steps = self.nodes(tx)?.steps();
        // The header goes first, so that nobody comes here a second time.
        tx.free(self.offset())?;
        while let Some(node) = steps.next(tx)? {
            let value = *Self::value(tx, node)?;
            tx.free(node)?;
            free(tx, value)?;
        }
        Ok(())
    }

    /// Verifies that all neighbours lead to each other and that there are as many elements as the header says.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// List::<u8>::new_in(&mut tx)?.check(&tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(&self, tx: &impl View) -> Result<()> {
        let mut steps = self.nodes(tx)?.steps();
        while let Some(node) = steps.next(tx)? {
            Self::value(tx, node)?;
        }
        Ok(())
    }
}

fn some<T: Pod>(link: Link) -> Option<Node<T>> {
    (!link.is_null()).then(|| Node::from_offset(link))
}

/// The way through a list from its first node to its last, for those who change it on the way.
struct Steps<T> {
    left: u64,
    next: Link,
    /// The node that [`next`](Self::next) returned last, and the one before it.
    before: Link,
    previous: Link,
    last: Link,
    of: PhantomData<fn(&T)>,
}

impl<T: Pod> Steps<T> {
    /// The node that was returned last has been taken out.
    fn removed(&mut self) {
        if self.before == self.last {
            self.last = self.previous;
        }
        self.before = self.previous;
    }

    fn next(&mut self, tx: &impl View) -> Result<Option<Link>> {
        let node = self.next;
        if self.left == 0 || node.is_null() {
            let complete = self.left == 0 && node.is_null() && self.before == self.last;
            let damaged = || Error::corrupt(self.before.raw(), LENGTH);
            return if complete { Ok(None) } else { Err(damaged()) };
        }
        let links = List::<T>::links(tx, node)?;
        if links.before != self.before {
            return Err(Error::corrupt(node.raw(), BROKEN));
        }
        (self.previous, self.before, self.next) = (self.before, node, links.after);
        self.left -= 1;
        Ok(Some(node))
    }
}

/// Iterator of [`List::nodes`].
///
/// ```
/// # use heapfile::{Arena, collections::List};
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = Arena::create(dir.path().join("a.heap"))?;
/// # let mut tx = arena.write()?;
/// let list = List::<u8>::new_in(&mut tx)?;
/// assert!(list.nodes(&tx)?.next().is_none());
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct Nodes<'t, T, V: ?Sized> {
    tx: &'t V,
    left: u64,
    front: Link,
    back: Link,
    before_front: Link,
    after_back: Link,
    of: PhantomData<fn(&T)>,
}

impl<T: Pod, V: View> Nodes<'_, T, V> {
    fn steps(&self) -> Steps<T> {
        Steps {
            left: self.left,
            next: self.front,
            before: Link::null(),
            previous: Link::null(),
            last: self.back,
            of: PhantomData,
        }
    }

    fn step(&mut self, forwards: bool) -> Result<Node<T>> {
        let node = if forwards { self.front } else { self.back };
        let links = List::<T>::links(self.tx, node)?;
        let from_front = links.before == self.before_front;
        let from_back = links.after == self.after_back;
        let sound = match (self.left, forwards) {
            // The last one left is where both ends meet.
            (1, _) => from_front && from_back && self.front == self.back,
            (_, true) => from_front,
            (_, false) => from_back,
        };
        if !sound {
            return Err(Error::corrupt(node.raw(), BROKEN));
        }
        if forwards {
            (self.before_front, self.front) = (node, links.after);
        } else {
            (self.after_back, self.back) = (node, links.before);
        }
        self.left -= 1;
        Ok(Node::from_offset(node))
    }

    fn one(&mut self, forwards: bool) -> Option<Result<Node<T>>> {
        if self.left == 0 {
            return None;
        }
        let step = self.step(forwards);
        if step.is_err() {
            self.left = 0;
        }
        Some(step)
    }
}

impl<T: Pod, V: View> Iterator for Nodes<'_, T, V> {
    type Item = Result<Node<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.one(true)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The length is read from the file: nobody should reserve memory for it.
        (0, usize::try_from(self.left).ok())
    }
}

impl<T: Pod, V: View> DoubleEndedIterator for Nodes<'_, T, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.one(false)
    }
}

impl<T: Pod, V: View> FusedIterator for Nodes<'_, T, V> {}

/// Iterator of [`List::iter`].
///
/// ```
/// # use heapfile::{Arena, collections::List};
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = Arena::create(dir.path().join("a.heap"))?;
/// # let mut tx = arena.write()?;
/// let list = List::<u8>::new_in(&mut tx)?;
/// assert!(list.iter(&tx)?.next().is_none());
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct Iter<'t, T, V: ?Sized>(Nodes<'t, T, V>);

impl<'t, T: Pod, V: View> Iter<'t, T, V> {
    fn value(&self, node: Result<Node<T>>) -> Result<&'t T> {
        List::<T>::value(self.0.tx, node?.offset())
    }
}

impl<'t, T: Pod, V: View> Iterator for Iter<'t, T, V> {
    type Item = Result<&'t T>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.0.next()?;
        Some(self.value(node))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T: Pod, V: View> DoubleEndedIterator for Iter<'_, T, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let node = self.0.next_back()?;
        Some(self.value(node))
    }
}

impl<T: Pod, V: View> FusedIterator for Iter<'_, T, V> {}
