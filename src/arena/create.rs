//! Creating arenas.
//!
//! Creation works on the file under its own name, with the whole-file lock held: the superblock is written last, so that a
//! creation that is cut off is recognised (`Unfinished`) and can be started again.

use super::open::{WholeFile, apply_kind, finish, map};
use super::{Access, Arena, Durability, Options, power_log};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::layout::*;
use crate::log::replay::Apply;
use crate::media::{ArenaFile, Media, OpenMode};
use crate::runtime::boot_id;
use crate::txn::work::{Changes, Work};
use std::io::ErrorKind::NotFound;
use std::path::Path;
use std::time::Duration;

pub(super) fn create(path: &Path, options: &Options) -> Result<Arena> {
    // What cannot be made leaves no file, whatever its identity would be.
    new_superblock(options, [0; 16])?;
    let file = match ArenaFile::open(path, OpenMode::Create(options.mode), options.follow_links) {
        Ok(file) => file,
        // An empty file, or the beginnings of a creation that was cut off, hold nothing that could be lost.
        Err(Error::AlreadyExists { .. }) => {
            match ArenaFile::open(path, OpenMode::ReadWrite, options.follow_links) {
                Ok(file) if is_unfinished(&file)? => file,
                Ok(_) => return Err(Error::AlreadyExists { path: path.to_owned() }),
                Err(Error::Io { source, .. }) if source.kind() == NotFound && path.is_symlink() => {
                    let what = "a symbolic link to nothing (no arena is made behind one)";
                    return Err(Error::NotAFile { path: path.to_owned(), what });
                }
                Err(e) => return Err(e),
            }
        }
        Err(e) => return Err(e),
    };
    match initialise(file, options)? {
        Some(arena) => Ok(arena),
        None => Err(Error::AlreadyExists { path: path.to_owned() }),
    }
}

pub(super) fn create_anonymous(options: &Options) -> Result<Arena> {
    let options = Options { durability: Durability::Process, ..options.clone() };
    initialise(ArenaFile::anonymous()?, &options)?
        .ok_or_else(|| Error::corrupt(0, "memory that was just made is not empty"))
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
    let length = file.len()?;
    let mut start = [0; size_of::<Superblock>()];
    let start = &mut start[..length.min(size_of::<Superblock>() as u64) as usize];
    file.read_at(0, start)?;
    Ok(is_beginning(length, start))
}

/// Whether a file of `length` bytes that begins with `start`, as much of a superblock as it has, holds no more than the beginnings of an
/// arena: the header, or the zeros that a power cut may leave of its length before the disk has its bytes.
pub(super) fn is_beginning(length: u64, start: &[u8]) -> bool {
    let zeros = length == size_of::<Superblock>() as u64 && start.iter().all(|&byte| byte == 0);
    length == 0 || zeros || start.len() >= 16 && *start == unfinished_header()[..start.len()]
}

/// Makes an arena of an unfinished file; nothing if another process was first.
pub(super) fn initialise(file: ArenaFile, options: &Options) -> Result<Option<Arena>> {
    let lock = WholeFile::take(&file, true, options.lock_timeout)?;
    if !file.is_in_place() {
        return Err(Error::Replaced { path: file.path().to_owned() });
    }
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
    let superblock = new_superblock(options, random_id()?)?;
    let apply = apply_kind(&file, &superblock, Access::Write);
    let media = map(file, &superblock, 0, options, Access::Write)?;
    write_all(&media, &superblock, apply)?;
    finish(media, superblock, apply, options, Access::Write)
}

/// The steps of creation. The superblock comes last: before it the file is recognised as unfinished.
pub(super) fn write_all(media: &Media, superblock: &Superblock, apply: Apply) -> Result<()> {
    media.truncate(0)?;
    // On the disk before anything else: from here on a power cut leaves what is recognised.
    media.write_durable(0, &unfinished_header())?;
    media.grow(page_offset(superblock.heap_page + FIRST_HEAP_PAGES))?;
    format(media, superblock, apply)?;
    media.write_durable(0, bytemuck::bytes_of(superblock))?;
    media.sync_directory()
}

/// Sixteen random bytes, for an arena's identity.
pub(super) fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    let mut filled = 0;
    while filled < id.len() {
        filled += rustix::rand::getrandom(&mut id[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::io("take random bytes for", Path::new("the new arena"), e))?;
    }
    Ok(id)
}

/// The superblock of an arena with these options, if it has room.
pub(super) fn new_superblock(options: &Options, id: [u8; 16]) -> Result<Superblock> {
    let superblock = match options.durability {
        Durability::Power => {
            Superblock::new(id, DURABILITY_POWER, (options.log_size / PAGE) as u32, options.log_align)
        }
        Durability::Process => Superblock::new(id, DURABILITY_PROCESS, 0, LINE as u32),
    };
    let needed = page_offset(superblock.heap_page + FIRST_HEAP_PAGES);
    if needed > options.max_size {
        return Err(Error::MaxSize { needed, max: options.max_size });
    }
    Ok(superblock)
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
    changes.in_order(|offset, words| apply.words(media, offset, words))?;
    media.sync()
}
