//! Writes that are put together, so that they reach the file in as few calls as possible.
//!
//! Changes come word run by word run in ascending order; where each write is a system call, neighbours go out together. Two ways to be a neighbour:
//!
//! - *Fresh* space belongs to the transaction: runs that touch are joined, up to 16 KiB aligned pieces. Not longer ones, for the page cache
//!   makes one folio of what one call writes, and each later write of a few bytes to it costs in proportion to the folio's length (four
//!   times as much at 256 KiB), as does the checkpoint's flush.
//! - *Committed* space: runs in one page are joined, and the bytes between them are written as they are. Nobody else changes these meanwhile: the
//!   writer lock is held, and blocks that are changed beside the log are whole pages, in which no logged write ever lies. No page is
//!   written that would not be written anyway.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::layout::PAGE;
use crate::log::replay::Apply;
use crate::media::Media;
use std::sync::atomic::Ordering;

/// Bytes that go into fresh space in one call, and what they are aligned to.
const PIECE: u64 = 4 * PAGE;

/// What may be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joins {
    /// Runs that touch, within a piece.
    Fresh,
    /// Runs in one page, with what is between them.
    Committed,
}

/// Words on their way into the file.
#[derive(Debug)]
pub(super) struct Gather<'a> {
    media: &'a Media,
    apply: Apply,
    joins: Joins,
    offset: u64,
    words: Vec<u64>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(media: &'a Media, apply: Apply, joins: Joins) -> Self {
        Self { media, apply, joins, offset: 0, words: Vec::new() }
    }

    /// Where the next word would go.
    fn end(&self) -> u64 {
        self.offset + self.words.len() as u64 * 8
    }

    /// Adds words that are to be at `offset`. Whether something was written on this occasion.
    pub(super) fn push(&mut self, mut offset: u64, mut words: &[u64]) -> Result<bool> {
        let mut wrote = false;
        if !self.join(offset)? {
            wrote = self.flush()?;
            self.offset = offset;
        }
        if self.joins == Joins::Fresh {
            while offset / PIECE != (offset + words.len() as u64 * 8 - 1) / PIECE {
                let (head, tail) = words.split_at(((PIECE - offset % PIECE) / 8) as usize);
                self.words.extend_from_slice(head);
                wrote |= self.flush()?;
                (offset, words) = (offset + head.len() as u64 * 8, tail);
                self.offset = offset;
            }
        }
        self.words.extend_from_slice(words);
        Ok(wrote)
    }

    /// Whether words at `offset` may go out with those that wait; what lies between is added.
    fn join(&mut self, offset: u64) -> Result<bool> {
        let end = self.end();
        if self.words.is_empty() || offset < end {
            return Ok(false);
        }
        match self.joins {
            Joins::Fresh => Ok(offset == end && !offset.is_multiple_of(PIECE)),
            Joins::Committed if (end - 1) / PAGE != offset / PAGE => Ok(false),
            Joins::Committed => {
                let gap = self.media.words(end, (offset - end) / 8);
                if (gap.len() as u64) * 8 != offset - end {
                    return Err(Error::Truncated { needed: offset, found: self.media.len() });
                }
                self.words.extend(gap.iter().map(|word| word.load(Ordering::Relaxed)));
                Ok(true)
            }
        }
    }

    /// Writes what waits. Whether there was any.
    pub(super) fn flush(&mut self) -> Result<bool> {
        if self.words.is_empty() {
            return Ok(false);
        }
        self.apply.words(self.media, self.offset, &self.words)?;
        self.words.clear();
        Ok(true)
    }
}
