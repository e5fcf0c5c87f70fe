//! An edit: bytes of one block overwritten in a transaction of its own, without a write set.
//!
//! The most frequent change of all, a value replaced by one of the same length, writes a few words side by side. In a `Process` arena that applies by stores its
//! record has one write, which is put together in the intent area itself. What turns out to be anything else goes on as an ordinary
//! transaction, under the same lock.

#![forbid(unsafe_code)]

use super::apply::carry_through;
use super::commit::{carry_out, make_ready};
use super::view::{Located, Source, in_block};
use super::work::{load_committed, prefetch_committed, view_committed};
use super::write::{State, WriteTxn};
use crate::arena::Inner;
use crate::error::Result;
use crate::failpoint::failpoint;
use crate::layout::{PAGE, page_offset};
use crate::log::intent;
use crate::log::record::head_of_write;
use crate::log::replay::Apply;
use crate::runtime::Intent;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

/// Longest run of bytes that is changed so. Its record fits any intent area.
const LONGEST: usize = 2048;

/// Bytes of a block that was looked up.
pub(crate) type InBlock = (Located, Range<u64>);

/// The committed state as the owner of the writer lock sees it.
pub(crate) struct Present<'a>(&'a Inner);

impl Source for Present<'_> {
    #[inline]
    fn word(&self, offset: u64) -> Result<u64> {
        load_committed(self.0.media(), offset)
    }

    #[inline]
    fn bytes_at(&self, offset: u64, len: u64) -> Result<&[u8]> {
        view_committed(self.0.media(), offset, len)
    }

    #[inline]
    fn words(&self, offset: u64, most: u64) -> &[AtomicU64] {
        self.0.media().words(offset, most)
    }

    #[inline]
    fn prefetch(&self, offset: u64) {
        prefetch_committed(self.0.media(), offset);
    }

    fn heap_page(&self) -> u32 {
        self.0.heap_page()
    }
}

/// Overwrites the bytes that `find` finds, if they are as many as these and `may` agrees to what they are, in a transaction of its own. Otherwise that transaction, to be gone on with: where a
/// commit costs no flush it has the gate.
#[inline]
pub(crate) fn overwrite<'a>(
    arena: &'a Inner,
    bytes: &[u8],
    find: impl FnOnce(&Present<'_>) -> Result<Option<InBlock>>,
    may: impl FnOnce(&[u8]) -> bool,
) -> Result<Option<WriteTxn<'a>>> {
    let (locked, mut state) = arena.lock_state(arena.power_log().is_none())?;
    if arena.apply() == Apply::Store
        && arena.power_log().is_none()
        && bytes.len() <= LONGEST
        && let Some((block, range)) = find(&Present(arena))?
        && range.end.wrapping_sub(range.start) == bytes.len() as u64
    {
        in_block(&block, range.start, range.end)?;
        let at = block.offset + range.start;
        if may(view_committed(arena.media(), at, bytes.len() as u64)?) {
            commit(arena, &mut state, at, bytes)?;
            return Ok(None);
        }
    }
    Ok(Some(WriteTxn::locked(arena, locked, state)))
}

/// As `commit::run`, for bytes of one block. The writer lock is held.
#[inline]
fn commit(arena: &Inner, state: &mut State, offset: u64, bytes: &[u8]) -> Result<()> {
    failpoint("commit: begin");
    if bytes.is_empty() {
        return Ok(());
    }
    let media = arena.media();
    let runtime = media.runtime();
    arena.mark_changed(runtime)?;
    let (first, end) = (offset & !7, (offset + bytes.len() as u64).next_multiple_of(8));
    for page in first / PAGE..=(end - 1) / PAGE {
        make_ready(media, &mut state.ready, page * PAGE)?;
    }
    let page = arena.superblock().intent_page;
    let sequence = runtime.sequence().wrapping_add(1);
    let words = (end - first) / 8;
    let [a, b, c, d] = intent::head(sequence, 1 + words, (0, 1), state.end);
    let at = page_offset(page);
    media.store_words(at, &[a, b, c, d, head_of_write(first, words)])?;
    let body = at + 5 * 8;
    // What the first and the last word have besides.
    media.store_words(body, &[load_committed(media, first)?])?;
    media.store_words(body + (words - 1) * 8, &[load_committed(media, end - 8)?])?;
    media.store(body + (offset - first), bytes)?;
    let apply = || carry_through(arena, |media| media.store(offset, bytes));
    arena.settled(carry_out(arena, runtime, Intent { page, spilled: false }, sequence, apply))?;
    state.sequence = sequence;
    failpoint("commit: done");
    Ok(())
}
