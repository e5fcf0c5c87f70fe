//! Going through a heap's pages.

use super::super::map::{array_pages, array_start};
use super::super::stretch::Use;
use super::*;

#[test]
fn each_page_belongs_to_one_stretch() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 400);
    let run = heap.alloc(&mut mock, 5 * PAGE - 9, PAGE).unwrap();
    let gap = heap.alloc(&mut mock, 4 * PAGE, PAGE).unwrap();
    let unlogged = heap.alloc_unlogged(&mut mock, 2 * PAGE).unwrap();
    let slot = heap.alloc(&mut mock, 5000, 8).unwrap();
    heap.alloc(&mut mock, 5000, 8).unwrap();
    mock.commit(&mut heap);
    heap.free(&mut mock, gap).unwrap();
    mock.commit(&mut heap);
    let page = |offset: u64| (offset / PAGE) as Page;
    let at = |page: Page| heap.next_stretch(&mock, page).unwrap().unwrap();
    let (end, first) = (heap.open(&mock).unwrap(), at(0));
    assert_eq!((first.page, first.pages, first.used), (FIRST, 1, Use::Header));
    let map = at(FIRST + 1);
    assert_eq!((map.pages, map.used), (array_pages(0), Use::Map));
    assert_eq!((at(map.end()).pages, at(map.end()).used), (1, Use::Nodes));

    let block = at(page(run));
    assert_eq!((block.pages, block.used), (5, Use::Block { len: 5 * PAGE - 9, unlogged: false }));
    let inside = at(page(run) + 2);
    assert_eq!((inside.page, inside.pages, inside.used), (page(run) + 2, 3, Use::Unknown));
    let free = at(page(gap));
    assert_eq!((free.pages, free.used), (4, Use::Free { punched: false }));
    assert_eq!((at(page(gap) + 3).pages, at(page(gap) + 3).used), (1, Use::Free { punched: false }));
    assert_eq!(at(page(unlogged)).used, Use::Block { len: 2 * PAGE, unlogged: true });
    // The last page of a block that a free extent follows, or another block.
    assert_eq!((at(page(run) + 4).pages, at(page(run) + 4).used), (1, Use::Unknown));
    assert_eq!((at(page(unlogged) + 1).pages, at(page(unlogged) + 1).used), (1, Use::Unknown));

    let mut slab = page(slot);
    while !matches!(at(slab).used, Use::Slab { .. }) {
        slab -= 1;
    }
    let Use::Slab { size, slots, used } = at(slab).used else { unreachable!() };
    assert!(size >= 5000 && slots > 2 && used == 2);
    assert!(at(slab).pages > 2);
    let rest = at(slab + 2);
    assert_eq!((rest.pages, rest.used), (at(slab).pages - 2, Use::Unknown));

    let (mut next, mut pages) = (0, 0);
    while let Some(stretch) = heap.next_stretch(&mock, next).unwrap() {
        pages += stretch.pages;
        next = stretch.end();
    }
    assert_eq!((next, pages), (end, end - FIRST));
    assert_eq!(heap.next_stretch(&mock, end).unwrap(), None);
}

#[test]
fn the_page_map_is_where_its_words_are() {
    let (mock, heap) = Mock::with_heap(FIRST, FIRST + 1300, 4000);
    let places = heap.page_map_places(&mock).unwrap();
    assert!(places.len() > 1, "{places:?}");
    for (array, &(start, end, first)) in places.iter().enumerate() {
        assert_eq!(end - start, page_offset(array_pages(array as u32)));
        assert_eq!(u64::from(first), u64::from(FIRST) + array_start(array as u32));
        for page in [first, first + 1, first + 100] {
            assert_eq!(heap.header.entry_at(&mock, page).unwrap(), start + u64::from(page - first) * 8);
        }
    }
}

/// Slabs of all kinds of state arrays, filled and emptied.
#[test]
fn used_slots_are_counted() {
    for len in [0, 8, 24, 100, 240, 300, 1000, 5000] {
        let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 4000);
        let used = |heap: &Heap, mock: &Mock| {
            let (mut used, mut page) = (0, 0);
            while let Some(stretch) = heap.next_stretch(mock, page).unwrap() {
                page = stretch.end();
                if let Use::Slab { used: here, slots, .. } = stretch.used {
                    assert!(here <= slots);
                    used += here;
                }
            }
            used
        };
        let mut blocks = Vec::new();
        for n in 1..=300 {
            blocks.push(heap.alloc(&mut mock, len, 8).unwrap());
            assert_eq!(used(&heap, &mock), n, "{len}");
        }
        mock.commit(&mut heap);
        blocks.sort_by_key(|block| block.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for (n, block) in blocks.into_iter().enumerate() {
            heap.free(&mut mock, block).unwrap();
            assert_eq!(used(&heap, &mock), 299 - n as u32, "{len}");
        }
    }
}

#[test]
fn figures_are_those_of_the_heap() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 4000);
    let runs: Vec<_> = (0..600).map(|_| heap.alloc(&mut mock, PAGE, PAGE).unwrap()).collect();
    let long = heap.alloc(&mut mock, 30 * PAGE, PAGE).unwrap();
    heap.alloc(&mut mock, PAGE, PAGE).unwrap();
    heap.alloc(&mut mock, 24, 8).unwrap();
    mock.commit(&mut heap);
    for &run in runs.iter().step_by(2).chain(&[long]) {
        heap.free(&mut mock, run).unwrap();
    }
    mock.commit(&mut heap);
    let stats = heap.stats(&mock).unwrap();
    let (mut free, mut longest, mut extents, mut nodes, mut slabs, mut others) = (0, 0, 0, 0, 0, 0);
    let mut page = 0;
    while let Some(stretch) = heap.next_stretch(&mock, page).unwrap() {
        page = stretch.end();
        match stretch.used {
            Use::Free { .. } => {
                (free, extents, longest) = (free + stretch.pages, extents + 1, longest.max(stretch.pages));
            }
            Use::Nodes => nodes += stretch.pages,
            Use::Slab { .. } => slabs += 1,
            _ => others += 1,
        }
    }
    assert!(nodes > 1 && longest >= 30);
    assert_eq!((stats.free_pages, stats.longest_extent, stats.extents), (free, longest, extents));
    assert_eq!((stats.node_pages, stats.runs), (nodes, others + nodes + slabs));
    assert_eq!(stats.classes.iter().map(|class| class.slabs).sum::<u32>(), slabs);
    assert_eq!((stats.first, stats.end), (FIRST, heap.open(&mock).unwrap()));
}
