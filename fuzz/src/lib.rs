//! What the fuzz targets share: small arenas as bytes, ways to damage them, files in memory to open them from.
//!
//! Nothing touches a disk: images are built once in /dev/shm, and each run opens a copy of one in a memory file.

pub mod exercise;
pub mod image;

use heapfile::{Arena, Options, Result};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// Bytes of a page of the format.
pub const PAGE: usize = 4096;

/// A file in memory.
#[derive(Debug)]
pub struct MemoryFile(File);

impl MemoryFile {
    /// A file with this content.
    pub fn new(content: &[u8]) -> Self {
        let file =
            File::from(rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory for a file"));
        file.set_len(content.len() as u64).expect("memory for a file");
        // Pages of zeros stay holes: most of a young arena is zeros.
        for (i, page) in content.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().any(|&b| b != 0)) {
            file.write_all_at(page, (i * PAGE) as u64).expect("memory for a file");
        }
        Self(file)
    }

    /// Opens the arena in it.
    pub fn open(&self) -> Result<Arena> {
        Options::new().max_size(64 << 20).open_descriptor(&self.0)
    }

    /// What the file holds now, open handles or not: what their death would leave.
    pub fn content(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut again = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.0)))
            .expect("a descriptor of our own");
        again.read_to_end(&mut all).expect("a file in memory can be read");
        all
    }
}
