//! The survey: what of a damaged heap can still be told, as a basis for building its metadata anew.
//!
//! What blocks there are is said by the page map and the slabs; everything else follows from these two. Where they are damaged
//! themselves there is a second witness for most: every page of a slab has a word, and the slab's first word names its shape too; the header
//! names each page-map array, whose own word lies in an array before it; a sound free tree tells where a block whose word is lost has to end.
//!
//! Rules:
//!
//! * A block's word that is sound counts, whatever the block holds. The block ends early only where a run can start.
//! * A slab's shape is said by its first word, if its states are closed as they have to be and the word of any of its pages says
//!   that a slab starts there; else by these words; else by its first word alone, if it is not empty: free pages may hold what
//!   is left of slabs. A slab's word inside of another slab counts only if the page that it leads to says the same.
//! * A page of nodes counts if the header counts as many as there are, or if the free tree or the list of spare nodes leads to it.
//! * A run of the log is one that the header names, or that the log lay in when the repair began. The log is elsewhere by now.
//! * Pages that nothing vouches for are never taken for free: they are kept, as blocks of their own, and listed.
//! * What is free by a sound tree is free, and punched if that says so. Where no tree is sound, all that is free may be punched.

use super::Heap;
use super::class::Shape;
use super::header::{Header, halves};
use super::map::{
    ARRAYS, BLOCK, HEADER_ENTRY, NODES_ENTRY, Run, SLAB, array_entry, array_pages, array_start, kind,
    last_array, log_pages,
};
use super::slab::{LISTED, is_empty, padding, state_word_at};
use super::space::Load;
use super::tree::{Extent, NODES_PER_PAGE, Tree};
use crate::error::{Error, Result};
use crate::layout::{LogPlace, PAGE, Page, page_offset};
use std::collections::BTreeSet;

/// Something that was damaged, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) offset: u64,
    pub(crate) what: String,
}

/// What a run of pages in use was found to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    Header,
    Array(u32),
    Nodes,
    Slab(&'static Shape),
    Block(Run),
}

/// Everything that is in use, in order of address.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) runs: Vec<(Page, u32, Found)>,
    pub(super) arrays: Vec<Page>,
    pub(super) end: Page,
    /// The free extents that may be punched; nothing: any may.
    pub(super) punched: Option<Vec<Extent>>,
    pub(super) losses: Vec<Loss>,
}

struct Surveyor<'a, L> {
    l: &'a L,
    header: Header,
    /// Pages of the file.
    limit: Page,
    /// Where the log lay.
    log: LogPlace,
    /// Free extents in order, if the tree is sound.
    free: Option<Vec<Extent>>,
    /// The pages of nodes that count, if not all do that are said to be some.
    nodes: Option<BTreeSet<Page>>,
    survey: Survey,
}

impl Heap {
    /// Looks at the whole heap in a file of `limit` pages; `log`: where the log lay. `Corrupt` if the page map cannot be found.
    pub(super) fn survey<L: Load>(&self, l: &L, limit: Page, log: LogPlace) -> Result<Survey> {
        let survey = Survey::default();
        let mut surveyor = Surveyor { l, header: self.header, limit, log, free: None, nodes: None, survey };
        surveyor.find_arrays()?;
        let described = u64::from(self.header.first) + array_start(surveyor.survey.arrays.len() as u32);
        let most = described.min(limit.into()) as Page;
        surveyor.free = surveyor.sound_tree(most);
        surveyor.nodes = surveyor.nodes_reached(most);
        surveyor.find_runs(surveyor.vouched_end(most));
        surveyor.tell_cut_off(described);
        surveyor.drop_arrays();
        surveyor.find_end()?;
        Ok(surveyor.survey)
    }
}

impl<L: Load> Surveyor<'_, L> {
    fn lose(&mut self, offset: u64, what: impl Into<String>) {
        self.survey.losses.push(Loss { offset, what: what.into() });
    }

    /// The arrays of the page map, each by the header's word or by its own word in the arrays before it.
    fn find_arrays(&mut self) -> Result<()> {
        let first = self.header.first;
        for array in 0..ARRAYS as u32 {
            let at = self.header.array_at(array);
            let fits = |page: Page| {
                page > first && u64::from(page) + u64::from(array_pages(array)) <= u64::from(self.limit)
            };
            let named = self.header.array(self.l, array).ok().filter(|&page| fits(page));
            // The page of array 0 never changes.
            let by_itself = if array == 0 { Some(first + 1) } else { self.array_by_its_word(array) };
            let page = match (by_itself.filter(|&page| fits(page)), named) {
                (Some(page), _) => page,
                (None, Some(page)) if array > 0 => {
                    if !self.is_needed(array) {
                        return Ok(());
                    }
                    self.array_by_the_header(array, page)?
                }
                (None, Some(_)) => {
                    let what = "a page-map array is not where the header says, nor anywhere else";
                    return Err(Error::corrupt(at, what));
                }
                (None, None) => return Ok(()),
            };
            if named != Some(page) {
                self.lose(
                    at,
                    format!("the header named another place of page-map array {array}: found again"),
                );
            }
            self.survey.arrays.push(page);
        }
        Ok(())
    }

    /// Whether the heap is long enough to need an array: one that it does not may be anywhere.
    fn is_needed(&self, array: u32) -> bool {
        let end = self.header.end(self.l).ok();
        end.and_then(|end| last_array(u64::from(end - self.header.first))).is_none_or(|last| last >= array)
    }

    /// The place that the header names for an array whose own word is damaged, unless something else lies there.
    fn array_by_the_header(&self, array: u32, page: Page) -> Result<Page> {
        let end = u64::from(page) + u64::from(array_pages(array));
        let is_described = end <= u64::from(self.header.first) + array_start(array);
        if is_described
            && self.covered_to(page) <= u64::from(page)
            && !(page..end as Page).any(|page| self.is_start(page))
        {
            return Ok(page);
        }
        Err(self.array_lost(array))
    }

    fn array_lost(&self, array: u32) -> Error {
        Error::corrupt(
            self.header.array_at(array),
            "a page-map array is lost, and with it all that it describes",
        )
    }

    fn array_by_its_word(&self, array: u32) -> Option<Page> {
        let described = u64::from(self.header.first) + array_start(array);
        let to = described.min(self.limit.into()) as Page;
        let wanted = array_entry(array);
        // The word of one that is found already may be wrong.
        (self.header.first..to)
            .find(|&page| self.entry(page) == wanted && !self.survey.arrays.contains(&page))
    }

    /// The page map's word of a page; 0 where there is none.
    fn entry(&self, page: Page) -> u64 {
        let (array, at) = self.header.array_of(page);
        let start = self.survey.arrays.get(array as usize);
        start.and_then(|&start| self.l.load(page_offset(start) + at).ok()).unwrap_or(0)
    }

    /// Where the run ends that starts with the last word before `page`, by that word.
    fn covered_to(&self, page: Page) -> u64 {
        let array_at = |page: Page| self.survey.arrays.iter().position(|&start| start == page);
        let has_word = |&page: &Page| self.entry(page) != 0 || array_at(page).is_some();
        let Some(start) = (self.header.first..page).rev().find(has_word) else { return 0 };
        let (first, pages) = if let Some(array) = array_at(start) {
            (start, array_pages(array as u32))
        } else if let Some((first, shape)) = self.slab_of(start) {
            (first, shape.pages)
        } else if self.is_block(start) {
            (start, Run::of(self.entry(start)).map_or(1, |run| run.pages))
        } else {
            (start, self.log_run(start).unwrap_or(1))
        };
        u64::from(first) + u64::from(pages)
    }

    /// All free extents, if the tree contradicts itself nowhere.
    fn sound_tree(&self, most: Page) -> Option<Vec<Extent>> {
        let end = self.header.end(self.l).ok().filter(|&end| end <= most)?;
        let tree = Tree::new(self.header, end);
        let mut all = Vec::new();
        let (mut at, mut free_pages) = (self.header.first, 0u64);
        loop {
            let (before, after) = tree.around(self.l, at).ok()?;
            if before.is_some_and(|before| before.end() > at) {
                return None;
            }
            let Some(next) = after else { break };
            // A word in the page map inside of an extent: one of both is wrong, and it is not known which.
            if (next.page..next.end()).any(|page| self.entry(page) != 0) {
                return None;
            }
            at = next.end();
            free_pages += u64::from(next.pages);
            all.push(next);
        }
        let (_, counted) = halves(self.l.load(self.header.runs_at()).ok()?);
        let (_, in_tree) = halves(self.l.load(self.header.nodes_at()).ok()?);
        (u64::from(counted) == free_pages && in_tree as usize == all.len()).then_some(all)
    }

    /// Where the header says that the heap ends, if by the page map nothing lies there or behind it: else what the page map describes.
    fn vouched_end(&self, most: Page) -> Page {
        let said = self.header.end(self.l).ok().filter(|&end| end <= most);
        let is_last = |&end: &Page| {
            self.covered_to(end) <= u64::from(end)
                && (end..most).all(|page| self.entry(page) == 0 && !self.survey.arrays.contains(&page))
        };
        said.filter(is_last).unwrap_or(most)
    }

    /// The pages of nodes that the free tree and the list of spare nodes lead to; nothing where the header counts all that are said to be some.
    fn nodes_reached(&self, most: Page) -> Option<BTreeSet<Page>> {
        let is_said = |page: Page| self.entry(page) == NODES_ENTRY;
        let said = (self.header.first..most).filter(|&page| is_said(page)).count() as u64;
        let (counted, _) = halves(self.l.load(self.header.nodes_at()).ok()?);
        if said * u64::from(NODES_PER_PAGE) == u64::from(counted) {
            return None;
        }
        let (mut pages, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut links = vec![(self.header.root_at(), true), (self.header.spare_at(), false)];
        while let Some((link_at, in_tree)) = links.pop() {
            let node = self.l.load(link_at).unwrap_or(0);
            let page = Page::try_from(node / PAGE).unwrap_or(0);
            if (self.header.first..most).contains(&page) && is_said(page) && seen.insert(node) {
                pages.insert(page);
                links.push((node + 16, in_tree));
                if in_tree {
                    links.push((node + 24, true));
                }
            }
        }
        Some(pages)
    }

    /// The first free extent of a sound tree that ends after `page`.
    fn free_after(&self, page: Page) -> Option<Extent> {
        let free = self.free.as_ref()?;
        free.get(free.partition_point(|extent| extent.end() <= page)).copied()
    }

    /// Goes through all pages that the page map describes.
    fn find_runs(&mut self, most: Page) {
        let first = self.header.first;
        if self.entry(first) != HEADER_ENTRY {
            self.lose(page_offset(first), "the page map's word of the heap's header: written anew");
        }
        self.survey.runs.push((first, 1, Found::Header));
        let mut page = first + 1;
        while page < most {
            let free = self.free_after(page);
            if let Some(free) = free.filter(|free| free.page <= page) {
                page = free.end();
                continue;
            }
            let limit = free.map_or(most, |free| free.page);
            page = self.run(page, limit);
        }
    }

    /// Finds out what is at `page`, which is not known to be free; it ends at `limit` at last. Returns where to go on.
    fn run(&mut self, page: Page, limit: Page) -> Page {
        let entry = self.entry(page);
        if let Some(array) = self.survey.arrays.iter().position(|&start| start == page) {
            let array = array as u32;
            if entry != array_entry(array) {
                self.lose(
                    page_offset(page),
                    format!("the page map's word of its array {array}: written anew"),
                );
            }
            return self.keep(page, array_pages(array), Found::Array(array));
        }
        if entry == 0 {
            return self.without_word(page, limit);
        }
        if entry == NODES_ENTRY && self.nodes.as_ref().is_none_or(|nodes| nodes.contains(&page)) {
            return self.keep(page, 1, Found::Nodes);
        }
        if let Some(shape) = self.slab_at(page, limit) {
            return self.keep(page, shape.pages, Found::Slab(shape));
        }
        if let Some(pages) = self.log_run(page) {
            return self.body_end(page, limit.min(page.saturating_add(pages)));
        }
        match Run::of(entry) {
            Some(run) if kind(entry) == BLOCK => self.block(page, run, limit),
            _ => self.unknown(page, limit),
        }
    }

    /// Pages of the run at `page` that the log had.
    fn log_run(&self, page: Page) -> Option<u32> {
        let pages = log_pages(self.entry(page))?;
        let run = LogPlace { page, pages };
        let is_named =
            || self.header.logs_at().into_iter().any(|at| self.l.load(at).ok() == Some(run.word()));
        (run == self.log || is_named()).then_some(pages)
    }

    fn keep(&mut self, page: Page, pages: u32, found: Found) -> Page {
        self.survey.runs.push((page, pages, found));
        page + pages
    }

    /// Where what starts at `page` ends at last: before the next page that has a word.
    fn body_end(&self, page: Page, limit: Page) -> Page {
        (page + 1..limit)
            .find(|&page| self.entry(page) != 0 || self.survey.arrays.contains(&page))
            .unwrap_or(limit)
    }

    fn block(&mut self, page: Page, run: Run, limit: Page) -> Page {
        let to = u64::from(page) + u64::from(run.pages);
        let most = to.min(limit.into()) as Page;
        let end = (page + 1..most).find(|&page| self.is_start(page)).unwrap_or(most);
        if u64::from(end) == to {
            return self.keep(page, run.pages, Found::Block(run));
        }
        self.lose(
            page_offset(page),
            format!(
                "a block said to have {} pages, where there is room for {}: cut to that",
                run.pages,
                end - page
            ),
        );
        self.keep(page, end - page, Found::Block(Run { pages: end - page, slack: 0, ..run }))
    }

    /// Pages without a word: free, unless a sound tree does not have them.
    fn without_word(&mut self, page: Page, limit: Page) -> Page {
        if let Some(shape) = self.slab_at(page, limit) {
            self.lose(page_offset(page), "the page map's word of a slab: written anew");
            return self.keep(page, shape.pages, Found::Slab(shape));
        }
        let end = self.body_end(page, limit);
        let behind_the_end = self.header.end(self.l).is_ok_and(|end| page >= end);
        if self.free.is_none() || behind_the_end {
            return end;
        }
        self.unknown(page, limit)
    }

    /// Nobody vouches for these pages: kept as a block.
    fn unknown(&mut self, page: Page, limit: Page) -> Page {
        let end = self.body_end(page, limit);
        let pages = end - page;
        let what = format!(
            "the page map's word of {pages} pages: a block, slab or node page may be lost; kept as a block of {} bytes",
            page_offset(pages)
        );
        self.lose(page_offset(page), what);
        self.keep(page, pages, Found::Block(Run { pages, slack: 0, unlogged: false }))
    }

    /// The slab that starts at `page`, by its own first word and the words of its pages.
    fn slab_at(&self, page: Page, limit: Page) -> Option<&'static Shape> {
        if self.is_block(page) {
            return None;
        }
        let fits = |shape: &&'static Shape| {
            shape.pages <= limit - page
                && (page + 1..page + shape.pages).all(|other| !self.starts_other(page, other))
        };
        let by_map = |distance: Page| {
            self.slab_of(page + distance).filter(|&(first, _)| first == page).map(|(_, shape)| shape)
        };
        let own = self.slab_by_itself(page).filter(fits);
        let is_mapped = |shape: &&'static Shape| (0..shape.pages).any(|distance| by_map(distance).is_some());
        let most = (limit - page).min(64);
        own.filter(is_mapped)
            .or_else(|| (0..most).filter_map(by_map).find(fits))
            .or_else(|| own.filter(|shape| !is_empty(self.l, page, shape).unwrap_or(true)))
    }

    /// The shape that the first word of what may be a slab at `page` names, if its states are closed.
    fn slab_by_itself(&self, page: Page) -> Option<&'static Shape> {
        let head = self.l.load_unused(page_offset(page)).ok()?;
        let shape = Shape::of(head).filter(|shape| head & !LISTED == shape.head)?;
        let last = self.l.load(state_word_at(page, shape.words - 1)).ok()?;
        (last & padding(shape) == padding(shape)).then_some(shape)
    }

    /// The slab that the page map's word of a page leads to.
    fn slab_of(&self, page: Page) -> Option<(Page, &'static Shape)> {
        let entry = self.entry(page);
        if kind(entry) == SLAB { self.header.find_slab(entry, page) } else { None }
    }

    fn is_block(&self, page: Page) -> bool {
        let entry = self.entry(page);
        kind(entry) == BLOCK && Run::of(entry).is_some()
    }

    /// Whether `other`, inside of what may be a slab at `page`, belongs to something else.
    fn starts_other(&self, page: Page, other: Page) -> bool {
        match self.slab_of(other) {
            Some((first, shape)) => {
                first != page && self.slab_by_itself(first).is_some_and(|own| std::ptr::eq(own, shape))
            }
            None => self.is_start(other),
        }
    }

    /// Whether the page map's word of a page is one that a run starts with, or has inside.
    fn is_start(&self, page: Page) -> bool {
        self.entry(page) == NODES_ENTRY
            || self.survey.arrays.contains(&page)
            || self.log_run(page).is_some()
            || self.is_block(page)
            || self.slab_of(page).is_some()
    }

    /// Tells of what the page map describes up to page `described`, and the file does not have.
    fn tell_cut_off(&mut self, described: u64) {
        let to = described.min(Page::MAX.into()) as Page;
        let is_first = |page: Page| self.slab_of(page).is_some_and(|(first, _)| first == page);
        let lost = (self.limit..to).filter(|&page| self.is_block(page) || is_first(page)).count();
        if lost > 0 {
            let what =
                format!("the file ends here, before {lost} blocks and slabs of the heap: they are lost");
            self.lose(page_offset(self.limit), what);
        }
    }

    /// Gives up the arrays that no heap has that fits into the file, which was cut.
    fn drop_arrays(&mut self) {
        while u64::from(self.header.first) + self.least_pages() > u64::from(self.limit)
            && self.survey.arrays.len() > 1
        {
            self.survey.arrays.pop();
            let array = self.survey.arrays.len() as u32;
            self.survey.runs.retain(|run| !matches!(run.2, Found::Array(number) if number == array));
        }
    }

    /// Fewest pages of a heap that has as many arrays as there are.
    fn least_pages(&self) -> u64 {
        let arrays = self.survey.arrays.len() as u32;
        if arrays < 2 { 4 } else { super::map::pages_with(arrays - 2) + 1 }
    }

    /// Whether the header tells of runs that none of the arrays describes.
    fn lacks_array(&self) -> bool {
        let is_there = |end: &Page| *end <= self.limit;
        let end = self.header.end(self.l).ok().filter(is_there);
        let (counted, _) = self.l.load(self.header.runs_at()).map_or((0, 0), halves);
        end.is_some()
            && self.is_needed(self.survey.arrays.len() as u32)
            && counted as usize > self.survey.runs.len()
    }

    /// Where the heap ends: where its header says, if nothing lies behind and nothing before it is without reason.
    fn find_end(&mut self) -> Result<()> {
        if self.lacks_array() {
            return Err(self.array_lost(self.survey.arrays.len() as u32));
        }
        let said = self.header.end(self.l).ok().filter(|&end| self.may_end(end));
        self.survey.end = match said {
            Some(end) if end >= self.last_end() => end,
            _ => self.end_by_runs(said)?,
        };
        self.survey.punched =
            self.free.take().map(|free| free.into_iter().filter(|extent| extent.punched).collect());
        Ok(())
    }

    /// Where the last run ends.
    fn last_end(&self) -> Page {
        self.survey.runs.last().map_or(self.header.first, |&(page, pages, _)| page + pages)
    }

    /// Whether a heap with these arrays, in this file, may end there.
    fn may_end(&self, end: Page) -> bool {
        let last = last_array(u64::from(end - self.header.first));
        end <= self.limit && last.is_some_and(|last| last as usize + 1 == self.survey.arrays.len())
    }

    /// Where the heap ends if its last run is believed more than its header, or else the header's `said`.
    fn end_by_runs(&mut self, said: Option<Page>) -> Result<Page> {
        // As short as the arrays that there are allow.
        let end = u64::from(self.last_end()).max(u64::from(self.header.first) + self.least_pages());
        if let Some(end) = Page::try_from(end).ok().filter(|&end| self.may_end(end)) {
            self.lose(self.header.end_at(), "where the heap ends: found by its last run");
            return Ok(end);
        }
        let lost = Error::corrupt(self.header.end_at(), "the heap's end cannot be found");
        let (Some(end), Some((page, pages, Found::Block(run)))) = (said, self.survey.runs.last_mut()) else {
            return Err(lost);
        };
        if *page >= end {
            return Err(lost);
        }
        *pages = end - *page;
        *run = Run { pages: *pages, slack: 0, ..*run };
        let (at, pages) = (page_offset(*page), *pages);
        self.lose(at, format!("a block said to reach past the heap's end: cut to {pages} pages"));
        Ok(end)
    }
}

const _: () = assert!(PAGE == 4096);
