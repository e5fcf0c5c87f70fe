//! The file's regions and the fixed numbers of format version 1. `docs/FORMAT.md` draws them.
//!
//! ```text
//! page 0        superblock       written once, at creation
//! page 1, 2     checkpoint slots newest valid one counts
//! page 3        mark             `Process` arenas: has the heap changed since the last sync?
//! page 4 ..     runtime          words shared by the processes that have the file open
//! ..            log ring         `Power` arenas only
//! ..            heap             first its header page, then everything that is allocated
//! ```

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
