//! Many elements of a [`List`] at once: added, or moved to and from another list.
#![deny(unsafe_code)]

use super::{End, Head, Link, List, Node};
use crate::error::{Error, Result};
use crate::txn::WriteTxn;
use bytemuck::Pod;

impl<T: Pod> List<T> {
    /// Adds what an iterator yields at the end. After an error in the middle the transaction can only be rolled back ([`Error::HalfChanged`]).
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.extend(&mut tx, [1u8, 2, 3])?;
    /// assert_eq!(list.len(&tx)?, 3);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn extend(&self, tx: &mut WriteTxn<'_>, values: impl IntoIterator<Item = T>) -> Result<()> {
        tx.in_steps(|tx| values.into_iter().try_for_each(|value| self.push_back(tx, value).map(drop)))
    }

    /// Moves all elements of another list to the end of this one, in O(1). The other list, which has to be another one ([`Error::BadOption`]), is empty afterwards.
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
        let last = Self::checked_end(tx, &self.head(tx)?, End::Last)?;
        self.splice_between(tx, last, Link::null(), other)
    }

    /// Moves all elements of another list behind an element of this one, in O(1). The other list, which has to be another one ([`Error::BadOption`]), is empty afterwards.
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

    /// Moves an element and all behind it to a new list, which is returned. Their nodes stay where they are; it takes a step for each, to count them.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.push_back(&mut tx, 1u8)?;
    /// let two = list.push_back(&mut tx, 2)?;
    /// list.push_back(&mut tx, 3)?;
    /// let rest = list.split_off(&mut tx, two)?;
    /// assert_eq!((list.len(&tx)?, rest.len(&tx)?), (1, 2));
    /// assert_eq!(rest.front(&tx)?, Some(two));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn split_off(&self, tx: &mut WriteTxn<'_>, node: Node<T>) -> Result<Self> {
        let (head, first) = (self.head(tx)?, node.offset());
        let before = self.linked(tx, &head, first)?.before;
        let stranger = || Error::corrupt(first.raw(), "the element to split a list at is of another list");
        let (mut nodes, mut len) = (self.nodes(tx)?, 1);
        while nodes.next_back().transpose()?.ok_or_else(stranger)? != node {
            len += 1;
        }
        tx.in_steps(|tx| {
            let rest = Self::from_offset(tx.alloc(&Head { len, first, ..head })?.cast());
            rest.set_before(tx, first, Link::null())?;
            self.set_after(tx, before, Link::null())?;
            self.set_before(tx, Link::null(), before)?;
            self.set_len(tx, head.len - len)?;
            Ok(rest)
        })
    }
}
