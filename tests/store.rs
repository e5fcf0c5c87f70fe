//! The store: what its calls do, alone and in transactions, and what other handles see of it.

use heapfile::store::{Kind, Store, Table};
use heapfile::testing::{SplitMix64, at_no_point, at_point};
use heapfile::{Arena, Durability, Error, Options, View};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.heap");
    (dir, path)
}

fn process(path: &PathBuf) -> Store {
    Store::with(Options::new().durability(Durability::Process).create(path).unwrap())
}

fn number(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

#[test]
fn what_is_stored_is_found_again_after_closing() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    for value in [&b""[..], b"v", &[7; 5000], &vec![8; 3 << 20]] {
        let key = value.len().to_string();
        assert!(!store.put("t", key.as_bytes(), value).unwrap());
        assert_eq!(store.get("t", key.as_bytes()).unwrap().unwrap(), value);
    }
    store.put("t", b"", b"an empty key").unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.len("t").unwrap(), 5);
    assert_eq!(store.get("t", b"").unwrap().unwrap(), b"an empty key");
    assert_eq!(store.get_with("t", b"3145728", |value| value.len()).unwrap(), Some(3 << 20));
    assert_eq!(store.get("other", b"").unwrap(), None);
    store.check().unwrap();
}

#[test]
fn a_transaction_over_several_tables_is_whole() {
    let (_dir, path) = place();
    let store = process(&path);
    let mut tx = store.write().unwrap();
    let (a, b) =
        (Table::open_or_create(&mut tx, "a").unwrap(), Table::create(&mut tx, "b", Kind::Hashed).unwrap());
    a.put(&mut tx, b"k", b"1").unwrap();
    b.put(&mut tx, b"k", b"2").unwrap();
    let block = tx.alloc(&7u32).unwrap();
    a.put_plain(&mut tx, b"block", &block).unwrap();
    drop(tx);
    assert!(store.tables().unwrap().is_empty());
    assert_eq!(store.read().unwrap().blocks().count(), 0);

    let mut tx = store.write().unwrap();
    let (a, b) =
        (Table::open_or_create(&mut tx, "a").unwrap(), Table::create(&mut tx, "b", Kind::Hashed).unwrap());
    let block = tx.alloc(&7u32).unwrap();
    a.put_plain(&mut tx, b"block", &block).unwrap();
    b.put(&mut tx, b"k", b"2").unwrap();
    tx.commit().unwrap();
    let tx = store.read().unwrap();
    let block = *a.get_plain::<heapfile::Offset<u32>>(&tx, b"block").unwrap().unwrap();
    assert_eq!(tx.get(block).unwrap(), &7);
    assert!(matches!(b.range(&tx, ..), Err(Error::Unordered)));
}

#[test]
fn a_read_transaction_sees_one_state() {
    let (_dir, path) = place();
    let store = Store::with(
        Options::new()
            .durability(Durability::Process)
            .lock_timeout(std::time::Duration::from_millis(20))
            .create(&path)
            .unwrap(),
    );
    for n in 0..500 {
        store.put("t", &number(n), b"old").unwrap();
    }
    std::thread::scope(|scope| {
        let (reading, read) = std::sync::mpsc::channel();
        let (written, write) = std::sync::mpsc::channel::<()>();
        let store = &store;
        scope.spawn(move || {
            let tx = store.read().unwrap();
            let table = store.table(&tx, "t").unwrap().unwrap();
            let before: Vec<_> = table.iter(&tx).unwrap().map(Result::unwrap).collect();
            reading.send(()).unwrap();
            write.recv().unwrap();
            let after: Vec<_> = table.iter(&tx).unwrap().map(Result::unwrap).collect();
            assert!(before == after && after.iter().all(|(_, value)| *value == b"old"));
        });
        read.recv().unwrap();
        let mut tx = store.write().unwrap();
        let table = Table::open_or_create(&mut tx, "t").unwrap();
        for n in 0..1000 {
            table.put(&mut tx, &number(n), b"new").unwrap();
        }
        // It does not see the reader's end, so it cannot be committed, and nothing of it is.
        assert!(matches!(tx.commit(), Err(Error::Busy { .. })));
        written.send(()).unwrap();
    });
    assert_eq!(store.len("t").unwrap(), 500);
}

#[test]
fn handles_see_what_others_change_in_the_set_of_tables() {
    let (_dir, path) = place();
    let (one, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
    one.put("t", b"k", b"1").unwrap();
    assert_eq!(other.get("t", b"k").unwrap().unwrap(), b"1");
    assert!(one.drop_table("t").unwrap());
    assert_eq!(other.get("t", b"k").unwrap(), None);
    one.put("u", b"k", b"3").unwrap();
    one.put("t", b"k", b"2").unwrap();
    assert_eq!(other.get("t", b"k").unwrap().unwrap(), b"2");
    other.put("t", b"k", b"4").unwrap();
    assert_eq!(one.get("t", b"k").unwrap().unwrap(), b"4");
    assert_eq!(one.get("u", b"k").unwrap().unwrap(), b"3");
}

#[test]
fn updates_keep_or_change_the_length() {
    let (_dir, path) = place();
    let store = process(&path);
    for len in [10usize, 900, 1023, 1024, 100_000] {
        let mut expected = vec![1; len];
        store.put("t", b"k", &expected).unwrap();
        let mut check = |change: &dyn Fn(&mut Vec<u8>)| {
            change(&mut expected);
            assert!(store.update("t", b"k", change).unwrap());
            assert_eq!(store.get("t", b"k").unwrap().unwrap(), expected);
            store.check().unwrap();
        };
        check(&|value| value[len / 2] = 9);
        check(&|_| {});
        check(&|value| value.extend_from_slice(&[3; 700]));
        check(&|value| value.truncate(5));
        check(&|value| value.resize(len * 2, 6));
        check(&|value| value.clear());
    }
    assert!(!store.update("t", b"none", |_| panic!("there is nothing to change")).unwrap());
    let mut tx = store.write().unwrap();
    let table = Table::open_or_create(&mut tx, "t").unwrap();
    table.put(&mut tx, b"k", b"0123456789").unwrap();
    table.write_at(&mut tx, b"k", 8, b"ab").unwrap();
    assert!(matches!(table.write_at(&mut tx, b"k", 9, b"ab"), Err(Error::OutOfBounds { len: 10, .. })));
    assert_eq!(table.get(&tx, b"k").unwrap().unwrap(), b"01234567ab");
}

/// Stores values of a plain type in all the ways there are, under keys of all short lengths, and borrows them.
fn borrows_plain<T: bytemuck::Pod + PartialEq + std::fmt::Debug>(kind: Kind) {
    let len = size_of::<T>();
    let value = |n: usize| -> T { bytemuck::pod_read_unaligned(&vec![n as u8; len]) };
    let key = |n: usize| vec![7u8; n];
    let arena = Options::new().durability(Durability::Process).create_anonymous().unwrap();
    let store = Store::with(arena);
    let mut tx = store.write().unwrap();
    let table = Table::create(&mut tx, "t", kind).unwrap();
    let loaded = Table::create(&mut tx, "loaded", kind).unwrap();
    loaded.extend(&mut tx, (0..=40).map(|n| (key(n), bytemuck::bytes_of(&value(n)).to_vec()))).unwrap();
    for n in 0..=40 {
        assert_eq!(loaded.get_plain(&tx, &key(n)).unwrap(), Some(&value(n)), "loaded");
        table.put_plain(&mut tx, &key(n), &value(n)).unwrap();
        assert_eq!(table.get_plain(&tx, &key(n)).unwrap(), Some(&value(n)));
        assert!(table.update_plain(&mut tx, &key(n), |there| *there = value(n + 1)).unwrap());
        assert_eq!(table.get_plain(&tx, &key(n)).unwrap(), Some(&value(n + 1)));
        // From other lengths, up and down, in the same block and in another one.
        for other in [len + 1, len.saturating_sub(1), len + 2, 3 * len + 7, 500] {
            table.put(&mut tx, &key(n), &vec![1; other]).unwrap();
            assert_eq!(table.get(&tx, &key(n)).unwrap().unwrap(), vec![1; other]);
            table.put_plain(&mut tx, &key(n), &value(n)).unwrap();
            assert_eq!(table.get_plain(&tx, &key(n)).unwrap(), Some(&value(n)), "{other}");
        }
        table.delete(&mut tx, &key(n)).unwrap();
        table.put_from(&mut tx, &key(n), len as u64, bytemuck::bytes_of(&value(n))).unwrap();
        assert_eq!(table.get_plain(&tx, &key(n)).unwrap(), Some(&value(n)), "put_from");
        if let Some(map) = table.hashed() {
            map.remove(&mut tx, &key(n)).unwrap();
            let (block, start) = map.insert_unset(&mut tx, &key(n), len as u64).unwrap();
            tx.write_at(block, start, bytemuck::bytes_of(&value(n))).unwrap();
        }
    }
    tx.commit().unwrap();
    let tx = store.read().unwrap();
    for n in 0..=40 {
        assert_eq!(table.get_plain(&tx, &key(n)).unwrap(), Some(&value(n)), "unset");
        assert!(matches!(table.get_plain::<[u8; 77]>(&tx, &key(n)), Err(Error::SizeMismatch { .. })));
    }
    store.check().unwrap();
}

#[test]
fn plain_values_are_borrowed_whatever_their_keys() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        borrows_plain::<u8>(kind);
        borrows_plain::<u16>(kind);
        borrows_plain::<u32>(kind);
        borrows_plain::<[u32; 5]>(kind);
        borrows_plain::<u64>(kind);
        borrows_plain::<[f64; 7]>(kind);
        borrows_plain::<u128>(kind);
        borrows_plain::<[u128; 90]>(kind);
        borrows_plain::<[u128; 300]>(kind);
        borrows_plain::<[u128; 0]>(kind);
    }
}

#[test]
fn values_that_come_in_pieces_are_borrowed_too() {
    type Long = [u128; 65_537];
    let store = Store::with(Options::new().durability(Durability::Process).create_anonymous().unwrap());
    for kind in [Kind::Ordered, Kind::Hashed] {
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, &format!("{kind:?}"), kind).unwrap();
        for key in [&b""[..], b"a", b"ada"] {
            table.put_from(&mut tx, key, size_of::<Long>() as u64, std::io::repeat(7)).unwrap();
            assert!(table.get_plain::<Long>(&tx, key).unwrap().unwrap().iter().all(|n| *n as u8 == 7));
        }
        tx.commit().unwrap();
    }
}

#[test]
fn an_entry_without_padding_is_read_and_stored_as_it_should_lie() {
    let store = Store::with(Options::new().durability(Durability::Process).create_anonymous().unwrap());
    let mut tx = store.write().unwrap();
    let table = Table::create(&mut tx, "t", Kind::Hashed).unwrap();
    let map = table.hashed().unwrap();
    table.put_plain(&mut tx, b"ada", &0u64).unwrap();
    let (block, start, 8) = map.place(&tx, b"ada").unwrap().unwrap() else { panic!() };
    assert_eq!((start, tx.bytes_range(block, 0..8).unwrap()), (16, &[3, 0, 0, 0, 0, 0, 0, 5][..]));
    assert_eq!(tx.resize(block, 19).unwrap(), block);
    tx.write_at(block, 0, &3u64.to_le_bytes()).unwrap();
    tx.write_at(block, 11, &7u64.to_le_bytes()).unwrap();
    let point = tx.save_point();

    table.check(&tx).unwrap();
    assert_eq!(table.get(&tx, b"ada").unwrap().unwrap(), 7u64.to_le_bytes());
    let error = table.get_plain::<u64>(&tx, b"ada").unwrap_err();
    let at = block.raw() + 11;
    assert!(matches!(error, Error::Unaligned { offset, align: 8, .. } if offset == at), "{error}");
    assert!(table.update_plain::<u64>(&mut tx, b"ada", |n| *n += 1).unwrap());
    assert_eq!(table.get_plain(&tx, b"ada").unwrap(), Some(&8u64));
    tx.roll_back_to(&point).unwrap();
    table.put_plain(&mut tx, b"ada", &9u64).unwrap();
    assert_eq!(table.get_plain(&tx, b"ada").unwrap(), Some(&9u64));
    tx.roll_back_to(&point).unwrap();
    table.put(&mut tx, b"ada", b"0123").unwrap();
    assert_eq!(table.get_plain(&tx, b"ada").unwrap(), Some(b"0123"));
    assert_eq!(table.get_plain(&tx, b"ada").unwrap(), Some(&u32::from_le_bytes(*b"0123")));
    table.check(&tx).unwrap();
}

#[test]
fn listings_resume_by_key_and_hold_no_writer_up() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        let (_dir, path) = place();
        let store = process(&path);
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, "t", kind).unwrap();
        for n in 0..3000 {
            table.put(&mut tx, &number(n), &n.to_le_bytes()).unwrap();
        }
        tx.commit().unwrap();
        let mut listed: Vec<_> = Vec::new();
        for entry in store.list("t", ..) {
            let (key, value) = entry.unwrap();
            // A write in the middle of the listing, on the same thread.
            store.put("log", &key, b"").unwrap();
            assert!(
                store.delete("t", &key).unwrap(),
                "{kind:?}: an entry is listed twice, or was never there"
            );
            listed.push(u64::from_le_bytes(value.try_into().unwrap()));
        }
        listed.sort_unstable();
        assert!(listed.into_iter().eq(0..3000));
        assert_eq!((store.len("t").unwrap(), store.len("log").unwrap()), (0, 3000));
    }
}

#[test]
fn listings_keep_to_their_range() {
    let (_dir, path) = place();
    let store = process(&path);
    for (table, hashed) in [("o", false), ("h", true)] {
        if hashed {
            let mut tx = store.write().unwrap();
            Table::create(&mut tx, table, Kind::Hashed).unwrap();
            tx.commit().unwrap();
        }
        for key in ["a", "b", "b1", "b2", "c", "\u{10FFFF}"] {
            store.put(table, key.as_bytes(), b"").unwrap();
        }
        let mut keys: Vec<_> = store.list_prefix(table, b"b").map(|entry| entry.unwrap().0).collect();
        keys.sort();
        assert_eq!(keys, [&b"b"[..], b"b1", b"b2"]);
        let range = (Bound::Excluded(&b"b"[..]), Bound::Included(&b"c"[..]));
        let mut keys: Vec<_> = store.list(table, range).keys_only().map(|entry| entry.unwrap().0).collect();
        keys.sort();
        assert_eq!(keys, [&b"b1"[..], b"b2", b"c"]);
    }
}

#[test]
fn a_compare_and_swap_notices_what_others_did() {
    let (_dir, path) = place();
    let store = process(&path);
    let add = |store: &Store| {
        for _ in 0..300 {
            loop {
                let old = store.get("t", b"sum").unwrap();
                let sum = old.as_deref().map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
                if store
                    .compare_and_swap("t", b"sum", old.as_deref(), Some(&(sum + 1).to_le_bytes()))
                    .unwrap()
                {
                    break;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let other = Store::open(&path).unwrap();
        scope.spawn(move || add(&other));
        scope.spawn(|| add(&store));
    });
    assert_eq!(store.get("t", b"sum").unwrap().unwrap(), 600u64.to_le_bytes());
    assert!(store.compare_and_swap("t", b"sum", Some(&600u64.to_le_bytes()), None).unwrap());
    assert!(!store.contains("t", b"sum").unwrap());
}

#[test]
fn after_deleting_nine_tenths_the_file_is_small() {
    for durability in [Durability::Process, Durability::Power] {
        let (_dir, path) = place();
        let store = Store::with(Options::new().durability(durability).create(&path).unwrap());
        let mut tx = store.write().unwrap();
        let table = Table::open_or_create(&mut tx, "t").unwrap();
        for n in 0..60_000 {
            // One in fifty too long for a node.
            let len = if n % 50 == 0 { 3000 } else { 100 };
            table.put(&mut tx, &number(n), &vec![n as u8; len]).unwrap();
        }
        tx.commit().unwrap();
        let before = std::fs::metadata(&path).unwrap().blocks() * 512;
        let mut tx = store.write().unwrap();
        for n in (0..60_000).filter(|n| n % 11 != 0) {
            assert!(table.delete(&mut tx, &number(n)).unwrap());
        }
        tx.commit().unwrap();
        store.shrink().unwrap();
        let after = std::fs::metadata(&path).unwrap().blocks() * 512;
        // The log of a `Power` arena stays.
        let log = store.arena().stats().unwrap().log_bytes;
        assert!((after - log) * 5 < before - log, "{durability:?}: {before} bytes before, {after} after");
        store.check().unwrap();
        assert!(store.arena().check().unwrap().is_clean());
        for n in (0..60_000).filter(|n| n % 11 == 0) {
            let len = if n % 50 == 0 { 3000 } else { 100 };
            assert_eq!(store.get("t", &number(n)).unwrap().unwrap(), vec![n as u8; len]);
        }
    }
}

#[test]
fn a_random_load_takes_at_most_150_bytes_an_entry() {
    const ENTRIES: u64 = 200_000;
    let (_dir, path) = place();
    let store = process(&path);
    let mut tx = store.write().unwrap();
    let table = Table::open_or_create(&mut tx, "t").unwrap();
    let mut rng = SplitMix64(1);
    for n in 0..ENTRIES {
        let key = [rng.next().to_be_bytes(), rng.next().to_be_bytes()].concat();
        table.put(&mut tx, &key, &[n as u8; 100]).unwrap();
    }
    tx.commit().unwrap();
    let stats = store.arena().stats().unwrap();
    let used = stats.heap_bytes - stats.free_bytes;
    assert!(used <= 145 * ENTRIES, "{} bytes an entry in use", used / ENTRIES);
    // Without the part of the file that growth keeps in store.
    store.arena().shrink().unwrap();
    let on_disk = std::fs::metadata(&path).unwrap().blocks() * 512;
    assert!(on_disk <= 150 * ENTRIES, "{} bytes an entry on the disk", on_disk / ENTRIES);
}

#[test]
fn values_are_typed_through_serde() {
    let (_dir, path) = place();
    let store = process(&path);
    let value = (String::from("Ada"), vec![1u32, 2, 3], Some(-5i64));
    store.put_as("t", b"k", &value).unwrap();
    assert_eq!(store.get_as("t", b"k").unwrap(), Some(value));
    assert!(matches!(store.get_as::<u8>("t", b"k"), Err(Error::Value { .. })));
    assert_eq!(store.get_as::<u8>("t", b"none").unwrap(), None);
}

#[test]
fn calls_that_find_nothing_make_no_table() {
    let (_dir, path) = place();
    let store = process(&path);
    assert!(!store.update("t", b"k", |_| panic!("there is nothing to change")).unwrap());
    assert!(!store.compare_and_swap("t", b"k", Some(b"old"), Some(b"new")).unwrap());
    assert!(!store.compare_and_swap("t", b"k", Some(b"old"), Some(b"longer")).unwrap());
    assert!(!store.compare_and_swap("t", b"k", Some(b"old"), None).unwrap());
    assert!(store.compare_and_swap("t", b"k", None, None).unwrap());
    assert!(!store.delete("t", b"k").unwrap());
    assert_eq!(store.tables().unwrap(), Vec::<String>::new());
    assert!(store.compare_and_swap("t", b"k", None, Some(b"new")).unwrap());
    assert_eq!(store.tables().unwrap(), ["t"]);
}

/// A table that is dropped between a delete's look and its change is not made again.
#[test]
fn a_delete_beside_a_drop_makes_no_table() {
    let (_dir, path) = place();
    let store = process(&path);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                store.delete("t", b"k").unwrap();
            }
        });
        for _ in 0..3000 {
            let mut tx = store.write().unwrap();
            let table = Table::create(&mut tx, "t", Kind::Hashed).expect("nobody else makes it");
            table.put(&mut tx, b"k", b"").unwrap();
            tx.commit().unwrap();
            store.drop_table("t").unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn entries_without_any_bytes_are_no_damage() {
    let (_dir, path) = place();
    let store = process(&path);
    store.put("t", b"12345678", b"12345678").unwrap();
    store.put("t", b"", b"").unwrap();
    store.delete("t", b"12345678").unwrap();
    assert_eq!(store.get("t", b"").unwrap().as_deref(), Some(&b""[..]));
    store.check().unwrap();
}

#[test]
fn of_entries_with_one_key_the_last_counts_though_key_and_value_are_empty() {
    let (_dir, path) = place();
    let store = process(&path);
    for n in 0..100u64 {
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, &n.to_string(), Kind::Ordered).unwrap();
        table.put(&mut tx, b"x", b"").unwrap();
        let scattered = |n: u64| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec(), vec![1]);
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = (0..n).map(scattered).collect();
        let empty = [(vec![], vec![]), (vec![], b"last".to_vec())];
        entries.splice((n / 2) as usize..(n / 2) as usize, empty);
        table.extend(&mut tx, entries).unwrap();
        assert_eq!(table.get(&tx, b"").unwrap(), Some(&b"last"[..]), "{n}");
    }
}

/// A listing that finds little takes as many short transactions as one that finds all.
#[test]
fn a_listing_of_few_in_a_hashed_table_ends_its_transactions() {
    let (_dir, path) = place();
    let store = process(&path);
    let mut tx = store.write().unwrap();
    let table = Table::create(&mut tx, "t", Kind::Hashed).unwrap();
    table.extend(&mut tx, (0..20_000u64).map(|n| (n.to_be_bytes(), b""))).unwrap();
    table.put(&mut tx, b"~", b"1").unwrap();
    tx.commit().unwrap();
    // Each read transaction passes one point when it begins.
    at_point(20_000 / 300, || ());
    assert_eq!(store.list_prefix("t", b"~").count(), 1);
    assert!(!at_no_point(), "few transactions, thus long ones");
}

/// As a dictionary of either kind.
#[test]
fn keys_values_take_retain_clear() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        let (_dir, path) = place();
        let store = process(&path);
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, "t", kind).unwrap();
        let mut model: BTreeMap<_, _> =
            (0..3000).map(|n| (number(n).to_vec(), number(n * n).to_vec())).collect();
        table.extend(&mut tx, &model).unwrap();
        assert_eq!(table.take(&mut tx, &number(7)).unwrap(), model.remove(&number(7)[..]));
        assert_eq!(table.take(&mut tx, &number(7)).unwrap(), None);
        let keep = |key: &[u8], value: &[u8]| key[7].is_multiple_of(3) && value[7].is_multiple_of(2);
        table.retain(&mut tx, keep).unwrap();
        model.retain(|key, value| keep(key, value));
        let keys: BTreeSet<_> = table.keys(&tx).unwrap().map(|key| key.unwrap().to_vec()).collect();
        assert!(keys.iter().eq(model.keys()));
        let values: BTreeSet<_> = table.values(&tx).unwrap().map(|value| value.unwrap().to_vec()).collect();
        assert!(values == model.values().cloned().collect());
        table.check(&tx).unwrap();
        table.clear(&mut tx).unwrap();
        assert!(table.is_empty(&tx).unwrap() && table.keys(&tx).unwrap().next().is_none());
        tx.commit().unwrap();
        assert_eq!(store.tables().unwrap(), ["t"]);
    }
}

#[test]
fn names_of_tables_have_limits() {
    let (_dir, path) = place();
    let store = process(&path);
    let refused = store.put(&"x".repeat(256), b"k", b"v");
    assert!(matches!(refused, Err(Error::TooLarge { what: "a table's name", .. })));
    assert!(matches!(store.put("", b"k", b"v"), Err(Error::BadOption { .. })));
    store.put(&"x".repeat(255), b"k", b"v").unwrap();
    let mut tx = store.write().unwrap();
    Table::create(&mut tx, "t", Kind::Hashed).unwrap();
    assert!(matches!(Table::create(&mut tx, "t", Kind::Ordered), Err(Error::TableExists { .. })));
}

/// The log has no value in it that comes in pieces, also where one was before.
#[test]
fn values_in_pieces_go_past_the_log() {
    for kind in [Kind::Ordered, Kind::Hashed] {
        let (_dir, path) = place();
        let arena = Arena::options().durability(Durability::Power).log_size(64 << 20).create(&path).unwrap();
        let store = Store::with(arena);
        let mut tx = store.write().unwrap();
        let films = Table::create(&mut tx, "films", kind).unwrap();
        tx.commit().unwrap();
        for (len, byte) in [(8 << 20, 1), (8 << 20, 2), ((8 << 20) - 5, 3)] {
            let before = store.arena().stats().unwrap().log_used_bytes;
            let mut tx = store.write().unwrap();
            films.put_from(&mut tx, b"film", len, std::io::repeat(byte)).unwrap();
            tx.commit().unwrap();
            let used = store.arena().stats().unwrap().log_used_bytes;
            assert!(used - before < 1 << 16, "{kind:?}: {before} to {used}");
            let film = store.get("films", b"film").unwrap().unwrap();
            assert!(film.len() as u64 == len && film.iter().all(|&b| b == byte));
        }
    }
}

#[test]
fn a_root_of_another_kind_is_not_taken_for_a_store() {
    // As long as a directory, but none: damage. Of another length: something of the program's own, unless it says that it is a directory.
    for (bytes, is_damage) in [(&[1; 32][..], true), (b"my own", false), (b"Store\0\0\x01 cut off", true)] {
        let (_dir, path) = place();
        let arena = Arena::create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        let block = tx.alloc_bytes(bytes).unwrap();
        tx.create_root("store", block).unwrap();
        tx.commit().unwrap();
        let error = Store::with(arena).put("t", b"k", b"v").unwrap_err();
        assert_eq!(matches!(error, Error::Corrupt { .. }), is_damage, "{error}");
        assert_eq!(matches!(error, Error::TypeMismatch { .. }), !is_damage, "{error}");
    }
}

/// Bytes of memory that a program may still take, as far as the system tells.
fn free_memory() -> u64 {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let limit = read("/sys/fs/cgroup/memory.max").trim().parse().unwrap_or(u64::MAX);
    let system = read("/proc/meminfo");
    let available = system.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    limit.min(kib.unwrap_or(0) << 10)
}

/// Takes some 3 GiB of disk space, and of memory, for a few seconds; where there is not plenty of both it says so.
#[test]
fn keys_and_values_of_a_gibibyte() {
    const GIB: usize = 1 << 30;
    let (dir, _) = place();
    let disk = rustix::fs::statvfs(dir.path()).unwrap();
    let free = (disk.f_bavail * disk.f_frsize).min(free_memory());
    if free < 10 * GIB as u64 {
        println!("skipped: 10 GiB of disk and memory are wanted, {} MiB are free", free >> 20);
        return;
    }
    for kind in [Kind::Ordered, Kind::Hashed] {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        let mut tx = store.write().unwrap();
        let table = Table::create(&mut tx, "t", kind).unwrap();
        let key = vec![b'k'; GIB];
        table.put(&mut tx, &key, b"of a long key").unwrap();
        table.put_from(&mut tx, b"k", GIB as u64, std::io::repeat(7)).unwrap();
        tx.commit().unwrap();
        let tx = store.read().unwrap();
        assert_eq!(table.get(&tx, &key).unwrap().unwrap(), b"of a long key");
        assert_eq!(table.get(&tx, &key[1..]).unwrap(), None);
        let value = table.get(&tx, b"k").unwrap().unwrap();
        assert!(value.len() == GIB && value[0] == 7 && value[GIB - 1] == 7);
        table.check(&tx).unwrap();
        drop(tx);
        assert!(store.delete("t", &key).unwrap() && store.delete("t", b"k").unwrap());
        store.shrink().unwrap();
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 64 << 20);
    }
}

/// One damaged word may name an entry twice: where a batch of the listing ends between the two, the next one begins with it again.
#[test]
fn a_listing_of_a_damaged_hashed_table_ends() {
    let (_dir, path) = place();
    let store = process(&path);
    let mut tx = store.write().unwrap();
    let table = Table::create(&mut tx, "t", Kind::Hashed).unwrap();
    for key in [b"a", b"b"] {
        table.put(&mut tx, key, &vec![0; 1 << 20]).unwrap();
    }
    tx.commit().unwrap();
    drop(store);
    let image = std::fs::read(&path).unwrap();
    let is_zero = |at: usize| image[at..at + 8] == [0; 8];
    let mut refused = 0;
    for at in (4096 * 5..image.len() - 16).step_by(8).filter(|&at| !is_zero(at) && is_zero(at + 8)) {
        let mut damaged = image.clone();
        damaged.copy_within(at..at + 8, at + 8);
        std::fs::write(&path, damaged).unwrap();
        let store = Store::with(Arena::open(&path).unwrap());
        let listed: Vec<_> = store.list("t", ..).take(10).collect();
        assert!(listed.len() < 10, "the word at {at:#x}");
        let twice = |e: &Error| matches!(e, Error::Corrupt { what, .. } if what.contains("named twice"));
        refused += usize::from(matches!(listed.last(), Some(Err(e)) if twice(e)));
    }
    assert!(refused > 0);
}
