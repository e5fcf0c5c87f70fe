//! The one error type of the library: what happened, where, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an offset was refused. See [`Error::BadOffset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetFault {
    /// The null offset was used where a block is needed.
    Null,
    /// The offset lies outside the heap.
    OutOfRange,
    /// The offset is not a multiple of the alignment that its type or the heap needs.
    Misaligned,
    /// The offset points into a block, not at its first byte.
    InsideBlock,
    /// Nothing is allocated there: it was freed (a double free, a stale offset) or never allocated.
    NotAllocated,
    /// The heap keeps its own metadata there.
    Metadata,
    /// The type is aligned to more than 64 bytes, which a view that a write transaction has to put together may not be.
    OverAligned,
}

impl std::fmt::Display for OffsetFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "it is null",
            Self::OutOfRange => "it lies outside the heap",
            Self::Misaligned => "it is not aligned for its type",
            Self::InsideBlock => "it points inside a block, not at its start",
            Self::NotAllocated => "no block is allocated there (freed already, or never allocated)",
            Self::Metadata => "the heap's own metadata lies there",
            Self::OverAligned => {
                "this transaction has changed some of its bytes, and its type is aligned to more than 64: read and write bytes, or commit first"
            }
        })
    }
}

/// Everything that can go wrong, each with what to do about it.
///
/// Any call that touches a file may fail with [`Io`](Self::Io), and with [`Corrupt`](Self::Corrupt) or [`Truncated`](Self::Truncated) where the file is damaged
/// or was cut; any call on a handle that cannot go on, with [`Forked`](Self::Forked) or [`Poisoned`](Self::Poisoned). Beside these:
///
/// | an arena is | may fail with |
/// |---|---|
/// | created | [`AlreadyExists`](Self::AlreadyExists), [`NotAFile`](Self::NotAFile), [`BadOption`](Self::BadOption), [`NoSpace`](Self::NoSpace), [`MaxSize`](Self::MaxSize), [`TooLarge`](Self::TooLarge), [`Busy`](Self::Busy), [`Replaced`](Self::Replaced), [`Unsupported`](Self::Unsupported) |
/// | opened | [`NotAFile`](Self::NotAFile), [`NotAnArena`](Self::NotAnArena), [`Unfinished`](Self::Unfinished), [`Version`](Self::Version), [`Endianness`](Self::Endianness), [`BadOption`](Self::BadOption), [`MaxSize`](Self::MaxSize), [`Unsynced`](Self::Unsynced), [`LockMode`](Self::LockMode), [`NoSlot`](Self::NoSlot), [`Busy`](Self::Busy), [`Replaced`](Self::Replaced), [`SyncFailed`](Self::SyncFailed), [`Unsupported`](Self::Unsupported) |
/// | locked: a transaction begins | [`Busy`](Self::Busy), [`WouldDeadlock`](Self::WouldDeadlock), [`MaxSize`](Self::MaxSize) if others have made the file longer than this handle maps; to write, [`ReadOnly`](Self::ReadOnly), and [`SyncFailed`](Self::SyncFailed) where one more failed beside a recovery from others |
/// | read | [`BadOffset`](Self::BadOffset), [`OutOfBounds`](Self::OutOfBounds), [`SizeMismatch`](Self::SizeMismatch), [`TypeMismatch`](Self::TypeMismatch) |
/// | changed | the same, and [`NoSpace`](Self::NoSpace), [`MaxSize`](Self::MaxSize), [`TooLarge`](Self::TooLarge), [`BadOption`](Self::BadOption) (an alignment), [`Replaced`](Self::Replaced) where the file has to grow |
/// | committed | [`Busy`](Self::Busy) and [`WouldDeadlock`](Self::WouldDeadlock) for readers, [`NoSpace`](Self::NoSpace) and [`MaxSize`](Self::MaxSize) for the record, [`HalfChanged`](Self::HalfChanged); for changes of several threads all in [`Group`](Self::Group) |
/// | synced, checkpointed, shrunk, copied | as when it is locked, changed and committed, and [`Replaced`](Self::Replaced), [`SyncFailed`](Self::SyncFailed) |
///
/// A call that is a transaction of its own may fail as all of its steps. What else a call may return is said there.
///
/// ```
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// let err = heapfile::Arena::open(dir.path().join("missing.heap")).unwrap_err();
/// assert!(matches!(err, heapfile::Error::Io { .. }));
/// println!("{err}");
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a call.
    #[error("cannot {op} {}: {source}{}", path.display(), advice(.op, .source))]
    Io {
        /// What was being done, as a verb: "open", "map", "lock" …
        op: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The path names something that is no regular file: a directory, a pipe, a device, a symbolic link that is not followed.
    #[error("{} is {what}, not a regular file: give the path of a file", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The file system offers no shared mapping or no locks, which an arena needs; or a file is to be mapped in [windows](crate::window) that nobody vouches for.
    #[error("{}", unsupported(.path, .what))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// A snapshot was to share blocks on the disk, and the file system cannot do that.
    #[error("the file system cannot share blocks between the arena and {}: take the snapshot without reflinks, which copies", path.display())]
    NoReflink {
        /// The snapshot's path.
        path: PathBuf,
    },
    /// `create` found a file of that name.
    #[error("{} exists already: open it, or remove it first", path.display())]
    AlreadyExists {
        /// The file.
        path: PathBuf,
    },
    /// The file was not made by this library.
    #[error("{} is not a heapfile arena: {why}", path.display())]
    NotAnArena {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        why: &'static str,
    },
    /// The creation of this arena was cut off before it was complete; nothing was ever stored in it.
    #[error("the creation of {} was cut off: remove it, or use open_or_create, which starts again", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// The file has a newer format than this library knows.
    #[error("{} has format version {found}, this library reads up to {supported}: use a newer heapfile", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version that this library reads.
        supported: u32,
    },
    /// The file was written on a machine of other endianness, or this machine is not little-endian.
    #[error("{} is not little-endian: heapfile's format is; convert it where it was written", path.display())]
    Endianness {
        /// The file.
        path: PathBuf,
    },
    /// The file is shorter than its content says.
    #[error(
        "the file was cut short: {needed} bytes are needed, {found} are there; `heapfile check --repair` or `--salvage` brings back what is left, or restore a copy"
    )]
    Truncated {
        /// Bytes that the content needs.
        needed: u64,
        /// Bytes that the file has.
        found: u64,
    },
    /// The file's content contradicts itself: damage, or somebody wrote to it by other means.
    #[error(
        "the file is damaged at offset {offset:#x}: {what}; `heapfile check` tells more, with `--repair` or `--salvage` it brings back what is sound, or restore a copy"
    )]
    Corrupt {
        /// Where the contradiction was seen, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The disk, the quota or, for a file in memory, the memory is full, though the file might be longer as far as [`MaxSize`](Self::MaxSize) goes. Nothing was changed.
    #[error(
        "no space left on the device for {needed} more bytes; nothing was changed: free space and try again"
    )]
    NoSpace {
        /// Bytes that were asked of the file system.
        needed: u64,
    },
    /// The file would have to be longer than this handle maps, or is so already: `max_size`, or less where the process had not so much address space left; 16 TiB
    /// in any case. The disk may have room. Nothing was changed.
    #[error("the arena would need {needed} bytes, its max_size is {max}: open it with a larger max_size")]
    MaxSize {
        /// File length that would be needed.
        needed: u64,
        /// Limit of this handle, `max_bytes` of its `Stats`.
        max: u64,
    },
    /// A length or count is over what the format can hold; or a file's length over what this process (`ulimit -f`, `RLIMIT_FSIZE`) or the file system allows:
    /// then nothing was changed.
    #[error("{what} of {len} is over the limit of {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The length asked for.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// Somebody else held the lock for the whole `lock_timeout`, or has the arena open where a call needs it for itself: then `waited` is zero. Nothing was changed.
    #[error("{}", busy(.slot, .pid, .waited))]
    Busy {
        /// Slot of the owner, where the lock mode knows it.
        slot: Option<u32>,
        /// Process of the owner as it sees itself, where the lock mode knows it.
        pid: Option<u32>,
        /// How long this call waited.
        waited: Duration,
    },
    /// This thread holds a transaction that the call would wait for.
    #[error("this thread already holds {held} on this arena and would wait for itself: end it first")]
    WouldDeadlock {
        /// What the thread holds.
        held: &'static str,
    },
    /// An offset that means nothing in this arena. Nothing was changed.
    #[error("offset {offset:#x} is refused: {fault}")]
    BadOffset {
        /// The offset as given.
        offset: u64,
        /// Why.
        fault: OffsetFault,
    },
    /// A range reaches outside its block.
    #[error("bytes {start}..{end} reach outside the block at {offset:#x}, which has {len} bytes")]
    OutOfBounds {
        /// The block.
        offset: u64,
        /// First byte asked for.
        start: u64,
        /// End of the range asked for.
        end: u64,
        /// Length of the block.
        len: u64,
    },
    /// The block's length does not fit the type it is viewed as.
    #[error(
        "the block at {offset:#x} has {len} bytes, {type_name} has {size}: view it as the type it was allocated as"
    )]
    SizeMismatch {
        /// The block.
        offset: u64,
        /// Length of the block in bytes.
        len: u64,
        /// Size of the type, or of one element of a slice.
        size: u64,
        /// The type asked for.
        type_name: &'static str,
    },
    /// A value in a table has the length of the type it is asked for as, but does not lie where one can be borrowed.
    #[error(
        "the value at {offset:#x} is not at a multiple of {align}, as {type_name} has to be: store it again with `Table::put`, which moves it to a multiple of up to 16, or read its bytes with `Table::get`"
    )]
    Unaligned {
        /// The value.
        offset: u64,
        /// Alignment of the type.
        align: u64,
        /// The type asked for.
        type_name: &'static str,
    },
    /// A root is opened as another type than it was stored as.
    #[error("root {name:?} holds {stored}, not {asked}: open it as the type it was stored as")]
    TypeMismatch {
        /// Name of the root; empty for the unnamed one.
        name: String,
        /// Type in the file.
        stored: String,
        /// Type asked for.
        asked: String,
    },
    /// No root of that name.
    #[error("there is no root {name:?}: `roots` lists those there are")]
    NoSuchRoot {
        /// The name asked for.
        name: String,
    },
    /// A root of that name exists.
    #[error("there is a root {name:?} already: remove or replace it")]
    RootExists {
        /// The name.
        name: String,
    },
    /// Writing was asked of a handle that was opened read-only.
    #[error("this handle is read-only: open the arena for writing")]
    ReadOnly,
    /// A commit was made durable but not completely applied, or its outcome is unknown: this handle is out of use.
    #[error(
        "this handle is out of use since a commit failed half-way ({why}): close it and open the arena again, which completes or drops that commit"
    )]
    Poisoned {
        /// What failed.
        why: &'static str,
    },
    /// The commit that this change shared with those of other threads failed; unless the cause is [`Error::Poisoned`], nothing was changed.
    #[error("the commit shared with other threads failed: {cause}")]
    Group {
        /// Why.
        cause: std::sync::Arc<Error>,
    },
    /// A sync failed before; what was written since the last good one may not be on the disk. Whoever begins a write transaction next, or opens the arena, writes
    /// it anew.
    #[error("an earlier sync of this arena failed: try again, or open it again, which writes it anew")]
    SyncFailed,
    /// A `Process` arena was not synced before the machine went down.
    #[error("{} was not synced before the machine went down: open it with accept_unsynced to check it and keep what is sound", path.display())]
    Unsynced {
        /// The file.
        path: PathBuf,
    },
    /// The arena is used with another way of locking.
    #[error("the arena is in use with {stored} locking, not {asked}: open it with {stored} locking")]
    LockMode {
        /// Mode that the first opener stored.
        stored: &'static str,
        /// Mode asked for.
        asked: &'static str,
    },
    /// All process slots are taken.
    #[error("all {slots} slots of the arena are taken: close a handle first")]
    NoSlot {
        /// How many slots there are.
        slots: u32,
    },
    /// The handle was inherited through `fork`.
    #[error("this handle belongs to the parent process: open the arena again after fork")]
    Forked,
    /// The file under the handle is not the one that was opened, or it was removed or cut.
    #[error("{} was replaced, removed or cut while open: close the handle and open the arena again", path.display())]
    Replaced {
        /// The path that was opened.
        path: PathBuf,
    },
    /// A save point was used that is not one of this transaction, or no longer.
    #[error(
        "this save point is no longer valid: it was released or rolled back past, or is of another transaction"
    )]
    BadSavePoint,
    /// An earlier call in this write transaction failed in the middle of its change, mostly for want of space, and the transaction went on. Nothing was committed.
    #[error(
        "an earlier change in this transaction failed half-way: roll it back, or back to a save point made before that change"
    )]
    HalfChanged,
    /// A range of a file under a window pool reaches outside the file. Nothing was read.
    #[error(
        "bytes {start}..{end} reach outside the file, which has {len} bytes: ask within it; refresh() sees growth"
    )]
    OutsideFile {
        /// First byte asked for.
        start: u64,
        /// End of the range asked for.
        end: u64,
        /// Length of the file as last seen.
        len: u64,
    },
    /// A window pool is at a limit and all that it holds is in use. Nothing was changed.
    #[error(
        "the window pool's {what} of {limit} does not allow {needed} and nothing more can be dropped: drop windows and readers, or raise the limit"
    )]
    PoolLimit {
        /// The limit: "memory_limit", "max_windows" or "max_files".
        what: &'static str,
        /// What would be in use: bytes, windows or files.
        needed: u64,
        /// The limit, in the same unit.
        limit: u64,
    },
    /// A range, a prefix or an order was asked of a hashed table.
    #[error("the table is hashed and has no order: create it ordered to list ranges and prefixes")]
    Unordered,
    /// A table of that name exists.
    #[error("there is a table {name:?} already: open it, or drop it first")]
    TableExists {
        /// The name.
        name: String,
    },
    /// A value cannot be stored as, or read as, a type through serde. Nothing was changed.
    #[error("a value is no {type_name}: {why}; read it as the type it was stored as")]
    Value {
        /// The type.
        type_name: &'static str,
        /// What serde's format says.
        why: String,
    },
    /// An option does not make sense.
    #[error("{option} of {value} is refused: {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// The value given.
        value: u64,
        /// What it must be.
        why: &'static str,
    },
}

/// What a file lacks that is to be mapped in windows: no fault of its file system.
pub(crate) const SEAL: &str =
    "seal that keeps it as it is, so mapped windows of it need Builder::trust_files";

fn unsupported(path: &std::path::Path, what: &str) -> String {
    let path = path.display();
    if what == SEAL {
        return format!("{path} has no {what}");
    }
    format!(
        "the file system that holds {path} has no {what}: keep the arena on a local file system or in /dev/shm"
    )
}

/// What to do where a file cannot be mapped: that there is no memory, as the system says, means address space or mappings.
fn advice(op: &str, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::OutOfMemory if op.starts_with("map") => {
            "; close other handles, set a smaller max_size, or allow this process more address space (ulimit -v) or mappings (vm.max_map_count)"
        }
        _ => "",
    }
}

fn busy(slot: &Option<u32>, pid: &Option<u32>, waited: &Duration) -> String {
    let owner = match (slot, pid) {
        (Some(slot), Some(pid)) => format!("process {pid} (slot {slot})"),
        _ if waited.is_zero() => return "the arena is open elsewhere: close it there first".to_owned(),
        _ => "another process or thread".to_owned(),
    };
    format!("the arena was locked by {owner} for {waited:?}: try again, or raise lock_timeout")
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &std::path::Path, source: impl Into<io::Error>) -> Self {
        Self::Io { op, path: path.to_owned(), source: source.into() }
    }

    /// Whether the file cannot become so long: [`NoSpace`](Self::NoSpace), [`MaxSize`](Self::MaxSize) or [`TooLarge`](Self::TooLarge). Nothing was changed; once other
    /// blocks are freed, or in smaller steps, the same may be possible.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use heapfile::{Arena, Error};
    /// let arena = Arena::options().max_size(64 << 20).create(dir.path().join("a.heap"))?;
    /// assert!(arena.alloc_bytes(&vec![1; 70 << 20]).unwrap_err().is_want_of_space());
    /// assert!(!Error::ReadOnly.is_want_of_space());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    #[cfg(feature = "arena")]
    pub fn is_want_of_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::MaxSize { .. } | Self::TooLarge { .. })
    }

    /// Whether a call of the heap that changes something refused to, and left all as it was. After any other error a part of the change may be done.
    #[cfg(feature = "arena")]
    pub(crate) fn is_refusal(&self) -> bool {
        let refused = matches!(
            self,
            Self::BadOffset { .. }
                | Self::OutOfBounds { .. }
                | Self::BadOption { .. }
                | Self::Replaced { .. }
                | Self::Forked
        );
        refused || self.is_want_of_space()
    }

    #[cfg(feature = "arena")]
    pub(crate) fn corrupt(offset: u64, what: &'static str) -> Self {
        Self::Corrupt { offset, what }
    }

    #[cfg(feature = "arena")]
    pub(crate) fn bad_offset(offset: u64, fault: OffsetFault) -> Self {
        Self::BadOffset { offset, fault }
    }
}
