//! Runs of pages: taking them from the free tree, giving them back, growing the heap.
//!
//! Rules:
//!
//! * What can fail for want of space (growing, reserving punched space) is done before anything else, so that
//!   a failed call leaves a whole heap. An error that is neither `NoSpace`, `MaxSize` nor `TooLarge` nor a refusal
//!   of the arguments may leave the transaction's view half-changed: it must be rolled back.
//! * Free extents are separated by used runs, so there is at most one more of them than of these. There are
//!   at least two more nodes than used runs, and each call that adds a run first sees to a reserve beyond
//!   that: giving a run back never lacks a node.
//! * A run that the committed state uses joins the free tree only at the commit (`run_deferred`); until then
//!   it counts as used.

use super::Heap;
use super::header::halves;
use super::map::{
    ARRAYS, HEADER_ENTRY, MOST_PAGES, NODES_ENTRY, Run, array_entry, array_pages, last_array, pages_with,
};
use super::space::{Load, Space};
use super::tree::{Extent, NODES_PER_PAGE, Path, Tree};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

/// Nodes kept beyond used runs and the one that is being added: two for the rule above, and one for each
/// run that adding one may add besides (page-map arrays, a node page).
const NODE_RESERVE: u64 = 2 + ARRAYS as u64 + 2;

/// The least pages of a heap: header, page map, nodes, and one to give.
pub(super) const MIN_PAGES: u64 = 4;

const _: () = assert!((NODES_PER_PAGE as u64) > 2 * NODE_RESERVE);

impl Heap {
    /// Takes a run of pages out of the free tree; the caller writes its page-map entries.
    pub(super) fn take_run<S: Space>(&mut self, s: &mut S, pages: u32) -> Result<Page> {
        s.runs_change()?;
        self.reserve_nodes(s)?;
        self.take_pages(s, pages)
    }

    fn take_pages<S: Space>(&mut self, s: &mut S, pages: u32) -> Result<Page> {
        let mut path = Path::new();
        let fit = match Tree::open(self.header, s)?.first_fit(s, pages, &mut path)? {
            Some(fit) => Some(fit),
            None => {
                self.grow_tail(s, pages, true)?;
                Tree::open(self.header, s)?.first_fit(s, pages, &mut path)?
            }
        };
        let Some(extent) = fit else {
            return Err(Error::corrupt(self.header.root_at(), "the free tree does not have what was added"));
        };
        s.run_taken(extent.page, pages, extent.punched)?;
        Tree::open(self.header, s)?.take_front(s, extent, &mut path, pages)?;
        self.header.count_runs(s, 1, -i64::from(pages))?;
        Ok(extent.page)
    }

    /// Gives back a run whose page-map entries are cleared. `metadata`: bytes at its front that were changed as words.
    pub(super) fn give_run<S: Space>(
        &mut self,
        s: &mut S,
        page: Page,
        pages: u32,
        metadata: u64,
    ) -> Result<()> {
        if !s.run_is_fresh(page, pages) {
            return s.run_deferred(page, pages);
        }
        s.run_dropped(page, pages, metadata);
        self.join_free(s, page, pages)
    }

    /// Joins a run that [`Space::run_deferred`] was told of with the free tree, as the last step of a commit.
    /// Never fails for want of space.
    pub(crate) fn join_free<S: Space>(&mut self, s: &mut S, page: Page, pages: u32) -> Result<()> {
        Tree::open(self.header, s)?.add(s, Extent { page, pages, punched: false })?;
        self.header.count_runs(s, -1, i64::from(pages))
    }

    /// Sees to it that there are nodes enough for one more run.
    fn reserve_nodes<S: Space>(&mut self, s: &mut S) -> Result<()> {
        if self.nodes_to_spare(s, 0)? { Ok(()) } else { self.add_nodes(s) }
    }

    /// Whether there are nodes enough for one more run even with `fewer` of them.
    pub(super) fn nodes_to_spare<L: Load>(&self, l: &L, fewer: u32) -> Result<bool> {
        let (used, _) = halves(l.load(self.header.runs_at())?);
        let (nodes, _) = halves(l.load(self.header.nodes_at())?);
        Ok(u64::from(nodes) >= u64::from(used) + 1 + NODE_RESERVE + u64::from(fewer))
    }

    #[cold]
    pub(super) fn add_nodes<S: Space>(&mut self, s: &mut S) -> Result<()> {
        let page = self.take_pages(s, 1)?;
        self.header.set_entry(s, page, NODES_ENTRY)?;
        Tree::open(self.header, s)?.add_nodes(s, page)
    }

    /// Makes the free extent at the heap's end at least `pages` long; it is shorter now, or there is none.
    /// Returns false, having done nothing, where that needs a page-map array and `arrays` is false.
    #[cold]
    fn grow_tail<S: Space>(&mut self, s: &mut S, pages: u32, arrays: bool) -> Result<bool> {
        let tree = Tree::open(self.header, s)?;
        let (end, punched_to) = self.header.end_and_punched(s)?;
        let mut tail = tree.tail(s)?.unwrap_or(Extent { page: end, pages: 0, punched: false });
        tail.punched |= punched_to != 0;
        let first = self.header.first;
        let too_long = |pages: u64| Error::MaxSize {
            needed: (u64::from(first) + pages).saturating_mul(PAGE),
            max: (u64::from(first) + MOST_PAGES).min(u64::from(u32::MAX)) * PAGE,
        };
        let Some(had) = last_array(u64::from(end - first)) else {
            return Err(Error::corrupt(self.header.end_at(), "the heap is longer than its page map can be"));
        };
        // Each new array makes the heap longer, which may need the next one.
        let (mut last, mut new) = (had, 0);
        let needed = loop {
            let needed = u64::from(tail.page - first) + u64::from(new) + u64::from(pages);
            if needed <= pages_with(last) {
                break needed;
            }
            last += 1;
            if last == ARRAYS as u32 {
                return Err(too_long(needed));
            }
            new += array_pages(last);
        };
        if new > 0 && !arrays {
            return Ok(false);
        }
        let needed_end = Page::try_from(u64::from(first) + needed).map_err(|_| too_long(needed))?;
        let granted = s.grow(end, needed_end)?;
        debug_assert!(granted >= needed_end);
        let limit = u64::from(first) + pages_with(last);
        let new_end = u64::from(granted.max(needed_end)).min(limit) as Page;
        if new > 0 {
            s.run_taken(tail.page, new, tail.punched)?;
            if let Err(error) = s.zero_run(tail.page, new) {
                s.run_dropped(tail.page, new, page_offset(new));
                return Err(error);
            }
        }
        self.header.set_end(s, new_end, punched_to)?;
        self.lengthen(s, tail, new_end, new)?;
        let mut page = tail.page;
        for array in had + 1..=last {
            self.add_array(s, array, page)?;
            page += array_pages(array);
        }
        self.header.count_runs(
            s,
            i64::from(last - had),
            i64::from(new_end) - i64::from(end) - i64::from(new),
        )?;
        Ok(true)
    }

    /// Makes the last free extent `tail` (maybe empty) reach to the new end, but for `skip` pages at its
    /// front.
    fn lengthen<S: Space>(&self, s: &mut S, tail: Extent, end: Page, skip: u32) -> Result<()> {
        let tree = Tree::open(self.header, s)?;
        let page = tail.page + skip;
        let new = Extent { page, pages: end - page, punched: tail.punched };
        if tail.pages == 0 { tree.add(s, new) } else { tree.replace(s, tail, new) }
    }

    pub(super) fn add_array<S: Space>(&mut self, s: &mut S, array: u32, page: Page) -> Result<()> {
        s.store(self.header.array_at(array), u64::from(page))?;
        self.arrays[array as usize] = page;
        self.header.set_entry(s, page, array_entry(array))
    }

    /// Lays out the first pages: header, array 0, nodes; then lets the heap reach to `end`, or nearly so.
    pub(super) fn format_runs<S: Space>(&mut self, s: &mut S, end: Page) -> Result<()> {
        let first = self.header.first;
        let size = u64::from(end.saturating_sub(first));
        let last = last_array(size).filter(|_| size >= MIN_PAGES);
        let Some(last) = last else {
            return Err(Error::BadOption { option: "heap pages", value: size, why: "4 to 511 << 23" });
        };
        let (array, nodes, free) = (first + 1, first + 2, first + 3);
        s.run_taken(array, 2, false)?;
        s.zero_run(array, 1)?;
        let near = first + size.min(pages_with(0)) as Page;
        self.header.format(s, near)?;
        self.add_array(s, 0, array)?;
        self.header.set_entry(s, first, HEADER_ENTRY)?;
        self.header.set_entry(s, nodes, NODES_ENTRY)?;
        let tree = Tree::open(self.header, s)?;
        tree.add_nodes(s, nodes)?;
        tree.add(s, Extent { page: free, pages: near - free, punched: false })?;
        self.header.count_runs(s, 3, i64::from(near - free))?;
        if last > 0 {
            let arrays: u32 = (1..=last).map(array_pages).sum();
            self.grow_tail(s, end - free - arrays, true)?;
        }
        Ok(())
    }

    /// Allocates a block of whole pages.
    pub(super) fn alloc_run<S: Space>(&mut self, s: &mut S, len: u64, unlogged: bool) -> Result<u64> {
        let pages = pages_for(len)?;
        let page = self.take_run(s, pages)?;
        self.header.set_entry(s, page, Run::new(len, pages, unlogged).entry())?;
        // The free tree has what is free in the committed state, and what was taken from that since.
        self.in_free_place = true;
        Ok(page_offset(page))
    }

    /// Frees a block of whole pages.
    pub(super) fn free_run<S: Space>(&mut self, s: &mut S, page: Page, run: Run) -> Result<()> {
        s.runs_change()?;
        self.header.set_entry(s, page, 0)?;
        self.give_run(s, page, run.pages, 0)
    }

    /// Gives a block of whole pages another length, if it can stay where it is; where it is to `stay`, also if a slab would be better.
    pub(super) fn resize_run<S: Space>(
        &mut self,
        s: &mut S,
        page: Page,
        run: Run,
        len: u64,
        stay: bool,
    ) -> Result<bool> {
        let pages = pages_for(len)?;
        if !stay && !run.unlogged && len < PAGE / 2 && run.len() >= PAGE / 2 {
            return Ok(false); // A slab would hold it in half the space.
        }
        let kept = match pages.checked_sub(run.pages) {
            Some(0) => true,
            Some(more) => self.lengthen_run(s, page + run.pages, more)?,
            None => {
                self.shorten_run(s, page + pages, run.pages - pages)?;
                true
            }
        };
        if kept {
            self.header.set_entry(s, page, Run::new(len, pages, run.unlogged).entry())?;
        }
        Ok(kept)
    }

    /// Takes the free pages from `page` on, for the run before them.
    fn lengthen_run<S: Space>(&mut self, s: &mut S, page: Page, more: u32) -> Result<bool> {
        let end = self.header.end(s)?;
        let (free, _) = Tree::open(self.header, s)?.around(s, page)?;
        let mut free = free.filter(|free| free.page == page);
        if free.is_none_or(|free| free.pages < more) {
            if free.map_or(page, |free| free.end()) != end || !no_space_is_no(self.grow_tail(s, more, false))?
            {
                return Ok(false);
            }
            free = Tree::open(self.header, s)?.tail(s)?;
        }
        let Some(free) = free.filter(|free| free.page == page && free.pages >= more) else {
            return Err(Error::corrupt(page_offset(page), "the free tree does not have what was added"));
        };
        if !no_space_is_no(s.run_taken(page, more, free.punched).map(|()| true))? {
            return Ok(false);
        }
        Tree::open(self.header, s)?.take_from(s, free, more)?;
        self.header.count_runs(s, 0, -i64::from(more))?;
        Ok(true)
    }

    /// Gives back the pages from `page` on, the last ones of a run.
    fn shorten_run<S: Space>(&mut self, s: &mut S, page: Page, fewer: u32) -> Result<()> {
        if !s.run_is_fresh(page, fewer) {
            // Until the commit these pages are a run of their own, which needs a node in reserve like any
            // other.
            self.reserve_nodes(s)?;
            s.run_deferred(page, fewer)?;
            return self.header.count_runs(s, 1, 0);
        }
        s.run_dropped(page, fewer, 0);
        Tree::open(self.header, s)?.add(s, Extent { page, pages: fewer, punched: false })?;
        self.header.count_runs(s, 0, i64::from(fewer))
    }

    /// The first free extent that ends after `page`.
    pub(crate) fn next_extent<L: Load>(&self, l: &L, page: Page) -> Result<Option<Extent>> {
        let (before, after) = Tree::open(self.header, l)?.around(l, page)?;
        Ok(before.filter(|before| before.end() > page).or(after))
    }

    /// Notes that the file space of a free extent is about to be given back.
    pub(crate) fn mark_punched<S: Space>(&mut self, s: &mut S, extent: Extent) -> Result<()> {
        Tree::open(self.header, s)?.replace(s, extent, Extent { punched: true, ..extent })
    }
}

/// Pages of a block of `len` bytes, at least one.
fn pages_for(len: u64) -> Result<u32> {
    let pages = len.div_ceil(PAGE).max(1);
    if pages > MOST_PAGES {
        return Err(Error::TooLarge { what: "a block", len, max: MOST_PAGES * PAGE });
    }
    Ok(pages as u32)
}

/// Where there is no space to stay in place, the caller may find some elsewhere.
fn no_space_is_no(result: Result<bool>) -> Result<bool> {
    match result {
        Err(e) if e.is_want_of_space() => Ok(false),
        other => other,
    }
}
