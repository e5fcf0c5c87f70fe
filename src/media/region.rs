//! Address space for a file, if it can be had at a multiple of what one entry of the processor's second-level page table covers, so that the
//! kernel can map huge pages there.
//!
//! Where a file's pages are memory and nothing else (tmpfs, memory files), [`Region::collapse`] has the kernel put them into huge ones, which
//! costs a tenth of what as many small ones cost, and one entry of the processor's table of translations serves 2 MiB instead of 4 KiB. On a disk, huge pages would be
//! written back whole for one changed word; there nothing is asked for.
//!
//! Invariant: `[address, address + len)` is one mapping of one file, from the file's start, until this value is dropped.

use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr;

/// Bytes of a huge page.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;

/// A file's mapping.
#[derive(Debug)]
pub(super) struct Region {
    address: *mut u8,
    len: usize,
}

impl Region {
    /// Maps `len` bytes from the start of `file`, more than it has if need be.
    pub(super) fn map(file: &File, len: u64, protection: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        let len = usize::try_from(len).ok().filter(|&len| len > 0);
        let len = len.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // SAFETY: where the kernel puts it nothing else is; the place proposed is only a proposal.
        let address = unsafe { rustix::mm::mmap(good_place(len), len, protection, flags, file, 0) }?;
        Ok(Self { address: address.cast(), len })
    }

    #[inline(always)]
    pub(super) fn address(&self) -> *mut u8 {
        self.address
    }

    /// Tells the kernel how the mapping will be used. Only advice: one that does not know it serves the mapping all the same.
    pub(super) fn advise(&self, advice: rustix::mm::Advice) {
        // SAFETY: the advice given by `Mapping` changes no content; the range is this mapping.
        let _ = unsafe { rustix::mm::madvise(self.address.cast(), self.len, advice) };
    }

    /// Makes pages of the file present and writable. Their content stays.
    pub(super) fn populate(&self, offset: u64, len: u64) -> io::Result<()> {
        debug_assert!(offset + len <= self.len as u64);
        let address = self.address.wrapping_add(offset as usize).cast();
        // SAFETY: populating changes no content; the caller's range lies inside the mapping.
        match unsafe { libc::madvise(address, len as usize, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // Kernels before 5.14 do not know the advice: then reserved file space has to be enough.
                e if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
                e => Err(e),
            },
        }
    }

    /// Has the kernel put the bytes of `range`, whole huge pages with at least one present page in each, into huge pages, absent ones with
    /// zeros. Where it cannot (before Linux 6.1, for one), everything is as good as before.
    pub(super) fn collapse(&self, range: Range<u64>) {
        const MADV_COLLAPSE: libc::c_int = 25;
        if range.end > self.len as u64 || range.start >= range.end {
            return;
        }
        let address = self.address.wrapping_add(range.start as usize).cast::<c_void>();
        // SAFETY: changes how the bytes are held, not what they are; the range lies inside the mapping.
        unsafe { libc::madvise(address, (range.end - range.start) as usize, MADV_COLLAPSE) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unmap(self.address.cast(), self.len);
    }
}

/// An address at which `len` bytes are free, at a multiple of a huge page; null where there is none. Another thread may be there first: then the mapping comes to
/// lie elsewhere, and has no huge pages.
fn good_place(len: usize) -> *mut c_void {
    let Some(around) = len.checked_add(HUGE_PAGE as usize) else { return ptr::null_mut() };
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: where the kernel puts it nothing else is.
    let found = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), around, ProtFlags::empty(), flags) };
    let Ok(start) = found else { return ptr::null_mut() };
    unmap(start, around);
    start.wrapping_byte_add(start.addr().next_multiple_of(HUGE_PAGE as usize) - start.addr())
}

/// Unmaps what nobody refers to any more.
fn unmap(address: *mut c_void, len: usize) {
    // SAFETY: callers hand in a mapping that they made themselves, and give it up. It fails only for what is none.
    let _ = unsafe { rustix::mm::munmap(address, len) };
}
