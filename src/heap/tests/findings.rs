//! What the check says, and of which place.

use super::super::map::MOST_PAGES;
use super::*;

/// Offset and text of what is found when `word` is at `at`.
fn found(good: (&Mock, &Heap), at: u64, word: u64) -> Vec<(u64, String)> {
    let mut mock = good.0.clone();
    assert_ne!(mock.words[at as usize / 8], word);
    mock.words[at as usize / 8] = word;
    findings(good.1, &mock).1.into_iter().map(|finding| (finding.offset, finding.what)).collect()
}

#[test]
fn an_end_that_no_page_map_reaches() {
    let (mock, heap) = Mock::with_heap(FIRST, FIRST + 60, 400);
    let end_at = heap.header.end_at();
    let says_so = |pages: u64| {
        let all = found((&mock, &heap), end_at, u64::from(FIRST) + pages);
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].0 == end_at && all[0].1.contains("longer than a page map can describe")
    };
    assert!(says_so(MOST_PAGES + 1));
    assert!(says_so(u64::from(Page::MAX) - u64::from(FIRST)));
    // Only longer than the file.
    assert!(!says_so(MOST_PAGES));
    assert!(!says_so(5000));
}

#[test]
fn counts_that_are_wrong() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 400);
    heap.alloc(&mut mock, 5 * PAGE, PAGE).unwrap();
    mock.commit(&mut heap);
    let (runs_at, nodes_at) = (heap.header.runs_at(), heap.header.nodes_at());
    let (runs, nodes) = (mock.words[runs_at as usize / 8], mock.words[nodes_at as usize / 8]);
    for (at, word, place, text) in [
        (runs_at, runs + 1, runs_at, "used runs"),
        (runs_at, runs + (1 << 32), runs_at + 4, "free pages"),
        (nodes_at, nodes + 1, nodes_at, " nodes, there are"),
        (nodes_at, nodes + (1 << 32), nodes_at + 4, "free extents"),
    ] {
        let all = found((&mock, &heap), at, word);
        assert!(all.len() == 1 && all[0].0 == place && all[0].1.contains(text), "{text}: {all:?}");
    }
}

#[test]
fn a_node_that_says_what_is_not() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 4000);
    let runs: Vec<_> = (0..20).map(|_| heap.alloc(&mut mock, PAGE, PAGE).unwrap()).collect();
    mock.commit(&mut heap);
    for &run in runs.iter().step_by(2) {
        heap.free(&mut mock, run).unwrap();
    }
    mock.commit(&mut heap);
    let load = |at: u64| mock.words[at as usize / 8];
    let root = load(heap.header.root_at());
    let sum = load(root + 8);
    let has = |all: &[(u64, String)], at: u64, text: &str| {
        assert!(all.iter().any(|(offset, what)| *offset == at && what.contains(text)), "{text}: {all:?}");
    };
    has(&found((&mock, &heap), root + 8, sum + 1), root + 8, "sums up its subtree wrongly");
    has(&found((&mock, &heap), root + 8, sum | 1 << 60), root + 8, "a spare bit");
    for (link, side) in [(root + 16, "left"), (root + 24, "right")] {
        let all = found((&mock, &heap), link, 0);
        has(&all, root + 8, "out of balance");
        // Down there a link to where no node is.
        let all = found((&mock, &heap), load(link) + 16, page_offset(FIRST) + 96);
        has(&all, load(link) + 16, "there is no node");
        assert!(load(link) != 0, "{side}");
    }
}
