//! The log: how a commit becomes durable at once, and how recovery finds it.
//!
//! A transaction is one redo record. A `Power` arena writes it to a ring in the file, durably, before anything is applied; a `Process`
//! arena keeps it in the intent area for the moment of its application. Recovery is replay in both.
//!
//! | file | holds |
//! |---|---|
//! | `record` | the words of a record, its checks |
//! | `ring` | where records lie, reading and scanning them |
//! | `slots` | the checkpoint slots: where scanning begins |
//! | `replay` | what records mean for the heap; the revoke rule |
//! | `follow` | what records changed, read while others write |
//! | `intent` | the record of a `Process` commit |
//! | `resume` | what the runtime words spare recovery, and when they may be believed |
//! | `power` | append, recover, checkpoint of a `Power` arena |

pub(crate) mod follow;
pub(crate) mod intent;
pub(crate) mod power;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod resume;
pub(crate) mod ring;
pub(crate) mod slots;
#[cfg(all(test, feature = "testing"))]
mod tests;
