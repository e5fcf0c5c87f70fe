//! Snapshots: a complete arena of its own, made of one committed state while others go on.
//!
//! 1. A file is made under a name of its own beside the target.
//! 2. `copy` brings the heap into it, as one committed state has it. Of a `Power` arena most of that happens without any lock; see there.
//! 3. `target` writes what belongs to the new file alone (superblock, checkpoint slots, an empty log), opens it, sees to it that what is
//!    in use has room on the disk and that what is free takes none, and closes it.
//! 4. Synced, it gets its name. Whoever looks at the target finds nothing, what was there before, or the whole snapshot.
//!
//! Blocks keep their offsets, roots their names. The snapshot has an identity of its own; its commits go on being counted from the state that
//! it is of.

mod copy;
mod pages;
mod target;

use super::{Access, Arena};
use crate::error::Result;
use copy::{Copied, Copy};
use std::path::Path;
pub(super) use target::Target;

/// How to take a snapshot; see [`Arena::snapshot`].
///
/// ```
/// use heapfile::SnapshotOptions;
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// let to = dir.path().join("b.heap");
/// arena.snapshot(&to, &SnapshotOptions::new())?;
/// arena.snapshot(&to, &SnapshotOptions::new().overwrite(true))?;
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SnapshotOptions {
    reflink: bool,
    overwrite: bool,
}

impl SnapshotOptions {
    /// The defaults: copy, and refuse a target that exists.
    ///
    /// ```
    /// let options = heapfile::SnapshotOptions::new();
    /// # let _ = options;
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to share the blocks on the disk with the arena instead of copying them, where the file system can do that (XFS, Btrfs); where it
    /// cannot: [`Error::NoReflink`](crate::Error::NoReflink). Takes the time of a flush of the disk, and the lock or a read transaction
    /// for as long.
    ///
    /// ```
    /// let options = heapfile::SnapshotOptions::new().reflink(true);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn reflink(mut self, reflink: bool) -> Self {
        self.reflink = reflink;
        self
    }

    /// Whether a file of the target's name is replaced, once the snapshot is whole.
    ///
    /// ```
    /// let options = heapfile::SnapshotOptions::new().overwrite(true);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}

/// What [`Arena::snapshot`] made.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
/// arena.alloc(&7u64)?;
/// let snapshot = arena.snapshot(dir.path().join("b.heap"), &heapfile::SnapshotOptions::new())?;
/// assert_eq!(snapshot.sequence, 1);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Number of the last commit that it has.
    pub sequence: u64,
    /// Length of the new file.
    pub file_bytes: u64,
    /// Bytes of the heap that were copied; 0 with reflinks.
    pub copied_bytes: u64,
    /// Of these, bytes that were copied again because they were changed meanwhile.
    pub recopied_bytes: u64,
    /// Bytes that were copied while commits had to wait.
    pub held_bytes: u64,
}

impl Arena {
    /// Makes an arena of its own at `to` of one committed state of this one: its blocks at the same offsets, its roots, its durability, its kind of
    /// log, its file's permissions (less the umask); another identity. Only what is in use is copied. `to` is whole or not there: the copy is made beside it under another
    /// name (`.NAME.….snapshot`, which a kill leaves behind), synced and renamed.
    ///
    /// Of a `Power` arena everything is copied while others write; only what changed during the last round, usually well below a MiB, is
    /// copied in a read transaction, for which commits wait. If others write faster than can be copied, the writer lock is taken in the end.
    /// Of a `Process` arena it is taken from the start: readers go on, writers wait. Of a `Power` arena, through a read-only handle, a read transaction
    /// stands in for the lock.
    ///
    /// Errors: [`AlreadyExists`](crate::Error::AlreadyExists) without [`SnapshotOptions::overwrite`], and always where `to` is this arena;
    /// [`NoSpace`](crate::Error::NoSpace); [`TooLarge`](crate::Error::TooLarge) for what this process may write (`ulimit -f`); [`Busy`](crate::Error::Busy). The
    /// arena is as it was then, and `to` too; but if the directory cannot be synced ([`Io`](crate::Error::Io)), the snapshot is there, and a power cut may bring back what was there before.
    ///
    /// ```
    /// use heapfile::{Arena, SnapshotOptions, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc(&7u64)?;
    /// arena.snapshot(dir.path().join("then.heap"), &SnapshotOptions::new())?;
    /// arena.free(x)?;
    ///
    /// let then = Arena::open(dir.path().join("then.heap"))?;
    /// assert_eq!(then.read()?.get(x)?, &7);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn snapshot(&self, to: impl AsRef<Path>, options: &SnapshotOptions) -> Result<Snapshot> {
        let inner = &self.inner;
        inner.usable()?;
        inner.still_there()?;
        let target = Target::create(self, to.as_ref(), options.overwrite)?;
        let copy = Copy::new(self, &target);
        let copied = if options.reflink { copy.reflink(to.as_ref()) } else { copy.run() }?;
        let Copied { sequence, copied_bytes, recopied_bytes, held_bytes } = copied;
        let (file_bytes, ()) = target.complete(self, sequence, |_| Ok(()))?;
        Ok(Snapshot { sequence, file_bytes, copied_bytes, recopied_bytes, held_bytes })
    }

    /// Whether the file can be read through its descriptor: what a handle without permission replayed is in its memory only.
    fn is_in_file(&self) -> bool {
        self.inner.access != Access::Private
    }
}
