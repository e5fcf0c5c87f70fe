//! A read buffer, charged to the pool.
#![forbid(unsafe_code)]

use super::budget::Charge;
use super::pool::Shared;
use crate::{Error, Result};

/// Empty until it is asked for room; grows, never shrinks.
#[derive(Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    charge: Option<Charge>,
}

impl Scratch {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `len` bytes, to be filled. There is room for them.
    pub(super) fn fill(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[..len]
    }

    /// Room for `want` bytes if the pool has them to give, for at least `least`; says for how many. What was in
    /// the buffer may be lost.
    pub(super) fn reserve(&mut self, pool: &Shared, want: usize, least: usize) -> Result<usize> {
        if self.bytes.len() >= want {
            return Ok(self.bytes.len());
        }
        self.bytes = Vec::new();
        self.charge = None;
        let (charge, room) = pool.buffer_charge(want, least)?;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(room).is_err() {
            return Err(Error::TooLarge { what: "a read buffer", len: room as u64, max: isize::MAX as u64 });
        }
        bytes.resize(room, 0);
        (self.bytes, self.charge) = (bytes, Some(charge));
        Ok(room)
    }
}
