//! What is too much is refused, and nothing is changed by it.

mod common;

use common::{BOTH, assert_clean, bytes, copy_as_killed, dir, fast_dir, small};
use heapfile::{Arena, Error, Offset, Options, View};

/// Allocates blocks of `len` bytes until that fails; returns them and the error.
fn fill(arena: &Arena, len: usize) -> (Vec<Offset<[u8]>>, Error) {
    let mut blocks = Vec::new();
    loop {
        match arena.alloc_bytes(&bytes(blocks.len() as u64, len)) {
            Ok(block) => blocks.push(block),
            Err(e) => return (blocks, e),
        }
    }
}

#[test]
fn max_size_is_kept() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        for len in [100, 3000, 50_000, 200_000] {
            let path = dir.path().join(format!("{i}-{len}"));
            let options = small(durability).max_size(3 << 20);
            let arena = options.create(&path).unwrap();
            let (blocks, error) = fill(&arena, len);
            assert!(matches!(error, Error::MaxSize { max, .. } if max == 3 << 20), "{error}");
            assert!(blocks.len() * len > 1 << 20, "{} blocks of {len}", blocks.len());
            assert!(std::fs::metadata(&path).unwrap().len() <= 3 << 20);
            assert_clean(&arena);
            for (i, &block) in blocks.iter().enumerate() {
                assert_eq!(arena.read().unwrap().bytes(block).unwrap(), bytes(i as u64, len));
            }
            // What is freed can be used again, by the same handle and by the next.
            for &block in &blocks[..blocks.len() / 2] {
                arena.free(block).unwrap();
            }
            arena.alloc_bytes(&vec![1; len]).unwrap();
            drop(arena);
            let arena = options.open(&path).unwrap();
            arena.alloc_bytes(&vec![2; len]).unwrap();
            assert_clean(&arena);
            drop(arena);
            // A larger limit ends the want.
            let arena = small(durability).open(&path).unwrap();
            arena.alloc_bytes(&bytes(1, 4 << 20)).unwrap();
            assert_clean(&arena);
        }
    }
}

#[test]
fn a_large_change_at_the_limit_is_refused_whole() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let arena = small(durability).max_size(2 << 20).create(dir.path().join(i.to_string())).unwrap();
        let (blocks, _) = fill(&arena, 100_000);
        // The record of this commit fits no ring, and there is no room for it past the heap's end.
        let mut tx = arena.write().unwrap();
        for &block in &blocks {
            tx.bytes_mut(block).unwrap().fill(0xEE);
        }
        let outcome = tx.commit();
        assert!(matches!(outcome, Err(Error::MaxSize { .. })), "{outcome:?}");
        for (i, &block) in blocks.iter().enumerate() {
            assert_eq!(arena.read().unwrap().bytes(block).unwrap(), bytes(i as u64, 100_000));
        }
        assert_clean(&arena);
        let mut tx = arena.write().unwrap();
        tx.write_at(blocks[0], 0, b"small").unwrap();
        tx.commit().unwrap();
        assert_clean(&arena);
    }
}

#[test]
fn max_size_is_refused_where_not_even_an_empty_arena_fits() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let outcome = Options::new().max_size(1 << 20).log_size(4 << 20).create(&path);
    assert!(matches!(outcome, Err(Error::MaxSize { max, .. }) if max == 1 << 20), "{outcome:?}");
    assert_clean(&Options::new().max_size(1 << 20).log_size(64 << 10).create(&path).unwrap());
}

#[test]
fn a_handle_with_a_smaller_limit_than_the_file() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let large = Options::new().log_size(64 << 10).create(&path).unwrap();
    let little = Options::new().max_size(1 << 20).open(&path).unwrap();
    let x = large.alloc_bytes(&bytes(1, 8 << 20)).unwrap();
    assert!(matches!(little.read(), Err(Error::MaxSize { max, .. }) if max == 1 << 20));
    assert!(matches!(little.write(), Err(Error::MaxSize { .. })));
    // What is there already is never too much for a new handle.
    let little = Options::new().max_size(1 << 20).open(&path).unwrap();
    assert_eq!(little.read().unwrap().len_of(x).unwrap(), 8 << 20);
    assert!(matches!(little.alloc_bytes(&bytes(1, 8 << 20)), Err(Error::MaxSize { .. })));
    assert_clean(&little);
}

#[test]
fn names_lengths_and_alignments_that_are_refused() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let arena = small(durability).create(dir.path().join(i.to_string())).unwrap();
        let mut tx = arena.write().unwrap();
        let x = tx.alloc_bytes(b"content").unwrap();
        for len in [u64::MAX, u64::MAX - 4095, 1 << 63, 1 << 45, 1 << 40, 65 << 20] {
            for outcome in [
                tx.alloc_unset(len, 8),
                tx.alloc_unset(len, 4096),
                tx.alloc_zeroed(len, 1),
                tx.resize(x, len),
            ] {
                assert!(
                    matches!(outcome, Err(Error::TooLarge { .. } | Error::MaxSize { .. })),
                    "{len}: {outcome:?}"
                );
            }
        }
        let words = tx.alloc_slice(&[1u64, 2]).unwrap();
        assert!(matches!(tx.resize(words, u64::MAX / 2), Err(Error::TooLarge { .. })));
        for align in [0, 3, 24, 4097, 8192, 1 << 40, usize::MAX] {
            let outcome = tx.alloc_unset(8, align);
            assert!(matches!(outcome, Err(Error::BadOption { option: "align", .. })), "{align}: {outcome:?}");
        }
        let name = "n".repeat(1025);
        assert!(matches!(tx.create_root(&name, x), Err(Error::TooLarge { .. })));
        assert!(matches!(tx.set_named_root(&name, x), Err(Error::TooLarge { .. })));
        tx.create_root(&name[..1024], x).unwrap();
        assert!(matches!(tx.rename_root(&name[..1024], &name), Err(Error::TooLarge { .. })));
        assert_eq!(tx.named_root::<[u8]>(&name[..1024]).unwrap(), Some(x));
        tx.commit().unwrap();
        assert_eq!(arena.read().unwrap().bytes(x).unwrap(), b"content");
        assert_clean(&arena);
        // The two blocks, the directory, one record: nothing is left of what failed.
        assert_eq!(arena.check().unwrap().counts.blocks, 4);
    }
}

#[test]
fn a_root_that_finds_no_space_leaves_nothing_behind() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).log_size(512 << 10).max_size(3 << 19).create(&path).unwrap();
        let x = arena.alloc(&1u64).unwrap();
        // Long names, so that records and directory are of different classes, and one of them finds space sooner.
        let mut tx = arena.write().unwrap();
        let mut made = 0;
        let error = loop {
            let before = tx.blocks().count();
            match tx.create_root(&format!("{made:0400}"), x) {
                Ok(()) => made += 1,
                Err(e) => {
                    assert_eq!(tx.blocks().count(), before, "a failed call left a block");
                    break e;
                }
            }
            if made % 5 == 0 {
                tx.commit().unwrap();
                tx = arena.write().unwrap();
            }
        };
        assert!(matches!(error, Error::MaxSize { .. }), "{error}");
        let before = tx.blocks().count();
        let _ = tx.rename_root(&format!("{:0400}", 1), &"x".repeat(1024));
        assert_eq!(tx.blocks().count(), before);
        assert_eq!(tx.roots().unwrap().len(), made);
        tx.commit().unwrap();
        assert_clean(&arena);
        assert_eq!(arena.check().unwrap().counts.blocks as usize, made + 2);
        let copy = dir.path().join("copy");
        copy_as_killed(&path, &copy);
        assert_eq!(Arena::open(&copy).unwrap().read().unwrap().roots().unwrap().len(), made);
    }
}

/// A heap that has nearly all that it may have leaves room for a record that is too long for the log.
#[test]
fn growth_leaves_room_for_a_long_record() {
    let dir = fast_dir();
    for durability in BOTH {
        let path = dir.path().join(format!("{durability:?}"));
        let arena = small(durability).max_size(8 << 20).create(&path).unwrap();
        let block = arena.alloc_bytes(&vec![0; 100_000]).unwrap();
        let used = |arena: &Arena| arena.stats().map(|stats| stats.heap_bytes - stats.free_bytes).unwrap();
        while used(&arena) < 7_740_000 {
            arena.alloc_bytes(&[1; 20_000]).unwrap();
        }
        let mut tx = arena.write().unwrap();
        tx.bytes_mut(block).unwrap().fill(2);
        tx.commit().unwrap();
        // What blocks need they get, to the last page.
        while arena.alloc_unset(4096, 4096).is_ok() {}
        assert!(std::fs::metadata(&path).unwrap().len() > (8 << 20) - (64 << 10));
        assert_eq!(arena.stats().unwrap().free_bytes, 0);
        assert_eq!(arena.read().unwrap().bytes(block).unwrap(), vec![2; 100_000]);
        assert_clean(&arena);
    }
}
