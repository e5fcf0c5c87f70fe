//! The bytes of one window, and the guard that pins them.
//!
//! A region is either a mapping of the file or a *copy*: anonymous memory, filled with positioned reads as far
//! as somebody looks. All `unsafe` of this layer is here.
//!
//! Invariants of a copy: a page is written only under the `filling` lock and only while its bit is clear; its
//! bit is set (release) after the write and never cleared while the region is shared; a page is shown only
//! after its bit was seen set (acquire). So no byte is written while a slice of it exists.

use super::budget::Charge;
use super::file::FileInner;
use crate::Result;
use memmap2::{Advice, Mmap, MmapMut, MmapOptions, MmapRaw};
use std::io;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Unit of the bits of a copy.
const PAGE: usize = 4096;
/// A copy is filled by aligned runs of this, so that neighbours cost no system call each.
const FILL: usize = 16 * 1024;

pub(super) struct Region {
    begin: u64,
    len: usize,
    memory: Memory,
    charge: Charge,
    /// Whether the pool's table holds one of the references.
    listed: AtomicBool,
}

enum Memory {
    Mapped(Mmap),
    Copy(Copied),
}

/// Memory of a copy, to be filled.
pub(super) struct Copied {
    memory: MmapRaw,
    filled: Box<[AtomicU64]>,
    filling: Mutex<()>,
}

impl Copied {
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let memory = MmapRaw::from(MmapMut::map_anon(len)?);
        let words = len.div_ceil(PAGE).div_ceil(64);
        let filled = std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect();
        Ok(Self { memory, filled, filling: Mutex::new(()) })
    }

    pub(super) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Nothing is filled any more. `&mut`: nobody looks.
    fn clear(&mut self) {
        self.filled.iter_mut().for_each(|word| *word.get_mut() = 0);
    }

    fn is_filled(&self, page: usize) -> bool {
        self.filled[page / 64].load(Ordering::Acquire) >> (page % 64) & 1 == 1
    }

    fn are_filled(&self, range: &Range<usize>) -> bool {
        (range.start / PAGE..range.end.div_ceil(PAGE)).all(|page| self.is_filled(page))
    }

    /// Fills `range`, in bytes of the region, which begins at `begin` in the file.
    fn fill(&self, file: &FileInner, begin: u64, range: Range<usize>) -> Result<()> {
        if range.is_empty() || self.are_filled(&range) {
            return Ok(());
        }
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let end = range.end.next_multiple_of(FILL).min(self.len()).div_ceil(PAGE);
        let mut page = range.start / FILL * (FILL / PAGE);
        while page < end {
            if self.is_filled(page) {
                page += 1;
                continue;
            }
            let stop = (page..end).find(|&p| self.is_filled(p)).unwrap_or(end);
            let bytes = page * PAGE..(stop * PAGE).min(self.len());
            // SAFETY: the range lies inside the memory, which is initialised (anonymous) and of one
            // allocation. Nobody else reads or writes it: its bits are clear, so no slice of it was given out
            // (`Region::bytes` asks for the bits), and bits are set only under the lock that we hold.
            let into = unsafe {
                std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().add(bytes.start), bytes.len())
            };
            let read_to = bytes.start + file.read_up_to(begin + bytes.start as u64, into)?;
            // A page is filled when all of it that belongs to the region was read.
            let full = if read_to == self.len() { stop } else { read_to / PAGE };
            for page in page..full {
                self.filled[page / 64].fetch_or(1 << (page % 64), Ordering::Release);
            }
            if full < stop {
                // Regions end where the file ended, or before: it was cut short since. What is left will do
                // if it is all that was asked for.
                return if self.are_filled(&range) {
                    Ok(())
                } else {
                    Err(file.truncated(begin + bytes.end as u64))
                };
            }
            page = stop;
        }
        Ok(())
    }
}

impl Region {
    /// Maps a range of a file that may be mapped.
    pub(super) fn map(file: &FileInner, begin: u64, len: usize, charge: Charge) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.offset(begin).len(len).no_probe_handle();
        let map = if file.is_trusted() {
            // SAFETY: whoever built the pool called `Builder::trust_files` and so promised that neither this
            // range of the file is lost nor a byte of it changed while a window shows it.
            unsafe { options.map(file.file()) }?
        } else {
            options.map_if_safe(file.file()).map_err(io::Error::from)?
        };
        Ok(Self { begin, len, memory: Memory::Mapped(map), charge, listed: AtomicBool::new(false) })
    }

    /// Wraps memory to be filled from the file.
    pub(super) fn copy(mut memory: Copied, begin: u64, charge: Charge) -> Self {
        memory.clear();
        let (len, listed) = (memory.len(), AtomicBool::new(false));
        Self { begin, len, memory: Memory::Copy(memory), charge, listed }
    }

    /// Bytes of the pool's memory that this counts as.
    pub(super) fn charged(&self) -> u64 {
        self.charge.bytes()
    }

    /// The memory and its charge for another region, if this was a copy.
    pub(super) fn recycle(self) -> Option<(Copied, Charge)> {
        match self.memory {
            Memory::Copy(memory) => Some((memory, self.charge)),
            Memory::Mapped(_) => None,
        }
    }

    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    pub(super) fn end(&self) -> u64 {
        self.begin + self.len as u64
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Notes whether the pool's table holds this region.
    pub(super) fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Ordering::Relaxed);
    }

    /// How many hold the region besides the table. Exact under the pool's lock if it is 0: then nobody can
    /// come to it but through the table.
    pub(super) fn clients(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - usize::from(self.listed.load(Ordering::Relaxed))
    }

    pub(super) fn covers(&self, offset: u64, len: usize) -> bool {
        offset >= self.begin && offset - self.begin <= self.len as u64 && {
            len as u64 <= self.len as u64 - (offset - self.begin)
        }
    }

    /// Tells the kernel that pages of a mapping are visited here and there: no read-ahead at a fault.
    pub(super) fn scattered(&self) {
        #[cfg(unix)]
        if let Memory::Mapped(map) = &self.memory {
            let _ = map.advise(Advice::Random);
        }
    }

    /// Makes sure that the bytes can be looked at. A mapping needs nothing.
    fn fill(&self, file: &FileInner, range: Range<usize>) -> Result<()> {
        match &self.memory {
            Memory::Mapped(_) => Ok(()),
            Memory::Copy(memory) => memory.fill(file, self.begin, range),
        }
    }

    /// All bytes of a mapping; of a copy only what was filled may be asked for.
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        match &self.memory {
            Memory::Mapped(map) => &map[range],
            Memory::Copy(copied) => {
                debug_assert!(range.is_empty() || copied.are_filled(&range));
                assert!(range.start <= range.end && range.end <= copied.len());
                // SAFETY: in bounds (asserted) of memory that lives as long as `self`. Only `Window` calls this,
                // with ranges that `fill` reported filled to it: they are never written again while the
                // region is shared.
                unsafe { std::slice::from_raw_parts(copied.memory.as_ptr().add(range.start), range.len()) }
            }
        }
    }
}

/// Asks the processor to fetch bytes into its second-level cache, where it knows how.
pub(super) fn fetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults, whatever the address; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Some bytes of a file, pinned: they stay where they are for as long as this guard lives.
///
/// Dereferences to `[u8]`. A guard may outlive the handle and the pool that it came from, be sent to other
/// threads, and be cloned (one more client of the same window).
///
/// ```
/// use heapfile::window::WindowPool;
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let window = WindowPool::new().open(&path)?.window(3, 4)?;
/// assert_eq!(&window[..], b"3456");
/// assert_eq!((window.offset(), window.end()), (3, 7));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Window {
    /// `None` for a window of no bytes.
    region: Option<Arc<Region>>,
    offset: u64,
    /// Bytes of the region, filled; kept so that looking at them costs no way through it.
    bytes: NonNull<[u8]>,
}

// SAFETY: of `bytes` there are shared references only, and `region`, which may be sent and shared itself, keeps them.
unsafe impl Send for Window {}
// SAFETY: likewise.
unsafe impl Sync for Window {}

impl Window {
    pub(super) fn empty(offset: u64) -> Self {
        Self { region: None, offset, bytes: NonNull::from(&[]) }
    }

    /// A view of `len` bytes from `offset`, which `region` covers.
    pub(super) fn new(file: &FileInner, region: Arc<Region>, offset: u64, len: usize) -> Result<Self> {
        assert!(region.covers(offset, len));
        let start = (offset - region.begin) as usize;
        region.fill(file, start..start + len)?;
        let bytes = NonNull::from(region.bytes(start..start + len));
        Ok(Self { region: Some(region), offset, bytes })
    }

    /// Another view of the same window, which must cover it.
    pub(super) fn again(&self, file: &FileInner, offset: u64, len: usize) -> Option<Result<Self>> {
        let region = self.region.as_ref().filter(|region| region.covers(offset, len))?;
        Some(Self::new(file, Arc::clone(region), offset, len))
    }

    /// Offset in the file of the first byte.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// assert_eq!(WindowPool::new().open(&path)?.window(3, 4)?.offset(), 3);
    /// # Ok(()) }
    /// ```
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Offset in the file behind the last byte.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// assert_eq!(WindowPool::new().open(&path)?.window(3, 4)?.end(), 7);
    /// # Ok(()) }
    /// ```
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// The part of the file that the window behind this guard covers: at least what the guard shows, and
    /// usually a whole window.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// assert_eq!(WindowPool::new().open(&path)?.window(3, 4)?.region(), 0..10);
    /// # Ok(()) }
    /// ```
    pub fn region(&self) -> Range<u64> {
        self.region.as_ref().map_or(self.offset..self.offset, |region| region.begin()..region.end())
    }

    /// How many guards, cursors and buffers pin the window behind this guard, this one included.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let pool = WindowPool::new();
    /// let file = pool.open(&path)?;
    /// let (first, second) = (file.window(0, 4)?, file.window(6, 4)?);
    /// assert_eq!(first.clients(), 2);
    /// # Ok(()) }
    /// ```
    pub fn clients(&self) -> usize {
        self.region.as_ref().map_or(0, Region::clients)
    }

    /// Whether two guards pin the same window.
    ///
    /// ```
    /// # use heapfile::window::WindowPool;
    /// # fn main() -> Result<(), heapfile::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a");
    /// # std::fs::write(&path, b"0123456789").unwrap();
    /// let pool = WindowPool::new();
    /// let file = pool.open(&path)?;
    /// assert!(file.window(0, 4)?.shares(&file.window(6, 4)?));
    /// # Ok(()) }
    /// ```
    pub fn shares(&self, other: &Self) -> bool {
        match (&self.region, &other.region) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        }
    }
}

impl Deref for Window {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: made of a reference into the region's memory, which neither moves nor is written to while `region`
        // is there, or of one to no bytes.
        unsafe { self.bytes.as_ref() }
    }
}

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.offset..self.end();
        f.debug_struct("Window").field("bytes", &shown).field("region", &self.region()).finish()
    }
}
