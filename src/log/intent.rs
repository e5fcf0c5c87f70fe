//! The intent area of a `Process` arena: the record of the one commit under way.
//!
//! Four words (sequence, body words, `ranges | writes << 32`, end page), then the body as in the log. It has no CRC: one
//! runtime word makes it valid after it is complete, and a kill loses no store of the page cache. What a
//! power cut leaves is caught by the mark, not here.

use super::record::{Body, Bounds, Parsed, spill_pages};
use super::replay::Apply;
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::layout::{PAGE, Page, Superblock, page_offset};
use crate::media::Media;
use crate::runtime::{Intent, Runtime};

/// Words in front of the body.
pub(crate) const HEAD_WORDS: usize = 4;

/// These words, for a body of so many words with so many ranges and writes, and a heap that ends at `end`.
#[inline]
pub(crate) fn head(sequence: u64, words: u64, (ranges, writes): (u32, u32), end: Page) -> [u64; HEAD_WORDS] {
    [sequence, words, u64::from(ranges) | u64::from(writes) << 32, u64::from(end)]
}

/// Whether the body fits the intent area.
pub(crate) fn fits(superblock: &Superblock, body: &Body) -> bool {
    (body.words().len() + HEAD_WORDS) as u64 * 8 <= u64::from(superblock.intent_pages) * PAGE
}

/// Pages of a spill extent for the body.
pub(crate) fn spill_len(body: &Body) -> u64 {
    spill_pages((body.words().len() + HEAD_WORDS) as u64)
}

/// Writes the record to `page` (the intent area or a spill extent); not yet valid.
#[inline]
pub(crate) fn prepare(
    media: &Media,
    page: Page,
    body: &Body,
    sequence: u64,
    end: Page,
    how: Apply,
) -> Result<()> {
    let words = body.words();
    let head = head(sequence, words.len() as u64, body.counts(), end);
    let at = page_offset(page);
    how.bytes(media, at, bytemuck::cast_slice(&head))?;
    how.bytes(media, at + HEAD_WORDS as u64 * 8, bytemuck::cast_slice(words))
}

/// Completes a commit that was cut off between its validity and its end.
pub(crate) fn replay(
    media: &Media,
    superblock: &Superblock,
    runtime: Runtime<'_>,
    intent: Intent,
    apply: Apply,
) -> Result<()> {
    let at = page_offset(intent.page);
    let damaged = |what| Error::corrupt(at, what);
    if !intent.spilled && intent.page != superblock.intent_page {
        return Err(damaged("the intent word names a page that is not the intent area"));
    }
    if intent.spilled && at + PAGE > media.capacity() {
        return Err(media.unreachable(at + PAGE));
    }
    let mut head = [0u64; HEAD_WORDS];
    for (i, word) in head.iter_mut().enumerate() {
        *word = media.load(at + i as u64 * 8).ok_or_else(|| damaged("the intent lies outside the file"))?;
    }
    let [sequence, words, counts, end] = head;
    // The next commit, or the last one where only the intent word was left to clear.
    let expected = sequence.wrapping_sub(runtime.sequence()) <= 1 && words > 0;
    // A spill extent lies where the heap ends.
    if !expected || intent.spilled && end != u64::from(intent.page) {
        return Err(damaged("the intent word leads to no commit under way"));
    }
    let from = at + HEAD_WORDS as u64 * 8;
    let Some(to) = words.checked_mul(8).and_then(|bytes| from.checked_add(bytes)) else {
        return Err(damaged("the intent is longer than its area"));
    };
    if intent.spilled && to > media.capacity() && to <= media.file_len()? {
        return Err(media.unreachable(to));
    }
    let limit = if intent.spilled { media.len() } else { page_offset(superblock.heap_page) };
    if to > limit {
        return Err(damaged("the intent is longer than its area"));
    }
    let mut body = vec![0u64; words as usize];
    media
        .copy_to(from, bytemuck::cast_slice_mut(&mut body))
        .ok_or_else(|| damaged("the intent lies outside the file"))?;
    let end = Page::try_from(end).map_err(|_| damaged("the intent's heap end is no page number"))?;
    if page_offset(end) > media.len() {
        return Err(media.unreachable(page_offset(end)));
    }
    let bounds = Bounds { first: superblock.heap_page, end };
    let parsed = Parsed::new(&body, (counts as u32, (counts >> 32) as u32), bounds, at)?;
    for write in parsed.writes() {
        apply.words(media, write.offset, write.words)?;
    }
    failpoint("recover: replayed");
    runtime.set_sequence(sequence);
    runtime.clear_intent();
    Ok(())
}
