//! Changing a [`Vector`]: its room, its elements, its end.
//!
//! The room is made first, the length is set last: it never takes in what is not written.
#![deny(unsafe_code)]

use super::super::shape;
use super::{LEN_AT, Parts, Vector};
use crate::error::{Error, Result};
use crate::txn::{View, WriteTxn};
use bytemuck::Pod;
use std::ops::RangeBounds;

impl<T: Pod> Vector<T> {
    /// Gives the data block room for `count` elements and returns the parts as they are now.
    fn set_capacity(&self, tx: &mut WriteTxn<'_>, parts: Parts, count: u64) -> Result<Parts> {
        let too_large = || Error::TooLarge { what: "a vector", len: count, max: u64::MAX / Self::SIZE };
        let bytes = count.checked_mul(Self::SIZE).ok_or_else(too_large)?;
        let data = if parts.data.is_null() {
            tx.alloc_unset(bytes, align_of::<T>())?
        } else {
            tx.resize(parts.data.cast::<[T]>(), count)?.cast()
        };
        // What the size class has beyond that costs nothing.
        let capacity = tx.block_info(data)?.capacity / Self::SIZE;
        let data = if capacity > count { tx.resize(data.cast::<[T]>(), capacity)?.cast() } else { data };
        if data != parts.data {
            tx.write_at(self.offset().cast(), 16, bytemuck::bytes_of(&data))?;
        }
        Ok(Parts { data, capacity: capacity.max(count), ..parts })
    }

    /// Makes sure of room for `more` elements, growing by half at least.
    fn make_room(&self, tx: &mut WriteTxn<'_>, parts: Parts, more: u64) -> Result<Parts> {
        let needed = parts.len.saturating_add(more);
        if needed <= parts.capacity {
            return Ok(parts);
        }
        let generous = needed.max(parts.capacity + parts.capacity / 2).max(8 / Self::SIZE).max(1);
        match self.set_capacity(tx, parts, generous) {
            Err(e) if e.is_want_of_space() && generous > needed => self.set_capacity(tx, parts, needed),
            other => other,
        }
    }

    fn set_len(&self, tx: &mut WriteTxn<'_>, len: u64) -> Result<()> {
        tx.write_at(self.offset().cast(), LEN_AT, &len.to_le_bytes())
    }

    fn write(&self, tx: &mut WriteTxn<'_>, parts: Parts, at: u64, elements: &[T]) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        tx.write_at(parts.data, at * Self::SIZE, bytemuck::cast_slice(elements))
    }

    /// Moves the elements from `from` on so that they begin at `to`.
    fn shift(&self, tx: &mut WriteTxn<'_>, parts: Parts, from: u64, to: u64) -> Result<()> {
        if from == parts.len || from == to {
            return Ok(());
        }
        tx.copy(parts.data, from * Self::SIZE..parts.len * Self::SIZE, parts.data, to * Self::SIZE)
    }

    /// Makes sure that `more` elements can be added without growing.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// v.reserve(&mut tx, 10)?;
    /// assert!(v.capacity(&tx)? >= 13);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn reserve(&self, tx: &mut WriteTxn<'_>, more: u64) -> Result<()> {
        let parts = self.parts(tx)?;
        self.make_room(tx, parts, more).map(drop)
    }

    /// Gives room that no element uses back to the heap.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[7u64; 1000])?;
    /// v.truncate(&mut tx, 10)?;
    /// v.shrink_to_fit(&mut tx)?;
    /// assert_eq!(v.capacity(&tx)?, 10);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn shrink_to_fit(&self, tx: &mut WriteTxn<'_>) -> Result<()> {
        let parts = self.parts(tx)?;
        if parts.len == parts.capacity {
            return Ok(());
        }
        if parts.len == 0 {
            tx.write_at(self.offset().cast(), 16, &0u64.to_le_bytes())?;
            return tx.free(parts.data);
        }
        let data = tx.resize(parts.data.cast::<[T]>(), parts.len)?;
        tx.write_at(self.offset().cast(), 16, bytemuck::bytes_of(&data))
    }

    /// Adds an element at the end. O(1), amortised: it writes the element and the length.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::new_in(&mut tx)?;
    /// v.push(&mut tx, 1.5f64)?;
    /// assert_eq!(v.as_slice(&tx)?, [1.5]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn push(&self, tx: &mut WriteTxn<'_>, element: T) -> Result<()> {
        self.extend_from_slice(tx, &[element])
    }

    /// Removes the last element and returns it.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8])?;
    /// assert_eq!((v.pop(&mut tx)?, v.pop(&mut tx)?), (Some(1), None));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pop(&self, tx: &mut WriteTxn<'_>) -> Result<Option<T>> {
        let Some(&last) = self.last(tx)? else { return Ok(None) };
        let len = self.parts(tx)?.len;
        self.set_len(tx, len - 1)?;
        Ok(Some(last))
    }

    /// Adds copies of `elements` at the end.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8])?;
    /// v.extend_from_slice(&mut tx, &[2, 3])?;
    /// assert_eq!(v.as_slice(&tx)?, [1, 2, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn extend_from_slice(&self, tx: &mut WriteTxn<'_>, elements: &[T]) -> Result<()> {
        let parts = self.parts(tx)?;
        let parts = self.make_room(tx, parts, elements.len() as u64)?;
        self.write(tx, parts, parts.len, elements)?;
        self.set_len(tx, parts.len + elements.len() as u64)
    }

    /// Adds what an iterator yields at the end, a few thousand bytes at a time. If it fails, what was added before stays: it is on the
    /// caller to roll back to a save point.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::new_in(&mut tx)?;
    /// v.extend(&mut tx, 0..1000u64)?;
    /// assert_eq!(v.last(&tx)?, Some(&999));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn extend(&self, tx: &mut WriteTxn<'_>, elements: impl IntoIterator<Item = T>) -> Result<()> {
        let mut elements = elements.into_iter().fuse();
        let most = (16384 / size_of::<T>()).max(1);
        loop {
            let piece: Vec<T> = elements.by_ref().take(most).collect();
            if piece.is_empty() {
                return Ok(());
            }
            self.extend_from_slice(tx, &piece)?;
        }
    }

    /// Replaces the element at `index`: writes only that.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// v.set(&mut tx, 1, 9)?;
    /// assert_eq!(v.as_slice(&tx)?, [1, 9, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn set(&self, tx: &mut WriteTxn<'_>, index: u64, element: T) -> Result<()> {
        let parts = self.parts(tx)?;
        if index >= parts.len {
            return Err(self.outside(index..index.saturating_add(1), parts.len));
        }
        self.write(tx, parts, index, &[element])
    }

    /// Changes the element at `index` in place.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// v.update(&mut tx, 1, |n| *n += 10)?;
    /// assert_eq!(v.as_slice(&tx)?, [1, 12, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn update<R>(
        &self,
        tx: &mut WriteTxn<'_>,
        index: u64,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let parts = self.parts(tx)?;
        let range = index..index.saturating_add(1);
        let mut element = self.slice_in(tx, parts, range)?[0];
        let result = change(&mut element);
        self.write(tx, parts, index, &[element])?;
        Ok(result)
    }

    /// Exchanges two elements.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// v.swap(&mut tx, 0, 2)?;
    /// assert_eq!(v.as_slice(&tx)?, [3, 2, 1]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn swap(&self, tx: &mut WriteTxn<'_>, a: u64, b: u64) -> Result<()> {
        let parts = self.parts(tx)?;
        let one = |tx: &WriteTxn<'_>, i: u64| Ok(self.slice_in(tx, parts, i..i.saturating_add(1))?[0]);
        let (first, second) = (one(tx, a)?, one(tx, b)?);
        self.write(tx, parts, a, &[second])?;
        self.write(tx, parts, b, &[first])
    }

    /// Puts an element before the one at `index`; at the end if `index` is the length. Moves what is behind.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 3])?;
    /// v.insert(&mut tx, 1, 2)?;
    /// assert_eq!(v.as_slice(&tx)?, [1, 2, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert(&self, tx: &mut WriteTxn<'_>, index: u64, element: T) -> Result<()> {
        self.replace_range(tx, index..index, &[element])
    }

    /// Removes the element at `index` and returns it. Moves what is behind.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.remove(&mut tx, 0)?, 1);
    /// assert_eq!(v.as_slice(&tx)?, [2, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn remove(&self, tx: &mut WriteTxn<'_>, index: u64) -> Result<T> {
        let range = index..index.saturating_add(1);
        let element = self.slice(tx, range.clone())?[0];
        self.replace_range(tx, range, &[])?;
        Ok(element)
    }

    /// Removes the element at `index` and puts the last one in its place: O(1).
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.swap_remove(&mut tx, 0)?, 1);
    /// assert_eq!(v.as_slice(&tx)?, [3, 2]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn swap_remove(&self, tx: &mut WriteTxn<'_>, index: u64) -> Result<T> {
        let parts = self.parts(tx)?;
        let element = self.slice_in(tx, parts, index..index.saturating_add(1))?[0];
        let last = self.slice_in(tx, parts, parts.len - 1..parts.len)?[0];
        if index != parts.len - 1 {
            self.write(tx, parts, index, &[last])?;
        }
        self.set_len(tx, parts.len - 1)?;
        Ok(element)
    }

    /// Replaces the elements of a range by others, as many as there are. Writes these and, if their number differs, moves what is behind;
    /// grows where there is no room. The elements must not be borrowed from the vector itself, which the compiler sees to.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, b"one two three")?;
    /// v.replace_range(&mut tx, 4..7, b"2")?;
    /// assert_eq!(v.as_slice(&tx)?, b"one 2 three");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn replace_range(
        &self,
        tx: &mut WriteTxn<'_>,
        range: impl RangeBounds<u64>,
        elements: &[T],
    ) -> Result<()> {
        let parts = self.parts(tx)?;
        let range = shape::range(range, parts.len);
        if range.start > range.end || range.end > parts.len {
            return Err(self.outside(range, parts.len));
        }
        let (old, new) = (range.end - range.start, elements.len() as u64);
        let parts = self.make_room(tx, parts, new.saturating_sub(old))?;
        self.shift(tx, parts, range.end, range.start + new)?;
        self.write(tx, parts, range.start, elements)?;
        if new == old { Ok(()) } else { self.set_len(tx, parts.len - old + new) }
    }

    /// Removes a range and returns what was in it.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3, 4])?;
    /// assert_eq!(v.drain(&mut tx, 1..3)?, [2, 3]);
    /// assert_eq!(v.as_slice(&tx)?, [1, 4]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn drain(&self, tx: &mut WriteTxn<'_>, range: impl RangeBounds<u64>) -> Result<Vec<T>> {
        let range = shape::range(range, self.len(tx)?);
        let removed = self.slice(tx, range.clone())?.to_vec();
        self.replace_range(tx, range, &[])?;
        Ok(removed)
    }

    /// Moves the elements from `at` on to a new vector, which is returned; they are copied.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// let rest = v.split_off(&mut tx, 1)?;
    /// assert_eq!((v.as_slice(&tx)?, rest.as_slice(&tx)?), (&[1][..], &[2, 3][..]));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn split_off(&self, tx: &mut WriteTxn<'_>, at: u64) -> Result<Self> {
        let rest = self.slice(tx, at..)?.to_vec();
        let rest = Self::from_slice(tx, &rest)?;
        self.truncate(tx, at)?;
        Ok(rest)
    }

    /// Removes all elements for which `keep` says no, keeping the order of the others. Writes from the first removed one on.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1, 2, 3, 4])?;
    /// v.retain(&mut tx, |n| n % 2 == 0)?;
    /// assert_eq!(v.as_slice(&tx)?, [2, 4]);
    ///
    /// v.extend(&mut tx, [4, 4, 2])?;
    /// let mut last = None;
    /// v.retain(&mut tx, |&n| last.replace(n) != Some(n))?; // as `Vec::dedup`
    /// assert_eq!(v.as_slice(&tx)?, [2, 4, 2]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn retain(&self, tx: &mut WriteTxn<'_>, mut keep: impl FnMut(&T) -> bool) -> Result<()> {
        tx.in_steps(|tx| {
            let parts = self.parts(tx)?;
            let most = (65536 / Self::SIZE).max(1);
            let (mut from, mut to) = (0, 0);
            while from < parts.len {
                let end = (from + most).min(parts.len);
                let piece = self.slice_in(tx, parts, from..end)?;
                let kept: Vec<T> = piece.iter().filter(|element| keep(element)).copied().collect();
                if to != from || kept.len() != piece.len() {
                    self.write(tx, parts, to, &kept)?;
                }
                to += kept.len() as u64;
                from = end;
            }
            if to == parts.len { Ok(()) } else { self.set_len(tx, to) }
        })
    }

    /// Removes all elements behind the first `len`. The room stays.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// v.truncate(&mut tx, 1)?;
    /// assert_eq!(v.as_slice(&tx)?, [1]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn truncate(&self, tx: &mut WriteTxn<'_>, len: u64) -> Result<()> {
        let parts = self.parts(tx)?;
        if len >= parts.len { Ok(()) } else { self.set_len(tx, len) }
    }

    /// Gives the vector `len` elements: the first of those it has, then copies of `element`.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8])?;
    /// v.resize(&mut tx, 3, 7)?;
    /// assert_eq!(v.as_slice(&tx)?, [1, 7, 7]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn resize(&self, tx: &mut WriteTxn<'_>, len: u64, element: T) -> Result<()> {
        let now = self.len(tx)?;
        if len <= now {
            return self.truncate(tx, len);
        }
        self.reserve(tx, len - now)?;
        let count = usize::try_from(len - now).unwrap_or(usize::MAX);
        self.extend(tx, std::iter::repeat_n(element, count))
    }

    /// Removes all elements. The room stays: [`shrink_to_fit`](Self::shrink_to_fit) gives it back.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8])?;
    /// v.clear(&mut tx)?;
    /// assert!(v.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn clear(&self, tx: &mut WriteTxn<'_>) -> Result<()> {
        self.truncate(tx, 0)
    }

    /// Frees the vector. What its elements lead to stays; see [`free_with`](Self::free_with).
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8])?;
    /// v.free(&mut tx)?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        tx.in_steps(|tx| {
            let parts = self.parts(tx)?;
            tx.free(self.offset())?;
            if parts.data.is_null() { Ok(()) } else { tx.free(parts.data) }
        })
    }

    /// Frees the vector and hands each element to `free`, which frees what that leads to. A vector that leads to itself, which only a
    /// damaged file can hold, ends in [`Error::BadOffset`].
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let rows = Vector::new_in(&mut tx)?;
    /// for n in 0..3 {
    ///     let row = Vector::from_slice(&mut tx, &[n; 4])?;
    ///     rows.push(&mut tx, row)?;
    /// }
    /// rows.free_with(&mut tx, |tx, row| row.free(tx))?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free_with(
        self,
        tx: &mut WriteTxn<'_>,
        mut free: impl FnMut(&mut WriteTxn<'_>, T) -> Result<()>,
    ) -> Result<()> {
        tx.in_steps(|tx| {
            let parts = self.parts(tx)?;
            // The header goes first, so that nobody comes here a second time.
            tx.free(self.offset())?;
            for index in 0..parts.len {
                let element = self.slice_in(tx, parts, index..index + 1)?[0];
                free(tx, element)?;
            }
            if parts.data.is_null() { Ok(()) } else { tx.free(parts.data) }
        })
    }
}
