//! The files that are read, and ways to read them.

use heapfile::window::{Backend, WindowFile, WindowPool};
use memmap2::{Advice, Mmap, MmapOptions};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub(super) const NEEDLE: &[u8] = b"the very last words of this file";
pub(super) const SPARSE: u64 = 100 << 30;
pub(super) const LIMIT: u64 = 256 << 20;

/// The word at an offset: a file is its own check.
pub(super) fn word(at: u64) -> u64 {
    let mut z = (at / 8).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ z >> 27
}

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

pub(super) struct Files {
    pub(super) data: PathBuf,
    pub(super) sparse: PathBuf,
    pub(super) len: u64,
}

impl Files {
    pub(super) fn create(dir: &Path, len: u64) -> std::io::Result<Self> {
        let files = Self { data: dir.join("window-data"), sparse: dir.join("window-sparse"), len };
        let small = std::env::var_os("HEAPFILE_BENCH_SMALL_WRITES").is_some();
        let writes = if small { 4096 } else { 1 << 20 };
        let mut to = BufWriter::with_capacity(writes, File::create(&files.data)?);
        for at in (0..len - NEEDLE.len() as u64).step_by(8) {
            to.write_all(&word(at).to_ne_bytes())?;
        }
        to.write_all(NEEDLE)?;
        to.into_inner()?.sync_all()?;
        File::create(&files.sparse)?.set_len(SPARSE)?;
        Ok(files)
    }

    pub(super) fn file(&self) -> File {
        File::open(&self.data).expect("created")
    }

    pub(super) fn map(&self) -> Mmap {
        // SAFETY: the file is the bench's own, and not changed.
        unsafe { Mmap::map(&self.file()) }.expect("maps")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.data);
        let _ = std::fs::remove_file(&self.sparse);
    }
}

/// Threads that search; `None`: as a pool has them if nobody asks.
pub(super) type Threads = Option<usize>;

pub(super) fn open(path: &Path, backend: Backend, limit: u64) -> WindowFile {
    open_for(path, backend, limit, None)
}

pub(super) fn open_for(path: &Path, backend: Backend, limit: u64, threads: Threads) -> WindowFile {
    let builder = WindowPool::builder().memory_limit(limit).backend(backend);
    let builder = if let Some(threads) = threads { builder.search_threads(threads) } else { builder };
    let builder = if backend == Backend::Mmap {
        // SAFETY: the files are the bench's own, and not changed.
        unsafe { builder.trust_files() }
    } else {
        builder
    };
    builder.build().expect("sound settings").open(path).expect("opens")
}

/// Runs `on` with pieces of a file mapped, populated and unmapped one after the other.
pub(super) fn populated(files: &Files, keep: u64, mut on: impl FnMut(&[u8])) {
    let file = files.file();
    let mut at = 0;
    while at < files.len {
        let start = u64::saturating_sub(at, keep) / 4096 * 4096;
        let len = (files.len - start).min(4 << 20);
        // SAFETY: the file is the bench's own, and not changed.
        let map = unsafe { MmapOptions::new().offset(start).len(len as usize).map(&file) }.expect("maps");
        let _ = map.advise(Advice::PopulateRead);
        on(&map);
        at = start + len;
    }
}

/// Runs `on` with pieces of a file read into one buffer.
pub(super) fn read_pieces(files: &Files, keep: usize, mut on: impl FnMut(&[u8])) {
    let file = files.file();
    let mut buffer = vec![0; keep + 256 * 1024];
    let (mut at, mut kept) = (0, 0);
    loop {
        let n = file.read_at(&mut buffer[kept..], at).expect("reads");
        if n == 0 {
            break;
        }
        on(&buffer[..kept + n]);
        at += n as u64;
        buffer.copy_within(kept + n - keep.min(kept + n)..kept + n, 0);
        kept = keep.min(kept + n);
    }
}

pub(super) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("8 bytes")));
    words.fold(0, u64::wrapping_add)
}

pub(super) fn pread_word(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).expect("reads");
    u64::from_ne_bytes(word)
}

/// MiB of the file in the page cache, by the system call `cachestat`.
pub(super) fn cached(file: &File) -> f64 {
    let (range, mut stat) = ([0u64, 0], [0u64; 5]);
    // SAFETY: cachestat reads a range of two words and writes five words.
    let done = unsafe { libc::syscall(451, file.as_raw_fd(), range.as_ptr(), stat.as_mut_ptr(), 0) };
    if done == 0 { stat[0] as f64 * 4096.0 / 1048576.0 } else { f64::NAN }
}
