//! The file grows under its mapping: nothing moves, for nobody.

mod common;

use common::{BOTH, assert_clean, bytes, fast_dir, small};
use heapfile::{Arena, Locking, View};

#[test]
fn blocks_keep_their_address_while_the_file_grows() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).max_size(1 << 30).create(&path).unwrap();
        let other = Arena::open(&path).unwrap();
        let x = arena.alloc_bytes(&bytes(1, 9000)).unwrap();
        let address = |arena: &Arena| arena.read().unwrap().bytes(x).unwrap().as_ptr() as usize;
        let before = [&arena, &other].map(address);
        let length = std::fs::metadata(&path).unwrap().len();
        for n in 0..30 {
            let grower = if n % 2 == 0 { &arena } else { &other };
            grower.alloc_bytes(&bytes(n, 700_000)).unwrap();
            assert_eq!([&arena, &other].map(address), before);
        }
        assert!(std::fs::metadata(&path).unwrap().len() > length + 20 * 700_000);
        let tx = other.read().unwrap();
        assert!(tx.bytes(x).unwrap() == bytes(1, 9000));
        assert_eq!(tx.blocks().count(), 31);
        drop(tx);
        assert_clean(&arena);
        assert_clean(&other);
    }
}

/// A view that is held while another thread makes the file longer stays what it is.
#[test]
fn a_view_stays_valid_while_another_clone_grows_the_file() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).locking(Locking::Shared).max_size(1 << 30).create(&path).unwrap();
        let x = arena.alloc_bytes(&bytes(1, 50_000)).unwrap();
        let tx = arena.read().unwrap();
        let view = tx.bytes(x).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        std::thread::scope(|scope| {
            let grower = arena.clone();
            let growing = scope.spawn(move || {
                // Its body needs no reader gone, so the file grows under this one's view.
                let mut tx = grower.write().unwrap();
                for n in 0..20 {
                    tx.alloc_bytes(&bytes(n, 500_000)).unwrap();
                }
            });
            growing.join().unwrap();
        });
        assert!(std::fs::metadata(&path).unwrap().len() > length + 5_000_000);
        assert!(view == bytes(1, 50_000));
        drop(tx);
        assert_clean(&arena);
    }
}

#[test]
fn the_file_grows_by_an_eighth_at_least() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        let mut lengths = vec![std::fs::metadata(&path).unwrap().len()];
        while lengths[lengths.len() - 1] < 20 << 20 {
            arena.alloc_bytes(&[7; 30_000]).unwrap();
            let now = std::fs::metadata(&path).unwrap().len();
            if now != lengths[lengths.len() - 1] {
                lengths.push(now);
            }
        }
        // Half a megabyte became 20: by an eighth each time, that is some thirty steps.
        assert!(lengths.len() < 40, "{} steps", lengths.len());
        // Reserved on the disk, not only named.
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(&path).unwrap();
        assert!(file.blocks() * 512 >= file.len());
        assert_clean(&arena);
    }
}

/// A handle that is killed while it makes the file longer may leave it longer than it has space for; so may other programs.
#[test]
fn length_without_space_gets_its_space_before_it_is_used() {
    use std::os::unix::fs::MetadataExt;
    for (i, durability) in BOTH.into_iter().enumerate() {
        let dirs = [fast_dir(), common::dir()];
        for (j, dir) in dirs.iter().enumerate() {
            let path = dir.path().join(format!("{i}{j}"));
            let arena = small(durability).create(&path).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len() + (3 << 20);
            file.set_len(length).unwrap();
            assert!(file.metadata().unwrap().blocks() * 512 < length, "the tail has space here");
            let mut tx = arena.write().unwrap();
            // More than the heap has, less than the file.
            let x = tx.alloc_unset(1 << 20, 8).unwrap();
            let file = file.metadata().unwrap();
            assert_eq!(file.len(), length);
            assert!(file.blocks() * 512 >= length, "{} of {length} bytes", file.blocks() * 512);
            drop(tx);
            assert!(arena.read().unwrap().bytes(x).is_err());
            assert_clean(&arena);
        }
    }
}

/// A transaction that made the file longer and was dropped leaves a file that the next one uses.
#[test]
fn growth_that_was_rolled_back() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        let x = arena.alloc(&1u8).unwrap();
        for _ in 0..5 {
            let mut tx = arena.write().unwrap();
            tx.alloc_bytes(&bytes(1, 5 << 20)).unwrap();
            tx.free(x).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 12 << 20, "each time anew");
        assert_clean(&arena);
        let y = arena.alloc_bytes(&bytes(2, 5 << 20)).unwrap();
        assert!(arena.read().unwrap().bytes(y).unwrap() == bytes(2, 5 << 20));
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        assert!(arena.read().unwrap().bytes(y).unwrap() == bytes(2, 5 << 20));
        assert_clean(&arena);
    }
}
