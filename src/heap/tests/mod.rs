//! The heap against models: all operations in any order, failures at every point, damage in every word.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::class::LARGEST;
use super::map::{MOST_PAGES, pages_with};
use super::mock::Mock;
use super::*;
use crate::error::OffsetFault;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    len: u64,
    align: u64,
    unlogged: bool,
}

#[derive(Debug, Clone)]
enum Op {
    Alloc { len: u64, shift: u32, unlogged: bool },
    Free(usize),
    Resize(usize, u64),
    Commit,
    RollBack,
    Save,
    RollBackToSave,
    FailAfter(u32),
    Cut(u32),
    Punch(u32),
}

fn len_of_block() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0..200u64,
        4 => 0..3000u64,
        3 => 0..LARGEST + 5000,
        2 => 0..400_000u64,
        1 => 0..6_000_000u64,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (len_of_block(), 0..13u32, prop::bool::weighted(0.1))
            .prop_map(|(len, shift, unlogged)| Op::Alloc { len, shift, unlogged }),
        8 => any::<usize>().prop_map(Op::Free),
        5 => (any::<usize>(), len_of_block()).prop_map(|(index, len)| Op::Resize(index, len)),
        2 => Just(Op::Commit),
        1 => Just(Op::RollBack),
        1 => Just(Op::Save),
        1 => Just(Op::RollBackToSave),
        1 => (0..6u32).prop_map(Op::FailAfter),
        1 => any::<u32>().prop_map(Op::Cut),
        1 => any::<u32>().prop_map(Op::Punch),
    ]
}

/// A heap, and what it should hold.
struct Pair {
    heap: Heap,
    mock: Mock,
    blocks: BTreeMap<u64, Known>,
    saved: Vec<BTreeMap<u64, Known>>,
    committed: BTreeMap<u64, Known>,
}

impl Pair {
    fn new(max: Page) -> Self {
        let (mock, heap) = Mock::with_heap(FIRST, FIRST + 8, max);
        Self { heap, mock, blocks: BTreeMap::new(), saved: Vec::new(), committed: BTreeMap::new() }
    }

    fn nth(&self, index: usize) -> Option<(u64, Known)> {
        let index = index.checked_rem(self.blocks.len())?;
        self.blocks.iter().nth(index).map(|(&offset, &known)| (offset, known))
    }

    /// Marks the first and the last whole word of a block.
    fn stamp(&mut self, offset: u64, len: u64) {
        if len >= 8 {
            self.mock.store(offset + (len / 8 - 1) * 8, offset + 2).unwrap();
            self.mock.store(offset, offset + 1).unwrap();
        }
    }

    fn assert_stamp(&self, offset: u64, len: u64) {
        if len >= 8 {
            assert_eq!(self.mock.load(offset).unwrap(), offset + 1);
        }
        if len >= 16 {
            assert_eq!(self.mock.load(offset + (len / 8 - 1) * 8).unwrap(), offset + 2);
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Alloc { len, shift, unlogged } => {
                let align = if unlogged { PAGE } else { 1 << shift };
                let result = if unlogged {
                    self.heap.alloc_unlogged(&mut self.mock, len)
                } else {
                    self.heap.alloc(&mut self.mock, len, align)
                };
                if is_full(&result) {
                    return;
                }
                let offset = result.unwrap();
                assert!(offset.is_multiple_of(align));
                let before = self.blocks.range(..=offset).next_back();
                assert!(before.is_none_or(|(at, known)| at + known.len.max(1) <= offset));
                let after = self.blocks.range(offset..).next();
                assert!(after.is_none_or(|(&at, _)| offset + len.max(1) <= at));
                self.blocks.insert(offset, Known { len, align, unlogged });
                self.stamp(offset, len);
            }
            Op::Free(index) => {
                let Some((offset, known)) = self.nth(index) else { return };
                self.assert_stamp(offset, known.len);
                self.heap.free(&mut self.mock, offset).unwrap();
                self.blocks.remove(&offset);
                let fault = fault_of(self.heap.free(&mut self.mock, offset));
                assert!(matches!(fault, OffsetFault::NotAllocated), "{fault:?}");
            }
            Op::Resize(index, len) => {
                let Some((offset, known)) = self.nth(index) else { return };
                self.assert_stamp(offset, known.len);
                let result = self.heap.resize_in_place(&mut self.mock, offset, len);
                if !is_full(&result) && result.unwrap() {
                    self.blocks.insert(offset, Known { len, ..known });
                    self.stamp(offset, len);
                }
            }
            Op::Commit => {
                self.mock.fail_after = None;
                self.mock.commit(&mut self.heap);
                self.committed = self.blocks.clone();
                self.saved.clear();
            }
            Op::RollBack => {
                self.mock.roll_back(&mut self.heap);
                self.blocks = self.committed.clone();
                self.saved.clear();
            }
            Op::Save => {
                self.mock.save();
                self.saved.push(self.blocks.clone());
            }
            Op::RollBackToSave => {
                if self.mock.roll_back_to_save(&mut self.heap) {
                    self.blocks = self.saved.pop().unwrap();
                }
            }
            Op::FailAfter(calls) => self.mock.fail_after = Some(calls),
            Op::Cut(keep) => {
                let free_from = self.heap.tail_free(&self.mock).unwrap();
                let to = free_from + keep % 8 * (keep % 3);
                let result = self.heap.cut_tail(&mut self.mock, to);
                if !is_full(&result) {
                    let end = result.unwrap().end;
                    assert!(end == to || to > end && keep % 8 * (keep % 3) > 0, "{free_from} {to} {end}");
                }
            }
            Op::Punch(from) => {
                // Only what is free in the committed state may be punched.
                if self.mock.is_clean() {
                    let from = from % self.mock.pages();
                    if let Some(extent) = self.heap.next_extent(&self.mock, from).unwrap() {
                        self.heap.mark_punched(&mut self.mock, extent).unwrap();
                        self.apply(&Op::Commit);
                        self.mock.punch(extent.page, extent.pages);
                    }
                }
            }
        }
    }

    fn compare(&self) {
        let report = sound(&self.heap, &self.mock);
        assert_eq!(report.blocks, self.blocks.len() as u64);
        assert_eq!(report.block_bytes, self.blocks.values().map(|known| known.len).sum::<u64>());
        let stats = self.heap.stats(&self.mock).unwrap();
        assert_eq!(u64::from(stats.free_pages), report.free_pages);
        assert_eq!(u64::from(stats.extents), report.extents);
        assert_eq!(stats.classes.iter().map(|class| u64::from(class.slabs)).sum::<u64>(), report.slabs);
        let (mut at, mut seen) = (0, 0);
        while let Some(block) = self.heap.next_block(&self.mock, at).unwrap() {
            let known = self.blocks[&block.offset];
            assert_eq!((block.len, block.unlogged), (known.len, known.unlogged));
            assert!(block.capacity >= block.len && block.offset > at);
            assert_eq!(self.heap.block(&self.mock, block.offset).unwrap(), block);
            self.assert_stamp(block.offset, block.len);
            (at, seen) = (block.offset, seen + 1);
        }
        assert_eq!(seen, self.blocks.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_model(
        ops in prop::collection::vec(op(), 1..120),
        max in 200..9000u32,
        step in 1..700u32,
    ) {
        let mut pair = Pair::new(max);
        pair.mock.step = step;
        for op in &ops {
            pair.apply(op);
            pair.compare();
        }
        pair.mock.fail_after = None;
        pair.apply(&Op::Commit);
        while !pair.blocks.is_empty() {
            pair.apply(&Op::Free(0));
        }
        pair.compare();
        pair.apply(&Op::Commit);
        pair.compare();
    }

    #[test]
    fn small_blocks_agree_with_a_model(
        ops in prop::collection::vec(
            prop_oneof![
                5 => (0..4u64, 0..3u32).prop_map(|(len, shift)| Op::Alloc {
                    len: [16, 500, 1500, 16000][len as usize], shift, unlogged: false,
                }),
                4 => any::<usize>().prop_map(Op::Free),
                1 => Just(Op::Commit),
            ],
            1..1500,
        ),
    ) {
        let mut pair = Pair::new(4000);
        for (count, op) in ops.iter().enumerate() {
            pair.apply(op);
            if count % 50 == 0 {
                pair.compare();
            }
        }
        pair.compare();
    }
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
        insist(heap, mock, step, |heap, mock| heap.resize_in_place(mock, block, 3000));
        insist(heap, mock, step, |heap, mock| heap.resize_in_place(mock, block, 9000));
    }
    let big = insist(heap, mock, step, |heap, mock| heap.alloc(mock, 700 * PAGE, 1));
    insist(heap, mock, step, |heap, mock| heap.resize_in_place(mock, big, 800 * PAGE));
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
            assert!(heap.resize_in_place(&mut mock, block, pages * PAGE).unwrap());
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
    assert!(!heap.resize_in_place(&mut mock, a, 11 * PAGE).unwrap());
    heap.free(&mut mock, b).unwrap();
    assert!(heap.resize_in_place(&mut mock, a, 20 * PAGE).unwrap());
    assert!(!heap.resize_in_place(&mut mock, a, 20 * PAGE + 1).unwrap());
    assert!(heap.resize_in_place(&mut mock, c, 300 * PAGE).unwrap());
    assert!(!heap.resize_in_place(&mut mock, c, 500 * PAGE).unwrap());
    assert!(heap.resize_in_place(&mut mock, c, 5 * PAGE + 1).unwrap());
    assert_eq!(heap.block(&mock, c).unwrap().capacity, 6 * PAGE);
    assert!(!heap.resize_in_place(&mut mock, c, 100).unwrap());
    sound(&heap, &mock);
}

#[test]
fn slots_are_kept_while_they_fit() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 100, 400);
    let block = heap.alloc(&mut mock, 100, 1).unwrap();
    for (len, kept) in [(104, true), (105, false), (52, true), (51, false), (0, false), (104, true)] {
        assert_eq!(heap.resize_in_place(&mut mock, block, len).unwrap(), kept, "{len}");
    }
    // Small for the sake of its alignment.
    let block = heap.alloc(&mut mock, 1, 256).unwrap();
    for len in [2, 0, 256, 1] {
        let kept = len != 1;
        assert_eq!(heap.resize_in_place(&mut mock, block, len).unwrap(), kept, "{len}");
    }
    let block = heap.alloc(&mut mock, 1, 4096).unwrap();
    assert!(heap.resize_in_place(&mut mock, block, 2).unwrap());
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
            heap.resize_in_place(&mut mock, block, u64::MAX),
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
            let resized = heap.resize_in_place(&mut mock, offset, 1);
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

/// A small heap with a bit of everything, and the blocks in it.
fn small_heap() -> (Mock, Heap, Vec<u64>) {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 700);
    let mut blocks = Vec::new();
    for len in [8, 8, 100, 600, 600, 5000, 20_000, 9000, 40_000, 5000, 8, 30_000, 4096] {
        blocks.push(heap.alloc(&mut mock, len, 8).unwrap());
    }
    blocks.push(heap.alloc_unlogged(&mut mock, 5000).unwrap());
    for gap in [1, 6, 8, 10] {
        heap.free(&mut mock, blocks[gap]).unwrap();
    }
    mock.commit(&mut heap);
    sound(&heap, &mock);
    (mock, heap, blocks)
}

/// Offsets of all words of metadata, but for nodes never used.
fn metadata(mock: &Mock, heap: &Heap) -> Vec<u64> {
    let mut words: Vec<u64> = (0..110).map(|word| page_offset(FIRST) + word * 8).collect();
    let end = heap.open(mock).unwrap();
    for page in FIRST..end + 3 {
        words.push(heap.header.entry_at(mock, page).unwrap());
        let entry = heap.header.entry(mock, page).unwrap();
        if kind(entry) == SLAB && entry >> 32 == 0 {
            words.extend((0..20).map(|word| page_offset(page) + word * 8));
        } else if kind(entry) == map::NODES {
            words.extend((0..48).map(|word| page_offset(page) + word * 8));
        }
    }
    words
}

fn all_calls(heap: &Heap, mock: &Mock, blocks: &[u64]) {
    let mut mock = mock.clone();
    mock.lenient = true;
    let mut heap = heap.clone();
    let mut count = 0u64;
    let _ = heap.check(&mock, &[], &mut |_| count += 1).unwrap();
    assert!(count < 2000, "{count} findings");
    let _ = heap.stats(&mock);
    let mut at = 0;
    while let Ok(Some(block)) = heap.next_block(&mock, at) {
        assert!(block.offset > at);
        at = block.offset;
    }
    for round in 0..2 {
        for &block in blocks {
            let _ = heap.block(&mock, block);
            let _ = heap.block(&mock, block + 4096);
            let _ = heap.resize_in_place(&mut mock, block, 700 + 9000 * round);
        }
        let mut new = Vec::new();
        for len in [8, 8, 100, 600, 5000, 9000, 20_000, 100_000, 2_500_000] {
            new.extend(heap.alloc(&mut mock, len, 8));
        }
        for &block in blocks.iter().chain(&new).rev() {
            let _ = heap.free(&mut mock, block);
        }
        for (page, pages) in mock.pending() {
            let _ = heap.join_free(&mut mock, page, pages);
        }
        let _ = heap.cut_tail(&mut mock, 0);
        heap.forget_hints();
    }
    let _ = heap.next_extent(&mock, FIRST + 10);
    let _ = heap.check(&mock, &[], &mut |_| ()).unwrap();
}

#[test]
fn damage_in_any_word_is_survived_and_found() {
    let (mut mock, heap, blocks) = small_heap();
    let words = metadata(&mock, &heap);
    let mut missed = Vec::new();
    for &at in &words {
        let good = mock.load(at).unwrap();
        let (low, high) = header::halves(good);
        let bad = [
            0,
            1,
            u64::MAX,
            !good,
            good ^ 1,
            good ^ 1 << 32,
            good ^ 1 << 63,
            good << 8,
            good.swap_bytes(),
            good.wrapping_add(32),
            header::word_of(high, low),
            page_offset(FIRST + 2),
            page_offset(FIRST + 2) + 32,
            header::word_of(FIRST + 5, u32::MAX),
            header::word_of(u32::MAX, 1),
            2 << 32 | 1,
        ];
        for bad in bad.into_iter().filter(|&bad| bad != good) {
            mock.words[(at / 8) as usize] = bad;
            all_calls(&heap, &mock, &blocks);
            if findings(&heap, &mock).1.is_empty() {
                missed.push((at, good, bad));
            }
        }
        mock.words[(at / 8) as usize] = good;
    }
    // What cannot be told from a good heap: the word of the layer above, other lengths of blocks, other marks
    // of punched space, contents of spare nodes, and what only looks like metadata (nodes and states past the
    // last one).
    for (at, good, bad) in missed {
        let entry = heap.header.entry(&mock, (at / PAGE) as Page).unwrap();
        let free_to_differ = at == heap.roots_at()
            || at == heap.header.end_at() && good as u32 == bad as u32
            || kind(entry) == map::NODES
            || kind(entry) == SLAB
            || kind(good) == BLOCK && kind(bad) == BLOCK;
        assert!(free_to_differ, "{at:#x}: {good:#x} became {bad:#x}, and nothing was found");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn damage_in_many_words_is_survived(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4u32, any::<u64>()),
            1..8,
        ),
    ) {
        let (mut mock, heap, blocks) = small_heap();
        let words = metadata(&mock, &heap);
        for (target, source, how, random) in changes {
            let (target, source) = (target.get(&words) / 8, source.get(&words) / 8);
            let other = mock.words[source as usize];
            mock.words[target as usize] = match how {
                0 => other,
                1 => random,
                2 => mock.words[target as usize] ^ 1 << (random % 64),
                _ => other ^ 1 << (random % 64),
            };
        }
        all_calls(&heap, &mock, &blocks);
    }
}

/// A slab that says it is the first of its list, and is not, is not taken out of it: the list would lose the others.
#[test]
fn a_slab_whose_links_lie_is_not_unlinked() {
    let (mut mock, mut heap) = Mock::with_heap(1, 600, 600);
    mock.lenient = true;
    let blocks: Vec<u64> = (0..200).map(|_| heap.alloc(&mut mock, 3000, 8).unwrap()).collect();
    mock.commit(&mut heap);
    let class = super::class_of(3000, 8).unwrap();
    let class_at = heap.header.class_at(class);
    // Full slabs come into the list with the first block that is freed in them.
    for &block in blocks.iter().step_by(20) {
        heap.free(&mut mock, block).unwrap();
    }
    let (first, _) = super::header::halves(mock.load(class_at).unwrap());
    let links_at = super::slab::links_at;
    let (_, second) = super::header::halves(mock.load(links_at(first)).unwrap());
    let (before, after) = super::header::halves(mock.load(links_at(second)).unwrap());
    assert_eq!(before, first);
    mock.store(links_at(second), super::header::word_of(0, after)).unwrap();
    let end = page_offset(second) + 64 * PAGE;
    let mut live: Vec<u64> =
        blocks.iter().copied().filter(|block| (page_offset(second)..end).contains(block)).collect();
    live.retain(|&block| heap.block(&mock, block).is_ok());
    let outcome: Result<Vec<()>> = live.iter().map(|&block| heap.free(&mut mock, block)).collect();
    assert!(
        matches!(outcome, Err(Error::Corrupt { offset, .. }) if offset == links_at(second)),
        "{outcome:?}"
    );
}
