//! A heap that lives in a file.

mod arena;
mod error;
mod failpoint;
mod heap;
mod layout;
mod lock;
mod log;
mod media;
mod offset;
mod roots;
mod runtime;
mod txn;

pub use arena::{Arena, Counts, Durability, Finding, Handle, Locking, Options, Report, Stats};
pub use error::{Error, OffsetFault, Result};
pub use offset::{Offset, Shape};
pub use txn::{BlockInfo, Blocks, ReadTxn, RootInfo, SavePoint, View, WriteTxn};

/// The simulated disk and the failpoints, for tests of this project and of what is built on it. No part of the stable interface.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing {
    pub use crate::failpoint::FAILPOINTS;

    /// Creates an arena on a simulated disk.
    pub fn create(disk: &SimDisk, options: &crate::Options) -> crate::Result<crate::Arena> {
        crate::arena::on_disk(disk, options, true)
    }

    /// Opens the arena on a simulated disk.
    pub fn open(disk: &SimDisk, options: &crate::Options) -> crate::Result<crate::Arena> {
        crate::arena::on_disk(disk, options, false)
    }
    pub use crate::media::sim::{Call, Crash, History, Plan, Recipe, SimDisk, SplitMix64};
}
