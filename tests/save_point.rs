//! Rolling back to a save point puts every byte back, also where a block was freed and its place taken again.

use heapfile::{Durability, Options, View};

#[test]
fn a_place_taken_again_is_put_back() {
    for durability in [Durability::Power, Durability::Process] {
        let dir = tempfile::tempdir().unwrap();
        let arena = Options::new().durability(durability).create(dir.path().join("a.heap")).unwrap();
        let mut tx = arena.write().unwrap();
        let first = tx.alloc(&1u64).unwrap();
        let large = tx.alloc_bytes(&[3; 100_000]).unwrap();
        let point = tx.save_point();
        tx.free(first).unwrap();
        tx.free(large).unwrap();
        let second = tx.alloc(&2u64).unwrap();
        let other = tx.alloc_bytes(&[4; 100_000]).unwrap();
        assert_eq!(second, first, "the place is taken again, or this shows nothing");
        assert_ne!(other, large);
        tx.roll_back_to(&point).unwrap();
        assert_eq!(tx.get(first).unwrap(), &1, "{durability:?}");
        tx.commit().unwrap();
        let tx = arena.read().unwrap();
        assert_eq!(tx.get(first).unwrap(), &1, "{durability:?}");
        assert!(tx.bytes(large).unwrap().iter().all(|&b| b == 3));
        drop(tx);
        assert!(arena.check().unwrap().is_clean());
    }
}
