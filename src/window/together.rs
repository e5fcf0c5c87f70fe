//! Several threads search one range of a file.
//!
//! The range is cut into blocks, which threads take in order of offset. A match belongs to the one block that it ends
//! in: each block is searched from one pattern's length, less a byte, before it. So every match is found, and
//! found once, whichever thread is where.
//!
//! What counts is the lowest block in which something came out, a match or an error: the search by one thread
//! would have ended there. Threads are borrowed for one call; none lives on.
#![forbid(unsafe_code)]

use super::scan::{MAPPED, Scan};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes that a thread takes at once: a piece of a mapped file.
const BLOCK: u64 = MAPPED;

/// The end of a search: the block, and the offset that was found there, or what went wrong.
type End = (u64, Result<u64>);

struct Search {
    range: Range<u64>,
    /// Of a match, what may lie before the block that it ends in.
    overlap: u64,
    /// The first block that nobody took.
    next: AtomicU64,
    /// Something came out. Blocks that nobody took lie behind it and decide nothing any more.
    ended: AtomicBool,
    end: Mutex<Option<End>>,
}

impl Search {
    /// The next block, with the overlap before it.
    fn take(&self) -> Option<(u64, Range<u64>)> {
        if self.ended.load(Relaxed) {
            return None;
        }
        let block = self.next.fetch_add(1, Relaxed);
        let start = block * BLOCK;
        if start >= self.range.end {
            return None;
        }
        let start = start.saturating_sub(self.overlap).max(self.range.start);
        Some((block, start..((block + 1) * BLOCK).min(self.range.end)))
    }

    fn work(&self, scan: &mut Scan, search: &impl Fn(&mut Scan, Range<u64>) -> Result<Option<u64>>) {
        while let Some((block, range)) = self.take() {
            let Some(came) = search(scan, range).transpose() else { continue };
            self.ended.store(true, Relaxed);
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            if end.as_ref().is_none_or(|end| block < end.0) {
                *end = Some((block, came));
            }
        }
    }
}

/// Runs `search` on all blocks of `range`, or on all up to one in which it comes to an offset or an error, and
/// returns what comes first. `None`: the pool has not the room for several threads, or the pattern is too long for this.
pub(super) fn search(
    scan: &mut Scan,
    range: Range<u64>,
    pattern_len: usize,
    search: impl Fn(&mut Scan, Range<u64>) -> Result<Option<u64>> + Sync,
) -> Option<Result<Option<u64>>> {
    let threads = scan.room_for(scan.pool().config.threads);
    let overlap = pattern_len as u64 - 1;
    if threads < 2 || overlap > BLOCK / 64 {
        return None;
    }
    let next = AtomicU64::new(range.start / BLOCK);
    let shared = Search { range, overlap, next, ended: AtomicBool::new(false), end: Mutex::new(None) };
    thread::scope(|scope| {
        let (shared, search) = (&shared, &search);
        for _ in 1..threads {
            let mut scan = scan.another();
            let help = move || shared.work(&mut scan, search);
            // Without helpers this thread does it alone.
            let _ = thread::Builder::new().name("window search".to_owned()).spawn_scoped(scope, help);
        }
        shared.work(scan, search);
    });
    match shared.end.into_inner().unwrap_or_else(PoisonError::into_inner) {
        // The room was taken by others meanwhile. One thread needs less, and says so itself if it has not even that.
        Some((_, Err(Error::PoolLimit { .. }))) => None,
        Some((_, came)) => Some(came.map(Some)),
        None => Some(Ok(None)),
    }
}
