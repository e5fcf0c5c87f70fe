//! What the bench asks of a system under test.
//!
//! A [`System`] is one open heap; a [`Heap`] is one thread's hand on it, through which each operation is
//! complete, and committed where the system knows commits, on its own; [`Heap::transaction`] puts many
//! operations into one commit. The workloads are generic over these traits, so that no system pays for
//! dynamic dispatch that another is spared: a foreign system costs one indirect call per operation; the
//! adapter of a system in Rust is to be kept out of line, so that it costs a call as well.
//!
//! Invariant: a [`Block`] stands for one allocation. It is neither `Copy` nor `Clone`, only a system makes one, and
//! `free` consumes it; a process works on one system only. This is what the `unsafe` code of `ffi` relies on.

use std::fmt;
use std::num::NonZeroU64;

/// Why a system could not do what it was asked.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "one word: a result with a Block stays in two registers in hot loops"
)]
pub(crate) struct Failure(Box<String>);

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    #[cold]
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(Box::new(why.into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::new(e.to_string())
    }
}

/// One allocated run of bytes: where it is in the system's own terms, and how long. One word, as an application would keep of a block its
/// place: what a workload's table takes of the caches counts for every system.
#[derive(Debug)]
pub(crate) struct Block(NonZeroU64);

impl Block {
    const LEN_BITS: u32 = 17;

    /// For systems only: `at` (an address, or an offset as small) was just allocated, or found under the root. `None` for 0.
    pub(crate) fn new(at: u64, len: u32) -> Option<Self> {
        debug_assert!(at >> (64 - Self::LEN_BITS) == 0 && len >> Self::LEN_BITS == 0);
        NonZeroU64::new(at << Self::LEN_BITS | u64::from(len)).filter(|_| at != 0).map(Self)
    }

    pub(crate) fn at(&self) -> u64 {
        self.0.get() >> Self::LEN_BITS
    }

    pub(crate) fn len(&self) -> u32 {
        (self.0.get() & ((1 << Self::LEN_BITS) - 1)) as u32
    }

    /// The byte that [`Ops::touch`] writes at both ends: differs between neighbours in most cases.
    pub(crate) fn tag(&self) -> u8 {
        (self.at() >> 4) as u8 ^ self.len() as u8
    }
}

/// The operations that a workload times.
pub(crate) trait Ops {
    fn alloc(&mut self, len: u32) -> Result<Block>;
    fn free(&mut self, block: Block) -> Result<()>;
    /// Writes the block's tag to its first and its last byte.
    fn touch(&mut self, block: &Block) -> Result<()>;
    /// First and last byte of the block.
    fn ends(&mut self, block: &Block) -> Result<[u8; 2]>;
    /// `alloc` and `touch`. For a system that commits: in one commit, as a program would do it.
    fn alloc_touched(&mut self, len: u32) -> Result<Block> {
        let block = self.alloc(len)?;
        self.touch(&block)?;
        Ok(block)
    }
}

/// One thread's hand on a system.
pub(crate) trait Heap: Ops + Send {
    type Tx<'t>: Ops
    where
        Self: 't;
    /// Whether the system has transactions.
    fn transacts(&self) -> bool;
    /// Runs `body` with all its operations in one commit. A failure where there are no transactions.
    fn transaction<R>(&mut self, body: impl FnOnce(&mut Self::Tx<'_>) -> Result<R>) -> Result<R>;
    /// Runs `body` in a commit that it shares with other threads. A failure where there is no such thing.
    fn submit<R>(&mut self, _body: impl FnOnce(&mut Self::Tx<'_>) -> Result<R>) -> Result<R> {
        Err(Failure::new("it has no commits that threads share"))
    }
}

/// One open heap. Dropping it closes it cleanly.
pub(crate) trait System: Sync {
    type Heap<'s>: Heap
    where
        Self: 's;
    fn heap(&self) -> Self::Heap<'_>;
    /// Makes the block what a later opener finds first.
    fn set_root(&self, block: &Block) -> Result<()>;
    /// The first byte of the root block.
    fn read_root(&self) -> Result<u8>;
    /// Bytes of the heap that are neither free nor reserve, bookkeeping included, if the system counts them.
    fn heap_bytes(&self) -> Option<u64> {
        None
    }
}
