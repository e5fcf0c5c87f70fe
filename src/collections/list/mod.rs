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

mod change;
mod iter;
mod whole;

pub use iter::{Iter, Nodes};

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

/// Of a list.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

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

    /// The same of a node to which the list led: if there is none, that is damage.
    fn own_links(tx: &impl View, node: Link) -> Result<Links> {
        shape::own(Self::links(tx, node), node.raw(), BROKEN)
    }

    fn value(tx: &impl View, node: Link) -> Result<&T> {
        tx.part::<T>(node, Self::VALUE_AT)
    }

    /// The neighbours of a node of this list, if those lead back to it.
    fn linked(&self, tx: &impl View, head: &Head, node: Link) -> Result<Links> {
        let links = Self::links(tx, node)?;
        let from_before =
            if links.before.is_null() { head.first } else { Self::own_links(tx, links.before)?.after };
        let from_after =
            if links.after.is_null() { head.last } else { Self::own_links(tx, links.after)?.before };
        if from_before != node || from_after != node {
            return Err(Error::corrupt(node.raw(), BROKEN));
        }
        Ok(links)
    }

    /// The node at that end, if there is one and no other lies beyond it.
    #[inline]
    fn checked_end(tx: &impl View, head: &Head, end: End) -> Result<Link> {
        let (node, beyond): (Link, fn(Links) -> Link) = match end {
            End::First => (head.first, |links| links.before),
            End::Last => (head.last, |links| links.after),
        };
        if !node.is_null() && !beyond(Self::own_links(tx, node)?).is_null() {
            return Err(Error::corrupt(node.raw(), BROKEN));
        }
        Ok(node)
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
