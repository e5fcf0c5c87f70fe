//! The file that a snapshot, or what was salvaged, becomes: made under another name, completed, renamed.

use crate::arena::{Arena, Options, create, runs, shrink};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::heap::Use;
use crate::layout::*;
use crate::log::ring::Cursor;
use crate::log::slots;
use crate::media::{Directory, may_be_as_long};
use crate::runtime::boot_id;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that goes away unless it is completed.
#[derive(Debug)]
pub(in crate::arena) struct Target {
    file: File,
    /// Where it is until it is complete.
    temporary: PathBuf,
    path: PathBuf,
    overwrite: bool,
    renamed: bool,
}

impl Target {
    /// Makes an empty file beside `path`.
    pub(in crate::arena) fn create(arena: &Arena, path: &Path, overwrite: bool) -> Result<Self> {
        let exists = || Error::AlreadyExists { path: path.to_owned() };
        if let Ok(found) = std::fs::symlink_metadata(path) {
            let itself = std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == arena.inner.media.key());
            if !overwrite || itself || !found.is_file() {
                return Err(exists());
            }
        }
        let Some(name) = path.file_name() else { return Err(exists()) };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        let [a, b, c, d, ..] = create::random_id()?;
        hidden.push(format!(".{}-{a:02x}{b:02x}{c:02x}{d:02x}.snapshot", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let mode = match std::fs::metadata(arena.path()) {
            // Memory without a name has no permissions that mean anything. Its owner has to be able to write the new one, if only to complete it.
            Ok(found) if !arena.path().starts_with("/proc") => found.mode() & 0o777 | 0o600,
            _ => arena.inner.options.mode,
        };
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(mode).open(&temporary);
        let file = file.map_err(|e| Error::io("create", &temporary, e))?;
        Ok(Self { file, temporary, path: path.to_owned(), overwrite, renamed: false })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes an arena of the heap that was copied into the file, has `finish` look after it, and gives it its name, or leaves no file behind. Returns the file's length, and what that says.
    pub(in crate::arena) fn complete<R>(
        mut self,
        source: &Arena,
        sequence: u64,
        finish: impl FnOnce(&Arena) -> Result<R>,
    ) -> Result<(u64, R)> {
        self.write_front(&source.inner.superblock, sequence)?;
        let options = Options { accept_unsynced: false, follow_links: false, ..source.inner.options.clone() };
        let arena = options.open(&self.temporary)?;
        let finished = finish(&arena)?;
        if let Some(log) = &arena.inner.power {
            // Its log begins where the superblock has it, wherever the source's lies.
            arena.inner.move_log(log, 0)?;
        }
        reserve_used(&arena, &self.file)?;
        shrink::hollow(&arena)?;
        arena.checkpoint()?;
        drop(arena);
        let failed = |op, path: &Path| {
            let path = path.to_owned();
            move |e: std::io::Error| Error::io(op, &path, e)
        };
        self.file.sync_all().map_err(failed("sync", &self.temporary))?;
        let file_bytes = self.file.metadata().map_err(failed("inspect", &self.temporary))?.len();
        // Before the rename: what fails then leaves no file behind.
        let directory = Directory::open(&self.path).map_err(failed("open the directory of", &self.path))?;
        failpoint("snapshot: before the rename");
        self.rename()?;
        failpoint("snapshot: renamed");
        self.renamed = true;
        directory.sync().map_err(failed("sync the directory of", &self.path))?;
        Ok((file_bytes, finished))
    }

    /// Everything before the heap: it says that nothing is in the log and nobody has the file open.
    fn write_front(&self, source: &Superblock, sequence: u64) -> Result<()> {
        let front = page_offset(source.heap_page);
        let zeros = vec![0u8; 1 << 20];
        let mut at = 0;
        while at < front {
            let n = (front - at).min(zeros.len() as u64);
            self.write(at, &zeros[..n as usize])?;
            at += n;
        }
        let superblock = Superblock { id: create::random_id()?, ..*source }.sealed();
        let [a, b, c, d, ..] = superblock.id;
        if superblock.durability == DURABILITY_POWER {
            let start =
                Cursor { position: 0, sequence: sequence + 1, seed: u32::from_le_bytes([a, b, c, d]) };
            for generation in [1, 2] {
                let slot = slots::slot(generation, start, LogPlace::FIRST);
                self.write(page_offset(SLOT_PAGES[generation as usize % 2]), bytemuck::bytes_of(&slot))?;
            }
        } else {
            let mark = Mark::new(false, boot_id(), sequence);
            self.write(page_offset(MARK_PAGE), bytemuck::bytes_of(&mark.sealed()))?;
        }
        self.write(0, bytemuck::bytes_of(&superblock))
    }

    /// Gives the file the length of the heap.
    pub(in crate::arena) fn set_len(&self, end: u64) -> Result<()> {
        may_be_as_long(end)?;
        self.file.set_len(end).map_err(|e| target_error(e, end))
    }

    /// Puts bytes of the heap, or of the front, where they belong.
    pub(in crate::arena) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        may_be_as_long(at + bytes.len() as u64)?;
        self.file.write_all_at(bytes, at).map_err(|e| target_error(e, bytes.len() as u64))
    }

    fn rename(&self) -> Result<()> {
        let failed = |e: std::io::Error| Error::io("rename to", &self.path, e);
        if self.overwrite {
            return std::fs::rename(&self.temporary, &self.path).map_err(failed);
        }
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, &self.temporary, cwd, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(Error::AlreadyExists { path: self.path.clone() }),
            // A file system that cannot: a link does not replace anything either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                std::fs::hard_link(&self.temporary, &self.path).map_err(failed)?;
                // It has its name; what cannot be removed is left under another one.
                let _ = std::fs::remove_file(&self.temporary);
                Ok(())
            }
            Err(e) => Err(failed(e.into())),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be removed is left under a name that nobody takes for a snapshot.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// What it means that the target could not be written.
fn target_error(e: std::io::Error, needed: u64) -> Error {
    match e.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Error::NoSpace { needed },
        _ => Error::io("write", Path::new("the copy"), e),
    }
}

/// Sees to it that everything in use has room on the disk: what was never written to comes as a hole with reflinks.
fn reserve_used(arena: &Arena, file: &File) -> Result<()> {
    let (mut from, mut used): (Page, (Page, Page)) = (0, (0, 0));
    loop {
        let stretches = runs::piece(arena, from, 4096)?;
        for stretch in stretches.iter().filter(|stretch| !matches!(stretch.used, Use::Free { .. })) {
            if stretch.page != used.1 {
                reserve(file, used)?;
                used.0 = stretch.page;
            }
            used.1 = stretch.end();
        }
        match stretches.last() {
            Some(last) => from = last.end(),
            None => return reserve(file, used),
        }
    }
}

fn reserve(file: &File, (first, end): (Page, Page)) -> Result<()> {
    let (offset, len) = (page_offset(first), page_offset(end - first));
    if len == 0 {
        return Ok(());
    }
    loop {
        return match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), offset, len) {
            // Where space cannot be reserved, holes are filled by those who write.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(e) => Err(target_error(e.into(), len)),
        };
    }
}
