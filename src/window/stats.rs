//! What a pool tells about itself.
#![forbid(unsafe_code)]

use std::panic::Location;

/// Counters and gauges of a pool, from [`WindowPool::stats`](super::WindowPool::stats).
///
/// ```
/// use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"abc").unwrap();
/// let pool = WindowPool::new();
/// let file = pool.open(&path)?;
/// let first = file.window(0, 2)?;
/// let second = file.window(1, 2)?;
/// let stats = pool.stats();
/// assert_eq!((stats.misses, stats.hits, stats.windows, stats.files), (1, 1, 1, 1));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests for a window that was there. (Reads inside the window or buffer that a reader holds already
    /// ask nothing of the pool and are not counted.)
    pub hits: u64,
    /// Requests that had to make a window.
    pub misses: u64,
    /// Windows dropped to make room.
    pub evictions: u64,
    /// Bytes held now: windows, those that are copied in whole pages, and read buffers.
    pub mapped_bytes: u64,
    /// The most bytes ever held at once.
    pub peak_bytes: u64,
    /// Windows held now.
    pub windows: u64,
    /// Windows held now that a guard, a cursor or a buffer pins.
    pub pinned_windows: u64,
    /// Files open now, each with one descriptor.
    pub files: u64,
}

/// What [`WindowPool::collect`](super::WindowPool::collect) dropped.
///
/// ```
/// # use heapfile::window::WindowPool;
/// let pool = WindowPool::new();
/// assert_eq!(pool.collect().windows, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Collected {
    /// Windows dropped.
    pub windows: u64,
    /// Bytes given back.
    pub bytes: u64,
}

/// A window that is still in use, in a [`Release`].
///
/// ```
/// use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"abc").unwrap();
/// let pool = WindowPool::new();
/// let guard = pool.open(&path)?.window(0, 3)?;
/// let release = pool.release(&path)?;
/// assert_eq!(release.pinned[0].clients, 1);
/// println!("pinned since {}", release.pinned[0].last_pinned_by);
/// # drop(guard);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// First byte of the window in the file.
    pub offset: u64,
    /// Length of the window in bytes.
    pub len: u64,
    /// How many guards, cursors and buffers hold it.
    pub clients: usize,
    /// Where in the program it was pinned last.
    pub last_pinned_by: &'static Location<'static>,
}

/// What [`WindowPool::release`](super::WindowPool::release) dropped, and what it could not.
///
/// ```
/// # use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let file = tempfile::NamedTempFile::new().unwrap();
/// let pool = WindowPool::new();
/// let release = pool.release(file.path())?;
/// assert!(release.is_complete(), "nobody has this file open");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Release {
    /// What was dropped.
    pub dropped: Collected,
    /// Windows that are still pinned, in order of offset.
    pub pinned: Vec<Pin>,
    /// Handles, cursors, buffers and iterators that keep the descriptor open.
    pub handles: usize,
}

impl Release {
    /// Whether the pool holds nothing of the file any more: no window and no descriptor.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// let pool = WindowPool::new();
    /// let open = pool.open(file.path())?;
    /// assert!(!pool.release(file.path())?.is_complete());
    /// drop(open);
    /// assert!(pool.release(file.path())?.is_complete());
    /// # Ok(()) }
    /// ```
    pub fn is_complete(&self) -> bool {
        self.pinned.is_empty() && self.handles == 0
    }
}
