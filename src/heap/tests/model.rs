//! The heap against a model: all operations in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
                let result = self.heap.resize_in_place(&mut self.mock, offset, len, false);
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
                let end = self.heap.cut_tail(&mut self.mock, to).unwrap().end;
                assert!(end == to || to > end && keep % 8 * (keep % 3) > 0, "{free_from} {to} {end}");
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
