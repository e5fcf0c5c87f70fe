//! The log moves into the heap and back: it grows with its heap, and whatever ends, fails or is damaged on the way, all that was committed is
//! there, or the file is said to be damaged; nothing panics, loops or waits for ever.

#[path = "../common/mod.rs"]
mod common;
#[path = "../sharing/mod.rs"]
mod sharing;

mod beside;
mod deaths;
mod failures;
mod grows;
mod hostile;
mod image;
mod ledger;
mod refused;
