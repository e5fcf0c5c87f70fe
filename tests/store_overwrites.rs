//! A value replaced by one of the same length, alone in its transaction: whatever its place and length, all of it is there, and nothing besides has changed;
//! killed at any step, it is the old value or the new one.

mod common;

use common::{BOTH, assert_clean, child, fast_dir, role, small, tell};
use heapfile::store::{Kind, Store, Table};
use heapfile::testing::FAILPOINTS;
use heapfile::{Arena, Durability, Error};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

const KINDS: [Kind; 2] = [Kind::Ordered, Kind::Hashed];
/// On both sides of the borders of words and lines, of short and long values of an ordered table, and of what is overwritten in one step.
const LENGTHS: [usize; 16] = [0, 1, 2, 7, 8, 9, 63, 64, 65, 100, 1023, 1024, 2048, 2049, 4096, 5000];

fn table(arena: Arena, kind: Kind) -> Store {
    let store = Store::with(arena);
    let mut tx = store.write().unwrap();
    Table::create(&mut tx, "t", kind).unwrap();
    tx.commit().unwrap();
    store
}

/// Keys of several lengths, so that values begin anywhere in a word.
fn entries() -> impl Iterator<Item = (Vec<u8>, usize)> {
    LENGTHS
        .iter()
        .flat_map(|&len| (1..9).map(move |n| (format!("{len}-{}", "k".repeat(n)).into_bytes(), len)))
}

fn value(len: usize, version: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(7) ^ version).collect()
}

fn fill(store: &Store) {
    for (key, len) in entries() {
        assert!(!store.put("t", &key, &value(len, 0)).unwrap());
    }
}

#[track_caller]
fn assert_versions(store: &Store, version_of: impl Fn(usize) -> u8) {
    for (i, (key, len)) in entries().enumerate() {
        assert_eq!(store.get("t", &key).unwrap(), Some(value(len, version_of(i))), "{}", key.escape_ascii());
    }
    store.check().unwrap();
    assert_clean(store.arena());
}

#[test]
fn nothing_else_changes() {
    let dir = fast_dir();
    for (durability, kind) in BOTH.into_iter().flat_map(|d| KINDS.map(|k| (d, k))) {
        let file = dir.path().join("a.heap");
        let store = table(small(durability).create(&file).unwrap(), kind);
        fill(&store);
        let other = Store::with(Arena::open(&file).unwrap());
        for (i, (key, len)) in entries().enumerate() {
            let by = if i % 2 == 0 { &store } else { &other };
            let before = by.arena().stats().unwrap().sequence;
            assert!(by.put("t", &key, &value(len, 1)).unwrap());
            assert!(len == 0 || by.arena().stats().unwrap().sequence > before, "a commit is counted");
            assert_versions(&other, |n| u8::from(n <= i));
        }
        drop((store, other));
        assert_versions(&Store::with(Arena::open(&file).unwrap()), |_| 1);
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_swap_changes_what_it_expects_and_nothing_else() {
    let dir = fast_dir();
    for (durability, kind) in BOTH.into_iter().flat_map(|d| KINDS.map(|k| (d, k))) {
        let file = dir.path().join("a.heap");
        let store = table(small(durability).create(&file).unwrap(), kind);
        fill(&store);
        for (i, (key, len)) in entries().enumerate() {
            let swap =
                |old: &[u8], new: &[u8]| store.compare_and_swap("t", &key, Some(old), Some(new)).unwrap();
            let (now, next) = (value(len, 0), value(len, 1));
            let mut other = now.clone();
            if let Some(last) = other.last_mut() {
                *last ^= 1;
                assert!(!swap(&other, &next));
            }
            assert!(!swap(&[&now[..], b"x"].concat(), &next));
            assert!(!store.compare_and_swap("t", b"none", Some(&now), Some(&next)).unwrap());
            assert_eq!(store.get("t", &key).unwrap().unwrap(), now);
            assert!(swap(&now, &next));
            assert!(len == 0 || !swap(&now, &next));
            assert_versions(&store, |n| u8::from(n <= i));
        }
        drop(store);
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_thread_that_reads_does_not_wait_for_itself() {
    let dir = fast_dir();
    for durability in BOTH {
        let store = table(small(durability).create(dir.path().join("a.heap")).unwrap(), Kind::Hashed);
        store.put("t", b"key", b"old").unwrap();
        let reading = store.read().unwrap();
        assert!(matches!(store.put("t", b"key", b"new"), Err(Error::WouldDeadlock { .. })));
        drop(reading);
        assert!(store.put("t", b"key", b"new").unwrap());
        drop(store);
        std::fs::remove_file(dir.path().join("a.heap")).unwrap();
    }
}

#[test]
fn a_table_that_was_dropped_is_not_written_to() {
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    let (store, other) =
        (table(small(Durability::Process).create(&file).unwrap(), Kind::Hashed), Arena::open(&file));
    let other = Store::with(other.unwrap());
    store.put("t", b"key", b"old").unwrap();
    store.put("t", b"key", b"mid").unwrap();
    assert!(other.drop_table("t").unwrap());
    assert!(!store.put("t", b"key", b"new").unwrap(), "a new table, an ordered one");
    assert_eq!(other.get("t", b"key").unwrap().unwrap(), b"new");
    assert_clean(other.arena());
}

/// The child's part: overwrites every entry, and says so each time.
fn work(file: &Path) {
    let store = Store::with(Arena::open(file).unwrap());
    for (key, len) in entries() {
        store.put("t", &key, &value(len, 1)).unwrap();
        tell("done");
    }
}

#[test]
fn killed_at_every_step() {
    if let Some((_, file)) = role() {
        return work(&file);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    let mut kills = 0;
    for (kind, point) in KINDS.into_iter().flat_map(|kind| FAILPOINTS.iter().map(move |point| (kind, point)))
    {
        for time in [1, 60, 80] {
            let _ = std::fs::remove_file(&file);
            let store = table(small(Durability::Process).create(&file).unwrap(), kind);
            fill(&store);
            let mut command = child("killed_at_every_step", "work", &file);
            let output = command.env("HEAPFILE_FAILPOINT", format!("{point}#{time}")).output().unwrap();
            if output.status.signal() != Some(libc::SIGKILL) {
                assert!(output.status.success(), "{point}#{time}");
                break;
            }
            kills += 1;
            let done = String::from_utf8(output.stderr).unwrap().matches("done").count();
            drop(store.write().unwrap());
            let (key, len) = entries().nth(done).unwrap();
            let is_new = store.get("t", &key).unwrap() == Some(value(len, 1));
            assert_versions(&store, |i| u8::from(i < done || i == done && is_new && len > 0));
            assert!(store.put("t", &key, &value(len, 2)).unwrap());
        }
    }
    assert!(kills > 20, "{kills}");
}
