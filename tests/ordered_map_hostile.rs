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

/// A map with the keys `aaaaa` and `b`, and its only node.
fn of_two<'a>(arena: &'a Arena) -> (WriteTxn<'a>, Map, Offset<[u8]>) {
    let mut tx = arena.write().unwrap();
    let map = Map::from_entries(&mut tx, [(&b"aaaaa"[..], &b"1"[..]), (b"b", b"\xFF")]).unwrap();
    let node = Offset::from_raw(*tx.part::<u64>(map.offset(), 8).unwrap());
    (tx, map, node)
}

#[test]
fn a_last_key_that_is_shorter_than_what_all_have_in_common() {
    let (_dir, arena, _) = build();
    let (mut tx, map, node) = of_two(&arena);
    // Five bytes in common, and the head of the first key is what is behind them.
    tx.write_at(node, 8, &5u16.to_le_bytes()).unwrap();
    tx.write_at(node, 16 + 4, &[0; 4]).unwrap();
    assert!(matches!(map.check(&tx), Err(Error::Corrupt { .. })));
}

/// Two long values are one block: to remove one of them would take the other one's bytes away.
#[test]
fn a_block_that_two_entries_lead_to() {
    let (_dir, arena, _) = build();
    let mut tx = arena.write().unwrap();
    let (first, second) = ([1u8; 3001], [2u8; 3001]);
    let map = Map::from_entries(&mut tx, [(&b"a"[..], &first[..]), (b"b", &second)]).unwrap();
    map.check(&tx).unwrap();
    let long: Vec<u64> =
        tx.blocks().map(Result::unwrap).filter(|block| block.len == 3001).map(|b| b.offset.raw()).collect();
    let [a, b] = long[..] else { panic!("{long:?}") };
    let node = Offset::from_raw(*tx.part::<u64>(map.offset(), 8).unwrap());
    let bytes = tx.bytes(node).unwrap().to_vec();
    let at = bytes.windows(8).position(|word| word == b.to_le_bytes()).unwrap();
    tx.write_at(node, at as u64, &a.to_le_bytes()).unwrap();
    assert!(matches!(map.check(&tx), Err(Error::Corrupt { offset, .. }) if offset == a));
}

#[test]
fn an_iterator_ends_after_an_entry_of_another_type() {
    let (_dir, arena, _) = build();
    let (tx, map, _) = of_two(&arena);
    let texts = BTreeMap::<[u8], str>::from_offset(map.offset());
    let mut entries = texts.iter(&tx).unwrap().rev();
    assert!(matches!(entries.next(), Some(Err(Error::Corrupt { .. }))));
    assert!(entries.next().is_none());
}

/// A node of 512 bytes with these keys and stored values.
fn node(tx: &mut WriteTxn<'_>, level: u8, entries: &[(&[u8], &[u8])]) -> u64 {
    const LEN: usize = 512;
    let (mut bytes, mut used) = ([0; LEN], 0);
    for (i, (key, value)) in entries.iter().enumerate() {
        let align = if value.is_empty() { 4 } else { 8 };
        used = (used + key.len() + value.len()).next_multiple_of(align);
        let at = LEN - used;
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes[at + value.len()..][..key.len()].copy_from_slice(key);
        let mut head = [0; 4];
        head[..key.len()].copy_from_slice(key);
        let place = (at as u64 / 4) << 20 | (key.len() as u64) << 10 | value.len() as u64;
        let slot = u64::from(u32::from_be_bytes(head)) << 32 | place;
        bytes[16 + 8 * i..][..8].copy_from_slice(&slot.to_le_bytes());
    }
    bytes[..2].copy_from_slice(&[0xB7, level]);
    bytes[2..4].copy_from_slice(&(entries.len() as u16).to_le_bytes());
    bytes[4..6].copy_from_slice(&((LEN - used) as u16).to_le_bytes());
    let block = tx.alloc_unset(LEN as u64, 64).unwrap();
    tx.write_at(block, 0, &bytes).unwrap();
    block.raw()
}

/// Few nodes, but 11 to the power of 23 ways to a leaf whose keys fall, which would follow itself.
#[test]
fn a_leaf_that_is_everywhere_is_not_walked_for_ever() {
    let (_dir, arena, map) = build();
    let mut tx = arena.write().unwrap();
    map.clear(&mut tx).unwrap();
    let mut first = node(&mut tx, 0, &[(b"b", b""), (b"a", b"")]).to_le_bytes();
    let mut last = node(&mut tx, 0, &[(b"z", b"")]).to_le_bytes();
    let keys: Vec<[u8; 1]> = (b'c'..b'm').map(|key| [key]).collect();
    for level in 1..24 {
        let mut all: Vec<(&[u8], &[u8])> = vec![(b"", &first)];
        all.extend(keys.iter().map(|key| (&key[..], &first[..])));
        if level == 23 {
            all.push((b"y", &last));
        }
        let next = node(&mut tx, level, &all);
        last = node(&mut tx, level, &[(b"", &last)]).to_le_bytes();
        first = next.to_le_bytes();
    }
    tx.write_at(map.offset(), 8, &first).unwrap();
    tx.write_at(map.offset(), 16, &100u64.to_le_bytes()).unwrap();
    tx.write_at(map.offset(), 24, &24u64.to_le_bytes()).unwrap();
    assert!(map.iter(&tx).unwrap().take(1000).any(|entry| entry.is_err()));
    assert!(map.iter(&tx).unwrap().rev().take(1000).any(|entry| entry.is_err()));
    assert!(matches!(map.check(&tx), Err(Error::Corrupt { .. })));
}
