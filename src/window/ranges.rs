//! Ranges of a file: those that are asked for, and those that hold data.
#![forbid(unsafe_code)]

use super::file::{FileInner, WindowFile};
use super::sys;
use crate::{Error, Result};
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

/// The range inside `0..len`, or [`Error::OutsideFile`].
pub(super) fn within(range: impl RangeBounds<u64>, len: u64) -> Result<Range<u64>> {
    let start = match range.start_bound() {
        Bound::Included(&start) => Some(start),
        Bound::Excluded(&before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1),
        Bound::Excluded(&end) => Some(end),
        Bound::Unbounded => Some(len),
    };
    match (start, end) {
        (Some(start), Some(end)) if start <= end && end <= len => Ok(start..end),
        (start, end) => {
            Err(Error::OutsideFile { start: start.unwrap_or(u64::MAX), end: end.unwrap_or(u64::MAX), len })
        }
    }
}

/// Iterator over the ranges of a file that hold data, from [`WindowFile::data_ranges`].
///
/// ```
/// use heapfile::window::{DataRanges, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let mut ranges: DataRanges = WindowPool::new().open(&path)?.data_ranges(..)?;
/// assert_eq!(ranges.next().unwrap()?, 0..10);
/// # Ok(()) }
/// ```
pub struct DataRanges {
    file: Arc<FileInner>,
    rest: Range<u64>,
}

impl Iterator for DataRanges {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        match sys::next_data(self.file.file(), self.rest.start, self.rest.end) {
            Ok(Some(data)) => {
                self.rest.start = data.end;
                Some(Ok(data))
            }
            Ok(None) => {
                let rest = std::mem::replace(&mut self.rest, 0..0);
                if rest.is_empty() {
                    return None;
                }
                // No data is not the same as no file: it may have been cut short.
                match self.file.still_has(rest.end) {
                    Ok(()) => None,
                    Err(e) => Some(Err(e)),
                }
            }
            Err(e) => {
                self.rest.start = self.rest.end;
                Some(Err(Error::io("look for data in", self.file.path(), e)))
            }
        }
    }
}

impl std::iter::FusedIterator for DataRanges {}

impl WindowFile {
    /// The parts of a range that hold data, in order; between them lie holes, which read as zeros and take no
    /// space. Where holes are not known (other systems than Linux and FreeBSD, some file systems) all is data.
    /// Costs two system calls for each range.
    ///
    /// # Errors
    /// [`Error::OutsideFile`]; from the iterator, which then ends, [`Error::Truncated`] and [`Error::Io`].
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// file.as_file().set_len(1 << 30).unwrap();
    /// let all_hole = WindowPool::new().open(file.path())?;
    /// # if cfg!(target_os = "linux") {
    /// assert_eq!(all_hole.data_ranges(..)?.count(), 0);
    /// # }
    /// # Ok(()) }
    /// ```
    pub fn data_ranges(&self, range: impl RangeBounds<u64>) -> Result<DataRanges> {
        Ok(DataRanges { file: Arc::clone(self.inner()), rest: within(range, self.len())? })
    }
}

/// Data with the bytes around it in which something that is not all zeros may begin or end; ranges
/// that are close are one.
pub(super) struct Around {
    data: DataRanges,
    all: Range<u64>,
    margin: u64,
    ahead: Option<Range<u64>>,
    /// Nothing was seen yet: all of `all` is one range, for what may lie in holes.
    whole: bool,
}

/// Reading over a hole this small is cheaper than another range.
const NEAR: u64 = 64 * 1024;

impl Around {
    /// Ranges of `all` outside of which no run of `margin + 1` bytes holds anything but zeros; all of it if
    /// `holes` matter.
    pub(super) fn new(file: &WindowFile, all: Range<u64>, margin: u64, holes: bool) -> Self {
        let data = DataRanges { file: Arc::clone(file.inner()), rest: all.clone() };
        Self { data, all, margin, ahead: None, whole: holes }
    }

    fn widened(&mut self) -> Option<Result<Range<u64>>> {
        if let Some(ahead) = self.ahead.take() {
            return Some(Ok(ahead));
        }
        let data = match self.data.next()? {
            Ok(data) => data,
            Err(e) => return Some(Err(e)),
        };
        let start = data.start.saturating_sub(self.margin).max(self.all.start);
        Some(Ok(start..data.end.saturating_add(self.margin).min(self.all.end)))
    }
}

impl Iterator for Around {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.whole) {
            self.data.rest.start = self.all.end;
            return (!self.all.is_empty()).then(|| Ok(self.all.clone()));
        }
        let mut now = match self.widened()? {
            Ok(now) => now,
            e => return Some(e),
        };
        loop {
            match self.widened() {
                Some(Ok(next)) if next.start <= now.end.saturating_add(NEAR) => {
                    now.end = next.end.max(now.end);
                }
                Some(Ok(next)) => {
                    self.ahead = Some(next);
                    return Some(Ok(now));
                }
                Some(e) => return Some(e),
                None => return Some(Ok(now)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        assert_eq!(within(.., 10).unwrap(), 0..10);
        assert_eq!(within(3..=9, 10).unwrap(), 3..10);
        assert_eq!(within((Bound::Excluded(3), Bound::Unbounded), 10).unwrap(), 4..10);
        assert_eq!(within(10.., 10).unwrap(), 10..10);
        for bad in [(Bound::Included(0), Bound::Excluded(11)), (Bound::Included(5), Bound::Excluded(4))] {
            assert!(matches!(within(bad, 10), Err(Error::OutsideFile { .. })));
        }
        assert!(within(0..=u64::MAX, 10).is_err());
        assert!(within(11.., 10).is_err());
    }
}
