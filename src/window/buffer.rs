//! A file as one long sequence of bytes.
#![forbid(unsafe_code)]

use super::file::WindowFile;
use super::ranges::within;
use super::reader::Reader;
use crate::{Error, Result};
use std::borrow::Cow;
use std::ops::{Range, RangeBounds};
use std::panic::Location;

/// An indexable file: bytes, plain values and slices by offset, at the cost of a comparison while the offsets
/// stay near each other. Not shared between threads (its view moves); each thread makes its own, and they
/// do not get in each other's way.
///
/// It holds at most one window of a mapped file, or 256 KiB of a copied one.
///
/// ```
/// use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let mut buffer = WindowPool::new().open(&path)?.buffer();
/// assert_eq!(buffer.get(3)?, Some(b'3'));
/// assert_eq!(&buffer.slice(4..7)?[..], b"456");
/// assert_eq!(buffer.get_as::<[u8; 2]>(8)?, *b"89");
/// # Ok(()) }
/// ```
pub struct Buffer {
    file: WindowFile,
    by: &'static Location<'static>,
    reader: Reader,
    /// The part of the file that this is a sequence of; to the file's end, wherever that is, if `None`.
    part: Option<Range<u64>>,
}

impl Buffer {
    pub(super) fn new(file: WindowFile, by: &'static Location<'static>) -> Self {
        let reader = Reader::new(&file, by);
        Self { file, by, reader, part: None }
    }

    /// A buffer of a part of this one; its offsets begin at 0.
    ///
    /// # Errors
    /// [`Error::OutsideFile`].
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut part = WindowPool::new().open(&path)?.buffer().part(2..5)?;
    /// assert_eq!((part.len(), part.get(0)?, part.get(3)?), (3, Some(b'2'), None));
    /// # Ok(()) }
    /// ```
    pub fn part(&self, range: impl RangeBounds<u64>) -> Result<Self> {
        let range = within(range, self.len())?;
        let part = Some(self.base() + range.start..self.base() + range.end);
        Ok(Self { file: self.file.clone(), by: self.by, reader: Reader::new(&self.file, self.by), part })
    }

    #[inline]
    fn base(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.start)
    }

    /// Length in bytes. That of a whole file changes when [`WindowFile::refresh`] sees it change.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert_eq!(WindowPool::new().open(file.path())?.buffer().len(), 0);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn len(&self) -> u64 {
        self.part.as_ref().map_or_else(|| self.file.len(), |part| part.end - part.start)
    }

    /// Whether there are no bytes.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert!(WindowPool::new().open(file.path())?.buffer().is_empty());
    /// # Ok(()) }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset in the file of `len` bytes from `offset`.
    #[inline]
    fn at(&self, offset: u64, len: u64) -> Result<u64> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(self.base() + offset),
            end => Err(Error::OutsideFile { start: offset, end: end.unwrap_or(u64::MAX), len: self.len() }),
        }
    }

    /// Bytes that the view has; they are inside the file then. Short, so that it becomes part of the caller.
    #[inline]
    fn in_view(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        let at = match &self.part {
            None => offset,
            Some(part) if offset.checked_add(len as u64)? <= part.end - part.start => part.start + offset,
            Some(_) => return None,
        };
        self.reader.in_view(at, len)
    }

    #[cold]
    #[inline(never)]
    fn read_missed(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        let at = self.at(offset, into.len() as u64)?;
        self.reader.read(at, into)
    }

    /// The byte at an index; `None` outside.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the file was cut short; [`Error::PoolLimit`] if the pool has no room for its read buffer; [`Error::Io`].
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut buffer = WindowPool::new().open(&path)?.buffer();
    /// assert_eq!((buffer.get(0)?, buffer.get(10)?), (Some(b'0'), None));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get(&mut self, index: u64) -> Result<Option<u8>> {
        if let Some(&[byte]) = self.in_view(index, 1) {
            return Ok(Some(byte));
        }
        if index >= self.len() {
            return Ok(None);
        }
        let mut byte = [0];
        self.read_missed(index, &mut byte)?;
        Ok(Some(byte[0]))
    }

    /// The plain value at `offset`, in this machine's byte order; `offset` need not be aligned.
    ///
    /// # Errors
    /// [`Error::OutsideFile`]; otherwise as [`get`](Self::get).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// std::fs::write(&path, 7u64.to_le_bytes()).unwrap();
    /// let mut buffer = WindowPool::new().open(&path)?.buffer();
    /// assert_eq!(u64::from_le(buffer.get_as(0)?), 7);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get_as<T: bytemuck::Pod>(&mut self, offset: u64) -> Result<T> {
        if let Some(bytes) = self.in_view(offset, size_of::<T>()) {
            return Ok(bytemuck::pod_read_unaligned(bytes));
        }
        let mut value = T::zeroed();
        self.read_missed(offset, bytemuck::bytes_of_mut(&mut value))?;
        Ok(value)
    }

    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// As [`get_as`](Self::get_as).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut into = [0; 3];
    /// WindowPool::new().open(&path)?.buffer().read_exact_at(4, &mut into)?;
    /// assert_eq!(&into, b"456");
    /// # Ok(()) }
    /// ```
    pub fn read_exact_at(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        let at = self.at(offset, into.len() as u64)?;
        self.reader.read(at, into)
    }

    /// The bytes of a range: borrowed if they lie in one window (or fit the read buffer), else owned.
    ///
    /// # Errors
    /// As [`get_as`](Self::get_as); [`Error::TooLarge`] if an owned slice does not fit memory.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut buffer = WindowPool::new().open(&path)?.buffer();
    /// assert_eq!(&buffer.slice(..3)?[..], b"012");
    /// assert!(buffer.slice(..11).is_err());
    /// # Ok(()) }
    /// ```
    pub fn slice(&mut self, range: impl RangeBounds<u64>) -> Result<Cow<'_, [u8]>> {
        let range = within(range, self.len())?;
        let (start, len) = (self.base() + range.start, range.end - range.start);
        let too_large = || Error::TooLarge { what: "a slice", len, max: isize::MAX as u64 };
        let len = usize::try_from(len).map_err(|_| too_large())?;
        if len > 0 && self.reader.can_show(start, len)? {
            return Ok(Cow::Borrowed(self.reader.shown(start, len)));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| too_large())?;
        bytes.resize(len, 0);
        self.file.inner().check(start, len)?;
        self.file.inner().read_all(start, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("file", &self.file).field("part", &self.part).finish()
    }
}
