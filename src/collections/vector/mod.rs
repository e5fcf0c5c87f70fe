//! [`Vector`]: a growing array of plain values in one block.
//!
//! A vector is a header block, which its handle names and which never moves, and a data block with room for `capacity`
//! elements, of which the first `len` count; what lies behind those means nothing. Growing takes half as much again, in place where
//! the heap has room behind the block.
//!
//! Limit: all elements lie side by side, so inserting or removing in the middle moves, and logs, what is behind.
#![deny(unsafe_code)]

use super::shape::{self, element_shape};
use crate::error::{Error, OffsetFault, Result};
use crate::offset::Offset;
use crate::txn::view::misaligned;
use crate::txn::{View, WriteTxn};
use bytemuck::{Pod, Zeroable};
use std::cmp::Ordering;
use std::ops::{Range, RangeBounds};

mod change;

const KIND: u32 = u32::from_le_bytes(*b"Vect");
const DAMAGED: &str = "a vector's header contradicts its data block";

/// What the header block holds.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    /// [`KIND`], and the size of an element.
    shape: u64,
    len: u64,
    /// The data block; null while there is none.
    data: Offset<[u8]>,
    reserved: u64,
}

const LEN_AT: u64 = 8;

handle! {
    /// A vector in an arena: `Vec`, as a handle of 8 bytes that can be stored in blocks and other collections.
    ///
    /// Reading takes any transaction and borrows from it; changing takes the write transaction. The handle is plain data: copies of it
    /// name the same vector, and nothing is freed before [`free`](Self::free).
    ///
    /// ```
    /// use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let primes = Vector::<u32>::new_in(&mut tx)?;
    /// primes.extend_from_slice(&mut tx, &[2, 3, 5])?;
    /// primes.push(&mut tx, 7)?;
    /// let root = tx.alloc(&primes)?;
    /// tx.set_root(root)?;
    /// tx.commit()?;
    ///
    /// let tx = arena.read()?;
    /// let primes: Vector<u32> = *tx.get(tx.root()?.unwrap())?;
    /// assert_eq!(primes.as_slice(&tx)?, [2, 3, 5, 7]); // straight from the mapped file
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    Vector<T>
}

/// What a vector is made of, read and checked.
#[derive(Clone, Copy)]
struct Parts {
    len: u64,
    data: Offset<[u8]>,
    /// Elements that the data block has room for.
    capacity: u64,
}

impl<T: Pod> Vector<T> {
    const SIZE: u64 = {
        assert!(size_of::<T>() > 0, "a vector's elements have at least one byte");
        size_of::<T>() as u64
    };
    const SHAPE: u64 = element_shape(KIND, size_of::<T>());

    /// An empty vector: one block of 32 bytes, more with the first element.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::<u64>::new_in(&mut tx)?;
    /// assert!(v.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn new_in(tx: &mut WriteTxn<'_>) -> Result<Self> {
        let head = Head { shape: Self::SHAPE, len: 0, data: Offset::null(), reserved: 0 };
        Ok(Self::from_offset(tx.alloc(&head)?.cast()))
    }

    /// A vector that holds a copy of `elements`, with no room to spare. On an error nothing stays allocated.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!((v.len(&tx)?, v.capacity(&tx)?), (3, 3));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn from_slice(tx: &mut WriteTxn<'_>, elements: &[T]) -> Result<Self> {
        let data = if elements.is_empty() { Offset::null() } else { tx.alloc_slice(elements)?.cast() };
        let head = Head { shape: Self::SHAPE, len: elements.len() as u64, data, reserved: 0 };
        match tx.alloc(&head) {
            Ok(offset) => Ok(Self::from_offset(offset.cast())),
            Err(e) => {
                if !data.is_null() {
                    tx.free(data)?;
                }
                Err(e)
            }
        }
    }

    #[inline]
    fn parts(&self, tx: &impl View) -> Result<Parts> {
        let head: Head = *shape::head(tx, self.offset(), Self::SHAPE)?;
        let at = self.offset().raw();
        let bytes = if head.data.is_null() { 0 } else { shape::own(tx.len_of(head.data), at, DAMAGED)? };
        let capacity = bytes / Self::SIZE;
        if head.len > capacity {
            return Err(Error::corrupt(at, DAMAGED));
        }
        Ok(Parts { len: head.len, data: head.data, capacity })
    }

    #[inline]
    fn slice_in<'t>(&self, tx: &'t impl View, parts: Parts, range: Range<u64>) -> Result<&'t [T]> {
        if range.start > range.end || range.end > parts.len {
            return Err(self.outside(range, parts.len));
        }
        if range.is_empty() {
            return Ok(&[]);
        }
        let bytes = tx.bytes_range(parts.data, range.start * Self::SIZE..range.end * Self::SIZE)?;
        bytemuck::try_cast_slice(bytes).map_err(|_| Self::misaligned(parts.data))
    }

    /// The error where elements are not where elements can be: damage, or more alignment than changed bytes have in memory.
    #[cold]
    fn misaligned(data: Offset<[u8]>) -> Error {
        match misaligned::<T>(data.raw()) {
            e @ Error::BadOffset { fault: OffsetFault::OverAligned, .. } => e,
            _ => Error::corrupt(data.raw(), "a vector's data block is not aligned"),
        }
    }

    #[cold]
    fn outside(&self, range: Range<u64>, len: u64) -> Error {
        shape::outside(self.offset(), range, len)
    }

    /// Number of elements. A few loads.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.len(&tx)?, 3);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn len(&self, tx: &impl View) -> Result<u64> {
        Ok(self.parts(tx)?.len)
    }

    /// Whether there is no element.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(Vector::<u8>::new_in(&mut tx)?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn is_empty(&self, tx: &impl View) -> Result<bool> {
        Ok(self.len(tx)? == 0)
    }

    /// Elements that fit before the data block has to grow.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::<u8>::new_in(&mut tx)?;
    /// v.reserve(&mut tx, 100)?;
    /// assert!(v.capacity(&tx)? >= 100);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn capacity(&self, tx: &impl View) -> Result<u64> {
        Ok(self.parts(tx)?.capacity)
    }

    /// All elements, in place. In a write transaction that changed some of them, those lines are put together first.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.as_slice(&tx)?.iter().sum::<u8>(), 6);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn as_slice<'t>(&self, tx: &'t impl View) -> Result<&'t [T]> {
        let parts = self.parts(tx)?;
        self.slice_in(tx, parts, 0..parts.len)
    }

    /// Some elements, in place. [`Error::OutOfBounds`] counts in elements.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.slice(&tx, 1..)?, [2, 3]);
    /// assert!(v.slice(&tx, 1..5).is_err());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn slice<'t>(&self, tx: &'t impl View, range: impl RangeBounds<u64>) -> Result<&'t [T]> {
        let parts = self.parts(tx)?;
        self.slice_in(tx, parts, shape::range(range, parts.len))
    }

    /// All elements, to be changed in place: all of them count as changed, and so does the spare room. To change a few of many use
    /// [`set`](Self::set) or [`replace_range`](Self::replace_range).
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[3, 1, 2])?;
    /// v.as_mut_slice(&mut tx)?.sort_unstable();
    /// assert_eq!(v.as_slice(&tx)?, [1, 2, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn as_mut_slice<'t>(&self, tx: &'t mut WriteTxn<'_>) -> Result<&'t mut [T]> {
        let parts = self.parts(tx)?;
        if parts.len == 0 {
            return Ok(&mut []);
        }
        let all = tx.bytes_mut(parts.data)?;
        let bytes = &mut all[..(parts.len * Self::SIZE) as usize];
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| Self::misaligned(parts.data))
    }

    /// The element at `index`, if there are so many.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!((v.get(&tx, 2)?, v.get(&tx, 3)?), (Some(&3), None));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get<'t>(&self, tx: &'t impl View, index: u64) -> Result<Option<&'t T>> {
        let parts = self.parts(tx)?;
        if index >= parts.len {
            return Ok(None);
        }
        Ok(self.slice_in(tx, parts, index..index + 1)?.first())
    }

    /// The first element.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.first(&tx)?, Some(&1));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn first<'t>(&self, tx: &'t impl View) -> Result<Option<&'t T>> {
        self.get(tx, 0)
    }

    /// The last element.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.last(&tx)?, Some(&3));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn last<'t>(&self, tx: &'t impl View) -> Result<Option<&'t T>> {
        let parts = self.parts(tx)?;
        Ok(self.slice_in(tx, parts, parts.len.saturating_sub(1)..parts.len)?.first())
    }

    /// An iterator over all elements, from both ends; the one of the slice.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[1u8, 2, 3])?;
    /// assert_eq!(v.iter(&tx)?.rev().collect::<Vec<_>>(), [&3, &2, &1]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn iter<'t>(&self, tx: &'t impl View) -> Result<std::slice::Iter<'t, T>> {
        Ok(self.as_slice(tx)?.iter())
    }

    /// Searches a sorted vector: where `value` is, or where it could be inserted. O(log n) loads, nothing is copied.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[10, 20, 30])?;
    /// assert_eq!((v.binary_search(&tx, &20)?, v.binary_search(&tx, &25)?), (Ok(1), Err(2)));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn binary_search(&self, tx: &impl View, value: &T) -> Result<std::result::Result<u64, u64>>
    where
        T: Ord,
    {
        self.binary_search_by(tx, |element| element.cmp(value))
    }

    /// Searches a vector that is sorted in the order that `compare` sees, as `[T]::binary_search_by`.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let v = Vector::from_slice(&mut tx, &[[1, 5], [2, 4], [3, 3]])?;
    /// assert_eq!(v.binary_search_by(&tx, |pair| pair[0].cmp(&2))?, Ok(1));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn binary_search_by(
        &self,
        tx: &impl View,
        mut compare: impl FnMut(&T) -> Ordering,
    ) -> Result<std::result::Result<u64, u64>> {
        // Element by element: of a large vector that this transaction changed, the whole need not be put together.
        let parts = self.parts(tx)?;
        let (mut low, mut high) = (0, parts.len);
        while low < high {
            let middle = low + (high - low) / 2;
            match compare(&self.slice_in(tx, parts, middle..middle + 1)?[0]) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Ok(middle)),
            }
        }
        Ok(Err(low))
    }

    /// Verifies that header and data block fit together: [`Error::Corrupt`] or [`Error::BadOffset`] if not.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Vector};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// Vector::from_slice(&mut tx, &[1u8])?.check(&tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(&self, tx: &impl View) -> Result<()> {
        let parts = self.parts(tx)?;
        if !parts.data.is_null() && tx.len_of(parts.data)? % Self::SIZE != 0 {
            return Err(Error::corrupt(parts.data.raw(), DAMAGED));
        }
        self.slice_in(tx, parts, 0..parts.len.min(1)).map(drop)
    }
}
