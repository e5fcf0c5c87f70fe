//! What memory-mapped files are used for, done with windows (reading) and with memmap2 (writing), each
//! timed against ordinary file I/O.
//!
//! ```text
//! cargo run --release --example mapped_file
//! ```

use heapfile::window::WindowPool;
use memmap2::{MmapMut, MmapOptions};
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const LEN: usize = 64 << 20;

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
    let start = Instant::now();
    let done = work()?;
    show(what, start.elapsed());
    Ok(done)
}

fn show(what: &str, time: Duration) {
    println!("    {what:44} {:10.1} us", time.as_secs_f64() * 1e6);
}

fn writable(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Maps a file of this example for writing.
fn map(file: &File) -> std::io::Result<MmapMut> {
    // SAFETY: the file lies in a directory of this process's own; nobody else opens it, and nothing in this
    // program cuts it or writes to it by other means while the map lives.
    unsafe { MmapMut::map_mut(file) }
}

fn read_whole_and_find(path: &Path) -> Result<(), Box<dyn Error>> {
    println!("read a whole file of {} MiB, and find a text at its end", LEN >> 20);
    let file = WindowPool::new().open(path)?;
    let at = timed("std::fs::read, then find", || {
        let bytes = std::fs::read(path)?;
        Ok(memchr::memmem::find(&bytes, b"needle"))
    })?;
    let found = timed("windows, safe default", || Ok(file.find("needle", ..)?))?;
    assert_eq!(found, at.map(|at| at as u64));
    // SAFETY: the file is this example's own, and not changed while this pool is in use.
    let trusting = unsafe { WindowPool::builder().trust_files() }.build()?;
    let found = timed("windows, mapped", || Ok(trusting.open(path)?.find("needle", ..)?))?;
    assert_eq!(found, at.map(|at| at as u64));
    Ok(())
}

fn overwrite_and_flush(path: &Path) -> Result<(), Box<dyn Error>> {
    println!("overwrite bytes 10..16 and flush");
    let file = writable(path)?;
    timed("map, copy, msync of the range", || {
        let mut map = map(&file)?;
        map[10..16].copy_from_slice(b"mapped");
        Ok(map.flush_range(10, 6)?)
    })?;
    timed("pwrite, fdatasync", || {
        file.write_all_at(b"writes", 10)?;
        Ok(file.sync_data()?)
    })?;
    assert_eq!(WindowPool::new().open(path)?.get::<[u8; 6]>(10)?, *b"writes");
    Ok(())
}

/// Replaces every `from` by a `to` of equal length.
fn replace_in_place(path: &Path) -> Result<(), Box<dyn Error>> {
    println!("find and replace of equal length in place");
    let file = writable(path)?;
    let count = timed("map, find, copy", || {
        let mut map = map(&file)?;
        let found: Vec<_> = memchr::memmem::find_iter(&map, b"Foo").collect();
        for &at in &found {
            map[at..at + 3].copy_from_slice(b"Bar");
        }
        Ok(found.len() as u64)
    })?;
    let again = timed("windows find, pwrite", || {
        let windows = WindowPool::new().open(path)?;
        let mut count = 0;
        for at in windows.find_iter("Bar", ..)? {
            file.write_all_at(b"Foo", at?)?;
            count += 1;
        }
        Ok(count)
    })?;
    assert_eq!(count, again);
    println!("    {count} replaced, and back");
    Ok(())
}

/// A copy-on-write map: changes are this process's own and never reach the file.
fn private_copy(path: &Path) -> Result<(), Box<dyn Error>> {
    println!("change a private copy that never reaches the file");
    let file = File::open(path)?;
    timed("private map, one byte in each MiB", || {
        // SAFETY: as in `map`; the file is not written to while this map lives.
        let mut map = unsafe { MmapOptions::new().map_copy(&file) }?;
        for at in (0..LEN).step_by(1 << 20) {
            map[at] = b'!';
        }
        assert_eq!(map[1 << 20], b'!');
        Ok(())
    })?;
    timed("read all into memory, the same", || {
        let mut bytes = std::fs::read(path)?;
        for at in (0..LEN).step_by(1 << 20) {
            bytes[at] = b'!';
        }
        assert_eq!(bytes[1 << 20], b'!');
        Ok(())
    })?;
    assert_eq!(WindowPool::new().open(path)?.find("!", ..)?, None);
    Ok(())
}

/// Memory that processes share by inheriting or passing a descriptor, without any file.
#[cfg(target_os = "linux")]
fn shared_without_file() -> Result<(), Box<dyn Error>> {
    use rustix::fs::{MemfdFlags, SealFlags};
    println!("shared memory without a file");
    let fd = rustix::fs::memfd_create("example", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let file = File::from(fd);
    file.set_len(4096)?;
    map(&file)?[..5].copy_from_slice(b"hello");
    // Sealed, it can no longer change: readers of it map it without any risk.
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    let shared = WindowPool::new().open(file)?;
    println!("    {:?} says {:?}", shared.backend(), str::from_utf8(&shared.window(0, 5)?)?);
    Ok(())
}

/// The open question: is a sequential log faster through a map? No.
fn sequential_log(dir: &Path) -> Result<(), Box<dyn Error>> {
    const RECORDS: usize = 500_000;
    println!("a log of {RECORDS} records of 100 bytes");
    let record = [b'r'; 100];
    let path = dir.join("log");
    timed("buffered writes", || {
        let mut log = BufWriter::with_capacity(64 * 1024, File::create(&path)?);
        for _ in 0..RECORDS {
            log.write_all(&record)?;
        }
        Ok(log.flush()?)
    })?;
    timed("preallocated map", || {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len((RECORDS * 100) as u64)?;
        for to in map(&file)?.chunks_exact_mut(100) {
            to.copy_from_slice(&record);
        }
        Ok(())
    })?;
    timed("a write for each record", || {
        let mut log = File::create(&path)?;
        for _ in 0..RECORDS {
            log.write_all(&record)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("mapped");
    let mut bytes = b"some bytes and again ".repeat(LEN / 21 + 1);
    bytes.truncate(LEN - 6);
    for at in (1000..bytes.len()).step_by(100_000) {
        bytes[at..at + 3].copy_from_slice(b"Foo");
    }
    bytes.extend_from_slice(b"needle");
    std::fs::write(&path, &bytes)?;
    drop(bytes);
    read_whole_and_find(&path)?;
    overwrite_and_flush(&path)?;
    replace_in_place(&path)?;
    private_copy(&path)?;
    #[cfg(target_os = "linux")]
    shared_without_file()?;
    sequential_log(dir.path())
}
