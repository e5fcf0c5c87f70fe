//! Opening arenas. The whole-file lock is held until recovery is done.

use super::create::{create, initialise, is_beginning};
#[cfg(feature = "testing")]
use super::create::{new_superblock, random_id, write_all};
use super::{Access, Arena, Committed, Inner, Locking, Options, power_log};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::heap::Heap;
use crate::layout::*;
use crate::lock::file::FileLock;
use crate::lock::gate::Gate;
use crate::lock::guarded::Guarded;
use crate::lock::held::HandleNumber;
use crate::lock::{Lock, slots};
use crate::log::power::Extent;
use crate::log::replay::Apply;
use crate::log::resume;
use crate::media::{ArenaFile, Mapping, Media, OpenMode, Writable, settled};
use crate::runtime::{MarkState, Runtime, Seen, boot_id};
use crate::txn::dense::Scale;
use crate::txn::write::State;
use std::io::ErrorKind::NotFound;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The smallest address space to map, beyond the file itself.
const LEAST_ROOM: u64 = 1 << 30;
/// How often a path is looked up that comes to name another file each time.
const ATTEMPTS: u32 = 16;
/// Between two looks at a lock that another has.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

pub(super) fn open(path: &Path, options: &Options) -> Result<Arena> {
    attach_path(path, options, Access::Write)
}

/// Opens the file at `path` and attaches to it; if the path came to name another file meanwhile, to that one.
pub(super) fn attach_path(path: &Path, options: &Options, access: Access) -> Result<Arena> {
    let mode = if access == Access::Private { OpenMode::ReadOnly } else { OpenMode::ReadWrite };
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match attach(ArenaFile::open(path, mode, options.follow_links)?, options, access) {
            Err(Error::Replaced { .. }) if left > 0 => {}
            outcome => return outcome,
        }
    }
}

pub(super) fn open_or_create(path: &Path, options: &Options) -> Result<Arena> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match attach_path(path, options, Access::Write) {
            Err(Error::Io { op: "open", source, .. }) if source.kind() == NotFound => {
                match create(path, options) {
                    Err(Error::AlreadyExists { .. }) => {}
                    Err(Error::Replaced { .. }) if left > 0 => {}
                    other => return other,
                }
            }
            Err(Error::Unfinished { .. }) => {
                let file = ArenaFile::open(path, OpenMode::ReadWrite, options.follow_links)?;
                match initialise(file, options) {
                    Ok(Some(arena)) => return Ok(arena),
                    Err(Error::Replaced { .. }) if left > 0 => {}
                    made => drop(made?),
                }
            }
            other => return other,
        }
    }
}

pub(super) fn open_descriptor(fd: BorrowedFd<'_>, options: &Options) -> Result<Arena> {
    attach(ArenaFile::from_descriptor(fd)?, options, Access::Write)
}

pub(super) fn open_read_only(path: &Path, options: &Options) -> Result<Arena> {
    match attach_path(path, options, Access::Read) {
        Err(Error::Io { op: "open", source, .. })
            if matches!(source.raw_os_error(), Some(libc::EACCES | libc::EROFS | libc::EPERM)) =>
        {
            attach_path(path, options, Access::Private)
        }
        outcome => outcome,
    }
}

/// Waits for the whole-file lock until `try_lock` has taken it. Who has it opens or closes the file, and is soon done with that, unless it is stopped.
pub(super) fn wait_for_lock(timeout: Duration, mut try_lock: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !try_lock()? {
        let waited = start.elapsed();
        if waited >= timeout {
            // Never zero: that is another kind of busy.
            return Err(Error::Busy { slot: None, pid: None, waited: waited.max(Duration::from_nanos(1)) });
        }
        std::thread::sleep(LOOK_AGAIN.min(timeout - waited));
    }
    Ok(())
}

/// The whole-file lock while a handle is being made.
pub(super) struct WholeFile<'a>(&'a ArenaFile);

impl<'a> WholeFile<'a> {
    pub(super) fn take(file: &'a ArenaFile, exclusive: bool, timeout: Duration) -> Result<Self> {
        let mut asked = false;
        let outcome = wait_for_lock(timeout, || {
            let taken = file.try_lock(exclusive)?;
            if exclusive && !taken {
                file.take_turn();
                asked = true;
            }
            Ok(taken)
        });
        if asked {
            file.end_turn();
        }
        outcome.map(|()| Self(file))
    }

    /// Keeps the lock: whoever has the file now is to release it.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for WholeFile<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// Reads and checks the superblock.
fn read_superblock(file: &ArenaFile) -> Result<Superblock> {
    let length = file.len()?;
    let mut start = vec![0u8; length.min(size_of::<Superblock>() as u64) as usize];
    file.read_at(0, &mut start)?;
    parse_superblock(file.path(), length, &start)
}

/// Checks the superblock of a file of `length` bytes that begins with `start`.
fn parse_superblock(path: &Path, length: u64, start: &[u8]) -> Result<Superblock> {
    let path = || path.to_owned();
    let not_ours = |why| Error::NotAnArena { path: path(), why };
    if is_beginning(length, start) {
        return Err(Error::Unfinished { path: path() });
    }
    let Some((head, _)) = start.split_first_chunk::<16>() else {
        return Err(not_ours("it is shorter than any arena"));
    };
    if head[..8] != MAGIC {
        return Err(not_ours("it does not begin with the arena's magic bytes"));
    }
    let order = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if order == BYTE_ORDER.swap_bytes() {
        return Err(Error::Endianness { path: path() });
    }
    let found = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
    if order == BYTE_ORDER && found > VERSION {
        return Err(Error::Version { path: path(), found, supported: VERSION });
    }
    if order != BYTE_ORDER {
        return Err(Error::corrupt(8, "the superblock's byte order is neither of the two that there are"));
    }
    if found != VERSION {
        return Err(Error::corrupt(12, "the superblock's format version is 0"));
    }
    let Ok(superblock) = bytemuck::try_pod_read_unaligned::<Superblock>(start) else {
        return Err(Error::Truncated { needed: size_of::<Superblock>() as u64, found: length });
    };
    if !superblock.is_sound() {
        return Err(Error::corrupt(0, "the superblock's checksum does not match"));
    }
    if !superblock.is_consistent() {
        return Err(Error::corrupt(0, "the superblock's regions do not follow each other"));
    }
    let needed = page_offset(superblock.heap_page) + PAGE;
    if length < needed {
        return Err(Error::Truncated { needed, found: length });
    }
    Ok(superblock)
}

/// Opens an existing arena.
fn attach(file: ArenaFile, options: &Options, access: Access) -> Result<Arena> {
    let lock = WholeFile::take(&file, access != Access::Private, options.lock_timeout)?;
    if !file.is_in_place() {
        return Err(Error::Replaced { path: file.path().to_owned() });
    }
    let superblock = read_superblock(&file)?;
    lock.keep();
    let length = file.len()?;
    let apply = apply_kind(&file, &superblock, access);
    let media = map(file, &superblock, length, options, access)?;
    finish(media, superblock, apply, options, access)
}

pub(super) fn apply_kind(file: &ArenaFile, superblock: &Superblock, access: Access) -> Apply {
    let stores = superblock.durability == DURABILITY_PROCESS && file.stores_in_place();
    if access == Access::Private || stores { Apply::Store } else { Apply::Write }
}

pub(super) fn map(
    file: ArenaFile,
    superblock: &Superblock,
    length: u64,
    options: &Options,
    access: Access,
) -> Result<Media> {
    let writable = writable(superblock, access);
    // Bytes of a last, partial page lie outside: no region ends inside a page.
    let whole = length / PAGE * PAGE;
    let mode = if access == Access::Private { OpenMode::ReadOnly } else { OpenMode::ReadWrite };
    let mapped = file.for_mapping(mode)?;
    let mapping = Mapping::new(
        mapped.file(),
        whole,
        options.max_size.min(MAX_PAGES * PAGE),
        whole + LEAST_ROOM,
        writable,
    )
    .map_err(|e| match e.raw_os_error() {
        Some(libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP) => {
            Error::Unsupported { path: file.path().to_owned(), what: "shared memory mappings" }
        }
        _ => Error::io("map", file.path(), e),
    })?;
    Ok(Media::from_file(file, mapping, options.huge_pages))
}

/// Which parts of the mapping a handle stores to.
fn writable(superblock: &Superblock, access: Access) -> Writable {
    match access {
        Access::Private => Writable::Private,
        _ if superblock.durability == DURABILITY_PROCESS => Writable::All,
        _ => Writable::Runtime,
    }
}

/// Creates or opens an arena on a simulated disk.
#[cfg(feature = "testing")]
pub(crate) fn on_disk(disk: &crate::media::sim::SimDisk, options: &Options, create: bool) -> Result<Arena> {
    let apply = |superblock: &Superblock| match superblock.durability {
        DURABILITY_PROCESS => Apply::Store,
        _ => Apply::Write,
    };
    let bytes = disk.read_cache()?;
    let length = bytes.len() as u64;
    let start = &bytes[..bytes.len().min(size_of::<Superblock>())];
    let superblock = match create {
        true if is_beginning(length, start) => new_superblock(options, random_id()?)?,
        true => return Err(Error::AlreadyExists { path: disk.path().to_owned() }),
        false => parse_superblock(disk.path(), length, start)?,
    };
    let media = disk.open_media(options.max_size, writable(&superblock, Access::Write))?;
    while !media.try_lock(true)? {
        std::thread::yield_now();
    }
    if create {
        write_all(&media, &superblock, apply(&superblock))?;
    }
    finish(media, superblock, apply(&superblock), options, Access::Write)
}

/// The last steps of opening, with the whole-file lock held: recovery, checks, and the lock's release. On an error the lock goes
/// with the file, after the slot: nobody joins a handle that could not complete what was left.
pub(super) fn finish(
    media: Media,
    superblock: Superblock,
    apply: Apply,
    options: &Options,
    access: Access,
) -> Result<Arena> {
    if options.repairing && (slots::any_other(&media)? || media.is_byte_shared(FILE_MODE_BYTE)?) {
        return Err(Error::Busy { slot: None, pid: None, waited: Duration::ZERO });
    }
    let power = power_log(&superblock);
    // Before the first store to the runtime pages, which counts as a change of the file. Only where there is a log to be spared.
    let home = power.and_then(|_| media.home());
    failpoint("attach: length known");
    let (lock, alone) = join(&media, options, access)?;
    let state = State::new(superblock.heap_page, Scale::of(&media));
    let inner = Inner {
        number: HandleNumber::new(media.key()),
        power,
        media,
        superblock,
        apply,
        access,
        options: options.clone(),
        lock,
        state: Guarded::new(state),
        group: super::submit::Group::default(),
        poisoned: OnceLock::new(),
        checkpointing: AtomicBool::new(false),
        cuts_seen: AtomicU64::new(0),
        sequence_seen: AtomicU64::new(u64::MAX),
        end_seen: AtomicU64::new(u64::MAX),
    };
    let arena = Arena { inner: Arc::new(inner) };
    let recovered = recover_at_open(&arena.inner, alone, home);
    // A check takes the lock as any reader does: where that is the whole file's, it has to be free.
    let whole_file = arena.inner.lock.is_exclusive();
    if whole_file && access != Access::Private {
        arena.inner.media.unlock();
    }
    if let Err(e) = recovered.and_then(|unsynced| accept(&arena, unsynced)) {
        // What could not be recovered must not be closed as if it had been.
        arena.inner.poison("it could not be opened");
        return Err(e);
    }
    // Who repairs stays alone: the lock goes with the handle.
    if !whole_file && !options.repairing {
        arena.inner.media.unlock();
    }
    if !alone {
        look_among_others(&arena.inner)?;
    }
    Ok(arena)
}

/// Whether the file is long enough; not where it would have to wait for a commit: the first transaction looks again.
fn look_among_others(inner: &Inner) -> Result<()> {
    match inner.begin_read_within(Duration::ZERO) {
        Ok(()) => inner.end_read(),
        Err(Error::Busy { .. }) => {}
        Err(e) => return Err(e),
    }
    Ok(())
}

/// What the machine went down on is for writers only once its check found nothing; from then on it is this boot's.
fn accept(arena: &Arena, unsynced: bool) -> Result<()> {
    if !unsynced || arena.inner.access != Access::Write || arena.inner.options.repairing {
        return Ok(());
    }
    if !arena.check()?.is_clean() {
        return Err(Error::corrupt(
            page_offset(arena.inner.heap_page()),
            "what was left unsynced is not sound; `heapfile check` lists the findings",
        ));
    }
    arena.inner.media.runtime().set_boot(boot_id());
    Ok(())
}

/// Byte that handles with [`Locking::File`] lock together, so that those with [`Locking::Shared`] know of them.
const FILE_MODE_BYTE: u64 = page_offset(RUNTIME_PAGE) + PAGE - 1;

/// Settles the lock mode and takes a slot. Also tells whether the runtime words are this handle's to compute: whether no other
/// handle can be in the middle of anything.
fn join(media: &Media, options: &Options, access: Access) -> Result<(Lock, bool)> {
    let file_lock = || Lock::File(FileLock::new());
    if access == Access::Private {
        // A writer that has a slot would not notice this handle's shared lock; one without would wait for it in vain. Where bytes
        // cannot be locked there is no slot, and the shared lock has to do.
        let locked =
            slots::any_other(media).and_then(|slots| Ok(slots || media.is_byte_shared(FILE_MODE_BYTE)?));
        return match locked {
            Ok(true) => Err(Error::Busy { slot: None, pid: None, waited: Duration::ZERO }),
            Ok(false) | Err(Error::Unsupported { .. }) => Ok((file_lock(), true)),
            Err(e) => Err(e),
        };
    }
    let asked_file = options.locking == Some(Locking::File);
    let byte_locks =
        slots::any_other(media).and_then(|shared| Ok((shared, media.is_byte_shared(FILE_MODE_BYTE)?)));
    let (shared, file) = match byte_locks {
        Ok(found) => found,
        // Where bytes cannot be locked nobody can have a slot.
        Err(_) if asked_file => (false, false),
        Err(e) => return Err(e),
    };
    let mode = match (options.locking, shared, file) {
        (Some(Locking::File), true, _) => {
            return Err(Error::LockMode { stored: "Locking::Shared", asked: "Locking::File" });
        }
        (Some(Locking::Shared), _, true) => {
            return Err(Error::LockMode { stored: "Locking::File", asked: "Locking::Shared" });
        }
        (Some(mode), ..) => mode,
        // No two handles of ours: who has a slot looked for the other lock first. Anybody who may read the file can take that one.
        (None, true, true) => {
            return Err(Error::LockMode { stored: "Locking::Shared", asked: "Locking::File" });
        }
        (None, false, true) => Locking::File,
        (None, ..) => Locking::Shared,
    };
    if mode == Locking::File {
        if !asked_file || byte_locks_work(media) {
            media.try_share_byte(FILE_MODE_BYTE)?;
        }
        // What live handles know of the file has to stay as they know it.
        return Ok((file_lock(), !file));
    }
    let runtime = media.runtime();
    if !shared {
        Gate::reset(media);
        runtime.set_slots_used(0);
    }
    let (slot, generation) = slots::attach(media)?;
    runtime.set_slots_used(runtime.slots_used().max(slot + 1));
    Ok((Lock::Shared(Gate::new(slot, generation)), !shared))
}

/// Undoes `join` but for the slot, and gives the whole-file lock back.
pub(super) fn leave(media: &Media) {
    media.unlock_byte(FILE_MODE_BYTE);
    media.unlock();
}

fn byte_locks_work(media: &Media) -> bool {
    media.is_byte_shared(FILE_MODE_BYTE).is_ok()
}

/// The header's first words, so that a heap that is none is refused here and not at the first use; and the file's length.
fn look_at_heap(inner: &Inner) -> Result<()> {
    Heap::new(inner.heap_page()).open(&Committed(&inner.media))?;
    inner.see_length()?;
    if inner.power.is_some() && inner.access != Access::Private {
        // The next record would be written over whatever else lies there.
        inner.see_log_run(inner.media.runtime().log().place)?;
    }
    if inner.access != Access::Private {
        inner.lock.open(&inner.media);
    }
    Ok(())
}

/// Completes what a death left half-done, if this handle is alone with the file, and looks at the heap. Whether the state is one that was not
/// synced before the machine went down.
fn recover_at_open(inner: &Inner, alone: bool, home: Option<Seen>) -> Result<bool> {
    let runtime = inner.media.runtime();
    let mark = match read_mark(&inner.media) {
        _ if inner.power.is_some() => None,
        // Nothing is known of the state: as if it had not been synced.
        Err(Error::Corrupt { .. }) if inner.options.repairing => Some(unknown_mark(runtime)),
        Err(Error::Corrupt { .. }) if !alone => Some(read_mark_beside(&inner.media)?),
        mark => Some(mark?),
    };
    // The page cache has what live handles see, in whatever container; one that merely looks at what was not synced says so by the boot.
    let is_lost = |mark: &Mark| if alone { !is_cached(runtime, mark) } else { runtime.boot() == [0; 16] };
    let unsynced = mark.is_some_and(|mark| mark.changed != 0 && is_lost(&mark));
    if unsynced && !inner.options.accept_unsynced {
        return Err(Error::Unsynced { path: inner.media.path().to_owned() });
    }
    match (&inner.power, mark) {
        _ if !alone => {}
        // Who salvages takes of the log what there is.
        (Some(_), _) if inner.access == Access::Private && inner.options.repairing => {}
        (Some(_), _) if inner.access == Access::Private => inner.recover(Extent::All)?,
        (Some(_), _) => {
            // A word that means something in `Process` arenas only; an earlier boot may have left anything in it.
            runtime.clear_intent();
            // Everything since the tail, unless the page cache surely has what the runtime words say was applied.
            let goes_on = home.is_some_and(|home| resume::goes_on(runtime, home));
            let extent = if goes_on { Extent::SinceApplied } else { Extent::All };
            inner.recover(extent)?;
        }
        (None, Some(mark)) => recover_process(inner, &mark, unsynced)?,
        (None, None) => {}
    }
    if alone {
        // Of the file at another time.
        runtime.set_layout(runtime.sequence());
    }
    if inner.options.repairing {
        if inner.access != Access::Private {
            inner.lock.open(&inner.media);
        }
    } else if alone {
        // Only without other handles is nobody in the middle of changing it.
        look_at_heap(inner)?;
    }
    Ok(unsynced)
}

/// Whether this is the boot of the machine that is running. Where the system does not tell, none is.
pub(super) fn is_this(boot: [u8; 16]) -> bool {
    boot == boot_id() && boot != [0; 16]
}

/// Whether the page cache still holds what the processes of a `Process` arena did. If not, any version of the runtime words may have
/// reached the disk.
fn is_cached(runtime: Runtime<'_>, mark: &Mark) -> bool {
    is_this(runtime.boot()) || mark.changed != 0 && is_this(mark.boot)
}

/// A `Process` arena: completes the commit of a killed process, unless the machine itself went down.
fn recover_process(inner: &Inner, mark: &Mark, unsynced: bool) -> Result<()> {
    let runtime = inner.media.runtime();
    if !is_cached(runtime, mark) {
        // No commit was under way if the mark is clear; half a commit on top of an unsynced state says nothing.
        runtime.clear_intent();
        runtime.set_in_doubt(false);
        runtime.set_sequence(mark.sequence);
        runtime.set_mark(if mark.changed == 0 { MarkState::Clear } else { MarkState::Unknown });
    }
    runtime.set_boot(if unsynced { [0; 16] } else { boot_id() });
    if inner.access == Access::Private {
        // To write anew what a failed sync left is the business of handles that can.
        runtime.forget_failed_syncs();
    }
    inner.recover(Extent::All)
}

/// What stands for a mark that cannot be read.
fn unknown_mark(runtime: Runtime<'_>) -> Mark {
    let sequence = Some(runtime.sequence()).filter(|&sequence| sequence < 1 << 62).unwrap_or(0);
    Mark::new(true, [0; 16], sequence)
}

/// The mark, while another handle may be writing it.
pub(crate) fn read_mark_beside(media: &Media) -> Result<Mark> {
    settled(|| read_mark(media), |mark| !matches!(mark, Err(Error::Corrupt { .. })))
}

pub(super) fn read_mark(media: &Media) -> Result<Mark> {
    let at = page_offset(MARK_PAGE);
    let mut bytes = [0u8; size_of::<Mark>()];
    media.copy_to(at, &mut bytes).ok_or(Error::Truncated { needed: at + PAGE, found: media.len() })?;
    let mark: Mark = bytemuck::cast(bytes);
    if mark.is_sound() && mark.magic == MARK_MAGIC && mark.changed <= 1 && mark.sequence < 1 << 62 {
        Ok(mark)
    } else {
        Err(Error::corrupt(at, "the mark's checksum does not match"))
    }
}
