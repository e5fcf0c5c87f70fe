//! The seam: every byte that reaches the file goes through here.
//!
//! [`Media`] is a mapped file, or a simulated page cache and disk that records each step, so that crash tests
//! can rebuild what any power cut could have left. The rest of the library cannot tell which.
//!
//! Reading is a matter of the mapping in both. Writing comes in four kinds, by what they promise:
//!
//! | call | the page cache has it | the disk has it |
//! |---|---|---|
//! | [`Media::store`] | at once (through the mapping) | after a sync |
//! | [`Media::write`] | on return | after a sync |
//! | [`Media::write_durable`] | on return | on return |
//! | [`Media::runtime`] | at once, atomically | perhaps |

mod byte_lock;
mod directory;
mod file;
mod mapping;
mod ready;
mod region;
#[cfg(feature = "testing")]
pub(crate) mod sim;
mod target;

pub(crate) use directory::Directory;
pub(crate) use file::{ArenaFile, OpenMode, may_be_as_long};
pub(crate) use mapping::{Mapping, RuntimeWords, Writable};
pub(crate) use ready::Ready;
use region::HUGE_PAGE;
pub(crate) use target::Piece;
#[cfg(feature = "testing")]
pub use target::copy_by_kernel;

use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::layout::{GROW_PAGES, PAGE, RUNTIME_PAGE, RUNTIME_PAGES, page_offset};
use crate::lock::fork;
use crate::runtime::{Runtime, Seen};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Byte that is locked by who waits for the whole-file lock, so that readers do not keep it from it for ever. Its content means
/// nothing.
const TURN_BYTE: u64 = page_offset(RUNTIME_PAGE) + PAGE - 2;
/// Byte on which all share a lock who wait to read, so that a writer that never rests does not keep them out for ever. Its content means nothing.
const READERS_BYTE: u64 = page_offset(RUNTIME_PAGE) + PAGE - 3;

/// Files in memory that reach this length grow by whole huge pages: a quarter at most.
const LEAST_HUGE: u64 = 4 * HUGE_PAGE;
/// Files in memory grow by no more than this, if less will do.
const MOST_MEMORY: u64 = 16 * HUGE_PAGE;

/// How often, and how far apart, what is torn is looked at again.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// What another handle may be writing while it is read: half of what was there and half of what comes say nothing, so it is looked at again for a while, until it is whole.
pub(crate) fn settled<T>(mut look: impl FnMut() -> T, is_whole: impl Fn(&T) -> bool) -> T {
    for _ in 0..LOOKS {
        let seen = look();
        if is_whole(&seen) {
            return seen;
        }
        failpoint("look: torn");
        std::thread::sleep(BETWEEN_LOOKS);
    }
    look()
}

/// A file (or its simulation) and its mapping.
#[derive(Debug)]
pub(crate) struct Media {
    mapping: Mapping,
    backend: Backend,
    /// Whether a file in memory is to be held in huge pages.
    huge_pages: bool,
    /// Forks up to the process that opened it.
    forks: u64,
}

#[derive(Debug)]
enum Backend {
    File(ArenaFile),
    #[cfg(feature = "testing")]
    Sim(sim::SimFile),
}

/// Runs the same call on whichever backend there is.
macro_rules! on_backend {
    ($media:expr, $backend:ident => $call:expr) => {
        match &$media.backend {
            Backend::File($backend) => $call,
            #[cfg(feature = "testing")]
            Backend::Sim($backend) => $call,
        }
    };
}

impl Media {
    pub(crate) fn from_file(file: ArenaFile, mapping: Mapping, huge_pages: bool) -> Self {
        Self { mapping, backend: Backend::File(file), huge_pages, forks: fork::count() }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn from_sim(sim: sim::SimFile, mapping: Mapping) -> Self {
        Self { mapping, backend: Backend::Sim(sim), huge_pages: false, forks: fork::count() }
    }

    pub(crate) fn path(&self) -> &Path {
        on_backend!(self, b => b.path())
    }

    /// Whether this process inherited it through `fork`: then it changes nothing.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.forks != fork::count()
    }

    #[inline]
    fn may_change(&self) -> Result<()> {
        if self.is_forked() { Err(Error::Forked) } else { Ok(()) }
    }

    /// Bytes of the file that the mapping may access.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.mapping.len()
    }

    /// Most bytes that the file may have under this mapping.
    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.mapping.capacity()
    }

    /// Asks for the file's length again: another process may have made it longer.
    pub(crate) fn refresh_len(&self) -> Result<u64> {
        loop {
            let known = self.mapping.len();
            let len = on_backend!(self, b => b.len())?;
            failpoint("file: length asked for");
            // If another thread was told one meanwhile, it may be the newer one.
            if self.mapping.replace_len(known, len) {
                return Ok(self.mapping.len());
            }
        }
    }

    /// Why bytes up to `needed` cannot be reached: the file is longer than this handle maps, or it was cut.
    pub(crate) fn unreachable(&self, needed: u64) -> Error {
        let max = self.capacity();
        if needed > max && self.file_len().is_ok_and(|len| needed <= len) {
            return Error::MaxSize { needed, max };
        }
        Error::Truncated { needed, found: self.len() }
    }

    /// Length of the file as it is now.
    pub(crate) fn file_len(&self) -> Result<u64> {
        on_backend!(self, b => b.len())
    }

    /// Identity of the file, the same for all handles on it.
    pub(crate) fn key(&self) -> (u64, u64) {
        on_backend!(self, b => b.key())
    }

    /// Which file in which mount this is, and when it was last changed (see [`ArenaFile::home`]).
    pub(crate) fn home(&self) -> Option<Seen> {
        on_backend!(self, b => b.home())
    }

    /// Whether the path still names this file.
    pub(crate) fn is_in_place(&self) -> bool {
        on_backend!(self, b => b.is_in_place())
    }

    #[inline]
    pub(crate) fn load(&self, offset: u64) -> Option<u64> {
        self.mapping.load(offset)
    }

    #[inline]
    pub(crate) fn words(&self, offset: u64, most: u64) -> &[AtomicU64] {
        self.mapping.words(offset, most)
    }

    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: u64, len: u64) {
        self.mapping.prefetch(offset, len);
    }

    #[inline]
    pub(crate) fn copy_to(&self, offset: u64, to: &mut [u8]) -> Option<()> {
        self.mapping.copy_to(offset, to)
    }

    #[inline]
    pub(crate) fn view(&self, offset: u64, len: u64) -> Option<&[u8]> {
        self.mapping.view(offset, len)
    }

    /// The words that the processes with the file open share.
    #[inline]
    pub(crate) fn runtime(&self) -> Runtime<'_> {
        Runtime::new(self.mapping.runtime())
    }

    #[cold]
    fn too_short(&self, offset: u64, len: u64) -> Error {
        self.unreachable(offset.saturating_add(len))
    }

    /// Stores through the mapping (see [`Mapping::store`] for who may).
    #[inline]
    pub(crate) fn store(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.may_change()?;
        #[cfg(feature = "testing")]
        if let Backend::Sim(sim) = &self.backend {
            sim.will_store(offset, bytes)?;
        }
        self.mapping.store(offset, bytes).ok_or_else(|| self.too_short(offset, bytes.len() as u64))
    }

    /// Has bytes stored by `fill`, which is handed what the file holds there (see [`Mapping::store_with`] for who may).
    #[inline]
    pub(crate) fn store_with(&self, offset: u64, len: u64, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.may_change()?;
        #[cfg(feature = "testing")]
        if let Backend::Sim(_) = &self.backend {
            let mut bytes = self.view(offset, len).ok_or_else(|| self.too_short(offset, len))?.to_vec();
            fill(&mut bytes);
            return self.store(offset, &bytes);
        }
        self.mapping.store_with(offset, len, fill).ok_or_else(|| self.too_short(offset, len))
    }

    /// Stores whole words through the mapping.
    #[inline(always)]
    pub(crate) fn store_words(&self, offset: u64, words: &[u64]) -> Result<()> {
        self.may_change()?;
        #[cfg(feature = "testing")]
        if let Backend::Sim(sim) = &self.backend {
            sim.will_store(offset, bytemuck::cast_slice(words))?;
        }
        self.mapping.store_words(offset, words).ok_or_else(|| self.too_short(offset, words.len() as u64 * 8))
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.may_change()?;
        on_backend!(self, b => b.write_at(offset, bytes))
    }

    /// Copies pieces of the file, which lie in it in ascending order, to other places in it, at a tenth or less of what as many writes take once the pages
    /// are dirty. The first copy to a clean one makes all its folio dirty. (See [`Mapping::store`] for who may.) `ready`: which pages calls before made ready
    /// for that. Whether all are there; if not, some of them may be.
    pub(crate) fn scatter(&self, pieces: &[Piece<'_>], ready: &mut Ready) -> bool {
        if self.may_change().is_err() {
            return false;
        }
        match &self.backend {
            Backend::File(file) => self.mapping.scatter(file, pieces, ready),
            #[cfg(feature = "testing")]
            Backend::Sim(sim) => sim.scatter(pieces).is_ok(),
        }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.backend, Backend::Sim(_))
    }

    pub(crate) fn write_durable(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        on_backend!(self, b => b.write_durable(offset, bytes))
    }

    /// Everything written or stored so far, and the file's length, is on the disk when this returns.
    pub(crate) fn sync(&self) -> Result<()> {
        on_backend!(self, b => b.sync())
    }

    /// Makes the file's name durable.
    pub(crate) fn sync_directory(&self) -> Result<()> {
        on_backend!(self, b => b.sync_directory())
    }

    /// To what length a file of `now` bytes that needs `needed`, which is more, had better grow: by an eighth, so that this is seldom; but by less in
    /// memory, where pages are all that it costs, and that takes its time; and to the end of a huge page.
    pub(crate) fn good_len(&self, now: u64, needed: u64) -> u64 {
        let step = (now / 8).max(u64::from(GROW_PAGES) * PAGE);
        match &self.backend {
            Backend::File(file) if file.is_memory() => {
                let len = needed.max(now + step.min(MOST_MEMORY));
                if self.huge_pages && len >= LEAST_HUGE { len.next_multiple_of(HUGE_PAGE) } else { len }
            }
            _ => needed.max(now + step),
        }
    }

    /// Makes the file at least `len` long, its space reserved on the disk.
    pub(crate) fn grow(&self, len: u64) -> Result<()> {
        self.may_change()?;
        let now = self.refresh_len()?;
        if len <= now {
            return Ok(());
        }
        let outcome = match &self.backend {
            Backend::File(file) => file.lengthen(now, len, self.huge_pages.then_some(&self.mapping)),
            #[cfg(feature = "testing")]
            Backend::Sim(sim) => sim.reserve(now, len - now),
        };
        if outcome.is_err() && now > page_offset(RUNTIME_PAGE + RUNTIME_PAGES) {
            // Longer for a moment: whoever looked then has to look again.
            self.runtime().count_cut();
        }
        self.refresh_len()?;
        outcome
    }

    /// Reserves disk space for what the file has past `from`: it may be longer than it has space for, made so by a handle that was killed while it made
    /// it longer, or by somebody else.
    pub(crate) fn reserve_tail(&self, from: u64) -> Result<()> {
        match self.refresh_len()? {
            len if from < len => self.reserve(from, len - from),
            _ => Ok(()),
        }
    }

    /// Reads from the file, not through the mapping: a hole stays one, even in memory.
    pub(crate) fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        on_backend!(self, b => b.read_at(offset, to))
    }

    /// Whether nothing was ever written to the page at `offset`, nor looked at through a mapping, since its space was given back, in a file whose pages are memory.
    pub(crate) fn is_hole_in_memory(&self, offset: u64) -> Result<bool> {
        on_backend!(self, b => b.is_hole_in_memory(offset))
    }

    /// Reserves disk space inside the file again, where it was given back.
    pub(crate) fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        self.may_change()?;
        on_backend!(self, b => b.reserve(offset, len))
    }

    /// Gives the disk space of a range back; it reads as zeros until written again.
    pub(crate) fn punch(&self, offset: u64, len: u64) -> Result<()> {
        on_backend!(self, b => b.punch(offset, len))
    }

    /// Cuts a file that others may have open to `len`. Counted before, lest anybody looks at what is gone, and after, for who asked in between was told
    /// the old length.
    pub(crate) fn cut(&self, len: u64) -> Result<()> {
        self.runtime().count_cut();
        failpoint("file: about to be cut");
        let cut = self.truncate(len);
        self.runtime().count_cut();
        cut
    }

    /// Makes the file no longer than `len`.
    pub(crate) fn truncate(&self, len: u64) -> Result<()> {
        self.mapping.lower_len(len);
        on_backend!(self, b => b.truncate(len))
    }

    /// Makes the pages of a range ready for stores.
    pub(crate) fn populate(&self, offset: u64, len: u64) -> Result<()> {
        self.mapping.populate(offset, len).map_err(|e| match e.raw_os_error() {
            Some(libc::EFAULT | libc::ENOSPC | libc::ENOMEM) => Error::NoSpace { needed: len },
            _ => Error::io("populate", self.path(), e),
        })
    }

    /// Tries to take the whole-file lock.
    pub(crate) fn try_lock(&self, exclusive: bool) -> Result<bool> {
        on_backend!(self, b => b.try_lock(exclusive))
    }

    /// Tries to lock one byte of the file for this handle; held until released or until the handle is gone.
    pub(crate) fn try_lock_byte(&self, offset: u64) -> Result<bool> {
        byte_lock::try_lock(self.fd(), offset, 1, true).map_err(|e| self.no_byte_locks(e))
    }

    /// Locks one byte together with others that do so.
    pub(crate) fn try_share_byte(&self, offset: u64) -> Result<bool> {
        byte_lock::try_lock(self.fd(), offset, 1, false).map_err(|e| self.no_byte_locks(e))
    }

    pub(crate) fn unlock_byte(&self, offset: u64) {
        // Releasing can fail only for a bad descriptor, which this type rules out.
        let _ = byte_lock::unlock(self.fd(), offset, 1);
    }

    /// Whether another handle holds an exclusive lock on any of these bytes.
    pub(crate) fn is_byte_locked(&self, offset: u64, len: u64) -> Result<bool> {
        byte_lock::is_locked(self.fd(), offset, len).map_err(|e| self.no_byte_locks(e))
    }

    /// Whether another handle holds a lock, shared or exclusive, on this byte.
    pub(crate) fn is_byte_shared(&self, offset: u64) -> Result<bool> {
        byte_lock::is_shared(self.fd(), offset, 1).map_err(|e| self.no_byte_locks(e))
    }

    /// Tries to take the turn: a lock that asks others to let this handle have the whole-file lock next.
    pub(crate) fn try_take_turn(&self) -> bool {
        byte_lock::try_lock(self.fd(), TURN_BYTE, 1, true).unwrap_or(false)
    }

    pub(crate) fn end_turn(&self) {
        self.unlock_byte(TURN_BYTE);
    }

    /// Whether another handle has the turn.
    pub(crate) fn is_turn_taken(&self) -> bool {
        byte_lock::is_locked(self.fd(), TURN_BYTE, 1).unwrap_or(false)
    }

    /// Says that this handle waits to read.
    pub(crate) fn begin_wait(&self) {
        // A courtesy of others, without which this one waits longer.
        let _ = self.try_share_byte(READERS_BYTE);
    }

    pub(crate) fn end_wait(&self) {
        self.unlock_byte(READERS_BYTE);
    }

    /// Whether another handle waits to read.
    pub(crate) fn has_waiting_readers(&self) -> bool {
        self.is_byte_shared(READERS_BYTE).unwrap_or(false)
    }

    fn no_byte_locks(&self, e: std::io::Error) -> Error {
        match e.raw_os_error() {
            Some(libc::ENOLCK | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS) => Error::Unsupported {
                path: self.path().to_owned(),
                what: "locks on byte ranges (use Locking::File there)",
            },
            _ => Error::io("lock a byte of", self.path(), e),
        }
    }

    /// A new file without a name beside the file, for what does not fit into memory; nothing where there can be none.
    pub(crate) fn nameless_file(&self) -> Option<File> {
        match &self.backend {
            Backend::File(file) => file.nameless_beside(),
            #[cfg(feature = "testing")]
            Backend::Sim(_) => None,
        }
    }

    /// Another description of the file, for handing on.
    pub(crate) fn reopen(&self) -> Result<OwnedFd> {
        match &self.backend {
            Backend::File(file) => file.reopen(),
            #[cfg(feature = "testing")]
            Backend::Sim(_) => Err(Error::Unsupported { path: self.path().to_owned(), what: "handing on" }),
        }
    }

    /// The descriptor of the open file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        on_backend!(self, b => b.file().as_fd())
    }

    pub(crate) fn unlock(&self) {
        on_backend!(self, b => b.unlock());
    }
}
