//! The simulated page cache and disk behind [`Media`](super::Media): what a power cut can leave of a file.
//!
//! A [`SimDisk`] is one file on one simulated machine. Its page cache is a memfd, so that every handle maps and
//! reads it as it would a real file; the disk below it exists only as a list of all that was done (a
//! [`History`]), from which [`Crash`] rebuilds any content that a power cut at any step could have left.
//! Nothing has to be run twice.
//!
//! Invariants: under the disk's lock, the order of the list is the order in which the page cache changed; a
//! call that fails by a [`Call`] fault leaves what the real call would have left; handles have file
//! descriptions of their own, so that locks between them are the kernel's.
//!
//! Limits: one file, whose name is always durable; reserving takes no space (a full disk is a fault that the
//! test injects); a page that could not be written stays readable (Linux may evict it and read the old one);
//! a store is recorded just before it is made, so that threads which do not wait for each other may see it late.

mod crash;
mod history;
mod image;
mod rng;
#[cfg(test)]
mod tests;

pub use crash::Crash;
pub use history::History;
pub use image::{Plan, Recipe};
pub use rng::SplitMix64;

use super::file::{ArenaFile, OpenMode};
use super::{Mapping, Media, Piece, Writable};
use crate::error::{Error, Result};
use crate::layout::PAGE;
use crate::runtime::{Home, Seen};
use history::Recorder;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The calls that [`SimDisk::fail`] can make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// A plain write: nothing is written.
    Write,
    /// Copies to mapped pages: all but the last one are made.
    Scatter,
    /// A durable write, before it writes anything.
    WriteDurable,
    /// The flush inside a durable write: the bytes can be read, and may be on the disk or not.
    Flush,
    /// A sync: the pages count as clean all the same, so that a later sync does not write them again.
    Sync,
    /// Reserving space or growing: nothing is changed.
    Reserve,
    /// Cutting the file: nothing is changed.
    Truncate,
    /// Giving back space inside the file: nothing is changed.
    Punch,
}

static ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

#[derive(Debug)]
struct Fault {
    call: Call,
    /// Calls that still succeed before it.
    after: u64,
    errno: i32,
    lasting: bool,
    /// Whether it waits for all that were set before it to strike.
    then: bool,
}

#[derive(Debug)]
struct State {
    recorder: Recorder,
    faults: Vec<Fault>,
    handles: u64,
}

impl State {
    /// The error that this call has to fail with.
    fn fault(&mut self, call: Call) -> Option<i32> {
        let (mut hit, mut is_first) = (None, true);
        self.faults.retain_mut(|fault| match (fault, std::mem::replace(&mut is_first, false)) {
            (f, is_first) if f.call != call || f.then && !is_first => true,
            (f, _) if f.after > 0 => {
                f.after -= 1;
                true
            }
            (f, _) => {
                hit = Some(f.errno);
                f.lasting
            }
        });
        hit
    }
}

#[derive(Debug)]
struct Shared {
    cache: File,
    path: PathBuf,
    state: Mutex<State>,
}

/// One file of a simulated machine: its page cache, and all that was done to it. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

impl SimDisk {
    /// An empty file, recording.
    ///
    /// # Errors
    /// [`Error::Io`] where the machine has no memory or descriptors left.
    pub fn new() -> Result<Self> {
        let made = rustix::fs::memfd_create("heapfile-sim", rustix::fs::MemfdFlags::CLOEXEC);
        let cache = File::from(made.map_err(|e| Error::io("create", Path::new("a memfd"), e))?);
        // Opening this path makes a new file description of the same file, as opening a real path does.
        let path = PathBuf::from(format!("/proc/self/fd/{}", cache.as_raw_fd()));
        let state = Mutex::new(State { recorder: Recorder::new(), faults: Vec::new(), handles: 0 });
        Ok(Self { shared: Arc::new(Shared { cache, path, state }) })
    }

    /// A file that holds `image`, all of it durable, recording from there.
    ///
    /// # Errors
    /// [`Error::Io`] where the machine has no memory or descriptors left.
    pub fn from_image(image: &[u8]) -> Result<Self> {
        let disk = Self::new()?;
        disk.reset(image)?;
        Ok(disk)
    }

    /// Replaces the file by `image`, all of it durable, and forgets history and faults: as
    /// [`SimDisk::from_image`], and faster.
    ///
    /// # Errors
    /// [`Error::Io`] where the machine has no memory left.
    ///
    /// # Panics
    /// If a handle is open.
    pub fn reset(&self, image: &[u8]) -> Result<()> {
        let mut state = self.state();
        assert_eq!(state.handles, 0, "a disk is reset only while no handle is open");
        let cache = &self.shared.cache;
        let put = || -> io::Result<()> {
            cache.set_len(0)?;
            cache.set_len(image.len() as u64)?;
            // Pages of zeros stay holes: most of a young arena is zeros.
            for (i, page) in image.chunks(PAGE as usize).enumerate() {
                if page != &ZEROS[..page.len()] {
                    cache.write_all_at(page, i as u64 * PAGE)?;
                }
            }
            Ok(())
        };
        put().map_err(|e| Error::io("fill", &self.shared.path, e))?;
        state.faults.clear();
        state.recorder.restart(image);
        Ok(())
    }

    /// Starts the history anew: what the page cache holds now counts as durable. With `false`, stops recording,
    /// which makes every call cheaper.
    ///
    /// # Errors
    /// [`Error::Io`] if the page cache cannot be read.
    pub fn record(&self, on: bool) -> Result<()> {
        let mut state = self.state();
        let now = if on { self.read_cache()? } else { Vec::new() };
        state.recorder.set_on(on);
        state.recorder.restart(&now);
        Ok(())
    }

    /// Which pages (numbers, counted from the file's start) hold words that processes change atomically,
    /// beside all calls. After a crash they hold anything: newest, older, zeros or garbage. Default: the
    /// runtime pages of the file format.
    ///
    /// Restarts the history as [`SimDisk::record`] does.
    ///
    /// # Errors
    /// [`Error::Io`] if the page cache cannot be read.
    pub fn set_runtime(&self, pages: Range<u64>) -> Result<()> {
        let now = self.read_cache()?;
        let mut state = self.state();
        state.recorder.set_runtime(pages);
        state.recorder.restart(&now);
        Ok(())
    }

    /// Steps done so far, which is also the number of the crash point "now".
    pub fn steps(&self) -> usize {
        self.state().recorder.steps()
    }

    /// All that was done since the recording began. Nothing, and an empty file, if recording is off.
    pub fn history(&self) -> History {
        self.state().recorder.history(&self.shared.cache)
    }

    /// The first byte that was changed without a recorded step, outside the runtime pages: a write that
    /// went past the seam. Nothing on a disk that does not record.
    ///
    /// # Errors
    /// [`Error::Io`] if the page cache cannot be read.
    pub fn unrecorded(&self) -> Result<Option<u64>> {
        let history = self.history();
        if !self.state().recorder.is_on() {
            return Ok(None);
        }
        let now = self.read_cache()?;
        let mut expected = Vec::new();
        history.at(history.points() - 1).build(Recipe::New, &mut expected);
        if now.len() != expected.len() {
            return Ok(Some(now.len().min(expected.len()) as u64));
        }
        let runtime = history.runtime();
        let differs = |&i: &usize| now[i] != expected[i] && !runtime.contains(&(i as u64 / PAGE));
        Ok((0..now.len()).find(differs).map(|i| i as u64))
    }

    /// Makes the `nth` call of this kind from now on (0: the next one) fail with `errno`, once.
    pub fn fail(&self, call: Call, nth: u64, errno: i32) {
        self.state().faults.push(Fault { call, after: nth, errno, lasting: false, then: false });
    }

    /// As [`SimDisk::fail`], counted from when all faults that were set before have struck.
    ///
    /// ```
    /// # fn main() -> heapfile::Result<()> {
    /// use heapfile::Options;
    /// use heapfile::testing::{self, Call, SimDisk};
    /// let disk = SimDisk::new()?;
    /// disk.fail(Call::Sync, 0, 5);
    /// disk.fail_then(Call::Reserve, 0, 28);
    /// testing::create(&disk, &Options::new()).unwrap_err();
    /// assert_eq!(disk.clear_faults(), 1, "it waited for the first");
    /// # Ok(()) }
    /// ```
    pub fn fail_then(&self, call: Call, nth: u64, errno: i32) {
        self.state().faults.push(Fault { call, after: nth, errno, lasting: false, then: true });
    }

    /// As [`SimDisk::fail`], and all calls of this kind after it.
    pub fn fail_from(&self, call: Call, nth: u64, errno: i32) {
        self.state().faults.push(Fault { call, after: nth, errno, lasting: true, then: false });
    }

    /// Takes back all faults. Returns how many there were that have not struck, or strike on and on.
    pub fn clear_faults(&self) -> usize {
        std::mem::take(&mut self.state().faults).len()
    }

    /// The path that handles give as theirs.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What the page cache holds now: the file as a process that opens it without a crash sees it.
    ///
    /// # Errors
    /// [`Error::Io`] if the page cache cannot be read.
    pub fn read_cache(&self) -> Result<Vec<u8>> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; self.shared.cache.metadata()?.len() as usize];
            self.shared.cache.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        read().map_err(|e| Error::io("read", &self.shared.path, e))
    }

    /// Opens one more handle, as one more process would, and maps it.
    pub(crate) fn open_media(&self, capacity: u64, writable: Writable) -> Result<Media> {
        let file = SimFile::open(self, writable)?;
        let len = file.len()?;
        let mapping = Mapping::new(file.file.file(), len, capacity, len, writable)
            .map_err(|e| Error::io("map", file.path(), e))?;
        Ok(Media::from_sim(file, mapping))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in one test thread leaves a list that is still in order.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handle of a [`SimDisk`], with a file description of its own.
#[derive(Debug)]
pub(crate) struct SimFile {
    file: ArenaFile,
    disk: SimDisk,
    /// Whether stores to its mapping reach the file.
    stores: bool,
    read_only: bool,
}

impl SimFile {
    /// Opens a handle for a mapping that is writable as given; `Private` opens the file read-only.
    pub(crate) fn open(disk: &SimDisk, writable: Writable) -> Result<Self> {
        let read_only = writable == Writable::Private;
        let mode = if read_only { OpenMode::ReadOnly } else { OpenMode::ReadWrite };
        let file = ArenaFile::open(&disk.shared.path, mode, true)?;
        disk.state().handles += 1;
        Ok(Self { file, disk: disk.clone(), stores: writable == Writable::All, read_only })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn len(&self) -> Result<u64> {
        self.file.len()
    }

    pub(crate) fn is_in_place(&self) -> bool {
        self.file.is_in_place()
    }

    /// As after a boot at which everything was mounted in the same order again; a copy that took the original's place would look no newer.
    #[expect(clippy::unnecessary_wraps, reason = "as a file's")]
    pub(crate) fn home(&self) -> Option<Seen> {
        Some(Seen { home: Home { mount: 1, device: 1, inode: 1, born: 1 }, changed: 1 })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.file()
    }

    pub(crate) fn key(&self) -> (u64, u64) {
        self.file.key()
    }

    /// The name of the simulated file is always durable.
    pub(crate) fn sync_directory(&self) -> Result<()> {
        Ok(())
    }

    pub(crate) fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, to)
    }

    pub(crate) fn is_hole_in_memory(&self, offset: u64) -> Result<bool> {
        self.file.is_hole_in_memory(offset)
    }

    pub(crate) fn try_lock(&self, exclusive: bool) -> Result<bool> {
        self.file.try_lock(exclusive)
    }

    pub(crate) fn unlock(&self) {
        self.file.unlock();
    }

    /// Begins a step of this kind, or fails as a fault demands.
    fn begin(&self, call: Call, op: &'static str, needed: u64) -> Result<MutexGuard<'_, State>> {
        if self.read_only {
            return Err(Error::io(op, self.path(), io::Error::from_raw_os_error(libc::EBADF)));
        }
        let mut state = self.disk.state();
        if let Some(errno) = state.fault(call) {
            return Err(self.error(op, errno, needed));
        }
        Ok(state)
    }

    /// The process may be killed before any step.
    fn step(&self, state: &mut State) {
        crate::failpoint::step();
        state.recorder.step(&self.disk.shared.cache);
    }

    fn error(&self, op: &'static str, errno: i32, needed: u64) -> Error {
        match errno {
            libc::ENOSPC | libc::EDQUOT => Error::NoSpace { needed },
            _ => Error::io(op, self.path(), io::Error::from_raw_os_error(errno)),
        }
    }

    /// Records a write as one step and lets the page cache have it. Returns its place in the history.
    fn put(&self, state: &mut State, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.step(state);
        let len = if state.recorder.is_on() { self.len()? } else { u64::MAX };
        // First, because it alone can fail (an offset that no file can have); the step is then an empty one.
        self.file.write_at(offset, bytes)?;
        let end = offset + bytes.len() as u64;
        if end > len && !bytes.is_empty() {
            state.recorder.length(end);
        }
        let place = state.recorder.write(offset, bytes);
        Ok(place)
    }

    /// Takes notice of a store that the caller is about to make through the mapping.
    pub(crate) fn will_store(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        // A store that the mapping will refuse, or that stays private, is no step.
        if self.stores && end <= self.len()? {
            let mut state = self.disk.state();
            self.step(&mut state);
            state.recorder.write(offset, bytes);
        }
        Ok(())
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.begin(Call::Write, "write", bytes.len() as u64)?;
        self.put(&mut state, offset, bytes).map(|_| ())
    }

    /// One step each, so that a crash can come between.
    pub(crate) fn scatter(&self, pieces: &[Piece<'_>]) -> Result<()> {
        let mut state = self.disk.state();
        let fault = state.fault(Call::Scatter);
        let made = if fault.is_some() { pieces.len().saturating_sub(1) } else { pieces.len() };
        for Piece { from, offset, words } in &pieces[..made] {
            let (bytes, mut there) = (bytemuck::cast_slice::<u64, u8>(words), vec![0; size_of_val(*words)]);
            self.file.read_at(*from, &mut there)?;
            assert_eq!(there, bytes, "what is copied is what the file has there");
            self.put(&mut state, *offset, bytes)?;
        }
        fault.map_or(Ok(()), |errno| Err(self.error("copy into", errno, 0)))
    }

    /// Two steps, so that a crash can come between: the page cache has the bytes; the disk has them.
    pub(crate) fn write_durable(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.begin(Call::WriteDurable, "write", bytes.len() as u64)?;
        let place = self.put(&mut state, offset, bytes)?;
        drop(state);
        let mut state = self.disk.state();
        let fault = state.fault(Call::Flush);
        self.step(&mut state);
        state.recorder.write_done(place, fault.is_none());
        fault.map_or(Ok(()), |errno| Err(self.error("write", errno, bytes.len() as u64)))
    }

    /// Two steps, so that a crash (or another handle) can come between: begun, done.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut state = self.disk.state();
        self.step(&mut state);
        let place = state.recorder.sync_begun();
        drop(state);
        let mut state = self.disk.state();
        let fault = state.fault(Call::Sync);
        self.step(&mut state);
        state.recorder.sync_done(place, fault.is_none());
        fault.map_or(Ok(()), |errno| Err(self.error("sync", errno, 0)))
    }

    pub(crate) fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.begin(Call::Reserve, "reserve space in", len)?;
        let end = offset.saturating_add(len);
        if end > self.len()? {
            self.set_len(&mut state, end)?;
        }
        Ok(())
    }

    pub(crate) fn truncate(&self, len: u64) -> Result<()> {
        let mut state = self.begin(Call::Truncate, "cut", 0)?;
        match self.len()? {
            now if now == len => Ok(()),
            _ => self.set_len(&mut state, len),
        }
    }

    /// Gives the disk space of `[offset, offset + len)` back; the range, inside the file, reads as zeros.
    pub(crate) fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.begin(Call::Punch, "give back space of", 0)?;
        self.step(&mut state);
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.disk.shared.cache, how, offset, len)
            .map_err(|e| Error::io("give back space of", self.path(), e))?;
        let end = (offset + len).min(self.len()?);
        state.recorder.punch(offset.min(end), end);
        Ok(())
    }

    fn set_len(&self, state: &mut State, len: u64) -> Result<()> {
        let (cache, now) = (&self.disk.shared.cache, self.len()?);
        self.step(state);
        // First, because it alone can fail (a length that no file can have); the step is then an empty one.
        cache.set_len(len).map_err(|e| Error::io("set the length of", self.path(), e))?;
        if len < now {
            state.recorder.cut(len, now);
        }
        state.recorder.length(len);
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().handles -= 1;
    }
}
