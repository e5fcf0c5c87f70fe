//! Entries of a load that is larger than what is held in memory: sorted runs in a file without a name, merged when all are there (external
//! merge sort: Knuth, The Art of Computer Programming, volume 3, 5.4).
//!
//! The file lies beside the arena's and takes as much space as keys and short values have bytes, until the load is done or its process dies.
//! Of several entries with one key the one counts that came last.
//!
//! ```text
//! entry    key length u16 | value length u16, highest bit: the offset of a block | key | value as a leaf stores it
//! ```

#![forbid(unsafe_code)]

use super::collect::{Collection, block_of, stored_len};
use crate::error::{Error, Result};
use crate::media::may_be_as_long;
use crate::offset::Offset;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that all runs together hold in memory while they are merged, and what each has at least.
const IN_MEMORY: usize = 32 << 20;
const LEAST: usize = 16 << 10;
/// Bytes in front of an entry's key.
const FRONT: usize = 4;

/// Sorted runs.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    runs: Vec<Range<u64>>,
}

impl Spool {
    pub(super) fn new(file: File) -> Self {
        Self { file, runs: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn with_file(self, file: File) -> Self {
        Self { file, ..self }
    }

    /// Writes a collection that is sorted. After an error it is as if nothing had been done.
    pub(super) fn write(&mut self, sorted: &Collection) -> io::Result<()> {
        let start = self.runs.last().map_or(0, |run| run.end);
        let len = sorted.bytes().len() + sorted.entries().len() * FRONT;
        may_be_as_long(start + len as u64).map_err(io::Error::other)?;
        let end = self.write_from(start, sorted).inspect_err(|_| {
            // The space may be what others lack.
            let _ = self.file.set_len(start);
        })?;
        self.runs.push(start..end);
        Ok(())
    }

    /// Returns where the entries end.
    fn write_from(&self, start: u64, sorted: &Collection) -> io::Result<u64> {
        let mut to = BufWriter::with_capacity(1 << 18, &self.file);
        to.seek(SeekFrom::Start(start))?;
        let mut end = start;
        for entry in sorted.entries() {
            let (key, value) = (entry.key(sorted.bytes()), entry.value(sorted.bytes()));
            for length in entry.lengths() {
                to.write_all(&length.to_le_bytes())?;
            }
            to.write_all(key)?;
            to.write_all(value)?;
            end += (FRONT + key.len() + value.len()) as u64;
        }
        to.flush()?;
        Ok(end)
    }

    /// All entries in rising order.
    pub(super) fn merge(&self) -> Result<Merge<'_>> {
        let room = (IN_MEMORY / self.runs.len().max(1)).max(LEAST);
        let mut heads = BinaryHeap::with_capacity(self.runs.len());
        for (number, rest) in self.runs.iter().cloned().enumerate() {
            let mut head =
                Head { number, file: &self.file, rest, room, bytes: Vec::new(), at: 0, lengths: [0; 2] };
            if head.read()? {
                heads.push(head);
            }
        }
        Ok(Merge { heads, last: None })
    }
}

/// The entries of all runs on their way back.
pub(super) struct Merge<'a> {
    heads: BinaryHeap<Head<'a>>,
    /// Key of the entry that came last.
    last: Option<Vec<u8>>,
}

impl Merge<'_> {
    /// Appends the next entries to `to` until it is full, and to `outdated` the blocks of those that count no more. Whether there are more.
    pub(super) fn fill(&mut self, to: &mut Collection, outdated: &mut Vec<Offset<[u8]>>) -> Result<bool> {
        while let Some(mut head) = self.heads.peek_mut() {
            let (key, stored) = head.entry();
            if self.last.as_deref() == Some(key) {
                outdated.extend(block_of(head.lengths[1], stored));
            } else if to.is_full_for(key.len() + stored.len()) {
                return Ok(true);
            } else {
                to.push(key, stored, head.lengths[1]);
                let last = self.last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
            }
            let more = head.next();
            // One without an entry is compared with nothing: it goes before an error does.
            if !matches!(more, Ok(true)) {
                PeekMut::pop(head);
            }
            more?;
        }
        Ok(false)
    }
}

/// The first entry of what is left of a run.
struct Head<'a> {
    /// Of the run: later ones have higher numbers.
    number: usize,
    file: &'a File,
    /// What was not read yet.
    rest: Range<u64>,
    /// Bytes that are read ahead.
    room: usize,
    bytes: Vec<u8>,
    /// Where the entry begins in `bytes`.
    at: usize,
    lengths: [u16; 2],
}

impl Head<'_> {
    /// Bytes of the entry.
    fn len(&self) -> usize {
        FRONT + usize::from(self.lengths[0]) + stored_len(self.lengths[1])
    }

    /// Key and stored value.
    fn entry(&self) -> (&[u8], &[u8]) {
        self.bytes[self.at + FRONT..self.at + self.len()].split_at(self.lengths[0].into())
    }

    fn key(&self) -> &[u8] {
        self.entry().0
    }

    /// Goes on to the next entry; whether there is one.
    fn next(&mut self) -> Result<bool> {
        self.at += self.len();
        self.read()
    }

    /// Reads the entry at `at`; whether there is one.
    fn read(&mut self) -> Result<bool> {
        self.have(FRONT)?;
        let &[a, b, c, d, ..] = &self.bytes[self.at..] else { return Ok(false) };
        self.lengths = [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])];
        self.have(self.len())?;
        if self.bytes.len() - self.at < self.len() {
            return Err(error(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(true)
    }

    /// Has `len` bytes from `at` on in memory, or all that there are.
    fn have(&mut self, len: usize) -> Result<()> {
        if self.bytes.len() - self.at >= len || self.rest.is_empty() {
            return Ok(());
        }
        self.bytes.drain(..self.at);
        self.at = 0;
        let old = self.bytes.len();
        let more = (self.room.max(len) - old).min((self.rest.end - self.rest.start) as usize);
        self.bytes.resize(old + more, 0);
        self.file.read_exact_at(&mut self.bytes[old..], self.rest.start).map_err(error)?;
        self.rest.start += more as u64;
        Ok(())
    }
}

impl Ord for Head<'_> {
    /// The greatest has the least key, and of one key the latest entry.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(self.key()).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

fn error(source: io::Error) -> Error {
    Error::io("read", Path::new("a file of sorted entries without a name"), source)
}

#[cfg(test)]
mod tests;
