//! A commit too long for the log waits for its recovery behind the heap's end, where the heap may have reached a moment before: recovery writes
//! nothing over it, so that the next one finds it where this one is cut off.

mod common;

use common::{assert_clean, fast_dir, killed_at, small};
use heapfile::testing;
use heapfile::{Arena, Durability, View};

#[test]
fn a_recovery_that_is_cut_off_leaves_the_next_one_all_it_needs() {
    let dir = fast_dir();
    let [path, shrunk, found, mended] = ["a", "shrunk", "found", "mended"].map(|name| dir.path().join(name));
    let arena = small(Durability::Power).create(&path).unwrap();
    let long = arena.alloc_bytes(&vec![1; 300 << 10]).unwrap();
    let last = arena.alloc_bytes(&vec![1; 300 << 10]).unwrap();
    arena.checkpoint().unwrap();
    // Records since the tail: a word of each page behind the first block, and the end of these pages.
    let mut tx = arena.write().unwrap();
    for page in 0..75 {
        tx.write_at(last, page * 4096, &[2; 8]).unwrap();
    }
    tx.commit().unwrap();
    arena.free(last).unwrap();
    let end = arena.stats().unwrap().heap_bytes;
    // A shrink that died when it had cut the heap, and not yet the file: it makes its checkpoint in between.
    let cut = killed_at("commit: done", &path, || {
        arena.shrink().unwrap();
    });
    std::fs::write(&shrunk, cut).unwrap();
    let arena = Arena::open(&shrunk).unwrap();
    assert!(arena.stats().unwrap().heap_bytes < end, "the heap was not cut: the test shows nothing");
    let killed = killed_at("commit: record durable", &shrunk, || {
        let mut tx = arena.write().unwrap();
        tx.bytes_mut(long).unwrap().fill(3);
        tx.commit().unwrap();
    });
    // Everything since the tail is replayed only where the machine went down too.
    testing::set_boot(Some([2; 16]));
    std::fs::write(&found, &killed).unwrap();
    let mut half = killed_at("recover: replayed", &found, || drop(Arena::open(&found).unwrap()));
    // The power goes, and of what was mended the disk has all but the block.
    let block = long.raw() as usize..long.raw() as usize + (300 << 10);
    half[block.clone()].copy_from_slice(&killed[block]);
    testing::set_boot(Some([3; 16]));
    std::fs::write(&mended, half).unwrap();
    let arena = Arena::open(&mended).unwrap();
    assert!(arena.read().unwrap().bytes(long).unwrap() == vec![3; 300 << 10], "the commit is lost");
    assert_clean(&arena);
}
