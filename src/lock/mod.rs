//! Who may read and who may write.
//!
//! `held` knows what this thread holds; `file` is the lock mode that needs nothing but a lock on the whole file.

pub(crate) mod file;
pub(crate) mod held;
