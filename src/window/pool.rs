//! The pool: who is open, which windows are there, and what they may take.
//!
//! One lock guards the table of windows and the table of files; no file is read under it. Lock order: pool,
//! then nothing. A [`FileInner`] is never dropped under the lock, since its drop takes it.
#![forbid(unsafe_code)]

use super::budget::{Budget, Charge};
use super::builder::Builder;
use super::file::{FileInner, WindowFile};
use super::region::{Copied, Region};
use super::source::{Opened, Source};
use super::stats::{Collected, Pin, Release, Stats};
use super::sys::{self, Identity};
use super::table::{Entry, Table};
use super::{Access, Backend};
use crate::{Error, Result};
use std::collections::HashMap;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[derive(Debug, Clone)]
pub(super) struct Config {
    /// `None`: whole files.
    pub(super) window_size: Option<u64>,
    pub(super) memory_limit: u64,
    pub(super) hard: bool,
    pub(super) max_windows: u64,
    pub(super) max_files: u64,
    pub(super) access: Access,
    pub(super) backend: Backend,
    pub(super) trusted: bool,
    /// That search one file at once.
    pub(super) threads: usize,
}

/// Read-only access to any number of files under one limit of memory. Cheap to clone: clones are the same pool.
///
/// ```
/// use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let pool = WindowPool::new();
/// let file = pool.open(&path)?;
/// assert_eq!(file.get::<u16>(4)?, u16::from_ne_bytes(*b"45"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WindowPool {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: Config,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

struct State {
    table: Table,
    files: HashMap<Identity, Weak<FileInner>>,
    orphans: Vec<Orphan>,
    next_file: u64,
    hits: u64,
    misses: u64,
    evictions: u64,
}

impl Default for WindowPool {
    fn default() -> Self {
        Self::new()
    }
}

impl WindowPool {
    /// A pool with the default settings: 4 MiB windows, a hard limit of 256 MiB.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// assert_eq!(WindowPool::new().memory_limit(), 256 << 20);
    /// ```
    pub fn new() -> Self {
        Builder::default().build().expect("the default settings are sound")
    }

    /// Settings for a pool.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// let pool = WindowPool::builder().memory_limit(1 << 30).build()?;
    /// # Ok(()) }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn with(config: Config) -> Self {
        let state = State {
            table: Table::new(),
            files: HashMap::new(),
            orphans: Vec::new(),
            next_file: 0,
            hits: 0,
            misses: 0,
            evictions: 0,
        };
        let budget = Arc::new(Budget::new(config.memory_limit));
        Self { shared: Arc::new(Shared { config, budget, state: Mutex::new(state) }) }
    }

    /// Opens a path, a `File`, or a descriptor for reading. A file that is open in this pool already is
    /// shared: same descriptor, same windows.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses; [`Error::NotAFile`] for directories, pipes, sockets, devices and
    /// files of `/proc`, of which the system does not tell the length;
    /// [`Error::PoolLimit`] over `max_files`; [`Error::Unsupported`] under [`Backend::Mmap`] if nobody vouches
    /// for the file.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let pool = WindowPool::new();
    /// let by_path = pool.open(&path)?;
    /// let by_file = pool.open(std::fs::File::open(&path).unwrap())?;
    /// assert_eq!(pool.stats().files, 1);
    /// # Ok(()) }
    /// ```
    pub fn open(&self, source: impl Into<Source>) -> Result<WindowFile> {
        self.shared.open(source.into()).map(WindowFile::new)
    }

    /// Drops all windows that nobody pins.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let pool = WindowPool::new();
    /// let file = pool.open(&path)?;
    /// drop(file.window(0, 4)?);
    /// assert_eq!(pool.collect().windows, 1);
    /// # Ok(()) }
    /// ```
    pub fn collect(&self) -> Collected {
        dropped(&self.shared.lock().table.take(false, |_| true))
    }

    /// Drops all windows of a file that nobody pins, and says who keeps the rest, for instance before the file
    /// is to be replaced.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such file.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let pool = WindowPool::new();
    /// let file = pool.open(&path)?;
    /// let guard = file.window(2, 4)?;
    /// let release = pool.release(&path)?;
    /// assert_eq!((release.handles, release.pinned.len()), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn release(&self, path: impl AsRef<Path>) -> Result<Release> {
        let path = path.as_ref();
        let meta = std::fs::metadata(path).map_err(|e| Error::io("look at", path, e))?;
        let identity = sys::identity(&meta, Some(path)).map_err(|e| Error::io("look at", path, e))?;
        Ok(self.shared.release(&identity))
    }

    /// Counters and gauges.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// assert_eq!(WindowPool::new().stats().windows, 0);
    /// ```
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        let unpinned = state.table.iter().filter(|entry| entry.region.clients() == 0).count() as u64;
        let windows = self.shared.budget.windows();
        Stats {
            hits: state.hits,
            misses: state.misses,
            evictions: state.evictions,
            mapped_bytes: self.shared.budget.bytes(),
            peak_bytes: self.shared.budget.peak(),
            windows,
            pinned_windows: windows.saturating_sub(unpinned),
            files: state.files.values().filter(|file| file.strong_count() > 0).count() as u64,
        }
    }

    /// Bytes of a window, in whole pages; `None` if windows are whole files.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// assert_eq!(WindowPool::new().window_size(), Some(4 << 20));
    /// ```
    pub fn window_size(&self) -> Option<u64> {
        self.shared.config.window_size
    }

    /// Bytes that the pool may hold.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// assert_eq!(WindowPool::new().memory_limit(), 256 << 20);
    /// ```
    pub fn memory_limit(&self) -> u64 {
        self.shared.config.memory_limit
    }

    /// Windows begin and end at multiples of this many bytes (the last one of a file ends with the file).
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// assert!(WindowPool::alignment().is_power_of_two());
    /// ```
    pub fn alignment() -> u64 {
        sys::granule()
    }
}

fn dropped(entries: &[Entry]) -> Collected {
    let bytes = entries.iter().map(|entry| entry.region.charged()).sum();
    Collected { windows: entries.len() as u64, bytes }
}

/// A window that is listed no longer (its file was closed or refreshed) but that a guard still pins.
struct Orphan {
    identity: Identity,
    region: Weak<Region>,
    last_pinned_by: &'static Location<'static>,
}

impl State {
    /// Lists windows of a file no longer; remembers those that are pinned.
    fn forget(&mut self, identity: &Identity, which: impl Fn(&Entry) -> bool) {
        self.forget_unpinned();
        for entry in self.table.take(true, which) {
            self.remember(identity, &entry);
        }
    }

    fn forget_unpinned(&mut self) {
        self.orphans.retain(|orphan| orphan.region.strong_count() > 0);
    }

    /// Remembers a window that is listed no longer, if it is pinned.
    fn remember(&mut self, identity: &Identity, entry: &Entry) {
        if entry.region.clients() > 1 {
            // Those that nobody pins any more go before more room is taken. With room for as many again as are left, this is rare.
            if self.orphans.len() == self.orphans.capacity() {
                self.forget_unpinned();
                self.orphans.reserve(self.orphans.len().max(8));
            }
            let (region, last_pinned_by) = (Arc::downgrade(&entry.region), entry.last_pinned_by);
            self.orphans.push(Orphan { identity: identity.clone(), region, last_pinned_by });
        }
    }
}

fn pin(region: &Arc<Region>, clients: usize, last_pinned_by: &'static Location<'static>) -> Pin {
    Pin { offset: region.begin(), len: region.len() as u64, clients, last_pinned_by }
}

/// Which window a request gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The one of the grid that holds it; of its own if it lies across a seam.
    Grid,
    /// The whole file.
    Whole,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, source: Source) -> Result<Arc<FileInner>> {
        let opened = source.look()?;
        let mut state = self.lock();
        if let Some(file) = state.files.get(opened.identity()).and_then(Weak::upgrade) {
            drop(state);
            file.refresh_if_changed()?;
            return Ok(file);
        }
        state.files.retain(|_, file| file.strong_count() > 0);
        let files = state.files.len() as u64 + 1;
        let limit = self.config.max_files;
        if files > limit {
            return Err(Error::PoolLimit { what: "max_files", needed: files, limit });
        }
        // Opening may block (a network file system), so not under the lock; whoever comes second shares.
        drop(state);
        let Opened { file, path, identity, len } = opened.open()?;
        let mut state = self.lock();
        if let Some(file) = state.files.get(&identity).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let files = state.files.values().filter(|file| file.strong_count() > 0).count() as u64 + 1;
        if files > limit {
            return Err(Error::PoolLimit { what: "max_files", needed: files, limit });
        }
        state.next_file += 1;
        let inner = FileInner::new(Arc::clone(self), state.next_file, file, path, identity.clone(), len)?;
        let inner = Arc::new(inner);
        state.files.insert(identity, Arc::downgrade(&inner));
        Ok(inner)
    }

    /// Forgets a file that is being dropped.
    pub(super) fn close(&self, id: u64, identity: &Identity) {
        let mut state = self.lock();
        if state.files.get(identity).is_some_and(|file| file.strong_count() == 0) {
            state.files.remove(identity);
        }
        state.forget(identity, |entry| entry.key.0 == id);
    }

    /// Lists no longer what of a file is not wholly below `len`, and copies, which may be out of date.
    pub(super) fn forget(&self, id: u64, identity: &Identity, len: u64, copies: bool) {
        let stale = |entry: &Entry| entry.key.0 == id && (copies || entry.region.end() > len);
        self.lock().forget(identity, stale);
    }

    fn release(&self, identity: &Identity) -> Release {
        let mut state = self.lock();
        let file = state.files.get(identity).and_then(Weak::upgrade);
        let is_its = |entry: &Entry| file.as_ref().is_some_and(|file| entry.key.0 == file.id());
        // Gone before the lock is: nobody must miss room that is about to be given back.
        let dropped = dropped(&state.table.take(false, is_its));
        let listed = state.table.iter().filter(|entry| is_its(entry));
        let mut pinned: Vec<_> =
            listed.map(|entry| pin(&entry.region, entry.region.clients(), entry.last_pinned_by)).collect();
        for orphan in state.orphans.iter().filter(|orphan| orphan.identity == *identity) {
            if let Some(region) = orphan.region.upgrade() {
                pinned.push(pin(&region, region.clients() - 1, orphan.last_pinned_by));
            }
        }
        drop(state);
        pinned.retain(|pin| pin.clients > 0);
        pinned.sort_by_key(|pin| pin.offset);
        let handles = file.as_ref().map_or(0, |file| Arc::strong_count(file) - 1);
        Release { dropped, pinned, handles }
    }

    /// Bytes from `begin` of a file of `file_len` that the window for a request covers.
    fn place(&self, file_len: u64, offset: u64, len: usize, shape: Shape) -> (u64, u64) {
        let Some(size) = self.config.window_size.filter(|_| shape == Shape::Grid) else {
            return (0, file_len);
        };
        let end = offset + len as u64;
        let begin = offset / size * size;
        let grid_end = begin.saturating_add(size).min(file_len);
        if end <= grid_end {
            return (begin, grid_end);
        }
        let granule = sys::granule();
        (offset / granule * granule, end.checked_next_multiple_of(granule).unwrap_or(end).min(file_len))
    }

    /// Begins of the windows that may show a request: of the grid, of its own, of the whole file.
    fn keys(&self, offset: u64) -> [u64; 3] {
        let granule = sys::granule();
        [self.config.window_size.map_or(0, |size| offset / size * size), offset / granule * granule, 0]
    }

    /// The window that shows a request, if it is there.
    pub(super) fn resident(
        &self,
        file: &FileInner,
        offset: u64,
        len: usize,
        by: &'static Location<'static>,
    ) -> Option<Arc<Region>> {
        self.find(&mut self.lock(), file, offset, len, by)
    }

    fn find(
        &self,
        state: &mut State,
        file: &FileInner,
        offset: u64,
        len: usize,
        by: &'static Location<'static>,
    ) -> Option<Arc<Region>> {
        let found = self
            .keys(offset)
            .into_iter()
            .find_map(|begin| state.table.request((file.id(), begin), offset, len, by))?;
        state.hits += 1;
        Some(found)
    }

    /// The window that shows a request, made if it is not there. The request lies inside the file.
    /// Says whether it was made.
    pub(super) fn obtain(
        &self,
        file: &FileInner,
        offset: u64,
        len: usize,
        shape: Shape,
        by: &'static Location<'static>,
    ) -> Result<(Arc<Region>, bool)> {
        let mut state = self.lock();
        if let Some(region) = self.find(&mut state, file, offset, len, by) {
            return Ok((region, false));
        }
        state.misses += 1;
        // The file may have been seen shorter since the caller looked.
        let file_len = file.len();
        FileInner::check_in(file_len, offset, len)?;
        let (begin, end) = self.place(file_len, offset, len, shape);
        let region = Arc::new(self.make(&mut state, file, begin, end - begin)?);
        // One that begins there too may be pinned, and is too short for this request.
        if let Some(before) = state.table.insert((file.id(), begin), Arc::clone(&region), by) {
            state.remember(&file.identity, &before);
        }
        Ok((region, true))
    }

    /// How many windows of `each` bytes would push nothing out; at most `most`.
    pub(super) fn room_for(&self, most: usize, each: u64) -> usize {
        let bytes = self.config.memory_limit.saturating_sub(self.budget.bytes()) / each;
        let windows = self.config.max_windows.saturating_sub(self.budget.windows());
        usize::try_from(bytes.min(windows)).map_or(most, |room| room.min(most))
    }

    /// A mapping outside the table, for one who passes over the file: its pages are not worth keeping.
    pub(super) fn passing(&self, file: &FileInner, begin: u64, len: usize) -> Result<Region> {
        let charge = self.admit(&mut self.lock(), len as u64, None)?.0;
        Region::map(file, begin, len, charge).map_err(|e| Error::io("map", file.path(), e))
    }

    fn make(&self, state: &mut State, file: &FileInner, begin: u64, len: u64) -> Result<Region> {
        let too_long = || Error::PoolLimit {
            what: "memory_limit",
            needed: len,
            limit: self.config.memory_limit.min(isize::MAX as u64),
        };
        let size =
            usize::try_from(len).ok().filter(|&size| isize::try_from(size).is_ok()).ok_or_else(too_long)?;
        let mapped = file.backend() == Backend::Mmap;
        // A copy takes whole pages, also where the file ends inside one.
        let charged = if mapped { len } else { len.checked_next_multiple_of(sys::granule()).unwrap_or(len) };
        loop {
            let (charge, memory) = self.admit(state, charged, (!mapped).then_some(size))?;
            let made = match memory {
                Some(memory) => return Ok(Region::copy(memory, begin, charge)),
                None if mapped => Region::map(file, begin, size, charge),
                None => Copied::new(size).map(|memory| Region::copy(memory, begin, charge)),
            };
            match made {
                Ok(region) => return Ok(region),
                // Out of address space or of mappings, perhaps: others may make room.
                Err(_) if self.evict(state).is_some() => {}
                Err(e) => return Err(Error::io("map a window of", file.path(), e)),
            }
        }
    }

    fn evict(&self, state: &mut State) -> Option<Region> {
        let region = state.table.evict()?;
        state.evictions += 1;
        Some(region)
    }

    /// Makes room for one more window of `bytes`; on the way, memory of a copy of the `wanted` size may be
    /// had from the window that had to leave.
    fn admit(
        &self,
        state: &mut State,
        bytes: u64,
        wanted: Option<usize>,
    ) -> Result<(Charge, Option<Copied>)> {
        let limit = |what, needed, limit| Err(Error::PoolLimit { what, needed, limit });
        if self.config.hard && bytes > self.budget.limit() {
            return limit("memory_limit", bytes, self.budget.limit());
        }
        loop {
            let windows = self.budget.windows() + 1;
            let fits = windows <= self.config.max_windows;
            if let Some(charge) = fits.then(|| self.budget.charge(bytes, 1, false)).flatten() {
                return Ok((charge, None));
            }
            if let Some(evicted) = self.evict(state) {
                // Over a soft limit, or the count of windows, one that leaves makes no room for another.
                let room = fits && self.budget.bytes() <= self.budget.limit();
                let same = room && wanted == Some(evicted.len());
                if let Some((memory, charge)) = same.then(|| evicted.recycle()).flatten() {
                    return Ok((charge, Some(memory)));
                }
                continue;
            }
            if !fits {
                return limit("max_windows", windows, self.config.max_windows);
            }
            let charge = (!self.config.hard).then(|| self.budget.charge(bytes, 1, true)).flatten();
            return match charge {
                Some(charge) => Ok((charge, None)),
                None => limit("memory_limit", self.budget.bytes().saturating_add(bytes), self.budget.limit()),
            };
        }
    }

    /// Leave to hold a read buffer of at most `want` and at least `least` bytes.
    pub(super) fn buffer_charge(&self, want: usize, least: usize) -> Result<(Charge, usize)> {
        debug_assert!(least <= want);
        let mut state = self.lock();
        loop {
            if let Some(charge) = self.budget.charge(want as u64, 0, false) {
                return Ok((charge, want));
            }
            if self.evict(&mut state).is_some() {
                continue;
            }
            let left = self.budget.limit().saturating_sub(self.budget.bytes());
            let less = usize::try_from(left).unwrap_or(want).min(want);
            if less >= least {
                if let Some(charge) = self.budget.charge(less as u64, 0, false) {
                    return Ok((charge, less));
                }
                continue;
            }
            return match (!self.config.hard).then(|| self.budget.charge(want as u64, 0, true)).flatten() {
                Some(charge) => Ok((charge, want)),
                None => Err(Error::PoolLimit {
                    what: "memory_limit",
                    needed: self.budget.bytes() + least as u64,
                    limit: self.budget.limit(),
                }),
            };
        }
    }
}

impl std::fmt::Debug for WindowPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowPool")
            .field("config", &self.shared.config)
            .field("stats", &self.stats())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans(pool: &WindowPool) -> usize {
        pool.shared.lock().orphans.len()
    }

    /// A pool and a file of many small windows.
    fn small_windows() -> (WindowPool, WindowFile, tempfile::NamedTempFile) {
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.as_file().set_len(64 << 20).unwrap();
        let pool = WindowPool::builder().window_size(sys::granule()).build().unwrap();
        let file = pool.open(on_disk.path()).unwrap();
        (pool, file, on_disk)
    }

    #[test]
    fn windows_that_were_displaced_while_pinned_are_forgotten_when_they_are_gone() {
        let (pool, file, _on_disk) = small_windows();
        let step = 2 * sys::granule();
        for at in (0..1000).map(|record| record * step % (64 << 20)) {
            let _head = file.window(at, 16).unwrap();
            let _all = file.window(at, step as usize).unwrap();
            assert!((1..=32).contains(&orphans(&pool)), "{}", orphans(&pool));
        }
    }

    #[test]
    fn windows_that_were_displaced_are_remembered_for_as_long_as_they_are_pinned() {
        let (pool, file, on_disk) = small_windows();
        let step = 2 * sys::granule();
        let heads: Vec<_> = (0..100)
            .map(|record| {
                let head = file.window(record * step, 16).unwrap();
                file.window(record * step, step as usize).unwrap();
                head
            })
            .collect();
        assert_eq!(orphans(&pool), heads.len());
        let pinned = pool.release(on_disk.path()).unwrap().pinned;
        assert_eq!(pinned.iter().map(|pin| pin.clients).sum::<usize>(), heads.len());
    }
}
