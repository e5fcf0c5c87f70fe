//! The heap: extents in an AVL tree, slabs for the small.
mod space;
pub(crate) use space::{Load, Space};
