//! Copies from the record in the log to the pages that it changes: a second mapping of a file whose first one is read-only.
//!
//! Where stores need no space of the file system (ext4, files in memory), they are stores: 30 ns for 100 bytes. A page is made [ready](Ready) for them before the first one,
//! so that what stands against it is an error, and no signal. When the page has been written back the kernel asks the file system once more, which has the
//! space, and has just taken the record; a disk that fails fails there.
//!
//! Elsewhere a page that was written back may need new space for the next store (copy-on-write, files that share their blocks with a copy), and who stores
//! is killed if there is none. There the kernel makes the copies, with `preadv` from the record that it has in the page cache already, at five times what stores take: a page that
//! cannot be stored to is an error code.
//!
//! Invariant: nobody is handed an address in this mapping.

use super::Ready;
use super::file::ArenaFile;
use super::region::Region;
use crate::layout::PAGE;
use std::os::fd::AsRawFd;
#[cfg(feature = "testing")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{Ordering, compiler_fence};

/// Ranges of memory that one system call fills.
const MOST_RANGES: usize = 1024;
/// Bytes between two pieces that are read and forgotten, rather than that another call begins behind them.
const SCRAP: u64 = 4096;

/// What to copy: words that the file has at `from` too, to `offset`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) from: u64,
    pub(crate) offset: u64,
    pub(crate) words: &'a [u64],
}

impl Piece<'_> {
    pub(super) fn len(&self) -> u64 {
        size_of_val(self.words) as u64
    }
}

/// The second mapping.
#[derive(Debug)]
pub(super) struct Target {
    region: Region,
    /// Whether stores need no space of the file system.
    by_stores: bool,
}

/// Whether the kernel makes the copies everywhere.
#[cfg(feature = "testing")]
static BY_KERNEL: AtomicBool = AtomicBool::new(false);

/// What this process copies to mapped pages from now on, in files that it has not copied to yet, the kernel copies, as on file systems where a store may need space.
#[cfg(feature = "testing")]
pub fn copy_by_kernel(on: bool) {
    BY_KERNEL.store(on, Ordering::Relaxed);
}

impl Target {
    pub(super) fn new(region: Region, file: &ArenaFile) -> Self {
        #[cfg(feature = "testing")]
        if BY_KERNEL.load(Ordering::Relaxed) {
            return Self { region, by_stores: false };
        }
        Self { region, by_stores: file.stores_in_place() }
    }

    /// Copies pieces that lie inside the file, as [`Mapping::scatter`](super::Mapping::scatter) says.
    pub(super) fn scatter(&self, file: &ArenaFile, pieces: &[Piece<'_>], ready: &mut Ready) -> bool {
        if self.by_stores { self.store(pieces, ready) } else { self.read(file, pieces) }
    }

    fn address(&self, piece: &Piece<'_>) -> *mut u8 {
        self.region.address().wrapping_add(piece.offset as usize)
    }

    fn store(&self, pieces: &[Piece<'_>], ready: &mut Ready) -> bool {
        // The compiler does not know that these addresses and those of the first mapping are of the same bytes.
        compiler_fence(Ordering::SeqCst);
        let all = pieces.iter().all(|piece| self.store_piece(piece, ready));
        compiler_fence(Ordering::SeqCst);
        all
    }

    fn store_piece(&self, piece: &Piece<'_>, ready: &mut Ready) -> bool {
        let mut pages = piece.offset / PAGE..=(piece.offset + piece.len() - 1) / PAGE;
        let can_store =
            pages.all(|page| ready.ensure(page, || self.region.populate(page * PAGE, PAGE)).is_ok());
        if can_store {
            let (from, to) = (piece.words.as_ptr().cast::<u8>(), self.address(piece));
            // SAFETY: inside the mapping and the file, and no view of it lives (1 to 3 of `mapping`); mapped for writing.
            unsafe { std::ptr::copy_nonoverlapping(from, to, piece.len() as usize) };
        }
        can_store
    }

    fn read(&self, file: &ArenaFile, mut pieces: &[Piece<'_>]) -> bool {
        let mut scrap = [0u8; SCRAP as usize];
        let scrap = libc::iovec { iov_base: scrap.as_mut_ptr().cast(), iov_len: scrap.len() };
        let mut ranges = Vec::with_capacity(MOST_RANGES);
        while let Some(first) = pieces.first() {
            let mut at = first.from;
            let mut count = 0;
            for piece in pieces {
                if piece.from - at > SCRAP || ranges.len() + 2 > MOST_RANGES {
                    break;
                }
                ranges.push(libc::iovec { iov_len: (piece.from - at) as usize, ..scrap });
                ranges.push(libc::iovec {
                    iov_base: self.address(piece).cast(),
                    iov_len: piece.len() as usize,
                });
                (at, count) = (piece.from + piece.len(), count + 1);
            }
            // SAFETY: each range is the scrap, or inside the mapping and the file, and no view of it lives (1 to 3 of `mapping`).
            let read = unsafe {
                libc::preadv(
                    file.file().as_raw_fd(),
                    ranges.as_ptr(),
                    ranges.len() as i32,
                    first.from as libc::off_t,
                )
            };
            if u64::try_from(read) != Ok(at - first.from) {
                return false;
            }
            ranges.clear();
            pieces = &pieces[count..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::OpenMode;
    use super::super::mapping::{Mapping, Writable};
    use super::*;
    use std::sync::OnceLock;

    const PAGES: u64 = 300;

    /// A file whose words are all different, with its mapping, to which is copied this way.
    fn mapped(by_stores: bool) -> (tempfile::TempDir, ArenaFile, Mapping, Vec<u64>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let words: Vec<u64> = (0..PAGES * PAGE / 8).map(|n| n << 8 | 7).collect();
        std::fs::write(&path, bytemuck::cast_slice(&words)).unwrap();
        let file = ArenaFile::open(&path, OpenMode::ReadWrite, true).unwrap();
        let len = PAGES * PAGE;
        let mut mapping = Mapping::new(file.file(), len, 2 * len, len, Writable::Runtime).unwrap();
        let target = mapping.map_target(&file).unwrap();
        mapping.target = OnceLock::from(Some(Target { by_stores, ..target }));
        (dir, file, mapping, words)
    }

    #[test]
    fn pieces_go_where_they_should_and_nothing_else_does() {
        for by_stores in [false, true] {
            let (_dir, file, mapping, mut words) = mapped(by_stores);
            let before = words.clone();
            // With gaps of all kinds, and more of them than one call takes: from behind the twentieth page to before it.
            let (mut from, mut to) = (20 * 512, 0);
            let mut pieces = Vec::new();
            for n in 0..1100 {
                let len = 1 + n % 7;
                from += [0, 1, 2, 60, 512][n % 5] + if n % 400 == 399 { 600 } else { 0 };
                let piece = &before[from..][..len];
                words[to..to + len].copy_from_slice(piece);
                pieces.push(Piece { from: from as u64 * 8, offset: to as u64 * 8, words: piece });
                (from, to) = (from + len, to + len + n % 3);
            }
            assert!(mapping.scatter(&file, &pieces, &mut Ready::default()));
            let shows = |at: usize| mapping.load(at as u64 * 8).unwrap();
            let wrong = (0..words.len()).find(|&at| shows(at) != words[at]);
            assert_eq!(wrong, None);
            let mut in_file = vec![0; words.len() * 8];
            file.read_at(0, &mut in_file).unwrap();
            assert!(in_file == bytemuck::cast_slice::<u64, u8>(&words));
        }
    }

    #[test]
    fn what_cannot_be_copied_is_no_signal() {
        for by_stores in [false, true] {
            let (_dir, file, mapping, words) = mapped(by_stores);
            let mut ready = Ready::default();
            let mut scatter =
                |offset| mapping.scatter(&file, &[Piece { from: 0, offset, words: &words[..4] }], &mut ready);
            assert!(scatter(8192));
            assert!(!scatter(PAGES * PAGE - 8), "it would reach past the end");
            // Somebody else cuts the file.
            file.truncate(PAGE).unwrap();
            assert!(!scatter(100 * PAGE));
            assert!(!scatter(100 * PAGE), "it is no more ready than before");
        }
    }
}
