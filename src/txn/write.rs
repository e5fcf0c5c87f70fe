//! Write transactions: how they begin and end, and what they do with blocks. `roots` and `save_points` have the rest.

mod roots;
mod save_points;

pub use save_points::SavePoint;

use super::commit;
use super::dense::{Dense, Scale};
use super::scratch::Scratch;
use super::short;
use super::view::{Located, Source, View, Words, exact_size, in_block, misaligned, whole_elements};
use super::work::{Changes, ChangesMark, Work, load_committed, prefetch_committed};
use super::write_set::Seen;
use crate::arena::{Exclusive, Inner};
use crate::error::{Error, Result};
use crate::heap::{Heap, state_word_of};
use crate::layout::Page;
use crate::lock::guarded::Owned;
use crate::log::record::Body;
use crate::media::Ready;
use crate::offset::Offset;
use bytemuck::Pod;
use std::collections::BTreeSet;
use std::fs::File;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

/// What a write transaction works with. A handle keeps one for reuse.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) heap: Heap,
    pub(crate) changes: Changes,
    pub(crate) body: Body,
    /// Sequence number of the commit up to which `heap`'s hints, and `end`, are right.
    pub(crate) sequence: u64,
    /// Where the heap ended then; 0: not known.
    pub(crate) end: Page,
    /// Pages that this handle made ready for stores, through the mapping that it stores to.
    pub(crate) ready: Ready,
    pub(super) dense: Dense,
    pub(super) short_words: short::Words,
}

impl State {
    pub(crate) fn new(heap_page: u32, scale: Scale) -> Self {
        Self {
            heap: Heap::new(heap_page),
            changes: Changes::default(),
            body: Body::default(),
            sequence: 0,
            end: 0,
            ready: Ready::default(),
            dense: Dense::new(scale),
            short_words: short::NO_WORDS,
        }
    }
}

/// The one transaction that may change an arena.
///
/// Nothing that it does can be seen by others before [`commit`](Self::commit); dropping it rolls back, at no cost. What it
/// changes is kept in memory until then (blocks of 64 KiB and more that it allocates go straight to the file).
///
/// ```
/// use heapfile::{Arena, View};
/// # let dir = tempfile::tempdir().unwrap();
/// let arena = Arena::create(dir.path().join("a.heap"))?;
/// let mut tx = arena.write()?;
/// let point = tx.alloc(&[2.0f32, 4.0])?;
/// tx.get_mut(point)?[1] = 5.0;
/// assert_eq!(tx.get(point)?, &[2.0, 5.0]);
/// tx.commit()?;
/// # Ok::<(), heapfile::Error>(())
/// ```
pub struct WriteTxn<'a> {
    arena: &'a Inner,
    state: Owned<'a, State>,
    scratch: Scratch,
    /// Number, place in the changes, and `is_half` as it was.
    save_points: Vec<(u64, ChangesMark, bool)>,
    /// Calls so far that may have changed something.
    calls: u64,
    /// A change of several steps failed after the first: it must not be committed.
    is_half: bool,
    /// The outermost save point that was rolled back to since the change of several steps that is under way began; no number of one: none.
    rolled_back_to: usize,
    /// It is one member's part in a batch, which goes on when this is dropped.
    is_part: bool,
    stays_on_thread: PhantomData<*const ()>,
}

impl<'a> WriteTxn<'a> {
    /// `shut`: the transaction is short and about to commit; it takes the gate together with the lock.
    pub(crate) fn begin(arena: &'a Inner, shut: bool) -> Result<Self> {
        let (locked, state) = arena.lock_state(shut)?;
        Ok(Self::locked(arena, locked, state))
    }

    /// Begins it with the lock and the state that the caller took.
    pub(crate) fn locked(arena: &'a Inner, locked: Exclusive<'_>, state: Owned<'a, State>) -> Self {
        // `end_write` gives it back.
        std::mem::forget(locked);
        Self::with_state(arena, state, false)
    }

    /// One member's part in a batch, whose turn it is.
    pub(crate) fn join(arena: &'a Inner) -> Self {
        Self::with_state(arena, arena.batch_state(), true)
    }

    fn with_state(arena: &'a Inner, state: Owned<'a, State>, is_part: bool) -> Self {
        Self {
            arena,
            state,
            scratch: Scratch::default(),
            save_points: Vec::new(),
            calls: 0,
            is_half: false,
            rolled_back_to: usize::MAX,
            is_part,
            stays_on_thread: PhantomData,
        }
    }

    /// A file for what does not fit into memory (see `Media::nameless_file`).
    pub(crate) fn nameless_file(&self) -> Option<File> {
        self.arena.media().nameless_file()
    }

    /// Has all fetched that is read when the block at `offset` is looked up, and its first bytes; a hint.
    #[inline]
    pub(crate) fn prefetch_block(&self, offset: u64) {
        self.prefetch(offset);
        if let Some(word) = state_word_of(self.heap_page(), &Words(self), offset) {
            self.prefetch(word);
        }
    }

    /// About how many bytes the record will have.
    pub(crate) fn changed_bytes(&self) -> u64 {
        self.state.changes.set.changed_bytes() + self.state.changes.words.record_bytes()
    }

    /// The heap and the changes, for a call that changes something: views handed out before are gone.
    #[inline(always)]
    fn parts(&mut self) -> (&mut Heap, Work<'_>) {
        self.scratch.clear();
        self.calls += 1;
        self.parts_again()
    }

    /// The same, for what else belongs to a call.
    #[inline(always)]
    fn parts_again(&mut self) -> (&mut Heap, Work<'_>) {
        let State { heap, changes, .. } = &mut *self.state;
        (heap, Work { media: self.arena.media(), changes, apply: self.arena.apply() })
    }

    /// For the arena's own work on its heap.
    pub(crate) fn with_heap<T>(
        &mut self,
        f: impl FnOnce(&mut Heap, &mut Work<'_>) -> Result<T>,
    ) -> Result<T> {
        let (heap, mut work) = self.parts();
        f(heap, &mut work)
    }

    /// `align`: a power of two. Not part of its callers, so that it needs no registers but those that are free in every call.
    #[inline(never)]
    fn alloc_raw(&mut self, len: u64, align: usize) -> Result<u64> {
        let State { heap, changes, .. } = &mut *self.state;
        if self.scratch.is_empty()
            && let Some(offset) = heap.alloc_hot(len, align as u64, |at| changes.words.last_at(at))
        {
            self.calls += 1;
            return Ok(offset);
        }
        self.alloc_elsewhere(len, align)
    }

    #[inline(never)]
    fn alloc_elsewhere(&mut self, len: u64, align: usize) -> Result<u64> {
        let (heap, mut work) = self.parts();
        let outcome = heap.alloc(&mut work, len, align as u64);
        self.done_by_heap(outcome)
    }

    /// What the heap does consists of several stores: where it fails at damage, some may be done. A call that is refused was none.
    #[inline(always)]
    fn done_by_heap<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(e) = &outcome {
            match e.is_refusal() {
                true => self.calls -= 1,
                false => self.is_half = true,
            }
        }
        outcome
    }

    /// Allocates a block for `value`. O(1) for small values, O(log n) in the number of free extents for large ones.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&7u64)?;
    /// assert_eq!(tx.get(x)?, &7);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc<T: Pod>(&mut self, value: &T) -> Result<Offset<T>> {
        Ok(self.alloc_copy(bytemuck::bytes_of(value), align_of::<T>())?.cast())
    }

    /// Allocates a block for all elements of `values`; their number may be 0.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_slice(&[1u16, 2, 3])?;
    /// assert_eq!(tx.slice(x)?, [1, 2, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_slice<T: Pod>(&mut self, values: &[T]) -> Result<Offset<[T]>> {
        Ok(Offset::from_raw(self.alloc_copy(bytemuck::cast_slice(values), align_of::<T>())?.raw()))
    }

    #[inline]
    pub(crate) fn alloc_copy(&mut self, bytes: &[u8], align: usize) -> Result<Offset<[u8]>> {
        let offset = self.alloc_raw(bytes.len() as u64, align)?;
        let (heap, mut work) = self.parts_again();
        work.write_new(heap, offset, bytes)?;
        Ok(Offset::from_raw(offset))
    }

    /// Allocates a block for a copy of `bytes`, of any length from 0 on.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"Foobar")?;
    /// assert_eq!(tx.bytes(x)?, b"Foobar");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_bytes(&mut self, bytes: &[u8]) -> Result<Offset<[u8]>> {
        self.alloc_slice(bytes)
    }

    /// Allocates `len` bytes of zeros at a multiple of `align` (a power of two up to 4096).
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_zeroed(100, 4096)?;
    /// assert!(x.raw() % 4096 == 0 && tx.bytes(x)?.iter().all(|&b| b == 0));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_zeroed(&mut self, len: u64, align: usize) -> Result<Offset<[u8]>> {
        let offset = self.alloc_unset(len, align)?;
        self.fill_zero(offset.raw(), len)?;
        Ok(offset)
    }

    /// Allocates `len` bytes at a multiple of `align` (a power of two up to 4096) without setting them: they hold whatever the
    /// file holds there, which a recovery may change until they are set. For blocks that are then filled with [`write_at`](Self::write_at).
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_unset(1 << 20, 8)?;
    /// tx.write_at(x, 0, &[1; 4096])?;
    /// assert_eq!(tx.len_of(x)?, 1 << 20);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_unset(&mut self, len: u64, align: usize) -> Result<Offset<[u8]>> {
        if !align.is_power_of_two() || align > 4096 {
            return Err(Error::BadOption {
                option: "align",
                value: align as u64,
                why: "a power of two up to 4096",
            });
        }
        Ok(Offset::from_raw(self.alloc_raw(len, align)?))
    }

    /// Allocates `len` bytes at a multiple of `align` (a power of two up to 4096) and has `fill` write them: it is handed
    /// their offset, and the bytes, holding whatever the file holds there. The cheapest way to build a record of any length: where the place is free in the
    /// committed state of a `Process` arena, `fill` gets the block itself. If `fill` panics the block stays allocated in the transaction.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_with(5, 1, |_, bytes| bytes.copy_from_slice(b"Hello"))?;
    /// assert_eq!(tx.bytes(x)?, b"Hello");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn alloc_with(
        &mut self,
        len: u64,
        align: usize,
        fill: impl FnOnce(Offset<[u8]>, &mut [u8]),
    ) -> Result<Offset<[u8]>> {
        let offset = self.alloc_unset(len, align)?;
        let (heap, mut work) = self.parts();
        if work.may_fill_last(heap) {
            work.fill_with(offset.raw(), len, |bytes| fill(offset, bytes))?;
        } else {
            fill(offset, self.view_mut(offset.raw(), len)?);
        }
        Ok(offset)
    }

    fn fill_zero(&mut self, offset: u64, len: u64) -> Result<()> {
        static ZEROS: [u8; 1 << 14] = [0; 1 << 14];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(ZEROS.len() as u64);
            self.parts().1.write(offset + done, &ZEROS[..n as usize])?;
            done += n;
        }
        Ok(())
    }

    /// Frees a block. A second time, or with an offset that names no block, it is [`Error::BadOffset`].
    ///
    /// ```
    /// # use heapfile::{Arena, Error, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&7u64)?;
    /// tx.free(x)?;
    /// assert!(matches!(tx.free(x), Err(Error::BadOffset { .. })));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free<T: ?Sized>(&mut self, offset: Offset<T>) -> Result<()> {
        self.free_raw(offset.raw())
    }

    /// No type parameter: compiled with what it calls, however its callers are.
    pub(crate) fn free_raw(&mut self, offset: u64) -> Result<()> {
        let State { heap, changes, .. } = &mut *self.state;
        if self.scratch.is_empty() && heap.free_hot(offset, |at| changes.words.last_at(at)) {
            self.calls += 1;
            return Ok(());
        }
        self.free_elsewhere(offset)
    }

    #[inline(never)]
    fn free_elsewhere(&mut self, offset: u64) -> Result<()> {
        let (heap, mut work) = self.parts();
        let outcome = heap.free(&mut work, offset);
        self.done_by_heap(outcome)
    }

    /// Gives a block room for `count` elements: in place where that can be, else by moving it. The elements that both
    /// lengths have stay; new ones are zero. The old offset is void unless the same is returned.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"Foo")?;
    /// let x = tx.resize(x, 6)?;
    /// assert_eq!(tx.bytes(x)?, b"Foo\0\0\0");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn resize<T: Pod>(&mut self, offset: Offset<[T]>, count: u64) -> Result<Offset<[T]>> {
        let block = self.block(offset.raw())?;
        whole_elements::<T>(&block)?;
        let size = size_of::<T>() as u64;
        let len = count.checked_mul(size).ok_or(Error::TooLarge {
            what: "a block",
            len: u64::MAX,
            max: self.arena.media().capacity(),
        })?;
        let mut at = block.offset;
        if !self.resize_in_place(at, len, false)? {
            match self.alloc_raw(len, align_of::<T>()) {
                Ok(new) => {
                    at = new;
                    self.copy_raw(block.offset, at, len.min(block.len))?;
                    self.free(offset)?;
                }
                // Where there is no better place it stays, as long as it has room.
                Err(e) => {
                    let stays = e.is_want_of_space() && self.resize_in_place(at, len, true)?;
                    if !stays {
                        return Err(e);
                    }
                }
            }
        }
        self.fill_zero(at + block.len.min(len), len.saturating_sub(block.len))?;
        Ok(Offset::from_raw(at))
    }

    fn resize_in_place(&mut self, offset: u64, len: u64, stay: bool) -> Result<bool> {
        let (heap, mut work) = self.parts();
        let outcome = heap.resize_in_place(&mut work, offset, len, stay);
        let is_done = self.done_by_heap(outcome)?;
        self.calls -= u64::from(!is_done);
        Ok(is_done)
    }

    /// The value in a block, to be changed. All of it counts as changed. Refused for types that are aligned to more than 64 bytes, unless the place suits by chance
    /// ([`OffsetFault::OverAligned`](crate::OffsetFault::OverAligned)): write their bytes.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc(&[1u32, 2])?;
    /// tx.get_mut(x)?[0] = 9;
    /// # assert_eq!(tx.get(x)?, &[9, 2]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn get_mut<T: Pod>(&mut self, offset: Offset<T>) -> Result<&mut T> {
        let block = self.block(offset.raw())?;
        exact_size::<T>(&block)?;
        bytemuck::try_from_bytes_mut(self.view_mut(block.offset, block.len)?)
            .map_err(|_| misaligned::<T>(offset.raw()))
    }

    /// The elements of a block, to be changed. All of them count as changed, and are held in memory until commit: to change
    /// a few bytes of a large block use [`write_at`](Self::write_at).
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_slice(&[3u32, 1, 2])?;
    /// tx.slice_mut(x)?.sort();
    /// assert_eq!(tx.slice(x)?, [1, 2, 3]);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn slice_mut<T: Pod>(&mut self, offset: Offset<[T]>) -> Result<&mut [T]> {
        let block = self.block(offset.raw())?;
        whole_elements::<T>(&block)?;
        bytemuck::try_cast_slice_mut(self.view_mut(block.offset, block.len)?)
            .map_err(|_| misaligned::<T>(offset.raw()))
    }

    /// The bytes of a block, to be changed; as [`slice_mut`](Self::slice_mut).
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"abc")?;
    /// tx.bytes_mut(x)?.make_ascii_uppercase();
    /// assert_eq!(tx.bytes(x)?, b"ABC");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn bytes_mut(&mut self, offset: Offset<[u8]>) -> Result<&mut [u8]> {
        self.slice_mut(offset)
    }

    fn view_mut(&mut self, offset: u64, len: u64) -> Result<&mut [u8]> {
        self.scratch.clear();
        self.calls += 1;
        self.state.changes.set.view_mut(offset, len, self.arena.media())
    }

    /// Overwrites bytes of a block from its byte `at` on. Costs what it writes, however long the block is.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"0123456789")?;
    /// tx.write_at(x, 4, b"xy")?;
    /// assert_eq!(tx.bytes(x)?, b"0123xy6789");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn write_at(&mut self, offset: Offset<[u8]>, at: u64, bytes: &[u8]) -> Result<()> {
        let block = self.block(offset.raw())?;
        self.write_in(block, at, bytes)
    }

    /// As [`write_at`](Self::write_at), in a block that was looked up since it was last allocated, freed or resized.
    #[inline]
    pub(crate) fn write_in(&mut self, block: Located, at: u64, bytes: &[u8]) -> Result<()> {
        in_block(&block, at, at.saturating_add(bytes.len() as u64))?;
        self.parts().1.write(block.offset + at, bytes)
    }

    /// Writes the content of blocks that lie side by side, all of which this transaction allocated: from the start of the first one to, at most, where the
    /// last one's place ends.
    pub(crate) fn write_side_by_side(&mut self, first: Offset<[u8]>, bytes: &[u8]) -> Result<()> {
        self.parts().1.write(first.raw(), bytes)
    }

    /// Copies bytes `from_range` of one block to another, or the same, from byte `to_at` on. Overlapping is fine.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let x = tx.alloc_bytes(b"0123456789")?;
    /// tx.copy(x, 0..8, x, 2)?;
    /// assert_eq!(tx.bytes(x)?, b"0101234567");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn copy(
        &mut self,
        from: Offset<[u8]>,
        from_range: Range<u64>,
        to: Offset<[u8]>,
        to_at: u64,
    ) -> Result<()> {
        let (source, target) = (self.block(from.raw())?, self.block(to.raw())?);
        in_block(&source, from_range.start, from_range.end)?;
        let len = from_range.end - from_range.start;
        in_block(&target, to_at, to_at.saturating_add(len))?;
        self.copy_raw(source.offset + from_range.start, target.offset + to_at, len)
    }

    /// Copies in pieces, from the end where the ranges overlap that way.
    fn copy_raw(&mut self, from: u64, to: u64, len: u64) -> Result<()> {
        const PIECE: u64 = 1 << 16;
        let backwards = from < to && to < from + len;
        let mut piece = Vec::new();
        let mut done = 0;
        while done < len {
            let n = (len - done).min(PIECE);
            let at = if backwards { len - done - n } else { done };
            piece.clear();
            piece.extend_from_slice(self.bytes_at(from + at, n)?);
            self.parts().1.write(to + at, &piece)?;
            done += n;
        }
        Ok(())
    }

    /// Where the words are that a commit would change, in order. The last thing before it: what was freed may be used from here on.
    pub(crate) fn changed_words(&mut self) -> Result<BTreeSet<u64>> {
        self.scratch.clear();
        commit::join_deferred(self.arena, &mut self.state)?;
        let (media, mut changed) = (self.arena.media(), BTreeSet::new());
        self.state.changes.in_order(|offset, words| {
            let all = (offset..).step_by(8).zip(words);
            changed.extend(all.filter(|&(at, &word)| media.load(at) != Some(word)).map(|(at, _)| at));
            Ok(())
        })?;
        Ok(changed)
    }

    /// Makes all changes of this transaction the committed state, at once and as a whole.
    ///
    /// In a `Power` arena they are on the disk when this returns: one flush for small transactions, two for those that allocated
    /// 64 KiB and more or made the file longer. In a `Process` arena they survive the death of any process from now on.
    ///
    /// [`Error::HalfChanged`] if an earlier call failed in the middle of its change. On an error nothing was changed, except with [`Error::Poisoned`], which says that the outcome is not known before
    /// the arena is opened again.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// tx.alloc(&1u32)?;
    /// tx.commit()?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn commit(mut self) -> Result<()> {
        self.may_commit()?;
        self.drop_save_points(0);
        let arena = self.arena;
        let outcome = arena.settled(commit::run(arena, &mut self.state))?;
        drop(self);
        arena.follow_up(outcome);
        Ok(())
    }

    /// Commits what the arena does for itself. Where the outcome is in doubt the handle stays in use, for nobody relies on it: the next owner of the lock, maybe
    /// through this handle, finds it out.
    pub(crate) fn commit_upkeep(mut self) -> Result<()> {
        self.may_commit()?;
        commit::run(self.arena, &mut self.state).map(drop)
    }
}

impl std::fmt::Debug for WriteTxn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteTxn").field("arena", &self.arena).finish_non_exhaustive()
    }
}

impl Drop for WriteTxn<'_> {
    fn drop(&mut self) {
        if self.is_part {
            self.arena.leave_batch();
        } else {
            self.arena.end_write(&mut self.state);
        }
    }
}

impl Source for WriteTxn<'_> {
    #[inline]
    fn word(&self, offset: u64) -> Result<u64> {
        self.state.changes.load(self.arena.media(), offset)
    }

    #[inline]
    fn word_in_block(&self, offset: u64) -> Result<u64> {
        match self.state.changes.set.load(offset) {
            Some(word) => Ok(word),
            None => load_committed(self.arena.media(), offset),
        }
    }

    #[inline]
    fn bytes_at(&self, offset: u64, len: u64) -> Result<&[u8]> {
        if self.arena.is_forked() {
            return Err(Error::Forked);
        }
        let media = self.arena.media();
        let outside = || Error::corrupt(offset, "a block reaches past the end of the file");
        let set = &self.state.changes.set;
        match set.seen(offset, len) {
            Seen::Committed => media.view(offset, len).ok_or_else(outside),
            Seen::Shadowed(bytes) => Ok(bytes),
            Seen::Mixed => {
                let length = usize::try_from(len).map_err(|_| outside())?;
                if media.view(offset, len).is_none() {
                    return Err(outside());
                }
                self.scratch.hold(offset, length, |to| {
                    media.copy_to(offset, to).ok_or_else(outside)?;
                    set.overlay(offset, to);
                    Ok(())
                })
            }
        }
    }

    #[inline]
    fn words(&self, offset: u64, most: u64) -> &[AtomicU64] {
        let words = self.arena.media().words(offset, most);
        if self.state.changes.set.may_touch(offset, 8 * words.len() as u64) { &[] } else { words }
    }

    #[inline]
    fn prefetch(&self, offset: u64) {
        prefetch_committed(self.arena.media(), offset);
    }

    fn heap_page(&self) -> u32 {
        self.arena.heap_page()
    }

    #[inline]
    fn is_piecewise(&self, offset: u64, len: u64) -> bool {
        self.state.changes.set.may_touch(offset, len)
    }
}
