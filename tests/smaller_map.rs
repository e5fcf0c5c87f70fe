//! A handle that maps less of the file than a killed writer did: what counts and lies beyond its map is not passed over, and said to be there.

mod common;

use common::*;
use heapfile::{Arena, Durability, Error, Locking, Offset, Options, View};
use std::path::Path;

const TEST: &str = "what_counts_beyond_the_map_is_not_passed_over";

fn options(durability: Durability, locking: Locking) -> Options {
    small(durability).locking(locking)
}

fn contents(arena: &Arena) -> Vec<u8> {
    let tx = arena.read().unwrap();
    let root: Offset<[u8]> = tx.root().unwrap().expect("set before");
    tx.bytes(root).unwrap().to_vec()
}

/// A record too long for the log or the intent area, which is put past the heap's end.
fn change_all(path: &Path) {
    let arena = Options::new().max_size(64 << 20).open(path).unwrap();
    let mut tx = arena.write().unwrap();
    tx.alloc_bytes(&bytes(2, 4 << 20)).unwrap();
    let root: Offset<[u8]> = tx.root().unwrap().expect("set before");
    tx.bytes_mut(root).unwrap().fill(9);
    tx.commit().unwrap();
}

#[test]
fn what_counts_beyond_the_map_is_not_passed_over() {
    if let Some((_, path)) = role() {
        return change_all(&path);
    }
    let points = [
        (Durability::Power, ["commit: record durable", "commit: half applied", "commit: applied"]),
        (Durability::Process, ["commit: intent valid", "commit: half applied", "commit: applied"]),
    ];
    for (durability, points) in points {
        for (locking, point) in
            [Locking::Shared, Locking::File].into_iter().flat_map(|l| points.map(|p| (l, p)))
        {
            let dir = fast_dir();
            let path = dir.path().join("a.heap");
            let arena = options(durability, locking).max_size(2 << 20).create(&path).unwrap();
            let mut tx = arena.write().unwrap();
            let root = tx.alloc_bytes(&[1; 400_000]).unwrap();
            tx.set_root(root).unwrap();
            tx.commit().unwrap();

            let child = child(TEST, "writer", &path).env("HEAPFILE_FAILPOINT", point).output().unwrap();
            assert!(!child.status.success(), "{point} was not passed");
            let outcomes = [arena.write().map(drop), arena.alloc(&1u8).map(drop), arena.check().map(drop)];
            for outcome in outcomes {
                assert!(matches!(outcome, Err(Error::MaxSize { .. })), "{point}: {outcome:?}");
            }

            let arena = options(durability, locking).open(&path).unwrap();
            assert!(contents(&arena) == [9; 400_000], "{point}: a commit that counts is lost or torn");
            assert_clean(&arena);
        }
    }
}
