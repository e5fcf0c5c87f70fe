//! Save points: what was done since is taken back, bytes and blocks and roots; nesting; misuse.

mod common;

use common::{BOTH, assert_clean, bytes, dir, small};
use heapfile::{Error, Offset, SavePoint, View};

#[test]
fn content_comes_back_even_where_its_place_was_used_again() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let arena = small(durability).create(dir.path().join(i.to_string())).unwrap();
        for len in [8, 100, 3000, 5000, 20_000, 100_000, 300_000] {
            let (before, after) = (bytes(1, len), bytes(2, len));
            let mut tx = arena.write().unwrap();
            let x = tx.alloc_bytes(&before).unwrap();
            let point = tx.save_point();
            tx.free(x).unwrap();
            let y = tx.alloc_bytes(&after).unwrap();
            tx.roll_back_to(&point).unwrap();
            assert!(tx.bytes(x).unwrap() == before, "{len} bytes, same place: {}", x == y);
            tx.release(point).unwrap();
            tx.commit().unwrap();
            assert!(arena.read().unwrap().bytes(x).unwrap() == before);
            assert_clean(&arena);
        }
    }
}

#[test]
fn each_change_is_taken_back() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let arena = small(durability).create(dir.path().join(i.to_string())).unwrap();
        let mut tx = arena.write().unwrap();
        let all: Vec<_> =
            [10, 300, 9000, 120_000].map(|len| tx.alloc_bytes(&bytes(len, len as usize)).unwrap()).to_vec();
        tx.create_root("root", all[0]).unwrap();
        // Blocks of earlier transactions, and of this one.
        let mut fresh = all.clone();
        if i == 0 {
            tx.commit().unwrap();
            tx = arena.write().unwrap();
            fresh.clear();
        }
        let state = |tx: &heapfile::WriteTxn<'_>| -> Vec<(Offset<[u8]>, Vec<u8>)> {
            tx.blocks().map(|b| b.unwrap().offset).map(|b| (b, tx.bytes(b).unwrap().to_vec())).collect()
        };
        let before = state(&tx);
        let point = tx.save_point();
        for round in 0..3 {
            tx.bytes_mut(all[2]).unwrap().fill(round);
            tx.write_at(all[3], 60_000, &bytes(9, 40_000)).unwrap();
            tx.copy(all[3], 0..300, all[1], 0).unwrap();
            let moved = tx.resize(all[1], 30_000).unwrap();
            tx.free(moved).unwrap();
            tx.free(all[0]).unwrap();
            tx.alloc_bytes(&bytes(7, 250_000)).unwrap();
            tx.rename_root("root", "other").unwrap();
            tx.set_root(all[2]).unwrap();
            tx.roll_back_to(&point).unwrap();
            assert!(state(&tx) == before, "round {round}");
            assert_eq!(tx.roots().unwrap().len(), 1);
            assert_eq!(tx.named_root::<[u8]>("root").unwrap(), Some(all[0]));
        }
        tx.commit().unwrap();
        assert_clean(&arena);
        let tx = arena.read().unwrap();
        for (offset, content) in before {
            assert!(tx.bytes(offset).unwrap() == content);
        }
    }
}

#[test]
fn inner_changes_go_with_the_outer_point_even_when_released() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let arena = small(durability).create(dir.path().join(i.to_string())).unwrap();
        let x = arena.alloc_bytes(&[0; 200]).unwrap();
        let mut tx = arena.write().unwrap();
        tx.bytes_mut(x).unwrap()[0] = 1;
        let outer = tx.save_point();
        tx.bytes_mut(x).unwrap()[0] = 2;
        let inner = tx.save_point();
        tx.bytes_mut(x).unwrap()[0] = 3;
        let y = tx.alloc_bytes(&[7; 10]).unwrap();
        tx.release(inner).unwrap();
        assert_eq!((tx.bytes(x).unwrap()[0], tx.bytes(y).unwrap()[0]), (3, 7));
        tx.bytes_mut(x).unwrap()[0] = 4;
        tx.roll_back_to(&outer).unwrap();
        assert_eq!(tx.bytes(x).unwrap()[0], 1);
        assert!(tx.bytes(y).is_err());
        tx.bytes_mut(x).unwrap()[1] = 5;
        tx.roll_back_to(&outer).unwrap();
        tx.commit().unwrap();
        assert_eq!(arena.read().unwrap().bytes(x).unwrap()[..2], [1, 0]);
        assert_clean(&arena);
    }
}

#[test]
fn points_that_are_no_longer_valid() {
    let dir = dir();
    let arena = small(BOTH[0]).create(dir.path().join("a")).unwrap();
    let other = small(BOTH[0]).create(dir.path().join("b")).unwrap();
    #[track_caller]
    fn refused(tx: &mut heapfile::WriteTxn<'_>, point: SavePoint) {
        assert!(matches!(tx.roll_back_to(&point), Err(Error::BadSavePoint)));
        assert!(matches!(tx.release(point), Err(Error::BadSavePoint)));
    }
    let mut tx = arena.write().unwrap();
    let x = tx.alloc(&1u32).unwrap();
    let old = tx.save_point();
    let outer = tx.save_point();
    let inner = tx.save_point();
    let innermost = tx.save_point();
    // Rolled back past.
    tx.roll_back_to(&outer).unwrap();
    refused(&mut tx, inner);
    refused(&mut tx, innermost);
    // Released with an outer one.
    let inner = tx.save_point();
    tx.release(outer).unwrap();
    refused(&mut tx, inner);
    *tx.get_mut(x).unwrap() = 2;
    tx.commit().unwrap();
    // Of an earlier transaction: its number is one of this transaction's, too.
    let mut tx = arena.write().unwrap();
    let _own = tx.save_point();
    *tx.get_mut(x).unwrap() = 3;
    refused(&mut tx, old);
    assert_eq!(tx.get(x).unwrap(), &3);
    // Of another arena.
    let mut far = other.write().unwrap();
    let strange = far.save_point();
    refused(&mut tx, strange);
    tx.commit().unwrap();
    assert_eq!(arena.read().unwrap().get(x).unwrap(), &3);
}

#[test]
fn a_transaction_dropped_with_open_points_leaves_nothing() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let arena = small(durability).create(dir.path().join(i.to_string())).unwrap();
        let x = arena.alloc_bytes(&bytes(1, 500)).unwrap();
        for _ in 0..3 {
            let mut tx = arena.write().unwrap();
            let point = tx.save_point();
            tx.bytes_mut(x).unwrap().fill(9);
            tx.alloc_bytes(&bytes(3, 100_000)).unwrap();
            let _inner = tx.save_point();
            tx.free(x).unwrap();
            tx.roll_back_to(&point).unwrap();
            drop(tx);
            let mut tx = arena.write().unwrap();
            let _point = tx.save_point();
            tx.write_at(x, 3, b"abc").unwrap();
            drop(tx);
            assert!(arena.read().unwrap().bytes(x).unwrap() == bytes(1, 500));
            assert_clean(&arena);
        }
        // The next one begins anew.
        let mut tx = arena.write().unwrap();
        let point = tx.save_point();
        let y = tx.alloc_bytes(&bytes(4, 70_000)).unwrap();
        tx.release(point).unwrap();
        tx.commit().unwrap();
        assert!(arena.read().unwrap().bytes(y).unwrap() == bytes(4, 70_000));
        assert_clean(&arena);
    }
}
