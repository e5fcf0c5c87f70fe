//! The file's regions and the fixed numbers of format version 1. `docs/FORMAT.md` draws them.
//!
//! ```text
//! page 0        superblock       written once, at creation
//! page 1, 2     checkpoint slots newest valid one counts
//! page 3        mark             `Process` arenas: has the heap changed since the last sync?
//! page 4 ..     runtime          words shared by the processes that have the file open, process slots
//! ..            intent area      `Process` arenas only: the record of the commit under way
//! ..            log ring         `Power` arenas only
//! ..            heap             first its header page, then everything that is allocated
//! ```
//!
//! Invariant: every struct here is plain old data with a fixed size, little-endian, checked by its CRC-32
//! before a field is used. The regions follow each other without a gap, so that a reader can check them.

use bytemuck::{Pod, Zeroable};
use std::mem::{offset_of, size_of};

/// Unit of the heap's extents and of the file's regions, in bytes. Independent of the machine's page size.
pub(crate) const PAGE: u64 = 4096;

/// Unit of the write set: changes are collected line by line.
pub(crate) const LINE: u64 = 64;

/// A page of the file, counted from its start. 32 bits bound a file at 16 TiB.
pub(crate) type Page = u32;

/// Most pages that a file can have.
pub(crate) const MAX_PAGES: u64 = u32::MAX as u64;

/// Byte offset of a page.
pub(crate) const fn page_offset(page: Page) -> u64 {
    page as u64 * PAGE
}

/// First bytes of every arena.
pub(crate) const MAGIC: [u8; 8] = *b"HEAPFILE";
/// Newest format version that this library reads, and the one it writes.
pub(crate) const VERSION: u32 = 1;
/// Reads as itself only where the byte order is the writer's.
pub(crate) const BYTE_ORDER: u32 = 0x0A0B_0C0D;
/// Where the two checkpoint slots are.
pub(crate) const SLOT_PAGES: [Page; 2] = [1, 2];
/// Where the mark of a `Process` arena is.
pub(crate) const MARK_PAGE: Page = 3;
/// Where the runtime words begin.
pub(crate) const RUNTIME_PAGE: Page = 4;
/// Process slots in format version 1.
pub(crate) const PROCESS_SLOTS: u32 = 256;
/// Bytes of one process slot.
pub(crate) const PROCESS_SLOT_BYTES: u64 = 512;
/// Runtime words (one page), then the process slots.
pub(crate) const RUNTIME_PAGES: u32 = 1 + (PROCESS_SLOTS as u64 * PROCESS_SLOT_BYTES / PAGE) as u32;
/// Intent area of a `Process` arena; a larger record goes to a spill extent.
pub(crate) const INTENT_PAGES: u32 = 64;
/// Pages that the heap has at creation.
pub(crate) const FIRST_HEAP_PAGES: u32 = 64;
/// The file grows by at least this, and by at least 1/8 of its length.
pub(crate) const GROW_PAGES: u32 = 64;

/// Values of [`Superblock::durability`].
pub(crate) const DURABILITY_POWER: u32 = 1;
pub(crate) const DURABILITY_PROCESS: u32 = 2;

/// Page 0: what the file is and where its regions are. Never changed after creation.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Superblock {
    pub(crate) magic: [u8; 8],
    pub(crate) byte_order: u32,
    pub(crate) version: u32,
    pub(crate) id: [u8; 16],
    pub(crate) durability: u32,
    /// Records in the ring begin at multiples of this many bytes.
    pub(crate) log_align: u32,
    pub(crate) runtime_page: Page,
    pub(crate) runtime_pages: u32,
    pub(crate) intent_page: Page,
    pub(crate) intent_pages: u32,
    pub(crate) log_page: Page,
    pub(crate) log_pages: u32,
    pub(crate) heap_page: Page,
    pub(crate) process_slots: u32,
    pub(crate) reserved: [u32; 5],
    /// CRC-32 of all bytes before it.
    pub(crate) crc: u32,
}

/// Pages 1 and 2: from where the log has to be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct CheckpointSlot {
    pub(crate) magic: [u8; 8],
    /// Counts checkpoints; the larger of two valid slots counts.
    pub(crate) generation: u64,
    /// Log position of the first record that may have to be replayed.
    pub(crate) tail: u64,
    /// Sequence number of that record.
    pub(crate) sequence: u64,
    /// CRC seed of that record.
    pub(crate) seed: u32,
    /// Where the log ring lies.
    pub(crate) log: LogPlace,
    pub(crate) reserved: [u32; 4],
    /// CRC-32 of all bytes before it.
    pub(crate) crc: u32,
}

/// Where the log ring lies: in a run of the heap, or, while both are 0, where the superblock has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct LogPlace {
    pub(crate) page: Page,
    pub(crate) pages: u32,
}

impl LogPlace {
    /// Where the superblock has it.
    pub(crate) const FIRST: Self = Self { page: 0, pages: 0 };

    /// Both in one word: the page in the low half.
    pub(crate) const fn word(self) -> u64 {
        self.page as u64 | (self.pages as u64) << 32
    }

    pub(crate) const fn of_word(word: u64) -> Self {
        Self { page: word as Page, pages: (word >> 32) as u32 }
    }
}

/// Page 3 of a `Process` arena: whether the heap on the disk is one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Mark {
    pub(crate) magic: [u8; 8],
    /// 0: synced, nothing changed since. 1: changed since the last sync.
    pub(crate) changed: u32,
    pub(crate) reserved: u32,
    /// Boot of the machine that set the mark.
    pub(crate) boot: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) reserved2: [u32; 5],
    /// CRC-32 of all bytes before it.
    pub(crate) crc: u32,
}

impl Mark {
    /// One that is yet to be sealed.
    pub(crate) fn new(changed: bool, boot: [u8; 16], sequence: u64) -> Self {
        Self { magic: MARK_MAGIC, changed: u32::from(changed), boot, sequence, ..Self::zeroed() }
    }
}

pub(crate) const SLOT_MAGIC: [u8; 8] = *b"HFCHKPNT";
pub(crate) const MARK_MAGIC: [u8; 8] = *b"HFMARK\0\0";

const _: () = {
    assert!(size_of::<Superblock>() == 96 && offset_of!(Superblock, crc) == 92);
    assert!(size_of::<CheckpointSlot>() == 64 && offset_of!(CheckpointSlot, crc) == 60);
    assert!(offset_of!(CheckpointSlot, log) == 36);
    assert!(size_of::<Mark>() == 64 && offset_of!(Mark, crc) == 60);
    assert!(offset_of!(Superblock, id) == 16 && offset_of!(Superblock, runtime_page) == 40);
};

/// A struct whose last four bytes are the CRC-32 of all before them.
pub(crate) trait Sealed: Pod {
    /// The CRC that the content should carry.
    fn computed_crc(&self) -> u32 {
        let bytes = bytemuck::bytes_of(self);
        crc32fast::hash(&bytes[..bytes.len() - 4])
    }

    /// Whether the stored CRC is the content's.
    fn is_sound(&self) -> bool {
        let bytes = bytemuck::bytes_of(self);
        bytes[bytes.len() - 4..] == self.computed_crc().to_le_bytes()
    }

    /// The same content with its CRC filled in.
    fn sealed(mut self) -> Self {
        let crc = self.computed_crc().to_le_bytes();
        let bytes = bytemuck::bytes_of_mut(&mut self);
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&crc);
        self
    }
}

impl Sealed for Superblock {}
impl Sealed for CheckpointSlot {}
impl Sealed for Mark {}

impl Superblock {
    /// The superblock of a new arena.
    pub(crate) fn new(id: [u8; 16], durability: u32, log_pages: u32, log_align: u32) -> Self {
        let intent_pages = if durability == DURABILITY_PROCESS { INTENT_PAGES } else { 0 };
        let intent_page = RUNTIME_PAGE + RUNTIME_PAGES;
        let log_page = intent_page + intent_pages;
        Self {
            magic: MAGIC,
            byte_order: BYTE_ORDER,
            version: VERSION,
            id,
            durability,
            log_align,
            runtime_page: RUNTIME_PAGE,
            runtime_pages: RUNTIME_PAGES,
            intent_page,
            intent_pages,
            log_page,
            log_pages,
            heap_page: log_page + log_pages,
            process_slots: PROCESS_SLOTS,
            reserved: [0; 5],
            crc: 0,
        }
        .sealed()
    }

    /// Whether the fields describe regions that follow each other as version 1 lays them out.
    pub(crate) fn is_consistent(&self) -> bool {
        let regions = [
            (self.runtime_page, RUNTIME_PAGE as u64),
            (self.intent_page, self.runtime_page as u64 + self.runtime_pages as u64),
            (self.log_page, self.intent_page as u64 + self.intent_pages as u64),
            (self.heap_page, self.log_page as u64 + self.log_pages as u64),
        ];
        let power = self.durability == DURABILITY_POWER && self.log_pages >= 16 && self.intent_pages == 0;
        let process = self.durability == DURABILITY_PROCESS && self.log_pages == 0 && self.intent_pages >= 1;
        regions.iter().all(|&(page, expected)| page as u64 == expected)
            && (power || process)
            && self.process_slots == PROCESS_SLOTS
            && self.runtime_pages == RUNTIME_PAGES
            && self.log_align.is_power_of_two()
            && (LINE as u32..=PAGE as u32).contains(&self.log_align)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_breaks_the_seal() {
        let sound = Superblock::new([7; 16], DURABILITY_POWER, 1024, 64);
        assert!(sound.is_sound() && sound.is_consistent());
        for bit in 0..size_of::<Superblock>() * 8 {
            let mut bytes = bytemuck::bytes_of(&sound).to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!bytemuck::pod_read_unaligned::<Superblock>(&bytes).is_sound(), "bit {bit}");
        }
    }
}
