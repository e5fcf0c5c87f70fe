//! Buffers for views that a write transaction has to put together from committed bytes and its own changes.
//!
//! Invariant: a buffer handed out lives, unmoved and unchanged, until `clear`, which needs `&mut self`: no view that borrows
//! `&self` is left then. Until then what it shows does not change, so who asks for the same bytes gets the same buffer.

use bytemuck::{Pod, Zeroable};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Buffers that live as long as the shared borrow they were handed out under, by offset and length.
#[derive(Debug, Default)]
pub(crate) struct Scratch(RefCell<BTreeMap<(u64, usize), Vec<Line>>>);

impl Scratch {
    /// A buffer of `len` bytes, filled by `fill`, whose start is aligned (modulo 64) as `offset` is; the one that there is of these, if there is one.
    pub(crate) fn hold<E>(
        &self,
        offset: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<&[u8], E> {
        let start = (offset % 64) as usize;
        let known = self.0.borrow().get(&(offset, len)).map(Vec::as_ptr);
        let lines = match known {
            Some(lines) => lines,
            None => {
                let mut buffer = vec![Line([0; 64]); (start + len).div_ceil(64)];
                fill(&mut bytemuck::cast_slice_mut(&mut buffer)[start..start + len])?;
                self.0.borrow_mut().entry((offset, len)).or_insert(buffer).as_ptr()
            }
        };
        let address: *const u8 = lines.cast();
        // SAFETY: the bytes lie in a vector's memory that this value owns; it stays where it is when the map moves the vector, and is dropped
        // or changed only by `clear` and drop, both of which need that no shared borrow of `self` is left.
        Ok(unsafe { std::slice::from_raw_parts(address.add(start), len) })
    }

    #[inline]
    pub(crate) fn is_empty(&mut self) -> bool {
        self.0.get_mut().is_empty()
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            self.0.get_mut().clear();
        }
    }
}
