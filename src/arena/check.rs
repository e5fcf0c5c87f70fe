//! The check of a whole arena.

use super::{Arena, Committed, open};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::layout::{Sealed, Superblock, page_offset};
use crate::log::record::{KIND_VOID, Parsed};
use crate::log::{record::Bounds, slots};
use crate::media::settled;
use crate::roots;
use crate::txn::ReadTxn;
use crate::txn::View;
use std::fmt;

/// Something that contradicts something else.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// for finding in arena.check()?.findings {
///     println!("{finding}");
/// }
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}: {}", self.offset, self.what)
    }
}

/// What a check counted. All sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Live blocks.
    pub blocks: u64,
    /// Their lengths together, as they were asked for.
    pub block_bytes: u64,
    /// Lost to rounding up to size classes and pages.
    pub slack_bytes: u64,
    /// Slabs.
    pub slabs: u64,
    /// In free slots of slabs.
    pub free_slot_bytes: u64,
    /// Free extents.
    pub extents: u64,
    /// In free extents.
    pub free_bytes: u64,
    /// From the heap's first to its last byte.
    pub heap_bytes: u64,
    /// Roots, named and unnamed.
    pub roots: u64,
    /// Records in the log since the last checkpoint.
    pub log_records: u64,
}

/// Outcome of [`Arena::check`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// let report = arena.check()?;
/// assert!(report.is_clean());
/// assert_eq!(report.counts.blocks, 0);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// All that is wrong; of a badly damaged arena the first 10,000.
    pub findings: Vec<Finding>,
    /// What there is.
    pub counts: Counts,
}

/// A damaged arena may have a finding in each page; a reader needs no more than these.
const MOST_FINDINGS: usize = 10_000;

impl Report {
    /// Whether nothing was found.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// assert!(arena.check()?.is_clean());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, offset: u64, what: impl Into<String>) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding { offset, what: what.into() });
        }
    }

    /// Turns damage into a finding; other errors stay errors.
    fn told(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(Error::Corrupt { offset, what }) => self.find(offset, what),
            Err(Error::BadOffset { offset, fault }) => {
                self.find(offset, format!("a stored offset is bad: {fault}"));
            }
            Err(e) => return Err(e),
            Ok(()) => {}
        }
        Ok(())
    }
}

pub(super) fn run(arena: &Arena) -> Result<Report> {
    let tx = arena.read()?;
    let mut report = Report::default();
    let outcome = superblock(arena, &mut report);
    report.told(outcome)?;
    let outcome = log(arena, &mut report);
    report.told(outcome)?;
    heap(arena, &mut report)?;
    let outcome = root_records(&tx, &mut report);
    report.told(outcome)?;
    Ok(report)
}

fn superblock(arena: &Arena, report: &mut Report) -> Result<()> {
    let mut bytes = [0u8; size_of::<Superblock>()];
    let media = &arena.inner.media;
    let read = media.copy_to(0, &mut bytes);
    let now: Superblock = bytemuck::cast(bytes);
    if read.is_none() || !now.is_sound() || bytes != bytemuck::bytes_of(&arena.inner.superblock) {
        report.find(0, "the superblock changed since the arena was opened");
    }
    if !media.is_in_place() {
        report.find(0, "the path names another file by now, or none");
    }
    Ok(())
}

/// Slots and ring of a `Power` arena, the mark of a `Process` arena.
fn log(arena: &Arena, report: &mut Report) -> Result<()> {
    let media = &arena.inner.media;
    let Some(log) = &arena.inner.power else { return open::read_mark_beside(media).map(drop) };
    for index in 0..2 {
        // Which a checkpoint may be writing.
        let slot = settled(|| slots::read(media, index), |slot| !matches!(slot, Ok(None)));
        if slot?.is_none() {
            report.find(page_offset(crate::layout::SLOT_PAGES[index]), "a checkpoint slot is damaged");
        }
    }
    let (slot, records, _) = log.read(media)?;
    report.told(arena.inner.see_log_run(slot.log))?;
    report.counts.log_records = records.len() as u64;
    for record in records.iter().filter(|r| r.header.kind != KIND_VOID) {
        let header = &record.header;
        let bounds = Bounds { first: arena.inner.superblock.heap_page, end: header.end_page };
        Parsed::new(&record.body, (header.ranges, header.writes), bounds, header.position)?;
    }
    Ok(())
}

fn heap(arena: &Arena, report: &mut Report) -> Result<()> {
    let heap = Heap::new(arena.inner.heap_page());
    let mut findings = Vec::new();
    let counted = heap.check(&Committed(&arena.inner.media), &[], &mut |finding| {
        if findings.len() < MOST_FINDINGS {
            findings.push(Finding { offset: finding.offset, what: finding.what });
        }
    })?;
    report.findings.append(&mut findings);
    report.counts = Counts {
        blocks: counted.blocks,
        block_bytes: counted.block_bytes,
        slack_bytes: counted.slack_bytes,
        slabs: counted.slabs,
        free_slot_bytes: counted.free_slot_bytes,
        extents: counted.extents,
        free_bytes: counted.free_pages * crate::layout::PAGE,
        heap_bytes: arena.inner.heap_end()? - page_offset(arena.inner.heap_page()),
        ..report.counts
    };
    Ok(())
}

/// Every root's record is whole and leads to a live block that its type fits; names ascend.
fn root_records(tx: &ReadTxn<'_>, report: &mut Report) -> Result<()> {
    let all = roots::list(tx)?;
    report.counts.roots = all.len() as u64;
    if let Some(pair) = all.windows(2).find(|pair| pair[0].name >= pair[1].name) {
        report.find(pair[1].offset.raw(), format!("root {:?} is out of order", pair[1].name));
    }
    for root in &all {
        let outcome = tx.len_of(root.offset).map(drop);
        if outcome.is_err() {
            report.find(root.offset.raw(), format!("root {:?} leads to no block", root.name));
        }
    }
    Ok(())
}
