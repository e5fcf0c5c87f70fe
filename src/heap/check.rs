//! The check: superposes all that a heap says of itself, and reports every contradiction.
//!
//! Free tree and page map are gone through side by side in order of address, so that each page is found to be
//! exactly one thing: part of a free extent, of a block, a slab, the nodes, the page map, the header. Slabs
//! are checked as they come, lists and counts at the end.
//!
//! The check stops at nothing but an error of the file system, and damage cannot make it loop: each node is
//! visited once, and everything else goes upwards. Memory: 24 bytes for each node page, nothing for each
//! block or extent.

use super::Heap;
use super::class::{CLASSES, Shape};
use super::header::{HEADER_WORDS, halves, word_of};
use super::map::{
    ARRAY, ARRAYS, BLOCK, HEADER, HEADER_ENTRY, LOG, MOST_PAGES, NODES, NODES_ENTRY, Run, SLAB, array_entry,
    array_pages, array_start, kind, last_array, log_pages,
};
use super::slab::{Slot, is_listed, links_at, padding, state_word_at};
use super::space::Load;
use super::tree::{Extent, HIGHEST, NODE, NODES_PER_PAGE, Summary, Tree};
use crate::error::{Error, Result};
use crate::layout::{LogPlace, PAGE, Page, page_offset};

/// A contradiction in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where, in bytes from the start of the file.
    pub(crate) offset: u64,
    /// What is wrong there.
    pub(crate) what: String,
}

/// What a check counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Report {
    /// Contradictions found.
    pub(crate) findings: u64,
    /// Live blocks.
    pub(crate) blocks: u64,
    /// Sum of their lengths in bytes, as asked for.
    pub(crate) block_bytes: u64,
    /// Bytes lost to rounding up to size classes and pages.
    pub(crate) slack_bytes: u64,
    /// Slabs.
    pub(crate) slabs: u64,
    /// Bytes in free slots.
    pub(crate) free_slot_bytes: u64,
    /// Free extents.
    pub(crate) extents: u64,
    /// Pages in them.
    pub(crate) free_pages: u64,
    /// Pages of header, nodes and page map.
    pub(crate) metadata_pages: u64,
    /// Runs in use, metadata included.
    pub(crate) runs: u64,
}

struct Checker<'a, L> {
    l: &'a L,
    heap: &'a Heap,
    tree: Tree,
    end: Page,
    /// Runs freed by the transaction that is looked at.
    pending: &'a [(Page, u32)],
    found: &'a mut dyn FnMut(Finding),
    report: Report,
    /// Arrays of the page map; `None` if there is none to be read.
    arrays: [Option<Page>; ARRAYS],
    /// Runs of the log.
    logs: [LogPlace; 2],
    /// Node pages in order, with a bit for each node that was seen.
    nodes: Vec<(Page, u128)>,
    /// Slabs of each class, and those with a free slot.
    slabs: [(u32, u32); CLASSES],
    /// Everything before this page has been accounted for.
    reached: Page,
    /// Where the last free extent ended.
    free_to: Page,
}

impl Heap {
    /// Checks the whole heap, in time proportional to its pages and slots, and calls `found` for each
    /// contradiction.
    ///
    /// `pending`: the runs, in order of address, that the transaction behind `l` has freed and not yet joined
    /// to the free tree; none in a committed state. Fails only if `l` fails with something else than
    /// `Corrupt`.
    pub(crate) fn check<L: Load>(
        &self,
        l: &L,
        pending: &[(Page, u32)],
        found: &mut dyn FnMut(Finding),
    ) -> Result<Report> {
        let mut checker = Checker {
            l,
            heap: self,
            tree: Tree::new(self.header, 0),
            end: 0,
            pending,
            found,
            report: Report::default(),
            arrays: [None; ARRAYS],
            logs: [LogPlace::FIRST; 2],
            nodes: Vec::new(),
            slabs: [(0, 0); CLASSES],
            reached: self.header.first,
            free_to: 0,
        };
        checker.run()?;
        Ok(checker.report)
    }
}

impl<L: Load> Checker<'_, L> {
    fn run(&mut self) -> Result<()> {
        let header = self.heap.header;
        let magic = header.check_magic(self.l);
        self.told(magic)?;
        let end = header.end(self.l);
        let Some(end) = self.told(end)? else { return Ok(()) };
        if u64::from(end - header.first) > MOST_PAGES {
            self.find(header.end_at(), "the heap is longer than a page map can describe");
            return Ok(());
        }
        // Whether it is there: what is free at the end may be a hole.
        let last = self.l.load_unused(page_offset(end) - 8);
        if self.told(last)?.is_none() {
            return Ok(());
        }
        (self.end, self.tree) = (end, Tree::new(header, end));
        for word in HEADER_WORDS..PAGE / 8 {
            let at = page_offset(header.first) + word * 8;
            if self.word(at)?.is_some_and(|word| word != 0) {
                self.find(at, "a spare word of the heap's header is not 0");
            }
        }
        self.find_arrays()?;
        self.find_logs()?;
        self.find_nodes()?;
        let root = self.tree.link(self.l, header.root_at());
        if let Some(root) = self.told(root)? {
            self.subtree(root, header.root_at(), 0)?;
        }
        self.used_up_to(end)?;
        self.past_the_end()?;
        for class in 0..CLASSES {
            self.class_list(class)?;
        }
        self.spare_nodes()?;
        self.counts()
    }

    /// Compares the header's counts with what was found.
    fn counts(&mut self) -> Result<()> {
        let header = self.heap.header;
        let runs_at = header.runs_at();
        if let Some(word) = self.word(runs_at)? {
            let (runs, free) = halves(word);
            let (found_runs, found_free) = (self.report.runs, self.report.free_pages);
            if u64::from(runs) != found_runs {
                self.find(runs_at, format!("the header counts {runs} used runs, there are {found_runs}"));
            }
            if u64::from(free) != found_free {
                self.find(
                    runs_at + 4,
                    format!("the header counts {free} free pages, there are {found_free}"),
                );
            }
        }
        let nodes_at = header.nodes_at();
        if let Some(word) = self.word(nodes_at)? {
            let (all, in_tree) = halves(word);
            let (there, extents) = (self.nodes.len() as u64 * u64::from(NODES_PER_PAGE), self.report.extents);
            if u64::from(all) != there {
                self.find(nodes_at, format!("the header counts {all} nodes, there are {there}"));
            }
            if u64::from(in_tree) != extents {
                let what = format!("the header counts {in_tree} free extents, there are {extents}");
                self.find(nodes_at + 4, what);
            }
            if there < self.report.runs + 2 {
                self.find(nodes_at, "there are too few nodes for all runs to be freed");
            }
        }
        Ok(())
    }

    fn find(&mut self, offset: u64, what: impl Into<String>) {
        self.report.findings += 1;
        (self.found)(Finding { offset, what: what.into() });
    }

    /// Turns `Corrupt` into a finding.
    fn told<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Corrupt { offset, what }) => {
                self.find(offset, what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn word(&mut self, at: u64) -> Result<Option<u64>> {
        let word = self.l.load(at);
        self.told(word)
    }

    /// Notes which arrays of the page map can be read.
    fn find_arrays(&mut self) -> Result<()> {
        let header = self.heap.header;
        let last = last_array(u64::from(self.end - header.first)).unwrap_or(0);
        for array in 0..ARRAYS as u32 {
            let at = header.array_at(array);
            let page = header.array(self.l, array);
            let Some(page) = self.told(page)? else { continue };
            if array > last {
                if page != 0 {
                    self.find(at, format!("page-map array {array} is not needed for so short a heap"));
                }
            } else if page == 0 || u64::from(page) + u64::from(array_pages(array)) > u64::from(self.end) {
                self.find(at, format!("page-map array {array} is missing, or lies outside the heap"));
            } else {
                self.arrays[array as usize] = Some(page);
            }
        }
        for array in 0..=last {
            if let Some(page) = self.arrays[array as usize]
                && self.entry(page)?.is_some_and(|entry| entry != array_entry(array))
            {
                let what = format!("the page map does not say that array {array} of it lies at page {page}");
                self.find(header.array_at(array), what);
            }
        }
        Ok(())
    }

    /// The page map's word of a page; `None` if it cannot be read.
    fn entry(&mut self, page: Page) -> Result<Option<u64>> {
        let (array, at) = self.heap.header.array_of(page);
        match self.arrays[array as usize] {
            Some(start) => self.word(page_offset(start) + at),
            None => Ok(None),
        }
    }

    /// The page after the array that describes `page`, or the end.
    fn array_end(&self, page: Page) -> Page {
        let header = self.heap.header;
        let (array, _) = header.array_of(page);
        (u64::from(header.first) + array_start(array + 1)).min(self.end.into()) as Page
    }

    /// Notes the runs of the log, which the page map has to have as such.
    fn find_logs(&mut self) -> Result<()> {
        for (index, at) in self.heap.header.logs_at().into_iter().enumerate() {
            let Some(word) = self.word(at)?.filter(|&word| word != 0) else { continue };
            let run = LogPlace::of_word(word);
            let is_there = self.heap.is_log_run(self.l, run);
            if self.told(is_there)? == Some(true) && self.logs[0] != run {
                self.logs[index] = run;
            } else {
                self.find(at, format!("the page map has no run of the log at page {}", run.page));
            }
        }
        Ok(())
    }

    fn find_nodes(&mut self) -> Result<()> {
        let mut page = self.heap.header.first;
        while page < self.end {
            if self.arrays[self.heap.header.array_of(page).0 as usize].is_none() {
                page = self.array_end(page);
                continue;
            }
            if self.entry(page)?.is_some_and(|entry| kind(entry) == NODES) {
                self.nodes.push((page, 0));
            }
            page += 1;
        }
        Ok(())
    }

    /// Notes that a node is in use. False, with a finding, if it is no node, or was in use before.
    fn see_node(&mut self, node: u64, link_at: u64) -> bool {
        let page = (node / PAGE) as Page;
        let Ok(place) = self.nodes.binary_search_by_key(&page, |&(page, _)| page) else {
            self.find(link_at, format!("a link leads to {node:#x}, where there is no node"));
            return false;
        };
        let bit = 1 << (node % PAGE / NODE);
        let seen = &mut self.nodes[place].1;
        let new = *seen & bit == 0;
        *seen |= bit;
        if !new {
            self.find(link_at, format!("the node at {node:#x} is used twice"));
        }
        new
    }

    /// Goes through a subtree in order.
    fn subtree(&mut self, node: u64, link_at: u64, depth: usize) -> Result<Summary> {
        if node == 0 || !self.see_node(node, link_at) {
            return Ok(Summary::default());
        }
        if depth == HIGHEST {
            self.find(node, "the free tree is too high");
            return Ok(Summary::default());
        }
        let left = self.tree.link(self.l, node + 16);
        let left = match self.told(left)? {
            Some(left) => self.subtree(left, node + 16, depth + 1)?,
            None => Summary::default(),
        };
        let extent = self.tree.extent(self.l, node);
        let extent = self.told(extent)?;
        if let Some(extent) = extent {
            self.extent(extent, node)?;
        }
        let right = self.tree.link(self.l, node + 24);
        let right = match self.told(right)? {
            Some(right) => self.subtree(right, node + 24, depth + 1)?,
            None => Summary::default(),
        };
        let sum = Summary::over(extent.map_or(0, |extent| extent.pages), [left, right]);
        if left.height.abs_diff(right.height) > 1 {
            self.find(node + 8, "the free tree is out of balance");
        }
        if let Some(word) = self.word(node + 8)? {
            if Summary::of(word) != sum {
                self.find(node + 8, "a node sums up its subtree wrongly");
            }
            if word >> 41 != 0 {
                self.find(node + 8, "a spare bit of a node is not 0");
            }
        }
        Ok(sum)
    }

    /// The next free extent in order.
    fn extent(&mut self, extent: Extent, node: u64) -> Result<()> {
        self.report.extents += 1;
        if extent.page < self.reached {
            self.find(node, format!("the free extent at page {} overlaps what lies before it", extent.page));
            return Ok(());
        }
        if extent.page == self.free_to {
            self.find(
                node,
                format!("the free extent at page {} was not joined with the one before", extent.page),
            );
        }
        self.used_up_to(extent.page)?;
        self.report.free_pages += u64::from(extent.pages);
        self.reached = extent.end();
        self.free_to = extent.end();
        self.unused(extent.page, extent.end(), "is free")
    }

    /// Pages that must have no entry.
    fn unused(&mut self, from: Page, to: Page, but: &str) -> Result<()> {
        for page in from..to {
            if self.entry(page)?.is_some_and(|entry| entry != 0) {
                self.find(page_offset(page), format!("page {page} {but}, but has a word in the page map"));
            }
        }
        Ok(())
    }

    /// Goes through the pages up to `to`, which are not free: each has to belong to a run.
    fn used_up_to(&mut self, to: Page) -> Result<()> {
        let first = self.heap.header.first;
        while self.reached < to {
            let page = self.reached;
            if self.arrays[self.heap.header.array_of(page).0 as usize].is_none() {
                self.reached = self.array_end(page).min(to);
                continue;
            }
            if let Some(pages) = self.pending_at(page) {
                self.report.runs += 1;
                self.reached = self.run_end(page, pages, to);
                self.unused(page, self.reached, "was freed")?;
                continue;
            }
            let entry = self.entry(page)?.unwrap_or(0);
            if page == first && entry != HEADER_ENTRY {
                self.find(
                    page_offset(page),
                    "the page map does not say that the heap starts with its header",
                );
            }
            match kind(entry) {
                0 => self.belongs_to_nothing(to)?,
                SLAB => self.slab(page, entry, to)?,
                _ => {
                    let pages = self.run_pages(page, entry)?;
                    self.report.runs += 1;
                    let end = self.run_end(page, pages, to);
                    self.reached = self.body_end(page, end)?;
                }
            }
        }
        Ok(())
    }

    fn pending_at(&self, page: Page) -> Option<u32> {
        let place = self.pending.binary_search_by_key(&page, |&(page, _)| page).ok()?;
        Some(self.pending[place].1)
    }

    /// The end of a run, which must not be past `to`.
    fn run_end(&mut self, page: Page, pages: u32, to: Page) -> Page {
        let end = u64::from(page) + u64::from(pages);
        if end > u64::from(to) {
            self.find(
                page_offset(page),
                format!("the run at page {page} reaches past page {to}, where it has to end"),
            );
        }
        end.min(to.into()).max(u64::from(page) + 1) as Page
    }

    /// Pages of a run that is no slab; counts it.
    fn run_pages(&mut self, page: Page, entry: u64) -> Result<u32> {
        let good = match kind(entry) {
            BLOCK => {
                let Some(run) = Run::of(entry) else {
                    self.find(page_offset(page), "the page map's word of a block contradicts itself");
                    return Ok(1);
                };
                self.report.blocks += 1;
                self.report.block_bytes += run.len();
                self.report.slack_bytes += run.slack;
                return Ok(run.pages);
            }
            NODES => entry == NODES_ENTRY,
            HEADER => entry == HEADER_ENTRY && page == self.heap.header.first,
            LOG => log_pages(entry).is_some_and(|pages| self.logs.contains(&LogPlace { page, pages })),
            ARRAY => {
                let array = entry >> 8 & 0xFF;
                array < ARRAYS as u64
                    && entry == array_entry(array as u32)
                    && self.arrays[array as usize] == Some(page)
            }
            _ => false,
        };
        if !good {
            self.find(page_offset(page), format!("the page map's word of page {page}, {entry:#x}, is wrong"));
            return Ok(1);
        }
        let pages = (entry >> 32) as u32;
        self.report.metadata_pages += u64::from(pages);
        Ok(pages)
    }

    /// The end of a run whose pages but the first must have no word: where one has, something else starts.
    fn body_end(&mut self, head: Page, end: Page) -> Result<Page> {
        for page in head + 1..end {
            if self.entry(page)?.is_some_and(|entry| entry != 0) {
                let what =
                    format!("page {page} is inside the run at page {head}, but has a word in the page map");
                self.find(page_offset(page), what);
                return Ok(page);
            }
        }
        Ok(end)
    }

    fn belongs_to_nothing(&mut self, to: Page) -> Result<()> {
        let from = self.reached;
        loop {
            self.reached += 1;
            if self.reached == to
                || self.pending_at(self.reached).is_some()
                || self.entry(self.reached)? != Some(0)
            {
                break;
            }
        }
        let (count, to) = (self.reached - from, self.reached);
        self.find(page_offset(from), format!("{count} pages, {from}..{to}, are neither free nor in use"));
        Ok(())
    }

    fn slab(&mut self, page: Page, entry: u64, to: Page) -> Result<()> {
        self.reached = page + 1;
        let slab = self.heap.header.slab_of(entry, page);
        let Some((first, shape)) = self.told(slab)? else { return Ok(()) };
        if first != page {
            self.find(
                page_offset(page),
                format!("page {page} belongs to a slab that does not start at {first}"),
            );
            return Ok(());
        }
        self.report.runs += 1;
        self.report.slabs += 1;
        self.slabs[shape.class()].0 += 1;
        self.reached = self.run_end(page, shape.pages, to);
        for other in page + 1..self.reached {
            let expected = word_of(shape.entry, other - page);
            if self.entry(other)?.is_some_and(|entry| entry != expected) {
                let what =
                    format!("the page map does not say that page {other} belongs to the slab at {page}");
                self.find(page_offset(other), what);
            }
        }
        if self.reached - page == shape.pages { self.slab_content(page, shape) } else { Ok(()) }
    }

    fn slab_content(&mut self, slab: Page, shape: &'static Shape) -> Result<()> {
        let mut states = 0;
        let mut used = 0;
        for index in 0..shape.slots {
            let slot = Slot { slab, shape, index };
            if index.is_multiple_of(64 >> shape.state_shift) {
                match self.word(slot.state_at())? {
                    Some(word) => states = word,
                    None => return Ok(()),
                }
            }
            let state = slot.state_in(states);
            if state == 0 {
                self.report.free_slot_bytes += u64::from(shape.size);
                continue;
            }
            used += 1;
            let block = slot.block(state);
            if let Some(block) = self.told(block)? {
                self.report.blocks += 1;
                self.report.block_bytes += block.len;
                self.report.slack_bytes += block.capacity - block.len;
            }
        }
        if states & padding(shape) != padding(shape) {
            self.find(state_word_at(slab, shape.words - 1), "a slab's state array is not closed");
        }
        let Some(head) = self.word(page_offset(slab))? else { return Ok(()) };
        let listed = is_listed(head, shape, slab);
        let Some(listed) = self.told(listed)? else { return Ok(()) };
        if listed {
            self.slabs[shape.class()].1 += 1;
        } else {
            if used < shape.slots {
                self.find(page_offset(slab), "a slab with free slots is not in its class's list");
            }
            if self.word(links_at(slab))?.is_some_and(|links| links != 0) {
                self.find(links_at(slab), "a slab that is not in its class's list has links");
            }
        }
        Ok(())
    }

    /// Words of the page map past the heap's end.
    fn past_the_end(&mut self) -> Result<()> {
        let header = self.heap.header;
        let size = u64::from(self.end - header.first);
        let covered = last_array(size).map_or(size, |last| array_start(last + 1));
        let to = (u64::from(header.first) + covered).min(Page::MAX.into()) as Page;
        for page in self.end..to {
            if self.entry(page)?.is_some_and(|entry| entry != 0) {
                let (array, at) = header.array_of(page);
                let at = self.arrays[array as usize].map_or(0, page_offset) + at;
                self.find(at, format!("page {page} is past the heap's end, but has a word in the page map"));
            }
        }
        Ok(())
    }

    /// Follows a class's list of slabs. Each link back is compared with the way there, so there is no
    /// going round.
    fn class_list(&mut self, class: usize) -> Result<()> {
        let class_at = self.heap.header.class_at(class);
        let Some(word) = self.word(class_at)? else { return Ok(()) };
        let (first, count) = halves(word);
        let (slabs, say_so) = self.slabs[class];
        if count != slabs {
            self.find(class_at + 4, format!("class {class} counts {count} slabs and has {slabs}"));
        }
        let (mut before, mut slab, mut listed) = (0, first, 0);
        while slab != 0 {
            let found = self.heap.listed_slab(self.l, slab, class);
            if self.told(found)?.is_none() {
                return Ok(());
            }
            let Some(links) = self.word(links_at(slab))? else { return Ok(()) };
            let (previous, next) = halves(links);
            if previous != before {
                self.find(links_at(slab), "a slab's link back does not lead back");
                return Ok(());
            }
            listed += 1;
            (before, slab) = (slab, next);
        }
        if listed != say_so {
            self.find(class_at, format!("class {class} lists {listed} slabs, of {say_so} that say so"));
        }
        Ok(())
    }

    fn spare_nodes(&mut self) -> Result<()> {
        let mut link_at = self.heap.header.spare_at();
        loop {
            let node = self.tree.link(self.l, link_at);
            let Some(node) = self.told(node)? else { break };
            if node == 0 || !self.see_node(node, link_at) {
                break;
            }
            link_at = node + 16;
        }
        for place in 0..self.nodes.len() {
            let (page, seen) = self.nodes[place];
            if seen.count_zeros() > 0 {
                let lost = seen.count_zeros();
                let what = format!("{lost} nodes of page {page} are neither in the free tree nor spare");
                self.find(page_offset(page), what);
            }
        }
        Ok(())
    }
}
