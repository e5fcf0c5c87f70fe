//! A place in a file that moves.
#![forbid(unsafe_code)]

use super::file::WindowFile;
use super::reader::Reader;
use super::region::Window;
use crate::{Error, Result};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::panic::Location;

/// A stream over a file (`Read + Seek + BufRead`), and beside it a *region* that is moved by hand: a pinned view
/// of as much of a window as is asked for.
///
/// The two are independent. Errors of the stream carry the [`Error`] as their source.
///
/// ```
/// use heapfile::window::WindowPool;
/// use std::io::{Read as _, Seek as _, SeekFrom};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let mut cursor = WindowPool::new().open(&path)?.cursor();
/// cursor.seek(SeekFrom::End(-3))?;
/// let mut text = String::new();
/// cursor.read_to_string(&mut text)?;
/// assert_eq!(text, "789");
///
/// assert!(cursor.use_region(2, 5)?);
/// assert_eq!(cursor.view(), b"23456");
/// # Ok(()) }
/// ```
pub struct Cursor {
    file: WindowFile,
    by: &'static Location<'static>,
    position: u64,
    reader: Reader,
    region: Option<Window>,
    /// Of the file, when the region's window was had.
    generation: u64,
}

impl Cursor {
    pub(super) fn new(file: WindowFile, by: &'static Location<'static>) -> Self {
        let reader = Reader::new(&file, by);
        Self { file, by, position: 0, reader, region: None, generation: 0 }
    }

    /// The file under this cursor.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert_eq!(WindowPool::new().open(file.path())?.cursor().file().len(), 0);
    /// # Ok(()) }
    /// ```
    pub fn file(&self) -> &WindowFile {
        &self.file
    }

    /// Moves the region to `offset`, for `size` bytes; 0 is as much as one window has from there. It gets
    /// fewer where the window or the file ends before. If the window that the region is in has `offset`, it is
    /// kept. Returns whether the region is valid: not if `offset` is at or past the end of the file.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::PoolLimit`], [`Error::Io`]; the region is invalid then.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut cursor = WindowPool::new().open(&path)?.cursor();
    /// assert!(cursor.use_region(8, 100)?);
    /// assert_eq!((cursor.offset(), cursor.size()), (8, 2));
    /// assert!(!cursor.use_region(10, 1)?);
    /// # Ok(()) }
    /// ```
    pub fn use_region(&mut self, offset: u64, size: u64) -> Result<bool> {
        let file_len = self.file.len();
        let before = self.region.take();
        if offset >= file_len {
            return Ok(false);
        }
        let wanted = if size == 0 { u64::MAX } else { size };
        let part = |region: std::ops::Range<u64>| wanted.min(region.end.min(file_len) - offset) as usize;
        let generation = self.file.inner().generation();
        let is_current = std::mem::replace(&mut self.generation, generation) == generation;
        if let Some(before) = before.as_ref().filter(|_| is_current)
            && before.region().contains(&offset)
            && let Some(window) = before.again(self.file.inner(), offset, part(before.region()))
        {
            self.region = Some(window?);
            return Ok(true);
        }
        drop(before);
        let first = self.file.window_by(offset, 1, self.by)?;
        let len = part(first.region());
        self.region = first.again(self.file.inner(), offset, len).transpose()?;
        Ok(self.region.is_some())
    }

    /// Gives the region up; the cursor's region is invalid then.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut cursor = WindowPool::new().open(&path)?.cursor();
    /// cursor.use_region(0, 1)?;
    /// cursor.unuse_region();
    /// assert!(!cursor.is_valid());
    /// # Ok(()) }
    /// ```
    pub fn unuse_region(&mut self) {
        self.region = None;
    }

    /// The region's guard, which may be cloned to keep its window pinned.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut cursor = WindowPool::new().open(&path)?.cursor();
    /// cursor.use_region(4, 2)?;
    /// assert_eq!(cursor.region().unwrap().clients(), 1);
    /// # Ok(()) }
    /// ```
    pub fn region(&self) -> Option<&Window> {
        self.region.as_ref()
    }

    /// The region's bytes; none if it is invalid.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut cursor = WindowPool::new().open(&path)?.cursor();
    /// cursor.use_region(4, 2)?;
    /// assert_eq!(cursor.view(), b"45");
    /// # Ok(()) }
    /// ```
    pub fn view(&self) -> &[u8] {
        self.region.as_deref().unwrap_or(&[])
    }

    /// Offset of the region's first byte in the file; 0 if it is invalid.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut cursor = WindowPool::new().open(&path)?.cursor();
    /// cursor.use_region(4, 2)?;
    /// assert_eq!(cursor.offset(), 4);
    /// # Ok(()) }
    /// ```
    pub fn offset(&self) -> u64 {
        self.region.as_ref().map_or(0, Window::offset)
    }

    /// Length of the region in bytes; 0 if it is invalid.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// assert_eq!(WindowPool::new().open(&path)?.cursor().size(), 0);
    /// # Ok(()) }
    /// ```
    pub fn size(&self) -> u64 {
        self.view().len() as u64
    }

    /// Whether the region holds the byte at `offset` of the file.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut cursor = WindowPool::new().open(&path)?.cursor();
    /// cursor.use_region(4, 2)?;
    /// assert!(cursor.includes(5) && !cursor.includes(6));
    /// # Ok(()) }
    /// ```
    pub fn includes(&self, offset: u64) -> bool {
        self.region.as_ref().is_some_and(|region| (region.offset()..region.end()).contains(&offset))
    }

    /// Whether the region may be looked at.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut cursor = WindowPool::new().open(&path)?.cursor();
    /// assert!(!cursor.is_valid());
    /// cursor.use_region(0, 0)?;
    /// assert!(cursor.is_valid());
    /// # Ok(()) }
    /// ```
    pub fn is_valid(&self) -> bool {
        self.region.is_some()
    }
}

/// The clone has the same region (one more client of its window) and the same position.
impl Clone for Cursor {
    fn clone(&self) -> Self {
        Self {
            file: self.file.clone(),
            by: self.by,
            position: self.position,
            reader: Reader::new(&self.file, self.by),
            region: self.region.clone(),
            generation: self.generation,
        }
    }
}

/// Reads of this length go straight into the caller's memory.
const LARGE: usize = 64 * 1024;

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.len() >= LARGE && !self.reader.has(self.position) {
            let left = self.file.len().saturating_sub(self.position);
            let len = left.min(into.len() as u64) as usize;
            self.file.inner().read_all(self.position, &mut into[..len]).map_err(to_io)?;
            self.position += len as u64;
            return Ok(len);
        }
        let bytes = self.reader.show_some(self.position).map_err(to_io)?;
        let len = bytes.len().min(into.len());
        into[..len].copy_from_slice(&bytes[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl BufRead for Cursor {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.show_some(self.position).map_err(to_io)
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.file.len().checked_add_signed(by),
        };
        self.position =
            to.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek to before byte 0"))?;
        Ok(self.position)
    }
}

fn to_io(e: Error) -> io::Error {
    let kind = match &e {
        Error::Io { source, .. } => source.kind(),
        Error::Truncated { .. } | Error::OutsideFile { .. } => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor")
            .field("file", &self.file)
            .field("position", &self.position)
            .field("region", &self.region)
            .finish()
    }
}
