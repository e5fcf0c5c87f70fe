//! Replay: what a set of log records means for the heap, and its application.
//!
//! Replay is physical and idempotent. Each word is written once, with the last value that a record has for it: where recovery is
//! cut off, and on every page that reached the disk before it was, a word is as it was found or as it will be, never as it was
//! before some older commit. Records are therefore read from the last to the first, and what is covered already is left out:
//!
//! - a record that the next one voids, with its ranges;
//! - words that a later write has;
//! - ranges that a *later* record lists as filled in place (the revoke rule, as in jbd2): that space was freed and taken again
//!   since, its content came by another way, and an older write would damage it;
//! - a spilled body, before all older records: it lies where the heap had ended by then, and older records may know that place
//!   as a part of the heap, which was cut off since. Were it written over, the next recovery would find no such record.

use super::record::{Bounds, KIND_SPILL, KIND_VOID, Parsed, range_of, spill_pages};
use super::ring::{Record, Ring};
use crate::error::Result;
use crate::layout::{PAGE, Page, page_offset};
use crate::media::Media;
use crate::sabotage::{Break, broken};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// How changes reach the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Apply {
    /// By `pwrite`: an error is an error code, and no page becomes dirty beyond the bytes written.
    Write,
    /// By stores through the mapping: no system call.
    Store,
}

impl Apply {
    /// Changes words of the heap. The gate is shut, or the space is free.
    #[inline]
    pub(crate) fn words(self, media: &Media, offset: u64, words: &[u64]) -> Result<()> {
        match self {
            Self::Write => media.write(offset, bytemuck::cast_slice(words)),
            Self::Store => media.store_words(offset, words),
        }
    }

    /// Changes bytes of the heap. The gate is shut, or the space is free.
    pub(crate) fn bytes(self, media: &Media, offset: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Write => media.write(offset, bytes),
            Self::Store => media.store(offset, bytes),
        }
    }
}

/// Byte ranges, joined where they touch.
#[derive(Debug, Default)]
struct Covered(BTreeMap<u64, u64>);

impl Covered {
    fn add(&mut self, mut start: u64, mut end: u64) {
        while let Some((&s, &e)) = self.0.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.0.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    fn pages(&mut self, page: Page, pages: u64) {
        self.add(page_offset(page), page_offset(page) + pages * PAGE);
    }

    /// Calls `f` with the parts of `[start, end)` that are not covered.
    fn gaps(&self, start: u64, end: u64, mut f: impl FnMut(u64, u64)) {
        let mut at = match self.0.range(..=start).next_back() {
            Some((_, &e)) => start.max(e),
            None => start,
        };
        for (&s, &e) in self.0.range(start.saturating_add(1)..end) {
            if at < s {
                f(at, s);
            }
            at = at.max(e);
        }
        if at < end {
            f(at, end);
        }
    }
}

/// One write that has to be applied: offset and words.
type Step<'a> = (u64, &'a [u64]);

/// What replaying `records` writes: no word twice.
fn steps<'a>(ring: &Ring, records: &'a [Record], heap_page: Page) -> Result<Vec<Step<'a>>> {
    let mut covered = Covered::default();
    let mut steps = Vec::new();
    let mut voided = false;
    for record in records.iter().rev() {
        let header = &record.header;
        if header.kind == KIND_SPILL && !broken(Break::ReplayOverSpilled) {
            covered.pages(header.spill_page, spill_pages(header.body_words));
        }
        if header.kind == KIND_VOID || std::mem::replace(&mut voided, false) {
            voided = header.kind == KIND_VOID;
            continue;
        }
        let bounds = Bounds { first: heap_page, end: header.end_page };
        let counts = (header.ranges, header.writes);
        let parsed = Parsed::new(&record.body, counts, bounds, ring.offset(header.position))?;
        let writes: Vec<_> = parsed.writes().collect();
        for write in writes.iter().rev() {
            let (start, end) = (write.offset, write.offset + write.words.len() as u64 * 8);
            covered.gaps(start, end, |a, b| {
                steps.push((a, &write.words[((a - start) / 8) as usize..((b - start) / 8) as usize]));
            });
            if !broken(Break::ReplayOldValues) {
                covered.add(start, end);
            }
        }
        let revoked = if broken(Break::NoRevoke) { &[] } else { parsed.ranges };
        for &range in revoked {
            let (page, pages) = range_of(range);
            covered.pages(page, pages.into());
        }
    }
    steps.reverse();
    Ok(steps)
}

/// Whether the file shows these words there.
fn shows(media: &Media, offset: u64, words: &[u64]) -> bool {
    let there = media.words(offset, words.len() as u64);
    there.len() == words.len()
        && there.iter().zip(words).all(|(there, word)| there.load(Ordering::Relaxed) == *word)
}

/// Applies records. What the file shows already is not written again, unless `all` says so: it
/// is on the disk, or will be with the next sync that succeeds; after one that failed neither is sure.
pub(crate) fn replay(
    media: &Media,
    ring: &Ring,
    records: &[Record],
    heap_page: Page,
    (apply, all): (Apply, bool),
) -> Result<()> {
    // Rule 1: what a record needs of the file was synced before it became valid. A shorter file was cut.
    let needed = records.iter().map(|r| page_offset(r.header.end_page)).max().unwrap_or(0);
    if needed > media.len() && needed > media.refresh_len()? {
        return Err(media.unreachable(needed));
    }
    for (offset, words) in steps(ring, records, heap_page)? {
        if all || !shows(media, offset, words) {
            apply.words(media, offset, words)?;
        }
    }
    Ok(())
}

/// Applies what records have for the file as it is, however short it was cut: for who salvages what is left. Whether that is all they have.
pub(crate) fn replay_inside(
    media: &Media,
    ring: &Ring,
    records: &[Record],
    heap_page: Page,
    apply: Apply,
) -> Result<bool> {
    let len = media.refresh_len()? / PAGE * PAGE;
    for (offset, words) in steps(ring, records, heap_page)? {
        let inside = (len.saturating_sub(offset) / 8).min(words.len() as u64);
        if inside > 0 {
            apply.words(media, offset, &words[..inside as usize])?;
        }
    }
    Ok(records.iter().all(|record| page_offset(record.header.end_page) <= len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covered_ranges_join_and_leave_gaps() {
        let mut covered = Covered::default();
        covered.add(100, 200);
        covered.add(300, 400);
        covered.add(200, 250);
        let gaps = |a, b| {
            let mut found = Vec::new();
            covered.gaps(a, b, |s, e| found.push((s, e)));
            found
        };
        assert_eq!(gaps(0, 500), [(0, 100), (250, 300), (400, 500)]);
        assert_eq!(gaps(150, 220), []);
        assert_eq!(gaps(100, 250), []);
        assert_eq!(gaps(150, 260), [(250, 260)]);
        assert_eq!(gaps(40, 60), [(40, 60)]);
        covered.add(50, 1000);
        assert_eq!(covered.0.len(), 1);
    }
}
