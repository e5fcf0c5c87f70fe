//! The heap on its own: what each call does, and what is left after a failure at every point.

use super::class::LARGEST;
use super::map::{MOST_PAGES, pages_with};
use super::mock::Mock;
use super::*;
use crate::error::OffsetFault;

mod damage;
mod emptying;
mod findings;
mod model;
mod repaired;
mod stretches;

const FIRST: Page = 3;

fn findings(heap: &Heap, mock: &Mock) -> (Report, Vec<Finding>) {
    let mut all = Vec::new();
    let report = heap.check(mock, &mock.pending(), &mut |finding| all.push(finding)).unwrap();
    assert_eq!(report.findings, all.len() as u64);
    (report, all)
}

fn sound(heap: &Heap, mock: &Mock) -> Report {
    let (report, all) = findings(heap, mock);
    assert!(all.is_empty(), "{all:#?}");
    report
}

fn fault_of<T: std::fmt::Debug>(result: Result<T>) -> OffsetFault {
    match result {
        Err(Error::BadOffset { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

fn is_full<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::NoSpace { .. } | Error::MaxSize { .. }))
}

#[test]
fn a_new_heap_is_sound_at_any_size() {
    for size in (4..40).chain(505..520).chain(1015..1030).chain([2043, 2044, 2045, 5000]) {
        let (mock, heap) = Mock::with_heap(FIRST, FIRST + size, FIRST + size);
        sound(&heap, &mock);
        let end = heap.open(&mock).unwrap();
        assert!(end <= FIRST + size && end + 12 >= FIRST + size, "{size}: {end}");
    }
    let mut mock = Mock::new(20, 20);
    for size in 0..4 {
        assert!(matches!(Heap::new(FIRST).format(&mut mock, FIRST + size), Err(Error::BadOption { .. })));
    }
}

#[test]
fn the_page_map_grows_with_the_heap_and_shrinks_with_it() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 4, 20_000);
    let mut blocks = Vec::new();
    for array in 0..5 {
        while u64::from(heap.open(&mock).unwrap() - FIRST) <= pages_with(array) {
            blocks.push(heap.alloc(&mut mock, 37 * PAGE, PAGE).unwrap());
        }
        sound(&heap, &mock);
    }
    mock.commit(&mut heap);
    for block in blocks.into_iter().rev() {
        heap.free(&mut mock, block).unwrap();
    }
    // Arrays that lie at the end are free only once the cut is committed.
    loop {
        mock.commit(&mut heap);
        sound(&heap, &mock);
        let cut = heap.cut_tail(&mut mock, 0).unwrap();
        sound(&heap, &mock);
        if !cut.more {
            assert!(cut.end <= FIRST + 4, "{cut:?}");
            break;
        }
    }
    let end = heap.alloc(&mut mock, 6000 * PAGE, 1).unwrap();
    heap.free(&mut mock, end).unwrap();
    sound(&heap, &mock);
}

/// Without space to move a page of nodes out of the way the cut that is done stays.
#[test]
fn a_cut_that_finds_no_space_to_clear_the_way_ends() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 4000);
    let hole = heap.alloc(&mut mock, 50 * PAGE, PAGE).unwrap();
    let runs: Vec<_> = (0..110).map(|_| heap.alloc(&mut mock, PAGE, PAGE).unwrap()).collect();
    mock.commit(&mut heap);
    // The second page of nodes lies between them, and is to be the last one in use.
    let nodes = runs.windows(2).find(|pair| pair[1] > pair[0] + PAGE).unwrap()[0] + PAGE;
    for run in runs.into_iter().filter(|&run| run > nodes).chain([hole]) {
        heap.free(&mut mock, run).unwrap();
    }
    mock.commit(&mut heap);
    let extent = heap.next_extent(&mock, (hole / PAGE) as Page).unwrap().unwrap();
    heap.mark_punched(&mut mock, extent).unwrap();
    mock.commit(&mut heap);
    mock.punch(extent.page, extent.pages);
    mock.fail_after = Some(0);
    let cut = heap.cut_tail(&mut mock, 0).unwrap();
    assert_eq!(cut.end, (nodes / PAGE) as Page + 1);
    mock.commit(&mut heap);
    sound(&heap, &mock);
}

/// However few nodes are to spare, a page of them moves out of the way in one go: who cuts again finds nothing more to cut.
#[test]
fn pages_of_nodes_move_however_few_nodes_are_spare() {
    for count in 0..150 {
        let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 300, 4000);
        let hole = heap.alloc(&mut mock, 280 * PAGE, PAGE).unwrap();
        let runs: Vec<_> = (0..200).map(|_| heap.alloc(&mut mock, PAGE, PAGE).unwrap()).collect();
        let nodes = runs.windows(2).rfind(|pair| pair[1] > pair[0] + PAGE).unwrap()[0] + PAGE;
        mock.commit(&mut heap);
        // Nothing stays behind the last page of nodes, and before all blocks is room.
        for run in runs.into_iter().filter(|run| *run > nodes).chain([hole]) {
            heap.free(&mut mock, run).unwrap();
        }
        mock.commit(&mut heap);
        for _ in 0..count {
            heap.alloc(&mut mock, PAGE, PAGE).unwrap();
        }
        let mut ends = [0, 0];
        for end in &mut ends {
            loop {
                mock.commit(&mut heap);
                let cut = heap.cut_tail(&mut mock, 0).unwrap();
                *end = cut.end;
                if !cut.more {
                    break;
                }
            }
        }
        mock.commit(&mut heap);
        sound(&heap, &mock);
        assert_eq!(ends[0], ends[1], "{count}");
    }
}

#[test]
fn one_growth_may_need_several_arrays() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 4, 20_000);
    let block = heap.alloc(&mut mock, 10_000 * PAGE, 8).unwrap();
    assert_eq!(heap.block(&mock, block).unwrap().len, 10_000 * PAGE);
    let small = heap.alloc(&mut mock, 1, 1).unwrap();
    assert_eq!(sound(&heap, &mock).blocks, 2);
    heap.free(&mut mock, block).unwrap();
    heap.free(&mut mock, small).unwrap();
    mock.commit(&mut heap);
    sound(&heap, &mock);
}

/// A sequence that grows, adds node pages and arrays, and moves ends of runs.
fn long_sequence(heap: &mut Heap, mock: &mut Mock, step: &mut dyn FnMut(&Heap, &mut Mock)) {
    fn insist<T>(
        heap: &mut Heap,
        mock: &mut Mock,
        step: &mut dyn FnMut(&Heap, &mut Mock),
        call: impl Fn(&mut Heap, &mut Mock) -> Result<T>,
    ) -> T {
        loop {
            let result = call(heap, mock);
            let failed = is_full(&result);
            if failed {
                mock.fail_after = None;
            }
            step(heap, mock);
            if !failed {
                return result.unwrap();
            }
        }
    }
    let mut blocks = Vec::new();
    for count in 0..150u64 {
        let len = if count % 10 == 0 { 12_000 } else { PAGE + count };
        blocks.push(insist(heap, mock, step, |heap, mock| heap.alloc(mock, len, PAGE >> (count % 2 * 10))));
    }
    mock.commit(heap);
    for &block in blocks.iter().step_by(2) {
        insist(heap, mock, step, |heap, mock| heap.resize_in_place(mock, block, 3000, false));
        insist(heap, mock, step, |heap, mock| heap.resize_in_place(mock, block, 9000, false));
    }
    let big = insist(heap, mock, step, |heap, mock| heap.alloc(mock, 700 * PAGE, 1));
    insist(heap, mock, step, |heap, mock| heap.resize_in_place(mock, big, 800 * PAGE, false));
    mock.commit(heap);
    for &block in blocks.iter().skip(1).step_by(2) {
        insist(heap, mock, step, |heap, mock| heap.free(mock, block));
    }
    mock.commit(heap);
    sound(heap, mock);
}

#[test]
fn failing_for_want_of_space_leaves_the_heap_whole() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 4, 8000);
    mock.fail_after = Some(u32::MAX);
    let mut calls = 0;
    long_sequence(&mut heap, &mut mock, &mut |_, mock| {
        calls += mock.fail_after.map_or(0, |left| u32::MAX - left);
        mock.fail_after = Some(u32::MAX);
    });
    assert!(calls > 150, "{calls}");
    // Each time one more call goes well before one fails.
    for fail_after in 0..calls {
        let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 4, 8000);
        mock.fail_after = Some(fail_after);
        let mut was_set = true;
        long_sequence(&mut heap, &mut mock, &mut |heap, mock| {
            if was_set && mock.fail_after.is_none() {
                sound(heap, mock);
            }
            was_set = mock.fail_after.is_some();
        });
    }
}

#[test]
fn a_full_heap_gives_and_takes_to_the_last_page() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 4, FIRST + 600);
    let mut blocks = Vec::new();
    loop {
        match heap.alloc(&mut mock, PAGE, PAGE) {
            Ok(block) => {
                blocks.push(block);
                let (runs, _) = header::halves(mock.load(heap.header.runs_at()).unwrap());
                let (nodes, _) = header::halves(mock.load(heap.header.nodes_at()).unwrap());
                assert!(nodes >= runs + 2, "{nodes} nodes for {runs} runs");
            }
            Err(Error::MaxSize { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(blocks.len() > 580, "{}", blocks.len());
    assert!(sound(&heap, &mock).free_pages == 0);
    mock.commit(&mut heap);
    // Every other one: as many extents as there can be.
    for half in [0, 1] {
        for &block in blocks.iter().skip(half).step_by(2) {
            heap.free(&mut mock, block).unwrap();
        }
        mock.commit(&mut heap);
        sound(&heap, &mock);
    }
    assert_eq!(heap.stats(&mock).unwrap().free_pages as usize, blocks.len());
}

#[test]
fn shortened_in_many_steps_in_one_transaction() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 4, 8000);
    let blocks: Vec<_> = (0..40).map(|_| heap.alloc(&mut mock, 40 * PAGE, 1).unwrap()).collect();
    mock.commit(&mut heap);
    for pages in (1..40).rev() {
        for &block in &blocks {
            assert!(heap.resize_in_place(&mut mock, block, pages * PAGE, false).unwrap());
        }
    }
    sound(&heap, &mock);
    mock.commit(&mut heap);
    let report = sound(&heap, &mock);
    assert_eq!(report.blocks, 40);
    assert_eq!(report.block_bytes, 40 * PAGE);
}

#[test]
fn a_run_grows_in_place_at_the_end_and_into_free_neighbours() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 100, 400);
    let a = heap.alloc(&mut mock, 10 * PAGE, PAGE).unwrap();
    let b = heap.alloc(&mut mock, 10 * PAGE, PAGE).unwrap();
    let c = heap.alloc(&mut mock, 10 * PAGE, PAGE).unwrap();
    assert!(!heap.resize_in_place(&mut mock, a, 11 * PAGE, false).unwrap());
    heap.free(&mut mock, b).unwrap();
    assert!(heap.resize_in_place(&mut mock, a, 20 * PAGE, false).unwrap());
    assert!(!heap.resize_in_place(&mut mock, a, 20 * PAGE + 1, false).unwrap());
    assert!(heap.resize_in_place(&mut mock, c, 300 * PAGE, false).unwrap());
    assert!(!heap.resize_in_place(&mut mock, c, 500 * PAGE, false).unwrap());
    assert!(heap.resize_in_place(&mut mock, c, 5 * PAGE + 1, false).unwrap());
    assert_eq!(heap.block(&mock, c).unwrap().capacity, 6 * PAGE);
    assert!(!heap.resize_in_place(&mut mock, c, 100, false).unwrap());
    sound(&heap, &mock);
}

#[test]
fn slots_are_kept_while_they_fit() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 100, 400);
    let block = heap.alloc(&mut mock, 100, 1).unwrap();
    for (len, kept) in [(104, true), (105, false), (52, true), (51, false), (0, false), (104, true)] {
        assert_eq!(heap.resize_in_place(&mut mock, block, len, false).unwrap(), kept, "{len}");
    }
    // Small for the sake of its alignment.
    let block = heap.alloc(&mut mock, 1, 256).unwrap();
    for len in [2, 0, 256, 1] {
        let kept = len != 1;
        assert_eq!(heap.resize_in_place(&mut mock, block, len, false).unwrap(), kept, "{len}");
    }
    let block = heap.alloc(&mut mock, 1, 4096).unwrap();
    assert!(heap.resize_in_place(&mut mock, block, 2, false).unwrap());
    sound(&heap, &mock);
}

#[test]
fn empty_blocks_are_distinct() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 100, 400);
    let mut offsets: Vec<_> = (0..13).map(|shift| heap.alloc(&mut mock, 0, 1 << shift).unwrap()).collect();
    offsets.push(heap.alloc_unlogged(&mut mock, 0).unwrap());
    for &offset in &offsets {
        assert_eq!(heap.block(&mock, offset).unwrap().len, 0);
    }
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), 14);
    sound(&heap, &mock);
}

#[test]
fn what_cannot_be_is_refused() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 10, 400);
    for len in [u64::MAX, u64::MAX - PAGE, MOST_PAGES * PAGE + 1] {
        assert!(matches!(heap.alloc(&mut mock, len, 1), Err(Error::TooLarge { .. })), "{len:#x}");
        assert!(matches!(heap.alloc_unlogged(&mut mock, len), Err(Error::TooLarge { .. })));
    }
    for len in [MOST_PAGES * PAGE, 1 << 40, 500 * PAGE] {
        assert!(matches!(heap.alloc(&mut mock, len, 1), Err(Error::MaxSize { .. })), "{len:#x}");
    }
    for align in [0, 3, 24, 8192, 1 << 63, u64::MAX] {
        for len in [1, 1 << 20] {
            let result = heap.alloc(&mut mock, len, align);
            assert!(matches!(result, Err(Error::BadOption { option: "align", .. })), "{align}");
        }
    }
    let slot = heap.alloc(&mut mock, 10, 1).unwrap();
    let run = heap.alloc(&mut mock, 20_000, 1).unwrap();
    for block in [slot, run] {
        assert!(matches!(
            heap.resize_in_place(&mut mock, block, u64::MAX, false),
            Ok(false) | Err(Error::TooLarge { .. })
        ));
    }
    sound(&heap, &mock);
}

#[test]
fn bad_offsets_are_named() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 100, 400);
    let slot = heap.alloc(&mut mock, 40, 1).unwrap();
    let run = heap.alloc(&mut mock, 20 * PAGE, 1).unwrap();
    let gone_run = heap.alloc(&mut mock, 20 * PAGE, 1).unwrap();
    let gone_slot = heap.alloc(&mut mock, 40, 1).unwrap();
    mock.commit(&mut heap);
    heap.free(&mut mock, gone_run).unwrap();
    heap.free(&mut mock, gone_slot).unwrap();
    let end = page_offset(heap.open(&mock).unwrap());
    let expected = [
        (0, OffsetFault::Null),
        (8, OffsetFault::OutOfRange),
        (page_offset(FIRST) - 8, OffsetFault::OutOfRange),
        (end, OffsetFault::OutOfRange),
        (end + (1 << 30), OffsetFault::OutOfRange),
        (1 << 45, OffsetFault::OutOfRange),
        (u64::MAX, OffsetFault::OutOfRange),
        (page_offset(FIRST), OffsetFault::Metadata),
        (page_offset(FIRST) + 1000, OffsetFault::Metadata),
        (page_offset(FIRST + 1), OffsetFault::Metadata),
        (page_offset(FIRST + 2) + 32, OffsetFault::Metadata),
        (slot / PAGE * PAGE, OffsetFault::Metadata),
        (slot / PAGE * PAGE + 17, OffsetFault::Metadata),
        (slot + 1, OffsetFault::InsideBlock),
        (slot + 39, OffsetFault::InsideBlock),
        (run + 8, OffsetFault::InsideBlock),
        (run + 7 * PAGE, OffsetFault::InsideBlock),
        (run + 19 * PAGE + 4, OffsetFault::InsideBlock),
        (gone_slot, OffsetFault::NotAllocated),
        (gone_slot + 8, OffsetFault::NotAllocated),
        (slot / PAGE * PAGE + PAGE - 1, OffsetFault::NotAllocated),
        (gone_run, OffsetFault::NotAllocated),
        (gone_run + 8, OffsetFault::NotAllocated),
        (gone_run + 7 * PAGE, OffsetFault::NotAllocated),
        (end - PAGE, OffsetFault::NotAllocated),
        (end - 1, OffsetFault::NotAllocated),
    ];
    for pass in ["pending", "committed"] {
        for (offset, fault) in expected {
            assert_eq!(fault_of(heap.block(&mock, offset)), fault, "{pass} {offset:#x}");
            assert_eq!(fault_of(heap.free(&mut mock, offset)), fault, "{pass} {offset:#x}");
            let resized = heap.resize_in_place(&mut mock, offset, 1, false);
            assert_eq!(fault_of(resized), fault, "{pass} {offset:#x}");
        }
        assert_eq!(sound(&heap, &mock).blocks, 2);
        mock.commit(&mut heap);
    }
}

#[test]
fn steady_pairs_touch_few_words_and_make_no_slabs() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 100, 400);
    for live in [0, 1, 7, 8, 30, 61, 62, 63, 130] {
        let (mut mock, mut heap) = (mock.clone(), heap.clone());
        for _ in 0..live {
            heap.alloc(&mut mock, 64, 8).unwrap();
        }
        let warm = heap.alloc(&mut mock, 64, 8).unwrap();
        heap.free(&mut mock, warm).unwrap();
        let free = heap.stats(&mock).unwrap().free_pages;
        let (loads, stores) = (mock.loads.get(), mock.stores);
        for _ in 0..100 {
            let block = heap.alloc(&mut mock, 64, 8).unwrap();
            heap.free(&mut mock, block).unwrap();
        }
        let (loads, stores) = (mock.loads.get() - loads, mock.stores - stores);
        assert_eq!(heap.stats(&mock).unwrap().free_pages, free);
        if live % 62 != 61 {
            assert!(loads <= 500 && stores <= 400, "{live}: {loads} loads, {stores} stores");
        }
    }
    let block = heap.alloc(&mut mock, 64, 8).unwrap();
    let loads = mock.loads.get();
    heap.block(&mock, block).unwrap();
    assert_eq!(mock.loads.get() - loads, 3);
}

#[test]
fn freed_slabs_go_back() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 10, 4000);
    let mut blocks: Vec<_> = (0..4000).map(|_| heap.alloc(&mut mock, 200, 1).unwrap()).collect();
    mock.commit(&mut heap);
    let most = sound(&heap, &mock).slabs;
    assert!(most > 10, "{most}");
    // In an order far from that of allocation.
    blocks.sort_by_key(|block| block.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for block in blocks {
        heap.free(&mut mock, block).unwrap();
    }
    mock.commit(&mut heap);
    assert_eq!(sound(&heap, &mock).slabs, 1);
    assert_eq!(heap.next_block(&mock, 0).unwrap(), None);
}

#[test]
fn pages_of_a_dropped_slab_are_no_slab() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 10, 4000);
    let blocks: Vec<_> = (0..100).map(|_| heap.alloc(&mut mock, 64, 1).unwrap()).collect();
    let slab = blocks[99] / PAGE;
    assert!(blocks[0] / PAGE != slab);
    heap.free(&mut mock, blocks[0]).unwrap();
    for &block in blocks.iter().filter(|&block| block / PAGE == slab) {
        heap.free(&mut mock, block).unwrap();
    }
    let run = heap.alloc(&mut mock, 20_000, 1).unwrap();
    assert!(run / PAGE <= slab && slab < run / PAGE + 5);
    assert_eq!(fault_of(heap.free(&mut mock, blocks[99])), OffsetFault::InsideBlock);
    heap.free(&mut mock, run).unwrap();
    let pages: Vec<_> = (0..3).map(|_| heap.alloc(&mut mock, PAGE, PAGE).unwrap()).collect();
    for page in pages {
        heap.free(&mut mock, page).unwrap();
    }
    sound(&heap, &mock);
}
