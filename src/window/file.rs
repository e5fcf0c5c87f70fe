//! An open file of a pool.
#![forbid(unsafe_code)]

use super::pool::{Shape, Shared};
use super::region::{Region, Window};
use super::sys::{self, Identity};
use super::{Access, Backend, Buffer, Cursor};
use crate::{Error, Result};
use std::fs::File;
use std::ops::RangeBounds;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What handles of one file share: its one descriptor, its length as last seen.
pub(super) struct FileInner {
    pool: Arc<Shared>,
    id: u64,
    file: File,
    path: PathBuf,
    /// The same from the root on: the working directory may change.
    place: PathBuf,
    pub(super) identity: Identity,
    backend: Backend,
    trusted: bool,
    len: AtomicU64,
    access: AtomicU8,
    /// Goes up with every `refresh`: readers drop what they hold when it differs from theirs.
    generation: AtomicU64,
    modified: Mutex<Option<SystemTime>>,
}

impl FileInner {
    pub(super) fn new(
        pool: Arc<Shared>,
        id: u64,
        file: File,
        path: PathBuf,
        identity: Identity,
        len: u64,
    ) -> Result<Self> {
        let config = &pool.config;
        let trusted = config.trusted;
        let may_map = trusted || sys::is_sealed(&file);
        let backend = match config.backend {
            Backend::Pread => Backend::Pread,
            Backend::Auto if !may_map => Backend::Pread,
            Backend::Mmap if !may_map => {
                return Err(Error::Unsupported { path, what: crate::error::SEAL });
            }
            Backend::Auto | Backend::Mmap => Backend::Mmap,
        };
        let access = config.access;
        if access != Access::Auto {
            sys::advise(&file, access);
        }
        let modified = file.metadata().and_then(|meta| meta.modified()).ok();
        Ok(Self {
            id,
            file,
            place: std::path::absolute(&path).unwrap_or_else(|_| path.clone()),
            path,
            identity,
            backend,
            trusted,
            len: AtomicU64::new(len),
            access: AtomicU8::new(access as u8),
            generation: AtomicU64::new(0),
            modified: Mutex::new(modified),
            pool,
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pool(&self) -> &Shared {
        &self.pool
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    pub(super) fn backend(&self) -> Backend {
        self.backend
    }

    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.len.load(Relaxed)
    }

    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    pub(super) fn access(&self) -> Access {
        match self.access.load(Relaxed) {
            x if x == Access::Sequential as u8 => Access::Sequential,
            x if x == Access::Random as u8 => Access::Random,
            _ => Access::Auto,
        }
    }

    fn look(&self) -> Result<std::fs::Metadata> {
        self.file.metadata().map_err(|e| Error::io("look at", &self.path, e))
    }

    /// Looks at the file anew and drops what may be out of date. Returns its length.
    pub(super) fn refresh(&self) -> Result<u64> {
        let meta = self.look()?;
        *self.modified.lock().unwrap_or_else(PoisonError::into_inner) = meta.modified().ok();
        self.len.store(meta.len(), Relaxed);
        self.pool.forget(self.id, &self.identity, meta.len(), self.backend == Backend::Pread);
        // Afterwards: who found an old window meanwhile knows the generation before.
        self.generation.fetch_add(1, Release);
        Ok(meta.len())
    }

    /// For one who opens the file once more: refreshes if it looks changed.
    pub(super) fn refresh_if_changed(&self) -> Result<()> {
        let meta = self.look()?;
        let modified = *self.modified.lock().unwrap_or_else(PoisonError::into_inner);
        if meta.len() != self.len() || meta.modified().ok() != modified {
            self.refresh()?;
        }
        Ok(())
    }

    /// That the bytes lie inside the file as last seen.
    pub(super) fn check(&self, offset: u64, len: usize) -> Result<()> {
        Self::check_in(self.len(), offset, len)
    }

    /// The same, for a length that is asked for only once: `refresh` may change it at any time.
    pub(super) fn check_in(file_len: u64, offset: u64, len: usize) -> Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= file_len => Ok(()),
            end => Err(Error::OutsideFile { start: offset, end: end.unwrap_or(u64::MAX), len: file_len }),
        }
    }

    /// Reads until `into` is full or the file ends.
    pub(super) fn read_up_to(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        sys::read_at(&self.file, into, offset).map_err(|e| Error::io("read", &self.path, e))
    }

    /// Reads bytes that were inside the file when its length was last seen.
    pub(super) fn read_all(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        if self.read_up_to(offset, into)? < into.len() {
            return Err(self.truncated(offset + into.len() as u64));
        }
        Ok(())
    }

    /// The error for bytes up to `needed` that are there no longer.
    pub(super) fn truncated(&self, needed: u64) -> Error {
        match self.look() {
            Ok(meta) => Error::Truncated { needed, found: meta.len().min(needed) },
            Err(e) => e,
        }
    }

    /// That the file was not cut short before `end`.
    pub(super) fn still_has(&self, end: u64) -> Result<()> {
        let found = self.look()?.len();
        if found < end { Err(Error::Truncated { needed: end, found }) } else { Ok(()) }
    }

    pub(super) fn obtain(
        &self,
        offset: u64,
        len: usize,
        shape: Shape,
        by: &'static Location<'static>,
    ) -> Result<(Arc<Region>, bool)> {
        self.pool.obtain(self, offset, len, shape, by)
    }
}

impl Drop for FileInner {
    fn drop(&mut self) {
        self.pool.close(self.id, &self.identity);
    }
}

/// A file that is open in a pool. Cheap to clone; clones and everything made from them share one descriptor,
/// which closes with the last of them. Unpinned windows of the file go then too.
///
/// All reads are `&self` and may come from many threads. Reads of the default backend that go through no window
/// or buffer ([`read_exact_at`](Self::read_exact_at), [`get`](Self::get)) always show the file as it is now.
///
/// ```
/// use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let file = WindowPool::new().open(&path)?;
/// assert_eq!(file.len(), 10);
/// assert_eq!(&file.window(2, 3)?[..], b"234");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WindowFile {
    inner: Arc<FileInner>,
}

impl WindowFile {
    pub(super) fn new(inner: Arc<FileInner>) -> Self {
        Self { inner }
    }

    pub(super) fn inner(&self) -> &Arc<FileInner> {
        &self.inner
    }

    /// The path that the file was opened by; of a descriptor, `/dev/fd/N`.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert_eq!(WindowPool::new().open(file.path())?.path(), file.path());
    /// # Ok(()) }
    /// ```
    pub fn path(&self) -> &Path {
        self.inner.path()
    }

    /// Length in bytes as last seen: when the file was opened, or at the last [`refresh`](Self::refresh).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert_eq!(WindowPool::new().open(file.path())?.len(), 0);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether the file had no bytes when last seen.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert!(WindowPool::new().open(file.path())?.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at the file anew and returns its length: growth and truncation are seen, and later reads show what
    /// is in the file now. Windows that are pinned stay as they are.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// std::fs::write(&path, b"abc").unwrap();
    /// let file = WindowPool::new().open(&path)?;
    /// std::fs::write(&path, b"abcdef").unwrap();
    /// assert_eq!((file.len(), file.refresh()?, file.len()), (3, 6, 6));
    /// # Ok(()) }
    /// ```
    pub fn refresh(&self) -> Result<u64> {
        self.inner.refresh()
    }

    /// Whether the path still names this file: false once it was removed, or another file took its place. This
    /// handle goes on showing the file that it opened. Of a descriptor, always true.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// std::fs::write(&path, b"abc").unwrap();
    /// let file = WindowPool::new().open(&path)?;
    /// std::fs::remove_file(&path).unwrap();
    /// assert!(!file.is_current());
    /// assert_eq!(file.get::<u8>(0)?, b'a');
    /// # Ok(()) }
    /// ```
    pub fn is_current(&self) -> bool {
        if self.path().starts_with("/dev/fd") {
            return true;
        }
        let place = &self.inner.place;
        std::fs::metadata(place)
            .and_then(|meta| sys::identity(&meta, Some(place)))
            .is_ok_and(|identity| identity == self.inner.identity)
    }

    /// How bytes of this file get into windows: `Mmap` or `Pread`.
    ///
    /// ```
    /// # use heapfile::window::{Backend, WindowPool};
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert_eq!(WindowPool::new().open(file.path())?.backend(), Backend::Pread);
    /// # Ok(()) }
    /// ```
    pub fn backend(&self) -> Backend {
        self.inner.backend()
    }

    /// How the file is going to be read, as last said.
    ///
    /// ```
    /// # use heapfile::window::{Access, WindowPool};
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// assert_eq!(WindowPool::new().open(file.path())?.access(), Access::Auto);
    /// # Ok(()) }
    /// ```
    pub fn access(&self) -> Access {
        self.inner.access()
    }

    /// Says how the file is going to be read, to all handles of it and to the kernel.
    ///
    /// ```
    /// # use heapfile::window::{Access, WindowPool};
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let file = tempfile::NamedTempFile::new().unwrap();
    /// WindowPool::new().open(file.path())?.advise(Access::Sequential);
    /// # Ok(()) }
    /// ```
    pub fn advise(&self, access: Access) {
        self.inner.access.store(access as u8, Relaxed);
        sys::advise(&self.inner.file, access);
    }

    /// Asks the kernel to read a range into its page cache in the background. Returns at once; the pool
    /// holds nothing more for it. Free where the kernel takes no such wish.
    ///
    /// # Errors
    /// [`Error::OutsideFile`].
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// WindowPool::new().open(&path)?.prefetch(5..)?;
    /// # Ok(()) }
    /// ```
    pub fn prefetch(&self, range: impl RangeBounds<u64>) -> Result<()> {
        let range = super::ranges::within(range, self.len())?;
        sys::will_need(&self.inner.file, range);
        Ok(())
    }

    /// Pins `len` bytes from `offset`. Inside one window of the pool's grid they share that window; across a
    /// seam they get one of their own. Of a copied window only the pages around the bytes are read.
    ///
    /// # Errors
    /// [`Error::OutsideFile`]; [`Error::Truncated`] if the file was cut short; [`Error::PoolLimit`] if the
    /// window does not fit beside what is pinned; [`Error::Io`].
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let file = WindowPool::new().open(&path)?;
    /// assert_eq!(&file.window(7, 3)?[..], b"789");
    /// assert!(file.window(7, 4).is_err());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn window(&self, offset: u64, len: usize) -> Result<Window> {
        self.window_by(offset, len, Location::caller())
    }

    pub(super) fn window_by(
        &self,
        offset: u64,
        len: usize,
        by: &'static Location<'static>,
    ) -> Result<Window> {
        self.inner.check(offset, len)?;
        if len == 0 {
            return Ok(Window::empty(offset));
        }
        let (region, fresh) = self.inner.obtain(offset, len, Shape::Grid, by)?;
        if fresh && len < region.len() / 16 && self.access() != Access::Sequential {
            region.scattered();
        }
        Window::new(&self.inner, region, offset, len)
    }

    /// Fills `into` from `offset` with one positioned read, whatever windows there are. For many small reads a
    /// [`Buffer`] is faster.
    ///
    /// # Errors
    /// [`Error::OutsideFile`]; [`Error::Truncated`]; [`Error::Io`].
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut into = [0; 4];
    /// WindowPool::new().open(&path)?.read_exact_at(6, &mut into)?;
    /// assert_eq!(&into, b"6789");
    /// # Ok(()) }
    /// ```
    pub fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.inner.check(offset, into.len())?;
        self.inner.read_all(offset, into)
    }

    /// The plain value at `offset`, in this machine's byte order; `offset` need not be aligned. Costs one
    /// positioned read; for many, [`Buffer::get_as`] is faster.
    ///
    /// # Errors
    /// As [`read_exact_at`](Self::read_exact_at).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// std::fs::write(&path, [0, 1, 0, 0, 0]).unwrap();
    /// assert_eq!(u32::from_le(WindowPool::new().open(&path)?.get(1)?), 1);
    /// # Ok(()) }
    /// ```
    pub fn get<T: bytemuck::Pod>(&self, offset: u64) -> Result<T> {
        let mut value = T::zeroed();
        self.read_exact_at(offset, bytemuck::bytes_of_mut(&mut value))?;
        Ok(value)
    }

    /// A cursor: `Read + Seek + BufRead`, and a region that moves over the file.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// use std::io::BufRead as _;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, "one\ntwo\n").unwrap();
    /// let lines: Vec<_> = WindowPool::new().open(&path)?.cursor().lines().map(Result::unwrap).collect();
    /// assert_eq!(lines, ["one", "two"]);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.clone(), Location::caller())
    }

    /// The file as one long sequence of bytes.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let mut buffer = WindowPool::new().open(&path)?.buffer();
    /// assert_eq!(buffer.get(9)?, Some(b'9'));
    /// assert_eq!(buffer.get(10)?, None);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn buffer(&self) -> Buffer {
        Buffer::new(self.clone(), Location::caller())
    }
}

impl std::fmt::Debug for WindowFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowFile")
            .field("path", &self.path())
            .field("len", &self.len())
            .field("backend", &self.backend())
            .finish()
    }
}
