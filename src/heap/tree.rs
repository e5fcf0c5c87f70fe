//! The free tree: all free extents, by address, each with the longest extent below it.
//!
//! An AVL tree (Adelson-Velsky and Landis 1962) augmented with maxima, as in address-ordered first fit over a
//! Cartesian tree (Stephenson 1983). Finding the lowest extent that is long enough, joining a freed run with
//! its neighbours, and taking pages from an extent's front are O(log n).
//!
//! Nodes do not lie in the extents they describe, but in node pages, 128 to a page without a header:
//!
//! ```text
//! word  content
//! 0     first page u32 | number of pages u32
//! 1     pages of the longest extent of the subtree u32 | height of the subtree u8 | flags u8 | 0 u16
//!       flag 1: punched (file space of the extent may have been given back)
//! 2     left node (offset in the file; 0: none). In a spare node: the next spare one, nothing else counts
//! 3     right node
//! ```
//!
//! Invariants: extents neither overlap nor touch; heights of siblings differ by at most one; there are enough
//! spare nodes that a run can always be freed (see `runs`).

use super::header::{Header, halves, word_of};
use super::space::{Load, Space};
use crate::error::{Error, Result};
use crate::layout::{PAGE, Page, page_offset};

/// Bytes of a node.
pub(super) const NODE: u64 = 32;
/// Nodes in a node page.
pub(super) const NODES_PER_PAGE: u32 = 128;
/// An AVL tree of 2^32 nodes is at most 46 high.
pub(super) const HIGHEST: usize = 48;

pub(super) const PUNCHED: u64 = 1 << 40;
const LEFT: usize = 0;
const RIGHT: usize = 1;

/// A free range of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First page.
    pub(crate) page: Page,
    /// Number of pages.
    pub(crate) pages: u32,
    /// Whether its file space, or a part of it, may have been given back.
    pub(crate) punched: bool,
}

impl Extent {
    /// The page after the last one.
    pub(crate) const fn end(&self) -> Page {
        self.page + self.pages
    }
}

/// The second word of a node, without the flag. That of "no node" is all 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    pub(super) longest: u32,
    pub(super) height: u32,
}

impl Summary {
    pub(super) const fn of(word: u64) -> Self {
        Self { longest: word as u32, height: (word >> 32 & 0xFF) as u32 }
    }

    /// Of a node whose extent has `pages`, over these two subtrees.
    pub(super) fn over(pages: u32, kids: [Self; 2]) -> Self {
        let [left, right] = kids;
        Self {
            longest: pages.max(left.longest).max(right.longest),
            height: 1 + left.height.max(right.height),
        }
    }

    const fn word(self, flags: u64) -> u64 {
        word_of(self.longest, self.height) | flags
    }
}

/// A side of a node, the node below it there, and what that sums up to.
type Subtree = (usize, u64, Summary);

/// The nodes from the root down to some place in the tree. Long, so it is filled where it lies.
#[derive(Debug)]
pub(super) struct Path {
    nodes: [u64; HIGHEST],
    sides: [u8; HIGHEST],
    len: usize,
}

impl Path {
    pub(super) const fn new() -> Self {
        Self { nodes: [0; HIGHEST], sides: [0; HIGHEST], len: 0 }
    }

    #[inline(always)]
    fn push(&mut self, node: u64, side: usize) -> Result<()> {
        if self.len == HIGHEST {
            return Err(Error::corrupt(node, "the free tree is too high"));
        }
        self.nodes[self.len] = node;
        self.sides[self.len] = side as u8;
        self.len += 1;
        Ok(())
    }

    /// Places of the last nodes where the way turned right and left: what comes before and after its end.
    fn neighbours(&self) -> [Option<usize>; 2] {
        let last = |side: usize| (0..self.len).rev().find(|&place| usize::from(self.sides[place]) == side);
        [last(RIGHT), last(LEFT)]
    }

    fn node(&self, place: Option<usize>) -> Option<u64> {
        place.map(|place| self.nodes[place])
    }

    /// Makes it the way to the node at this place.
    fn cut(&mut self, place: usize) {
        self.len = place + 1;
    }

    fn last(&self) -> Option<u64> {
        self.len.checked_sub(1).map(|last| self.nodes[last])
    }
}

/// The free tree of a heap that ends at `end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    header: Header,
    end: Page,
}

impl Tree {
    pub(super) fn new(header: Header, end: Page) -> Self {
        Self { header, end }
    }

    pub(super) fn open<L: Load>(header: Header, l: &L) -> Result<Self> {
        Ok(Self::new(header, header.end(l)?))
    }

    /// The lowest extent of at least `pages`; `path` becomes the way to it.
    pub(super) fn first_fit<L: Load>(&self, l: &L, pages: u32, path: &mut Path) -> Result<Option<Extent>> {
        path.len = 0;
        let mut at = self.link(l, self.header.root_at())?;
        if self.summary(l, at)?.longest < pages {
            return Ok(None);
        }
        while at != 0 {
            let left = self.link(l, side_at(at, LEFT))?;
            if self.summary(l, left)?.longest >= pages {
                path.push(at, LEFT)?;
                at = left;
                continue;
            }
            path.push(at, RIGHT)?;
            if halves(l.load(at)?).1 >= pages {
                return self.extent(l, at).map(Some);
            }
            at = self.link(l, side_at(at, RIGHT))?;
        }
        Err(Error::corrupt(self.header.root_at(), "the free tree promises a longer extent than it has"))
    }

    /// The last extent that starts at or before `page`, and the first that starts after it.
    pub(super) fn around<L: Load>(&self, l: &L, page: Page) -> Result<(Option<Extent>, Option<Extent>)> {
        let mut path = Path::new();
        let found = self.descend(l, page, &mut path)?;
        let [before, after] = path.neighbours();
        // What starts at `page` is at the end of the path; what follows is below it, or the last turn to the left before.
        let (before, after) = match found {
            true => (path.last(), self.leftmost_after(l, &path, after)?),
            false => (path.node(before), path.node(after)),
        };
        let extent = |node: Option<u64>| node.map(|node| self.extent(l, node)).transpose();
        Ok((extent(before)?, extent(after)?))
    }

    /// The node that follows the one at the end of `path`: the leftmost of its right subtree, or that at place `after`.
    fn leftmost_after<L: Load>(&self, l: &L, path: &Path, after: Option<usize>) -> Result<Option<u64>> {
        let Some(node) = path.last() else { return Ok(None) };
        let mut at = self.link(l, side_at(node, RIGHT))?;
        if at == 0 {
            return Ok(path.node(after));
        }
        for _ in 0..HIGHEST {
            match self.link(l, side_at(at, LEFT))? {
                0 => return Ok(Some(at)),
                left => at = left,
            }
        }
        Err(Error::corrupt(at, "the free tree is too high"))
    }

    /// The extent that reaches to the heap's end.
    pub(super) fn tail<L: Load>(&self, l: &L) -> Result<Option<Extent>> {
        let (last, _) = self.around(l, Page::MAX)?;
        Ok(last.filter(|last| last.end() == self.end))
    }

    /// Takes `pages` from the front of the extent at the end of `path`.
    pub(super) fn take_front<S: Space>(
        &self,
        s: &mut S,
        extent: Extent,
        path: &mut Path,
        pages: u32,
    ) -> Result<()> {
        if extent.pages == pages {
            return self.remove(s, path);
        }
        let rest = Extent { page: extent.page + pages, pages: extent.pages - pages, ..extent };
        self.change(s, path, rest)
    }

    /// Takes `pages` from the front of the extent that starts at `extent.page`.
    pub(super) fn take_from<S: Space>(&self, s: &mut S, extent: Extent, pages: u32) -> Result<()> {
        let mut path = self.path_to(s, extent)?;
        self.take_front(s, extent, &mut path, pages)
    }

    /// Makes another extent of one, which may only come to lie between the same neighbours.
    pub(super) fn replace<S: Space>(&self, s: &mut S, old: Extent, new: Extent) -> Result<()> {
        let path = self.path_to(s, old)?;
        self.change(s, &path, new)
    }

    /// Removes an extent.
    pub(super) fn take_all<S: Space>(&self, s: &mut S, extent: Extent) -> Result<()> {
        let mut path = self.path_to(s, extent)?;
        self.remove(s, &mut path)
    }

    /// Adds free pages, and joins them with the extents that they touch.
    pub(super) fn add<S: Space>(&self, s: &mut S, new: Extent) -> Result<()> {
        let end = u64::from(new.page) + u64::from(new.pages);
        if new.page <= self.header.first || new.pages == 0 || end > u64::from(self.end) {
            return Err(Error::corrupt(page_offset(new.page), "a freed run lies outside the heap"));
        }
        let overlaps = || Error::corrupt(page_offset(new.page), "a freed run overlaps a free extent");
        let mut path = Path::new();
        if self.descend(s, new.page, &mut path)? {
            return Err(overlaps());
        }
        let mut touched = [None; 2];
        for (place, touched) in path.neighbours().into_iter().zip(&mut touched) {
            let Some(place) = place else { continue };
            let extent = self.extent(s, path.nodes[place])?;
            if extent.page < new.end() && new.page < extent.end() {
                return Err(overlaps());
            }
            if extent.end() == new.page || extent.page == new.end() {
                *touched = Some((place, extent));
            }
        }
        let joined = |with: Extent| Extent {
            page: with.page.min(new.page),
            pages: with.pages + new.pages,
            punched: with.punched || new.punched,
        };
        match touched {
            [None, None] => self.insert(s, &path, new),
            [Some((place, extent)), None] | [None, Some((place, extent))] => {
                path.cut(place);
                self.change(s, &path, joined(extent))
            }
            [Some((_, before)), Some((place, after))] => {
                path.cut(place);
                self.remove(s, &mut path)?;
                let joined = joined(before);
                let (pages, punched) = (joined.pages + after.pages, joined.punched || after.punched);
                self.replace(s, before, Extent { pages, punched, ..joined })
            }
        }
    }

    /// Puts the nodes of a new node page in front of the spare ones.
    pub(super) fn add_nodes<S: Space>(&self, s: &mut S, page: Page) -> Result<()> {
        let mut next = self.link(s, self.header.spare_at())?;
        for node in (0..NODES_PER_PAGE).rev() {
            let at = page_offset(page) + u64::from(node) * NODE;
            s.store(side_at(at, LEFT), next)?;
            next = at;
        }
        s.store(self.header.spare_at(), next)?;
        self.header.count_nodes(s, i64::from(NODES_PER_PAGE), 0)
    }

    /// Takes the nodes of a node page out of use, where others are spare for those in the tree.
    pub(super) fn remove_nodes<S: Space>(&self, s: &mut S, page: Page) -> Result<()> {
        let in_page = |node: u64| node / PAGE == u64::from(page);
        let (mut left, _) = halves(s.load(self.header.nodes_at())?);
        let mut spare = 0u128;
        let mut link_at = self.header.spare_at();
        let mut node = self.link(s, link_at)?;
        while node != 0 {
            let Some(fewer) = left.checked_sub(1) else {
                return Err(Error::corrupt(link_at, "there are more spare nodes than nodes in all"));
            };
            left = fewer;
            let next = self.link(s, side_at(node, LEFT))?;
            if in_page(node) {
                spare |= 1 << (node % PAGE / NODE);
                s.store(link_at, next)?;
            } else {
                link_at = side_at(node, LEFT);
            }
            node = next;
        }
        for place in (0..NODES_PER_PAGE).filter(|place| spare & 1 << place == 0) {
            self.move_node(s, page_offset(page) + u64::from(place) * NODE)?;
        }
        self.header.count_nodes(s, -i64::from(NODES_PER_PAGE), 0)
    }

    /// Puts a spare node in the place of one in the tree, which is lost.
    fn move_node<S: Space>(&self, s: &mut S, from: u64) -> Result<()> {
        let extent = self.extent(s, from)?;
        let path = self.path_to(s, extent)?;
        if path.last() != Some(from) {
            return Err(Error::corrupt(from, "a node is neither spare nor in the free tree"));
        }
        let to = self.spare(s)?;
        for word in (0..NODE).step_by(8) {
            let word_of_node = s.load(from + word)?;
            s.store(to + word, word_of_node)?;
        }
        self.attach(s, &path, path.len - 1, to)
    }

    /// Takes a spare node.
    fn spare<S: Space>(&self, s: &mut S) -> Result<u64> {
        let node = self.link(s, self.header.spare_at())?;
        if node == 0 {
            return Err(Error::corrupt(self.header.spare_at(), "the heap has run out of spare nodes"));
        }
        let next = self.link(s, side_at(node, LEFT))?;
        s.store(self.header.spare_at(), next)?;
        Ok(node)
    }

    /// Hangs a new node at the end of `path`.
    fn insert<S: Space>(&self, s: &mut S, path: &Path, new: Extent) -> Result<()> {
        let node = self.spare(s)?;
        self.header.count_nodes(s, 0, 1)?;
        s.store(node, word_of(new.page, new.pages))?;
        let summary = Summary { longest: new.pages, height: 1 };
        s.store(node + 8, summary.word(if new.punched { PUNCHED } else { 0 }))?;
        s.store(side_at(node, LEFT), 0)?;
        s.store(side_at(node, RIGHT), 0)?;
        self.attach(s, path, path.len, node)?;
        self.settle(s, path, usize::MAX)
    }

    /// Removes the node at the end of `path`.
    fn remove<S: Space>(&self, s: &mut S, path: &mut Path) -> Result<()> {
        let (place, node) = (path.len - 1, path.nodes[path.len - 1]);
        let left = self.link(s, side_at(node, LEFT))?;
        let right = self.link(s, side_at(node, RIGHT))?;
        let (gone, heir) = if left == 0 || right == 0 {
            path.len = place;
            (node, left | right)
        } else {
            // The next extent moves here, and its node goes.
            path.sides[place] = RIGHT as u8;
            let mut next = right;
            loop {
                let below = self.link(s, side_at(next, LEFT))?;
                if below == 0 {
                    break;
                }
                path.push(next, LEFT)?;
                next = below;
            }
            let moved = self.extent(s, next)?;
            let old = s.load(node + 8)? & !PUNCHED;
            s.store(node, word_of(moved.page, moved.pages))?;
            s.store(node + 8, old | if moved.punched { PUNCHED } else { 0 })?;
            (next, self.link(s, side_at(next, RIGHT))?)
        };
        self.attach(s, path, path.len, heir)?;
        let spare = s.load(self.header.spare_at())?;
        s.store(side_at(gone, LEFT), spare)?;
        s.store(self.header.spare_at(), gone)?;
        self.header.count_nodes(s, 0, -1)?;
        self.settle(s, path, place)
    }

    /// Writes another extent into the node at the end of `path`.
    fn change<S: Space>(&self, s: &mut S, path: &Path, new: Extent) -> Result<()> {
        let Some(node) = path.last() else {
            return Err(Error::corrupt(page_offset(new.page), "a free extent is not in the free tree"));
        };
        s.store(node, word_of(new.page, new.pages))?;
        let old = s.load(node + 8)?;
        let summary = old & !PUNCHED | if new.punched { PUNCHED } else { 0 };
        if summary != old {
            s.store(node + 8, summary)?;
        }
        self.settle(s, path, usize::MAX)
    }

    fn path_to<L: Load>(&self, l: &L, extent: Extent) -> Result<Path> {
        let mut path = Path::new();
        if !self.descend(l, extent.page, &mut path)? {
            return Err(Error::corrupt(page_offset(extent.page), "a free extent is not in the free tree"));
        }
        Ok(path)
    }

    /// Fills `path` with the way to the extent that starts at `page`, or to where it would hang; returns whether it is there.
    fn descend<L: Load>(&self, l: &L, page: Page, path: &mut Path) -> Result<bool> {
        path.len = 0;
        let mut at = self.link(l, self.header.root_at())?;
        while at != 0 {
            let (start, _) = halves(l.load(at)?);
            let side = if page < start { LEFT } else { RIGHT };
            path.push(at, side)?;
            if start == page {
                return Ok(true);
            }
            at = self.link(l, side_at(at, side))?;
        }
        Ok(false)
    }

    /// Hangs `node` below the first `len` nodes of `path`.
    fn attach<S: Space>(&self, s: &mut S, path: &Path, len: usize, node: u64) -> Result<()> {
        match len.checked_sub(1) {
            None => s.store(self.header.root_at(), node),
            Some(parent) => s.store(side_at(path.nodes[parent], path.sides[parent].into()), node),
        }
    }

    /// Balances and sums up the nodes of `path` from the last to the first. Stops where nothing changes any
    /// more, but not before place `changed`.
    fn settle<S: Space>(&self, s: &mut S, path: &Path, changed: usize) -> Result<()> {
        let mut below = None;
        for place in (0..path.len).rev() {
            let node = path.nodes[place];
            let (top, sum, same) = self.balance(s, node, below)?;
            if top != node {
                self.attach(s, path, place, top)?;
            }
            if same && place <= changed {
                break;
            }
            below = place.checked_sub(1).map(|above| (usize::from(path.sides[above]), top, sum));
        }
        Ok(())
    }

    /// Balances the subtree at `node`, whose own subtrees are in order; returns its new top, the summary of that, and whether it is the
    /// old one. `known`: one of its subtrees, as it is now.
    fn balance<S: Space>(
        &self,
        s: &mut S,
        node: u64,
        known: Option<Subtree>,
    ) -> Result<(u64, Summary, bool)> {
        let word = s.load(node + 8)?;
        let old = Summary::of(word);
        let (kids, sums) = match known {
            None => self.kids(s, node)?,
            Some((side, kid, sum)) => {
                let other = self.link(s, side_at(node, 1 - side))?;
                let (mut kids, mut sums) = ([other; 2], [self.summary(s, other)?; 2]);
                (kids[side], sums[side]) = (kid, sum);
                (kids, sums)
            }
        };
        let heavy = if sums[LEFT].height > sums[RIGHT].height + 1 {
            LEFT
        } else if sums[RIGHT].height > sums[LEFT].height + 1 {
            RIGHT
        } else {
            let sum = self.sum_up_over(s, node, word, sums)?;
            return Ok((node, sum, sum == old));
        };
        let light = 1 - heavy;
        let kid = self.some(kids[heavy], node)?;
        let (grandkids, sums) = self.kids(s, kid)?;
        let top = if sums[light].height > sums[heavy].height {
            let top = self.some(grandkids[light], kid)?;
            let (orphans, _) = self.kids(s, top)?;
            s.store(side_at(kid, light), orphans[heavy])?;
            s.store(side_at(node, heavy), orphans[light])?;
            s.store(side_at(top, heavy), kid)?;
            s.store(side_at(top, light), node)?;
            self.sum_up(s, kid)?;
            top
        } else {
            s.store(side_at(node, heavy), grandkids[light])?;
            s.store(side_at(kid, light), node)?;
            kid
        };
        self.sum_up(s, node)?;
        let sum = self.sum_up(s, top)?;
        Ok((top, sum, sum == old))
    }

    /// Brings the summary of `node` up to date.
    fn sum_up<S: Space>(&self, s: &mut S, node: u64) -> Result<Summary> {
        let (_, kids) = self.kids(s, node)?;
        let old = s.load(node + 8)?;
        self.sum_up_over(s, node, old, kids)
    }

    /// The same, where the summaries of its subtrees and its own word are known.
    #[inline(always)]
    fn sum_up_over<S: Space>(&self, s: &mut S, node: u64, old: u64, kids: [Summary; 2]) -> Result<Summary> {
        let (_, pages) = halves(s.load(node)?);
        let sum = Summary::over(pages, kids);
        if sum.height > HIGHEST as u32 {
            return Err(Error::corrupt(node + 8, "the free tree is too high"));
        }
        let new = sum.word(old & PUNCHED);
        if new != old {
            s.store(node + 8, new)?;
        }
        Ok(sum)
    }

    #[inline(always)]
    fn kids<L: Load>(&self, l: &L, node: u64) -> Result<([u64; 2], [Summary; 2])> {
        let kids = [self.link(l, side_at(node, LEFT))?, self.link(l, side_at(node, RIGHT))?];
        Ok((kids, [self.summary(l, kids[LEFT])?, self.summary(l, kids[RIGHT])?]))
    }

    fn some(&self, kid: u64, node: u64) -> Result<u64> {
        if kid == 0 {
            return Err(Error::corrupt(node, "the free tree counts a node that is not there"));
        }
        Ok(kid)
    }

    /// The node that the word at `at` names; 0 for none.
    #[inline(always)]
    pub(super) fn link<L: Load>(&self, l: &L, at: u64) -> Result<u64> {
        let node = l.load(at)?;
        let heap = page_offset(self.header.first) + 1..page_offset(self.end);
        if node != 0 && (!node.is_multiple_of(NODE) || !heap.contains(&node)) {
            return bad_link(at);
        }
        Ok(node)
    }

    #[inline(always)]
    fn summary<L: Load>(&self, l: &L, node: u64) -> Result<Summary> {
        if node == 0 { Ok(Summary::default()) } else { Ok(Summary::of(l.load(node + 8)?)) }
    }

    /// The extent of `node`.
    pub(super) fn extent<L: Load>(&self, l: &L, node: u64) -> Result<Extent> {
        let (page, pages) = halves(l.load(node)?);
        let end = u64::from(page) + u64::from(pages);
        if page <= self.header.first || pages == 0 || end > u64::from(self.end) {
            return Err(Error::corrupt(node, "a free extent lies outside the heap"));
        }
        Ok(Extent { page, pages, punched: l.load(node + 8)? & PUNCHED != 0 })
    }
}

#[cold]
#[inline(never)]
fn bad_link(at: u64) -> Result<u64> {
    Err(Error::corrupt(at, "a link of the free tree leads outside the heap"))
}

/// Where a node keeps its left or right link.
const fn side_at(node: u64, side: usize) -> u64 {
    node + 16 + 8 * side as u64
}

#[cfg(test)]
mod tests;
