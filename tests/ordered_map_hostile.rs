//! Nodes with any content: reading, changing and checking give an error or go on; they never panic and never go on for ever.

use heapfile::collections::BTreeMap;
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, Offset, Options, Result, View, WriteTxn};

type Map = BTreeMap<[u8], [u8]>;

const ENTRIES: u64 = 700;

fn key(n: u64) -> Vec<u8> {
    match n % 50 {
        0 => vec![b'k'; 520 + n as usize],
        _ => format!("a common prefix {:05}", n * 7919 % 10_000).into_bytes(),
    }
}

fn build() -> (tempfile::TempDir, Arena, Map) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.heap");
    let arena = Options::new().durability(Durability::Process).max_size(64 << 20).create(path).unwrap();
    let mut tx = arena.write().unwrap();
    let map = Map::new_in(&mut tx).unwrap();
    for n in 0..ENTRIES {
        map.insert(&mut tx, &key(n), &vec![n as u8; if n % 40 == 0 { 1500 } else { 30 }]).unwrap();
    }
    tx.commit().unwrap();
    (dir, arena, map)
}

/// An error of damage, or none.
#[track_caller]
fn tolerable<T>(outcome: Result<T>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(Error::Corrupt { .. } | Error::BadOffset { .. }) => false,
        Err(e) => panic!("{e}"),
    }
}

/// Everything that can be done with a map; each change is taken back.
fn exercise(map: Map, tx: &mut WriteTxn<'_>) {
    let checked = tolerable(map.check(tx));
    for back in [false, true] {
        let Ok(entries) = map.iter(tx) else { continue };
        let entries: Box<dyn Iterator<Item = _>> =
            if back { Box::new(entries.rev()) } else { Box::new(entries) };
        let mut count = 0;
        for entry in entries {
            tolerable(entry);
            count += 1;
            assert!(count < 100_000, "a walk without an end");
        }
        assert!(!checked || count == map.len(tx).unwrap(), "check finds nothing, and a walk ends early");
    }
    let point = tx.save_point();
    for n in (0..ENTRIES).step_by(11) {
        tolerable(map.get(tx, &key(n)));
        tolerable(map.insert(tx, &key(n), b"another"));
        tolerable(map.insert(tx, &key(n + ENTRIES), &[1; 200]));
        tolerable(map.remove(tx, &key(n + 5)));
    }
    tolerable(map.retain(tx, |key, _| key.len() % 3 == 0));
    tx.roll_back_to(&point).unwrap();
    for pop in [Map::pop_first, Map::pop_last] {
        let mut count = 0;
        while let Ok(Some(_)) = pop(map, tx) {
            count += 1;
            assert!(count < 100_000, "popping without an end");
        }
        assert!(!checked || map.is_empty(tx).unwrap(), "check finds nothing, and popping ends early");
        tx.roll_back_to(&point).unwrap();
    }
    tolerable(map.pack(tx));
    tx.roll_back_to(&point).unwrap();
    tolerable(map.clear(tx));
    tx.roll_back_to(&point).unwrap();
}

/// What is changed of a block: one byte, or eight that are an offset or a slot somewhere else.
fn damage(tx: &mut WriteTxn<'_>, blocks: &[(Offset<[u8]>, u64)], rng: &mut SplitMix64) {
    for _ in 0..=rng.below(3) {
        let (block, len) = blocks[rng.below(blocks.len() as u64) as usize];
        // The front and the slots are what is interesting.
        let reach = if rng.below(2) == 0 { len.min(64) } else { len };
        if rng.below(2) == 0 {
            let at = rng.below(reach);
            tx.write_at(block, at, &[rng.next() as u8]).unwrap();
        } else {
            let (other, other_len) = blocks[rng.below(blocks.len() as u64) as usize];
            let from = rng.below(other_len / 8) * 8;
            let word = match rng.below(3) {
                0 => other.raw().to_le_bytes(),
                _ => tx.bytes_range(other, from..from + 8).unwrap().try_into().unwrap(),
            };
            tx.write_at(block, rng.below(reach / 8) * 8, &word).unwrap();
        }
    }
}

#[test]
fn damaged_nodes_are_an_error_or_go_unnoticed() {
    let (_dir, arena, map) = build();
    let mut rng = SplitMix64(5);
    let blocks: Vec<_> = {
        let tx = arena.read().unwrap();
        // Nodes and the header, not the long keys and values.
        tx.blocks()
            .map(|b| b.unwrap())
            .filter(|b| b.len == 32 || b.len % 64 == 0)
            .map(|b| (b.offset, b.len))
            .collect()
    };
    assert!(blocks.len() > 10);
    let mut noticed = 0;
    for _ in 0..1500 {
        let mut tx = arena.write().unwrap();
        damage(&mut tx, &blocks, &mut rng);
        noticed += u32::from(map.check(&tx).is_err());
        exercise(map, &mut tx);
    }
    assert!(noticed > 500, "{noticed}");
    map.check(&arena.read().unwrap()).unwrap();
}

#[test]
fn a_tree_that_leads_to_itself_ends() {
    let (_dir, arena, map) = build();
    let mut tx = arena.write().unwrap();
    let root = *tx.part::<u64>(map.offset(), 8).unwrap();
    let root = Offset::<[u8]>::from_raw(root);
    let len = tx.len_of(root).unwrap();
    // Every offset in the root leads to the first child: the same leaf again and again.
    let words: Vec<u64> = (2..len / 8).map(|i| *tx.part::<u64>(root, i * 8).unwrap()).collect();
    let nodes: Vec<u64> = tx.blocks().map(|b| b.unwrap().offset.raw()).collect();
    let first = *words.iter().find(|word| nodes.contains(word)).unwrap();
    for (i, word) in words.iter().enumerate() {
        if nodes.contains(word) {
            tx.write_at(root, i as u64 * 8 + 16, &first.to_le_bytes()).unwrap();
        }
    }
    assert!(matches!(map.check(&tx), Err(Error::Corrupt { .. })));
    exercise(map, &mut tx);
    // And to the root itself, which is of another level than its children.
    for (i, word) in words.iter().enumerate() {
        if nodes.contains(word) {
            tx.write_at(root, i as u64 * 8 + 16, &root.raw().to_le_bytes()).unwrap();
        }
    }
    assert!(map.get(&tx, &key(3)).is_err());
    exercise(map, &mut tx);
}

#[test]
fn a_handle_that_leads_elsewhere_is_refused() {
    let (_dir, arena, map) = build();
    let mut tx = arena.write().unwrap();
    assert!(matches!(Map::none().len(&tx), Err(Error::BadOffset { .. })));
    assert!(matches!(
        Map::from_offset(Offset::from_raw(map.offset().raw() + 8)).len(&tx),
        Err(Error::Corrupt { .. })
    ));
    let zeros = tx.alloc_zeroed(32, 8).unwrap();
    assert!(matches!(Map::from_offset(zeros).get(&tx, b""), Err(Error::Corrupt { .. })));
    let numbers = BTreeMap::<u64, u64>::from_offset(map.offset());
    assert!(matches!(numbers.check(&tx), Err(Error::Corrupt { .. })));
    assert!(matches!(numbers.first(&tx), Err(Error::Corrupt { .. })));
}
