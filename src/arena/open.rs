//! Creating and opening arenas.
//!
//! Creation works on the file under its own name, with the whole-file lock held: the superblock is written last, so that a
//! creation that is cut off is recognised (`Unfinished`) and can be started again. Opening holds the whole-file lock too, until
//! recovery is done.

use super::{Access, Arena, Committed, Durability, Inner, Locking, Options, power_log};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::layout::*;
use crate::lock::file::FileLock;
use crate::lock::gate::Gate;
use crate::lock::held::FileNumber;
use crate::lock::{Lock, fork, slots};
use crate::log::power::Extent;
use crate::log::replay::Apply;
use crate::media::{ArenaFile, Mapping, Media, OpenMode, Writable};
use crate::runtime::boot_id;
use crate::txn::work::{Changes, Work};
use crate::txn::write::State;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The smallest address space to map, beyond the file itself.
const LEAST_ROOM: u64 = 1 << 30;

pub(super) fn create(path: &Path, options: &Options) -> Result<Arena> {
    let file = match ArenaFile::open(path, OpenMode::Create(options.mode), options.follow_links) {
        Ok(file) => file,
        // An empty file, or the beginnings of a creation that was cut off, hold nothing that could be lost.
        Err(Error::AlreadyExists { .. }) => {
            let file = ArenaFile::open(path, OpenMode::ReadWrite, options.follow_links)?;
            if !is_unfinished(&file)? {
                return Err(Error::AlreadyExists { path: path.to_owned() });
            }
            file
        }
        Err(e) => return Err(e),
    };
    match initialise(file, options)? {
        Some(arena) => Ok(arena),
        None => Err(Error::AlreadyExists { path: path.to_owned() }),
    }
}

pub(super) fn open(path: &Path, options: &Options) -> Result<Arena> {
    let file = ArenaFile::open(path, OpenMode::ReadWrite, options.follow_links)?;
    attach(file, options, Access::Write)
}

pub(super) fn open_or_create(path: &Path, options: &Options) -> Result<Arena> {
    loop {
        let file = match ArenaFile::open(path, OpenMode::ReadWrite, options.follow_links) {
            Ok(file) => file,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                match create(path, options) {
                    Err(Error::AlreadyExists { .. }) => continue,
                    other => return other,
                }
            }
            Err(e) => return Err(e),
        };
        match attach(file, options, Access::Write) {
            Err(Error::Unfinished { .. }) => {
                let file = ArenaFile::open(path, OpenMode::ReadWrite, options.follow_links)?;
                if let Some(arena) = initialise(file, options)? {
                    return Ok(arena);
                }
            }
            other => return other,
        }
    }
}

pub(super) fn create_anonymous(options: &Options) -> Result<Arena> {
    let options = Options { durability: Durability::Process, ..options.clone() };
    initialise(ArenaFile::anonymous()?, &options)?
        .ok_or_else(|| Error::corrupt(0, "memory that was just made is not empty"))
}

pub(super) fn open_descriptor(fd: BorrowedFd<'_>, options: &Options) -> Result<Arena> {
    attach(ArenaFile::from_descriptor(fd)?, options, Access::Write)
}

pub(super) fn open_read_only(path: &Path, options: &Options) -> Result<Arena> {
    match ArenaFile::open(path, OpenMode::ReadWrite, options.follow_links) {
        Ok(file) => attach(file, options, Access::Read),
        Err(Error::Io { source, .. })
            if matches!(source.raw_os_error(), Some(libc::EACCES | libc::EROFS | libc::EPERM)) =>
        {
            let file = ArenaFile::open(path, OpenMode::ReadOnly, options.follow_links)?;
            attach(file, options, Access::Private)
        }
        Err(e) => Err(e),
    }
}

/// The whole-file lock while a handle is being made.
struct WholeFile<'a>(&'a ArenaFile);

impl<'a> WholeFile<'a> {
    fn take(file: &'a ArenaFile, exclusive: bool, timeout: Duration) -> Result<Self> {
        let start = Instant::now();
        while !file.try_lock(exclusive)? {
            let waited = start.elapsed();
            if waited >= timeout {
                return Err(Error::Busy { slot: None, pid: None, waited });
            }
            std::thread::sleep(Duration::from_micros(200).min(timeout - waited));
        }
        Ok(Self(file))
    }

    /// Keeps the lock: whoever has the file now is to release it.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for WholeFile<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// What stands in the place of the superblock while an arena is under construction: the magic, version 0, and nothing else. So
/// no damage of a single byte makes an arena look like this.
fn unfinished_header() -> [u8; size_of::<Superblock>()] {
    let mut bytes = [0; size_of::<Superblock>()];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&BYTE_ORDER.to_le_bytes());
    bytes
}

/// Whether the file is empty or holds the beginnings of a creation.
fn is_unfinished(file: &ArenaFile) -> Result<bool> {
    let mut bytes = [0; size_of::<Superblock>()];
    let length = bytes.len().min(usize::try_from(file.len()?).unwrap_or(usize::MAX));
    file.read_at(0, &mut bytes[..length])?;
    Ok(is_beginning(&bytes[..length]))
}

/// Whether a file that begins with `start`, as much of a superblock as it has, holds no more than the beginnings of an arena.
fn is_beginning(start: &[u8]) -> bool {
    start.is_empty() || start.len() >= 16 && *start == unfinished_header()[..start.len()]
}

/// Makes an arena of an unfinished file; nothing if another process was first.
fn initialise(file: ArenaFile, options: &Options) -> Result<Option<Arena>> {
    let lock = WholeFile::take(&file, true, options.lock_timeout)?;
    if !is_unfinished(&file)? {
        return Ok(None);
    }
    lock.keep();
    let path = file.path().to_owned();
    build(file, options).map(Some).inspect_err(|_| give_back(&path))
}

/// After a failed creation: gives the file's space back, unless another process is at work on it.
fn give_back(path: &Path) {
    if let Ok(file) = ArenaFile::open(path, OpenMode::ReadWrite, true)
        && let Ok(_lock) = WholeFile::take(&file, true, Duration::ZERO)
        && is_unfinished(&file).unwrap_or(false)
    {
        let _ = file.truncate(0);
    }
}

/// Maps the empty file and makes an arena of it, with the whole-file lock held.
fn build(file: ArenaFile, options: &Options) -> Result<Arena> {
    let superblock = new_superblock(options)?;
    let needed = page_offset(superblock.heap_page + FIRST_HEAP_PAGES);
    if needed > options.max_size {
        return Err(Error::MaxSize { needed, max: options.max_size });
    }
    let apply = apply_kind(&file, &superblock, Access::Write);
    let media = map(file, &superblock, 0, options, Access::Write)?;
    write_all(&media, &superblock, apply)?;
    finish(media, superblock, apply, options, Access::Write)
}

/// The steps of creation. The superblock comes last: before it the file is recognised as unfinished.
fn write_all(media: &Media, superblock: &Superblock, apply: Apply) -> Result<()> {
    media.truncate(0)?;
    media.write(0, &unfinished_header())?;
    media.grow(page_offset(superblock.heap_page + FIRST_HEAP_PAGES))?;
    format(media, superblock, apply)?;
    media.write_durable(0, bytemuck::bytes_of(superblock))?;
    media.sync_directory()
}

fn new_superblock(options: &Options) -> Result<Superblock> {
    let mut id = [0; 16];
    let mut filled = 0;
    while filled < id.len() {
        filled += rustix::rand::getrandom(&mut id[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::io("take random bytes for", Path::new("the new arena"), e))?;
    }
    Ok(match options.durability {
        Durability::Power => {
            Superblock::new(id, DURABILITY_POWER, (options.log_size / PAGE) as u32, options.log_align)
        }
        Durability::Process => Superblock::new(id, DURABILITY_PROCESS, 0, LINE as u32),
    })
}

/// Everything but the superblock: log, slots, mark, the empty heap. Durable when this returns.
fn format(media: &Media, superblock: &Superblock, apply: Apply) -> Result<()> {
    match power_log(superblock) {
        Some(log) => {
            let salt =
                u32::from_le_bytes([superblock.id[0], superblock.id[1], superblock.id[2], superblock.id[3]]);
            log.format(media, salt)?;
        }
        None => {
            let mark = Mark {
                magic: MARK_MAGIC,
                changed: 0,
                reserved: 0,
                boot: boot_id(),
                sequence: 0,
                reserved2: [0; 5],
                crc: 0,
            };
            media.write(page_offset(MARK_PAGE), bytemuck::bytes_of(&mark.sealed()))?;
        }
    }
    let mut changes = Changes::default();
    let mut work = Work { media, changes: &mut changes, apply };
    Heap::new(superblock.heap_page).format(&mut work, superblock.heap_page + FIRST_HEAP_PAGES)?;
    for (offset, words) in changes.set.sorted_changes() {
        apply.words(media, offset, words)?;
    }
    media.sync()
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
    if is_beginning(start) {
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
    let Ok(superblock) = bytemuck::try_pod_read_unaligned::<Superblock>(start) else {
        return Err(Error::Truncated { needed: size_of::<Superblock>() as u64, found: length });
    };
    if !superblock.is_sound() || order != BYTE_ORDER || found != VERSION {
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
    let superblock = read_superblock(&file)?;
    lock.keep();
    let length = file.len()?;
    let apply = apply_kind(&file, &superblock, access);
    let media = map(file, &superblock, length, options, access)?;
    finish(media, superblock, apply, options, access)
}

fn apply_kind(file: &ArenaFile, superblock: &Superblock, access: Access) -> Apply {
    let stores = superblock.durability == DURABILITY_PROCESS && file.stores_in_place();
    if access == Access::Private || stores { Apply::Store } else { Apply::Write }
}

fn map(
    file: ArenaFile,
    superblock: &Superblock,
    length: u64,
    options: &Options,
    access: Access,
) -> Result<Media> {
    let writable = writable(superblock, access);
    // Bytes of a last, partial page lie outside: no region ends inside a page.
    let whole = length / PAGE * PAGE;
    let wanted = options.max_size.min(MAX_PAGES * PAGE);
    let mapping =
        Mapping::new(file.file(), whole, wanted, whole + LEAST_ROOM, writable).map_err(|e| {
            match e.raw_os_error() {
                Some(libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP) => {
                    Error::Unsupported { path: file.path().to_owned(), what: "shared memory mappings" }
                }
                _ => Error::io("map", file.path(), e),
            }
        })?;
    Ok(Media::from_file(file, mapping))
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
    let (superblock, created) = if create {
        (new_superblock(options)?, true)
    } else {
        let start = disk.read_cache()?;
        let length = start.len() as u64;
        (parse_superblock(disk.path(), length, &start[..start.len().min(size_of::<Superblock>())])?, false)
    };
    let media = disk.open_media(options.max_size, writable(&superblock, Access::Write))?;
    while !media.try_lock(true)? {
        std::thread::yield_now();
    }
    if created {
        write_all(&media, &superblock, apply(&superblock))?;
    }
    finish(media, superblock, apply(&superblock), options, Access::Write)
}

/// The last steps of opening, with the whole-file lock held: recovery, checks, and the lock's release.
fn finish(
    media: Media,
    superblock: Superblock,
    apply: Apply,
    options: &Options,
    access: Access,
) -> Result<Arena> {
    let (lock, alone) = join(&media, options, access).inspect_err(|_| media.unlock())?;
    let inner = Inner {
        number: FileNumber::of(media.key()),
        forks: fork::register(media.fd().as_raw_fd()),
        power: power_log(&superblock),
        media,
        superblock,
        apply,
        access,
        options: options.clone(),
        lock,
        state: Mutex::new(State::new(superblock.heap_page)),
        poisoned: OnceLock::new(),
        checkpointing: AtomicBool::new(false),
        cuts_seen: AtomicU64::new(0),
        sequence_seen: AtomicU64::new(u64::MAX),
    };
    let recovered = if alone { recover_at_open(&inner) } else { Ok(()) }.and_then(|()| look_at_heap(&inner));
    let arena = Arena { inner: Arc::new(inner) };
    let inner = &arena.inner;
    // A check takes the lock as any reader does: where that is the whole file's, it has to be free.
    if inner.lock.is_exclusive() && access != Access::Private {
        inner.media.unlock();
    }
    let outcome = recovered.and_then(|()| accept_unsynced(&arena));
    if !inner.lock.is_exclusive() {
        inner.media.unlock();
    }
    if outcome.is_err() {
        // What could not be recovered must not be closed as if it had been.
        inner.poison("it could not be opened");
    }
    outcome.map(|()| arena)
}

/// Makes an unsynced state that a writing handle accepts this boot's, if it is sound. Until then the runtime words keep the other
/// boot's name, so that nobody else takes it for one that is.
fn accept_unsynced(arena: &Arena) -> Result<()> {
    let inner = &arena.inner;
    let runtime = inner.media.runtime();
    let is_process = arena.durability() == Durability::Process;
    if !is_process || inner.access == Access::Private || runtime.boot() == boot_id() {
        return Ok(());
    }
    if !inner.options.accept_unsynced {
        return Err(Error::Unsynced { path: inner.media.path().to_owned() });
    }
    if inner.access == Access::Read {
        return Ok(());
    }
    if !arena.check()?.is_clean() {
        return Err(Error::corrupt(
            page_offset(inner.heap_page()),
            "what was left unsynced is not sound; `heapfile check` lists the findings",
        ));
    }
    runtime.set_boot(boot_id());
    Ok(())
}

/// Byte that handles with [`Locking::File`] lock together, so that those with [`Locking::Shared`] know of them.
const FILE_MODE_BYTE: u64 = page_offset(RUNTIME_PAGE) + PAGE - 1;

/// Settles the lock mode and takes a slot. Also tells whether the runtime words are this handle's to compute: whether no other
/// handle can be in the middle of anything.
fn join(media: &Media, options: &Options, access: Access) -> Result<(Lock, bool)> {
    let file_lock = || Lock::File(FileLock::default());
    if access == Access::Private {
        // A writer that has a slot would not notice this handle's shared lock.
        if slots::any_other(media)? {
            return Err(Error::Busy { slot: None, pid: None, waited: Duration::ZERO });
        }
        return Ok((file_lock(), true));
    }
    let asked_file = options.locking == Some(Locking::File);
    let byte_locks =
        slots::any_other(media).and_then(|shared| Ok((shared, media.is_byte_locked(FILE_MODE_BYTE, 1)?)));
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
        (None, _, true) => Locking::File,
        (None, ..) => Locking::Shared,
    };
    if mode == Locking::File {
        if !asked_file || byte_locks_work(media) {
            media.try_share_byte(FILE_MODE_BYTE)?;
        }
        return Ok((file_lock(), true));
    }
    let runtime = media.runtime();
    if !shared {
        runtime.lock_word().store(0, SeqCst);
        runtime.set_slots_used(0);
    }
    let (slot, generation) = slots::attach(media)?;
    runtime.set_slots_used(runtime.slots_used().max(slot + 1));
    Ok((Lock::Shared(Gate { slot, generation }), !shared))
}

fn byte_locks_work(media: &Media) -> bool {
    media.is_byte_locked(FILE_MODE_BYTE, 1).is_ok()
}

/// The header's first words, so that a heap that is none is refused here and not at the first use; and the file's length.
fn look_at_heap(inner: &Inner) -> Result<()> {
    Heap::new(inner.heap_page()).open(&Committed(&inner.media))?;
    inner.see_length()
}

fn recover_at_open(inner: &Inner) -> Result<()> {
    match &inner.power {
        Some(log) if inner.access == Access::Private => log.replay_only(&inner.media, inner.apply).map(drop),
        Some(log) => {
            let runtime = inner.media.runtime();
            let same_boot = runtime.boot() == boot_id() && runtime.boot() != [0; 16];
            let extent = if same_boot { Extent::SinceApplied } else { Extent::All };
            log.recover(&inner.media, runtime, extent, inner.apply)
        }
        None => recover_process(inner),
    }
}

/// A `Process` arena: completes the commit of a killed process, unless the machine itself went down.
fn recover_process(inner: &Inner) -> Result<()> {
    let runtime = inner.media.runtime();
    let mark = read_mark(&inner.media)?;
    let same_boot = runtime.boot() == boot_id() && runtime.boot() != [0; 16];
    let unsynced = mark.changed != 0 && mark.boot != boot_id() && !same_boot;
    if unsynced {
        if !inner.options.accept_unsynced {
            return Err(Error::Unsynced { path: inner.media.path().to_owned() });
        }
        // Half a commit on top of an unsynced state says nothing.
        runtime.clear_intent();
    }
    if inner.access != Access::Private {
        runtime.set_marked(mark.changed != 0);
        if !unsynced {
            runtime.set_boot(boot_id());
        }
        if !same_boot {
            // What an earlier boot left in these words says nothing about this one's page cache.
            runtime.set_sync_failed(false);
        }
    }
    inner.recover(Extent::All)
}

pub(crate) fn read_mark(media: &Media) -> Result<Mark> {
    let at = page_offset(MARK_PAGE);
    let mut bytes = [0u8; size_of::<Mark>()];
    media.copy_to(at, &mut bytes).ok_or(Error::Truncated { needed: at + PAGE, found: media.len() })?;
    let mark: Mark = bytemuck::cast(bytes);
    if mark.is_sound() && mark.magic == MARK_MAGIC && mark.changed <= 1 {
        Ok(mark)
    } else {
        Err(Error::corrupt(at, "the mark's checksum does not match"))
    }
}
