//! The arena: one open file, its lock, its log, its heap.
//!
//! [`Arena`] is the handle that users clone and share; `inner` holds what all clones share and is what transactions work on. `create` and `open`
//! make one, `options` says how, `check` and `stats` look at one.

mod check;
mod create;
mod inner;
mod log_place;
mod open;
mod options;
mod repair;
mod runs;
mod salvage;
mod shrink;
mod snapshot;
mod stats;
mod submit;
mod sync;

#[cfg(feature = "testing")]
pub(crate) use open::on_disk;

use inner::{Access, power_log};
pub(crate) use inner::{Committed, Exclusive, Inner};

pub use check::{Counts, Finding, Report};
pub use options::{Durability, Locking, Options};
pub use repair::Repair;
pub use runs::{Run, RunKind, Runs};
pub use salvage::Salvage;
pub use shrink::Shrunk;
pub use snapshot::{Snapshot, SnapshotOptions};
pub use stats::{Handle, Stats};

use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::log::replay::Apply;
use crate::offset::Offset;
use crate::txn::edit;
use crate::txn::short::{self, Kind, Short};
use crate::txn::{InBlock, ReadTxn, WriteTxn};
use bytemuck::Pod;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// A heap in a file. Clones share one handle; a handle can be used from any thread.
///
/// ```
/// use heapfile::{Arena, View};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a.heap");
/// let arena = Arena::create(&path)?;
/// let mut tx = arena.write()?;
/// let list = tx.alloc_slice(&[2u32, 4, 6])?;
/// tx.set_root(list)?;
/// tx.commit()?;
/// drop(arena);
///
/// let arena = Arena::open(&path)?;
/// let tx = arena.read()?;
/// let list = tx.root::<[u32]>()?.expect("it was stored above");
/// assert_eq!(tx.slice(list)?, [2, 4, 6]);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Arena {
    inner: Arc<Inner>,
}

impl Arena {
    /// Creates an arena with the default options.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().create(path)
    }

    /// Opens an arena with the default options. See [`Options::open`] for the one precondition.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let arena = heapfile::Arena::open(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    /// Opens or creates an arena with the default options.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = heapfile::Arena::open_or_create(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open_or_create(path)
    }

    /// Opens an arena for reading, with the default options.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let arena = heapfile::Arena::open_read_only(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open_read_only(path)
    }

    /// The options, to be changed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let arena = heapfile::Arena::options().max_size(1 << 30).create(dir.path().join("a.heap"))?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn options() -> Options {
        Options::new()
    }

    /// Begins a read transaction.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let tx = arena.read()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn read(&self) -> Result<ReadTxn<'_>> {
        ReadTxn::begin(&self.inner)
    }

    /// Begins the write transaction; waits up to `lock_timeout` for another one to end.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let tx = arena.write()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn write(&self) -> Result<WriteTxn<'_>> {
        WriteTxn::begin(&self.inner, false)
    }

    /// Allocates a block for `value` in a transaction of its own: in a `Power` arena that is one flush of the disk; in a `Process` arena it
    /// waits for no reader, as long as the block is small and there is room for it.
    ///
    /// ```
    /// # use heapfile::View;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc(&7u32)?;
    /// assert_eq!(arena.read()?.get(x)?, &7);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc<T: Pod>(&self, value: &T) -> Result<Offset<T>> {
        Ok(self.alloc_copy(bytemuck::bytes_of(value), align_of::<T>())?.cast())
    }

    /// Allocates a block for a copy of `bytes` in a transaction of its own: in a `Power` arena that is one flush of the disk.
    ///
    /// ```
    /// # use heapfile::View;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc_bytes(b"seven")?;
    /// assert_eq!(arena.read()?.bytes(x)?, b"seven");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_bytes(&self, bytes: &[u8]) -> Result<Offset<[u8]>> {
        self.alloc_copy(bytes, 1)
    }

    fn alloc_copy(&self, bytes: &[u8], align: usize) -> Result<Offset<[u8]>> {
        self.alone(
            Kind::Adds,
            |heap, short| {
                let offset = heap.alloc(short, bytes.len() as u64, align as u64)?;
                short.fill(offset, bytes)?;
                Ok(Offset::from_raw(offset))
            },
            |tx| tx.alloc_copy(bytes, align),
        )
    }

    /// Allocates `len` bytes at a multiple of `align` (a power of two up to 4096) in a transaction of its own, without setting them: they
    /// hold whatever the file holds there.
    ///
    /// ```
    /// # use heapfile::View;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc_unset(100, 8)?;
    /// assert_eq!(arena.read()?.len_of(x)?, 100);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_unset(&self, len: u64, align: usize) -> Result<Offset<[u8]>> {
        self.alone(
            Kind::Adds,
            |heap, short| Ok(Offset::from_raw(heap.alloc(short, len, align as u64)?)),
            |tx| tx.alloc_unset(len, align),
        )
    }

    /// Frees a block in a transaction of its own: in a `Power` arena that is one flush of the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc(&7u32)?;
    /// arena.free(x)?;
    /// assert!(arena.free(x).is_err());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free<T: ?Sized>(&self, offset: Offset<T>) -> Result<()> {
        self.free_raw(offset.raw())
    }

    /// No type parameter: compiled with what it calls, however its callers are.
    fn free_raw(&self, offset: u64) -> Result<()> {
        self.alone(Kind::Changes, |heap, short| heap.free(short, offset), |tx| tx.free_raw(offset))
    }

    /// Allocates `len` bytes at a multiple of `align` (a power of two up to 4096) in a transaction of its own and has `fill` write them, as
    /// [`WriteTxn::alloc_with`] does.
    ///
    /// ```
    /// # use heapfile::View;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc_with(3, 1, |_, bytes| bytes.fill(7))?;
    /// assert_eq!(arena.read()?.bytes(x)?, [7, 7, 7]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_with(
        &self,
        len: u64,
        align: usize,
        fill: impl FnOnce(Offset<[u8]>, &mut [u8]),
    ) -> Result<Offset<[u8]>> {
        // Whichever of the two gets so far takes it.
        let fill = Cell::new(Some(fill));
        let call = |offset, bytes: &mut [u8]| {
            if let Some(fill) = fill.take() {
                fill(offset, bytes);
            }
        };
        self.alone(
            Kind::Adds,
            |heap, short| {
                let offset = Offset::from_raw(heap.alloc(short, len, align as u64)?);
                short.fill_with(offset.raw(), len, |bytes| call(offset, bytes))?;
                Ok(offset)
            },
            |tx| tx.alloc_with(len, align, call),
        )
    }

    /// One call in a transaction of its own: a short one where that can be, else an ordinary one. One that changes what is there takes, where a commit
    /// costs no flush, the gate together with the lock.
    #[inline]
    fn alone<T>(
        &self,
        kind: Kind,
        short: impl FnOnce(&mut Heap, &mut Short<'_>) -> Result<T>,
        ordinary: impl FnOnce(&mut WriteTxn<'_>) -> Result<T>,
    ) -> Result<T> {
        let is_process = self.inner.power.is_none();
        let (locked, mut state) = self.inner.lock_state(is_process && kind == Kind::Changes)?;
        if is_process
            && self.inner.apply == Apply::Store
            && let Some(done) = short::run(&self.inner, &mut state, kind, short)?
        {
            // It is committed whole; the state is not looked at any more.
            locked.release();
            return Ok(done);
        }
        let mut tx = WriteTxn::locked(&self.inner, locked, state);
        let outcome = ordinary(&mut tx)?;
        tx.commit()?;
        Ok(outcome)
    }

    /// Makes a change in a transaction that it shares with other threads that call this at the same time, and returns when that is committed: one
    /// flush of the disk for all of them. Each has a save point of its own: one that returns an error or panics is rolled back, and
    /// the others go on. What it sees is what the others before it in the transaction have done, and like those it is not yet committed.
    ///
    /// For `Power` arenas and several threads. With one thread it costs what a transaction costs.
    ///
    /// Keep it short: others wait. To begin a write transaction on this arena inside is [`Error::WouldDeadlock`]. A read transaction that is begun inside has to end
    /// inside as well: if it is kept, the commit, which is everybody's, may fail for it.
    ///
    /// ```
    /// # use heapfile::View;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let counter = arena.alloc(&0u64)?;
    /// std::thread::scope(|threads| {
    ///     for _ in 0..4 {
    ///         threads.spawn(|| {
    ///             arena.submit(|tx| {
    ///                 *tx.get_mut(counter)? += 1;
    ///                 Ok::<(), heapfile::Error>(())
    ///             })
    ///         });
    ///     }
    /// });
    /// assert_eq!(arena.read()?.get(counter)?, &4);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn submit<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        submit::run(&self.inner, change)
    }

    /// Overwrites the bytes that `find` finds, if they are as many as these and `may` agrees to what they are, in a transaction of its own. Otherwise that transaction, begun as
    /// [`begin_short`](Self::begin_short) does.
    #[inline]
    pub(crate) fn overwrite(
        &self,
        bytes: &[u8],
        find: impl FnOnce(&edit::Present<'_>) -> Result<Option<InBlock>>,
        may: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Option<WriteTxn<'_>>> {
        edit::overwrite(&self.inner, bytes, find, may)
    }

    /// A transaction that holds one call. Where a commit costs no flush it takes the gate at once.
    pub(crate) fn begin_short(&self) -> Result<WriteTxn<'_>> {
        WriteTxn::begin(&self.inner, self.inner.power.is_none())
    }

    /// Makes everything committed so far safe from loss of power. In a `Power` arena that is so already; in a `Process` arena it costs two syncs
    /// of the file, one without the lock, one with. A read-only handle does the same, if it has the permission to write the file.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] from a handle without that permission, or that looks at what was not synced before the machine went down
    /// ([`Options::accept_unsynced`]), if a `Process` arena has anything to sync.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// arena.sync()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    /// Brings the heap of a `Power` arena up to date on the disk and empties the log, so that the next open has nothing to replay. Happens by itself
    /// whenever the log is three quarters full. A read-only handle leaves it to those that write. In a `Process` arena the same as [`sync`](Self::sync).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// arena.checkpoint()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn checkpoint(&self) -> Result<()> {
        self.inner.checkpoint()
    }

    /// What commits of this arena survive.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// assert_eq!(arena.durability(), heapfile::Durability::Power);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn durability(&self) -> Durability {
        if self.inner.power.is_some() { Durability::Power } else { Durability::Process }
    }

    /// A descriptor of the arena's file, with a file description of its own, to be handed to another process: by `fork`, by inheritance, over a
    /// socket. The other side opens it with [`Options::open_descriptor`].
    ///
    /// ```
    /// let arena = heapfile::Options::new().create_anonymous()?;
    /// let descriptor = arena.share()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn share(&self) -> Result<OwnedFd> {
        self.inner.usable()?;
        self.inner.media.reopen()
    }

    /// The way in which processes are kept apart on this file.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// assert_eq!(arena.locking(), heapfile::Locking::Shared);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn locking(&self) -> Locking {
        if self.inner.lock.is_exclusive() { Locking::File } else { Locking::Shared }
    }

    /// Who has the file open, who holds the writer lock, and who waits: one entry per live handle, this one included. Empty with
    /// [`Locking::File`], which knows nobody.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// assert_eq!(arena.handles()?.len(), 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn handles(&self) -> Result<Vec<Handle>> {
        stats::handles(self)
    }

    /// The path that the arena was opened by.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// assert!(arena.path().ends_with("a.heap"));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.inner.media.path()
    }

    /// Checks everything: superblock, slots, log, free tree, page map, slabs, roots; every page of the heap exactly once. Lists all findings, does
    /// not stop at the first. Reads all metadata; holds a read transaction meanwhile.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// assert!(arena.check()?.findings.is_empty());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(&self) -> Result<Report> {
        check::run(self)
    }

    /// Gives free space back to the file system: cuts the file behind the last page in use and punches free extents out of it.
    /// Takes a few transactions and, at the end, the writer lock for as long as a checkpoint and the punching take.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// let block = arena.alloc_bytes(&vec![1; 10 << 20])?;
    /// arena.free(block)?;
    /// let shrunk = arena.shrink()?;
    /// assert!(shrunk.file_bytes < shrunk.file_bytes_before - (9 << 20));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn shrink(&self) -> Result<Shrunk> {
        shrink::run(self)
    }

    /// What every byte of the file is used for, run by run, in order of address. Looks at the heap in short read transactions, so that no
    /// writer waits for a listing however long it takes; what changes meanwhile shows in part. A few loads for each run, of slabs all states.
    ///
    /// ```
    /// use heapfile::RunKind;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// arena.alloc_bytes(&[7; 100_000])?;
    /// let mut free_bytes = 0;
    /// for run in arena.runs() {
    ///     let run = run?;
    ///     if let RunKind::Free { .. } = run.kind {
    ///         free_bytes += run.len_bytes;
    ///     }
    /// }
    /// assert_eq!(free_bytes, arena.stats()?.free_bytes);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn runs(&self) -> Runs<'_> {
        Runs::new(self)
    }

    /// Sizes and counts that cost no walk through the heap.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = heapfile::Arena::create(dir.path().join("a.heap"))?;
    /// assert!(arena.stats()?.free_bytes > 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn stats(&self) -> Result<Stats> {
        stats::collect(self)
    }
}
