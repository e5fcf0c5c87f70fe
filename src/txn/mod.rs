//! Transactions: what users do with an arena.
//!
//! | file | holds |
//! |---|---|
//! | `view` | reading, the same in both kinds |
//! | `read`, `write` | the two kinds |
//! | `commit` | from a write transaction's changes to the committed state |
//! | `apply`, `dense` | its last step, and where copies to mapped pages pay in it |
//! | `short` | one small change, with neither of the two |
//! | `edit` | bytes of one block overwritten, likewise |
//! | `work` | the changes as the heap's code sees them |
//! | `gather` | what is on its way into the file, in as few calls as possible |
//! | `word_set`, `write_set` | changed words of the heap, changed lines of blocks |
//! | `probing`, `page_filter` | the hash tables of these two; which pages have nothing in the second |
//! | `fresh`, `scratch` | runs taken, buffers of views |

mod apply;
pub(crate) mod commit;
pub(crate) mod dense;
pub(crate) mod edit;
mod fresh;
mod gather;
mod page_filter;
mod probing;
mod read;
mod scratch;
pub(crate) mod short;
pub(crate) mod view;
mod word_set;
pub(crate) mod work;
pub(crate) mod write;
mod write_set;

pub(crate) use edit::InBlock;
pub use read::ReadTxn;
pub(crate) use view::Located;
pub use view::{BlockInfo, Blocks, RootInfo, View};
pub use write::{SavePoint, WriteTxn};
