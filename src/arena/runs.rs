//! What every byte of the file is used for: an iterator over runs of bytes, from the superblock to the file's end.
//!
//! It looks at the heap in pieces, each in a read transaction of its own, and goes on behind the last run seen: writers wait for a
//! piece at most. What changes between two pieces shows as it was before, as it is after, or, where a run came to lie across the
//! seam, as [`RunKind::Unknown`]; runs never overlap, and none is shown twice.
#![forbid(unsafe_code)]

use super::{Arena, Committed};
use crate::error::Result;
use crate::heap::{Heap, Stretch, Use};
use crate::layout::{MARK_PAGE, PAGE, Page, RUNTIME_PAGE, SLOT_PAGES, page_offset};

/// Runs of the heap that one read transaction looks at.
const PIECE: usize = 4096;

/// A range of the file that is used as one.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// let first = arena.runs().next().expect("no arena is empty")?;
/// assert_eq!((first.offset, first.kind), (0, heapfile::RunKind::Superblock));
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Where it starts, in bytes from the start of the file.
    pub offset: u64,
    /// Its length.
    pub len_bytes: u64,
    /// What it is used for.
    pub kind: RunKind,
}

/// What a [`Run`] is used for.
///
/// ```
/// use heapfile::RunKind;
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// arena.alloc(&7u64)?;
/// let slabs = arena.runs().filter(|run| matches!(run, Ok(run) if matches!(run.kind, RunKind::Slab { .. })));
/// assert_eq!(slabs.count(), 1);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunKind {
    /// What the file is and where its regions are.
    Superblock,
    /// The checkpoint slots, or in a `Process` arena the pages in their place.
    CheckpointSlots,
    /// The mark of a `Process` arena, or the page in its place.
    Mark,
    /// Words that the processes share.
    Runtime,
    /// Where a `Process` arena keeps the commit under way.
    IntentArea,
    /// The log of a `Power` arena, or where it was before it needed more room.
    LogRing,
    /// The heap's header.
    HeapHeader,
    /// The page map: what each page of the heap is.
    PageMap,
    /// Nodes of the tree of free extents.
    FreeTree,
    /// One block with pages of its own.
    Block {
        /// Its length as it was asked for; what the last page has beyond it is slack.
        len: u64,
    },
    /// A slab of small blocks.
    Slab {
        /// Length of a slot.
        slot_bytes: u32,
        /// Slots in all.
        slots: u32,
        /// Slots that hold a block.
        used: u32,
    },
    /// A free extent.
    Free {
        /// Whether its room on the disk, or a part of it, may have been given back.
        punched: bool,
    },
    /// Behind the heap's end: growth not yet used.
    Tail,
    /// The rest of a run that was made while the walk went on, or damage: `check` tells.
    Unknown,
}

/// Iterator of [`Arena::runs`]. It ends after an error.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// for run in arena.runs() {
///     let run = run?;
///     println!("{:#x} {} {:?}", run.offset, run.len_bytes, run.kind);
/// }
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct Runs<'a> {
    arena: &'a Arena,
    ready: std::vec::IntoIter<Run>,
    /// Where the walk goes on; nothing at its end.
    next: Option<Page>,
}

impl<'a> Runs<'a> {
    pub(super) fn new(arena: &'a Arena) -> Self {
        Self { arena, ready: before_the_heap(arena).into_iter(), next: Some(0) }
    }

    /// The next piece of the heap; at its end what lies behind.
    fn piece(&mut self, from: Page) -> Result<Vec<Run>> {
        let stretches = piece(self.arena, from, PIECE)?;
        if let Some(last) = stretches.last() {
            self.next = Some(last.end());
            return Ok(stretches.into_iter().map(Run::from).collect());
        }
        let inner = &self.arena.inner;
        let end = page_offset(from.max(inner.heap_page()));
        let len_bytes = inner.media.file_len()?.saturating_sub(end);
        Ok((len_bytes > 0)
            .then_some(Run { offset: end, len_bytes, kind: RunKind::Tail })
            .into_iter()
            .collect())
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(run) = self.ready.next() {
            return Some(Ok(run));
        }
        let from = self.next.take()?;
        match self.piece(from) {
            Ok(runs) => self.ready = runs.into_iter(),
            Err(e) => return Some(Err(e)),
        }
        self.ready.next().map(Ok)
    }
}

/// Up to `most` stretches of the heap from page `from` on, as one state has them.
pub(super) fn piece(arena: &Arena, from: Page, most: usize) -> Result<Vec<Stretch>> {
    let _tx = arena.read()?;
    let (heap, committed) = (Heap::new(arena.inner.heap_page()), Committed(&arena.inner.media));
    let mut found = Vec::new();
    let mut at = from;
    while found.len() < most
        && let Some(stretch) = heap.next_stretch(&committed, at)?
    {
        at = stretch.end();
        found.push(stretch);
    }
    Ok(found)
}

/// The regions before the heap, which never change.
fn before_the_heap(arena: &Arena) -> Vec<Run> {
    let superblock = &arena.inner.superblock;
    let regions = [
        (0, 1, RunKind::Superblock),
        (SLOT_PAGES[0], 2, RunKind::CheckpointSlots),
        (MARK_PAGE, 1, RunKind::Mark),
        (RUNTIME_PAGE, superblock.runtime_pages, RunKind::Runtime),
        (superblock.intent_page, superblock.intent_pages, RunKind::IntentArea),
        (superblock.log_page, superblock.log_pages, RunKind::LogRing),
    ];
    let run = |(page, pages, kind)| Run { offset: page_offset(page), len_bytes: page_offset(pages), kind };
    regions.into_iter().filter(|&(_, pages, _)| pages > 0).map(run).collect()
}

impl From<Stretch> for Run {
    fn from(stretch: Stretch) -> Self {
        let kind = match stretch.used {
            Use::Free { punched } => RunKind::Free { punched },
            Use::Block { len, .. } => RunKind::Block { len: len.min(u64::from(stretch.pages) * PAGE) },
            Use::Slab { size, slots, used } => RunKind::Slab { slot_bytes: size, slots, used },
            Use::Nodes => RunKind::FreeTree,
            Use::Map => RunKind::PageMap,
            Use::Header => RunKind::HeapHeader,
            Use::Log => RunKind::LogRing,
            Use::Unknown => RunKind::Unknown,
        };
        Self { offset: page_offset(stretch.page), len_bytes: page_offset(stretch.pages), kind }
    }
}
