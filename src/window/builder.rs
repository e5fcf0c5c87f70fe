//! Settings of a pool.

use super::pool::{Config, WindowPool};
use super::{Access, Backend, sys};
use crate::{Error, Result};

/// Settings of a [`WindowPool`]; start with [`WindowPool::builder`].
///
/// ```
/// use heapfile::window::{Access, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// let pool = WindowPool::builder()
///     .window_size(1 << 20)
///     .memory_limit(64 << 20)
///     .max_files(100)
///     .access(Access::Sequential)
///     .build()?;
/// assert_eq!(pool.window_size(), Some(1 << 20));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build()"]
pub struct Builder {
    config: Config,
}

impl Default for Builder {
    fn default() -> Self {
        let config = Config {
            window_size: Some(4 << 20),
            memory_limit: 256 << 20,
            hard: true,
            max_windows: 8192,
            max_files: u64::MAX,
            access: Access::Auto,
            backend: Backend::Auto,
            trusted: false,
            threads: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2)),
        };
        Self { config }
    }
}

impl Builder {
    /// Bytes of a window, rounded up to the page size (64 KiB on Windows). Windows lie at multiples of it; a
    /// request across a seam gets a window of its own. Default 4 MiB.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().window_size(100_000).build()?;
    /// assert!(pool.window_size().unwrap() >= 100_000);
    /// # Ok(()) }
    /// ```
    pub fn window_size(mut self, bytes: u64) -> Self {
        self.config.window_size = Some(bytes);
        self
    }

    /// One window per file, as long as the file (a *static* pool). The memory limit counts it whole, although
    /// only what is looked at comes into memory.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().whole_file().build()?;
    /// assert_eq!(pool.window_size(), None);
    /// # Ok(()) }
    /// ```
    pub fn whole_file(mut self) -> Self {
        self.config.window_size = None;
        self
    }

    /// Bytes that windows and read buffers of the pool may hold together. Windows that are copied take whole
    /// pages ([`WindowPool::alignment`]), also at the end of a file. Default 256 MiB.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().memory_limit(8 << 20).build()?;
    /// assert_eq!(pool.memory_limit(), 8 << 20);
    /// # Ok(()) }
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.config.memory_limit = bytes;
        self
    }

    /// What happens when all that fills the limit is pinned: hard (the default) is
    /// [`Error::PoolLimit`], soft goes over the limit for as long as the pins last.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().window_size(4096).memory_limit(4096).soft_limit().build()?;
    /// # Ok(()) }
    /// ```
    pub fn soft_limit(mut self) -> Self {
        self.config.hard = false;
        self
    }

    /// Windows that may be held at once; beyond, the least recently used leaves, and
    /// [`Error::PoolLimit`] if all are pinned. Default 8,192. (Linux allows a process 65,530 mappings.)
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().max_windows(16).build()?;
    /// # Ok(()) }
    /// ```
    pub fn max_windows(mut self, windows: u64) -> Self {
        self.config.max_windows = windows;
        self
    }

    /// Files that may be open at once, each with one descriptor; beyond, opening is
    /// [`Error::PoolLimit`]. Default: no limit but the system's.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().max_files(1).build()?;
    /// # let (a, b) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    /// let first = pool.open(a.path())?;
    /// assert!(pool.open(b.path()).is_err());
    /// # Ok(()) }
    /// ```
    pub fn max_files(mut self, files: u64) -> Self {
        self.config.max_files = files;
        self
    }

    /// How files of this pool are going to be read, unless [`WindowFile::advise`](super::WindowFile::advise)
    /// says otherwise. Default [`Access::Auto`].
    ///
    /// ```
    /// # use heapfile::window::{Access, WindowPool};
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().access(Access::Random).build()?;
    /// # Ok(()) }
    /// ```
    pub fn access(mut self, access: Access) -> Self {
        self.config.access = access;
        self
    }

    /// How bytes get into windows. Default [`Backend::Auto`].
    ///
    /// ```
    /// # use heapfile::window::{Backend, WindowPool};
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// let pool = WindowPool::builder().backend(Backend::Mmap).build()?;
    /// assert!(pool.open(file.path()).is_err(), "nobody vouches that this file stays as it is");
    /// # Ok(()) }
    /// ```
    pub fn backend(mut self, backend: Backend) -> Self {
        self.config.backend = backend;
        self
    }

    /// Threads that [`find`](super::WindowFile::find), [`find_iter`](super::WindowFile::find_iter) and
    /// [`count`](super::WindowFile::count) search one file with, the calling one included. Default 2, where there are
    /// as many processors. More start only after 32 MiB without a match (to count: for 32 MiB of data or more), if the pool has room for their
    /// buffers (256 KiB each, mapped 4 MiB), and all end before the call returns. 1 starts none.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().search_threads(1).build()?;
    /// # Ok(()) }
    /// ```
    pub fn search_threads(mut self, threads: usize) -> Self {
        self.config.threads = threads;
        self
    }

    /// Allows mapped windows ([`Backend::Mmap`]) on every file of this pool: as fast as it gets, and without
    /// the protection of the default.
    ///
    /// # Safety
    /// For as long as a file of this pool is open, or a window of it pinned, nobody (in this process or
    /// another) may
    /// - make the file shorter: touching what is lost raises SIGBUS, which kills the process;
    /// - change a byte that a live `&[u8]` of this module shows: Rust assumes that it cannot change.
    ///
    /// An input error of the disk raises SIGBUS too. Appending is allowed: see
    /// [`WindowFile::refresh`](super::WindowFile::refresh).
    ///
    /// ```
    /// # use heapfile::window::{Backend, WindowPool};
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// // SAFETY: this program's own, finished file: nobody changes it.
    /// let pool = unsafe { WindowPool::builder().trust_files() }.build()?;
    /// assert_eq!(pool.open(file.path())?.backend(), Backend::Mmap);
    /// # Ok(()) }
    /// ```
    pub unsafe fn trust_files(mut self) -> Self {
        self.config.trusted = true;
        self
    }

    /// The pool.
    ///
    /// # Errors
    /// [`Error::BadOption`] for a size, limit or number of 0, and for windows larger than the memory limit.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// assert!(WindowPool::builder().window_size(2 << 20).memory_limit(1 << 20).build().is_err());
    /// ```
    pub fn build(mut self) -> Result<WindowPool> {
        let limit = self.config.memory_limit;
        if let Some(size) = &mut self.config.window_size {
            let granule = sys::granule();
            let bad = |why| Err(Error::BadOption { option: "window_size", value: *size, why });
            if *size == 0 {
                return bad("it must be at least 1 byte");
            }
            match size.checked_next_multiple_of(granule) {
                Some(rounded) if rounded <= limit && usize::try_from(rounded).is_ok() => *size = rounded,
                _ => return bad("rounded up to whole pages it must fit memory_limit"),
            }
        }
        for (option, value) in [
            ("memory_limit", limit),
            ("max_windows", self.config.max_windows),
            ("max_files", self.config.max_files),
            ("search_threads", self.config.threads as u64),
        ] {
            if value == 0 {
                return Err(Error::BadOption { option, value, why: "it must be at least 1" });
            }
        }
        Ok(WindowPool::with(self.config))
    }
}
