//! Blocks that come and go within one transaction: they take the same place again and again, and are checked like all others.

mod common;

use common::{BOTH, fast_dir, small};
use heapfile::{Arena, Durability, Error, Offset, View, WriteTxn};
use tempfile::TempDir;

const LEN: usize = 64;

fn new(durability: Durability) -> (TempDir, Arena) {
    let dir = fast_dir();
    let arena = small(durability).create(dir.path().join("a.heap")).unwrap();
    (dir, arena)
}

/// Blocks of one length, one behind the other, the last of which was freed in this transaction: its place is the one that is taken next.
fn freed_last(tx: &mut WriteTxn<'_>) -> (Vec<Offset<[u8]>>, Offset<[u8]>) {
    let kept = (0..4u8).map(|i| tx.alloc_bytes(&[i; LEN]).unwrap()).collect();
    let freed = tx.alloc_bytes(&[9; LEN]).unwrap();
    tx.free(freed).unwrap();
    (kept, freed)
}

/// The blocks hold what was written: numbers, each one more than the one before.
fn assert_numbered(view: &impl View, blocks: &[Offset<[u8]>], from: u8) {
    assert!(blocks.iter().zip(from..).all(|(&block, i)| view.bytes(block).unwrap() == [i; LEN]));
}

fn assert_sound(arena: &Arena, blocks: usize) {
    assert_eq!(arena.check().unwrap().findings, []);
    assert_eq!(arena.read().unwrap().blocks().count(), blocks);
}

#[test]
fn pairs_take_one_place() {
    for durability in BOTH {
        let (_dir, arena) = new(durability);
        let mut tx = arena.write().unwrap();
        let (kept, freed) = freed_last(&mut tx);
        for len in [LEN, LEN - 1, LEN - 3, LEN] {
            let block = tx.alloc_bytes(&vec![len as u8; len]).unwrap();
            assert_eq!((block.raw(), tx.bytes(block).unwrap()), (freed.raw(), &vec![len as u8; len][..]));
            tx.free(block).unwrap();
        }
        // One more than there is room for in what is kept ready.
        let more: Vec<_> = (0..12u8).map(|i| tx.alloc_bytes(&[10 + i; LEN]).unwrap()).collect();
        assert_eq!(more[0], freed);
        tx.commit().unwrap();
        let tx = arena.read().unwrap();
        assert_numbered(&tx, &kept, 0);
        assert_numbered(&tx, &more, 10);
        drop(tx);
        assert_sound(&arena, 16);
    }
}

/// What is kept ready serves blocks of one class: others, and those that lie at multiples of more than 8, go elsewhere.
#[test]
fn others_do_not_take_that_place() {
    const ODD: usize = 24;
    for durability in BOTH {
        let (_dir, arena) = new(durability);
        let mut tx = arena.write().unwrap();
        let kept: Vec<_> = (0..4u8).map(|i| tx.alloc_bytes(&[i; ODD]).unwrap()).collect();
        for _ in 0..8 {
            let block = tx.alloc_bytes(&[9; ODD]).unwrap();
            tx.free(block).unwrap();
            let aligned = tx.alloc_unset(ODD as u64, 16).unwrap();
            assert!(aligned.raw().is_multiple_of(16));
            let block = tx.alloc_bytes(&[9; ODD]).unwrap();
            tx.free(block).unwrap();
            let (shorter, longer) =
                (tx.alloc_bytes(&[5; ODD - 8]).unwrap(), tx.alloc_bytes(&[6; ODD + 8]).unwrap());
            assert!([shorter, longer, aligned].iter().all(|other| other.raw() != block.raw()));
            assert_eq!(
                (tx.bytes(shorter).unwrap(), tx.bytes(longer).unwrap()),
                (&[5; ODD - 8][..], &[6; ODD + 8][..])
            );
            let again = tx.alloc_bytes(&[9; ODD]).unwrap();
            assert_eq!(again, block, "its place is still the one that is taken next");
        }
        assert!(kept.iter().zip(0..).all(|(&block, i)| tx.bytes(block).unwrap() == [i; ODD]));
        tx.commit().unwrap();
        assert_sound(&arena, 4 + 8 * 4);
    }
}

/// Between a free and the next allocation of that length the transaction changes other words.
#[test]
fn what_was_changed_in_between_stays() {
    for durability in BOTH {
        let (_dir, arena) = new(durability);
        let mut tx = arena.write().unwrap();
        let (kept, freed) = freed_last(&mut tx);
        for round in 0..8u8 {
            let other = tx.alloc_bytes(&[round; 5 * LEN]).unwrap();
            let block = tx.alloc_bytes(&[8; LEN]).unwrap();
            assert_eq!(block, freed);
            let more = tx.alloc_bytes(&[round; 9 * LEN]).unwrap();
            tx.free(block).unwrap();
            tx.free(more).unwrap();
            assert_eq!(tx.alloc_bytes(&[8; LEN]).unwrap(), block);
            tx.free(block).unwrap();
            assert_eq!(tx.bytes(other).unwrap(), [round; 5 * LEN]);
        }
        assert_numbered(&tx, &kept, 0);
        tx.commit().unwrap();
        assert_sound(&arena, 4 + 8);
    }
}

#[test]
fn only_blocks_are_freed() {
    for durability in BOTH {
        let (_dir, arena) = new(durability);
        let mut tx = arena.write().unwrap();
        let (kept, freed) = freed_last(&mut tx);
        let refused = |outcome| assert!(matches!(outcome, Err(Error::BadOffset { .. })), "{outcome:?}");
        refused(tx.free(freed));
        refused(tx.free(Offset::<u8>::from_raw(kept[0].raw() + 8)));
        refused(tx.bytes(freed).map(drop));
        kept.iter().for_each(|&block| tx.free(block).unwrap());
        kept.iter().for_each(|&block| refused(tx.free(block)));
        refused(tx.free(freed));
        tx.commit().unwrap();
        assert_sound(&arena, 0);
    }
}

/// A place whose block the transaction freed, but others still see, is not filled in place, whatever an earlier transaction knew of it.
#[test]
fn what_others_see_stays_as_it_is() {
    let (_dir, arena) = new(Durability::Process);
    let mut tx = arena.write().unwrap();
    let (kept, freed) = freed_last(&mut tx);
    let seen = tx.alloc_bytes(&[7; LEN]).unwrap();
    assert_eq!(seen, freed);
    tx.commit().unwrap();
    for round in 0..3 {
        let mut tx = arena.write().unwrap();
        tx.free(seen).unwrap();
        let other = tx.alloc_bytes(&[8; LEN]).unwrap();
        assert_ne!(other, seen, "round {round}");
        tx.free(other).unwrap();
        assert_eq!(tx.alloc_bytes(&[6; LEN]).unwrap(), other);
        drop(tx);
        let tx = arena.read().unwrap();
        assert_eq!(tx.bytes(seen).unwrap(), [7; LEN]);
        assert_numbered(&tx, &kept, 0);
    }
    assert_sound(&arena, 5);
}

#[test]
fn a_save_point_brings_them_back() {
    for durability in BOTH {
        let (_dir, arena) = new(durability);
        let mut tx = arena.write().unwrap();
        let (kept, freed) = freed_last(&mut tx);
        let block = tx.alloc_bytes(&[5; LEN]).unwrap();
        assert_eq!(block, freed);
        let point = tx.save_point();
        tx.free(block).unwrap();
        assert_eq!(tx.alloc_bytes(&[6; LEN]).unwrap(), block);
        tx.free(kept[1]).unwrap();
        tx.roll_back_to(&point).unwrap();
        assert_eq!(tx.bytes(block).unwrap(), [5; LEN]);
        assert_eq!(tx.bytes(kept[1]).unwrap(), [1; LEN]);
        assert_ne!(tx.alloc_bytes(&[6; LEN]).unwrap(), block);
        tx.commit().unwrap();
        assert_sound(&arena, 6);
    }
}
