//! What the fuzz targets share: small arenas as bytes, ways to damage them, files in memory to open them from.
//!
//! Nothing touches a disk: images are built once in /dev/shm, and each run opens a copy of one in a memory file.

pub mod exercise;
pub mod image;

use heapfile::{Arena, Options, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of a page of the format.
pub const PAGE: usize = 4096;

thread_local! {
    /// Files that no run uses at the moment, and the place that their content is read to.
    static UNUSED: RefCell<(Vec<File>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// A file in memory.
///
/// One that an earlier run has left is taken again, and only what differs is written: a new one costs more than all that a run does with it.
#[derive(Debug)]
pub struct MemoryFile(Option<File>);

impl MemoryFile {
    /// A file with this content.
    pub fn new(content: &[u8]) -> Self {
        UNUSED.with_borrow_mut(|(files, old)| {
            let file = files.pop().unwrap_or_else(|| {
                memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory for a file").into()
            });
            file.set_len(content.len() as u64).expect("memory for a file");
            old.resize(content.len(), 0);
            file.read_exact_at(old, 0).expect("a file in memory can be read");
            let pages = content.chunks(PAGE).zip(old.chunks(PAGE)).enumerate();
            for (i, (page, _)) in pages.filter(|(_, (new, old))| new != old) {
                file.write_all_at(page, (i * PAGE) as u64).expect("memory for a file");
            }
            Self(Some(file))
        })
    }

    fn file(&self) -> &File {
        self.0.as_ref().expect("it is given back only at the end")
    }

    /// Opens the arena in it.
    pub fn open(&self) -> Result<Arena> {
        Options::new().max_size(64 << 20).open_descriptor(self.file())
    }

    /// What the file holds now, open handles or not: what their death would leave.
    pub fn content(&self) -> Vec<u8> {
        let len = self.file().metadata().expect("a descriptor of our own").len();
        let mut all = vec![0; len as usize];
        self.file().read_exact_at(&mut all, 0).expect("a file in memory can be read");
        all
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        UNUSED.with_borrow_mut(|(files, _)| files.extend(self.0.take()));
    }
}
