//! Passing over a file piece by piece, each piece looked at once.
//!
//! Pieces of a mapped file are mappings of their own, gone with the next piece: the footprint is one piece, and
//! nothing pushes out the pool's windows. They are not populated beforehand: where the page cache holds large
//! folios, faults that map a whole folio are cheaper than that. Copied pieces share one buffer.
#![forbid(unsafe_code)]

use super::file::{FileInner, WindowFile};
use super::pace::MOST;
use super::pool::Shared;
use super::region::Window;
use super::scratch::Scratch;
use super::{Backend, sys};
use crate::Result;
use std::ops::{Range, RangeBounds};
use std::sync::Arc;

/// Bytes mapped at once: enough to make the calls cheap. Pieces end at multiples of it, so that few folios of the page
/// cache lie across a seam: they are mapped as a whole, or not.
pub(super) const MAPPED: u64 = 4 << 20;

pub(super) struct Scan {
    file: Arc<FileInner>,
    mapped: bool,
    piece: Option<Window>,
    scratch: Scratch,
    /// What of the file the buffer holds.
    held: Range<u64>,
}

impl Scan {
    pub(super) fn new(file: &WindowFile) -> Self {
        Self::of(Arc::clone(file.inner()))
    }

    fn of(file: Arc<FileInner>) -> Self {
        let mapped = file.backend() == Backend::Mmap;
        Self { file, mapped, piece: None, scratch: Scratch::default(), held: 0..0 }
    }

    /// Another pass over the same file.
    pub(super) fn another(&self) -> Self {
        Self::of(Arc::clone(&self.file))
    }

    pub(super) fn pool(&self) -> &Shared {
        self.file.pool()
    }

    /// How many passes at once leave the pool's windows in peace, this one included; at most `most`.
    pub(super) fn room_for(&self, most: usize) -> usize {
        // With what lies before the seam that a piece of a mapping begins at.
        let each = if self.mapped { MAPPED + MAPPED / 32 } else { copied_len(0) };
        self.pool().room_for(most, each)
    }

    /// Whether pieces come straight from the page cache, and so from outside the processor's caches.
    pub(super) fn is_mapped(&self) -> bool {
        self.mapped
    }

    /// Bytes from `start`, which is below `end`: as many as are convenient, at least `least` of them if that
    /// many are there below `end`.
    pub(super) fn forward(&mut self, start: u64, end: u64, least: usize) -> Result<&[u8]> {
        if self.mapped && self.map(start, mapped_len(start, least).min(end - start), false) {
            return Ok(self.piece.as_deref().unwrap_or(&[]));
        }
        let least = (least as u64).clamp(1, end - start) as usize;
        let want = copied_len(least).min(end - start) as usize;
        // The end of the last piece may be the beginning of this one.
        let kept = if self.held.contains(&start) { self.held.start..self.held.end } else { start..start };
        let at = (start - kept.start) as usize;
        let keep = (kept.end - start) as usize;
        if want > self.scratch.bytes().len() {
            self.held = 0..0;
            let room = self.scratch.reserve(self.file.pool(), want, least)?.min(want);
            self.file.read_all(start, self.scratch.fill(room))?;
            self.held = start..start + room as u64;
            return Ok(self.scratch.fill(room));
        }
        let room = self.scratch.bytes().len().min((end - start) as usize);
        self.held = 0..0;
        let into = self.scratch.bytes_mut();
        let keep = keep.min(room);
        into.copy_within(at..at + keep, 0);
        self.file.read_all(start + keep as u64, &mut into[keep..room])?;
        self.held = start..start + room as u64;
        Ok(self.scratch.fill(room))
    }

    /// Bytes from `start` on, of the last piece if it has any.
    pub(super) fn again(&mut self, start: u64, end: u64) -> Result<&[u8]> {
        let piece = match &self.piece {
            Some(piece) => piece.offset()..piece.end(),
            None => self.held.clone(),
        };
        if !piece.contains(&start) {
            return self.forward(start, end, 1);
        }
        let bytes = match &self.piece {
            Some(piece) => piece,
            None => self.scratch.bytes(),
        };
        let (at, stop) = (start - piece.start, piece.end.min(end) - piece.start);
        Ok(&bytes[at as usize..stop as usize])
    }

    /// Bytes up to `end`, which is above `start`; otherwise as [`forward`](Self::forward).
    pub(super) fn backward(&mut self, start: u64, end: u64, least: usize) -> Result<&[u8]> {
        let want = MAPPED.max(twice(least)).min(end - start);
        if self.mapped && self.map(end - want, want, true) {
            return Ok(self.piece.as_deref().unwrap_or(&[]));
        }
        let least = (least as u64).clamp(1, end - start) as usize;
        let want = copied_len(least).min(end - start) as usize;
        self.held = 0..0;
        let room = self.scratch.reserve(self.file.pool(), want, least)?.min(want);
        let into = self.scratch.fill(room);
        self.file.read_all(end - room as u64, into)?;
        Ok(self.scratch.fill(room))
    }

    /// Maps a piece; `false` if that cannot be, and then copies from now on.
    fn map(&mut self, start: u64, len: u64, backward: bool) -> bool {
        let end = start + len;
        let begin = start / sys::granule() * sys::granule();
        self.piece = None;
        let size = (end - begin) as usize;
        let piece = self.file.pool().passing(&self.file, begin, size).and_then(|region| {
            if backward || self.file.access() == super::Access::Random {
                region.scattered();
                sys::will_need(self.file.file(), begin..end);
            }
            Window::new(&self.file, Arc::new(region), start, len as usize)
        });
        self.mapped = piece.is_ok();
        self.piece = piece.ok();
        self.mapped
    }
}

/// Long patterns keep their length of every piece: twice as much makes half of each piece new.
fn twice(least: usize) -> u64 {
    (least as u64).saturating_mul(2)
}

fn copied_len(least: usize) -> u64 {
    (MOST as u64).max(twice(least))
}

/// Up to the next multiple of [`MAPPED`], or to the one behind it if that is close.
fn mapped_len(start: u64, least: usize) -> u64 {
    let ahead = MAPPED - start % MAPPED;
    let few = (MAPPED / 64).max(twice(least));
    if ahead >= few { ahead } else { (ahead + MAPPED).max(few) }
}

/// Some bytes of a file, from [`Chunks`].
///
/// ```
/// use heapfile::window::{Chunk, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let mut chunks = WindowPool::new().open(&path)?.chunks(5..)?;
/// let Chunk { offset, bytes } = chunks.next_chunk()?.unwrap();
/// assert_eq!((offset, bytes), (5, &b"56789"[..]));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A pass over a range of a file, from [`WindowFile::chunks`].
///
/// ```
/// use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let mut sum = 0;
/// let mut chunks = WindowPool::new().open(&path)?.chunks(..)?;
/// while let Some(chunk) = chunks.next_chunk()? {
///     sum += chunk.bytes.iter().map(|&b| u64::from(b)).sum::<u64>();
/// }
/// assert_eq!(sum, (b'0'..=b'9').map(u64::from).sum());
/// # Ok(()) }
/// ```
pub struct Chunks {
    scan: Scan,
    rest: Range<u64>,
}

impl Chunks {
    /// The next bytes; `None` at the end of the range. Each chunk lies in the place of the one before.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated); [`Error::Io`](crate::Error::Io);
    /// [`Error::PoolLimit`](crate::Error::PoolLimit) if the pool has no byte left for a buffer.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert!(WindowPool::new().open(file.path())?.chunks(..)?.next_chunk()?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let offset = self.rest.start;
        let bytes = self.scan.forward(offset, self.rest.end, 1)?;
        self.rest.start += bytes.len() as u64;
        Ok(Some(Chunk { offset, bytes }))
    }
}

impl WindowFile {
    /// Passes over a range in chunks of a convenient size (256 KiB copied, 4 MiB mapped), at the speed of
    /// memory and in the footprint of one chunk. Holes are read as zeros; [`data_ranges`](Self::data_ranges) tells
    /// where they are.
    ///
    /// # Errors
    /// [`Error::OutsideFile`](crate::Error::OutsideFile).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut chunks = WindowPool::new().open(&path)?.chunks(2..4)?;
    /// assert_eq!(chunks.next_chunk()?.unwrap().bytes, b"23");
    /// # Ok(()) }
    /// ```
    pub fn chunks(&self, range: impl RangeBounds<u64>) -> Result<Chunks> {
        Ok(Chunks { scan: Scan::new(self), rest: super::ranges::within(range, self.len())? })
    }
}
