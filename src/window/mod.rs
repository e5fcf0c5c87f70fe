//! Read-only access to files of any size, in a small fixed footprint.
//!
//! A [`WindowPool`] hands out [`WindowFile`]s. What they show of a file is held in *windows*: pinned by a
//! [`Window`] guard while somebody looks at them, dropped least recently used first when the pool comes to its
//! limit. On top of them sit the [`Cursor`] (a stream, and a region that moves), the [`Buffer`] (the file as
//! one long byte sequence), and what scans: [`WindowFile::find`], [`WindowFile::lines`], [`WindowFile::chunks`] …
//!
//! ```
//! use heapfile::window::WindowPool;
//! # fn main() -> Result<(), heapfile::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("notes.txt");
//! std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
//! let pool = WindowPool::builder().memory_limit(16 << 20).build()?;
//! let file = pool.open(&path)?;
//! assert_eq!(file.find(b"two", ..)?, Some(4));
//! assert_eq!(&file.window(8, 5)?[..], b"three");
//! # Ok(()) }
//! ```
//!
//! # Invariants
//! - `memory_limit` bounds, to the byte, all windows and read buffers of the pool together, pinned or not; a window
//!   that is a copy counts in whole pages, as it takes them. [`Stats::peak_bytes`] is its witness. (A soft limit is exceeded only while everything is pinned. What a
//!   call returns as the caller's own, a `Vec` or a line, is the caller's.)
//! - A window that is pinned never moves, never goes, and lies wholly inside the file as it was last seen.
//! - Unpinned windows leave by true LRU: the one whose last request is longest ago goes first.
//! - One descriptor per file, however often the file is opened and however many windows show it.
//! - Offsets are `u64` everywhere; a file may be larger than memory and than the address space.
//!
//! # Safety when the file changes
//! A mapped file that is cut short kills whoever touches the lost pages by SIGBUS, and one that is written to
//! changes under a `&[u8]`. So by default ([`Backend::Auto`]) bytes are *copied* with positioned reads, and a
//! file that was cut short is [`Error::Truncated`](crate::Error::Truncated). Windows and read buffers then show
//! the file as it was when they were filled, until [`WindowFile::refresh`].
//!
//! Mappings are used where the kernel guarantees that the bytes stay (a sealed memfd), and for all files of a
//! pool built with [`Builder::trust_files`], the one `unsafe` call of this interface.
//!
//! # Threads
//! All handles may be shared. Readers do not meet: each has a view of its own, and reads inside it take no lock. Long searches
//! start a thread of their own, which ends with the call ([`Builder::search_threads`]).
//!
//! # Limits
//! Regular files only: a pipe or a socket has no offsets and is refused. Nothing is ever written.

mod budget;
mod buffer;
mod builder;
mod cursor;
mod file;
mod find;
mod lines;
mod pace;
mod pool;
mod ranges;
mod reader;
mod region;
mod scan;
mod scratch;
mod source;
mod stats;
mod sys;
mod table;
mod together;

pub use buffer::Buffer;
pub use builder::Builder;
pub use cursor::Cursor;
pub use file::WindowFile;
pub use find::Matches;
pub use lines::{Line, Lines};
pub use pool::WindowPool;
pub use ranges::DataRanges;
pub use region::Window;
pub use scan::{Chunk, Chunks};
pub use source::Source;
pub use stats::{Collected, Pin, Release, Stats};

/// How a file is going to be read. A hint: it changes speed and read-ahead, never a result.
///
/// ```
/// use heapfile::window::{Access, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// # let file = tempfile::NamedTempFile::new().unwrap();
/// let file = WindowPool::new().open(file.path())?;
/// file.advise(Access::Random);
/// assert_eq!(file.access(), Access::Random);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Access {
    /// Watch what is read and follow it: larger reads while they go on forward, small ones around a place
    /// that is visited several times, single ones for scattered reads.
    #[default]
    Auto,
    /// Forward, from one end to the other: always read ahead.
    Sequential,
    /// Scattered: never read ahead, neither here nor in the kernel.
    Random,
}

/// How the bytes of a file get into windows.
///
/// ```
/// use heapfile::window::{Backend, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// # let file = tempfile::NamedTempFile::new().unwrap();
/// assert_eq!(WindowPool::new().open(file.path())?.backend(), Backend::Pread);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Backend {
    /// `Mmap` where that is safe or was vouched for by [`Builder::trust_files`], else `Pread`.
    #[default]
    Auto,
    /// Mapped: fastest. Files for which neither the kernel nor the caller vouches are refused.
    Mmap,
    /// Copied with positioned reads: safe whatever happens to the file.
    Pread,
}
