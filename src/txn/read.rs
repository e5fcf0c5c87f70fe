//! Read transactions.

use super::view::Source;
use super::work::{load_committed, prefetch_committed, view_committed};
use crate::arena::Inner;
use crate::error::Result;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;

/// One committed state of an arena, unchanged for as long as this lives.
///
/// Reading is in [`View`](crate::View). Keep it short: a commit has to wait until the readers that began before it are gone
/// ([`Error::Busy`](crate::Error::Busy) for the writer after its `lock_timeout`). Beginning one inside another on the same thread
/// is fine. It stays on the thread that began it.
///
/// ```
/// use heapfile::{Arena, View};
/// # let dir = tempfile::tempdir().unwrap();
/// let arena = Arena::create(dir.path().join("a.heap"))?;
/// let x = arena.alloc(&42u64)?;
/// let tx = arena.read()?;
/// assert_eq!(tx.get(x)?, &42);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct ReadTxn<'a> {
    arena: &'a Inner,
    stays_on_thread: PhantomData<*const ()>,
}

impl<'a> ReadTxn<'a> {
    pub(crate) fn begin(arena: &'a Inner) -> Result<Self> {
        arena.begin_read()?;
        Ok(Self { arena, stays_on_thread: PhantomData })
    }
}

impl Drop for ReadTxn<'_> {
    fn drop(&mut self) {
        self.arena.end_read();
    }
}

impl Source for ReadTxn<'_> {
    #[inline]
    fn word(&self, offset: u64) -> Result<u64> {
        load_committed(self.arena.media(), offset)
    }

    #[inline]
    fn bytes_at(&self, offset: u64, len: u64) -> Result<&[u8]> {
        view_committed(self.arena.media(), offset, len)
    }

    #[inline]
    fn words(&self, offset: u64, most: u64) -> &[AtomicU64] {
        self.arena.media().words(offset, most)
    }

    #[inline]
    fn prefetch(&self, offset: u64) {
        prefetch_committed(self.arena.media(), offset);
    }

    fn heap_page(&self) -> u32 {
        self.arena.heap_page()
    }
}
