//! heapfile itself: an arena of either durability.
//!
//! `alloc` and `free` are transactions of their own, an allocation with its touches is one. In a transaction all goes through one
//! `WriteTxn`. Alignment is 8, what a block of offsets needs. Kept out of line, see `system`.

use std::path::Path;

use heapfile::{Arena, Durability, Offset, View, WriteTxn};

use crate::system::{Block, Failure, Heap, Ops, Result, System};

/// An open arena.
pub(crate) struct ArenaSystem(Arena);

impl ArenaSystem {
    pub(crate) fn create(path: &Path, durability: Durability) -> Result<Self> {
        Ok(Self(Arena::options().durability(durability).create(path)?))
    }

    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self(Arena::open(path)?))
    }
}

impl System for ArenaSystem {
    type Heap<'s> = ArenaHeap<'s>;

    fn heap(&self) -> ArenaHeap<'_> {
        ArenaHeap(&self.0)
    }

    fn set_root(&self, block: &Block) -> Result<()> {
        let mut tx = self.0.write()?;
        tx.set_root(offset(block))?;
        Ok(tx.commit()?)
    }

    fn read_root(&self) -> Result<u8> {
        let tx = self.0.read()?;
        let root = tx.root::<[u8]>()?.ok_or_else(|| Failure::new("the arena has no root"))?;
        tx.bytes(root)?.first().copied().ok_or_else(|| Failure::new("the root block is empty"))
    }

    fn heap_bytes(&self) -> Option<u64> {
        self.0.stats().ok().map(|s| s.heap_bytes - s.free_bytes)
    }
}

fn offset(block: &Block) -> Offset<[u8]> {
    Offset::from_raw(block.at())
}

/// Touches both ends of a block that is being made.
#[inline]
fn tag_ends(at: Offset<[u8]>, bytes: &mut [u8]) {
    if let (Some(block), [first, .., last]) = (Block::new(at.raw(), bytes.len() as u32), bytes) {
        (*first, *last) = (block.tag(), block.tag());
    }
}

fn block(at: Offset<[u8]>, len: u32) -> Result<Block> {
    Block::new(at.raw(), len).ok_or_else(|| Failure::new("the arena gave the null offset"))
}

#[inline]
fn touch(tx: &mut WriteTxn<'_>, block: &Block) -> Result<()> {
    let tag = [block.tag()];
    tx.write_at(offset(block), 0, &tag)?;
    Ok(tx.write_at(offset(block), u64::from(block.len() - 1), &tag)?)
}

fn ends(tx: &impl View, block: &Block) -> Result<[u8; 2]> {
    match *tx.bytes(offset(block))? {
        [first, .., last] => Ok([first, last]),
        [only] => Ok([only; 2]),
        [] => Err(Failure::new("a block is empty")),
    }
}

/// One thread's hand on an arena: each operation its own commit.
pub(crate) struct ArenaHeap<'s>(&'s Arena);

impl Ops for ArenaHeap<'_> {
    #[inline(never)]
    fn alloc(&mut self, len: u32) -> Result<Block> {
        block(self.0.alloc_unset(u64::from(len), 8)?, len)
    }

    #[inline(never)]
    fn free(&mut self, block: Block) -> Result<()> {
        Ok(self.0.free(offset(&block))?)
    }

    #[inline(never)]
    fn touch(&mut self, block: &Block) -> Result<()> {
        let mut tx = self.0.write()?;
        touch(&mut tx, block)?;
        Ok(tx.commit()?)
    }

    fn ends(&mut self, block: &Block) -> Result<[u8; 2]> {
        ends(&self.0.read()?, block)
    }

    #[inline(never)]
    fn alloc_touched(&mut self, len: u32) -> Result<Block> {
        block(self.0.alloc_with(u64::from(len), 8, tag_ends)?, len)
    }
}

impl Heap for ArenaHeap<'_> {
    type Tx<'t>
        = WriteTxn<'t>
    where
        Self: 't;

    fn transacts(&self) -> bool {
        true
    }

    fn transaction<R>(&mut self, body: impl FnOnce(&mut WriteTxn<'_>) -> Result<R>) -> Result<R> {
        let mut tx = self.0.write()?;
        let result = body(&mut tx)?;
        tx.commit()?;
        Ok(result)
    }

    fn submit<R>(&mut self, body: impl FnOnce(&mut WriteTxn<'_>) -> Result<R>) -> Result<R> {
        self.0.submit(body)
    }
}

/// Many operations in one commit.
impl Ops for WriteTxn<'_> {
    #[inline(never)]
    fn alloc(&mut self, len: u32) -> Result<Block> {
        block(self.alloc_unset(u64::from(len), 8)?, len)
    }

    #[inline(never)]
    fn free(&mut self, block: Block) -> Result<()> {
        Ok(WriteTxn::free(self, offset(&block))?)
    }

    #[inline(never)]
    fn touch(&mut self, block: &Block) -> Result<()> {
        touch(self, block)
    }

    fn ends(&mut self, block: &Block) -> Result<[u8; 2]> {
        ends(self, block)
    }

    #[inline(never)]
    fn alloc_touched(&mut self, len: u32) -> Result<Block> {
        block(self.alloc_with(u64::from(len), 8, tag_ends)?, len)
    }
}
