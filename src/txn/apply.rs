//! How a record that counts reaches the heap.
//!
//! | arena | by |
//! |---|---|
//! | `Process` | stores through the mapping; `pwrite` on file systems where a store may need space |
//! | `Power` | `pwrite`, one for each page; where the changes lie [densely](super::dense), copies from the record in the log to mapped pages |
//!
//! An error leaves the record half applied: the next owner of the lock completes it.

#![forbid(unsafe_code)]

use super::dense::Dense;
use super::gather::{Gather, Joins};
use crate::arena::Inner;
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::log::record::{Body, Write};
use crate::log::replay::Apply;
use crate::media::{Media, Piece, Ready};

/// Copies that are asked for at once.
const AT_ONCE: usize = 512;

/// Applies what now counts.
#[inline(always)]
pub(super) fn apply_all<'a>(arena: &Inner, writes: impl Iterator<Item = Write<'a>>) -> Result<()> {
    carry_through(arena, |media| {
        let apply = arena.apply();
        if apply == Apply::Write {
            return write_all(media, writes, 0, |_, _| false, &mut Ready::default());
        }
        for write in writes {
            apply.words(media, write.offset, write.words)?;
            failpoint("commit: half applied");
        }
        Ok(())
    })
}

/// Applies the record of a `Power` arena, whose body lies in the file at `at`.
pub(super) fn apply_record(
    arena: &Inner,
    dense: &mut Dense,
    ready: &mut Ready,
    body: &Body,
    at: u64,
) -> Result<()> {
    let (ranges, writes) = body.counts();
    let is_long = dense.concerns(writes);
    carry_through(arena, |media| {
        if is_long {
            dense.begin(media.runtime().log().generation);
        }
        let from = at + u64::from(ranges) * 8;
        let is_dense = |offset, len| is_long && dense.note(offset, len);
        write_all(media, body.parsed().writes(), from, is_dense, ready)
    })
}

/// Applies by `how`; an error there leaves it half done.
#[inline(always)]
pub(super) fn carry_through(arena: &Inner, how: impl FnOnce(&Media) -> Result<()>) -> Result<()> {
    failpoint("commit: gate shut");
    how(arena.media())
        .map_err(|_| Error::Poisoned { why: "it counts, but could not be applied completely" })?;
    failpoint("commit: applied");
    Ok(())
}

/// Applies by as few system calls as possible: what `is_dense` says is copied from the record, whose first write is at `from` in the file.
fn write_all<'a>(
    media: &Media,
    writes: impl Iterator<Item = Write<'a>>,
    mut from: u64,
    mut is_dense: impl FnMut(u64, u64) -> bool,
    ready: &mut Ready,
) -> Result<()> {
    let (mut gather, mut pieces) = (Gather::new(media, Apply::Write, Joins::Committed), Vec::new());
    let mut end = 0;
    for Write { offset, words } in writes {
        let len = size_of_val(words) as u64;
        if offset < end {
            // Metadata comes after content, in order again, and may be of the same bytes: then it counts.
            copy(media, &mut gather, &mut pieces, ready)?;
        }
        end = offset + len;
        from += 8;
        if is_dense(offset, len) {
            pieces.push(Piece { from, offset, words });
            if pieces.len() == AT_ONCE {
                copy(media, &mut gather, &mut pieces, ready)?;
            }
        } else if gather.push(offset, words)? {
            failpoint("commit: half applied");
        }
        from += len;
    }
    copy(media, &mut gather, &mut pieces, ready)
}

/// Copies the pieces. First goes what waits to be written: bytes between two writes that it joined may be older than the pieces.
fn copy(
    media: &Media,
    gather: &mut Gather<'_>,
    pieces: &mut Vec<Piece<'_>>,
    ready: &mut Ready,
) -> Result<()> {
    if gather.flush()? {
        failpoint("commit: half applied");
    }
    if pieces.is_empty() {
        return Ok(());
    }
    if !media.scatter(pieces, ready) {
        // A write knows why, if it cannot either.
        pieces.iter().try_for_each(|piece| Apply::Write.words(media, piece.offset, piece.words))?;
    }
    pieces.clear();
    failpoint("commit: copied");
    Ok(())
}
