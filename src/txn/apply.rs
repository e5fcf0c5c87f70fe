//! How a record that counts reaches the heap.
//!
//! | arena | by |
//! |---|---|
//! | `Process` | stores through the mapping; `pwrite` on file systems where a store may need space |
//! | `Power` | `pwrite`, one for each page; where the changes lie [densely](super::dense), copies made by the kernel from the record in the log to the mapped pages |
//!
//! An error leaves the record half applied, and poisons the handle: the next owner of the lock completes it.

#![forbid(unsafe_code)]

use super::dense::Dense;
use super::gather::{Gather, Joins};
use crate::arena::Inner;
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::log::record::{Body, Write};
use crate::log::replay::Apply;
use crate::media::{Media, Piece};

/// Copies that are asked for at once.
const AT_ONCE: usize = 512;

/// Applies what now counts.
#[inline(always)]
pub(super) fn apply_all<'a>(arena: &Inner, writes: impl Iterator<Item = Write<'a>>) -> Result<()> {
    let (media, apply) = (arena.media(), arena.apply());
    failpoint("commit: gate shut");
    if apply == Apply::Write {
        write_all(media, writes).map_err(|_| half_applied(arena))?;
    } else {
        for write in writes {
            apply.words(media, write.offset, write.words).map_err(|_| half_applied(arena))?;
            failpoint("commit: half applied");
        }
    }
    failpoint("commit: applied");
    Ok(())
}

/// Applies the record of a `Power` arena, whose body lies in the file at `at`.
pub(super) fn apply_record(arena: &Inner, dense: &mut Dense, body: &Body, at: u64) -> Result<()> {
    let media = arena.media();
    let (ranges, writes) = body.counts();
    if !dense.concerns(writes) {
        return apply_all(arena, body.parsed().writes());
    }
    failpoint("commit: gate shut");
    dense.begin(media.runtime().log().generation);
    copy_all(media, dense, body.parsed().writes(), at + u64::from(ranges) * 8)
        .map_err(|_| half_applied(arena))?;
    failpoint("commit: applied");
    Ok(())
}

#[cold]
fn half_applied(arena: &Inner) -> Error {
    arena.poison("it counts, but could not be applied completely")
}

/// Applies by system calls, of which as few as possible.
fn write_all<'a>(media: &Media, writes: impl Iterator<Item = Write<'a>>) -> Result<()> {
    let mut gather = Gather::new(media, Apply::Write, Joins::Committed);
    for write in writes {
        if gather.push(write.offset, write.words)? {
            failpoint("commit: half applied");
        }
    }
    gather.flush()?;
    failpoint("commit: half applied");
    Ok(())
}

/// As `write_all`, but copies what lies densely from the record, whose first write is at `from` in the file.
fn copy_all<'a>(
    media: &Media,
    dense: &mut Dense,
    writes: impl Iterator<Item = Write<'a>>,
    mut from: u64,
) -> Result<()> {
    let mut gather = Gather::new(media, Apply::Write, Joins::Committed);
    let mut pieces = Vec::with_capacity(AT_ONCE);
    for Write { offset, words } in writes {
        let len = size_of_val(words) as u64;
        from += 8;
        if dense.note(offset, len) {
            pieces.push(Piece { from, offset, words });
            if pieces.len() == AT_ONCE {
                copy(media, &mut gather, &mut pieces)?;
            }
        } else if gather.push(offset, words)? {
            failpoint("commit: half applied");
        }
        from += len;
    }
    copy(media, &mut gather, &mut pieces)
}

/// Copies the pieces. First goes what waits to be written: bytes between two writes that it joined may be older than the pieces.
fn copy(media: &Media, gather: &mut Gather<'_>, pieces: &mut Vec<Piece<'_>>) -> Result<()> {
    if gather.flush()? {
        failpoint("commit: half applied");
    }
    if pieces.is_empty() {
        return Ok(());
    }
    if !media.scatter(pieces) {
        // A write knows why, if it cannot either.
        pieces.iter().try_for_each(|piece| Apply::Write.words(media, piece.offset, piece.words))?;
    }
    pieces.clear();
    failpoint("commit: copied");
    Ok(())
}
