//! The real file behind an arena: every system call on it.
//!
//! Invariants: the descriptor is this handle's own file description (never duplicated), close-on-exec, given up by children of `fork`; all
//! writes are complete or an error (short writes and `EINTR` are continued here).

use super::region::HUGE_PAGE;
use super::{Directory, Mapping, TURN_BYTE, byte_lock};
use crate::error::{Error, Result};
use crate::layout::PAGE;
use crate::lock::fork::{self, Registered};
use crate::runtime::{Home, Seen};
use fs2::FileExt as Fs2;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, SeekFrom, StatxFlags, StatxTimestamp};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What `statfs` says of some file systems.
const EXT: u64 = 0xEF53;
const TMPFS: u64 = 0x0102_1994;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683E;

/// How to open the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Must not exist yet; created with this mode.
    Create(u32),
    /// Must exist.
    ReadWrite,
    /// Must exist; nothing is written.
    ReadOnly,
}

/// An open file and the path it was opened by.
#[derive(Debug)]
pub(crate) struct ArenaFile {
    /// Before `file`: it is dropped first.
    _registered: Registered,
    file: File,
    path: PathBuf,
    /// The same from the root on, to be looked up by: the working directory may change.
    place: PathBuf,
    /// Opened through a descriptor: the path is no name to look it up by.
    nameless: bool,
}

impl ArenaFile {
    /// Opens or creates the file; refuses everything that is not a regular file.
    pub(crate) fn open(path: &Path, mode: OpenMode, follow_links: bool) -> Result<Self> {
        let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags |= if mode == OpenMode::ReadOnly { OFlags::RDONLY } else { OFlags::RDWR };
        if !follow_links {
            flags |= OFlags::NOFOLLOW;
        }
        let mut bits = 0;
        if let OpenMode::Create(mode_bits) = mode {
            flags |= OFlags::CREATE | OFlags::EXCL;
            bits = mode_bits;
        }
        let no_fork = fork::hold_off();
        let file = match rustix::fs::open(path, flags, Mode::from_raw_mode(bits)) {
            Ok(fd) => File::from(fd),
            Err(Errno::EXIST) => return Err(Error::AlreadyExists { path: path.to_owned() }),
            Err(Errno::LOOP) if !follow_links && path.is_symlink() => {
                return Err(Error::NotAFile { path: path.to_owned(), what: "a symbolic link" });
            }
            Err(Errno::ISDIR) => return Err(Error::NotAFile { path: path.to_owned(), what: "a directory" }),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let registered = no_fork.register(file.as_raw_fd());
        let metadata = file.metadata().map_err(|e| Error::io("inspect", path, e))?;
        if let Some(what) = other_kind(&metadata.file_type()) {
            return Err(Error::NotAFile { path: path.to_owned(), what });
        }
        let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { _registered: registered, file, path: path.to_owned(), place, nameless: false })
    }

    /// A file in memory, without a name.
    pub(crate) fn anonymous() -> Result<Self> {
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create("heapfile", flags)
            .map_err(|e| Error::io("create", Path::new("memory without a name"), e))?;
        Self::from_descriptor(memory.as_fd())
    }

    /// The file behind a descriptor, with a file description of its own.
    pub(crate) fn from_descriptor(fd: BorrowedFd<'_>) -> Result<Self> {
        Self::again(fd, OpenMode::ReadWrite)
    }

    fn again(fd: BorrowedFd<'_>, mode: OpenMode) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        Ok(Self { nameless: true, ..Self::open(&path, mode, true)? })
    }

    /// The same file with another description, to be mapped. A mapping holds on to its description, in children of `fork` too;
    /// it must not be the one that has the locks, or a child would keep them after its parent's death.
    pub(crate) fn for_mapping(&self, mode: OpenMode) -> Result<Self> {
        let again = match Self::again(self.file.as_fd(), mode) {
            // Without /proc the path has to do.
            Err(_) if !self.nameless => Self::open(&self.place, mode, true)?,
            outcome => outcome?,
        };
        if again.key() != self.key() {
            return Err(Error::Replaced { path: self.path.clone() });
        }
        Ok(again)
    }

    /// Another description of the file, for handing on.
    pub(crate) fn reopen(&self) -> Result<OwnedFd> {
        // Not registered any more: children may have it, for it holds no locks.
        let Self { file, .. } = Self::from_descriptor(self.file.as_fd())?;
        Ok(file.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn err(&self, op: &'static str) -> impl FnOnce(io::Error) -> Error + '_ {
        move |e| Error::io(op, &self.path, e)
    }

    pub(crate) fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(self.err("inspect"))?.len())
    }

    /// Device and inode.
    pub(crate) fn key(&self) -> (u64, u64) {
        self.file.metadata().map_or((0, 0), |m| (m.dev(), m.ino()))
    }

    /// Which file in which mount this is, and when it was last changed; nothing where the system does not tell, or the file
    /// system is none of those known to keep what was written until they are unmounted.
    pub(crate) fn home(&self) -> Option<Seen> {
        /// `STATX_MNT_ID_UNIQUE`, since Linux 6.8.
        const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);
        const LOCAL: [u64; 4] = [EXT, TMPFS, XFS, BTRFS];
        if !self.is_on(&LOCAL) {
            return None;
        }
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | UNIQUE_MOUNT;
        let found = rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, wanted).ok()?;
        if !StatxFlags::from_bits_retain(found.stx_mask).contains(wanted) {
            return None;
        }
        let nanoseconds = |time: StatxTimestamp| {
            u64::try_from(time.tv_sec).ok()?.checked_mul(1_000_000_000)?.checked_add(time.tv_nsec.into())
        };
        let home = Home {
            mount: found.stx_mnt_id,
            device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
            inode: found.stx_ino,
            born: nanoseconds(found.stx_btime)?,
        };
        Some(Seen { home, changed: nanoseconds(found.stx_ctime)? })
    }

    /// Whether the path still names this file (not removed, not replaced by another). Where this process may not look it up any more: whether
    /// the file still has a name.
    pub(crate) fn is_in_place(&self) -> bool {
        if self.nameless {
            return true;
        }
        match (self.file.metadata(), std::fs::metadata(&self.place)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            (Ok(open), Err(e)) if e.kind() == io::ErrorKind::PermissionDenied => open.nlink() > 0,
            _ => false,
        }
    }

    /// Whether stores to reserved space of this file never need new space (no copy-on-write).
    pub(crate) fn stores_in_place(&self) -> bool {
        self.is_on(&[EXT, TMPFS])
    }

    pub(crate) fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(to, offset).map_err(self.err("read"))
    }

    /// Whether the page at `offset` is a hole, or reserved and nothing else, of a file whose pages are memory. Elsewhere what was written may count as a hole until
    /// the disk has it.
    pub(crate) fn is_hole_in_memory(&self, offset: u64) -> Result<bool> {
        if !self.is_memory() {
            return Ok(false);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data >= offset + PAGE),
            Err(Errno::NXIO) => Ok(true),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(Error::io("look for holes in", &self.path, e)),
        }
    }

    /// Writes all of `bytes` at `offset`. The page cache has them when this returns.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| self.write_error(e, bytes.len()))
    }

    /// Writes all of `bytes` at `offset`; the disk has them when this returns.
    pub(crate) fn write_durable(&self, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwritev2(&self.file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(self.write_error(io::ErrorKind::WriteZero.into(), bytes.len())),
                Ok(n) => {
                    offset += n as u64;
                    bytes = &bytes[n..];
                }
                Err(Errno::INTR) => {}
                // No such flag here: the same in two steps.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.write_at(offset, bytes)?;
                    return self.sync();
                }
                Err(e) => return Err(self.write_error(e.into(), bytes.len())),
            }
        }
        Ok(())
    }

    fn write_error(&self, e: io::Error, len: usize) -> Error {
        match e.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Error::NoSpace { needed: len as u64 },
            _ => Error::io("write", &self.path, e),
        }
    }

    /// All that was written, and the file's length, on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(self.err("sync"))
    }

    /// A new file without a name in the same directory, where the file system has such.
    pub(crate) fn nameless_beside(&self) -> Option<File> {
        if self.nameless {
            return None;
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let directory = Directory::place(&self.place);
        rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR).ok().map(File::from)
    }

    /// Makes the file's name durable.
    pub(crate) fn sync_directory(&self) -> Result<()> {
        if self.nameless {
            return Ok(());
        }
        let synced = Directory::open(&self.place).and_then(|directory| directory.sync());
        synced.map_err(self.err("sync the directory of"))
    }

    /// Makes a file of `before` bytes `len` long, its space reserved; in huge pages if the file is memory and its mapping is given. On an error the
    /// file is as long as before.
    pub(crate) fn lengthen(&self, before: u64, len: u64, huge_pages: Option<&Mapping>) -> Result<()> {
        may_be_as_long(len)?;
        if self.lacks(len - before) {
            return Err(Error::NoSpace { needed: len - before });
        }
        let range = Mapping::huge_pages(before, len);
        if let Some(mapping) = huge_pages
            && !range.is_empty()
            && self.is_memory()
        {
            // A page in each to begin with. What fails here fails again, and is told, when all is reserved.
            let mut lasts = range.clone().step_by(HUGE_PAGE as usize).map(|at| at + HUGE_PAGE - PAGE);
            if lasts.try_for_each(|at| self.reserve(at, PAGE)).is_ok() {
                mapping.collapse(range);
            }
        }
        self.reserve(before, len - before).inspect_err(|_| {
            // ext4, for one, keeps what it got before the space ran out, and with it the last of the disk.
            let _ = self.file.set_len(before);
        })
    }

    /// Whether the file's pages are memory and nothing else.
    pub(crate) fn is_memory(&self) -> bool {
        self.is_on(&[TMPFS])
    }

    /// Whether the file lies on one of these file systems.
    fn is_on(&self, kinds: &[u64]) -> bool {
        rustix::fs::fstatfs(&self.file).is_ok_and(|fs| kinds.contains(&(fs.f_type as u64)))
    }

    /// Whether the file system says that it has not so much space: then it is not even tried, for that would take for a moment what others need.
    fn lacks(&self, len: u64) -> bool {
        rustix::fs::fstatvfs(&self.file)
            .is_ok_and(|fs| fs.f_blocks > 0 && fs.f_bfree.saturating_mul(fs.f_frsize) < len)
    }

    /// Reserves disk space; a file that ends before the range does is lengthened to its end.
    pub(crate) fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        loop {
            return match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, len) {
                Ok(()) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(Errno::NOSPC | Errno::DQUOT) => Err(Error::NoSpace { needed: len }),
                Err(Errno::FBIG) => {
                    Err(Error::TooLarge { what: "a file", len: offset + len, max: self.len().unwrap_or(0) })
                }
                Err(Errno::OPNOTSUPP) => self.reserve_by_writing(offset, len),
                Err(e) => Err(Error::io("reserve space in", &self.path, e)),
            };
        }
    }

    /// For file systems without `fallocate`: reserves by writing zeros past the end of the file.
    fn reserve_by_writing(&self, offset: u64, len: u64) -> Result<()> {
        let zeros = vec![0u8; 1 << 16];
        let (mut at, end) = (offset.max(self.len()?), offset + len);
        while at < end {
            let n = (end - at).min(zeros.len() as u64);
            self.write_at(at, &zeros[..n as usize])?;
            at += n;
        }
        Ok(())
    }

    /// Gives the disk space of a range back.
    pub(crate) fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                Err(Error::Unsupported { path: self.path.clone(), what: "punching of holes" })
            }
            Err(e) => Err(Error::io("punch a hole into", &self.path, e)),
        }
    }

    /// Cuts the file.
    pub(crate) fn truncate(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(self.err("cut"))
    }

    /// Tries to take the whole-file lock, shared or exclusive; `false` when somebody else has it.
    pub(crate) fn try_lock(&self, exclusive: bool) -> Result<bool> {
        let outcome =
            if exclusive { Fs2::try_lock_exclusive(&self.file) } else { Fs2::try_lock_shared(&self.file) };
        match outcome {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP)) => {
                Err(Error::Unsupported { path: self.path.clone(), what: "file locks" })
            }
            Err(e) => Err(Error::io("lock", &self.path, e)),
        }
    }

    /// Asks for the whole-file lock next (see `Media::try_take_turn`); until `end_turn`.
    pub(crate) fn take_turn(&self) {
        // A courtesy of others, without which this one waits longer.
        let _ = byte_lock::try_lock(self.file.as_fd(), TURN_BYTE, 1, true);
    }

    pub(crate) fn end_turn(&self) {
        let _ = byte_lock::unlock(self.file.as_fd(), TURN_BYTE, 1);
    }

    pub(crate) fn unlock(&self) {
        // Unlocking can fail only for a bad descriptor, which this type rules out.
        let _ = Fs2::unlock(&self.file);
    }
}

/// Whether this process may make a file so long. To try it would be a signal, which ends the process.
pub(crate) fn may_be_as_long(len: u64) -> Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(max) if max < len => Err(Error::TooLarge { what: "a file", len, max }),
        _ => Ok(()),
    }
}

/// Why a file of this type cannot hold an arena, if it cannot.
fn other_kind(kind: &std::fs::FileType) -> Option<&'static str> {
    match kind {
        k if k.is_file() => None,
        k if k.is_dir() => Some("a directory"),
        k if k.is_fifo() => Some("a pipe"),
        k if k.is_socket() => Some("a socket"),
        k if k.is_symlink() => Some("a symbolic link"),
        _ => Some("a device"),
    }
}
