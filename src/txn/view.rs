//! Reading, the same in read and write transactions.

use crate::error::{Error, OffsetFault, Result};
use crate::heap::{Block, Heap, Load, block_at};
use crate::offset::{Offset, Shape};
use crate::roots;
use bytemuck::Pod;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, fence};

/// What a transaction offers to the code here. Sealed: transactions alone have it.
pub trait Source {
    /// A word of the heap's metadata as the transaction sees it.
    #[doc(hidden)]
    fn word(&self, offset: u64) -> Result<u64>;
    /// An aligned word inside one block as the transaction sees it.
    #[doc(hidden)]
    #[inline]
    fn word_in_block(&self, offset: u64) -> Result<u64> {
        self.word(offset)
    }
    /// Bytes inside one block as the transaction sees them. The range was checked.
    #[doc(hidden)]
    fn bytes_at(&self, offset: u64, len: u64) -> Result<&[u8]>;
    /// Up to `most` words from `offset` on as the transaction sees them, to be copied one by one, where they lie side by side. None, or too few,
    /// say nothing: then [`word`](Self::word) tells.
    #[doc(hidden)]
    #[inline]
    fn words(&self, offset: u64, most: u64) -> &[AtomicU64] {
        let _ = (offset, most);
        &[]
    }
    /// Says that a block at `offset` is going to be read, once it is known to be one.
    #[doc(hidden)]
    #[inline]
    fn prefetch(&self, offset: u64) {
        let _ = offset;
    }
    /// First page of the heap.
    #[doc(hidden)]
    fn heap_page(&self) -> u32;
    /// Whether a view of this range may have to be put together, so that views of the pieces needed are cheaper.
    #[doc(hidden)]
    #[inline]
    fn is_piecewise(&self, offset: u64, len: u64) -> bool {
        let _ = (offset, len);
        false
    }
}

/// A transaction's words as the heap's code wants them.
pub(crate) struct Words<'a, S: ?Sized>(pub(crate) &'a S);

impl<S: Source + ?Sized> Load for Words<'_, S> {
    #[inline]
    fn load(&self, offset: u64) -> Result<u64> {
        self.0.word(offset)
    }
}

/// A live block, as [`View::blocks`] lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockInfo {
    /// Where it is.
    pub offset: Offset<[u8]>,
    /// Its length in bytes, as it was asked for.
    pub len: u64,
    /// Bytes that it takes, at least `len`: up to these it becomes longer in place, and shorter without needing room elsewhere.
    pub capacity: u64,
}

impl From<Block> for BlockInfo {
    fn from(block: Block) -> Self {
        Self { offset: Offset::from_raw(block.offset), len: block.len, capacity: block.capacity }
    }
}

/// A root: a name and the block it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootInfo {
    /// The name; empty for the unnamed root.
    pub name: String,
    /// Where it leads.
    pub offset: Offset<[u8]>,
    /// Name of the type it was stored as.
    pub type_name: String,
    /// Size of that type or, for a slice, of an element.
    pub size: u32,
    /// Its alignment.
    pub align: u32,
}

/// Reading an arena: typed views of blocks, and the roots.
///
/// [`ReadTxn`](crate::ReadTxn) and [`WriteTxn`](crate::WriteTxn) have it. All views point into the mapping, or into the
/// transaction's own changes; nothing is copied as long as a block is unchanged. Each call costs one look-up of the block (a few
/// loads) and fails with [`Error::BadOffset`] where no block begins.
///
/// ```
/// use heapfile::{Arena, View};
/// # fn main() -> heapfile::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let arena = Arena::create(dir.path().join("a.heap"))?;
/// let mut tx = arena.write()?;
/// let text = tx.alloc_bytes(b"hello")?;
/// tx.set_root(text)?;
/// tx.commit()?;
///
/// let tx = arena.read()?;
/// let text = tx.root::<[u8]>()?.unwrap();
/// assert_eq!(tx.bytes(text)?, b"hello");
/// # Ok(()) }
/// ```
pub trait View: Source {
    /// The value in a block that was allocated as a `T`. Of a type that is aligned to more than 64 bytes, only what this transaction has not changed
    /// ([`OffsetFault::OverAligned`]).
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc(&[2u32, 4, 6])?;
    /// assert_eq!(arena.read()?.get(x)?, &[2, 4, 6]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    #[inline]
    fn get<T: Pod>(&self, offset: Offset<T>) -> Result<&T> {
        let block = self.block(offset.raw())?;
        exact_size::<T>(&block)?;
        bytemuck::try_from_bytes(self.bytes_at(block.offset, block.len)?)
            .map_err(|_| misaligned::<T>(offset.raw()))
    }

    /// All elements of a block that was allocated as a slice.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_slice(&[1.5f64, 2.5])?;
    /// assert_eq!(tx.slice(x)?, [1.5, 2.5]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    #[inline]
    fn slice<T: Pod>(&self, offset: Offset<[T]>) -> Result<&[T]> {
        let block = self.block(offset.raw())?;
        whole_elements::<T>(&block)?;
        bytemuck::try_cast_slice(self.bytes_at(block.offset, block.len)?)
            .map_err(|_| misaligned::<T>(offset.raw()))
    }

    /// All bytes of a block, whatever it was allocated as.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&7u16)?;
    /// assert_eq!(tx.bytes(x.cast())?, [7, 0]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    #[inline]
    fn bytes(&self, offset: Offset<[u8]>) -> Result<&[u8]> {
        let block = self.block(offset.raw())?;
        self.bytes_at(block.offset, block.len)
    }

    /// Some bytes of a block. Of a large block that this transaction changed in part, less has to be put together
    /// than by [`bytes`](Self::bytes).
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"0123456789")?;
    /// assert_eq!(tx.bytes_range(x, 3..6)?, b"345");
    /// assert!(tx.bytes_range(x, 3..11).is_err());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn bytes_range(&self, offset: Offset<[u8]>, range: std::ops::Range<u64>) -> Result<&[u8]> {
        let block = self.block(offset.raw())?;
        in_block(&block, range.start, range.end)?;
        self.bytes_at(block.offset + range.start, range.end - range.start)
    }

    /// A `T` that lies `at` bytes into a block: a header in front of a longer record, a field, an element.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_slice(&[1u64, 2, 3])?;
    /// assert_eq!(tx.part::<u64>(x.cast(), 8)?, &2);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn part<T: Pod>(&self, offset: Offset<[u8]>, at: u64) -> Result<&T> {
        let end = at.saturating_add(size_of::<T>() as u64);
        let bytes = self.bytes_range(offset, at..end)?;
        bytemuck::try_from_bytes(bytes).map_err(|_| misaligned::<T>(offset.raw().wrapping_add(at)))
    }

    /// Length of a block in bytes, exactly as it was asked for.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"12345")?;
    /// assert_eq!(tx.len_of(x)?, 5);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn len_of<T: ?Sized>(&self, offset: Offset<T>) -> Result<u64> {
        Ok(self.block(offset.raw())?.len)
    }

    /// Place, length and capacity of a block.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"12345")?;
    /// let info = tx.block_info(x)?;
    /// assert!(info.len == 5 && info.capacity == 8);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn block_info<T: ?Sized>(&self, offset: Offset<T>) -> Result<BlockInfo> {
        Ok(block_at(self.heap_page(), &Words(self), offset.raw())?.into())
    }

    /// The unnamed root, if it is set; as another type than it was stored as: [`Error::TypeMismatch`].
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// assert_eq!(arena.read()?.root::<u32>()?, None);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn root<T: Shape + ?Sized>(&self) -> Result<Option<Offset<T>>> {
        self.named_root("")
    }

    /// The root of that name, if there is one; as another type than it was stored as: [`Error::TypeMismatch`]. O(log n) in
    /// the number of roots.
    ///
    /// ```
    /// # use heapfile::{Arena, Error, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&1u32)?;
    /// tx.create_root("counter", x)?;
    /// assert_eq!(tx.named_root::<u32>("counter")?, Some(x));
    /// assert!(matches!(tx.named_root::<u64>("counter"), Err(Error::TypeMismatch { .. })));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn named_root<T: Shape + ?Sized>(&self, name: &str) -> Result<Option<Offset<T>>> {
        let Some(info) = roots::find(self, name)? else { return Ok(None) };
        roots::check_type::<T>(&info)?;
        Ok(Some(info.offset.cast()))
    }

    /// What is known of the root of that name, if there is one, whatever its type.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&1u32)?;
    /// tx.create_root("counter", x)?;
    /// assert_eq!(tx.root_info("counter")?.unwrap().type_name, "u32");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn root_info(&self, name: &str) -> Result<Option<RootInfo>> {
        roots::find(self, name)
    }

    /// All roots, sorted by name, with their types.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// assert!(arena.read()?.roots()?.is_empty());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn roots(&self) -> Result<Vec<RootInfo>> {
        roots::list(self)
    }

    /// The first live block at or after `from` in the order of offsets; null finds the very first. Lists blocks in pieces: go on
    /// behind the one returned. Blocks that hold the roots are among them.
    ///
    /// ```
    /// # use heapfile::{Arena, Offset, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let x = arena.alloc(&1u32)?;
    /// let first = arena.read()?.next_block(Offset::null())?.unwrap();
    /// assert_eq!((first.offset, first.len), (x.cast(), 4));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn next_block(&self, from: Offset<[u8]>) -> Result<Option<BlockInfo>> {
        let heap = Heap::new(self.heap_page());
        // The heap looks behind the offset that it is given.
        let found = heap.next_block(&Words(self), from.raw().saturating_sub(1))?;
        // It may have been added meanwhile, by a store that waits for no reader: pairs with the fence before that one (`txn::short`), so that whoever is told of
        // the block sees what was filled in.
        fence(Acquire);
        Ok(found.map(BlockInfo::from))
    }

    /// All live blocks in the order of their offsets. In a read transaction on a `Process` arena a block that somebody allocates by itself meanwhile,
    /// which nothing leads to yet, may be among them.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// arena.alloc(&1u32)?;
    /// let tx = arena.read()?;
    /// assert_eq!(tx.blocks().count(), 1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    fn blocks(&self) -> Blocks<'_, Self> {
        Blocks { source: self, next: Some(0) }
    }

    #[doc(hidden)]
    #[inline]
    fn block(&self, offset: u64) -> Result<Located> {
        // Where the metadata of the block is not in the cache the block is not either: both are fetched at the same time.
        self.prefetch(offset);
        let block = block_at(self.heap_page(), &Words(self), offset)?;
        if block.unlogged {
            return Err(Error::bad_offset(offset, OffsetFault::Metadata));
        }
        Ok(Located { offset, len: block.len })
    }
}

impl<S: Source + ?Sized> View for S {}

/// A block that was looked up.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Located {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Iterator of [`View::blocks`]. It ends after an error.
///
/// ```
/// # use heapfile::{Arena, View};
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = Arena::create(dir.path().join("a.heap"))?;
/// for block in arena.read()?.blocks() {
///     let block = block?;
///     println!("{} {}", block.offset, block.len);
/// }
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct Blocks<'a, S: ?Sized> {
    source: &'a S,
    next: Option<u64>,
}

impl<S: View + ?Sized> Iterator for Blocks<'_, S> {
    type Item = Result<BlockInfo>;

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.next.take()?;
        let found = self.source.next_block(Offset::from_raw(from)).transpose()?;
        if let Ok(block) = &found {
            self.next = Some(block.offset.raw() + 1);
        }
        Some(found)
    }
}

/// The block has exactly the size of `T`.
pub(crate) fn exact_size<T>(block: &Located) -> Result<()> {
    if block.len == size_of::<T>() as u64 { Ok(()) } else { Err(size_mismatch::<T>(block)) }
}

/// The block has whole elements of `T`.
pub(crate) fn whole_elements<T>(block: &Located) -> Result<()> {
    let size = size_of::<T>() as u64;
    if size > 0 && block.len.is_multiple_of(size) { Ok(()) } else { Err(size_mismatch::<T>(block)) }
}

/// Why a view at `offset` does not lie as a `T` has to.
#[cold]
pub(crate) fn misaligned<T>(offset: u64) -> Error {
    let is_its_own = offset.is_multiple_of(align_of::<T>() as u64);
    Error::bad_offset(offset, if is_its_own { OffsetFault::OverAligned } else { OffsetFault::Misaligned })
}

#[cold]
fn size_mismatch<T>(block: &Located) -> Error {
    Error::SizeMismatch {
        offset: block.offset,
        len: block.len,
        size: size_of::<T>() as u64,
        type_name: std::any::type_name::<T>(),
    }
}

/// The range lies inside the block.
pub(crate) fn in_block(block: &Located, start: u64, end: u64) -> Result<()> {
    if start <= end && end <= block.len {
        Ok(())
    } else {
        Err(Error::OutOfBounds { offset: block.offset, start, end, len: block.len })
    }
}
