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

pub use arena::{Arena, Counts, Durability, Finding, Locking, Options, Report, Stats};
pub use error::{Error, OffsetFault, Result};
pub use offset::{Offset, Shape};
pub use txn::{BlockInfo, Blocks, ReadTxn, RootInfo, SavePoint, View, WriteTxn};
