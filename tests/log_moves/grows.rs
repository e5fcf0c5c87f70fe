//! The log becomes longer with its heap, and short again.

use crate::common::*;
use crate::ledger::{LOG, log_len, options};
use heapfile::{Arena, Offset, SnapshotOptions, View};
use std::path::PathBuf;

/// Where a move of the log may end: when the last of these points was passed, in this order.
const ENDS: [&[&str]; 11] = [
    &["checkpoint: slot durable", "commit: in place filled"],
    &["checkpoint: slot durable", "commit: in place synced"],
    &["checkpoint: slot durable", "commit: record durable"],
    &["checkpoint: slot durable", "commit: done"],
    &["log: a piece of its new place filled"],
    &["log: about to move"],
    &["log: a slot names its new place"],
    &["log: a slot names its new place", "log: a slot names its new place"],
    &["log: moved"],
    &["log: moved", "commit: record durable"],
    &["log: moved", "commit: done"],
];

/// Has a copy of the file made as a kill would leave it, at the end of the way.
fn copy_at(way: &'static [&'static str], arena: PathBuf, to: PathBuf) {
    heapfile::testing::at_failpoint(way[0], move || match &way[1..] {
        [] => copy_as_killed(&arena, &to),
        rest => copy_at(rest, arena, to),
    });
}

/// Blocks with a number in each.
struct Numbers(Vec<Offset<[u8]>>);

impl Numbers {
    /// So many blocks of 64 KiB.
    fn new(arena: &Arena, blocks: u32) -> Self {
        let mut tx = arena.write().unwrap();
        let root = tx.alloc_zeroed(u64::from(blocks) * 8, 8).unwrap();
        for block in 0..blocks {
            let made = tx.alloc_zeroed(64 << 10, 8).unwrap();
            tx.write_at(root, u64::from(block) * 8, &made.raw().to_le_bytes()).unwrap();
        }
        tx.set_named_root("numbers", root).unwrap();
        tx.commit().unwrap();
        Self::find(arena)
    }

    fn find(arena: &Arena) -> Self {
        let tx = arena.read().unwrap();
        let root = tx.named_root::<[u8]>("numbers").unwrap().unwrap();
        let raw =
            tx.bytes(root).unwrap().chunks_exact(8).map(|raw| u64::from_le_bytes(raw.try_into().unwrap()));
        Self(raw.map(Offset::from_raw).collect())
    }

    /// Sets one number of each block, in a commit for each.
    fn set(&self, arena: &Arena, number: u64) {
        for &block in &self.0 {
            let mut tx = arena.write().unwrap();
            tx.write_at(block, number % 8000 * 8, &number.to_le_bytes()).unwrap();
            tx.commit().unwrap();
        }
    }

    #[track_caller]
    fn assert(&self, arena: &Arena, numbers: impl Iterator<Item = u64>) {
        let tx = arena.read().unwrap();
        for number in numbers {
            for &block in &self.0 {
                let at = (number % 8000 * 8) as usize;
                assert_eq!(tx.bytes(block).unwrap()[at..at + 8], number.to_le_bytes(), "{number}");
            }
        }
    }
}

/// Commits until the log is as long as it becomes.
fn until_grown(arena: &Arena, numbers: &Numbers, from: u64) -> u64 {
    let (mut number, mut last) = (from, from);
    let mut len = log_len(arena);
    while number < last + 200 {
        numbers.set(arena, number);
        number += 1;
        if log_len(arena) != len {
            (len, last) = (log_len(arena), number);
        }
    }
    number
}

#[test]
fn a_log_grows_with_its_heap_and_goes_back() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = options().create(&path).unwrap();
    let numbers = Numbers::new(&arena, 64);
    assert_eq!(log_len(&arena), LOG);
    let done = until_grown(&arena, &numbers, 1);
    let (len, heap) = (log_len(&arena), arena.stats().unwrap().heap_bytes);
    assert!(len > heap / 8 && len <= heap / 4, "{len} of {heap}");
    assert_clean(&arena);
    drop(arena);
    let arena = Arena::open(&path).unwrap();
    assert_eq!(log_len(&arena), len);
    numbers.assert(&arena, 1..done);
    numbers.set(&arena, done);
    let copy = dir.path().join("b.heap");
    arena.snapshot(&copy, &SnapshotOptions::new()).unwrap();
    let copied = Arena::open(&copy).unwrap();
    assert_eq!(log_len(&copied), LOG);
    assert_clean(&copied);
    Numbers::find(&copied).assert(&copied, 1..=done);
    let full = arena.stats().unwrap().heap_bytes;
    arena.shrink().unwrap();
    let stats = arena.stats().unwrap();
    assert!(stats.log_bytes == LOG && stats.heap_bytes <= full - len, "{stats:?}");
    assert_clean(&arena);
    numbers.assert(&arena, 1..=done);
}

/// Records that are too long for the log make it longer, if that would do.
#[test]
fn long_records_make_it_longer() {
    let dir = fast_dir();
    let arena = options().create(dir.path().join("a.heap")).unwrap();
    let numbers = Numbers::new(&arena, 64);
    let commit = |blocks: usize, byte: u8| {
        let mut tx = arena.write().unwrap();
        for &block in &numbers.0[..blocks] {
            tx.write_at(block, 0, &[byte; 20_000]).unwrap();
        }
        tx.commit().unwrap();
    };
    // Longer than a quarter of the longest that it may become.
    (0..5).for_each(|byte| commit(30, byte));
    assert_eq!(log_len(&arena), LOG);
    (0..5).for_each(|byte| commit(2, byte));
    assert_eq!(log_len(&arena), 8 * LOG);
    assert_clean(&arena);
    let tx = arena.read().unwrap();
    let holds = |block: usize, byte: u8| tx.bytes(numbers.0[block]).unwrap()[..20_000] == vec![byte; 20_000];
    assert!(holds(0, 4) && holds(1, 4) && holds(2, 4) && holds(29, 4));
}

/// Where long records change many pages, of which a checkpoint has to write more than twice what the log took, it becomes longer than a quarter of the heap; not
/// where they change the same few.
#[test]
fn scattered_changes_make_it_longer_than_others_do() {
    let dir = fast_dir();
    for (scattered, name) in [(false, "a.heap"), (true, "b.heap")] {
        let arena = options().create(dir.path().join(name)).unwrap();
        let numbers = Numbers::new(&arena, 64);
        let heap = arena.stats().unwrap().heap_bytes;
        for turn in 0..3000u64 {
            let mut tx = arena.write().unwrap();
            for i in 0..70 {
                let number = if scattered { turn * 70 + i } else { 0 };
                let at = number / 64 % 16 * 4096 + i * 8;
                tx.write_at(numbers.0[(number % 64) as usize], at, &turn.to_le_bytes()).unwrap();
            }
            tx.commit().unwrap();
        }
        let len = log_len(&arena);
        let expected = if scattered { heap / 2..=2 * heap } else { heap / 8..=heap / 4 };
        assert!(expected.contains(&len), "{len} of {heap}, scattered: {scattered}");
        assert_clean(&arena);
    }
}

#[test]
fn a_limit_keeps_it_as_it_is() {
    let dir = fast_dir();
    let arena = options().log_limit(2 * LOG).create(dir.path().join("a.heap")).unwrap();
    let numbers = Numbers::new(&arena, 64);
    until_grown(&arena, &numbers, 1);
    assert_eq!(log_len(&arena), 2 * LOG);
    let arena = options().log_limit(0).create(dir.path().join("b.heap")).unwrap();
    let numbers = Numbers::new(&arena, 64);
    until_grown(&arena, &numbers, 1);
    assert_eq!(log_len(&arena), LOG);
}

#[test]
fn a_death_at_any_step_of_a_move_loses_nothing() {
    let dir = fast_dir();
    for way in ENDS {
        let (path, killed, again) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        let arena = options().log_limit(0).create(&path).unwrap();
        let numbers = Numbers::new(&arena, 16);
        numbers.set(&arena, 1);
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        copy_at(way, path.clone(), killed.clone());
        let mut next = 2;
        while !killed.exists() {
            // Of the last ones it is not known whether the death came before or after them.
            numbers.set(&arena, next);
            next += 1;
            assert!(next < 1000, "{way:?} was not passed");
        }
        let last = next - 1;
        for _ in 0..3 {
            let arena = Arena::open(&killed).unwrap();
            assert_clean(&arena);
            numbers.assert(&arena, 1..last);
            numbers.assert(&arena, last + 1..next);
            next = next.max(last + 1);
            numbers.set(&arena, next);
            next += 1;
            assert_clean(&arena);
            // Killed again, without a checkpoint.
            copy_as_killed(&killed, &again);
            drop(arena);
            std::fs::rename(&again, &killed).unwrap();
        }
        let arena = Arena::open(&killed).unwrap();
        next = until_grown(&arena, &numbers, next);
        assert!(log_len(&arena) > LOG);
        numbers.assert(&arena, last + 1..next);
        arena.shrink().unwrap();
        assert_eq!(log_len(&arena), LOG, "{way:?}");
        assert_clean(&arena);
        drop(arena);
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&killed).unwrap();
    }
}
