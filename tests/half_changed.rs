//! A transaction in which a change failed half-way cannot be committed, so that no half of it ever counts.

mod common;

use common::{assert_clean, small};
use heapfile::collections::BTreeMap;
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, WriteTxn};

type Map = BTreeMap<u64, [u8]>;

fn full(seed: u64) -> (tempfile::TempDir, Arena, Map) {
    let dir = common::fast_dir();
    let options = small(Durability::Process).max_size((1 << 20) + (seed % 8) * 4096);
    let arena = options.create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let map = Map::new_in(&mut tx).unwrap();
    tx.commit().unwrap();
    (dir, arena, map)
}

/// Inserts until there is no room.
fn fill(map: Map, tx: &mut WriteTxn<'_>, rng: &mut SplitMix64) -> Error {
    loop {
        let len = rng.below(400) as usize;
        if let Err(e) = map.insert(tx, &rng.next(), &vec![7; len]) {
            return e;
        }
    }
}

#[test]
fn what_is_committed_after_an_error_is_whole() {
    let (mut half, mut whole) = (0, 0);
    for seed in 0..60 {
        let (_dir, arena, map) = full(seed);
        let mut rng = SplitMix64(seed);
        let mut tx = arena.write().unwrap();
        let error = fill(map, &mut tx, &mut rng);
        assert!(matches!(error, Error::MaxSize { .. }), "{error}");
        match tx.commit() {
            Ok(()) => whole += 1,
            Err(Error::HalfChanged) => half += 1,
            Err(e) => panic!("{e}"),
        }
        map.check(&arena.read().unwrap()).unwrap();
        assert_clean(&arena);
    }
    println!("{half} half-way, {whole} whole");
    assert!(half > 0, "no insertion failed half-way: the test shows nothing");
}

#[test]
fn rolled_back_to_before_it_the_transaction_goes_on() {
    for seed in 0..60 {
        let (_dir, arena, map) = full(seed);
        let mut rng = SplitMix64(seed);
        let mut tx = arena.write().unwrap();
        map.insert(&mut tx, &1, b"one").unwrap();
        let before = tx.save_point();
        fill(map, &mut tx, &mut rng);
        let after = tx.save_point();
        tx.roll_back_to(&after).unwrap();
        let error = fill(map, &mut tx, &mut rng);
        assert!(matches!(error, Error::MaxSize { .. } | Error::Corrupt { .. }), "{error}");
        tx.roll_back_to(&before).unwrap();
        map.insert(&mut tx, &2, b"two").unwrap();
        tx.commit().unwrap();
        let tx = arena.read().unwrap();
        map.check(&tx).unwrap();
        assert_eq!(map.len(&tx).unwrap(), 2);
    }
}

#[test]
fn a_member_of_a_group_that_hides_such_an_error_is_rolled_back_alone() {
    let mut half = 0;
    for seed in 0..60 {
        let (_dir, arena, map) = full(seed);
        let mut rng = SplitMix64(seed);
        arena.submit(|tx| map.insert(tx, &1, b"one")).unwrap();
        let hidden = arena.submit(|tx| {
            fill(map, tx, &mut rng);
            Ok::<(), Error>(())
        });
        half += u32::from(matches!(hidden, Err(Error::HalfChanged)));
        map.check(&arena.read().unwrap()).unwrap();
        assert_eq!(map.get(&arena.read().unwrap(), &1).unwrap(), Some(&b"one"[..]));
    }
    assert!(half > 0, "no insertion failed half-way: the test shows nothing");
}
