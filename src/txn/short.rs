//! A transaction of one small change: a few words, no write set.
//!
//! Most allocations and frees of small blocks change one word. In a `Process` arena that applies by stores such a call keeps its
//! changes in a handful of words on the stack and makes the intent record from them directly. What turns out to be more (runs of
//! pages, many words) is given up, with nothing changed, and done again as an ordinary transaction.

use super::apply::apply_all;
use super::commit::{carry_out, make_ready};
use super::work::{load_committed, prefetch_place};
use super::write::State;
use crate::arena::Inner;
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::heap::{Heap, Load, Space};
use crate::layout::{Page, page_offset};
use crate::log::intent;
use crate::log::record::{Write, head_of_word, offset_of_write};
use crate::media::Media;
use crate::runtime::Intent;
use std::sync::atomic::{Ordering::Release, fence};

/// Words that such a transaction can change: enough to put a slab into its class's list or take it out.
const MOST: usize = 12;

/// What a call does to the committed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It takes free space and fills it: nobody can know of that before.
    Adds,
    /// It changes what somebody may be reading.
    Changes,
}

/// Where such a transaction puts its changes together. Kept from one to the next, so that it is not to be cleared for each.
pub(crate) type Record = [u64; intent::HEAD_WORDS + 2 * MOST];

pub(crate) const EMPTY: Record = [0; intent::HEAD_WORDS + 2 * MOST];

/// The words changed so far, in the form of their intent record.
pub(crate) struct Short<'a> {
    media: &'a Media,
    record: &'a mut Record,
    /// Words of the record in use.
    len: usize,
    /// It was more than this can do: what the calls returned means nothing.
    given_up: bool,
    /// The caller's code ran in it, and may have begun to read.
    is_open: bool,
}

impl<'a> Short<'a> {
    #[inline(always)]
    fn new(media: &'a Media, record: &'a mut Record) -> Self {
        Self { media, record, len: intent::HEAD_WORDS, given_up: false, is_open: false }
    }

    /// The writes, each a head and its one word.
    #[inline(always)]
    fn writes(&self) -> &[[u64; 2]] {
        self.record[intent::HEAD_WORDS..self.len].as_chunks().0
    }

    /// Whoever gets this error does not see it: the change is done again in another way.
    #[cold]
    fn give_up(&mut self) -> Error {
        self.given_up = true;
        Error::corrupt(0, "a short transaction was given up")
    }

    /// Writes the content of a block that was just allocated. Its place is free in the committed state: nobody else reaches it.
    #[inline]
    pub(crate) fn fill(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.media.store(offset, bytes)
    }

    /// The same, written by `fill`.
    #[inline]
    pub(crate) fn fill_with(&mut self, offset: u64, len: u64, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.is_open = true;
        self.media.store_with(offset, len, fill)
    }
}

impl Load for Short<'_> {
    #[inline(always)]
    fn load(&self, offset: u64) -> Result<u64> {
        let head = head_of_word(offset);
        match self.writes().iter().find(|write| write[0] == head) {
            Some(write) => Ok(write[1]),
            None => load_committed(self.media, offset),
        }
    }
}

impl Space for Short<'_> {
    const IS_ONE_CALL: bool = true;

    #[inline(always)]
    fn store(&mut self, offset: u64, word: u64) -> Result<()> {
        let head = head_of_word(offset);
        let writes = self.record[intent::HEAD_WORDS..].as_chunks_mut::<2>().0;
        for (i, write) in writes.iter_mut().enumerate() {
            let is_new = intent::HEAD_WORDS + 2 * i == self.len;
            if is_new || write[0] == head {
                // What cannot be applied must not get into a record.
                load_committed(self.media, offset)?;
                *write = [head, word];
                self.len += if is_new { 2 } else { 0 };
                return Ok(());
            }
        }
        Err(self.give_up())
    }

    #[inline(always)]
    fn runs_change(&mut self) -> Result<()> {
        Err(self.give_up())
    }

    #[inline(always)]
    fn prefetch(&self, offset: u64, len: u64) {
        prefetch_place(self.media, offset, len);
    }

    fn grow(&mut self, _: Page, _: Page) -> Result<Page> {
        Err(self.give_up())
    }

    fn run_taken(&mut self, _: Page, _: u32, _: bool) -> Result<()> {
        Err(self.give_up())
    }

    fn run_is_fresh(&self, _: Page, _: u32) -> bool {
        false
    }

    fn run_dropped(&mut self, _: Page, _: u32, _: u64) {
        self.given_up = true;
    }

    fn run_deferred(&mut self, _: Page, _: u32) -> Result<()> {
        Err(self.give_up())
    }

    fn zero_run(&mut self, _: Page, _: u32) -> Result<()> {
        Err(self.give_up())
    }
}

/// Makes a change and commits it. The writer lock is held. `None`, with nothing changed, where it is no short one.
#[inline(always)]
pub(crate) fn run<T>(
    arena: &Inner,
    state: &mut State,
    kind: Kind,
    change: impl FnOnce(&mut Heap, &mut Short<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let State { heap, ready, short_record, sequence, end, .. } = state;
    let mut short = Short::new(arena.media(), short_record);
    let outcome = change(heap, &mut short);
    // The heap's hints stay whatever happens now: which pages are slabs has not changed.
    if short.given_up {
        return Ok(None);
    }
    let outcome = outcome?;
    failpoint("commit: begin");
    arena.mark_changed(short.media.runtime())?;
    for [head, _] in short.writes() {
        make_ready(short.media, ready, offset_of_write(*head))?;
    }
    *sequence = match short.writes() {
        [[head, word]] => store_one(arena, kind, offset_of_write(*head), *word)?,
        _ => commit(arena, *end, &mut short)?,
    };
    failpoint("commit: done");
    Ok(Some(outcome))
}

/// Commits a change of one word, the state of a slot: one store does it, whole or not at all, so it needs no record. One that adds a block, whose content
/// is in its place already, does not wait for readers either: none has a view of the word, or of the block. Returns the commit's number.
#[inline(always)]
fn store_one(arena: &Inner, kind: Kind, offset: u64, word: u64) -> Result<u64> {
    let runtime = arena.media().runtime();
    if kind == Kind::Changes {
        arena.shut_gate()?;
        failpoint("commit: gate shut");
    }
    // Whoever sees the block sees what was filled in.
    fence(Release);
    arena.media().store_words(offset, &[word])?;
    failpoint("commit: applied");
    let sequence = runtime.sequence().wrapping_add(1);
    runtime.set_sequence(sequence);
    Ok(sequence)
}

/// As `commit::run`, for a few words whose record is built already. Returns the commit's number.
#[inline]
fn commit(arena: &Inner, end: Page, short: &mut Short<'_>) -> Result<u64> {
    if short.is_open {
        arena.may_wait_for_readers()?;
    }
    let media = arena.media();
    let runtime = media.runtime();
    let page = arena.superblock().intent_page;
    let sequence = runtime.sequence().wrapping_add(1);
    let body_words = (short.len - intent::HEAD_WORDS) as u64;
    let head = intent::head(sequence, body_words, (0, body_words as u32 / 2), end);
    short.record[..intent::HEAD_WORDS].copy_from_slice(&head);
    media.store_words(page_offset(page), &short.record[..short.len])?;
    let writes = short
        .writes()
        .iter()
        .map(|[head, word]| Write { offset: offset_of_write(*head), words: std::slice::from_ref(word) });
    let apply = || apply_all(arena, writes);
    arena.settled(carry_out(arena, runtime, Intent { page, spilled: false }, sequence, apply))?;
    Ok(sequence)
}
