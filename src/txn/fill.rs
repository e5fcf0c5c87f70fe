//! Filling fresh space with what a transaction changed there, in as few calls as that takes.
//!
//! Changes come line by line in ascending order; where each write is a system call, neighbours go out together.

#![forbid(unsafe_code)]

use crate::error::Result;
use crate::log::replay::Apply;
use crate::media::Media;

/// Words that are put together at most.
const MOST: usize = 1 << 15;

/// Words on their way into fresh space.
pub(super) struct Fill<'a> {
    media: &'a Media,
    apply: Apply,
    offset: u64,
    words: Vec<u64>,
}

impl<'a> Fill<'a> {
    pub(super) fn new(media: &'a Media, apply: Apply) -> Self {
        Self { media, apply, offset: 0, words: Vec::new() }
    }

    /// Adds words that are to be at `offset`, which is not below what was added before.
    pub(super) fn push(&mut self, offset: u64, words: &[u64]) -> Result<()> {
        if self.offset + self.words.len() as u64 * 8 != offset || self.words.len() + words.len() > MOST {
            self.flush()?;
            self.offset = offset;
        }
        self.words.extend_from_slice(words);
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.words.is_empty() {
            self.apply.words(self.media, self.offset, &self.words)?;
            self.words.clear();
        }
        Ok(())
    }
}
