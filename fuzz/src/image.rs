//! Arenas as bytes, and edits of them.

use crate::PAGE;
use arbitrary::Arbitrary;
use heapfile::{Arena, Durability, Options, View};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;

/// Value of the root's block after each commit of [`Image::log`]: the number of the commit.
pub const COMMITS: u64 = 24;

/// The bytes of an arena, and where its parts are.
#[derive(Debug)]
pub struct Image {
    pub bytes: Vec<u8>,
    pub log_page: usize,
    pub log_pages: usize,
    pub heap_page: usize,
    pub intent_pages: usize,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Where the checkpoint slot of the larger generation is.
fn newest_slot(bytes: &[u8]) -> usize {
    if u64_at(bytes, PAGE + 8) > u64_at(bytes, 2 * PAGE + 8) { PAGE } else { 2 * PAGE }
}

impl Image {
    fn new(bytes: Vec<u8>) -> Self {
        let page = |at| u32_at(&bytes, at) as usize;
        let (heap_page, intent_pages) = (page(64), page(52));
        let slot = newest_slot(&bytes);
        // Where the log moved to, if it has.
        let (log_page, log_pages) = match (page(slot + 36), page(slot + 40)) {
            (0, 0) => (page(56), page(60)),
            moved => moved,
        };
        Self { bytes, log_page, log_pages, heap_page, intent_pages }
    }

    /// A `Power` arena that was closed.
    pub fn power() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| build(Durability::Power, true))
    }

    /// A `Power` arena whose last process died: its log has records.
    pub fn power_left() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| build(Durability::Power, false))
    }

    /// A `Process` arena that was closed.
    pub fn process() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| build(Durability::Process, true))
    }

    /// A `Process` arena whose last process died in the middle of a commit.
    pub fn process_left() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| build_killed(Durability::Process, 100))
    }

    /// A `Power` arena whose last process died in the middle of a commit that does not fit the log.
    pub fn power_spilled_left() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| build_killed(Durability::Power, 40_000))
    }

    /// A `Power` arena whose last process died after its log had moved.
    pub fn power_moved_left() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(build_moved)
    }

    /// An empty `Power` arena.
    pub fn power_empty() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| build_empty(Durability::Power))
    }

    /// An empty `Process` arena.
    pub fn process_empty() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| build_empty(Durability::Process))
    }

    /// A `Power` arena after a loss of power that spared the log and nothing else: the heap is that of the first commit, the
    /// log has [`COMMITS`] more.
    pub fn log() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(build_log)
    }

    /// Makes the checksums of superblock, slots and mark right again.
    pub fn seal(&mut self) {
        for (at, end) in [(0, 92), (PAGE, 60), (2 * PAGE, 60), (3 * PAGE, 60)] {
            if let Some(part) = self.bytes.get_mut(at..at + end + 4) {
                let crc = crc32fast::hash(&part[..end]);
                part[end..].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }

    /// Makes the chain of the log's records right again: each record's seed and checksum, as long as there is one.
    pub fn seal_log(&mut self) {
        let ring = self.log_page * PAGE;
        let len = self.log_pages * PAGE;
        if len == 0 || self.bytes.len() < ring + len {
            return;
        }
        let slot = newest_slot(&self.bytes);
        let (tail, mut sequence) = (u64_at(&self.bytes, slot + 16), u64_at(&self.bytes, slot + 24));
        let (mut seed, first) = (u32_at(&self.bytes, slot + 32), (tail % len as u64) as usize);
        let mut at = first;
        while at + 64 <= len {
            let start = ring + at;
            let header = &mut self.bytes[start..start + 64];
            if &header[..4] != b"HFRC" {
                return;
            }
            header[8..16].copy_from_slice(&sequence.to_le_bytes());
            header[16..24].copy_from_slice(&tail.wrapping_add((at - first) as u64).to_le_bytes());
            header[56..60].copy_from_slice(&seed.to_le_bytes());
            let spilled = u32_at(header, 4) == 3;
            let words = u64::from_le_bytes(header[24..32].try_into().expect("eight bytes"));
            let Some(bytes) = usize::try_from(words).ok().and_then(|n| n.checked_mul(8)) else { return };
            let body = if spilled { u32_at(header, 44) as usize * PAGE } else { start + 64 };
            let limit = if spilled { self.bytes.len() } else { ring + len };
            let Some(end) = body.checked_add(bytes).filter(|&end| end <= limit) else { return };
            let mut crc = crc32fast::Hasher::new_with_initial(seed);
            crc.update(&self.bytes[start..start + 60]);
            crc.update(&self.bytes[body..end]);
            seed = crc.finalize();
            self.bytes[start + 60..start + 64].copy_from_slice(&seed.to_le_bytes());
            at += if spilled { 64 } else { (64 + bytes).next_multiple_of(64) };
            sequence = sequence.wrapping_add(1);
        }
    }
}

impl Clone for Image {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), ..*self }
    }
}

/// A few blocks of every kind, roots, free space in between.
fn fill(arena: &Arena) -> heapfile::Result<()> {
    let mut tx = arena.write()?;
    let counter = tx.alloc(&0u64)?;
    tx.set_root(counter)?;
    let mut blocks = Vec::new();
    // Most of them small: the less there is, the more runs there are.
    let lens = (0..30usize).map(|i| i * i * 3).chain([4_096, 9_000, 16_384, 16_385, 20_000, 40_000]);
    for (i, len) in lens.enumerate() {
        blocks.push(tx.alloc_bytes(&vec![i as u8; len])?);
    }
    for block in blocks.iter().skip(1).step_by(3) {
        tx.free(*block)?;
    }
    let kept = tx.alloc_slice(&blocks.into_iter().step_by(3).collect::<Vec<_>>())?;
    tx.set_named_root("kept", kept)?;
    tx.commit()
}

fn scratch(durability: Durability) -> (tempfile::TempDir, Arena) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("/dev/shm can be written");
    let options = Options::new().durability(durability).log_size(64 << 10).max_size(64 << 20);
    let arena = options.create(dir.path().join("a.heap")).expect("an arena can be made");
    (dir, arena)
}

fn build_empty(durability: Durability) -> Image {
    let (dir, arena) = scratch(durability);
    drop(arena);
    Image::new(std::fs::read(dir.path().join("a.heap")).expect("the arena can be read"))
}

fn build(durability: Durability, close: bool) -> Image {
    let (dir, arena) = scratch(durability);
    fill(&arena).expect("blocks can be made");
    for i in 0..10u64 {
        arena.alloc(&i).expect("a block can be made");
    }
    let path = dir.path().join("a.heap");
    if close {
        drop(arena);
    }
    Image::new(std::fs::read(path).expect("the arena can be read"))
}

fn build_moved() -> Image {
    let (dir, arena) = scratch(Durability::Power);
    fill(&arena).expect("blocks can be made");
    heapfile::testing::move_log(&arena, 20).expect("there is room");
    for i in 0..10u64 {
        arena.alloc(&i).expect("a block can be made");
    }
    Image::new(std::fs::read(dir.path().join("a.heap")).expect("the arena can be read"))
}

/// Killed when half of a commit is applied that overwrites so many bytes of a block.
fn build_killed(durability: Durability, bytes: usize) -> Image {
    let (dir, arena) = scratch(durability);
    fill(&arena).expect("blocks can be made");
    let block = arena.alloc_bytes(&vec![1; bytes]).expect("a block can be made");
    let (path, left) = (dir.path().join("a.heap"), Rc::new(Cell::new(Vec::new())));
    let take = left.clone();
    heapfile::testing::at_failpoint("commit: half applied", move || {
        take.set(std::fs::read(path).expect("the arena can be read"));
    });
    let mut tx = arena.write().expect("nobody else writes");
    tx.bytes_mut(block).expect("it was just made").fill(2);
    tx.commit().expect("a commit can be made");
    Image::new(left.take())
}

fn build_log() -> Image {
    let (dir, arena) = scratch(Durability::Power);
    let path = dir.path().join("a.heap");
    let read = || std::fs::read(&path).expect("the arena can be read");
    fill(&arena).expect("blocks can be made");
    let before = read();
    for number in 1..=COMMITS {
        one_commit(&arena, number).expect("a commit can be made");
    }
    let mut image = Image::new(read());
    let heap = image.heap_page * PAGE;
    image.bytes[heap..before.len()].copy_from_slice(&before[heap..]);
    // The runtime words did not survive either.
    image.bytes[4 * PAGE..37 * PAGE].fill(0);
    image
}

/// Small changes, and now and then blocks that are filled in place over freed ones.
fn one_commit(arena: &Arena, number: u64) -> heapfile::Result<()> {
    let mut tx = arena.write()?;
    let counter = tx.root::<u64>()?.expect("made by `fill`");
    *tx.get_mut(counter)? = number;
    if number.is_multiple_of(4) {
        let block = tx.alloc_bytes(&vec![number as u8; 70_000])?;
        tx.set_named_root("large", block)?;
    } else if number % 4 == 2
        && let Some(block) = tx.named_root::<[u8]>("large")?
    {
        tx.free(block)?;
        tx.remove_root("large")?;
    } else {
        tx.alloc_bytes(&[number as u8; 100])?;
    }
    tx.commit()
}

/// One way to damage an image.
#[derive(Debug, Clone, Arbitrary)]
pub enum Edit {
    Byte { part: Part, at: u16, value: u8 },
    Bit { part: Part, at: u16, bit: u8 },
    Word { part: Part, at: u16, value: u64 },
    Half { part: Part, at: u16, value: u16 },
    Copy { from: Part, from_at: u16, to: Part, to_at: u16, words: u8 },
    Zero { part: Part, at: u16, words: u8 },
    Cut { pages: u8 },
    Lengthen { bytes: u16 },
}

/// Where.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Part {
    Superblock,
    Slots,
    Mark,
    Runtime,
    /// Of a `Process` arena, which has it in the place of the log.
    Intent,
    Log,
    /// The last pages: a spilled record.
    End,
    HeapHeader,
    PageMap,
    Nodes,
    Slabs(u8),
    Anywhere(u16),
}

impl Edit {
    /// Damages the image.
    pub fn apply(&self, image: &mut Image) {
        match *self {
            Self::Byte { part, at, value } => image.put(part, at, &[value]),
            Self::Bit { part, at, bit } => {
                let place = image.place(part, at, 1);
                if let Some(byte) = image.bytes.get_mut(place) {
                    *byte ^= 1 << (bit & 7);
                }
            }
            Self::Word { part, at, value } => image.put(part, at & !7, &value.to_le_bytes()),
            Self::Half { part, at, value } => image.put(part, at & !3, &u32::from(value).to_le_bytes()),
            Self::Copy { from, from_at, to, to_at, words } => {
                let bytes = usize::from(words) * 8;
                let from = image.place(from, from_at & !7, bytes);
                if let Some(piece) = image.bytes.get(from..from + bytes) {
                    let piece = piece.to_vec();
                    image.put(to, to_at & !7, &piece);
                }
            }
            Self::Zero { part, at, words } => image.put(part, at & !7, &vec![0; usize::from(words) * 8]),
            Self::Cut { pages } => {
                let keep = image.bytes.len().saturating_sub(usize::from(pages) * PAGE);
                image.bytes.truncate(keep);
            }
            Self::Lengthen { bytes } => image.bytes.resize(image.bytes.len() + usize::from(bytes), 0xEE),
        }
    }
}

impl Image {
    fn place(&self, part: Part, at: u16, bytes: usize) -> usize {
        let at = usize::from(at);
        let (page, within) = match part {
            Part::Superblock => (0, at % 128),
            Part::Slots => (1 + at / 64 % 2, at % 64),
            Part::Mark => (3, at % 64),
            Part::Runtime => (4, at % (3 * PAGE)),
            Part::Intent => (self.heap_page.saturating_sub(self.intent_pages), at % PAGE),
            Part::End => (self.bytes.len() / PAGE - (self.bytes.len() / PAGE).min(1 + at / PAGE), at % PAGE),
            Part::Log => (self.log_page, at % (self.log_pages * PAGE).max(1)),
            Part::HeapHeader => (self.heap_page, at % 832),
            Part::PageMap => (self.heap_page + 1, at % (80 * 8)),
            Part::Nodes => (self.heap_page + 2, at % (40 * 32)),
            Part::Slabs(n) => (self.heap_page + 3 + usize::from(n % 40), at % 1024),
            Part::Anywhere(page) => (usize::from(page), at % PAGE),
        };
        (page * PAGE + within).min(self.bytes.len().saturating_sub(bytes))
    }

    fn put(&mut self, part: Part, at: u16, new: &[u8]) {
        let place = self.place(part, at, new.len());
        if let Some(old) = self.bytes.get_mut(place..place + new.len()) {
            old.copy_from_slice(new);
        }
    }
}
