//! A transaction in which a change failed half-way cannot be committed, so that no half of it ever counts.

mod common;

use common::{assert_clean, small};
use heapfile::collections::{BTreeMap, HashMap, List, Vector};
use heapfile::store::{Kind, Store, Table};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, Offset, View, WriteTxn};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// A store without tables, of 4 MiB at most.
fn small_store() -> (tempfile::TempDir, Store) {
    let dir = common::fast_dir();
    let options = small(Durability::Process).max_size(4 << 20);
    let store = Store::with(options.create(dir.path().join("a.heap")).unwrap());
    (dir, store)
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

/// Takes all room with blocks of these lengths, one length after the other, and gives the last `free` of them back.
fn take_room(tx: &mut WriteTxn<'_>, lens: &[u64], align: usize, free: usize) {
    let mut blocks = Vec::new();
    for &len in lens {
        while let Ok(block) = tx.alloc_unset(len, align) {
            blocks.push(block);
        }
    }
    blocks.drain(blocks.len() - free..).for_each(|block| tx.free(block).unwrap());
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

/// Gives so many bytes, then fails or panics.
struct Broken {
    left: u64,
    panics: bool,
}

impl Read for Broken {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            assert!(!self.panics, "the source panics");
            return Err(std::io::Error::other("the network went"));
        }
        let n = (to.len() as u64).min(self.left) as usize;
        to[..n].fill(7);
        self.left -= n as u64;
        Ok(n)
    }
}

/// Of a value whose source failed, nothing is committed: neither a part of it, nor what its place held before.
#[test]
fn a_value_comes_whole_from_its_source_or_not_at_all() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        let dir = common::fast_dir();
        let store = Store::with(small(Durability::Process).create(dir.path().join("a.heap")).unwrap());
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, "films", kind).unwrap();
        table.put(&mut tx, b"film", &vec![1; 3 << 20]).unwrap();
        tx.commit().unwrap();
        for (len, left, panics) in [(3, 0, false), (3, 2, false), (4, 3, false), (3, 2, true)] {
            let mut tx = store.write().unwrap();
            let source = Broken { left: left << 20, panics };
            let put = catch_unwind(AssertUnwindSafe(|| table.put_from(&mut tx, b"film", len << 20, source)));
            assert_eq!(put.is_err(), panics);
            assert!(put.is_err() || put.is_ok_and(|put| put.is_err()));
            // A source that gave nothing may have changed nothing.
            assert!(matches!(tx.commit(), Err(Error::HalfChanged)) || left == 0);
            assert!(store.get("films", b"film").unwrap().unwrap() == vec![1; 3 << 20]);
        }
    }
}

/// A block that did not find its way into the map is not left over.
#[test]
fn a_value_without_room_for_its_key_leaves_no_block() {
    let mut seen = 0;
    for step in 0..40 {
        let (_dir, arena, _) = full(0);
        let mut tx = arena.write().unwrap();
        let map = BTreeMap::<[u8], [u8]>::new_in(&mut tx).unwrap();
        take_room(&mut tx, &[4096], 4096, step % 4 + 1);
        tx.commit().unwrap();
        let mut tx = arena.write().unwrap();
        let before = tx.blocks().count();
        if map.insert_unset(&mut tx, &[1; 3000], 4096 * (step as u64 / 4 % 4 + 1)).is_err() {
            let after = tx.blocks().count();
            let committed = tx.commit().is_ok();
            assert!(!committed || after == before, "{step}: {after} blocks, {before} before");
            seen += usize::from(after != before);
        }
    }
    assert!(seen > 0, "no insertion failed between its block and its key: the test shows nothing");
}

/// What a caller's closure leaves half-way, by an error or a panic, cannot be committed.
#[test]
fn closures_that_fail_leave_no_half_of_a_collection() {
    let (_dir, arena, _) = full(0);
    let mut tx = arena.write().unwrap();
    let ordered = BTreeMap::<u64, u64>::from_entries(&mut tx, (0..1100).map(|n| (n, n))).unwrap();
    let hashed = HashMap::<u64, u64>::new_in(&mut tx).unwrap();
    hashed.extend(&mut tx, (0..300).map(|n| (n, n))).unwrap();
    let vector = Vector::<u64>::from_slice(&mut tx, &[7; 20_000]).unwrap();
    let list = List::<u64>::new_in(&mut tx).unwrap();
    for n in 0..9 {
        list.push_back(&mut tx, n).unwrap();
    }
    tx.commit().unwrap();
    // At the first item, and at a later one.
    for after in [0, 5] {
        let fails = || {
            let mut left = after;
            move |_: &mut WriteTxn<'_>| {
                left -= 1;
                if left < 0 { Err(Error::Unordered) } else { Ok(()) }
            }
        };
        let panics = |most: i32| {
            let mut left = most + after;
            move || {
                left -= 1;
                assert!(left >= 0, "the closure panics");
                false
            }
        };
        type Act<'a> = Box<dyn Fn(&mut WriteTxn<'_>) -> Result<(), Error> + 'a>;
        let acts: [Act<'_>; 11] = [
            Box::new(|tx| {
                let mut fails = fails();
                ordered.free_with(tx, |tx, _| tx.alloc(&1u8).and_then(|_| fails(tx)))
            }),
            Box::new(|tx| {
                let mut fails = fails();
                hashed.free_with(tx, |tx, _| fails(tx))
            }),
            Box::new(|tx| {
                let mut fails = fails();
                vector.free_with(tx, |tx, _| fails(tx))
            }),
            Box::new(|tx| {
                let mut fails = fails();
                list.free_with(tx, |tx, _| fails(tx))
            }),
            Box::new(|tx| {
                let mut panics = panics(1);
                hashed.retain(tx, |_, _| panics())
            }),
            Box::new(|tx| {
                // It looks at 1024 entries before it removes the first.
                let mut panics = panics(1025);
                ordered.retain(tx, |_, _| panics())
            }),
            Box::new(|tx| {
                let mut panics = panics(1);
                list.retain(tx, |_| panics())
            }),
            Box::new(|tx| {
                let mut panics = panics(1);
                list.extend(tx, (0..9).map(|n| n + u64::from(panics())))
            }),
            Box::new(|tx| {
                let mut panics = panics(9000);
                vector.retain(tx, |_| panics())
            }),
            Box::new(|tx| {
                let mut panics = panics(1);
                hashed.extend(tx, (1000..2000).map(|n| (n, u64::from(panics()))))
            }),
            Box::new(|tx| {
                let mut panics = panics(1);
                ordered.extend(tx, (1000..2000).map(|n| (n, u64::from(panics()))))
            }),
        ];
        for (number, act) in acts.iter().enumerate() {
            let mut tx = arena.write().unwrap();
            let failed = catch_unwind(AssertUnwindSafe(|| act(&mut tx))).map_or(true, |done| done.is_err());
            assert!(failed, "{number}");
            assert!(matches!(tx.commit(), Err(Error::HalfChanged)), "{number} after {after}");
        }
    }
    let tx = arena.read().unwrap();
    ordered.check(&tx).unwrap();
    hashed.check(&tx).unwrap();
    assert_eq!((vector.len(&tx).unwrap(), list.len(&tx).unwrap()), (20_000, 9));
    drop(tx);
    assert_clean(&arena);
}

/// What a closure takes back, of a change that goes on.
#[test]
fn a_closure_that_rolls_back_to_before_the_change_leaves_a_half() {
    let dir = common::fast_dir();
    let arena = small(Durability::Process).create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let vector = Vector::from_slice(&mut tx, &[1u8, 2, 3]).unwrap();
    tx.commit().unwrap();
    let mut tx = arena.write().unwrap();
    let point = tx.save_point();
    let _ = vector.free_with(&mut tx, |tx, _| tx.roll_back_to(&point));
    assert!(matches!(tx.commit(), Err(Error::HalfChanged)));
    // To a point of its own it may.
    let mut tx = arena.write().unwrap();
    let point = tx.save_point();
    vector
        .free_with(&mut tx, |tx, _| {
            let inner = tx.save_point();
            tx.alloc(&1u64)?;
            tx.roll_back_to(&inner)
        })
        .unwrap();
    tx.roll_back_to(&point).unwrap();
    tx.commit().unwrap();
    assert_eq!(vector.as_slice(&arena.read().unwrap()).unwrap(), [1, 2, 3]);
    assert_clean(&arena);
}

/// Packing frees the old place of a value after it has found a new one.
#[test]
fn packing_without_room_loses_nothing() {
    let mut half = 0;
    for free in 0..12 {
        let (_dir, arena, _) = full(0);
        let mut tx = arena.write().unwrap();
        let map = BTreeMap::<u64, [u8]>::new_in(&mut tx).unwrap();
        for key in 0..100 {
            map.insert(&mut tx, &key, &[key as u8; 2000]).unwrap();
        }
        take_room(&mut tx, &[64 << 10, 8 << 10, 2000], 16, free);
        tx.commit().unwrap();
        let mut tx = arena.write().unwrap();
        let packed = map.pack(&mut tx);
        match tx.commit() {
            Err(Error::HalfChanged) => half += u32::from(packed.is_err()),
            committed => committed.unwrap(),
        }
        map.check(&arena.read().unwrap()).unwrap();
        assert_eq!(map.len(&arena.read().unwrap()).unwrap(), 100);
    }
    assert!(half > 0, "no packing failed half-way: the test shows nothing");
}

/// Where there is no room for a value in pieces nothing has changed, and the transaction goes on.
#[test]
fn a_value_in_pieces_without_room_changes_nothing() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        let (_dir, store) = small_store();
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, "films", kind).unwrap();
        table.put(&mut tx, b"short", b"1").unwrap();
        table.put_from(&mut tx, b"film", 8 << 20, std::io::repeat(7)).unwrap_err();
        tx.commit().unwrap();
        assert_eq!(store.len("films").unwrap(), 1);
        assert_clean(store.arena());
    }
}

/// Nobody has the handle of a map that could not be filled.
#[test]
fn a_map_that_could_not_be_filled_is_not_committed() {
    let (_dir, arena, _) = full(0);
    for ordered in [true, false] {
        let mut tx = arena.write().unwrap();
        let entries = [("key", vec![7; 4 << 20])];
        let error = if ordered {
            BTreeMap::<str, [u8]>::from_entries(&mut tx, entries).unwrap_err()
        } else {
            HashMap::<str, [u8]>::from_entries(&mut tx, entries).unwrap_err()
        };
        assert!(error.is_want_of_space(), "{error}");
        assert!(matches!(tx.commit(), Err(Error::HalfChanged)));
    }
    assert_clean(&arena);
}

/// A hashed table whose file has no name any more, so that it does not become longer: what an insertion says is what it did.
#[test]
fn an_insertion_whose_table_cannot_grow_is_whole() {
    let mut refused = 0;
    for len in 1..60 {
        let dir = common::fast_dir();
        let path = dir.path().join("a.heap");
        let arena = small(Durability::Process).create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        let map = HashMap::<u64, [u8]>::new_in(&mut tx).unwrap();
        tx.commit().unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut there = 0;
        loop {
            let mut tx = arena.write().unwrap();
            match map.insert(&mut tx, &there, &vec![7; len]) {
                Ok(_) => there += 1,
                Err(e) => {
                    assert!(matches!(e, Error::Replaced { .. }), "{e}");
                    assert_eq!(
                        (map.len(&tx).unwrap(), map.contains_key(&tx, &there).unwrap()),
                        (there, false)
                    );
                    refused += 1;
                    break;
                }
            }
            tx.commit().unwrap();
        }
    }
    assert!(refused > 0);
}

/// Where there is no room for a value, or for the node that would have to be longer for it, nothing is changed or nothing is committed.
#[test]
fn a_refused_value_leaves_its_table_as_it_was() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        let (_dir, store) = small_store();
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, "t", kind).unwrap();
        tx.commit().unwrap();
        let mut tx = store.write().unwrap();
        table.put(&mut tx, b"long", &[1; 5000]).unwrap();
        table.put(&mut tx, b"short", b"1").unwrap();
        for key in [&b"new"[..], b"long", b"short"] {
            let error = table.put(&mut tx, key, &vec![7; 8 << 20]).unwrap_err();
            assert!(error.is_want_of_space(), "{error}");
            assert_eq!(table.len(&tx).unwrap(), 2);
            assert_eq!(table.get(&tx, b"long").unwrap(), Some(&[1; 5000][..]));
            assert_eq!(table.get(&tx, b"short").unwrap(), Some(&b"1"[..]));
        }
        tx.commit().unwrap();
        store.check().unwrap();
        assert_clean(store.arena());
    }
}

/// Where the first table finds no room, or only a part of what it needs, no block of it stays.
#[test]
fn a_refused_table_leaves_no_block() {
    let mut refused = 0;
    for header in 0..5 {
        for tree in 0..4 {
            let (_dir, arena, _) = full(0);
            let mut tx = arena.write().unwrap();
            take_room(&mut tx, &[64 << 10, 4096, 2000, 500], 8, 0);
            let mut room = Vec::new();
            for (len, count) in [(256, tree & 1), (320, tree >> 1), (32, header)] {
                while let Ok(block) = tx.alloc_unset(len, 8) {
                    room.push((len, block));
                }
                let free = room.len().saturating_sub(count)..;
                room.drain(free).for_each(|(_, block)| tx.free(block).unwrap());
            }
            tx.commit().unwrap();
            let before = arena.check().unwrap().counts.blocks;
            let mut tx = arena.write().unwrap();
            if Table::create(&mut tx, "t", Kind::Ordered).is_ok() {
                continue;
            }
            refused += 1;
            tx.commit().unwrap();
            assert_eq!(arena.check().unwrap().counts.blocks, before, "{header} {tree}");
        }
    }
    assert!(refused > 0);
}

/// The directory does without a table whose blocks are still there.
#[test]
fn a_damaged_table_is_not_dropped_by_half() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        let (_dir, store) = small_store();
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, "t", kind).unwrap();
        table.put(&mut tx, b"key", b"value").unwrap();
        let header: u64 = match kind {
            Kind::Ordered => bytemuck::cast(table.ordered().unwrap()),
            _ => bytemuck::cast(table.hashed().unwrap()),
        };
        tx.write_at(Offset::from_raw(header), 0, &[9; 8]).unwrap();
        tx.commit().unwrap();
        let mut tx = store.write().unwrap();
        let error = Table::drop_table(&mut tx, "t").unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(matches!(tx.commit(), Err(Error::HalfChanged)));
        assert_eq!(store.tables().unwrap().len(), 1);
    }
}

type Change = fn(&mut WriteTxn<'_>, BTreeMap<[u8], [u8]>) -> Result<(), Error>;

/// A map's entry leads to a block of the map itself, which goes with the entry.
#[test]
fn a_map_that_loses_a_block_of_its_own_is_not_committed() {
    let changes: [(bool, Change); 2] = [
        (true, |tx, map| map.remove(tx, b"key").map(drop)),
        (false, |tx, map| map.extend(tx, [(&b"key"[..], &b"short"[..])])),
    ];
    for (leads_to_header, change) in changes {
        let (_dir, arena, _) = full(0);
        let mut tx = arena.write().unwrap();
        let entries = [(&b"key"[..], &[7; 2000][..]), (b"other", b"x")];
        let map = BTreeMap::<[u8], [u8]>::from_entries(&mut tx, entries).unwrap();
        let node = Offset::<[u8]>::from_raw(*tx.part::<u64>(map.offset(), 8).unwrap());
        let (value, ..) = map.place(&tx, b"key").unwrap().unwrap();
        let stored = value.raw().to_le_bytes();
        let at = tx.bytes(node).unwrap().windows(8).position(|word| word == stored).unwrap();
        let own = if leads_to_header { map.offset().raw() } else { node.raw() };
        tx.write_at(node, at as u64, &own.to_le_bytes()).unwrap();
        tx.commit().unwrap();
        let mut tx = arena.write().unwrap();
        let error = change(&mut tx, map).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(matches!(tx.commit(), Err(Error::HalfChanged)));
        assert_eq!(map.get(&arena.read().unwrap(), b"other").unwrap(), Some(&b"x"[..]));
    }
}

/// A handle that leads to no map is the caller's mistake, and costs no block.
#[test]
fn a_value_for_no_map_takes_no_block() {
    let (_dir, arena, _) = full(0);
    let before = arena.check().unwrap().counts.blocks;
    let mut tx = arena.write().unwrap();
    let ordered = BTreeMap::<str, [u8]>::none().insert_unset(&mut tx, "a", 1 << 10);
    let hashed = HashMap::<str, [u8]>::none().insert_unset(&mut tx, "a", 1 << 10);
    for refused in [ordered, hashed] {
        assert!(matches!(refused, Err(Error::BadOffset { .. })));
    }
    tx.commit().unwrap();
    assert_eq!(arena.check().unwrap().counts.blocks, before);
}

/// The heap's own metadata leads astray in the middle of a call.
#[test]
fn what_the_heap_left_half_done_is_not_committed() {
    let dir = common::fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(Durability::Process).create(&path).unwrap();
    let mut tx = arena.write().unwrap();
    // A slab that is full, and left its class's list when the next one was made.
    let first = tx.alloc(&[7u8; 40]).unwrap();
    let mut last = first;
    while last.raw() - first.raw() < 1 << 14 {
        last = tx.alloc(&[7u8; 40]).unwrap();
    }
    tx.commit().unwrap();
    drop(arena);
    // The class of 40 bytes: its list begins at a page that is none.
    let mut bytes = std::fs::read(&path).unwrap();
    let header = bytes.chunks(4096).position(|page| page.starts_with(b"heapfil1")).unwrap();
    let at = header * 4096 + (32 + 4) * 8;
    bytes[at..at + 4].copy_from_slice(&0x7FFF_FFFFu32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let arena = Arena::open(&path).unwrap();
    let mut tx = arena.write().unwrap();
    assert!(matches!(tx.free(first), Err(Error::Corrupt { .. })));
    assert!(matches!(tx.commit(), Err(Error::HalfChanged)));
    assert!(arena.read().unwrap().get(first).is_ok(), "as it was");
}

/// Where nothing is free a block still becomes shorter.
#[test]
fn a_block_becomes_shorter_where_there_is_no_room() {
    let (_dir, arena, _) = full(0);
    let mut tx = arena.write().unwrap();
    let block = tx.alloc_bytes(&[7; 12 << 10]).unwrap();
    take_room(&mut tx, &[64 << 10, 4096], 8, 0);
    take_room(&mut tx, &[2000, 500, 104, 100], 8, 0);
    assert!(tx.alloc_unset(100, 8).is_err());
    let same = tx.resize(block, 100).unwrap();
    assert_eq!((same, tx.bytes(same).unwrap()), (block, &[7; 100][..]));
    assert_eq!(tx.resize(same, 12 << 10).unwrap(), block, "its room is its own");
    tx.commit().unwrap();
    assert_clean(&arena);
}
