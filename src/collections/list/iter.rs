//! Going through a [`List`]: iterators over elements and nodes, and the way of those who change the list meanwhile.
#![deny(unsafe_code)]

use super::{BROKEN, LENGTH, Link, List, Node};
use crate::error::{Error, Result};
use crate::txn::View;
use bytemuck::Pod;
use std::iter::FusedIterator;
use std::marker::PhantomData;

impl<T: Pod> List<T> {
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

    /// Whether an element has this value. A step for each.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::List};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let list = List::new_in(&mut tx)?;
    /// list.extend(&mut tx, [1u8, 2])?;
    /// assert!(list.contains(&tx, &2)? && !list.contains(&tx, &3)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn contains(&self, tx: &impl View, value: &T) -> Result<bool>
    where
        T: PartialEq,
    {
        for there in self.iter(tx)? {
            if there? == value {
                return Ok(true);
            }
        }
        Ok(false)
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
}

/// The way through a list from its first node to its last, for those who change it on the way.
pub(super) struct Steps<T> {
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
    pub(super) fn removed(&mut self) {
        if self.before == self.last {
            self.last = self.previous;
        }
        self.before = self.previous;
    }

    pub(super) fn next(&mut self, tx: &impl View) -> Result<Option<Link>> {
        let node = self.next;
        if self.left == 0 || node.is_null() {
            let complete = self.left == 0 && node.is_null() && self.before == self.last;
            let damaged = || Error::corrupt(self.before.raw(), LENGTH);
            return if complete { Ok(None) } else { Err(damaged()) };
        }
        let links = List::<T>::own_links(tx, node)?;
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
    pub(super) fn steps(&self) -> Steps<T> {
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
        let links = List::<T>::own_links(self.tx, node)?;
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
    fn value(&mut self, node: Result<Node<T>>) -> Result<&'t T> {
        let value = List::<T>::value(self.0.tx, node?.offset());
        if value.is_err() {
            self.0.left = 0;
        }
        value
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
