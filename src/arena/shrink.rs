//! Giving free space back to the file system.
//!
//! Two ways: the file is cut after the last page in use, and free extents inside it are punched out. Both happen only when nothing that
//! replay could need lies there (rule 7 of the log): the changes to the free tree are committed and a checkpoint is made first,
//! with the lock held from there to the end.
//!
//! Limits: a block never moves, so a block at the heap's end keeps everything before it in the file, though punched.

use super::Arena;
use crate::error::{Error, Result};
use crate::layout::{Page, page_offset};
use crate::sabotage::{Break, broken};

/// What [`Arena::shrink`] gave back, in bytes.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// let shrunk = arena.shrink()?;
/// assert!(shrunk.file_bytes <= shrunk.file_bytes_before);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shrunk {
    /// Length of the file before.
    pub file_bytes_before: u64,
    /// Its length now.
    pub file_bytes: u64,
    /// Free space inside it that takes no room on the disk any more, as far as the file system can do that.
    pub punched_bytes: u64,
}

/// Free extents that one transaction marks: bounds its size.
const AT_ONCE: usize = 10_000;

pub(super) fn run(arena: &Arena) -> Result<Shrunk> {
    // The move of the log begins with a sync, whose failure would be everybody's.
    arena.inner.may_begin_write()?;
    let before = arena.inner.media.file_len()?;
    if let Some(log) = &arena.inner.power {
        // The heap will be short, and what the log has of it is not to keep it long.
        arena.inner.settled(arena.inner.move_log(log, 0))?;
    }
    // Each round may clear the way for the next; a heap that others fill meanwhile is not chased for ever.
    for _ in 0..16 {
        let mut tx = arena.write()?;
        let cut = tx.with_heap(|heap, work| heap.cut_tail(work, 0))?;
        tx.commit()?;
        if !cut.more {
            break;
        }
    }
    let punched = hollow(arena)?;
    Ok(Shrunk {
        file_bytes_before: before,
        file_bytes: arena.inner.media.file_len()?,
        punched_bytes: punched,
    })
}

/// Punches all free extents out of the file. Returns their bytes.
pub(super) fn hollow(arena: &Arena) -> Result<u64> {
    let mut from = 0;
    while let Some(next) = mark(arena, from)? {
        from = next;
    }
    give_back(arena)
}

/// Marks free extents behind page `from` as punched, so that whoever takes them reserves their space again. Returns where to go on.
fn mark(arena: &Arena, from: Page) -> Result<Option<Page>> {
    let mut tx = arena.write()?;
    let next = tx.with_heap(|heap, work| {
        let mut at = from;
        for _ in 0..AT_ONCE {
            let Some(extent) = heap.next_extent(work, at)? else { return Ok(None) };
            if !extent.punched {
                heap.mark_punched(work, extent)?;
            }
            at = extent.page + extent.pages;
        }
        Ok(Some(at))
    })?;
    tx.commit()?;
    Ok(next)
}

/// Cuts the file at the heap's end and punches what is marked. Returns the bytes punched.
fn give_back(arena: &Arena) -> Result<u64> {
    let inner = &arena.inner;
    let media = &inner.media;
    let mut tx = arena.write()?;
    if let Some(log) = &inner.power
        && !broken(Break::CutBeforeCheckpoint)
    {
        log.checkpoint_now(media, media.runtime())?;
    }
    tx.with_heap(|heap, work| {
        let end = page_offset(heap.open(work)?);
        if media.file_len()? > end {
            media.cut(end)?;
        }
        let (mut at, mut punched) = (0, 0);
        while let Some(extent) = heap.next_extent(work, at)? {
            if extent.punched {
                match media.punch(page_offset(extent.page), page_offset(extent.pages)) {
                    Ok(()) => punched += page_offset(extent.pages),
                    // A file system that cannot do it keeps the space.
                    Err(Error::Unsupported { .. }) => return Ok(punched),
                    Err(e) => return Err(e),
                }
            }
            at = extent.page + extent.pages;
        }
        Ok(punched)
    })
}
