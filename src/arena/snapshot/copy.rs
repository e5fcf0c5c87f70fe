//! Copying the heap so that one committed state comes out, while others write.
//!
//! A `Power` arena says in its log what changes. So:
//!
//! 1. Note the log's head. Copy what is in use, piece by piece, without a lock; what others change meanwhile comes out torn.
//! 2. Read the log from there on: each page that a record wrote to, or filled in place, is to be copied again. Do so, while the log goes on.
//!    Each round is shorter than the one before, as long as copying is faster than writing.
//! 3. When few pages are left, copy these in a read transaction: no commit is applied while it lives, so with this round every page is as
//!    the state of that transaction has it.
//!
//! Records that can no longer be read (the ring was written over, a spill extent is gone) cost a new start. After a few of these, or if the rounds
//! do not get shorter, the writer lock ends it: then the state stands still. A `Process` arena has no log that others could
//! read, so it is copied under the writer lock as a whole. Handles that may not write take a read transaction in its place.
//!
//! A run that came into use meanwhile is copied as a whole, for the log knows only of what was written to it. Its word in the page map tells of it.
//!
//! Invariant: a page is copied after every change to it that the state of the last round has, or is among the touched pages. That needs no look
//! at what the records hold: the copy is of pages, not of their history, and pages that are free in that state may hold anything.

use super::pages::Pages;
use super::target::Target;
use crate::arena::inner::Exclusive;
use crate::arena::{Access, Arena, Committed, runs};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::heap::{Heap, Stretch, Use};
use crate::layout::LogPlace;
use crate::layout::{PAGE, Page, page_offset};
use crate::log::follow::follow;
use crate::log::ring::Cursor;
use crate::media::may_be_as_long;
use crate::txn::{ReadTxn, WriteTxn};
use rustix::io::Errno;
use std::path::Path;

/// Bytes that are read and written at once.
const CHUNK: u64 = 1 << 20;
/// Stretches of the heap that are looked at in one read transaction.
const PIECE: usize = 256;
/// Pages that may be left for the last round.
const FEW: u64 = 256;
/// Rounds without a lock.
const ROUNDS: u32 = 8;
/// Starts without the writer lock.
const STARTS: u32 = 3;

/// What was copied, and of which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Copied {
    pub(super) sequence: u64,
    pub(super) copied_bytes: u64,
    pub(super) recopied_bytes: u64,
    pub(super) held_bytes: u64,
}

/// Keeps the committed state as it is.
#[expect(dead_code, reason = "they do their work by being there")]
enum Frozen<'a> {
    Write(Box<WriteTxn<'a>>),
    Lock(Exclusive<'a>),
    Read(ReadTxn<'a>),
}

/// A copy under way.
pub(super) struct Copy<'a> {
    arena: &'a Arena,
    target: &'a Target,
    heap: Heap,
    buffer: Vec<u8>,
    touched: Pages,
    /// Pages whose words in the page map were written: where runs begin that are in use since, maybe.
    mapped: Pages,
    /// Up to where the log was read; nothing where there is none to be read.
    followed: Option<(LogPlace, Cursor)>,
    /// Bytes that were copied since the log was read.
    unfollowed: u64,
    done: Copied,
}

impl<'a> Copy<'a> {
    pub(super) fn new(arena: &'a Arena, target: &'a Target) -> Self {
        Self {
            arena,
            target,
            heap: Heap::new(arena.inner.heap_page()),
            buffer: vec![0; CHUNK as usize],
            touched: Pages::default(),
            mapped: Pages::default(),
            followed: None,
            unfollowed: 0,
            done: Copied::default(),
        }
    }

    /// Copies everything that is in use.
    pub(super) fn run(mut self) -> Result<Copied> {
        if self.arena.inner.power.is_some() && self.arena.is_in_file() {
            for _ in 0..STARTS {
                if self.beside_writers()? {
                    return Ok(self.done);
                }
            }
        }
        let frozen = self.freeze(true)?;
        // What an earlier start lost is not to be looked for.
        self.followed = None;
        let mut from = 0;
        while let Some(stretch) = self.heap.next_stretch(&Committed(&self.arena.inner.media), from)? {
            from = stretch.end();
            if is_in_use(&stretch) {
                self.copy(stretch.page, stretch.pages)?;
                failpoint("snapshot: piece copied");
                self.done.held_bytes += page_offset(stretch.pages);
            }
        }
        self.settle(frozen)?;
        Ok(self.done)
    }

    /// Shares all blocks of the file on the disk.
    pub(super) fn reflink(mut self, to: &Path) -> Result<Copied> {
        let refused = || Error::NoReflink { path: to.to_owned() };
        let inner = &self.arena.inner;
        if !self.arena.is_in_file() {
            return Err(refused());
        }
        if inner.access == Access::Write {
            // What the file system would write before it shares it, without making anybody wait.
            inner.media.runtime().synced(inner.media.sync())?;
        }
        let frozen = self.freeze(inner.power.is_none())?;
        may_be_as_long(inner.media.file_len()?)?;
        match rustix::fs::ioctl_ficlone(self.target.file(), inner.media.fd()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
                return Err(refused());
            }
            Err(Errno::NOSPC | Errno::DQUOT) => {
                return Err(Error::NoSpace { needed: inner.media.file_len()? });
            }
            Err(e) => return Err(Error::io("share blocks with", to, e)),
        }
        self.settle(frozen)?;
        Ok(self.done)
    }

    fn freeze(&self, alone: bool) -> Result<Frozen<'a>> {
        let inner = &self.arena.inner;
        match inner.access {
            Access::Write if alone => Ok(Frozen::Write(Box::new(self.arena.write()?))),
            // An allocation of its own waits for no reader there.
            Access::Read if alone && inner.power.is_none() && !inner.lock.is_exclusive() => {
                let locked = inner.lock_exclusive(false)?;
                inner.see_whole()?;
                Ok(Frozen::Lock(locked))
            }
            _ => Ok(Frozen::Read(self.arena.read()?)),
        }
    }

    /// Notes of which state the copy is, gives the target the length of its heap, and lets the others go on.
    fn settle(&mut self, frozen: Frozen<'_>) -> Result<()> {
        let media = &self.arena.inner.media;
        self.done.sequence = media.runtime().sequence();
        let end = page_offset(self.heap.open(&Committed(media))?);
        drop(frozen);
        self.target.set_len(end)
    }

    /// One start of copying while others write; false if the log could not be followed.
    fn beside_writers(&mut self) -> Result<bool> {
        (self.touched, self.mapped) = (Pages::default(), Pages::default());
        self.followed = Some(self.head());
        failpoint("snapshot: begun");
        let mut from: Page = 0;
        loop {
            let stretches = runs::piece(self.arena, from, PIECE)?;
            let Some(last) = stretches.last() else { break };
            from = last.end();
            for stretch in stretches.iter().filter(|stretch| is_in_use(stretch)) {
                if matches!(stretch.used, Use::Block { unlogged: true, .. }) {
                    // The log tells nothing of it.
                    self.touched.add(page_offset(stretch.page), page_offset(stretch.end()));
                }
                if !self.copy(stretch.page, stretch.pages)? {
                    return Ok(false);
                }
            }
            failpoint("snapshot: piece copied");
        }
        for _ in 0..ROUNDS {
            if !self.follow(false)? {
                return Ok(false);
            }
            self.touch_new_runs(false)?;
            if self.touched.count() <= FEW {
                break;
            }
            let again = std::mem::take(&mut self.touched);
            for (page, pages) in again.runs() {
                self.done.recopied_bytes += page_offset(pages);
                if !self.copy(page, pages)? {
                    return Ok(false);
                }
            }
        }
        failpoint("snapshot: before the last round");
        self.last_round()
    }

    fn last_round(&mut self) -> Result<bool> {
        let frozen = self.freeze(self.touched.count() > FEW)?;
        if !self.follow(true)? {
            return Ok(false);
        }
        self.touch_new_runs(true)?;
        let media = &self.arena.inner.media;
        let end = self.heap.open(&Committed(media))?;
        self.followed = None;
        let left = std::mem::take(&mut self.touched);
        for (page, pages) in left.runs().take_while(|&(page, _)| page < end) {
            let pages = pages.min(end - page);
            self.copy(page, pages)?;
            self.done.recopied_bytes += page_offset(pages);
            self.done.held_bytes += page_offset(pages);
        }
        self.settle(frozen)?;
        Ok(true)
    }

    /// Where the log lies and where it goes on. Its words change one by one, so they are read until they are the same twice.
    fn head(&self) -> (LogPlace, Cursor) {
        let runtime = self.arena.inner.media.runtime();
        let read = || {
            let log = runtime.log();
            let sequence = runtime.sequence().wrapping_add(1);
            (log.place, Cursor { position: log.head, sequence, seed: log.seed })
        };
        let mut last = read();
        loop {
            let now = read();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    /// Reads the log up to its head; false if a part of it is gone. `frozen`: the state stands still.
    fn follow(&mut self, frozen: bool) -> Result<bool> {
        self.unfollowed = 0;
        let inner = &self.arena.inner;
        let (Some((place, cursor)), Some(log)) = (self.followed, &inner.power) else { return Ok(true) };
        // A ring in the heap may be freed, and cut off with the end of the file, as soon as the log has left it; but not under a reader.
        let _tx = if frozen || place == LogPlace::FIRST { None } else { Some(self.arena.read()?) };
        if inner.media.runtime().log().place != place {
            return Ok(false);
        }
        let head = inner.media.runtime().log().head;
        // After the head was looked at: what lies before it knows no other page map.
        let map = self.heap.page_map_places(&Committed(&inner.media))?;
        let Self { touched, mapped, .. } = self;
        let touch = |start: u64, end: u64| {
            touched.add(start, end);
            for &(from, to, first) in map.iter().filter(|&&(from, to, _)| from < end && start < to) {
                let (low, high) = ((start.max(from) - from) / 8, (end.min(to) - from).div_ceil(8));
                mapped.add((u64::from(first) + low) * PAGE, (u64::from(first) + high) * PAGE);
            }
        };
        let followed = follow(&inner.media, &log.ring_at(place)?, cursor, head, inner.heap_page(), touch)?;
        self.followed = followed.map(|cursor| (place, cursor));
        Ok(followed.is_some())
    }

    /// Runs that came into use since the copying began are copied as a whole: the log has only what was written to them, and the rest is
    /// whatever was there. `frozen`: the state stands still.
    fn touch_new_runs(&mut self, frozen: bool) -> Result<()> {
        let mapped = std::mem::take(&mut self.mapped);
        let pages: Vec<Page> = mapped.runs().flat_map(|(page, pages)| page..page + pages).collect();
        let mut reached = 0;
        for some in pages.chunks(PIECE) {
            let _tx = if frozen { None } else { Some(self.arena.read()?) };
            for &page in some {
                if page < reached {
                    continue;
                }
                let found = self.heap.next_stretch(&Committed(&self.arena.inner.media), page)?;
                let Some(stretch) = found else { break };
                reached = stretch.end();
                if is_in_use(&stretch) {
                    self.touched.add(page_offset(page), page_offset(reached));
                }
            }
        }
        Ok(())
    }

    /// Copies pages as they are now; false if the log could not be followed meanwhile.
    fn copy(&mut self, page: Page, pages: u32) -> Result<bool> {
        let (mut at, end) = (page_offset(page), page_offset(page) + page_offset(pages));
        while at < end {
            let n = (end - at).min(CHUNK);
            let read = self.read(at, n as usize)?;
            self.target.write(at, &self.buffer[..read])?;
            self.done.copied_bytes += n;
            at += n;
            self.unfollowed += n;
            if self.unfollowed >= CHUNK && !self.follow(false)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fills the buffer from the source; returns how much of it. Less where the file was cut meanwhile: what lay there is free by now.
    fn read(&mut self, at: u64, n: usize) -> Result<usize> {
        let media = &self.arena.inner.media;
        let buffer = &mut self.buffer[..n];
        if !self.arena.is_in_file() {
            media
                .copy_to(at, buffer)
                .ok_or(Error::Truncated { needed: at + n as u64, found: media.len() })?;
            return Ok(n);
        }
        let mut read = 0;
        while read < n {
            match rustix::io::pread(media.fd(), &mut buffer[read..], at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::io("read", media.path(), e)),
            }
        }
        Ok(read)
    }
}

/// Whether the copy has to have it. What is in the log is none of the copy's.
fn is_in_use(stretch: &Stretch) -> bool {
    !matches!(stretch.used, Use::Free { .. } | Use::Log)
}

const _: () = assert!(CHUNK.is_multiple_of(PAGE));
