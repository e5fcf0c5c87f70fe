//! Salvage: what is left of a damaged arena, brought into a new one and repaired there. The damaged file is only read.
//!
//! The heap is copied byte for byte into the file that a snapshot would become, whose front (superblock, checkpoint slots, log) is new, and
//! [`repair`](super::repair) does the rest. So blocks keep their offsets, and what leads from one to the other still does: collections, stores, and what
//! programs keep in blocks of their own.
//!
//! Limits: needs a sound superblock and the page map, as a repair does.
#![forbid(unsafe_code)]

use super::snapshot::Target;
use super::{Access, Arena, Finding, Options, Report, open, repair};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::layout::{PAGE, page_offset};
use std::path::Path;

/// Outcome of [`Arena::salvage`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let (from, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
/// # heapfile::Arena::create(&from)?;
/// let salvage = heapfile::Arena::salvage(&from, &to)?;
/// assert!(salvage.losses.is_empty() && salvage.report.is_clean());
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// What could not be told for certain, and what became of it.
    pub losses: Vec<Finding>,
    /// What a check of the new arena finds.
    pub report: Report,
}

impl Arena {
    /// Brings all blocks and roots that can be told from what is left of the arena at `from`, which nobody may have open for writing, into a new
    /// arena at `to`, of the same durability. `from` is only read; what its log has is taken into account as far as it can be read and the file reaches.
    ///
    /// Blocks keep their offsets and their bytes, as in a [repair](Arena::repair), which this is, of a copy. For files that must not be written, and for those
    /// that cannot be repaired because their log cannot be read.
    ///
    /// Errors: [`AlreadyExists`](crate::Error::AlreadyExists) if there is a file at `to`; [`Busy`](crate::Error::Busy); [`NoSpace`](crate::Error::NoSpace);
    /// [`TooLarge`](crate::Error::TooLarge) for what this process may write; [`Corrupt`](crate::Error::Corrupt) if too little is left. Then there is no file at `to`. Reads and writes everything but pages of zeros.
    ///
    /// ```
    /// use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (from, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    /// let arena = Arena::create(&from)?;
    /// let mut tx = arena.write()?;
    /// let seven = tx.alloc(&7u64)?;
    /// tx.create_root("seven", seven)?;
    /// tx.commit()?;
    /// drop(arena);
    ///
    /// Arena::salvage(&from, &to)?;
    /// let arena = Arena::open(&to)?;
    /// let tx = arena.read()?;
    /// assert_eq!(tx.named_root::<u64>("seven")?, Some(seven));
    /// assert_eq!(tx.get(seven)?, &7);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Salvage> {
        let options = Options { repairing: true, accept_unsynced: true, ..Options::new() };
        let source = open::attach_path(from.as_ref(), &options, Access::Private)?;
        let (media, mut losses) = (&source.inner.media, Vec::new());
        // As large as a damaged one may be, no arena has counted.
        let mut sequence = Some(media.runtime().sequence()).filter(|&commits| commits < 1 << 62).unwrap_or(0);
        if let Some(loss) = replay(&source)? {
            losses.push(loss);
            // Nothing vouches for it, and a new file may count from anywhere.
            sequence = 0;
        }
        let target = Target::create(&source, to.as_ref(), false)?;
        copy_heap(&source, &target)?;
        let (_, repaired) = target.complete(&source, sequence, |arena| repair::run(arena, false))?;
        losses.extend(repaired.losses);
        Ok(Salvage { losses, report: repaired.report })
    }
}

/// Applies what the log has, in memory; what of it is lost.
fn replay(source: &Arena) -> Result<Option<Finding>> {
    let media = &source.inner.media;
    let Some(log) = &source.inner.power else { return Ok(None) };
    let (offset, what) = match log.replay_inside(media, source.inner.apply()) {
        Ok(true) => return Ok(None),
        Ok(false) => (
            media.len(),
            "the log: what commits since the last checkpoint have behind the file's end is lost",
        ),
        // Its ring may have gone with the end of the file.
        Err(Error::Corrupt { .. } | Error::Truncated { .. }) => {
            (0, "the log: commits since the last checkpoint may be there in part, or not at all")
        }
        Err(e) => return Err(e),
    };
    Ok(Some(Finding { offset, what: what.to_owned() }))
}

/// Copies all pages of the heap that hold anything. What is damaged says not what is in use.
fn copy_heap(source: &Arena, target: &Target) -> Result<()> {
    let media = &source.inner.media;
    let end = media.len() / PAGE * PAGE;
    let mut page = [0; PAGE as usize];
    for at in (page_offset(source.inner.heap_page())..end).step_by(PAGE as usize) {
        // Looked at through the mapping, which is where the log has been replayed to, a hole in memory would take room.
        if media.is_hole_in_memory(at)? {
            continue;
        }
        media.copy_to(at, &mut page).ok_or(Error::Truncated { needed: at + PAGE, found: media.len() })?;
        if page.iter().any(|&byte| byte != 0) {
            target.write(at, &page)?;
            failpoint("salvage: a page copied");
        }
    }
    target.set_len(end)
}
