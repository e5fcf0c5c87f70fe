//! What the heap's code sees of a transaction: words it may load and store, and runs of pages.
//!
//! The heap never touches the file. It loads and stores aligned 64-bit words at file offsets through these
//! traits; the transaction behind them keeps the changes in its write set until commit.

use crate::error::Result;
use crate::layout::Page;

/// Loads words of one state of the heap: the committed one in a read transaction, the transaction's own
/// in a write transaction.
pub(crate) trait Load {
    /// The word at `offset` (bytes from the start of the file, a multiple of 8). An offset that is misaligned
    /// or outside the file is `Error::Corrupt`: the heap computes offsets from words of the file, so a bad one is
    /// damage.
    fn load(&self, offset: u64) -> Result<u64>;

    /// The same, of a word of the layout: which pages and slabs there are. Few transactions change one.
    #[inline(always)]
    fn load_layout(&self, offset: u64) -> Result<u64> {
        self.load(offset)
    }

    /// The same, of a page that may be punched: on a file system in memory it takes no room by being looked at.
    fn load_unused(&self, offset: u64) -> Result<u64> {
        self.load(offset)
    }

    /// The same, of a word of slots' states, which is likely to be the one that was used last.
    #[inline(always)]
    fn load_states(&self, offset: u64) -> Result<u64> {
        self.load(offset)
    }
}

/// A write transaction as the heap's code sees it.
pub(crate) trait Space: Load {
    /// Whether this is a transaction of one call, committed at once.
    const IS_ONE_CALL: bool = false;

    /// Changes the word at `offset` in this transaction's view.
    fn store(&mut self, offset: u64, word: u64) -> Result<()>;

    /// The same, of a word of slots' states. All other words are the layout's.
    #[inline(always)]
    fn store_states(&mut self, offset: u64, word: u64) -> Result<()> {
        self.store(offset, word)
    }

    /// Changes words of a run that was taken since the innermost save point, which have not been changed through `store`.
    fn store_fresh(&mut self, offset: u64, words: &[u64]) -> Result<()> {
        if self.fill_fresh(offset, words)? {
            return Ok(());
        }
        (offset..).step_by(8).zip(words).try_for_each(|(at, &word)| self.store(at, word))
    }

    /// Puts such words straight into the file, if that is how the run is filled; else `false`, with nothing done.
    fn fill_fresh(&mut self, _offset: u64, _words: &[u64]) -> Result<bool> {
        Ok(false)
    }

    /// Says that a place of `len` bytes, at least one, is likely to be filled soon.
    #[inline(always)]
    fn prefetch(&self, _offset: u64, _len: u64) {}

    /// What counts as used in a word of states beside what this transaction's view of it says: 0, or the committed word where it is an advantage
    /// to allocate what is free in that too, because such a block can be filled in place.
    #[inline]
    fn used_before(&self, _offset: u64) -> u64 {
        0
    }

    /// Runs of pages are about to be taken or given back. An error where this transaction is none for that; nothing is changed then.
    #[inline(always)]
    fn runs_change(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes the file long enough that the heap, which ends at page `from` now, may end at page `end` or beyond; returns the page at which it may end now
    /// (at least `end`, more where the file grows by a larger step). The content of new pages is undefined. `NoSpace`, `MaxSize` and `TooLarge` leave
    /// everything as it was.
    fn grow(&mut self, from: Page, end: Page) -> Result<Page>;

    /// The run `[page, page + pages)` was taken out of the free tree. It is fresh (free in the committed state) until the transaction
    /// commits. `punched`: its file space may have been given back and has to be reserved again (may fail with `NoSpace`, before anything changed).
    fn run_taken(&mut self, page: Page, pages: u32, punched: bool) -> Result<()>;

    /// Whether this transaction took all of `[page, page + pages)` since its innermost save point: such a run
    /// may go back to the free tree at once.
    fn run_is_fresh(&self, page: Page, pages: u32) -> bool;

    /// A fresh run (or the tail of one, from `page` on) goes back to the free tree now. Through `store`, only words of its first `metadata` bytes
    /// were changed.
    fn run_dropped(&mut self, page: Page, pages: u32, metadata: u64);

    /// A run that is not fresh was freed: it must not be handed out again in this transaction. The transaction keeps the list and hands each
    /// entry to `Heap::join_free` as the last step of its commit.
    fn run_deferred(&mut self, page: Page, pages: u32) -> Result<()>;

    /// Fills pages of a fresh run with zeros.
    fn zero_run(&mut self, page: Page, pages: u32) -> Result<()>;
}
