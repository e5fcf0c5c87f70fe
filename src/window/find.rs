//! Finding and counting a pattern. The search itself is `memmem` of the `memchr` crate (two-way with a
//! vectorised prefilter): linear in the worst case, at the speed of memory in the usual one.
//!
//! Holes are passed over by asking the file system where they are: no match that has a byte other than zero lies
//! in one, so only data and a pattern's length around it is searched. Patterns of zeros alone are searched
//! everywhere.
//!
//! Mapped pieces are searched block by block, the next block being fetched into the cache meanwhile: the search
//! touches memory too unevenly for the processor to see it coming, and is up to a sixth faster so.
#![forbid(unsafe_code)]

use super::file::WindowFile;
use super::ranges::{Around, within};
use super::region::fetch;
use super::scan::Scan;
use crate::{Error, Result};
use memchr::memmem::{Finder, FinderRev};
use std::ops::{Range, RangeBounds};

fn refuse_empty(pattern: &[u8]) -> Result<()> {
    if pattern.is_empty() {
        let why = "an empty pattern is everywhere: give at least 1 byte";
        return Err(Error::BadOption { option: "pattern length", value: 0, why });
    }
    Ok(())
}

fn around(file: &WindowFile, range: Range<u64>, pattern: &[u8]) -> Around {
    let zeros = pattern.iter().all(|&byte| byte == 0);
    Around::new(file, range, pattern.len() as u64 - 1, zeros)
}

/// Iterator over the offsets of a pattern, from [`WindowFile::find_iter`].
///
/// ```
/// use heapfile::window::{Matches, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, "banana").unwrap();
/// let matches: Matches = WindowPool::new().open(&path)?.find_iter(b"an", ..)?;
/// assert_eq!(matches.collect::<Result<Vec<_>, _>>()?, [1, 3]);
/// # Ok(()) }
/// ```
pub struct Matches {
    finder: Finder<'static>,
    scan: Scan,
    ranges: Around,
    /// What is left of the range that is searched.
    rest: Range<u64>,
    /// Matches in the piece that was searched last, not handed out yet; in reverse order.
    found: Vec<u64>,
    failed: bool,
}

/// Searched while the next one is fetched.
const BLOCK: usize = 4096;

/// The first match at or behind `from`. `far`: the bytes are not in the processor's caches.
fn next_match(finder: &Finder<'_>, piece: &[u8], from: usize, far: bool) -> Option<usize> {
    let len = finder.needle().len();
    if !far || len > BLOCK / 4 {
        return finder.find(&piece[from..]).map(|at| from + at);
    }
    let mut at = from;
    while at + len <= piece.len() {
        let next = (at + BLOCK).min(piece.len());
        fetch(&piece[next..(next + BLOCK).min(piece.len())]);
        if let Some(found) = finder.find(&piece[at..(next + len - 1).min(piece.len())]) {
            return Some(at + found);
        }
        at = next;
    }
    None
}

/// Matches noted at once, at most: bounds the memory.
const NOTED: usize = 1024;

impl Matches {
    fn new(file: &WindowFile, pattern: &[u8], range: Range<u64>) -> Self {
        Self {
            finder: Finder::new(pattern).into_owned(),
            scan: Scan::new(file),
            ranges: around(file, range, pattern),
            rest: 0..0,
            found: Vec::new(),
            failed: false,
        }
    }

    /// How far the search has come: all before this offset was searched. For progress bars.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, "banana").unwrap();
    /// let mut matches = WindowPool::new().open(&path)?.find_iter(b"an", ..)?;
    /// matches.next();
    /// assert!(matches.position() > 0);
    /// # Ok(()) }
    /// ```
    pub fn position(&self) -> u64 {
        self.found.last().copied().unwrap_or(self.rest.start)
    }

    /// Searches one piece. `false` at the end of the file.
    fn search(&mut self, most: usize) -> Result<bool> {
        let len = self.finder.needle().len();
        while self.rest.end - self.rest.start < len as u64 {
            match self.ranges.next() {
                // Where ranges meet, the part of a match that is in the last one was searched already.
                Some(next) => self.rest = next?,
                None => return Ok(false),
            }
        }
        let start = self.rest.start;
        let far = self.scan.is_mapped();
        let piece = self.scan.forward(start, self.rest.end, len)?;
        let mut at = 0;
        while self.found.len() < most
            && let Some(found) = next_match(&self.finder, piece, at, far)
        {
            self.found.push(start + found as u64);
            at = found + len;
        }
        let after = self.found.last().map_or(start, |last| last + len as u64);
        let searched = start + piece.len() as u64 - (len as u64 - 1);
        self.rest.start = if self.found.len() == most { after } else { after.max(searched) };
        self.found.reverse();
        Ok(true)
    }

    fn step(&mut self, most: usize) -> Option<Result<u64>> {
        loop {
            if let Some(found) = self.found.pop() {
                return Some(Ok(found));
            }
            if self.failed {
                return None;
            }
            match self.search(most) {
                Ok(true) => {}
                Ok(false) => {
                    self.failed = true;
                    return None;
                }
                Err(e) => {
                    self.failed = true;
                    return Some(Err(e));
                }
            }
        }
    }

    /// Counts all that is left.
    fn total(mut self) -> Result<u64> {
        let needle = self.finder.needle().to_vec();
        let mut total = 0;
        loop {
            while self.rest.end - self.rest.start < needle.len() as u64 {
                match self.ranges.next() {
                    Some(next) => self.rest = next?,
                    None => return Ok(total),
                }
            }
            let start = self.rest.start;
            let far = self.scan.is_mapped();
            let piece = self.scan.forward(start, self.rest.end, needle.len())?;
            if let [byte] = needle[..] {
                total += memchr::memchr_iter(byte, piece).count() as u64;
                self.rest.start += piece.len() as u64;
                continue;
            }
            let mut after = 0;
            while let Some(at) = next_match(&self.finder, piece, after, far) {
                after = at + needle.len();
                total += 1;
            }
            self.rest.start += after.max(piece.len() - (needle.len() - 1)) as u64;
        }
    }
}

impl Iterator for Matches {
    type Item = Result<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(NOTED)
    }
}

impl std::iter::FusedIterator for Matches {}

impl WindowFile {
    /// Offset of the first match that lies wholly in the range.
    ///
    /// # Errors
    /// [`Error::OutsideFile`]; [`Error::BadOption`] for an empty pattern; [`Error::Truncated`]; [`Error::Io`];
    /// [`Error::PoolLimit`] if the pool has no room for a buffer of the pattern's length.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, "banana").unwrap();
    /// let file = WindowPool::new().open(&path)?;
    /// assert_eq!(file.find(b"an", ..)?, Some(1));
    /// assert_eq!(file.find(b"an", 2..)?, Some(3));
    /// assert_eq!(file.find(b"an", 4..)?, None);
    /// # Ok(()) }
    /// ```
    pub fn find(&self, pattern: impl AsRef<[u8]>, range: impl RangeBounds<u64>) -> Result<Option<u64>> {
        refuse_empty(pattern.as_ref())?;
        Matches::new(self, pattern.as_ref(), within(range, self.len())?).step(1).transpose()
    }

    /// Offset of the last match that lies wholly in the range.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, "banana").unwrap();
    /// let file = WindowPool::new().open(&path)?;
    /// assert_eq!(file.rfind(b"an", ..)?, Some(3));
    /// assert_eq!(file.rfind(b"an", ..4)?, Some(1));
    /// # Ok(()) }
    /// ```
    pub fn rfind(&self, pattern: impl AsRef<[u8]>, range: impl RangeBounds<u64>) -> Result<Option<u64>> {
        let pattern = pattern.as_ref();
        refuse_empty(pattern)?;
        let range = within(range, self.len())?;
        let finder = FinderRev::new(pattern);
        let mut scan = Scan::new(self);
        // The data's ranges come only in order. They are few, or else small: 32 bytes for each hole.
        let ranges = around(self, range, pattern).collect::<Result<Vec<_>>>()?;
        for range in ranges.into_iter().rev() {
            let mut end = range.end;
            while end - range.start >= pattern.len() as u64 {
                let piece = scan.backward(range.start, end, pattern.len())?;
                let start = end - piece.len() as u64;
                if let Some(at) = finder.rfind(piece) {
                    return Ok(Some(start + at as u64));
                }
                end = start + (pattern.len() as u64 - 1);
            }
        }
        Ok(None)
    }

    /// Offsets of all matches that lie wholly in the range and do not overlap an earlier one, in order.
    ///
    /// # Errors
    /// As [`find`](Self::find), from this call or the iterator, which then ends.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, "aaaa").unwrap();
    /// let file = WindowPool::new().open(&path)?;
    /// assert_eq!(file.find_iter(b"aa", ..)?.collect::<Result<Vec<_>, _>>()?, [0, 2]);
    /// # Ok(()) }
    /// ```
    pub fn find_iter(&self, pattern: impl AsRef<[u8]>, range: impl RangeBounds<u64>) -> Result<Matches> {
        refuse_empty(pattern.as_ref())?;
        Ok(Matches::new(self, pattern.as_ref(), within(range, self.len())?))
    }

    /// How many matches [`find_iter`](Self::find_iter) would find.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, "one\ntwo\n").unwrap();
    /// assert_eq!(WindowPool::new().open(&path)?.count(b"\n", ..)?, 2);
    /// # Ok(()) }
    /// ```
    pub fn count(&self, pattern: impl AsRef<[u8]>, range: impl RangeBounds<u64>) -> Result<u64> {
        self.find_iter(pattern, range)?.total()
    }
}
