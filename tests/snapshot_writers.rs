//! Snapshots while two processes write as fast as they can: each is of one state, sound, and none is older than the one before.
//!
//! Each commit moves an amount between two words far apart, replaces a record, sometimes a long block that is filled in place, sometimes more
//! than the log takes; now and then the file is shrunk. What a torn snapshot would have of two states does not fit together.

mod common;

use bytemuck::{Pod, Zeroable};
use common::{BOTH, assert_clean, child, fast_dir, role, small};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, Offset, Result, SnapshotOptions, View};
use std::path::Path;

/// Words of accounts; those at `i` and at the end less `i` always have the same sum.
const ACCOUNTS: usize = 1 << 19;
const SUM: u64 = 1 << 40;
const RECORDS: usize = 50;
const LONG: usize = 4;
const WIDE: u64 = 40_000;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Root {
    /// Number of the last commit.
    count: u64,
    accounts: Offset<[u64]>,
    /// The record of commit `n` at `n % RECORDS`.
    records: [Offset<[u64; 2]>; RECORDS],
    /// Blocks filled with the number of the commit that made them.
    long: [Offset<[u64]>; LONG],
    /// Written as a whole, with the number of the commit.
    wide: Offset<[u64]>,
}

fn make(arena: &Arena) -> Result<()> {
    let mut tx = arena.write()?;
    let accounts = tx.alloc_slice(&vec![SUM / 2; ACCOUNTS])?;
    let wide = tx.alloc_slice(&vec![0u64; WIDE as usize / 8])?;
    let root = Root { accounts, wide, ..Zeroable::zeroed() };
    let root = tx.alloc(&root)?;
    tx.set_root(root)?;
    tx.commit()
}

/// One commit.
fn step(arena: &Arena, rng: &mut SplitMix64) -> Result<()> {
    let mut tx = arena.write()?;
    let at = tx.root::<Root>()?.expect("made at first");
    let mut root = *tx.get(at)?;
    root.count += 1;
    let count = root.count;
    let (i, amount) = (rng.next() as usize % (ACCOUNTS / 2), rng.next() % 1000);
    for (place, change) in [(i, amount.wrapping_neg()), (ACCOUNTS - 1 - i, amount)] {
        let now = tx.slice(root.accounts)?[place].wrapping_add(change);
        tx.write_at(root.accounts.cast(), place as u64 * 8, &now.to_le_bytes())?;
    }
    let record = tx.alloc(&[count, !count])?;
    let old = std::mem::replace(&mut root.records[count as usize % RECORDS], record);
    if !old.is_null() {
        tx.free(old)?;
    }
    if count % 7 == 0 {
        let words = [9_000, 40_000, 200_000][count as usize / 7 % 3];
        let long = tx.alloc_slice(&vec![count; words])?;
        let old = std::mem::replace(&mut root.long[count as usize / 7 % LONG], long);
        if !old.is_null() {
            tx.free(old)?;
        }
    }
    if count % 31 == 0 {
        tx.slice_mut(root.wide)?.fill(count);
    }
    *tx.get_mut(at)? = root;
    tx.commit()?;
    if count % 101 == 0 {
        arena.shrink()?;
    }
    Ok(())
}

fn write(file: &Path, seed: u64) {
    let arena = Arena::open(file).unwrap();
    let mut rng = SplitMix64(seed);
    // Until the parent has had enough.
    while file.exists() {
        match step(&arena, &mut rng) {
            Ok(()) | Err(Error::Busy { .. }) => {}
            Err(Error::Replaced { .. }) => return,
            Err(e) => panic!("{e}"),
        }
    }
}

/// The commit that the arena is at; everything else has to fit it.
fn verify(arena: &Arena) -> u64 {
    assert_clean(arena);
    let tx = arena.read().unwrap();
    let root = *tx.get(tx.root::<Root>().unwrap().unwrap()).unwrap();
    let accounts = tx.slice(root.accounts).unwrap();
    for i in 0..ACCOUNTS / 2 {
        assert_eq!(accounts[i] + accounts[ACCOUNTS - 1 - i], SUM, "accounts {i} of commit {}", root.count);
    }
    let last_with = |modulus: u64, rest: u64| root.count - (root.count + modulus - rest) % modulus;
    for (i, &record) in root.records.iter().enumerate().filter(|(_, record)| !record.is_null()) {
        let count = last_with(RECORDS as u64, i as u64);
        assert_eq!(tx.get(record).unwrap(), &[count, !count]);
    }
    for &long in root.long.iter().filter(|long| !long.is_null()) {
        let words = tx.slice(long).unwrap();
        let count = words[0];
        assert!(count % 7 == 0 && count <= root.count && count + 7 * LONG as u64 + 7 > root.count);
        assert!(words.iter().all(|&word| word == count), "a long block of commit {count}");
    }
    let wide = last_with(31, 0);
    assert!(tx.slice(root.wide).unwrap().iter().all(|&word| word == wide));
    root.count
}

fn snapshots_of(durability: Durability, log_size: u64, test: &str) {
    if let Some((role, file)) = role() {
        return write(&file, role.parse().unwrap());
    }
    let dir = fast_dir();
    let (path, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    let arena = small(durability).log_size(log_size).max_size(1 << 30).create(&path).unwrap();
    make(&arena).unwrap();
    let mut writers = [1, 2].map(|seed| child(test, &seed.to_string(), &path).spawn().unwrap());
    let mut last = 0;
    for _ in 0..12 {
        let before = arena.stats().unwrap().sequence;
        let snapshot = arena.snapshot(&to, &SnapshotOptions::new().overwrite(true)).unwrap();
        assert!(snapshot.sequence >= before);
        let count = verify(&Arena::open(&to).unwrap());
        assert!(count >= last, "{count} after {last}");
        last = count;
        // So that the next one is of another state.
        while arena.stats().unwrap().sequence < snapshot.sequence + 20 {
            std::thread::yield_now();
        }
    }
    assert!(last > 100);
    std::fs::remove_file(&path).unwrap();
    for writer in &mut writers {
        let output = writer.wait().unwrap();
        assert!(output.success(), "a writer failed");
    }
}

#[test]
fn of_a_power_arena() {
    snapshots_of(Durability::Power, 4 << 20, "of_a_power_arena");
}

/// The log comes round again and again while one piece is copied, and takes not every commit.
#[test]
fn of_a_power_arena_with_a_short_log() {
    snapshots_of(Durability::Power, 64 << 10, "of_a_power_arena_with_a_short_log");
}

#[test]
fn of_a_process_arena() {
    snapshots_of(Durability::Process, 4 << 20, "of_a_process_arena");
}

#[test]
fn the_writers_keep_their_promises_without_snapshots() {
    for durability in BOTH {
        let dir = fast_dir();
        let arena = small(durability).max_size(1 << 30).create(dir.path().join("a.heap")).unwrap();
        make(&arena).unwrap();
        let mut rng = SplitMix64(3);
        (0..300).for_each(|_| step(&arena, &mut rng).unwrap());
        assert_eq!(verify(&arena), 300);
    }
}
