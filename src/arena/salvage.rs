//! Salvage: the blocks and roots of a damaged arena, brought into a new one. The damaged file is only read.
//!
//! Blocks get new offsets, and offsets inside of blocks are not known as such: the caller gets the list of what went where. What a repair
//! in place can mend is better repaired (offsets stay); this is for files that must not be written, and for those whose log cannot be read.
//!
//! Limits: needs a sound superblock and the page map, as a repair does.
#![forbid(unsafe_code)]

use super::{Access, Arena, Committed, Durability, Finding, Options, open};
use crate::error::Result;
use crate::heap::{Block, Heap};
use crate::layout::{PAGE, Page, page_offset};
use crate::offset::Offset;
use crate::roots;
use crate::txn::RootInfo;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of blocks that one transaction brings over.
const AT_ONCE: u64 = 4 << 20;

/// Outcome of [`Arena::salvage`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let (from, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
/// # heapfile::Arena::create(&from)?;
/// let salvage = heapfile::Arena::salvage(&from, &to)?;
/// assert!(salvage.blocks.is_empty() && salvage.losses.is_empty());
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// Where each block was and is, in the order of the old offsets.
    pub blocks: Vec<Moved>,
    /// Roots that lead to a block again.
    pub roots: u64,
    /// What could not be told for certain, and what became of it.
    pub losses: Vec<Finding>,
}

/// A block that was brought over.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let (from, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
/// # heapfile::Arena::create(&from)?.alloc(&7u64)?;
/// for heapfile::Moved { from, to, len_bytes, .. } in heapfile::Arena::salvage(&from, &to)?.blocks {
///     println!("{from} is {to}, {len_bytes} bytes");
/// }
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// Its offset in the damaged arena.
    pub from: Offset<[u8]>,
    /// Its offset in the new one.
    pub to: Offset<[u8]>,
    /// Its length.
    pub len_bytes: u64,
}

impl Arena {
    /// Brings all blocks and roots that can be told from what is left of the arena at `from`, which nobody may have open for writing, into a new
    /// arena at `to`, of the same durability. `from` is only read; what its log has is taken into account if it can be read.
    ///
    /// Blocks get new offsets; [`Salvage::blocks`] says which. Offsets stored inside of blocks are as they were: it is for the program to
    /// change them.
    ///
    /// Errors: [`AlreadyExists`](crate::Error::AlreadyExists) if there is a file at `to`; [`Busy`](crate::Error::Busy); [`Corrupt`](crate::Error::Corrupt) if too little is left. Then there
    /// is no file at `to`. Reads everything; keeps 24 bytes for each block.
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
    /// let seven = tx.named_root::<u64>("seven")?.expect("brought over");
    /// assert_eq!(tx.get(seven)?, &7);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Salvage> {
        let options = Options { repairing: true, accept_unsynced: true, ..Options::new() };
        let source = open::attach_path(from.as_ref(), &options, Access::Private)?;
        let durability = if source.inner.power.is_some() { Durability::Power } else { Durability::Process };
        let mut options = Options::new().durability(durability);
        if source.inner.power.is_some() {
            let superblock = &source.inner.superblock;
            options = options.log_size(page_offset(superblock.log_pages)).log_align(superblock.log_align);
        }
        // Looked at before anything is made.
        let found = Found::of(&source)?;
        let target = options.create(to.as_ref())?;
        bring(&source, &target, found).inspect_err(|_| {
            // It was made above, and is not whole.
            let _ = std::fs::remove_file(to.as_ref());
        })
    }
}

/// What there is to be brought over.
struct Found {
    blocks: BTreeMap<u64, Block>,
    roots: Vec<RootInfo>,
    losses: Vec<Finding>,
}

impl Found {
    fn of(source: &Arena) -> Result<Self> {
        let media = &source.inner.media;
        let limit = (media.len() / PAGE).min(Page::MAX.into()) as Page;
        let heap = Heap::new(source.inner.heap_page());
        let (blocks, losses) = heap.found_blocks(&Committed(media), limit)?;
        let mut found = Self {
            blocks: blocks.into_iter().map(|block| (block.offset, block)).collect(),
            roots: Vec::new(),
            losses: losses.into_iter().map(|loss| Finding { offset: loss.offset, what: loss.what }).collect(),
        };
        if source.inner.power.as_ref().is_some_and(|log| log.read(media).is_err()) {
            found.lose(0, "the log: commits since the last checkpoint may be there in part, or not at all");
        }
        let directory = media.load(heap.roots_at()).unwrap_or(0);
        if directory != 0 {
            found.read_roots(source, directory);
        }
        Ok(found)
    }

    fn lose(&mut self, offset: u64, what: impl Into<String>) {
        self.losses.push(Finding { offset, what: what.into() });
    }

    /// The content of a block.
    fn content(&self, source: &Arena, offset: u64) -> Option<Vec<u8>> {
        let block = self.blocks.get(&offset)?;
        let mut content = vec![0; usize::try_from(block.len).ok()?];
        source.inner.media.copy_to(offset, &mut content)?;
        Some(content)
    }

    /// Takes the roots, and the blocks that hold them, out of the blocks.
    fn read_roots(&mut self, source: &Arena, directory: u64) {
        let Some(all) = self.content(source, directory).filter(|all| all.len().is_multiple_of(8)) else {
            return self
                .lose(directory, "the directory of the roots: all roots are gone, their blocks are there");
        };
        self.blocks.remove(&directory);
        for at in all.chunks_exact(8).map(bytemuck::pod_read_unaligned::<u64>) {
            let record = self.content(source, at);
            match record.as_deref().and_then(|bytes| roots::parse(bytes, at).ok()) {
                Some(root) => {
                    self.blocks.remove(&at);
                    self.roots.push(root);
                }
                None => self.lose(at, "a root: no root record is there"),
            }
        }
    }
}

fn bring(source: &Arena, target: &Arena, found: Found) -> Result<Salvage> {
    let Found { blocks, roots, mut losses } = found;
    let mut moved: BTreeMap<u64, Offset<[u8]>> = BTreeMap::new();
    let mut rest = blocks.values().peekable();
    while rest.peek().is_some() {
        let mut tx = target.write()?;
        let mut bytes = 0;
        while bytes < AT_ONCE
            && let Some(block) = rest.next()
        {
            bytes += block.len + PAGE;
            let copy = |_, to: &mut [u8]| {
                // The block lies inside of the file: the survey saw to that.
                let _ = source.inner.media.copy_to(block.offset, to);
            };
            moved.insert(block.offset, tx.alloc_with(block.len, align_of_place(block), copy)?);
        }
        tx.commit()?;
    }
    let mut tx = target.write()?;
    let mut kept = 0;
    for root in roots {
        let Some(&offset) = moved.get(&root.offset.raw()) else {
            let what = format!("root {:?}: it led to no block", root.name);
            losses.push(Finding { offset: root.offset.raw(), what });
            continue;
        };
        roots::restore(&mut tx, &RootInfo { offset, ..root })?;
        kept += 1;
    }
    tx.commit()?;
    target.checkpoint()?;
    let blocks = blocks
        .values()
        .filter_map(|block| {
            let (from, to) = (Offset::from_raw(block.offset), *moved.get(&block.offset)?);
            Some(Moved { from, to, len_bytes: block.len })
        })
        .collect();
    Ok(Salvage { blocks, roots: kept, losses })
}

/// The alignment that all places of a block's kind have: what it was asked for is at most that.
fn align_of_place(block: &Block) -> usize {
    if block.offset.is_multiple_of(PAGE) && block.capacity.is_multiple_of(PAGE) && block.len > 16 << 10 {
        return 1;
    }
    if block.offset.is_multiple_of(PAGE) && block.capacity.is_multiple_of(PAGE) {
        return PAGE as usize;
    }
    1 << block.capacity.trailing_zeros().min(8)
}
