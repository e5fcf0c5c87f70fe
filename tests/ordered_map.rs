//! `BTreeMap` does what std's does, whatever the order of operations and the lengths of keys and values, and leaves nothing behind.

mod common;

use common::model::{End, Subject, obey};
use heapfile::collections::BTreeMap;
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Options, View, WriteTxn};
use proptest::prelude::*;
use std::collections::BTreeMap as Model;
use std::ops::{Bound, RangeBounds};

type Bytes = Vec<u8>;
type Map = BTreeMap<[u8], [u8]>;

fn arena(durability: Durability) -> (tempfile::TempDir, Arena) {
    let dir = tempfile::tempdir().unwrap();
    let arena =
        Options::new().durability(durability).max_size(1 << 30).create(dir.path().join("a.heap")).unwrap();
    (dir, arena)
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Bytes, Bytes),
    Remove(Bytes),
    Take(Bytes),
    /// So many entries from one end.
    Pop {
        first: bool,
        count: u16,
    },
    Run {
        from: u16,
        count: u16,
        len: usize,
    },
    Drop {
        from: u16,
        count: u16,
    },
    Extend(Vec<(Bytes, Bytes)>),
    Load {
        from: u16,
        count: u16,
        len: usize,
    },
    /// Of each bound: inclusive, exclusive, none.
    Range((u8, Bytes), (u8, Bytes)),
    Retain(u8),
    RollBack,
    Commit,
}

/// Few different keys, so that they meet; some long, some with much in common.
fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        prop::collection::vec(0u8..3, 0..6),
        (0u8..40).prop_map(|n| vec![b'k', n]),
        (0u16..300).prop_map(|n| [b"a/long/common/prefix/".as_slice(), &n.to_be_bytes()].concat()),
        (0u8..4, 500usize..530).prop_map(|(n, len)| [vec![7; len], vec![n]].concat()),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..120),
        1 => (0u8..9, 1000usize..1100).prop_map(|(n, len)| vec![n; len]),
        1 => (0u8..9, 2000usize..20_000).prop_map(|(n, len)| vec![n; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (key(), value()).prop_map(|(k, v)| Step::Insert(k, v)),
        8 => key().prop_map(Step::Remove),
        2 => key().prop_map(Step::Take),
        3 => (any::<bool>(), 0u16..40).prop_map(|(first, count)| Step::Pop { first, count }),
        4 => (any::<u16>(), 0u16..200, 0usize..200).prop_map(|(from, count, len)| Step::Run { from, count, len }),
        4 => (any::<u16>(), 0u16..300).prop_map(|(from, count)| Step::Drop { from, count }),
        4 => prop::collection::vec((key(), value()), 0..60).prop_map(Step::Extend),
        2 => (any::<u16>(), 0u16..1500, 0usize..300).prop_map(|(from, count, len)| Step::Load { from, count, len }),
        4 => ((0..3u8, key()), (0..3u8, key())).prop_map(|(a, b)| Step::Range(a, b)),
        1 => (1u8..4).prop_map(Step::Retain),
        1 => Just(Step::RollBack),
        1 => Just(Step::Commit),
    ]
}

fn same(map: Map, tx: &impl View, model: &Model<Bytes, Bytes>) {
    map.check(tx).unwrap();
    assert_eq!(map.len(tx).unwrap(), model.len() as u64);
    let forth: Vec<_> = map.iter(tx).unwrap().map(Result::unwrap).collect();
    let expected: Vec<_> = model.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
    assert_eq!(forth, expected);
    let mut back: Vec<_> = map.iter(tx).unwrap().rev().map(Result::unwrap).collect();
    back.reverse();
    assert_eq!(back, expected);
    assert!(map.keys(tx).unwrap().map(Result::unwrap).eq(model.keys()));
    assert!(map.values(tx).unwrap().rev().map(Result::unwrap).eq(model.values().rev()));
    assert_eq!(map.first(tx).unwrap(), expected.first().copied());
    assert_eq!(map.last(tx).unwrap(), expected.last().copied());
    for (key, value) in expected {
        assert_eq!(map.get(tx, key).unwrap(), Some(value));
    }
}

fn bound((kind, key): &(u8, Bytes)) -> Bound<&[u8]> {
    match kind {
        0 => Bound::Included(key),
        1 => Bound::Excluded(key),
        _ => Bound::Unbounded,
    }
}

fn run_key(n: u16) -> Bytes {
    [b"run".as_slice(), &n.wrapping_mul(7).to_be_bytes()].concat()
}

fn play(map: Map, tx: &mut WriteTxn<'_>, model: &mut Model<Bytes, Bytes>, step: &Step) {
    match step {
        Step::Insert(k, v) => {
            assert_eq!(map.insert(tx, k, v).unwrap(), model.insert(k.clone(), v.clone()).is_some());
        }
        Step::Remove(k) => assert_eq!(map.remove(tx, k).unwrap(), model.remove(k).is_some()),
        Step::Take(k) => assert_eq!(map.take(tx, k).unwrap(), model.remove(k)),
        Step::Pop { first, count } => {
            for _ in 0..*count {
                let popped = if *first { map.pop_first(tx) } else { map.pop_last(tx) };
                assert_eq!(popped.unwrap(), if *first { model.pop_first() } else { model.pop_last() });
            }
        }
        Step::Run { from, count, len } => {
            for n in 0..*count {
                let (k, v) = (run_key(from.wrapping_add(n)), vec![n as u8; *len]);
                map.insert(tx, &k, &v).unwrap();
                model.insert(k, v);
            }
        }
        Step::Drop { from, count } => {
            for n in 0..*count {
                let k = run_key(from.wrapping_add(n));
                assert_eq!(map.remove(tx, &k).unwrap(), model.remove(&k).is_some());
            }
        }
        Step::Extend(entries) => {
            map.extend(tx, entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))).unwrap();
            model.extend(entries.iter().cloned());
        }
        Step::Load { from, count, len } => {
            // In an order of its own: 7919 is prime to all counts.
            let entries = (0..u32::from(*count)).map(|n| {
                let n = (n * 7919 % u32::from(*count)) as u16;
                (run_key(from.wrapping_add(n)), vec![n as u8; *len])
            });
            let entries: Vec<_> = entries.collect();
            map.extend(tx, entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))).unwrap();
            model.extend(entries);
        }
        Step::Range(a, b) => {
            let range = (bound(a), bound(b));
            let found: Vec<_> = map.range(tx, range).unwrap().map(|e| e.unwrap().0).collect();
            // std's panics at ranges that end before they begin.
            let inside = |k: &&[u8]| RangeBounds::<[u8]>::contains(&range, *k);
            let expected: Vec<_> = model.keys().map(Vec::as_slice).filter(inside).collect();
            assert_eq!(found, expected);
            let found: Vec<_> = map.prefix(tx, &a.1).unwrap().map(|e| e.unwrap().0).collect();
            let expected: Vec<_> = model.keys().filter(|k| k.starts_with(&a.1)).collect();
            assert_eq!(found, expected);
        }
        Step::Retain(n) => {
            let keep = |k: &[u8]| k.iter().fold(0u8, |a, b| a.wrapping_add(*b)) % 4 >= *n;
            map.retain(tx, |k, _| keep(k)).unwrap();
            model.retain(|k, _| keep(k));
        }
        Step::RollBack | Step::Commit => {}
    }
}

impl Subject for Map {
    type Act = Step;
    type Model = Model<Bytes, Bytes>;

    fn new_in(tx: &mut WriteTxn<'_>) -> Self {
        Map::new_in(tx).unwrap()
    }

    fn end(step: &Step) -> Option<End> {
        match step {
            Step::Commit => Some(End::Commit),
            Step::RollBack => Some(End::RollBack),
            _ => None,
        }
    }

    fn play(&self, tx: &mut WriteTxn<'_>, model: &mut Self::Model, step: &Step) {
        play(*self, tx, model, step);
    }

    fn assert_is(&self, tx: &impl View, model: &Self::Model) {
        same(*self, tx, model);
    }

    fn free(self, tx: &mut WriteTxn<'_>) {
        self.free(tx).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_stds_does(steps in prop::collection::vec(step(), 1..80)) {
        obey::<Map>(&steps, Durability::Process);
    }

    #[test]
    fn it_does_so_in_a_power_arena(steps in prop::collection::vec(step(), 1..40)) {
        obey::<Map>(&steps, Durability::Power);
    }

    #[test]
    fn loading_gives_what_inserting_gives(entries in prop::collection::btree_map(key(), value(), 0..400)) {
        let (_dir, arena) = arena(Durability::Process);
        let mut tx = arena.write().unwrap();
        let pairs = entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice()));
        let map = Map::from_entries(&mut tx, pairs).unwrap();
        same(map, &tx, &entries);
        map.free(&mut tx).unwrap();
        assert_eq!(tx.blocks().count(), 0);
    }
}

#[test]
fn numbers_have_their_own_order() {
    let (_dir, arena) = arena(Durability::Process);
    let mut tx = arena.write().unwrap();
    let map = BTreeMap::<i64, u64>::new_in(&mut tx).unwrap();
    for n in [5i64, -3, 0, i64::MAX, i64::MIN, 256, -256] {
        map.insert(&mut tx, &n, &(n as u64)).unwrap();
    }
    let keys: Vec<i64> = map.iter(&tx).unwrap().map(|e| e.unwrap().0).collect();
    assert_eq!(keys, [i64::MIN, -256, -3, 0, 5, 256, i64::MAX]);
    let inside: Vec<u64> = map.range(&tx, -3..256).unwrap().map(|e| *e.unwrap().1).collect();
    assert_eq!(inside, [-3i64 as u64, 0, 5]);
}

#[test]
fn plain_values_are_borrowed_aligned_between_odd_ones() {
    let (_dir, arena) = arena(Durability::Process);
    let mut tx = arena.write().unwrap();
    let map = BTreeMap::<str, [u128; 2]>::new_in(&mut tx).unwrap();
    for n in 0..200u128 {
        map.insert(&mut tx, &"x".repeat(n as usize % 17 + 1), &[n, n]).unwrap();
        map.insert(&mut tx, &format!("key {n}"), &[n, !n]).unwrap();
    }
    for n in 0..200u128 {
        assert_eq!(map.get(&tx, &format!("key {n}")).unwrap(), Some(&[n, !n]));
    }
    tx.commit().unwrap();
    let tx = arena.read().unwrap();
    assert_eq!(map.get(&tx, "key 7").unwrap(), Some(&[7, !7]));
}

#[test]
fn values_of_one_length_change_in_place() {
    let (_dir, arena) = arena(Durability::Process);
    let mut tx = arena.write().unwrap();
    let map = BTreeMap::<u16, u64>::new_in(&mut tx).unwrap();
    let (mut model, mut rng) = (Model::<u16, u64>::new(), SplitMix64(11));
    for n in 0..20_000u64 {
        let key = rng.below(500) as u16;
        match rng.below(4) {
            0 => assert_eq!(map.take(&mut tx, &key).unwrap(), model.remove(&key)),
            1 => {
                let change = |value: &mut u64| std::mem::replace(value, n);
                assert_eq!(map.update(&mut tx, &key, change).unwrap(), model.get_mut(&key).map(change));
            }
            _ => {
                let sum = map.update_or_insert(&mut tx, &key, n, |value| {
                    *value += 1;
                    *value
                });
                let value = model.entry(key).or_insert(n);
                *value += 1;
                assert_eq!(sum.unwrap(), *value);
            }
        }
    }
    let all: Vec<(u16, u64)> = map.iter(&tx).unwrap().map(|e| e.map(|(k, v)| (k, *v)).unwrap()).collect();
    assert_eq!(all, Vec::from_iter(model));
}

/// An inner node that kept one child has no key that says what its prefix is.
#[test]
fn a_node_that_is_left_with_one_child_takes_a_key_of_another_prefix() {
    let (_dir, arena) = arena(Durability::Process);
    let mut tx = arena.write().unwrap();
    let map = Map::new_in(&mut tx).unwrap();
    let key = |n: usize| format!("mmmmmmm{n:05}").into_bytes();
    // 34 entries fill a leaf, and 128 children an inner node: the second one gets three.
    map.extend(&mut tx, (0..4454).map(|n| (key(n), vec![0u8; 100]))).unwrap();
    for n in (4386..4454).rev() {
        assert!(map.remove(&mut tx, &key(n)).unwrap());
    }
    for other in [&b"z"[..], b"mmmm", b"mmmmmmm9"] {
        map.insert(&mut tx, other, &[0u8; 1000]).unwrap();
        map.check(&tx).unwrap();
        assert!(map.get(&tx, other).unwrap().is_some());
        assert!((0..4386).all(|n| map.get(&tx, &key(n)).unwrap().is_some()));
    }
    assert_eq!(map.len(&tx).unwrap(), 4389);
}

/// Sets, whose entries have no value: what padded those that are gone does not keep their nodes.
#[test]
fn a_set_of_which_little_is_left_is_small() {
    let (_dir, arena) = arena(Durability::Process);
    for at_once in [true, false] {
        let mut tx = arena.write().unwrap();
        let set = BTreeMap::<u32, [u8]>::new_in(&mut tx).unwrap();
        set.extend(&mut tx, (0..100_000).map(|n| (n, []))).unwrap();
        if at_once {
            set.retain(&mut tx, |n, _| n % 8 == 0).unwrap();
        } else {
            (0..100_000).filter(|n| n % 8 != 0).for_each(|n| assert!(set.remove(&mut tx, &n).unwrap()));
        }
        set.check(&tx).unwrap();
        assert_eq!(set.len(&tx).unwrap(), 12_500);
        let bytes: u64 = tx.blocks().map(|block| block.unwrap().len).sum();
        // A slot of 8 bytes, and 16 for a key of 4.
        assert!(bytes < 12_500 * 24 * 2, "{bytes}");
    }
}

/// A full node may need more room if its entries are laid out in another order than they came in, for padding.
#[test]
fn splits_fit_whatever_the_padding() {
    let (_dir, arena) = arena(Durability::Process);
    let mut rng = SplitMix64(3);
    for _ in 0..300 {
        let mut tx = arena.write().unwrap();
        let map = Map::new_in(&mut tx).unwrap();
        let mut model = Model::new();
        for n in 0..200u64 {
            // The first ones anywhere, the others rising: splits at the end.
            let number = if n < 40 { rng.below(1 << 40) } else { (1 << 40) + n };
            let key = [&number.to_be_bytes()[..], &vec![7; rng.below(9) as usize]].concat();
            let value = vec![n as u8; [1, 13, 16, 48, 4, 1008][rng.below(6) as usize]];
            map.insert(&mut tx, &key, &value).unwrap();
            model.insert(key, value);
        }
        same(map, &tx, &model);
    }
}

/// Of entries that lie far apart several leaves are found before the first of them changes, and each change may move, split or lengthen one.
#[test]
fn scattered_entries_find_their_leaves_whatever_those_before_did() {
    for durability in [Durability::Process, Durability::Power] {
        let (_dir, arena) = arena(durability);
        let mut rng = SplitMix64(5);
        let mut tx = arena.write().unwrap();
        let map = Map::new_in(&mut tx).unwrap();
        let mut model = Model::new();
        for round in 0..60 {
            // Two or three neighbours each: the first may leave no room for the next.
            let count = if round == 0 { 6000 } else { 40 };
            let mut entries = Vec::new();
            for _ in 0..count {
                let start = rng.below(1 << 20);
                for near in 0..rng.below(4) {
                    let value = vec![round as u8; [8, 8, 40, 100, 300, 1008, 1200][rng.below(7) as usize]];
                    entries.push(((start + near).to_be_bytes().to_vec(), value));
                }
            }
            map.extend(&mut tx, entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))).unwrap();
            model.extend(entries);
            same(map, &tx, &model);
            if round % 3 == 0 {
                tx.commit().unwrap();
                tx = arena.write().unwrap();
            }
        }
        tx.commit().unwrap();
        assert!(arena.check().unwrap().is_clean());
    }
}
