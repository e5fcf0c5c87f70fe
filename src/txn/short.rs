//! A transaction of one small change: a few words, no write set.
//!
//! Most allocations and frees of small blocks change one word. In a `Process` arena that applies by stores such a call keeps its
//! changes in a handful of words and makes the intent record, where it needs one, from them directly. What turns out to be more (runs of
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
use crate::log::record::{Write, head_of_word};
use crate::media::{Media, Ready};
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

/// The words that such a transaction changes, each behind its offset. Kept from one to the next, so that they are not to be cleared for each.
pub(crate) type Words = [[u64; 2]; MOST];

pub(crate) const NO_WORDS: Words = [[0; 2]; MOST];

/// The words changed so far.
pub(crate) struct Short<'a> {
    media: &'a Media,
    words: &'a mut Words,
    /// How many there are.
    len: usize,
    /// It was more than this can do: what the calls returned means nothing.
    given_up: bool,
    /// The caller's code ran in it, and may have begun to read.
    is_open: bool,
}

impl<'a> Short<'a> {
    #[inline(always)]
    fn new(media: &'a Media, words: &'a mut Words) -> Self {
        Self { media, words, len: 0, given_up: false, is_open: false }
    }

    #[inline(always)]
    fn words(&self) -> &[[u64; 2]] {
        &self.words[..self.len]
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
        match self.words().iter().find(|word| word[0] == offset) {
            Some(word) => Ok(word[1]),
            None => load_committed(self.media, offset),
        }
    }
}

impl Space for Short<'_> {
    const IS_ONE_CALL: bool = true;

    #[inline(always)]
    fn store(&mut self, offset: u64, word: u64) -> Result<()> {
        let at = self.words().iter().position(|word| word[0] == offset).unwrap_or(self.len);
        let Some(place) = self.words.get_mut(at) else { return Err(self.give_up()) };
        // What cannot be applied must not get into a record.
        load_committed(self.media, offset)?;
        *place = [offset, word];
        self.len = self.len.max(at + 1);
        Ok(())
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
    let State { heap, ready, short_words, sequence, end, .. } = state;
    let mut short = Short::new(arena.media(), short_words);
    let outcome = change(heap, &mut short);
    // The heap's hints stay whatever happens now: which pages are slabs has not changed.
    if short.given_up {
        return Ok(None);
    }
    let outcome = outcome?;
    failpoint("commit: begin");
    arena.mark_changed(short.media.runtime())?;
    *sequence = match short.words() {
        [[offset, word]] => {
            make_ready(short.media, ready, *offset)?;
            store_one(arena, kind, *offset, *word)?
        }
        _ => commit(arena, *end, ready, &short)?,
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
    // Whoever sees the block sees what was filled in: pairs with the fence in `View::next_block`, which finds blocks that nobody told of.
    fence(Release);
    arena.media().store_words(offset, &[word])?;
    failpoint("commit: applied");
    let sequence = runtime.sequence().wrapping_add(1);
    runtime.set_sequence(sequence);
    Ok(sequence)
}

/// As `commit::run`, for a few words. Returns the commit's number.
#[inline]
fn commit(arena: &Inner, end: Page, ready: &mut Ready, short: &Short<'_>) -> Result<u64> {
    for [offset, _] in short.words() {
        make_ready(short.media, ready, *offset)?;
    }
    if short.is_open {
        arena.may_wait_for_readers()?;
    }
    let media = arena.media();
    let runtime = media.runtime();
    let page = arena.superblock().intent_page;
    let sequence = runtime.sequence().wrapping_add(1);
    let words = short.words();
    let mut record = [0; intent::HEAD_WORDS + 2 * MOST];
    let body_words = 2 * words.len();
    let head = intent::head(sequence, body_words as u64, (0, words.len() as u32), end);
    record[..intent::HEAD_WORDS].copy_from_slice(&head);
    for (write, [offset, word]) in record[intent::HEAD_WORDS..].as_chunks_mut().0.iter_mut().zip(words) {
        *write = [head_of_word(*offset), *word];
    }
    media.store_words(page_offset(page), &record[..intent::HEAD_WORDS + body_words])?;
    let writes =
        words.iter().map(|[offset, word]| Write { offset: *offset, words: std::slice::from_ref(word) });
    let apply = || apply_all(arena, writes);
    arena.settled(carry_out(arena, runtime, Intent { page, spilled: false }, sequence, apply))?;
    Ok(sequence)
}
