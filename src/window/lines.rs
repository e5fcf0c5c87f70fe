//! Lines of a file.
#![forbid(unsafe_code)]

use super::file::WindowFile;
use super::ranges::within;
use super::scan::Scan;
use crate::{Error, Result};
use std::ops::{Range, RangeBounds};

/// A line, from [`WindowFile::lines`].
///
/// ```
/// # use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, "one\ntwo\n").unwrap();
/// let line = WindowPool::new().open(&path)?.lines(..)?.last().unwrap()?;
/// assert_eq!((line.offset, &line.bytes[..]), (4, &b"two"[..]));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// The bytes without the line feed.
    pub bytes: Vec<u8>,
}

/// Iterator over the lines of a range, from [`WindowFile::lines`].
///
/// ```
/// use heapfile::window::{Lines, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, "one\ntwo").unwrap();
/// let lines: Lines = WindowPool::new().open(&path)?.lines(..)?;
/// assert_eq!(lines.count(), 2);
/// # Ok(()) }
/// ```
pub struct Lines {
    scan: Scan,
    rest: Range<u64>,
    longest: u64,
}

impl Lines {
    fn read(&mut self) -> Result<Line> {
        let offset = self.rest.start;
        let mut bytes = Vec::new();
        while !self.rest.is_empty() {
            let piece = self.scan.again(self.rest.start, self.rest.end)?;
            let (part, ended) = match memchr::memchr(b'\n', piece) {
                Some(at) => (&piece[..at], true),
                None => (piece, false),
            };
            let len = bytes.len() as u64 + part.len() as u64;
            if len > self.longest {
                return Err(Error::TooLarge { what: "a line", len, max: self.longest });
            }
            bytes.extend_from_slice(part);
            self.rest.start += part.len() as u64 + u64::from(ended);
            if ended {
                break;
            }
        }
        Ok(Line { offset, bytes })
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.read();
        if line.is_err() {
            self.rest.start = self.rest.end;
        }
        Some(line)
    }
}

impl std::iter::FusedIterator for Lines {}

impl WindowFile {
    /// The lines of a range: what lies between line feeds; a last one without line feed counts. A range that
    /// begins inside a line begins with the rest of that line.
    ///
    /// # Errors
    /// [`Error::OutsideFile`]; from the iterator, which then ends: [`Error::Truncated`], [`Error::Io`],
    /// [`Error::PoolLimit`], and [`Error::TooLarge`] for a line longer than the pool's memory limit.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, "one\n\ntwo").unwrap();
    /// let file = WindowPool::new().open(&path)?;
    /// let offsets: Vec<_> = file.lines(..)?.map(|line| line.unwrap().offset).collect();
    /// assert_eq!(offsets, [0, 4, 5]);
    /// # Ok(()) }
    /// ```
    pub fn lines(&self, range: impl RangeBounds<u64>) -> Result<Lines> {
        let rest = within(range, self.len())?;
        Ok(Lines { scan: Scan::new(self), rest, longest: self.inner().pool().config.memory_limit })
    }
}
