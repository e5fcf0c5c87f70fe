//! Figures of an arena that cost no walk.

use super::{Arena, Committed, Durability};
use crate::error::Result;
use crate::heap::Heap;
use crate::layout::{PAGE, page_offset};
use crate::lock::Lock;
use crate::lock::gate::Gate;
use crate::lock::slots::{self, Slot};
use crate::runtime::MarkState;

/// Sizes and counts of an arena. All sizes in bytes.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// let stats = arena.stats()?;
/// println!("{} of {} bytes are free", stats.free_bytes, stats.heap_bytes);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Format version of the file.
    pub version: u32,
    /// Identity of the arena, chosen at random when it was created.
    pub id: [u8; 16],
    /// What commits survive.
    pub durability: Durability,
    /// Length of the file.
    pub file_bytes: u64,
    /// Most that this handle lets it become.
    pub max_bytes: u64,
    /// Where the heap begins in the file.
    pub heap_offset: u64,
    /// Length of the heap.
    pub heap_bytes: u64,
    /// In free extents; free slots of slabs are not among them.
    pub free_bytes: u64,
    /// Free extents.
    pub extents: u64,
    /// The longest free extent.
    pub longest_extent_bytes: u64,
    /// Slabs by the size of their slots, where there are any.
    pub slabs: Vec<(u32, u32)>,
    /// Length of the log ring; 0 in a `Process` arena.
    pub log_bytes: u64,
    /// Of it, since the last checkpoint.
    pub log_used_bytes: u64,
    /// Number of the last commit.
    pub sequence: u64,
    /// Whether the disk has everything that was committed.
    pub synced: bool,
}

pub(super) fn collect(arena: &Arena) -> Result<Stats> {
    let _tx = arena.read()?;
    let inner = &arena.inner;
    let heap = Heap::new(inner.heap_page()).stats(&Committed(&inner.media))?;
    let runtime = inner.media.runtime();
    Ok(Stats {
        version: inner.superblock.version,
        id: inner.superblock.id,
        durability: arena.durability(),
        file_bytes: inner.media.file_len()?,
        max_bytes: inner.media.capacity(),
        heap_offset: page_offset(heap.first),
        heap_bytes: page_offset(heap.end - heap.first),
        free_bytes: u64::from(heap.free_pages) * PAGE,
        extents: heap.extents.into(),
        longest_extent_bytes: u64::from(heap.longest_extent) * PAGE,
        slabs: heap.classes.iter().filter(|c| c.slabs > 0).map(|c| (c.size, c.slabs)).collect(),
        log_bytes: inner.power.as_ref().map_or(0, |log| log.capacity(runtime)),
        log_used_bytes: inner.power.as_ref().map_or(0, |log| log.used(runtime)),
        sequence: runtime.sequence(),
        synced: inner.power.is_some() || runtime.mark() == MarkState::Clear,
    })
}

/// A live handle on the file.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// for handle in arena.handles()? {
///     println!("slot {}: process {}", handle.slot, handle.pid);
/// }
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handle {
    /// Its slot.
    pub slot: u32,
    /// Its process, as that sees itself: in another PID namespace the number may mean nothing here.
    pub pid: u32,
    /// Read transactions that it has open.
    pub readers: u64,
    /// Whether it holds the writer lock.
    pub holds_lock: bool,
    /// Whether it keeps readers out at the moment.
    pub shuts_gate: bool,
    /// Its threads that wait for the writer lock.
    pub waiting_writers: u64,
    /// Its threads that wait for the gate.
    pub waiting_readers: u64,
}

pub(super) fn handles(arena: &Arena) -> Result<Vec<Handle>> {
    let inner = &arena.inner;
    inner.usable()?;
    let Lock::Shared(gate) = &inner.lock else { return Ok(Vec::new()) };
    let media = &inner.media;
    let mut live = slots::others(media, gate.slot, media.runtime().slots_used())?;
    live.push(gate.slot);
    live.sort_unstable();
    let state = Gate::word(media);
    live.into_iter()
        .map(|slot| {
            let words = Slot::of(media, slot);
            let (waiting_writers, waiting_readers) = words.waiting();
            let holds_lock = state.owner == Some((slot, words.generation()));
            Ok(Handle {
                slot,
                pid: words.pid(),
                readers: words.readers(),
                holds_lock,
                shuts_gate: holds_lock && state.is_shut,
                waiting_writers,
                waiting_readers,
            })
        })
        .collect()
}
