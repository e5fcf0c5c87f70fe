//! A transaction in memory, for the heap's tests: words, growth up to a limit, freshness of pages, save
//! points, failures on demand.
//!
//! It checks what the heap owes a [`Space`]: pages are handed out only if they are free in the committed
//! state, once, and with the mark of those that were punched; no word of states is loaded as one of the layout. Pages that are handed out, and new ones, are
//! full of garbage.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::Heap;
use super::space::{Load, Space};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

const GARBAGE: u64 = 0xDEAD_BEEF_0BAD_F00D;

#[derive(Debug, Clone, Default)]
struct Mark {
    undo: usize,
    fresh: BTreeSet<Page>,
    deferred: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Mock {
    pub(super) words: Vec<u64>,
    pub(super) max: Page,
    /// Pages that the file grows by at least.
    pub(super) step: Page,
    /// After so many calls that can fail for want of space, the next ones do.
    pub(super) fail_after: Option<u32>,
    /// Refuses what cannot be right; off for damaged heaps.
    pub(super) lenient: bool,
    pub(super) loads: Cell<u64>,
    pub(super) stores: u64,
    undo: Vec<(usize, u64)>,
    /// Pages taken by the transaction before and since the last save point.
    older: BTreeSet<Page>,
    fresh: BTreeSet<Page>,
    deferred: Vec<(Page, u32)>,
    /// Pages taken in the committed state.
    used: BTreeSet<Page>,
    punched: BTreeSet<Page>,
    /// Indices of words that were changed as words of states since the last commit.
    states: BTreeSet<usize>,
    marks: Vec<Mark>,
}

impl Mock {
    pub(super) fn new(pages: Page, max: Page) -> Self {
        let mut mock = Self { max, step: 1, ..Self::default() };
        mock.set_pages(pages);
        mock
    }

    /// A committed heap that starts at page `first`.
    pub(super) fn with_heap(first: Page, end: Page, max: Page) -> (Self, Heap) {
        let mut mock = Self::new(end, max);
        for word in &mut mock.words[first as usize * 512..][..512] {
            *word = 0;
        }
        let mut heap = Heap::new(first);
        heap.format(&mut mock, end).unwrap();
        mock.commit(&mut heap);
        (mock, heap)
    }

    fn set_pages(&mut self, pages: Page) {
        self.words.resize(pages as usize * 512, GARBAGE);
    }

    pub(super) fn pages(&self) -> Page {
        (self.words.len() / 512) as Page
    }

    fn may_fail(&mut self) -> Result<()> {
        match &mut self.fail_after {
            Some(0) => Err(Error::NoSpace { needed: PAGE }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn save(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        self.older.extend(&fresh);
        self.marks.push(Mark { undo: self.undo.len(), fresh, deferred: self.deferred.len() });
    }

    /// Rolls back to the last save point. False if there is none.
    pub(super) fn roll_back_to_save(&mut self, heap: &mut Heap) -> bool {
        let Some(mark) = self.marks.pop() else { return false };
        self.undo_to(mark.undo);
        self.older = &self.older - &mark.fresh;
        self.fresh = mark.fresh;
        self.deferred.truncate(mark.deferred);
        heap.forget_hints();
        true
    }

    pub(super) fn roll_back(&mut self, heap: &mut Heap) {
        self.undo_to(0);
        self.fresh.clear();
        self.older.clear();
        self.deferred.clear();
        self.marks.clear();
        self.states.clear();
        heap.forget_hints();
    }

    pub(super) fn commit(&mut self, heap: &mut Heap) {
        let fail_after = self.fail_after.replace(0);
        for (page, pages) in std::mem::take(&mut self.deferred) {
            heap.join_free(self, page, pages).expect("joining needs no space");
            self.used.retain(|used| !(page..page + pages).contains(used));
            self.fresh.retain(|used| !(page..page + pages).contains(used));
            self.older.retain(|used| !(page..page + pages).contains(used));
        }
        self.fail_after = fail_after;
        self.used.append(&mut self.fresh);
        self.used.append(&mut self.older);
        self.undo.clear();
        self.marks.clear();
        self.states.clear();
    }

    pub(super) fn is_clean(&self) -> bool {
        self.undo.is_empty()
    }

    /// The runs freed and not joined, in order.
    pub(super) fn pending(&self) -> Vec<(Page, u32)> {
        let mut pending = self.deferred.clone();
        pending.sort_unstable();
        pending
    }

    /// Gives back the file space of pages.
    pub(super) fn punch(&mut self, page: Page, pages: u32) {
        for page in page..page + pages {
            assert!(!self.used.contains(&page));
            self.punched.insert(page);
            self.fill(page, 1, 0);
        }
    }

    fn undo_to(&mut self, len: usize) {
        for (at, word) in self.undo.drain(len..).rev() {
            self.words[at] = word;
        }
    }

    fn fill(&mut self, page: Page, pages: u32, word: u64) {
        for word_at in &mut self.words[page as usize * 512..][..pages as usize * 512] {
            *word_at = word;
        }
    }

    fn index(&self, offset: u64) -> Result<usize> {
        if !offset.is_multiple_of(8) || offset / 8 >= self.words.len() as u64 {
            return Err(Error::corrupt(offset, "outside the file"));
        }
        Ok((offset / 8) as usize)
    }
}

impl Load for Mock {
    fn load(&self, offset: u64) -> Result<u64> {
        self.loads.set(self.loads.get() + 1);
        Ok(self.words[self.index(offset)?])
    }

    fn load_layout(&self, offset: u64) -> Result<u64> {
        let is_state = self.states.contains(&self.index(offset)?);
        assert!(!is_state || self.lenient, "the word at {offset} was changed as one of states");
        self.load(offset)
    }
}

impl Space for Mock {
    fn store(&mut self, offset: u64, word: u64) -> Result<()> {
        let at = self.index(offset)?;
        self.stores += 1;
        self.undo.push((at, self.words[at]));
        self.words[at] = word;
        Ok(())
    }

    fn store_states(&mut self, offset: u64, word: u64) -> Result<()> {
        self.states.insert(self.index(offset)?);
        self.store(offset, word)
    }

    fn grow(&mut self, _: Page, end: Page) -> Result<Page> {
        self.may_fail()?;
        if end > self.max {
            return Err(Error::MaxSize { needed: page_offset(end), max: page_offset(self.max) });
        }
        if end > self.pages() {
            self.set_pages(end.max(self.pages() + self.step).min(self.max));
        }
        Ok(self.pages())
    }

    fn run_taken(&mut self, page: Page, pages: u32, punched: bool) -> Result<()> {
        self.may_fail()?;
        if self.lenient {
            let end = u64::from(page) + u64::from(pages);
            return self.index(page_offset(1) * end - 8).map(|_| ());
        }
        for page in page..page + pages {
            assert!(page < self.pages(), "page {page} is past the file");
            assert!(!self.used.contains(&page), "page {page} is used in the committed state");
            assert!(
                !self.fresh.contains(&page) && !self.older.contains(&page),
                "page {page} was taken before"
            );
            assert!(!self.punched.contains(&page) || punched, "page {page} has no file space");
        }
        for page in page..page + pages {
            self.fresh.insert(page);
            self.punched.remove(&page);
        }
        self.fill(page, pages, GARBAGE);
        self.states.retain(|at| !(page as usize..(page + pages) as usize).contains(&(at / 512)));
        Ok(())
    }

    fn run_is_fresh(&self, page: Page, pages: u32) -> bool {
        !self.lenient && self.fresh.range(page..page + pages).count() == pages as usize
    }

    fn run_dropped(&mut self, page: Page, pages: u32, _: u64) {
        assert!(self.run_is_fresh(page, pages));
        for page in page..page + pages {
            self.fresh.remove(&page);
        }
    }

    fn run_deferred(&mut self, page: Page, pages: u32) -> Result<()> {
        if !self.lenient {
            for page in page..page + pages {
                assert!([&self.used, &self.fresh, &self.older].iter().any(|taken| taken.contains(&page)));
            }
        }
        self.deferred.push((page, pages));
        Ok(())
    }

    fn zero_run(&mut self, page: Page, pages: u32) -> Result<()> {
        self.may_fail()?;
        self.fill(page, pages, 0);
        Ok(())
    }
}
