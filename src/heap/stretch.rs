//! Going through the heap's pages: what each stretch of them is used for, in order of address.
//!
//! A walk holds nothing between two steps but a page number, so it may go on after the heap has changed. It looks
//! for no damage: what makes no sense is a stretch of unknown use, and each step gets ahead by a page at least.

use super::Heap;
use super::header::Header;
use super::map::{ARRAY, ARRAYS, BLOCK, HEADER, LOG, NODES, Run, SLAB, array_pages, array_start, kind};
use super::slab::{is_listed, used_slots};
use super::space::Load;
use super::tree::Tree;
use crate::error::Result;
use crate::layout::{Page, page_offset};

/// What a stretch of pages is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A free extent; `punched`: a part of it may have no room on the disk.
    Free { punched: bool },
    /// One block of `len` bytes.
    Block { len: u64, unlogged: bool },
    /// A slab of `slots` slots of `size` bytes, `used` of which hold blocks.
    Slab { size: u32, slots: u32, used: u32 },
    /// Nodes of the free tree.
    Nodes,
    /// An array of the page map.
    Map,
    /// The heap's header.
    Header,
    /// A run that the log has.
    Log,
    /// Neither free nor the start of anything: the rest of a run that came here since the last step, or damage.
    Unknown,
}

/// Pages that are used as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) page: Page,
    pub(crate) pages: u32,
    pub(crate) used: Use,
}

impl Stretch {
    /// The page after the last one.
    pub(crate) const fn end(&self) -> Page {
        self.page + self.pages
    }
}

impl Heap {
    /// What the heap is used for from `page` on, or from its first page; `None` at its end. A few loads, O(log n) where
    /// the pages are free; of a slab all its states.
    pub(crate) fn next_stretch<L: Load>(&self, l: &L, page: Page) -> Result<Option<Stretch>> {
        self.header.next_stretch(l, page)
    }

    /// Where the page map is: for each of its arrays the first byte, the end, and the page that the first word is of.
    pub(crate) fn page_map_places<L: Load>(&self, l: &L) -> Result<Vec<(u64, u64, Page)>> {
        let mut places = Vec::new();
        for array in 0..ARRAYS as u32 {
            let page = self.header.array(l, array)?;
            let first = u64::from(self.header.first) + array_start(array);
            if page != 0
                && let Ok(first) = Page::try_from(first)
            {
                let at = page_offset(page);
                places.push((at, at + page_offset(array_pages(array)), first));
            }
        }
        Ok(places)
    }
}

impl Header {
    fn next_stretch<L: Load>(self, l: &L, page: Page) -> Result<Option<Stretch>> {
        let (page, end) = (page.max(self.first), self.end(l)?);
        if page >= end {
            return Ok(None);
        }
        let entry = self.entry(l, page)?;
        let pages = (entry >> 32) as u32;
        let (pages, used) = match kind(entry) {
            0 if entry == 0 => self.without_word(l, page, end)?,
            BLOCK => match Run::of(entry) {
                Some(run) => (run.pages, Use::Block { len: run.len(), unlogged: run.unlogged }),
                None => (1, Use::Unknown),
            },
            SLAB => self.slab_stretch(l, page, entry)?,
            NODES => (pages, Use::Nodes),
            ARRAY => (pages, Use::Map),
            HEADER => (pages, Use::Header),
            LOG => (pages, Use::Log),
            _ => (1, Use::Unknown),
        };
        Ok(Some(Stretch { page, pages: pages.clamp(1, end - page), used }))
    }

    fn slab_stretch<L: Load>(self, l: &L, page: Page, entry: u64) -> Result<(u32, Use)> {
        let Some((first, shape)) = self.find_slab(entry, page) else { return Ok((1, Use::Unknown)) };
        let rest = shape.pages - (page - first);
        let sound = is_listed(l.load(page_offset(first))?, shape, first).is_ok();
        if !sound || first != page {
            return Ok((rest, Use::Unknown));
        }
        let used = used_slots(l, first, shape)?;
        Ok((rest, Use::Slab { size: shape.size, slots: shape.slots, used }))
    }

    /// A stretch whose first page has no word in the page map: free, or inside of something.
    fn without_word<L: Load>(self, l: &L, page: Page, end: Page) -> Result<(u32, Use)> {
        let (before, after) = Tree::new(self, end).around(l, page)?;
        if let Some(free) = before.filter(|free| free.end() > page) {
            return Ok((free.end() - page, Use::Free { punched: free.punched }));
        }
        let limit = after.map_or(end, |after| after.page);
        let mut to = page + 1;
        while to < limit && self.entry(l, to)? == 0 {
            to += 1;
        }
        Ok((to - page, Use::Unknown))
    }
}
