//! Collections whose blocks hold anything at all: calls end, with an error or without, and never panic.

mod common;

use common::bytes;
use heapfile::collections::hash_map::Position;
use heapfile::collections::{HashMap, List, Text, Vector};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, Offset, OffsetFault, Options, View, WriteTxn};

fn arena() -> Arena {
    Options::new().durability(Durability::Process).create_anonymous().unwrap()
}

#[derive(Clone, Copy)]
struct All {
    vector: Vector<u32>,
    text: Text,
    list: List<u32>,
    map: HashMap<[u8], [u8]>,
    counts: HashMap<u64, u64>,
}

fn build(tx: &mut WriteTxn<'_>) -> heapfile::Result<All> {
    let list = List::<u32>::new_in(tx)?;
    let map = HashMap::<[u8], [u8]>::with_hash_key(tx, [1, 2])?;
    let counts = HashMap::<u64, u64>::with_hash_key(tx, [3, 4])?;
    for n in 0..40u32 {
        list.push_back(tx, n)?;
        map.insert(tx, &bytes(n.into(), n as usize), &bytes(1, 5 * n as usize))?;
        counts.insert(tx, &n.into(), &1)?;
    }
    let vector = Vector::from_slice(tx, &[1, 2, 3, 4, 5])?;
    let text = Text::from_str(tx, "a text with ümläuts")?;
    Ok(All { vector, text, list, map, counts })
}

/// Damage inside a hash map is told as that, as no mistake of the caller's.
#[track_caller]
fn told<T>(outcome: heapfile::Result<T>) {
    if let Err(e) = outcome {
        assert!(matches!(e, Error::Corrupt { .. }), "{e:?}");
    }
}

/// Calls whatever there is. Errors are fine, and loops that do not end are what a test's time limit is for.
fn use_all(tx: &mut WriteTxn<'_>, all: All, n: u64) {
    let All { vector, text, list, map, counts } = all;
    let key = bytes(n % 40, (n % 40) as usize);
    drop((vector.check(tx), text.check(tx), list.check(tx)));
    told(map.check(tx));
    told(counts.check(tx));
    drop((
        vector.as_slice(tx).map(<[u32]>::len),
        text.as_str(tx).map(str::len),
        text.slice(tx, 3..7).map(str::len),
    ));
    drop(list.iter(tx).map(|all| all.take(1000).filter(Result::is_ok).count()));
    drop(list.nodes(tx).map(|all| all.rev().take(1000).filter(Result::is_ok).count()));
    told(map.iter(tx).map(|all| all.take(1000).for_each(told)));
    told(counts.iter(tx).map(|all| all.take(1000).for_each(told)));
    told(map.get(tx, &key));
    told(counts.get(tx, &(n % 50)));
    match n % 20 {
        0 => drop(vector.push(tx, 7)),
        1 => drop(vector.replace_range(tx, 1..3, &[9; 30])),
        2 => drop(vector.retain(tx, |n| *n > 2)),
        3 => drop(text.push_str(tx, "more")),
        4 => drop(text.pop(tx)),
        5 => drop(list.push_front(tx, 7)),
        6 => drop(list.pop_back(tx)),
        7 => drop(list.retain(tx, |n| *n % 2 == 0)),
        8 => drop(list.clear(tx)),
        9 => told(map.insert(tx, &key, &[1; 300])),
        10 => told(map.remove(tx, &key)),
        11 => told(map.retain(tx, |key, _| key.len() % 2 == 0)),
        12 => told(map.clear(tx)),
        13 => told(counts.update_or_insert(tx, &(n % 50), 0, |n| *n = n.wrapping_add(1))),
        14 => {
            drop((vector.free(tx), text.free(tx), list.free(tx), map.free(tx), counts.free(tx)));
        }
        15 => drop((vector.split_off(tx, 2), text.split_off(tx, 3), text.drain(tx, 2..4))),
        16 => {
            let node = list.nodes(tx).ok().and_then(|all| all.flatten().nth(20));
            drop(node.map(|node| list.split_off(tx, node)));
        }
        17 => drop((list.contains(tx, &7), list.extend(tx, [7, 8]))),
        18 => {
            told(map.take(tx, &key));
            told(counts.take(tx, &(n % 50)));
        }
        _ => told((0..200).try_for_each(|n| counts.insert(tx, &n, &n).map(drop))),
    }
}

#[test]
fn damaged_blocks_never_panic() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let all = build(&mut tx).unwrap();
    let blocks: Vec<_> = tx.blocks().map(Result::unwrap).collect();
    let mut rng = SplitMix64(7);
    let point = tx.save_point();
    for n in 0..6000 {
        // Up to four words of header blocks and others, made something that might be taken for sound.
        for _ in 0..1 + rng.next() % 4 {
            let headers = [
                all.vector.offset(),
                all.text.offset(),
                all.list.offset(),
                all.map.offset(),
                all.counts.offset(),
            ];
            let block = match rng.next() % 3 {
                0 => headers[(rng.next() % 5) as usize],
                _ => blocks[(rng.next() % blocks.len() as u64) as usize].offset,
            };
            let len = tx.len_of(block).unwrap();
            if len < 8 {
                continue;
            }
            let at = rng.next() % (len / 8) * 8;
            let other = blocks[(rng.next() % blocks.len() as u64) as usize].offset.raw();
            let now = u64::from_le_bytes(tx.bytes_range(block, at..at + 8).unwrap().try_into().unwrap());
            let word = match rng.next() % 7 {
                0 => rng.next(),
                1 => rng.next() % 100,
                2 => other,
                3 => u64::MAX - rng.next() % 3,
                4 => (now & !((1 << 41) - 1)) | (other / 8),
                5 => now.wrapping_add(rng.next() % 5).wrapping_sub(2),
                _ => 1 << (rng.next() % 64),
            };
            tx.write_at(block, at, &word.to_le_bytes()).unwrap();
        }
        use_all(&mut tx, all, n);
        tx.roll_back_to(&point).unwrap();
    }
    use_all(&mut tx, all, 15);
    for result in [
        all.vector.check(&tx),
        all.text.check(&tx),
        all.list.check(&tx),
        all.map.check(&tx),
        all.counts.check(&tx),
    ] {
        result.unwrap();
    }
}

#[test]
fn a_padding_that_cannot_be_is_found_out() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<[u8], [u8]>::new_in(&mut tx).unwrap();
    map.insert(&mut tx, b"key", &[1; 304]).unwrap();
    let entry = map.place(&tx, b"key").unwrap().unwrap().0;
    let numbers = HashMap::<str, [u64]>::new_in(&mut tx).unwrap();
    numbers.insert(&mut tx, "key", &[1; 39]).unwrap();
    let of_numbers = numbers.place(&tx, "key").unwrap().unwrap().0;
    let point = tx.save_point();
    for padding in 0..=u8::MAX {
        tx.write_at(entry, 7, &[padding]).unwrap();
        tx.write_at(of_numbers, 7, &[padding]).unwrap();
        let len = map.get(&tx, b"key").map(|value| value.unwrap().len() as u64);
        let all: heapfile::Result<Vec<_>> = map.iter(&tx).unwrap().collect();
        if padding < 16 {
            assert_eq!(len.unwrap(), 304 + 5 - u64::from(padding));
            assert_eq!(all.unwrap().len(), 1);
        } else {
            assert!(matches!(len, Err(Error::Corrupt { .. })), "{padding}");
            assert!(all.is_err() && map.check(&tx).is_err() && map.place(&tx, b"key").is_err());
        }
        assert_eq!(map.insert(&mut tx, b"key", &[2; 304]).is_ok(), padding < 16);
        let sound = padding < 16 && padding % 8 == 0;
        assert_eq!(numbers.get(&tx, "key").is_ok(), sound, "{padding}");
        drop(numbers.insert(&mut tx, "key", &[2; 39]));
        tx.roll_back_to(&point).unwrap();
    }
}

#[test]
fn a_list_in_a_circle_is_found_out() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    for (from, to) in [(9, 3), (5, 5), (9, 0), (4, 2)] {
        let list = List::new_in(&mut tx).unwrap();
        let nodes: Vec<_> = (0..10u64).map(|n| list.push_back(&mut tx, n).unwrap().offset()).collect();
        tx.write_at(nodes[from], 8, &nodes[to].raw().to_le_bytes()).unwrap();
        assert!(matches!(list.check(&tx), Err(Error::Corrupt { .. })), "{from} {to}");
        assert!(list.iter(&tx).unwrap().any(|n| n.is_err()));
        // However long it is said to be.
        tx.write_at(list.offset(), 8, &u64::MAX.to_le_bytes()).unwrap();
        assert!(matches!(list.check(&tx), Err(Error::Corrupt { .. })));
        assert!(list.clear(&mut tx).is_err(), "at a node that is freed already");
    }
}

#[test]
fn overflow_blocks_in_a_circle_are_found_out() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = HashMap::<u64, u64>::with_hash_key(&mut tx, [1, 2]).unwrap();
    let segment = *tx.part::<Offset<[u8]>>(map.offset(), 64).unwrap();
    let links: Vec<_> = (0..5).map(|_| tx.alloc_zeroed(64, 64).unwrap()).collect();
    for (from, to) in links.iter().zip(links[1..].iter().chain(&links[2..3])) {
        tx.write_at(*from, 56, &to.raw().to_le_bytes()).unwrap();
    }
    for bucket in 0..4 {
        tx.write_at(segment, bucket * 64 + 56, &links[0].raw().to_le_bytes()).unwrap();
    }
    assert!(matches!(map.get(&tx, &1), Err(Error::Corrupt { .. })));
    assert!(matches!(map.check(&tx), Err(Error::Corrupt { .. })));
    assert!(map.free(&mut tx).is_err());
}

#[test]
fn keys_that_would_meet_under_another_key_do_not() {
    // Keys chosen so that all have the same low hash bits under one map's key: that map has one long chain, another map has not.
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let known = HashMap::<u64, u64>::with_hash_key(&mut tx, [1, 2]).unwrap();
    let hash = |key: u64| siphasher::sip::SipHasher13::new_with_keys(1, 2).hash(&key.to_be_bytes());
    let chosen: Vec<u64> = (0..).filter(|&key| hash(key) % 1024 == 0).take(1000).collect();
    let secret = HashMap::<u64, u64>::new_in(&mut tx).unwrap();
    for key in &chosen {
        known.insert(&mut tx, key, key).unwrap();
        secret.insert(&mut tx, key, key).unwrap();
    }
    known.check(&tx).unwrap();
    secret.check(&tx).unwrap();
    let blocks = |map: HashMap<u64, u64>, tx: &mut WriteTxn<'_>| {
        let before = tx.blocks().count();
        map.free(tx).unwrap();
        before - tx.blocks().count() - chosen.len()
    };
    // 250 buckets want about ten segments and a few overflow blocks.
    assert!(blocks(known, &mut tx) > 130, "all in one bucket's overflow blocks");
    assert!(blocks(secret, &mut tx) < 70, "spread over all buckets");
    let (one, two) =
        (HashMap::<u64, u64>::new_in(&mut tx).unwrap(), HashMap::<u64, u64>::new_in(&mut tx).unwrap());
    let key_of = |map: HashMap<u64, u64>| *tx.part::<[u64; 2]>(map.offset(), 24).unwrap();
    assert_ne!(key_of(one), key_of(two));
}

/// A header whose ends lead into another collection: nobody writes there, nothing is allocated, nothing taken out.
#[test]
fn an_end_that_is_none_is_not_written_to() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let (list, other) = (List::<[u64; 2]>::new_in(&mut tx).unwrap(), List::new_in(&mut tx).unwrap());
    let nodes = [1u64, 2, 3].map(|n| list.push_back(&mut tx, [n; 2]).unwrap());
    other.push_back(&mut tx, [4; 2]).unwrap();
    // As long as a node.
    let stranger = Vector::<u64>::from_slice(&mut tx, &[7; 4]).unwrap();
    let nowhere = Offset::<[u8]>::from_raw(nodes[0].offset().raw() + 8);
    tx.commit().unwrap();
    type Act<'a> = Box<dyn Fn(&mut WriteTxn<'_>) -> heapfile::Result<()> + 'a>;
    let acts: [Act<'_>; 5] = [
        Box::new(|tx| list.push_back(tx, [0; 2]).map(drop)),
        Box::new(|tx| list.push_front(tx, [0; 2]).map(drop)),
        Box::new(|tx| list.append(tx, &other)),
        Box::new(|tx| list.move_to_front(tx, nodes[1])),
        Box::new(|tx| list.move_to_back(tx, nodes[1])),
    ];
    let contents = |tx: &WriteTxn<'_>| -> Vec<_> {
        tx.blocks().map(|block| tx.bytes(block.unwrap().offset).unwrap().to_vec()).collect()
    };
    for end in [stranger.offset(), nowhere, nodes[1].offset()] {
        for (number, act) in acts.iter().enumerate() {
            let mut tx = arena.write().unwrap();
            tx.write_at(list.offset(), 16, &end.raw().to_le_bytes()).unwrap();
            tx.write_at(list.offset(), 24, &end.raw().to_le_bytes()).unwrap();
            let before = contents(&tx);
            let outcome = act(&mut tx);
            assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{number}: {outcome:?}");
            assert_eq!(before, contents(&tx), "{number}");
        }
    }
}

/// What frees a collection up to its damage has lost the rest: that is not committed.
#[test]
fn a_collection_emptied_up_to_its_damage_is_not_committed() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let list = List::<u64>::new_in(&mut tx).unwrap();
    list.extend(&mut tx, [1, 2]).unwrap();
    let map = HashMap::<u64, u64>::with_hash_key(&mut tx, [1, 2]).unwrap();
    map.extend(&mut tx, (0..20).map(|n| (n, n))).unwrap();
    let segment = *tx.part::<Offset<[u8]>>(map.offset(), 64).unwrap();
    let vector = Vector::<u64>::from_slice(&mut tx, &[7; 4]).unwrap();
    tx.commit().unwrap();
    type Act<'a> = Box<dyn Fn(&mut WriteTxn<'_>) -> heapfile::Result<()> + 'a>;
    let acts: [Act<'_>; 3] = [
        Box::new(|tx| {
            tx.write_at(list.offset(), 16, &(list.offset().raw() + 8).to_le_bytes())?;
            list.clear(tx)
        }),
        Box::new(|tx| {
            // The second bucket leads astray, once the first one's entries are gone.
            tx.write_at(segment, 64 + 56, &(segment.raw() + 8).to_le_bytes())?;
            map.clear(tx)
        }),
        Box::new(|tx| {
            tx.write_at(vector.offset(), 16, &vector.offset().raw().to_le_bytes())?;
            vector.free(tx)
        }),
    ];
    for (number, act) in acts.iter().enumerate() {
        let mut tx = arena.write().unwrap();
        act(&mut tx).unwrap_err();
        assert!(matches!(tx.commit(), Err(Error::HalfChanged)), "{number}");
    }
}

/// An own block that is none is damage, not the caller's mistake.
#[test]
fn what_a_header_leads_to_is_told_as_damage() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let list = List::<u64>::new_in(&mut tx).unwrap();
    let nodes = [1u64, 2, 3].map(|n| list.push_back(&mut tx, n).unwrap().offset());
    let vector = Vector::<u64>::from_slice(&mut tx, &[7; 4]).unwrap();
    let point = tx.save_point();
    tx.write_at(list.offset(), 8, &5u64.to_le_bytes()).unwrap();
    assert!(list.iter(&tx).unwrap().any(|n| matches!(n, Err(Error::Corrupt { .. }))), "too few");
    tx.roll_back_to(&point).unwrap();
    tx.write_at(nodes[0], 8, &(nodes[1].raw() + 8).to_le_bytes()).unwrap();
    assert!(matches!(list.check(&tx), Err(Error::Corrupt { .. })));
    assert!(list.nodes(&tx).unwrap().any(|n| matches!(n, Err(Error::Corrupt { .. }))));
    for at in [vector.offset().raw() + 8, 1 << 40] {
        tx.write_at(vector.offset(), 16, &at.to_le_bytes()).unwrap();
        assert!(matches!(vector.as_slice(&tx), Err(Error::Corrupt { .. })));
        assert!(matches!(vector.push(&mut tx, 1), Err(Error::Corrupt { .. })));
    }
}

/// A map of one entry, with a second word behind the one that leads to it: what `another` makes of that.
fn map_of_one(tx: &mut WriteTxn<'_>, another: impl Fn(u64) -> u64) -> HashMap<u64, u64> {
    let map = HashMap::<u64, u64>::with_hash_key(tx, [1, 2]).unwrap();
    map.insert(tx, &1, &2).unwrap();
    let segment = *tx.part::<Offset<[u8]>>(map.offset(), 64).unwrap();
    let mut words = (0..32).map(|n| (n * 8, *tx.part::<u64>(segment, n * 8).unwrap()));
    let (at, word) = words.find(|&(_, word)| word != 0).unwrap();
    tx.write_at(segment, at + 8, &another(word).to_le_bytes()).unwrap();
    map
}

#[test]
fn an_entry_that_is_named_twice_ends_a_listing_from_positions() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let map = map_of_one(&mut tx, |word| word);
    let (mut from, mut steps) = (Position::START, 0);
    let end = loop {
        let mut some = map.iter_from(&tx, from).unwrap();
        match (some.next(), some.position()) {
            (Some(Err(e)), _) | (_, Err(e)) => break e,
            (_, Ok(position)) => from = position.expect("the damage was passed over"),
        }
        steps += 1;
        assert!(steps < 10, "it does not end");
    };
    assert!(matches!(end, Error::Corrupt { .. }));
}

/// What comes after damage is not returned as if it came after what was before it.
#[test]
fn iterators_end_after_an_error_of_their_position() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    // The same hash bits, a block that is none.
    let map = map_of_one(&mut tx, |word| word + 1);
    let mut entries = map.iter(&tx).unwrap();
    assert!(matches!(entries.position(), Err(Error::Corrupt { .. })));
    assert!(entries.next().is_none());
}

#[test]
fn elements_that_are_aligned_to_more_than_lines_are_no_damage() {
    #[derive(Clone, Copy)]
    #[repr(C, align(128))]
    struct Wide([u8; 128]);
    // SAFETY: bytes, as many as the alignment, thus without padding.
    unsafe impl bytemuck::Zeroable for Wide {}
    // SAFETY: as above.
    unsafe impl bytemuck::Pod for Wide {}
    let arena = arena();
    let mut tx = arena.write().unwrap();
    for _ in 0..8 {
        let vector = Vector::from_slice(&mut tx, &[Wide([7; 128]); 3]).unwrap();
        let point = tx.save_point();
        match vector.as_mut_slice(&mut tx) {
            Ok(all) => assert_eq!(all[0].0[0], 7),
            Err(Error::BadOffset { fault: OffsetFault::OverAligned, .. }) => {}
            Err(e) => panic!("{e}"),
        }
        tx.roll_back_to(&point).unwrap();
    }
}
