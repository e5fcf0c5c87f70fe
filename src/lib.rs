//! A heap that lives in a file.
//!
//! An [`Arena`] is one file. A program allocates blocks of any length in it, keeps [`Offset`]s to them, changes one in place, and finds all of it again
//! after a restart; other programs have the same file open at the same time. No kill tears it and, in the default kind of arena, no power cut.
//!
//! ```
//! use heapfile::{Arena, View};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("greetings.heap");
//! let arena = Arena::create(&path)?;
//! let mut tx = arena.write()?;
//! let text = tx.alloc_bytes(b"Foo")?;
//! tx.set_root(text)?;
//! tx.commit()?; // on the disk from here on
//!
//! let mut tx = arena.write()?;
//! let text = tx.resize(text, 6)?; // in place if there is room
//! tx.write_at(text, 3, b"bar")?;
//! tx.set_root(text)?;
//! tx.commit()?;
//! drop(arena);
//!
//! let arena = Arena::open(&path)?;
//! let tx = arena.read()?;
//! let text = tx.root::<[u8]>()?.expect("stored above");
//! assert_eq!(tx.bytes(text)?, b"Foobar"); // borrowed from the mapped file
//! # Ok::<(), heapfile::Error>(())
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | creating and opening, what commits survive, how processes keep apart | [`Arena`], [`Options`], [`Durability`], [`Locking`] |
//! | reading: values, slices, bytes, roots, all blocks | [`ReadTxn`], [`View`] |
//! | changing: allocate, free, resize, write, roots, save points, commit | [`WriteTxn`], [`SavePoint`] |
//! | naming a block, in memory and inside of blocks | [`Offset`], [`Shape`] |
//! | what went wrong and what to do about it | [`Error`], [`OffsetFault`] |
//! | vectors, texts, lists and maps inside an arena | [`collections`] |
//! | persistent objects by key | [`store`] |
//! | looking after an arena | [`Arena::check`], [`Arena::repair`], [`Arena::salvage`], [`Arena::stats`], [`Arena::handles`], [`Arena::runs`], [`Arena::shrink`] |
//! | copies of one state while others go on | [`Arena::snapshot`] |
//! | reading other files, of any size, in little memory | [`window`] |
//!
//! # Transactions
//!
//! Any number of [`ReadTxn`]s and one [`WriteTxn`] at a time, over all processes. A write transaction can be seen by nobody before
//! [`WriteTxn::commit`], and as a whole afterwards; dropping it rolls it back. Readers keep the state that they began with, without copying it, so a
//! commit waits for those that are there. What a thread would wait for itself for is [`Error::WouldDeadlock`] at once.
//!
//! # Durability
//!
//! | | [`Durability::Power`] (default) | [`Durability::Process`] |
//! |---|---|---|
//! | a commit survives | loss of power | the death of any process at any instruction |
//! | a small commit costs | one flush of the disk | no system call on ext2/3/4 and tmpfs, elsewhere some |
//! | [`Arena::sync`] | nothing left to do | makes all commits so far survive loss of power |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `arena` (default) | everything but [`window`]; needs 64-bit little-endian Linux |
//! | `serde` | values of any type in a [`store`], through serde |
//! | `testing` | the simulated disk and the failpoints of this project's own tests; no part of the stable interface |
//!
//! How to do what, and the command `heapfile`: `docs/GUIDE.md`. How it works inside: `docs/ARCHITECTURE.md`. Every byte of the file: `docs/FORMAT.md`.

#[cfg(all(
    feature = "arena",
    not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))
))]
compile_error!(
    "an arena needs 64-bit little-endian Linux: elsewhere use `default-features = false`, which leaves the module `window`"
);

#[cfg(feature = "arena")]
mod arena;
#[cfg(feature = "arena")]
pub mod collections;
mod error;
#[cfg(feature = "arena")]
mod failpoint;
#[cfg(feature = "arena")]
mod heap;
#[cfg(feature = "arena")]
mod layout;
#[cfg(feature = "arena")]
mod lock;
#[cfg(feature = "arena")]
mod log;
#[cfg(feature = "arena")]
mod media;
#[cfg(feature = "arena")]
mod offset;
#[cfg(feature = "arena")]
mod roots;
#[cfg(feature = "arena")]
mod runtime;
#[cfg(feature = "arena")]
mod sabotage;
#[cfg(feature = "arena")]
pub mod store;
#[cfg(feature = "arena")]
mod txn;
pub mod window;

#[cfg(feature = "arena")]
pub use arena::{
    Arena, Counts, Durability, Finding, Handle, Locking, Options, Repair, Report, Run, RunKind, Runs,
    Salvage, Shrunk, Snapshot, SnapshotOptions, Stats,
};
pub use error::{Error, OffsetFault, Result};
#[cfg(feature = "arena")]
pub use offset::{Offset, Shape};
#[cfg(feature = "arena")]
pub use txn::{BlockInfo, Blocks, ReadTxn, RootInfo, SavePoint, View, WriteTxn};

/// The simulated disk and the failpoints, for tests of this project and of what is built on it. No part of the stable interface.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing {
    pub use crate::failpoint::{
        Died, FAILPOINTS, LOCKPOINTS, SNAPSHOTPOINTS, at_failpoint, at_no_point, at_point, die_after,
        rest_at_points,
    };
    pub use crate::lock::gate::{sleeps, woken};

    /// Creates an arena on a simulated disk.
    pub fn create(disk: &SimDisk, options: &crate::Options) -> crate::Result<crate::Arena> {
        crate::arena::on_disk(disk, options, true)
    }

    /// Opens the arena on a simulated disk.
    pub fn open(disk: &SimDisk, options: &crate::Options) -> crate::Result<crate::Arena> {
        crate::arena::on_disk(disk, options, false)
    }

    /// Moves the log of an arena into a run of `pages` pages of its heap, or for 0 back to where it was at first. A `Process` arena has none.
    pub fn move_log(arena: &crate::Arena, pages: u32) -> crate::Result<()> {
        arena.move_log(pages)
    }
    pub use crate::media::copy_by_kernel;
    pub use crate::runtime::set_boot;
    pub use crate::sabotage::{Break, sabotage};
    pub use crate::txn::dense::small_stretches;

    pub use crate::media::sim::{Call, Crash, History, Plan, Recipe, SimDisk, SplitMix64};
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Runs the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../docs/GUIDE.md")]
struct Guide;
