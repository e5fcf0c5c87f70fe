//! A heap that lives in a file.
#![warn(missing_docs)]

mod error;
#[allow(dead_code)]
mod heap;
#[allow(dead_code)]
mod layout;
pub mod window;

pub use error::{Error, OffsetFault, Result};
