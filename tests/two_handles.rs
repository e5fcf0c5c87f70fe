//! What a handle remembers of the heap between its transactions holds, or is dropped, whatever other handles did meanwhile.

mod common;

use common::{BOTH, assert_clean, small};
use heapfile::{Arena, Durability, Offset, View};
use std::collections::BTreeMap;

/// Numbers that look random, the same in each run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Lengths that fill a slab after a few blocks, so that slabs come and go, and some that are runs of pages.
fn len(numbers: &mut Numbers) -> u64 {
    match numbers.below(10) {
        0..5 => 1000 + numbers.next() % 1000,
        5..8 => 3000 + numbers.next() % 10_000,
        8 => numbers.next() % 200,
        _ => 17_000 + numbers.next() % 60_000,
    }
}

fn pattern(offset: Offset<[u8]>, len: usize) -> Vec<u8> {
    (0..len).map(|i| (offset.raw() / 8) as u8 ^ i as u8).collect()
}

fn allocate(arena: &Arena, len: u64) -> Offset<[u8]> {
    arena.alloc_with(len, 8, |at, bytes| bytes.copy_from_slice(&pattern(at, bytes.len()))).unwrap()
}

#[test]
fn handles_take_turns() {
    for durability in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.heap");
        let handles = [small(durability).create(&path).unwrap(), small(durability).open(&path).unwrap()];
        let mut numbers = Numbers(7);
        let mut live: BTreeMap<Offset<[u8]>, usize> = BTreeMap::new();
        let rounds = if durability == Durability::Power { 600 } else { 6000 };
        for round in 0..rounds {
            let arena = &handles[numbers.below(2)];
            // Waves, so that all of a size goes and comes again.
            let growing = round / 300 % 2 == 0;
            if live.is_empty() || numbers.below(10) < if growing { 7 } else { 2 } {
                let len = len(&mut numbers);
                let block = allocate(arena, len);
                assert_eq!(live.insert(block, len as usize), None, "handed out twice");
            } else {
                let (&block, &len) = live.iter().nth(numbers.below(live.len())).unwrap();
                assert_eq!(arena.read().unwrap().bytes(block).unwrap(), pattern(block, len), "round {round}");
                arena.free(block).unwrap();
                live.remove(&block);
            }
            if numbers.below(50) == 0 {
                handles[numbers.below(2)].shrink().unwrap();
            }
        }
        for arena in &handles {
            assert_clean(arena);
            let tx = arena.read().unwrap();
            for (&block, &len) in &live {
                assert_eq!(tx.bytes(block).unwrap(), pattern(block, len));
            }
        }
    }
}

#[test]
fn a_slot_that_the_transaction_freed_keeps_its_content_until_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let arena = small(Durability::Process).create(dir.path().join("a.heap")).unwrap();
    let blocks: Vec<_> = (0..40).map(|_| allocate(&arena, 100)).collect();
    let mut tx = arena.write().unwrap();
    for &block in &blocks {
        tx.free(block).unwrap();
    }
    let mut reused = 0;
    for _ in 0..400 {
        let new = tx.alloc_with(100, 8, |_, bytes| bytes.fill(0xEE)).unwrap();
        assert_eq!(tx.bytes(new).unwrap(), [0xEE; 100]);
        reused += usize::from(blocks.contains(&new));
    }
    assert!(reused > 0, "no slot was used again: this shows nothing");
    drop(tx);
    let tx = arena.read().unwrap();
    for &block in &blocks {
        assert_eq!(tx.bytes(block).unwrap(), pattern(block, 100));
    }
    drop(tx);
    assert_clean(&arena);
}
