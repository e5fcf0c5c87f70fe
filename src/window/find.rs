//! Finding and counting a pattern. The search itself is `memmem` of the `memchr` crate (two-way with a
//! vectorised prefilter): linear in the worst case, at the speed of memory in the usual one.
//!
//! Holes are passed over by asking the file system where they are: no match that has a byte other than zero lies
//! in one, so only data and a pattern's length around it is searched. Patterns of zeros alone are searched
//! everywhere.
//!
//! Mapped pieces are searched block by block, a later block being fetched into the cache meanwhile: the search
//! touches memory too unevenly for the processor to see it coming. Small blocks, one left out: where faults are
//! cheap, more prefetches at once cost more than they save.
//!
//! After a while without a match several threads go on (module `together`).
#![forbid(unsafe_code)]

use super::file::WindowFile;
use super::ranges::{Around, within};
use super::region::fetch;
use super::scan::Scan;
use super::together;
use crate::{Error, Result};
use memchr::memmem::{Finder, FinderRev};
use std::ops::{Range, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// Searched since the last match.
    quiet: u64,
    failed: bool,
}

/// Searched without a match by one thread, before it calls others.
const ALONE: u64 = 32 << 20;
/// Searched by several threads before the iterator's position moves.
const STRETCH: u64 = 1 << 30;

/// Searched at once, while the block behind the next one is fetched.
const BLOCK: usize = 2048;

/// The first match at or behind `from`. `far`: the bytes are not in the processor's caches.
fn next_match(finder: &Finder<'_>, piece: &[u8], from: usize, far: bool) -> Option<usize> {
    let len = finder.needle().len();
    if !far || len > BLOCK / 4 {
        return finder.find(&piece[from..]).map(|at| from + at);
    }
    let mut at = from;
    while at + len <= piece.len() {
        let next = (at + BLOCK).min(piece.len());
        let ahead = (next + BLOCK).min(piece.len());
        fetch(&piece[ahead..(ahead + BLOCK).min(piece.len())]);
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
            quiet: 0,
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
        if self.quiet >= ALONE && self.search_together()? {
            return Ok(true);
        }
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
        self.quiet = if self.found.is_empty() { self.quiet + piece.len() as u64 } else { 0 };
        self.found.reverse();
        Ok(true)
    }

    /// Searches for one match with several threads; `false` if nothing was done.
    fn search_together(&mut self) -> Result<bool> {
        let len = self.finder.needle().len();
        let range = self.rest.start..self.rest.end.min(self.rest.start.saturating_add(STRETCH));
        if range.end - range.start < ALONE {
            return Ok(false);
        }
        let finder = &self.finder;
        let first = |scan: &mut Scan, range| first_match(finder, scan, range);
        let Some(found) = together::search(&mut self.scan, range.clone(), len, first).transpose()? else {
            return Ok(false);
        };
        if let Some(found) = found {
            self.found.push(found);
            self.rest.start = found + len as u64;
            self.quiet = 0;
        } else {
            self.rest.start = range.end - (len as u64 - 1);
        }
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
        let mut total = 0;
        for range in self.ranges.by_ref() {
            total += count_in(&self.finder, &mut self.scan, range?)?;
        }
        Ok(total)
    }
}

/// The first match in a range.
fn first_match(finder: &Finder<'_>, scan: &mut Scan, mut range: Range<u64>) -> Result<Option<u64>> {
    let len = finder.needle().len();
    while range.end - range.start >= len as u64 {
        let far = scan.is_mapped();
        let piece = scan.forward(range.start, range.end, len)?;
        if let Some(at) = next_match(finder, piece, 0, far) {
            return Ok(Some(range.start + at as u64));
        }
        range.start += (piece.len() - (len - 1)) as u64;
    }
    Ok(None)
}

/// Whether two matches may overlap: the pattern ends as it begins. Then which of them count depends on all before.
fn overlaps_itself(pattern: &[u8]) -> bool {
    // Lengths of the longest proper border of each prefix (Knuth, Morris, Pratt).
    let mut borders = vec![0; pattern.len()];
    for at in 1..pattern.len() {
        let mut border = borders[at - 1];
        while border > 0 && pattern[border] != pattern[at] {
            border = borders[border - 1];
        }
        borders[at] = border + usize::from(pattern[border] == pattern[at]);
    }
    borders.last().is_some_and(|&border| border > 0)
}

/// How many matches there are in a range.
fn count_in(finder: &Finder<'_>, scan: &mut Scan, range: Range<u64>) -> Result<u64> {
    let needle = finder.needle();
    if range.end - range.start >= ALONE && !overlaps_itself(needle) {
        let total = AtomicU64::new(0);
        let count = |scan: &mut Scan, range| {
            total.fetch_add(count_alone(finder, scan, range)?, Relaxed);
            Ok(None)
        };
        if let Some(counted) = together::search(scan, range.clone(), needle.len(), count) {
            return counted.map(|_| total.into_inner());
        }
    }
    count_alone(finder, scan, range)
}

fn count_alone(finder: &Finder<'_>, scan: &mut Scan, mut range: Range<u64>) -> Result<u64> {
    let needle = finder.needle();
    let mut total = 0;
    while range.end - range.start >= needle.len() as u64 {
        let far = scan.is_mapped();
        let piece = scan.forward(range.start, range.end, needle.len())?;
        if let [byte] = *needle {
            total += memchr::memchr_iter(byte, piece).count() as u64;
            range.start += piece.len() as u64;
            continue;
        }
        let mut after = 0;
        while let Some(at) = next_match(finder, piece, after, far) {
            after = at + needle.len();
            total += 1;
        }
        range.start += after.max(piece.len() - (needle.len() - 1)) as u64;
    }
    Ok(total)
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
