//! How to create or open an arena.

use super::{Arena, create, open};
use crate::error::{Error, Result};
use crate::layout::{LINE, PAGE};
use std::path::Path;
use std::time::Duration;

/// What a commit survives. Fixed when the arena is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Loss of power: a commit is on the disk when it returns. One flush per commit.
    #[default]
    Power,
    /// The death of any process at any instruction, not of the machine. No system call per commit where stores
    /// need no new space (ext2/3/4, tmpfs), else it is written by `pwrite`; [`Arena::sync`] makes the state power-safe as of then.
    Process,
}

/// How processes keep each other apart. The first handle on a file settles it; all others have to do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Locking {
    /// One word in the file's shared memory: reading takes two atomic operations, writing never keeps readers out for longer than it takes
    /// to apply a commit. For files that all processes map on one machine.
    #[default]
    Shared,
    /// A lock on the whole file: reading shared, writing exclusive. Works wherever files can be locked.
    File,
}

/// Options for creating and opening arenas; the defaults suit most.
///
/// ```
/// use heapfile::{Durability, Options};
/// # let dir = tempfile::tempdir().unwrap();
/// let arena = Options::new()
///     .durability(Durability::Process)
///     .max_size(1 << 30)
///     .create(dir.path().join("cache.heap"))?;
/// assert_eq!(arena.durability(), Durability::Process);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) max_size: u64,
    pub(crate) durability: Durability,
    pub(crate) locking: Option<Locking>,
    pub(crate) lock_timeout: Duration,
    pub(crate) log_size: u64,
    pub(crate) log_limit: u64,
    pub(crate) log_align: u32,
    pub(crate) mode: u32,
    pub(crate) follow_links: bool,
    pub(crate) accept_unsynced: bool,
    pub(crate) huge_pages: bool,
    /// Opens alone, whatever the state of the heap, for its repair.
    pub(crate) repairing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_size: 1 << 40,
            durability: Durability::Power,
            locking: None,
            lock_timeout: Duration::from_secs(5),
            log_size: 4 << 20,
            log_limit: 512 << 20,
            log_align: LINE as u32,
            mode: 0o600,
            follow_links: true,
            accept_unsynced: false,
            huge_pages: true,
            repairing: false,
        }
    }
}

impl Options {
    /// The defaults.
    ///
    /// ```
    /// let options = heapfile::Options::new();
    /// # let _ = options;
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes that the file may have through this handle; address space is set aside for it, memory is not. Default 1 TiB; where
    /// that much address space cannot be had, half as much and so on, down to the file's length + 1 GiB ([`Stats::max_bytes`](crate::Stats::max_bytes) says how much it
    /// came to). A process has 128 TiB of it for all its handles: one that is to have more than a hundred open should set less.
    ///
    /// ```
    /// let options = heapfile::Options::new().max_size(16 << 30);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Whether a file in memory (tmpfs, [`create_anonymous`](Self::create_anonymous)) that this handle makes longer is put into huge pages where the system can; default: yes. It
    /// makes growth up to ten times, and work on large heaps a third, faster, and some milliseconds may pass where free memory has first to be
    /// put together. Without them growth is faster where a hypervisor takes free memory back and is slow to supply it again. Files on disks are never
    /// put into huge pages.
    ///
    /// ```
    /// let options = heapfile::Options::new().huge_pages(false);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn huge_pages(mut self, wanted: bool) -> Self {
        self.huge_pages = wanted;
        self
    }

    /// What commits survive, for arenas that are created: [`Durability::Power`] by default. An existing arena keeps its own.
    ///
    /// ```
    /// let options = heapfile::Options::new().durability(heapfile::Durability::Process);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How processes keep each other apart. Default: as the handles do that have the file open, or else [`Locking::Shared`]. Asking for
    /// another way than is in use is [`Error::LockMode`](crate::Error::LockMode).
    ///
    /// ```
    /// let options = heapfile::Options::new().locking(heapfile::Locking::File);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn locking(mut self, locking: Locking) -> Self {
        self.locking = Some(locking);
        self
    }

    /// How long to wait for another's lock before [`Error::Busy`](crate::Error::Busy). Default 5 s.
    ///
    /// ```
    /// let options = heapfile::Options::new().lock_timeout(std::time::Duration::from_millis(100));
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Length of the log ring of a `Power` arena that is created, in bytes: a multiple of 4096 from 64 KiB to 1 GiB. Default 4 MiB. A longer one makes
    /// checkpoints rarer, and recovery after a power cut longer; it becomes longer by itself, see [`log_limit`](Self::log_limit).
    ///
    /// ```
    /// let options = heapfile::Options::new().log_size(1 << 20);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn log_size(mut self, bytes: u64) -> Self {
        self.log_size = bytes;
        self
    }

    /// How long the log of a `Power` arena may become through this handle, in bytes; default 512 MiB. While commits fill it, it becomes two to eight times as long, up to a
    /// quarter of the heap, or, where long records change pages all over it, up to two thirds, in a run of the heap that [`shrink`](crate::Arena::shrink) gives back. It is filled without holding others up. With 0 it stays as it is. Where little room is left below
    /// [`max_size`](Self::max_size) it stays as it is too.
    ///
    /// ```
    /// let options = heapfile::Options::new().log_limit(32 << 20);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn log_limit(mut self, bytes: u64) -> Self {
        self.log_limit = bytes;
        self
    }

    /// At what multiple of bytes records of the log begin, for arenas that are created: 64 (default) to 4096, a power of two. 64 assumes that a
    /// device that loses power while it rewrites a sector with the same leading bytes does not lose those; on
    /// a device without that property use its sector size.
    ///
    /// ```
    /// let options = heapfile::Options::new().log_align(4096);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn log_align(mut self, bytes: u32) -> Self {
        self.log_align = bytes;
        self
    }

    /// Permissions of a file that is created, before the process's umask. Default `0o600`, which has to be part of any other.
    ///
    /// ```
    /// let options = heapfile::Options::new().mode(0o660);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Whether a symbolic link in place of the file is followed. Default: yes.
    ///
    /// ```
    /// let options = heapfile::Options::new().follow_links(false);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn follow_links(mut self, follow: bool) -> Self {
        self.follow_links = follow;
        self
    }

    /// Whether to open a `Process` arena that was not synced before the machine went down. What is there is checked; if it is sound, work
    /// goes on with it, though recent commits may be lost in part. A read-only handle takes it as it is, sound or not. Default: no,
    /// [`Error::Unsynced`](crate::Error::Unsynced).
    ///
    /// ```
    /// let options = heapfile::Options::new().accept_unsynced(true);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn accept_unsynced(mut self, accept: bool) -> Self {
        self.accept_unsynced = accept;
        self
    }

    /// Creates an arena; [`Error::AlreadyExists`](crate::Error::AlreadyExists) if there is a file of that name, unless it is empty or holds no more than the beginnings of
    /// a creation that was cut off.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = heapfile::Options::new().create(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Arena> {
        self.check()?;
        create::create(path.as_ref(), self)
    }

    /// Opens an arena for reading and writing, recovering it first where that is needed.
    ///
    /// The precondition of this library, and all that it trusts: while an arena is open its file is changed through this library only.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let arena = heapfile::Options::new().open(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Arena> {
        self.check()?;
        open::open(path.as_ref(), self)
    }

    /// Opens an arena, creating it if there is no file of that name, if the file is empty, or if its creation was cut off. No file is made behind a symbolic link to
    /// nothing: that is [`Error::NotAFile`](crate::Error::NotAFile).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = heapfile::Options::new().open_or_create(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Arena> {
        self.check()?;
        open::open_or_create(path.as_ref(), self)
    }

    /// Opens an arena for reading. Where the file may be written, an unfinished commit of a killed process is still completed; where it may
    /// not, its log is replayed into private memory, and writing handles are kept out meanwhile. A `Process` arena that was not synced is refused as by
    /// [`open`](Self::open); with [`accept_unsynced`](Self::accept_unsynced) it is shown as it is, unchecked.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let arena = heapfile::Options::new().open_read_only(dir.path().join("a.heap"))?;
    /// assert!(arena.write().is_err());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open_read_only(&self, path: impl AsRef<Path>) -> Result<Arena> {
        self.check()?;
        open::open_read_only(path.as_ref(), self)
    }

    /// Creates an arena without a name: memory that lives as long as a handle, or a descriptor of [`Arena::share`](crate::Arena::share), does. Its
    /// durability is [`Durability::Process`], whatever these options say.
    ///
    /// ```
    /// let arena = heapfile::Options::new().create_anonymous()?;
    /// let descriptor = arena.share()?;
    /// let other = heapfile::Options::new().open_descriptor(&descriptor)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn create_anonymous(&self) -> Result<Arena> {
        self.check()?;
        create::create_anonymous(self)
    }

    /// Opens the arena that a descriptor refers to: one that came from [`Arena::share`](crate::Arena::share) through `fork`, inheritance or a
    /// socket. The handle gets a file description of its own; the descriptor may be closed.
    ///
    /// ```
    /// # let arena = heapfile::Options::new().create_anonymous()?;
    /// let other = heapfile::Options::new().open_descriptor(&arena.share()?)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open_descriptor(&self, descriptor: impl std::os::fd::AsFd) -> Result<Arena> {
        self.check()?;
        open::open_descriptor(descriptor.as_fd(), self)
    }

    pub(super) fn check(&self) -> Result<()> {
        let refuse = |option, value, why| Err(Error::BadOption { option, value, why });
        if !(1 << 16..=1 << 30).contains(&self.log_size) || !self.log_size.is_multiple_of(PAGE) {
            return refuse("log_size", self.log_size, "a multiple of 4096 from 64 KiB to 1 GiB");
        }
        let align = self.log_align;
        if !align.is_power_of_two() || !(LINE as u32..=PAGE as u32).contains(&align) {
            return refuse("log_align", align.into(), "a power of two from 64 to 4096");
        }
        if self.max_size < 1 << 20 {
            return refuse("max_size", self.max_size, "at least 1 MiB");
        }
        if self.mode & 0o600 != 0o600 {
            return refuse(
                "mode",
                self.mode.into(),
                "to be read and written by its owner, 0o600 (384), and more",
            );
        }
        Ok(())
    }
}
