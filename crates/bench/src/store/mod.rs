//! Bench `store`: entries of 16-byte keys and 100-byte values beside key-value stores and databases.
//!
//! Every system runs in processes of its own (`cell`), which this one tells what to do; the systems take turns round by round. All
//! figures are times or spaces: smaller is better. `table` prints them, `peers` holds what is compared.

pub(crate) mod cell;
mod kv;
mod peers;
mod run;
mod table;
mod worker;

pub(crate) use cell::CellSpec;
pub(crate) use run::{Options, bench};
