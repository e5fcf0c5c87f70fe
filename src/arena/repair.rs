//! Repair: metadata built anew from what of it is sound, so that the heap contradicts itself nowhere and every block that can be told from
//! what is left is there with its bytes.
//!
//! What blocks there are is said by the page map and the slabs' states (`heap::survey` tells what vouches for what). All else is computed: the
//! free tree, counts, maxima, lists of slabs, the header, the directory of the roots. What the heap had there before is kept in a file beside the
//! arena; the changes are one transaction, so that a repair that is cut off was none. Before it the log moves to where the superblock has it, after it
//! damaged slots and marks are written anew: neither is saved, for nothing is lost with it.
//!
//! Limits: a damaged superblock, a log that does not say where it begins, and a page map that cannot be found are not repaired. Content
//! has no checksums: bytes of blocks are taken as they are.
#![forbid(unsafe_code)]

use super::{Arena, Committed, Finding, Options, Report, open};
use crate::error::{Error, Result};
use crate::heap::{Heap, Rebuilt, Space};
use crate::layout::{LogPlace, MARK_PAGE, PAGE, Page, SLOT_PAGES, page_offset};
use crate::log::slots;
use crate::roots;
use crate::runtime::{LogState, MarkState, boot_id};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Outcome of [`Arena::repair`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a.heap");
/// # heapfile::Arena::create(&path)?;
/// let repair = heapfile::Arena::repair(&path)?;
/// assert!(repair.losses.is_empty() && repair.changed_words == 0 && repair.report.is_clean());
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// What could not be told for certain, and what became of it.
    pub losses: Vec<Finding>,
    /// Words of the heap that were changed.
    pub changed_words: u64,
    /// Where the pages are that were changed, as they were; nothing if none was.
    pub backup: Option<PathBuf>,
    /// What a check finds now.
    pub report: Report,
}

impl Arena {
    /// Repairs the arena at `path`, with the default options. See [`Options::repair`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.heap");
    /// # heapfile::Arena::create(&path)?;
    /// heapfile::Arena::repair(&path)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn repair(path: impl AsRef<Path>) -> Result<Repair> {
        Options::new().repair(path)
    }
}

impl Options {
    /// Repairs an arena that nobody has open: builds its metadata anew from what of it is sound. Blocks stay where they are, with their bytes; pages
    /// that nothing vouches for are kept as blocks of their own. Also takes a `Process` arena that was not synced before the machine
    /// went down. Completes what the log has first.
    ///
    /// The pages of the heap that change, those of the roots among them, are saved first, beside the arena, as `NAME.repair-N`: for each its offset
    /// as eight bytes, then its 4096 bytes. What lies before the heap is not: a checkpoint slot, or a mark, whose checksum is wrong says nothing any more.
    ///
    /// Errors: [`Error::Busy`] if another handle is open; [`Error::Corrupt`] if too little is left, with nothing changed. Reads all
    /// metadata.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.heap");
    /// # heapfile::Arena::create(&path)?;
    /// let repair = heapfile::Options::new().repair(&path)?;
    /// for loss in &repair.losses {
    ///     println!("{loss}");
    /// }
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn repair(&self, path: impl AsRef<Path>) -> Result<Repair> {
        let mut options = Self { repairing: true, accept_unsynced: true, locking: None, ..self.clone() };
        // A log that moved into the heap would change pages that are not saved.
        options.log_limit = 0;
        options.check()?;
        run(&open::open(path.as_ref(), &options)?, true)
    }
}

/// Repairs an open arena; `keep`: saves the pages that change.
pub(super) fn run(arena: &Arena, keep: bool) -> Result<Repair> {
    let media = &arena.inner.media;
    let limit = (media.len() / PAGE).min(Page::MAX.into()) as Page;
    let heap = Heap::new(arena.inner.heap_page());
    let damaged_slots = damaged_slots(arena)?;
    let mut findings = 0u64;
    heap.check(&Committed(media), &[], &mut |_| findings += 1)?;
    let lay = if arena.inner.power.is_some() { media.runtime().log().place } else { LogPlace::FIRST };
    if let Some(log) = &arena.inner.power
        && (findings > 0 || arena.inner.see_log_run(lay).is_err())
    {
        // What is rebuilt must not be what the log lies in.
        let _locked = arena.inner.lock_exclusive(false)?;
        log.move_to(media, media.runtime(), LogPlace::FIRST)?;
    }
    // What is sound stays as it is, though it would be built in another shape.
    let Rebuilt { words, losses } =
        if findings == 0 { Rebuilt::default() } else { heap.rebuild(&Committed(media), limit, lay)? };
    let mut losses: Vec<Finding> =
        losses.into_iter().map(|loss| Finding { offset: loss.offset, what: loss.what }).collect();
    let Mended { changed_words, backup, lost } = mend(arena, &words, keep)?;
    losses.extend(lost);
    for index in damaged_slots {
        losses.push(mend_slot(arena, index)?);
    }
    if arena.inner.power.is_none() {
        if open::read_mark(media).is_err() {
            losses
                .push(Finding { offset: page_offset(MARK_PAGE), what: "the mark: written anew".to_owned() });
            media.runtime().set_mark(MarkState::Unknown);
        }
        media.runtime().set_boot(boot_id());
    }
    arena.checkpoint()?;
    Ok(Repair { losses, changed_words, backup, report: arena.check()? })
}

/// What became of the heap and its roots.
struct Mended {
    changed_words: u64,
    backup: Option<PathBuf>,
    lost: Vec<Finding>,
}

/// Stores the words that were built anew, and mends the roots, as one transaction, after the pages that it changes were saved if `keep` says so.
fn mend(arena: &Arena, words: &BTreeMap<u64, u64>, keep: bool) -> Result<Mended> {
    let media = &arena.inner.media;
    // What was free becomes nodes, and may be punched.
    pages_of(words.keys()).into_iter().try_for_each(|at| media.reserve(at, PAGE))?;
    let mut tx = arena.write()?;
    tx.with_heap(|heap, work| {
        heap.forget_hints();
        words.iter().try_for_each(|(&at, &word)| work.store(at, word))?;
        // Those that are left are of a log that was said to lie elsewhere.
        if arena.inner.power.is_some() {
            heap.free_log_runs(work, media.runtime().log().place)?;
        }
        Ok(())
    })?;
    let lost = roots::mend(&mut tx)?;
    let changed = tx.changed_words()?;
    let backup = if keep && !changed.is_empty() { Some(save(arena, &pages_of(&changed))?) } else { None };
    let committed = tx.commit();
    if let (Err(e), Some(saved)) = (&committed, &backup)
        && !matches!(e, Error::Poisoned { .. })
    {
        // Nothing has changed, and the next attempt saves them again.
        let _ = std::fs::remove_file(saved);
    }
    committed?;
    let lost = lost.into_iter().map(|(offset, what)| Finding { offset, what }).collect();
    Ok(Mended { changed_words: changed.len() as u64, backup, lost })
}

/// Where the pages are that these words lie in, which are in order.
fn pages_of<'a>(words: impl IntoIterator<Item = &'a u64>) -> Vec<u64> {
    let mut pages: Vec<u64> = words.into_iter().map(|at| at / PAGE * PAGE).collect();
    pages.dedup();
    pages
}

/// Saves pages as they are, durably.
fn save(arena: &Arena, pages: &[u64]) -> Result<PathBuf> {
    let media = &arena.inner.media;
    for number in 1.. {
        let mut name = media.path().as_os_str().to_owned();
        name.push(format!(".repair-{number}"));
        let path = PathBuf::from(name);
        let failed = |e: std::io::Error| match e.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Error::NoSpace { needed: pages.len() as u64 * (PAGE + 8) },
            _ => Error::io("save pages to", &path, e),
        };
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(failed(e)),
        };
        let write = || {
            let mut out = std::io::BufWriter::new(file);
            let mut page = vec![0; PAGE as usize];
            for &at in pages {
                let found = media.len();
                media.copy_to(at, &mut page).ok_or(Error::Truncated { needed: at + PAGE, found })?;
                out.write_all(&at.to_le_bytes()).and_then(|()| out.write_all(&page)).map_err(failed)?;
            }
            let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
            file.sync_all().map_err(failed)?;
            media.sync_directory()
        };
        if let Err(e) = write() {
            // What cannot be removed either says less than the error.
            let _ = std::fs::remove_file(&path);
            return Err(e);
        }
        return Ok(path);
    }
    unreachable!("there is always a next number")
}

/// Which of the checkpoint slots are damaged.
fn damaged_slots(arena: &Arena) -> Result<Vec<usize>> {
    let mut damaged = Vec::new();
    for index in 0..if arena.inner.power.is_some() { 2 } else { 0 } {
        if slots::read(&arena.inner.media, index)?.is_none() {
            damaged.push(index);
        }
    }
    Ok(damaged)
}

/// Writes a checkpoint slot anew that was damaged, unless that has been done.
fn mend_slot(arena: &Arena, index: usize) -> Result<Finding> {
    let media = &arena.inner.media;
    if let Some(log) = &arena.inner.power
        && slots::read(media, index)?.is_none()
    {
        let (newest, ..) = log.read(media)?;
        slots::write(media, &slots::slot(newest.generation + 1, slots::cursor(&newest), newest.log))?;
        let runtime = media.runtime();
        runtime.set_log(LogState { generation: newest.generation + 1, ..runtime.log() });
    }
    let what = "a checkpoint slot: written anew, nothing is lost".to_owned();
    Ok(Finding { offset: page_offset(SLOT_PAGES[index]), what })
}
