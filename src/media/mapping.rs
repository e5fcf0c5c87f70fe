//! The mapped file: the only place that turns file offsets into addresses.
//!
//! Invariants, which every `unsafe` block here relies on:
//! 1. The mapping (the second one too) covers `capacity` bytes from the start of the file for as long as this value lives; nothing
//!    ever moves or shrinks it.
//! 2. `len` never exceeds the length that the file was seen to have, so every access below it is backed by
//!    the file (the documented precondition of `open`: nobody cuts the file except through this library,
//!    which cuts only free space after all handles have taken notice).
//! 3. A byte handed out as `&[u8]` is not changed while the slice lives. The gate keeps this: views live under a read
//!    or write transaction, committed bytes of blocks are changed only while the gate is shut and the readers are gone,
//!    and space that is filled in place is free in every state that a reader can hold.
//! 4. Metadata words are only ever read through [`Mapping::load`] and friends, which copy.

use super::Ready;
use super::file::{ArenaFile, OpenMode};
use super::region::{HUGE_PAGE, Region};
use super::target::{Piece, Target};
use crate::layout::{PAGE, RUNTIME_PAGE, RUNTIME_PAGES, page_offset};
use memmap2::{MmapOptions, MmapRaw};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The runtime region as words.
pub(crate) type RuntimeWords = [AtomicU64; (RUNTIME_PAGES as u64 * PAGE / 8) as usize];

const RUNTIME_AT: u64 = page_offset(RUNTIME_PAGE);

/// Which parts of the mapping this process may store to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writable {
    /// Everything: arenas that apply commits by stores.
    All,
    /// Only the runtime region: a stray store to the heap faults instead of damaging the file.
    Runtime,
    /// Nothing reaches the file; stores go to private copies of the pages.
    Private,
}

/// One file, mapped once for all the length it may reach.
#[derive(Debug)]
pub(crate) struct Mapping {
    all: Region,
    /// Second, writable mapping of everything where `all` is read-only, to copy to. Made when first needed; nothing if it could not be had.
    pub(super) target: OnceLock<Option<Target>>,
    /// Second, writable mapping of the runtime region where `all` is read-only. Kept for `runtime_at`.
    _runtime: Option<MmapRaw>,
    /// Address of the runtime region.
    runtime_at: *const u8,
    writable: Writable,
    capacity: u64,
    len: AtomicU64,
}

// SAFETY: the address is of memory that all threads and processes share, accessed through atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `file` for `wanted` bytes; where the address space is short, halves that, but not below `at_least`.
    pub(crate) fn new(
        file: &File,
        len: u64,
        wanted: u64,
        at_least: u64,
        writable: Writable,
    ) -> io::Result<Self> {
        let mut capacity = wanted.max(len);
        let all = loop {
            match Self::map(file, capacity, writable) {
                Ok(map) => break map,
                Err(e) if capacity > at_least && e.raw_os_error() == Some(libc::ENOMEM) => {
                    capacity = (capacity / 2).max(at_least);
                }
                Err(e) => return Err(e),
            }
        };
        let runtime = match writable {
            Writable::Runtime => {
                let len = u64::from(RUNTIME_PAGES) * PAGE;
                Some(MmapOptions::new().offset(RUNTIME_AT).len(len as usize).map_raw(file)?)
            }
            Writable::All | Writable::Private => None,
        };
        let runtime_at = match &runtime {
            Some(map) => map.as_ptr(),
            None => all.address().wrapping_add(RUNTIME_AT as usize),
        };
        let (target, len) = (OnceLock::new(), AtomicU64::new(len));
        Ok(Self { all, target, _runtime: runtime, runtime_at, writable, capacity, len })
    }

    fn map(file: &File, capacity: u64, writable: Writable) -> io::Result<Region> {
        let (protection, flags) = match writable {
            Writable::All => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
            Writable::Runtime => (ProtFlags::READ, MapFlags::SHARED),
            Writable::Private => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE),
        };
        let map = Region::map(file, capacity, protection, flags | MapFlags::NORESERVE)?;
        map.advise(Advice::Random);
        map.advise(Advice::LinuxDontDump);
        Ok(map)
    }

    /// The huge pages that end in `[from, to)`, both lengths of the file, but the first, in which the runtime words are.
    pub(crate) fn huge_pages(from: u64, to: u64) -> Range<u64> {
        (from / HUGE_PAGE * HUGE_PAGE).max(HUGE_PAGE)..to / HUGE_PAGE * HUGE_PAGE
    }

    /// Has the kernel hold such a range in huge pages (see [`Region::collapse`]).
    pub(crate) fn collapse(&self, range: Range<u64>) {
        self.all.collapse(range);
    }

    /// Bytes that may be accessed: the length of the file as last seen, at most the capacity.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Bytes of address space, the most that `len` can become.
    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Takes notice of the file's length, unless another than `known` was noticed meanwhile.
    pub(crate) fn replace_len(&self, known: u64, len: u64) -> bool {
        self.len.compare_exchange(known, len.min(self.capacity), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes notice that the file is about to be cut to `len`.
    pub(crate) fn lower_len(&self, len: u64) {
        self.len.fetch_min(len, Ordering::AcqRel);
    }

    #[inline(always)]
    fn address(&self, offset: u64, len: u64) -> Option<*const u8> {
        let end = offset.checked_add(len)?;
        (end <= self.len()).then(|| self.all.address().wrapping_add(offset as usize).cast_const())
    }

    /// The word at `offset`, or nothing where that is misaligned or outside the file.
    #[inline]
    pub(crate) fn load(&self, offset: u64) -> Option<u64> {
        if !offset.is_multiple_of(8) {
            return None;
        }
        let address = self.address(offset, 8)?;
        // SAFETY: eight bytes inside the mapping and the file (1, 2), aligned because the mapping is page-aligned.
        // Atomic, so that a word that another process changes against the rules is still one value.
        Some(unsafe { &*address.cast::<AtomicU64>() }.load(Ordering::Relaxed))
    }

    /// Up to `most` words from `offset` on, as far as the file reaches; none where that is misaligned. Atomic, so that they may be looked at whoever changes
    /// them: what they hold means something only to who knows that nobody does.
    #[inline]
    pub(crate) fn words(&self, offset: u64, most: u64) -> &[AtomicU64] {
        let count = (self.len().saturating_sub(offset) / 8).min(most);
        if !offset.is_multiple_of(8) || count == 0 {
            return &[];
        }
        let address = self.all.address().wrapping_add(offset as usize);
        // SAFETY: `count` words inside the mapping and the file (1, 2), aligned as in `load`; atomics may change while they are borrowed.
        unsafe { std::slice::from_raw_parts(address.cast::<AtomicU64>(), count as usize) }
    }

    /// Fetches the ends of a range, of at least one byte, into the cache, where the processor knows how; what is not mapped is left alone.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: u64, len: u64) {
        #[cfg(target_arch = "x86_64")]
        if let Some(address) = self.address(offset, len) {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            // SAFETY: the processor takes it as a hint and never faults; the addresses are inside the mapping (1).
            unsafe {
                _mm_prefetch::<_MM_HINT_ET0>(address.cast());
                _mm_prefetch::<_MM_HINT_ET0>(address.wrapping_add(len as usize - 1).cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (offset, len);
    }

    /// Copies bytes out of the mapping.
    #[inline]
    pub(crate) fn copy_to(&self, offset: u64, to: &mut [u8]) -> Option<()> {
        let address = self.address(offset, to.len() as u64)?;
        // SAFETY: the source lies inside the mapping and the file (1, 2); the target is a distinct Rust slice.
        unsafe { std::ptr::copy_nonoverlapping(address, to.as_mut_ptr(), to.len()) };
        Some(())
    }

    /// A view of `len` bytes at `offset`, for callers that keep invariant 3 (transactions).
    #[inline]
    pub(crate) fn view(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let address = self.address(offset, len)?;
        // SAFETY: inside the mapping and the file (1, 2), initialised by the kernel, unchanged while it lives (3).
        Some(unsafe { std::slice::from_raw_parts(address, len as usize) })
    }

    /// Stores bytes through the mapping; invariant 3 is the caller's (apply under a shut gate, or free space).
    #[inline]
    pub(crate) fn store(&self, offset: u64, bytes: &[u8]) -> Option<()> {
        if matches!(self.writable, Writable::Runtime) {
            return None;
        }
        let address = self.address(offset, bytes.len() as u64)?.cast_mut();
        // SAFETY: inside the mapping and the file (1, 2), which is mapped for writing; no view of it lives (3).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address, bytes.len()) };
        Some(())
    }

    /// Hands bytes of the mapping to `fill`, to be changed; invariant 3 is the caller's: free space, of which no view lives.
    #[inline]
    pub(crate) fn store_with(&self, offset: u64, len: u64, fill: impl FnOnce(&mut [u8])) -> Option<()> {
        if matches!(self.writable, Writable::Runtime) {
            return None;
        }
        let address = self.address(offset, len)?.cast_mut();
        // SAFETY: inside the mapping and the file (1, 2), which is mapped for writing; nobody else reads or writes these bytes (3).
        fill(unsafe { std::slice::from_raw_parts_mut(address, len as usize) });
        Some(())
    }

    /// Stores words through the mapping in ascending order, each as one atomic store.
    #[inline(always)]
    pub(crate) fn store_words(&self, offset: u64, words: &[u64]) -> Option<()> {
        if matches!(self.writable, Writable::Runtime) || !offset.is_multiple_of(8) {
            return None;
        }
        let address = self.address(offset, words.len() as u64 * 8)?.cast::<AtomicU64>();
        // SAFETY: as many words inside the mapping and the file (1, 2), which is mapped for writing; aligned as in `load`; atomics may change while
        // they are borrowed.
        let there = unsafe { std::slice::from_raw_parts(address, words.len()) };
        match (there, words) {
            // What most of a record is.
            ([to], [word]) => to.store(*word, Ordering::Relaxed),
            _ => there.iter().zip(words).for_each(|(to, &word)| to.store(word, Ordering::Relaxed)),
        }
        Some(())
    }

    /// Copies pieces of the file, which is the one that is mapped, in ascending order of `from`, to other places in it. Invariant 3 is the caller's. Whether it did all: where a
    /// page cannot be stored to it ends, and nobody is sent a signal.
    pub(crate) fn scatter(&self, file: &ArenaFile, pieces: &[Piece<'_>], ready: &mut Ready) -> bool {
        if self.writable != Writable::Runtime {
            return false;
        }
        let is_inside = |piece: &Piece<'_>| self.address(piece.offset, piece.len()).is_some();
        let target = self.target.get_or_init(|| self.map_target(file));
        match target {
            Some(target) if pieces.iter().all(is_inside) => target.scatter(file, pieces, ready),
            _ => false,
        }
    }

    pub(super) fn map_target(&self, file: &ArenaFile) -> Option<Target> {
        let again = file.for_mapping(OpenMode::ReadWrite).ok()?;
        let region = Self::map(again.file(), self.capacity, Writable::All).ok()?;
        region.advise(Advice::LinuxDontFork);
        Some(Target::new(region, file))
    }

    /// The runtime region: words that processes share and change atomically.
    #[inline]
    pub(crate) fn runtime(&self) -> &RuntimeWords {
        // SAFETY: `runtime_at` is the region's address in a mapping that is writable and lives as long as `self` (1); the file
        // reaches past the region before anything is done through it (2: opening refuses shorter ones, creation
        // makes it that long first); aligned to pages; only ever accessed as atomics, so shared changes are no data race.
        unsafe { &*self.runtime_at.cast::<RuntimeWords>() }
    }

    /// Makes the pages of a range present and writable now, so that a later store to them cannot fail.
    pub(crate) fn populate(&self, offset: u64, len: u64) -> io::Result<()> {
        let start = offset & !(PAGE - 1);
        let len = offset + len - start;
        if self.address(start, len).is_none() { Ok(()) } else { self.all.populate(start, len) }
    }
}
