//! Hash maps behave as std's: keys and values of all kinds, across transactions, save points and roll back.

mod common;

use common::model::{End, Subject, obey};
use common::{BOTH, bytes, fast_dir, small};
use heapfile::collections::{HashMap, Vector, hash_map::Position};
use heapfile::{Arena, Durability, Error, Options, View, WriteTxn};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Act {
    Insert(Vec<u8>, Vec<u8>),
    /// A value of so many bytes.
    Long(Vec<u8>, usize),
    Remove(Vec<u8>),
    Take(Vec<u8>),
    Get(Vec<u8>),
    Many(u16),
    RemoveMany(u16),
    /// So many entries at once, of which some have the same key.
    Extend(u16, u16),
    Retain(u8),
    Clear,
    Commit,
    RollBack,
    SavePoint(Vec<Act>, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    // Few different keys, so that they meet; some of them long.
    let key = || {
        prop_oneof![
            8 => proptest::collection::vec(0..4u8, 0..4),
            1 => (0..3usize).prop_map(|n| vec![7; n * 3000]),
        ]
    };
    let act = prop_oneof![
        8 => (key(), proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|(k, v)| Act::Insert(k, v)),
        1 => (key(), 0..200_000usize).prop_map(|(k, n)| Act::Long(k, n)),
        3 => key().prop_map(Act::Remove),
        1 => key().prop_map(Act::Take),
        2 => key().prop_map(Act::Get),
        2 => any::<u16>().prop_map(Act::Many),
        2 => any::<u16>().prop_map(Act::RemoveMany),
        2 => (0..20u16, 0..700u16).prop_map(|(from, n)| Act::Extend(from, n)),
        1 => any::<u8>().prop_map(Act::Retain),
        2 => Just(Act::Clear),
        2 => Just(Act::Commit),
        1 => Just(Act::RollBack),
    ];
    let nested = act.prop_recursive(1, 20, 8, |act| {
        (proptest::collection::vec(act, 0..8), any::<bool>())
            .prop_map(|(acts, keep)| Act::SavePoint(acts, keep))
    });
    proptest::collection::vec(nested, 0..40)
}

type Map = HashMap<[u8], [u8]>;
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

impl Subject for Map {
    type Act = Act;
    type Model = Model;

    fn new_in(tx: &mut WriteTxn<'_>) -> Self {
        Map::new_in(tx).unwrap()
    }

    fn end(act: &Act) -> Option<End> {
        match act {
            Act::Commit => Some(End::Commit),
            Act::RollBack => Some(End::RollBack),
            _ => None,
        }
    }

    fn play(&self, tx: &mut WriteTxn<'_>, model: &mut Model, act: &Act) {
        let map = self;
        match act {
            Act::Insert(key, value) => {
                let replaced = map.insert(tx, key, value).unwrap();
                assert_eq!(replaced, model.insert(key.clone(), value.clone()).is_some());
            }
            Act::Long(key, len) => {
                let value = bytes(*len as u64, *len);
                map.insert(tx, key, &value).unwrap();
                model.insert(key.clone(), value);
            }
            Act::Remove(key) => assert_eq!(map.remove(tx, key).unwrap(), model.remove(key).is_some()),
            Act::Take(key) => assert_eq!(map.take(tx, key).unwrap(), model.remove(key)),
            Act::Get(key) => {
                assert_eq!(map.get(tx, key).unwrap(), model.get(key).map(Vec::as_slice));
                assert_eq!(map.contains_key(tx, key).unwrap(), model.contains_key(key));
            }
            Act::Many(n) => {
                for i in *n..n.saturating_add(60) {
                    let key = i.to_le_bytes();
                    map.insert(tx, &key, &key).unwrap();
                    model.insert(key.to_vec(), key.to_vec());
                }
            }
            Act::RemoveMany(n) => {
                for i in *n..n.saturating_add(200) {
                    let key = i.to_le_bytes();
                    assert_eq!(map.remove(tx, &key).unwrap(), model.remove(&key[..]).is_some());
                }
            }
            Act::Extend(from, n) => {
                // Of lengths on both sides of a size class, and of what is written side by side.
                let entries = (0..*n).map(|i| {
                    let len = if i % 97 == 0 { 5000 } else { usize::from(i % 3) * 60 };
                    ((i % 600 + from).to_le_bytes(), bytes(i.into(), len))
                });
                map.extend(tx, entries.clone().map(|(k, v)| (k.to_vec(), v))).unwrap();
                model.extend(entries.map(|(k, v)| (k.to_vec(), v)));
            }
            Act::Retain(n) => {
                let keep = |key: &[u8], value: &[u8]| (key.len() + value.len()) % 7 != usize::from(n % 7);
                map.retain(tx, keep).unwrap();
                model.retain(|k, v| keep(k, v));
            }
            Act::Clear => {
                map.clear(tx).unwrap();
                model.clear();
            }
            Act::SavePoint(acts, keep) => {
                let (point, before) = (tx.save_point(), model.clone());
                for act in acts {
                    self.play(tx, model, act);
                }
                if !keep {
                    tx.roll_back_to(&point).unwrap();
                    *model = before;
                }
                tx.release(point).unwrap();
            }
            Act::Commit | Act::RollBack => {}
        }
    }

    fn assert_is(&self, tx: &impl View, model: &Model) {
        let map = self;
        map.check(tx).unwrap();
        assert_eq!(map.len(tx).unwrap(), model.len() as u64);
        let all: Model =
            map.iter(tx).unwrap().map(|e| e.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        assert!(all == *model);
        let keys: BTreeSet<_> = map.keys(tx).unwrap().map(Result::unwrap).collect();
        assert!(keys.into_iter().eq(model.keys()));
        let mut values: Vec<_> = map.values(tx).unwrap().map(Result::unwrap).collect();
        let mut expected: Vec<_> = model.values().collect();
        values.sort_unstable();
        expected.sort_unstable();
        assert_eq!(values, expected);
        for (key, value) in model.iter().take(20) {
            assert_eq!(map.get(tx, key).unwrap(), Some(&value[..]));
        }
    }

    fn free(self, tx: &mut WriteTxn<'_>) {
        self.free(tx).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_hash_map_is_a_map(acts in acts(), power in any::<bool>()) {
        obey::<Map>(&acts, BOTH[usize::from(power)]);
    }
}

fn arena() -> Arena {
    Options::new().durability(Durability::Process).create_anonymous().unwrap()
}

#[test]
fn keys_and_values_of_all_kinds() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let words = HashMap::<str, u128>::new_in(&mut tx).unwrap();
    let signed = HashMap::<i64, [u32]>::new_in(&mut tx).unwrap();
    let pairs = HashMap::<[u16; 3], str>::new_in(&mut tx).unwrap();
    let floats = HashMap::<f64, Vector<u8>>::new_in(&mut tx).unwrap();
    for n in 0..500i64 {
        words.insert(&mut tx, &n.to_string(), &(n as u128)).unwrap();
        signed.insert(&mut tx, &(n - 250), &vec![n as u32; n as usize % 9]).unwrap();
        pairs.insert(&mut tx, &[n as u16, 1, 2], &"x".repeat(n as usize % 50)).unwrap();
        let value = Vector::from_slice(&mut tx, &[n as u8]).unwrap();
        floats.insert(&mut tx, &(n as f64 / 3.0), &value).unwrap();
    }
    tx.commit().unwrap();
    let tx = arena.read().unwrap();
    for n in 0..500i64 {
        assert_eq!(words.get(&tx, &n.to_string()).unwrap(), Some(&(n as u128)));
        assert_eq!(signed.get(&tx, &(n - 250)).unwrap(), Some(&vec![n as u32; n as usize % 9][..]));
        assert_eq!(pairs.get(&tx, &[n as u16, 1, 2]).unwrap(), Some(&*"x".repeat(n as usize % 50)));
        let value = floats.get(&tx, &(n as f64 / 3.0)).unwrap().unwrap();
        assert_eq!(value.as_slice(&tx).unwrap(), [n as u8]);
    }
    let keys: BTreeSet<i64> = signed.iter(&tx).unwrap().map(|e| e.unwrap().0).collect();
    assert!(keys.into_iter().eq(-250..250));
    for result in [words.check(&tx), signed.check(&tx), pairs.check(&tx), floats.check(&tx)] {
        result.unwrap();
    }
}

#[test]
fn a_map_opened_as_another_type_is_refused() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<u64, u64>::new_in(&mut tx).unwrap();
    let other = HashMap::<u64, [u8]>::from_offset(map.offset());
    assert!(matches!(other.get(&tx, &1), Err(Error::Corrupt { .. })));
    assert!(matches!(HashMap::<u64, u64>::none().get(&tx, &1), Err(Error::BadOffset { .. })));
}

#[test]
fn no_insert_and_no_remove_moves_more_than_a_few_words() {
    let dir = fast_dir();
    let arena = Options::new().create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<u64, u64>::with_hash_key(&mut tx, [1, 2]).unwrap();
    map.extend(&mut tx, (0..20_000).map(|n| (n, n))).unwrap();
    tx.commit().unwrap();
    let mut most = 0;
    let mut logged = |change: &dyn Fn(&mut WriteTxn<'_>)| {
        let before = arena.stats().unwrap().log_used_bytes;
        let mut tx = arena.write().unwrap();
        change(&mut tx);
        tx.commit().unwrap();
        // Where a checkpoint came in between there is nothing to compare.
        most = most.max(arena.stats().unwrap().log_used_bytes.saturating_sub(before));
    };
    for n in 20_000..21_000u64 {
        logged(&|tx| assert!(!map.insert(tx, &n, &n).unwrap()));
    }
    for n in 0..1000u64 {
        logged(&|tx| assert!(map.remove(tx, &n).unwrap()));
    }
    assert!(most > 0 && most <= 8192, "{most} bytes");
    map.check(&arena.read().unwrap()).unwrap();
}

#[test]
fn a_map_shrinks_with_its_entries() {
    let dir = fast_dir();
    let arena = Options::new().create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<u64, [u8]>::new_in(&mut tx).unwrap();
    for n in 0..50_000u64 {
        map.insert(&mut tx, &n, &[1; 100]).unwrap();
    }
    tx.commit().unwrap();
    let before = arena.stats().unwrap().file_bytes;
    let mut tx = arena.write().unwrap();
    for n in 0..45_000u64 {
        assert!(map.remove(&mut tx, &n).unwrap());
    }
    map.check(&tx).unwrap();
    tx.commit().unwrap();
    let shrunk = arena.shrink().unwrap();
    assert!(shrunk.file_bytes - shrunk.punched_bytes < before / 2, "{shrunk:?} of {before}");
    let mut tx = arena.write().unwrap();
    for n in 45_000..50_000u64 {
        assert!(map.remove(&mut tx, &n).unwrap());
    }
    assert_eq!(tx.blocks().count(), 2, "header and four buckets");
}

#[test]
fn a_listing_in_pieces_sees_what_stays_exactly_once() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<u64, u64>::from_entries(&mut tx, (0..3000).map(|n| (n, n))).unwrap();
    tx.commit().unwrap();
    let (mut at, mut seen, mut round) = (Some(Position::START), Vec::new(), 0u64);
    while let Some(from) = at {
        let tx = arena.read().unwrap();
        let mut some = map.iter_from(&tx, from).unwrap();
        seen.extend(some.by_ref().take(37).map(|e| e.unwrap().0).filter(|&n| n < 1000));
        at = some.position().unwrap();
        drop(tx);
        // The table shrinks at first, then grows far over what it was.
        let mut tx = arena.write().unwrap();
        for n in 0..200 {
            if round < 10 {
                map.remove(&mut tx, &(1000 + round * 200 + n)).unwrap();
            } else {
                map.insert(&mut tx, &(10_000 + round * 200 + n), &0).unwrap();
            }
        }
        tx.commit().unwrap();
        round += 1;
        assert!(round < 1000, "it comes to an end");
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..1000));
}

#[test]
fn a_full_arena_leaves_the_map_as_it_was() {
    let dir = fast_dir();
    let arena = small(Durability::Power).max_size(4 << 20).create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<u64, [u8]>::new_in(&mut tx).unwrap();
    let mut n = 0u64;
    let error = loop {
        match map.insert(&mut tx, &n, &[1; 50]) {
            Ok(_) => n += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, Error::MaxSize { .. }), "{error}");
    assert!(matches!(map.insert(&mut tx, &0, &[0; 1 << 20]), Err(Error::MaxSize { .. })));
    map.check(&tx).unwrap();
    assert_eq!(map.len(&tx).unwrap(), n);
    for n in 0..n {
        assert!(map.remove(&mut tx, &n).unwrap());
    }
    map.check(&tx).unwrap();
    map.free(&mut tx).unwrap();
    assert_eq!(tx.blocks().count(), 0);
}

#[test]
fn values_are_changed_in_place() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<str, [u8]>::new_in(&mut tx).unwrap();
    let (block, start) = map.insert_unset(&mut tx, "long", 1 << 20).unwrap();
    tx.write_at(block, start, &bytes(1, 1 << 20)).unwrap();
    map.insert(&mut tx, "long", &bytes(2, 1 << 20)).unwrap();
    let place = map.place(&tx, "long").unwrap();
    assert_eq!(place, Some((block, start, 1 << 20)), "of the same length: at its place");
    assert!(map.get(&tx, "long").unwrap() == Some(&bytes(2, 1 << 20)[..]));
    map.insert(&mut tx, "long", b"short").unwrap();
    assert_eq!(map.get(&tx, "long").unwrap(), Some(&b"short"[..]));
    assert!(tx.len_of(map.place(&tx, "long").unwrap().unwrap().0).unwrap() < 100);

    let counts = HashMap::<[u8; 2], u64>::new_in(&mut tx).unwrap();
    for byte in bytes(3, 10_000) {
        counts.update_or_insert(&mut tx, &[byte % 16, 0], 0, |n| *n += 1).unwrap();
    }
    let sum: u64 = counts.iter(&tx).unwrap().map(|e| *e.unwrap().1).sum();
    assert_eq!((counts.len(&tx).unwrap(), sum), (16, 10_000));
    assert_eq!(counts.take(&mut tx, &[99, 0]).unwrap(), None);
    assert!(counts.take(&mut tx, &[3, 0]).unwrap().is_some_and(|n| n > 100));
    assert_eq!(counts.len(&tx).unwrap(), 15);
}

#[test]
fn values_lie_at_multiples_of_what_divides_their_length() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = Map::new_in(&mut tx).unwrap();
    map.insert(&mut tx, &[1; 16], &[1; 100]).unwrap();
    let (block, ..) = map.place(&tx, &[1; 16]).unwrap().unwrap();
    assert_eq!(tx.len_of(block).unwrap(), 124, "no padding where none is needed");
    let loaded = Map::new_in(&mut tx).unwrap();
    let entry = |n: u64| (bytes(n, (n % 41) as usize), bytes(n, (n / 41) as usize));
    loaded.extend(&mut tx, (0..41 * 90).map(entry).filter(|(key, _)| key.len() > 4)).unwrap();
    loaded.check(&tx).unwrap();
    let assert_aligned = |tx: &WriteTxn<'_>, map: &Map, key: &[u8]| {
        let (block, start, len) = map.place(tx, key).unwrap().unwrap();
        let align = if len == 0 { 1 } else { 1 << len.trailing_zeros().min(4) };
        assert_eq!((block.raw() + start) % align, 0, "{len} bytes under {} bytes", key.len());
    };
    for (key, value) in (0..41 * 90).map(entry).filter(|(key, _)| key.len() > 4) {
        assert_eq!(loaded.get(&tx, &key).unwrap(), Some(&value[..]));
        assert_aligned(&tx, &loaded, &key);
        // One after the other of all lengths under one key.
        let key = &key[..key.len() % 5];
        map.insert(&mut tx, key, &value).unwrap();
        assert_eq!(map.get(&tx, key).unwrap(), Some(&value[..]));
        assert_aligned(&tx, &map, key);
    }
    map.check(&tx).unwrap();
    let grown = &[9; 3];
    map.insert(&mut tx, grown, &[1; 16]).unwrap();
    let before = map.place(&tx, grown).unwrap().unwrap();
    map.insert(&mut tx, grown, &[1; 13]).unwrap();
    assert_eq!(map.place(&tx, grown).unwrap(), Some((before.0, before.1, 13)), "in its block");
}

/// Several entries are found before the first of them changes.
#[test]
fn entries_that_come_together_may_have_one_key() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = Map::new_in(&mut tx).unwrap();
    let mut model = Model::new();
    let mut put = |tx: &mut WriteTxn<'_>, entries: &[(u8, usize)]| {
        let entries = entries.iter().enumerate().map(|(i, &(key, len))| (vec![key; 9], vec![i as u8; len]));
        let entries: Vec<_> = entries.collect();
        map.extend(tx, entries.clone()).unwrap();
        model.extend(entries);
        map.assert_is(tx, &model);
    };
    put(&mut tx, &[(1, 20), (2, 20), (3, 20), (4, 20)]);
    // In its place, then elsewhere, and again; where it was comes a new one of its length.
    put(&mut tx, &[(1, 20), (2, 500), (2, 500), (5, 20), (2, 20), (1, 20), (5, 20)]);
    // New ones between others, one of them twice.
    put(&mut tx, &[(6, 30), (3, 20), (7, 30), (6, 30), (6, 90), (4, 20), (6, 30), (3, 2000), (3, 20)]);
}

/// Keys that fall into one bucket of a map whose hash key is known are spread in a map that has its own.
#[test]
fn keys_made_to_collide_do_so_only_where_the_hash_key_is_known() {
    const KNOWN: [u64; 2] = [1, 2];
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let many = HashMap::<u64, ()>::with_hash_key(&mut tx, KNOWN).unwrap();
    many.extend(&mut tx, (0..300_000u64).map(|n| (n, ()))).unwrap();
    // Neighbours in a large map's order have the low bits of their hashes in common.
    let colliding: Vec<u64> = many.iter(&tx).unwrap().take(300).map(|entry| entry.unwrap().0).collect();
    many.free(&mut tx).unwrap();
    let blocks_for = |tx: &mut WriteTxn<'_>, map: HashMap<u64, ()>, keys: &[u64]| {
        let before = tx.blocks().count();
        keys.iter().for_each(|key| assert!(!map.insert(tx, key, &()).unwrap()));
        assert!(keys.iter().all(|key| map.contains_key(tx, key).unwrap()));
        tx.blocks().count() - before
    };
    let known = HashMap::with_hash_key(&mut tx, KNOWN).unwrap();
    let flooded = blocks_for(&mut tx, known, &colliding);
    let own = HashMap::new_in(&mut tx).unwrap();
    let spread = blocks_for(&mut tx, own, &colliding);
    let other = HashMap::new_in(&mut tx).unwrap();
    let plain = blocks_for(&mut tx, other, &Vec::from_iter(0..300));
    assert!(flooded > plain + 25, "{flooded} blocks, {plain} for any keys: they did not collide");
    assert!(spread < plain + 15, "{spread} blocks, {plain} for any keys");
}
