//! What differs between operating systems, in safe calls. Everything above it is portable.
#![forbid(unsafe_code)]

use super::Access;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::path::Path;

/// What makes two paths the same file while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// Device and inode, unique while a descriptor keeps the inode, and the time of birth where the file system knows one: windows that were copied may be pinned for longer, and
    /// another file has the inode then.
    #[cfg(unix)]
    Inode(u64, u64, Option<std::time::SystemTime>),
    /// Elsewhere, the canonical path.
    #[cfg(not(unix))]
    Path(std::path::PathBuf),
    /// A descriptor of which nothing else is known: equal to no other.
    #[cfg(not(unix))]
    Alone(u64),
}

/// Windows begin and end at multiples of this (but for the end of the file).
pub(super) fn granule() -> u64 {
    #[cfg(unix)]
    return rustix::param::page_size() as u64;
    #[cfg(not(unix))]
    return 64 * 1024;
}

#[cfg(unix)]
pub(super) fn identity(meta: &Metadata, _path: Option<&Path>) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(Identity::Inode(meta.dev(), meta.ino(), meta.created().ok()))
}

#[cfg(not(unix))]
pub(super) fn identity(_meta: &Metadata, path: Option<&Path>) -> io::Result<Identity> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static ALONE: AtomicU64 = AtomicU64::new(0);
    match path {
        Some(path) => Ok(Identity::Path(path.canonicalize()?)),
        None => Ok(Identity::Alone(ALONE.fetch_add(1, Ordering::Relaxed))),
    }
}

/// Opens for reading; does not wait for the writer of a named pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    options.open(path)
}

/// What a file that is not regular is; `None` for a regular one.
pub(super) fn not_regular(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    if kind.is_file() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return Some("a pipe");
        } else if kind.is_socket() {
            return Some("a socket");
        } else if kind.is_block_device() || kind.is_char_device() {
            return Some("a device");
        }
    }
    Some(if kind.is_dir() { "a directory" } else { "a special file" })
}

/// Reads at `offset` without moving any file position; as much as one system call gives.
fn read_some_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, into, offset);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, into, offset);
    #[cfg(not(any(unix, windows)))]
    {
        let _ = (file, into, offset);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Reads until `into` is full or the file ends; returns how much was read.
pub(super) fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match read_some_at(file, &mut into[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Tells the kernel how the whole file is going to be read. A hint: failure is of no consequence.
pub(super) fn advise(file: &File, access: Access) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{Advice, fadvise};
        let advice = match access {
            Access::Auto => Advice::Normal,
            Access::Sequential => Advice::Sequential,
            Access::Random => Advice::Random,
        };
        let _ = fadvise(file, 0, None, advice);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (file, access);
}

/// Asks the kernel to read a range in the background. A hint.
pub(super) fn will_need(file: &File, range: Range<u64>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(len) = std::num::NonZeroU64::new(range.end - range.start) {
        let _ = rustix::fs::fadvise(file, range.start, Some(len), rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (file, range);
}

/// The first run of data at or after `offset`, below `end`; the whole rest where holes are not known.
pub(super) fn next_data(file: &File, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
    if offset >= end {
        return Ok(None);
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;
        let start = match seek(file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::SPIPE) => return Ok(Some(offset..end)),
            Err(e) => return Err(e.into()),
        };
        if start >= end {
            return Ok(None);
        }
        let stop = match seek(file, SeekFrom::Hole(start)) {
            Ok(stop) => stop,
            // The file was cut off meanwhile: reading will tell.
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => end,
            Err(e) => return Err(e.into()),
        };
        let start = start.max(offset);
        Ok(Some(start..stop.clamp(start + 1, end)))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        let _ = file;
        Ok(Some(offset..end))
    }
}

/// Whether the kernel guarantees that this file is neither written to nor cut short: a sealed memfd.
pub(super) fn is_sealed(file: &File) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::SealFlags;
        let both = SealFlags::SHRINK | SealFlags::WRITE;
        rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(both))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = file;
        false
    }
}

/// A descriptor of our own for a borrowed one: where possible one with a file position of its own, since
/// looking for holes moves the position.
#[cfg(unix)]
pub(super) fn own(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::fd::AsRawFd as _;
        if let Ok(file) = open(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd()))) {
            return Ok(file);
        }
    }
    Ok(File::from(fd.try_clone_to_owned()?))
}
