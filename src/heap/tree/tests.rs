//! The free tree alone, against an ordered map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::heap::mock::Mock;

const END: Page = 100_000;

/// A tree alone: a header, eight pages of nodes, no pages for the extents.
struct Alone {
    mock: Mock,
    tree: Tree,
    model: BTreeMap<Page, (u32, bool)>,
}

impl Alone {
    fn new() -> Self {
        let mut mock = Mock::new(10, 10);
        mock.words[512..1024].fill(0);
        let header = Header { first: 1 };
        header.set_end(&mut mock, END, 0).unwrap();
        let tree = Tree::open(header, &mock).unwrap();
        for page in 2..10 {
            tree.add_nodes(&mut mock, page).unwrap();
        }
        Self { mock, tree, model: BTreeMap::new() }
    }

    fn add(&mut self, page: Page, pages: u32, punched: bool) {
        let before = self.model.range(..=page).next_back().map(|(&at, &of)| (at, of));
        let after = self.model.range(page + 1..).next().map(|(&at, &of)| (at, of));
        let overlaps = before.is_some_and(|(at, (pages, _))| at + pages > page)
            || after.is_some_and(|(at, _)| at < page + pages);
        let result = self.tree.add(&mut self.mock, Extent { page, pages, punched });
        assert_eq!(result.is_err(), overlaps, "{result:?}");
        if overlaps {
            return;
        }
        let (mut start, mut end, mut mark) = (page, page + pages, punched);
        if let Some((at, (_, punched))) = before.filter(|&(at, (pages, _))| at + pages == page) {
            (start, mark) = (at, mark | punched);
        }
        if let Some((at, (pages, punched))) = after.filter(|&(at, _)| at == end) {
            self.model.remove(&at);
            (end, mark) = (end + pages, mark | punched);
        }
        self.model.insert(start, (end - start, mark));
    }

    fn take(&mut self, pages: u32) {
        let expected = self.model.iter().find(|(_, (len, _))| *len >= pages);
        let expected = expected.map(|(&page, &(pages, punched))| Extent { page, pages, punched });
        let mut path = Path::new();
        let fit = self.tree.first_fit(&self.mock, pages, &mut path).unwrap();
        assert_eq!(fit, expected);
        let Some(extent) = fit else { return };
        self.tree.take_front(&mut self.mock, extent, &mut path, pages).unwrap();
        self.model.remove(&extent.page);
        if extent.pages > pages {
            self.model.insert(extent.page + pages, (extent.pages - pages, extent.punched));
        }
    }

    /// The extents of a subtree in order; checks heights, balance and maxima.
    fn walk(&self, node: u64, found: &mut Vec<Extent>) -> Summary {
        if node == 0 {
            return Summary::default();
        }
        let (kids, sums) = self.tree.kids(&self.mock, node).unwrap();
        let left = self.walk(kids[LEFT], found);
        let extent = self.tree.extent(&self.mock, node).unwrap();
        found.push(extent);
        let right = self.walk(kids[RIGHT], found);
        assert_eq!([left, right], sums);
        assert!(left.height.abs_diff(right.height) <= 1);
        let sum = Summary::over(extent.pages, sums);
        assert_eq!(Summary::of(self.mock.load(node + 8).unwrap()), sum);
        sum
    }

    fn compare(&self, around: Page) {
        let mut found = Vec::new();
        let root = self.tree.link(&self.mock, self.tree.header.root_at()).unwrap();
        self.walk(root, &mut found);
        let extent = |(&page, &(pages, punched)): (&Page, &(u32, bool))| Extent { page, pages, punched };
        assert_eq!(found, self.model.iter().map(extent).collect::<Vec<_>>());
        let before = self.model.range(..=around).next_back().map(extent);
        let after = self.model.range(around + 1..).next().map(extent);
        assert_eq!(self.tree.around(&self.mock, around).unwrap(), (before, after));
        let (all, in_tree) = halves(self.mock.load(self.tree.header.nodes_at()).unwrap());
        assert_eq!(in_tree as usize, found.len());
        let mut spare = 0;
        let mut node = self.tree.link(&self.mock, self.tree.header.spare_at()).unwrap();
        while node != 0 {
            spare += 1;
            node = self.tree.link(&self.mock, side_at(node, LEFT)).unwrap();
        }
        assert_eq!(spare + in_tree, all);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_model(
        ops in prop::collection::vec((0..12u32, 2..1500u32, 1..6u32, any::<bool>()), 1..700),
    ) {
        let mut alone = Alone::new();
        for (count, &(op, page, pages, punched)) in ops.iter().enumerate() {
            match op {
                0..8 => alone.add(page, pages, punched),
                8..10 => alone.take(pages * 3 - 2),
                10 => {
                    let (Some(extent), _) = alone.tree.around(&alone.mock, page).unwrap() else { continue };
                    alone.tree.take_all(&mut alone.mock, extent).unwrap();
                    alone.model.remove(&extent.page);
                }
                _ => {
                    let (Some(old), _) = alone.tree.around(&alone.mock, page).unwrap() else { continue };
                    let pages = old.pages.div_ceil(2);
                        let new = Extent { page: old.end() - pages, pages, punched };
                    alone.tree.replace(&mut alone.mock, old, new).unwrap();
                    alone.model.remove(&old.page);
                    alone.model.insert(new.page, (new.pages, punched));
                }
            }
            if count % 8 == 0 {
                alone.compare(page);
            }
        }
        alone.compare(700);
    }
}

#[test]
fn stays_low_in_any_order() {
    type Order = fn(u32) -> u32;
    let orders: [Order; 4] =
        [|i| i, |i| 999 - i, |i| i * 7 % 1000, |i| if i % 2 == 0 { i / 2 } else { 999 - i / 2 }];
    for order in orders {
        let mut alone = Alone::new();
        for i in 0..1000 {
            alone.add(2 + order(i) * 3, 1 + order(i) % 2, false);
        }
        alone.compare(1500);
        let root = alone.tree.link(&alone.mock, alone.tree.header.root_at()).unwrap();
        assert!(alone.tree.summary(&alone.mock, root).unwrap().height <= 14);
        for i in 0..1000 {
            let (Some(extent), _) = alone.tree.around(&alone.mock, 2 + order(i) * 3).unwrap() else {
                panic!()
            };
            alone.tree.take_all(&mut alone.mock, extent).unwrap();
            alone.model.remove(&extent.page);
            if i % 100 == 50 {
                alone.compare(1500);
            }
        }
        assert!(alone.model.is_empty());
        alone.compare(5);
    }
}

#[test]
fn node_pages_can_be_emptied() {
    let mut alone = Alone::new();
    for i in 0..600 {
        alone.add(2 + i * 7 % 3000 * 2, 1, false);
    }
    for page in [5, 9, 2] {
        alone.tree.remove_nodes(&mut alone.mock, page).unwrap();
        alone.mock.words[page as usize * 512..][..512].fill(u64::MAX);
        alone.compare(1500);
    }
    while !alone.model.is_empty() {
        alone.take(1);
    }
    alone.compare(5);
}
