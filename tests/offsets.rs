//! Offsets that mean nothing here are refused, each for its reason, by every call, and nothing is changed.

mod common;

use common::{BOTH, assert_clean, bytes, dir, small};
use heapfile::{Arena, Error, Offset, OffsetFault, Result, View, WriteTxn};

/// What `call` says is wrong with the offset.
#[track_caller]
fn fault<T: std::fmt::Debug>(outcome: Result<T>, raw: u64) -> OffsetFault {
    match outcome {
        Err(Error::BadOffset { offset, fault }) if offset == raw => fault,
        other => panic!("{raw:#x}: {other:?}"),
    }
}

/// Every call that takes the offset of a block refuses this one for this reason.
#[track_caller]
fn refused(tx: &mut WriteTxn<'_>, good: Offset<[u8]>, raw: u64, expected: OffsetFault) {
    let bad = Offset::<[u8]>::from_raw(raw);
    let is = |found: OffsetFault| assert_eq!(found, expected, "{raw:#x}");
    is(fault(tx.get(bad.cast::<u64>()).copied(), raw));
    is(fault(tx.slice(bad).map(<[u8]>::len), raw));
    is(fault(tx.bytes(bad).map(<[u8]>::len), raw));
    is(fault(tx.bytes_range(bad, 0..0).map(<[u8]>::len), raw));
    is(fault(tx.part::<u8>(bad, 0).copied(), raw));
    is(fault(tx.len_of(bad), raw));
    is(fault(tx.get_mut(bad.cast::<u64>()).copied(), raw));
    is(fault(tx.slice_mut(bad).map(|all| all.len()), raw));
    is(fault(tx.bytes_mut(bad).map(|all| all.len()), raw));
    is(fault(tx.write_at(bad, 0, b""), raw));
    is(fault(tx.copy(bad, 0..0, good, 0), raw));
    is(fault(tx.copy(good, 0..0, bad, 0), raw));
    is(fault(tx.resize(bad, 3), raw));
    is(fault(tx.free(bad), raw));
    is(fault(tx.set_root(bad), raw));
    is(fault(tx.create_root("x", bad), raw));
}

/// An arena with a small block, one of whole pages, a freed one of each, and one that stays.
struct Place {
    arena: Arena,
    small: Offset<[u8]>,
    large: Offset<[u8]>,
    freed: [Offset<[u8]>; 2],
    good: Offset<[u8]>,
}

fn place(arena: Arena) -> Place {
    let mut tx = arena.write().unwrap();
    let small = tx.alloc_bytes(&bytes(1, 100)).unwrap();
    let large = tx.alloc_bytes(&bytes(2, 50_000)).unwrap();
    let freed = [tx.alloc_bytes(&bytes(3, 100)).unwrap(), tx.alloc_bytes(&bytes(4, 50_000)).unwrap()];
    let good = tx.alloc_bytes(b"good").unwrap();
    tx.commit().unwrap();
    let mut tx = arena.write().unwrap();
    freed.into_iter().for_each(|block| tx.free(block).unwrap());
    tx.commit().unwrap();
    Place { arena, small, large, freed, good }
}

#[test]
fn offsets_that_mean_nothing() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let Place { arena, small, large, freed, good } =
            place(small(durability).create(dir.path().join(i.to_string())).unwrap());
        let stats = arena.stats().unwrap();
        let end = stats.heap_offset + stats.heap_bytes;
        let mut tx = arena.write().unwrap();
        let mut refused = |raw, expected| refused(&mut tx, good, raw, expected);
        refused(0, OffsetFault::Null);
        for raw in [1, 8, 4096, stats.heap_offset - 8, end, end + 8, 1 << 40, 1 << 63, u64::MAX - 7, u64::MAX]
        {
            refused(raw, OffsetFault::OutOfRange);
        }
        refused(stats.heap_offset, OffsetFault::Metadata);
        refused(stats.heap_offset + 4096, OffsetFault::Metadata);
        for inside in [1, 4, 8, 64, 99] {
            refused(small.raw() + inside, OffsetFault::InsideBlock);
        }
        for inside in [1, 8, 4095, 4096, 8192, 49_999] {
            refused(large.raw() + inside, OffsetFault::InsideBlock);
        }
        for freed in freed {
            refused(freed.raw(), OffsetFault::NotAllocated);
            refused(freed.raw() + 8, OffsetFault::NotAllocated);
        }
        refused(freed[1].raw() + 4096, OffsetFault::NotAllocated);
        refused(end - 8, OffsetFault::NotAllocated);
        tx.commit().unwrap();
        let tx = arena.read().unwrap();
        assert_eq!(tx.bytes(small).unwrap(), bytes(1, 100));
        assert_eq!(tx.bytes(large).unwrap(), bytes(2, 50_000));
        assert_eq!(tx.bytes(good).unwrap(), b"good");
        assert!(tx.roots().unwrap().is_empty());
        drop(tx);
        assert_clean(&arena);
    }
}

#[test]
fn a_second_free_in_the_same_transaction_and_later() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let Place { arena, small, large, good, .. } =
            place(small(durability).create(dir.path().join(i.to_string())).unwrap());
        for block in [small, large] {
            let mut tx = arena.write().unwrap();
            tx.free(block).unwrap();
            refused(&mut tx, good, block.raw(), OffsetFault::NotAllocated);
            let fresh = tx.alloc_bytes(&bytes(5, 30_000)).unwrap();
            tx.free(fresh).unwrap();
            refused(&mut tx, good, fresh.raw(), OffsetFault::NotAllocated);
            tx.commit().unwrap();
            assert_eq!(fault(arena.free(block), block.raw()), OffsetFault::NotAllocated);
            assert_clean(&arena);
        }
    }
}

#[test]
fn offsets_of_another_arena() {
    let dir = dir();
    let mut offsets = Vec::new();
    let rich = place(small(BOTH[0]).create(dir.path().join("rich")).unwrap());
    let mut tx = rich.arena.write().unwrap();
    for i in 0..500u64 {
        offsets.push(tx.alloc_bytes(&bytes(i, (i * 37 % 9000) as usize)).unwrap());
    }
    tx.commit().unwrap();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let poor = small(durability).create(dir.path().join(i.to_string())).unwrap();
        let mine = poor.alloc_bytes(b"mine").unwrap();
        let mut tx = poor.write().unwrap();
        for &offset in offsets.iter().filter(|o| o.raw() != mine.raw()) {
            assert!(matches!(tx.bytes(offset), Err(Error::BadOffset { .. })), "{offset}");
            assert!(matches!(tx.free(offset), Err(Error::BadOffset { .. })), "{offset}");
        }
        tx.commit().unwrap();
        assert_eq!(poor.read().unwrap().bytes(mine).unwrap(), b"mine");
        assert_clean(&poor);
    }
}

/// The old place of a block that was moved is no block, as long as nothing else has it.
#[test]
fn the_old_offset_of_a_moved_block() {
    let dir = dir();
    let arena = small(BOTH[0]).create(dir.path().join("a")).unwrap();
    let old = arena.alloc_bytes(b"short").unwrap();
    let mut tx = arena.write().unwrap();
    let new = tx.resize(old, 40_000).unwrap();
    assert_ne!(old, new);
    assert_eq!(fault(tx.bytes(old), old.raw()), OffsetFault::NotAllocated);
    assert_eq!(&tx.bytes(new).unwrap()[..7], b"short\0\0");
    tx.commit().unwrap();
    assert_eq!(fault(arena.read().unwrap().bytes(old), old.raw()), OffsetFault::NotAllocated);
}

/// Offsets after roll back: what was allocated is gone, what was freed is back.
#[test]
fn offsets_after_roll_back() {
    let dir = dir();
    let Place { arena, small, large, .. } = place(small(BOTH[0]).create(dir.path().join("a")).unwrap());
    let mut tx = arena.write().unwrap();
    tx.free(small).unwrap();
    tx.free(large).unwrap();
    let gone = [tx.alloc_bytes(&[1; 2000]).unwrap(), tx.alloc_bytes(&[2; 70_000]).unwrap()];
    drop(tx);
    let tx = arena.read().unwrap();
    assert_eq!(tx.bytes(small).unwrap(), bytes(1, 100));
    assert_eq!(tx.bytes(large).unwrap(), bytes(2, 50_000));
    for gone in gone {
        assert_eq!(fault(tx.bytes(gone), gone.raw()), OffsetFault::NotAllocated);
    }
}
