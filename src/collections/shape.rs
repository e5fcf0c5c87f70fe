//! What headers of collections have in common: a first word that tells what begins there, and ranges.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::View;
use bytemuck::Pod;
use std::ops::{Bound, Range, RangeBounds};

/// The first word of a header: four letters for the kind of collection, the size of an element.
pub(super) const fn element_shape(kind: u32, size: usize) -> u64 {
    assert!(size as u64 <= u32::MAX as u64, "elements are shorter than 4 GiB");
    kind as u64 | (size as u64) << 32
}

/// The header at `offset`, if its first word is `shape`.
#[inline]
pub(super) fn head<H: Pod>(tx: &impl View, offset: Offset<[u8]>, shape: u64) -> Result<&H> {
    let head: &H = tx.get(offset.cast())?;
    if bytemuck::bytes_of(head).first_chunk() == Some(&shape.to_le_bytes()) {
        Ok(head)
    } else {
        Err(Error::corrupt(offset.raw(), "no collection of this kind and these types begins here"))
    }
}

/// Reading own metadata: an offset that leads nowhere is damage, not the caller's mistake.
#[inline]
pub(super) fn own<T>(result: Result<T>, offset: u64, what: &'static str) -> Result<T> {
    result.map_err(|e| match e {
        Error::BadOffset { .. } | Error::OutOfBounds { .. } | Error::SizeMismatch { .. } => {
            Error::corrupt(offset, what)
        }
        e => e,
    })
}

/// The range as a start and an end, unchecked.
pub(super) fn range(range: impl RangeBounds<u64>, len: u64) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&at) => at,
        Bound::Excluded(&at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&at) => at.saturating_add(1),
        Bound::Excluded(&at) => at,
        Bound::Unbounded => len,
    };
    start..end
}

/// The error for a range, counted in elements, that is not inside a collection of `len` of them.
#[cold]
pub(super) fn outside(collection: Offset<[u8]>, range: Range<u64>, len: u64) -> Error {
    Error::OutOfBounds { offset: collection.raw(), start: range.start, end: range.end, len }
}
