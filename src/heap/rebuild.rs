//! Building a heap's metadata anew from what a survey found: header, page map, free tree, the slabs' first words and lists.
//!
//! Blocks stay where they are, with their bytes. Every word that the heap keeps about them is computed; those that differ from what is there
//! are handed to the caller, who stores them in one transaction.

use super::Heap;
use super::class::{CLASSES, Shape};
use super::header::{HEADER_WORDS, Header, word_of};
use super::map::{ARRAYS, HEADER_ENTRY, NODES_ENTRY, array_entry, array_pages};
use super::slab::{LISTED, Slot, links_at, padding, state_word_at};
use super::space::Load;
use super::survey::{Found, Loss, Survey};
use super::tree::{Extent, NODE, NODES_PER_PAGE, PUNCHED, Summary};
use crate::error::{Error, Result};
use crate::layout::{LogPlace, PAGE, Page, page_offset};
use std::collections::BTreeMap;

/// The words that have to change, and what was lost.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt {
    /// Offset and word, in order.
    pub(crate) words: BTreeMap<u64, u64>,
    pub(crate) losses: Vec<Loss>,
}

struct Builder<'a, L> {
    l: &'a L,
    header: Header,
    survey: Survey,
    words: BTreeMap<u64, u64>,
}

impl Heap {
    /// Computes the metadata of a heap in a file of `limit` pages from its page map and slabs; `log`: where the log lay, which is elsewhere by
    /// now. `Corrupt` if there is too little left of these.
    pub(crate) fn rebuild<L: Load>(&self, l: &L, limit: Page, log: LogPlace) -> Result<Rebuilt> {
        let survey = self.survey(l, limit, log)?;
        let mut builder = Builder { l, header: self.header, survey, words: BTreeMap::new() };
        let free = builder.extents_and_nodes()?;
        builder.page_map();
        let classes = builder.slabs();
        builder.header_words(&free, &classes);
        builder.tree(&free)?;
        let Builder { mut words, survey, .. } = builder;
        words.retain(|&at, word| l.load(at).ok() != Some(*word));
        Ok(Rebuilt { words, losses: survey.losses })
    }
}

fn unknown_length(slot: &Slot) -> Loss {
    let what = format!("the length of a block, at most {}: taken for that", slot.shape.size);
    Loss { offset: slot.offset(), what }
}

impl<L: Load> Builder<'_, L> {
    fn put(&mut self, at: u64, word: u64) {
        self.words.insert(at, word);
    }

    /// What lies between the runs, after as many node pages were taken from it as are needed.
    fn extents_and_nodes(&mut self) -> Result<Vec<Extent>> {
        let mut free = self.gaps();
        loop {
            let nodes = self.survey.runs.iter().filter(|run| matches!(run.2, Found::Nodes)).count() as u64;
            // As many as any number of further runs may need at once; see `runs`.
            let needed = self.survey.runs.len() as u64 + 1 + 2 + ARRAYS as u64 + 2;
            if nodes * u64::from(NODES_PER_PAGE) >= needed {
                return Ok(free);
            }
            let Some(extent) = free.first_mut() else {
                return Err(Error::corrupt(
                    self.header.nodes_at(),
                    "nodes of the free tree are lost, and no page is free for new ones",
                ));
            };
            let page = extent.page;
            (extent.page, extent.pages) = (page + 1, extent.pages - 1);
            free.retain(|extent| extent.pages > 0);
            let place = self.survey.runs.partition_point(|run| run.0 < page);
            self.survey.runs.insert(place, (page, 1, Found::Nodes));
        }
    }

    fn gaps(&self) -> Vec<Extent> {
        let mut free = Vec::new();
        let mut at = self.header.first;
        // In order, as the gaps are.
        let mut holes = self.survey.punched.as_deref();
        let ends = [(self.survey.end, 0, Found::Header)];
        for &(page, pages, _) in self.survey.runs.iter().chain(&ends) {
            if at < page {
                while let Some([hole, others @ ..]) = holes
                    && hole.end() <= at
                {
                    holes = Some(others);
                }
                let punched = holes.is_none_or(|holes| holes.first().is_some_and(|hole| hole.page < page));
                free.push(Extent { page: at, pages: page - at, punched });
            }
            at = page + pages;
        }
        free
    }

    fn page_map(&mut self) {
        let mut map = BTreeMap::new();
        for &(page, pages, found) in &self.survey.runs {
            let entry = match found {
                Found::Header => HEADER_ENTRY,
                Found::Array(array) => array_entry(array),
                Found::Nodes => NODES_ENTRY,
                Found::Block(run) => run.entry(),
                Found::Slab(shape) => {
                    for distance in 0..pages {
                        map.insert(page + distance, word_of(shape.entry, distance));
                    }
                    continue;
                }
            };
            map.insert(page, entry);
        }
        let mut page = u64::from(self.header.first);
        for array in 0..self.survey.arrays.len() {
            let at = page_offset(self.survey.arrays[array]);
            for word in 0..page_offset(array_pages(array as u32)) / 8 {
                let entry = Page::try_from(page).ok().and_then(|page| map.get(&page)).copied().unwrap_or(0);
                // Most words are right: only what differs is kept.
                if self.l.load(at + word * 8).ok() != Some(entry) {
                    self.put(at + word * 8, entry);
                }
                page += 1;
            }
        }
    }

    /// First words, states and lists of all slabs. Returns for each class its first partial slab and their number.
    fn slabs(&mut self) -> Vec<(Page, u32)> {
        let mut classes = vec![(0, 0); CLASSES];
        let mut partial: Vec<Vec<Page>> = vec![Vec::new(); CLASSES];
        let slabs: Vec<(Page, &'static Shape)> = self
            .survey
            .runs
            .iter()
            .filter_map(|run| if let Found::Slab(shape) = run.2 { Some((run.0, shape)) } else { None })
            .collect();
        for (slab, shape) in slabs {
            let used = self.states(slab, shape);
            let has_free = used < shape.slots;
            self.put(page_offset(slab), shape.head | if has_free { LISTED } else { 0 });
            self.put(links_at(slab), 0);
            classes[shape.class()].1 += 1;
            if has_free {
                partial[shape.class()].push(slab);
            }
        }
        for (class, slabs) in partial.iter().enumerate() {
            for (place, &slab) in slabs.iter().enumerate() {
                let previous = if place == 0 { 0 } else { slabs[place - 1] };
                let next = slabs.get(place + 1).copied().unwrap_or(0);
                self.put(links_at(slab), word_of(previous, next));
            }
            classes[class].0 = slabs.first().copied().unwrap_or(0);
        }
        classes
    }

    /// Mends a slab's states; returns how many of its slots are in use.
    fn states(&mut self, slab: Page, shape: &'static Shape) -> u32 {
        let mut used = 0;
        for word in 0..shape.words {
            let at = state_word_at(slab, word);
            let mut states = self.l.load(at).unwrap_or(0);
            if word + 1 == shape.words {
                states |= padding(shape);
            }
            let first = word * (64 >> shape.state_shift);
            for index in first..(first + (64 >> shape.state_shift)).min(shape.slots) {
                let slot = Slot { slab, shape, index };
                match slot.state_in(states) {
                    0 => continue,
                    state if state > u64::from(shape.size) + 1 => {
                        // That the slot is in use is told; how long its block is, is not.
                        let bit = (index << shape.state_shift) % 64;
                        states = states & !(shape.state_mask << bit) | 1 << bit;
                        self.survey.losses.push(unknown_length(&slot));
                    }
                    _ => {}
                }
                used += 1;
            }
            self.put(at, states);
        }
        used
    }

    fn header_words(&mut self, free: &[Extent], classes: &[(Page, u32)]) {
        let header = self.header;
        let first = page_offset(header.first);
        for at in header.logs_at().into_iter().chain((first + HEADER_WORDS * 8..first + PAGE).step_by(8)) {
            self.put(at, 0);
        }
        self.put(header.magic_at(), super::header::MAGIC);
        // Lost with a damaged word. That is no harm: whoever makes the heap longer has all reserved that the file has behind it.
        let punched = header.end_and_punched(self.l).map_or(0, |(_, punched)| punched);
        let behind = if punched > self.survey.end { punched } else { 0 };
        self.put(header.end_at(), word_of(self.survey.end, behind));
        let free_pages = free.iter().map(|extent| extent.pages).sum();
        self.put(header.runs_at(), word_of(self.survey.runs.len() as u32, free_pages));
        let node_pages = self.survey.runs.iter().filter(|run| matches!(run.2, Found::Nodes)).count() as u32;
        self.put(header.nodes_at(), word_of(node_pages * NODES_PER_PAGE, free.len() as u32));
        for array in 0..ARRAYS {
            let page = self.survey.arrays.get(array).copied().unwrap_or(0);
            self.put(header.array_at(array as u32), page.into());
        }
        for (class, &(first, count)) in classes.iter().enumerate() {
            self.put(header.class_at(class), word_of(first, count));
        }
    }

    /// The free tree, as flat as can be, in the first nodes; the others are spare.
    fn tree(&mut self, free: &[Extent]) -> Result<()> {
        let pages = self.survey.runs.iter().filter(|run| matches!(run.2, Found::Nodes)).map(|run| run.0);
        let per_page = u64::from(NODES_PER_PAGE);
        let nodes: Vec<u64> =
            pages.flat_map(|page| (0..per_page).map(move |node| page_offset(page) + node * NODE)).collect();
        let (tree, spare) = nodes.split_at_checked(free.len()).ok_or_else(|| {
            Error::corrupt(self.header.nodes_at(), "there are fewer nodes than free extents")
        })?;
        let root = self.subtree(free, tree).0;
        self.put(self.header.root_at(), root);
        self.put(self.header.spare_at(), spare.first().copied().unwrap_or(0));
        for (place, &node) in spare.iter().enumerate() {
            self.put(node + 16, spare.get(place + 1).copied().unwrap_or(0));
        }
        Ok(())
    }

    fn subtree(&mut self, free: &[Extent], nodes: &[u64]) -> (u64, Summary) {
        let middle = free.len() / 2;
        let (Some(extent), Some(&node)) = (free.get(middle), nodes.get(middle)) else {
            return (0, Summary::default());
        };
        let (left, left_sum) = self.subtree(&free[..middle], &nodes[..middle]);
        let (right, right_sum) = self.subtree(&free[middle + 1..], &nodes[middle + 1..]);
        let sum = Summary::over(extent.pages, [left_sum, right_sum]);
        self.put(node, word_of(extent.page, extent.pages));
        self.put(node + 8, word_of(sum.longest, sum.height) | if extent.punched { PUNCHED } else { 0 });
        self.put(node + 16, left);
        self.put(node + 24, right);
        (node, sum)
    }
}
