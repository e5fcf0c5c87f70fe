//! Making the heap shorter: cutting free pages off its end, and clearing the way for that.
//!
//! A block never moves, so nothing before the last one can be cut. What the heap keeps for itself must not be
//! in the way, though: node pages and page-map arrays at the end move down, and an empty slab goes. The pages
//! that they leave are in use in the committed state: they can be cut only after the commit. So shrinking
//! takes a few transactions.

use super::Heap;
use super::map::{NODES_ENTRY, SLAB, array_entry, array_pages, kind, last_array};
use super::slab::{is_empty, is_listed};
use super::space::{Load, Space};
use super::tree::{Extent, NODES_PER_PAGE, Path, Tree};
use crate::error::{Error, Result};
use crate::layout::{Page, page_offset};

/// What a cut came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The page at which the heap ends now.
    pub(crate) end: Page,
    /// Whether another cut may take off more once this transaction is committed.
    pub(crate) more: bool,
}

impl Heap {
    /// The page from which on nothing is in use: [`Heap::cut_tail`] can cut there at once.
    #[cfg(test)]
    pub(crate) fn tail_free<L: Load>(&self, l: &L) -> Result<Page> {
        let tail = Tree::open(self.header, l)?.tail(l)?;
        tail.map_or_else(|| self.header.end(l), |tail| Ok(tail.page))
    }

    /// Takes free pages off the heap's end, down to page `to` or to the last one in use, and clears what may
    /// be cut next. Never grows the heap.
    pub(crate) fn cut_tail<S: Space>(&mut self, s: &mut S, to: Page) -> Result<Cut> {
        let end = self.cut_free(s, to)?;
        let mut more = self.drop_arrays(s, end)?;
        let mut clear = self.header.end(s)?;
        while clear > to && clear > self.header.first + 3 {
            let page = match self.clear_before(s, clear) {
                Ok(Some(page)) => page,
                // Without space to move what is in the way, what is cut off stays cut off.
                Ok(None) => break,
                Err(e) if e.is_want_of_space() => break,
                Err(e) => return Err(e),
            };
            more = true;
            let (free, _) = Tree::open(self.header, s)?.around(s, page - 1)?;
            clear = free.filter(|free| free.end() == page).map_or(page, |free| free.page);
        }
        Ok(Cut { end, more })
    }

    fn cut_free<S: Space>(&mut self, s: &mut S, to: Page) -> Result<Page> {
        let tree = Tree::open(self.header, s)?;
        let (end, punched_to) = self.header.end_and_punched(s)?;
        let Some(tail) = tree.tail(s)?.filter(|tail| to < tail.end()) else { return Ok(end) };
        let new_end = tail.page.max(to);
        if new_end == tail.page {
            tree.take_all(s, tail)?;
        } else {
            tree.replace(s, tail, Extent { pages: new_end - tail.page, ..tail })?;
        }
        self.header.set_end(s, new_end, if tail.punched { punched_to.max(end) } else { punched_to })?;
        self.header.count_runs(s, 0, -i64::from(end - new_end))?;
        Ok(new_end)
    }

    /// Frees the page-map arrays that a heap up to `end` does not need.
    fn drop_arrays<S: Space>(&mut self, s: &mut S, end: Page) -> Result<bool> {
        let needed = last_array(u64::from(end - self.header.first)).unwrap_or(0);
        let mut dropped = false;
        for array in (needed + 1..super::ARRAYS as u32).rev() {
            if let Some(page) = self.array_to_move(s, array, end)? {
                self.header.set_entry(s, page, 0)?;
                s.store(self.header.array_at(array), 0)?;
                self.arrays[array as usize] = 0;
                let pages = array_pages(array);
                self.give_run(s, page, pages, page_offset(pages))?;
                dropped = true;
            }
        }
        Ok(dropped)
    }

    /// Where an array is, if there is one; it must lie before `end`.
    fn array_to_move<L: Load>(&self, l: &L, array: u32, end: Page) -> Result<Option<Page>> {
        let page = self.header.array(l, array)?;
        if page == 0 {
            return Ok(None);
        }
        if page >= end || self.header.entry(l, page)? != array_entry(array) {
            return Err(Error::corrupt(
                self.header.array_at(array),
                "a page-map array is not where it should be",
            ));
        }
        Ok(Some(page))
    }

    /// Clears the run that ends at `end` away if it is one of the heap's own; returns where it started.
    fn clear_before<S: Space>(&mut self, s: &mut S, end: Page) -> Result<Option<Page>> {
        let page = end - 1;
        let entry = self.header.entry(s, page)?;
        if entry == NODES_ENTRY {
            return Ok(self.move_nodes(s, page)?.then_some(page));
        }
        if kind(entry) == SLAB {
            let (slab, shape) = self.header.slab_of(entry, page)?;
            // A slab that is not in the list is full.
            if !is_listed(s.load(page_offset(slab))?, shape, slab)? || !is_empty(s, slab, shape)? {
                return Ok(None);
            }
            self.drop_slab(s, slab, shape)?;
            return Ok(Some(slab));
        }
        let last = last_array(u64::from(self.header.end(s)? - self.header.first)).unwrap_or(0);
        for array in 1..=last {
            if let Some(page) = self.array_to_move(s, array, end)?
                && u64::from(page) + u64::from(array_pages(array)) == u64::from(end)
            {
                return Ok(self.move_array(s, array, page)?.then_some(page));
            }
        }
        Ok(None)
    }

    /// Whether a run of `pages` taken now would lie before `page`.
    fn fits_before<S: Space>(&self, s: &S, pages: u32, page: Page) -> Result<bool> {
        let fit = Tree::open(self.header, s)?.first_fit(s, pages, &mut Path::new())?;
        Ok(fit.is_some_and(|extent| extent.page < page))
    }

    fn move_array<S: Space>(&mut self, s: &mut S, array: u32, from: Page) -> Result<bool> {
        let pages = array_pages(array);
        // One page more: taking a run may take a node page first.
        if !self.fits_before(s, pages + 1, from)? {
            return Ok(false);
        }
        let to = self.take_run(s, pages)?;
        if let Err(error) = s.zero_run(to, pages) {
            self.give_run(s, to, pages, page_offset(pages))?;
            return Err(error);
        }
        for word in 0..u64::from(pages) * 512 {
            let entry = s.load(page_offset(from) + word * 8)?;
            if entry != 0 {
                s.store(page_offset(to) + word * 8, entry)?;
            }
        }
        self.header.set_entry(s, from, 0)?;
        self.add_array(s, array, to)?;
        self.give_run(s, from, pages, page_offset(pages))?;
        Ok(true)
    }

    fn move_nodes<S: Space>(&mut self, s: &mut S, page: Page) -> Result<bool> {
        // One page more makes up for this one; where that takes the last spare node itself, it takes two.
        let mut added = 0;
        while !self.nodes_to_spare(s, NODES_PER_PAGE)? {
            if added == 2 || !self.fits_before(s, 1, page)? {
                return Ok(false);
            }
            self.add_nodes(s)?;
            added += 1;
        }
        Tree::open(self.header, s)?.remove_nodes(s, page)?;
        self.header.set_entry(s, page, 0)?;
        self.give_run(s, page, 1, page_offset(1))?;
        Ok(true)
    }
}
