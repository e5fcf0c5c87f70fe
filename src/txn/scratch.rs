//! Buffers for views that a write transaction has to put together from committed bytes and its own changes.
//!
//! Invariant: a buffer handed out lives, unmoved and unchanged, until `clear`, which needs `&mut self`: no view that borrows
//! `&self` is left then.

use bytemuck::{Pod, Zeroable};
use std::cell::RefCell;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Buffers that live as long as the shared borrow they were handed out under.
#[derive(Debug, Default)]
pub(crate) struct Scratch(RefCell<Vec<Box<[Line]>>>);

impl Scratch {
    /// A buffer of `len` bytes, filled by `fill`, whose start is aligned (modulo 64) as `offset` is.
    pub(crate) fn hold<E>(
        &self,
        offset: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<&[u8], E> {
        let start = (offset % 64) as usize;
        let mut buffer = vec![Line([0; 64]); (start + len).div_ceil(64)].into_boxed_slice();
        fill(&mut bytemuck::cast_slice_mut(&mut buffer)[start..start + len])?;
        let address: *const u8 = buffer.as_ptr().cast();
        self.0.borrow_mut().push(buffer);
        // SAFETY: the bytes lie in a box that this value owns; boxes do not move when the vector grows, and are dropped
        // or changed only by `clear` and drop, both of which need that no shared borrow of `self` is left.
        Ok(unsafe { std::slice::from_raw_parts(address.add(start), len) })
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.0.get_mut().is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.get_mut().clear();
    }
}
