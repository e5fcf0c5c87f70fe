//! A full disk is `NoSpace` with nothing changed; when there is space again, work goes on.
//!
//! The test runs itself in a mount namespace of its own, on a small file system there. Where that may not be made it says so and ends.

mod common;

use common::mounted::on_a_disk;
use common::{BOTH, assert_clean, bytes, dir, role, small};
use heapfile::{Arena, Durability, Error, Offset, Options, View};
use std::path::Path;

const MIB: u64 = 1 << 20;

fn is_full<T: std::fmt::Debug>(outcome: heapfile::Result<T>) {
    assert!(matches!(outcome, Err(Error::NoSpace { needed }) if needed > 0), "{outcome:?}");
}

/// Bytes that the file system has left.
fn left(disk: &Path) -> u64 {
    let fs = rustix::fs::statvfs(disk).unwrap();
    fs.f_bavail * fs.f_frsize
}

/// Takes all space but `but` bytes.
fn fill(disk: &Path, but: u64) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(disk.join("filler")).unwrap();
    let zeros = [1; 4096];
    while left(disk) > but && file.write_all(&zeros).is_ok() {}
}

fn empty(disk: &Path) {
    std::fs::remove_file(disk.join("filler")).unwrap();
}

/// `room`: how many bytes of the disk it may take.
fn play(disk: &Path, durability: Durability, room: u64) {
    let path = disk.join(format!("{durability:?}.heap"));
    let options = small(durability).max_size(1 << 40);
    let arena = options.create(&path).unwrap();
    let mut blocks: Vec<Offset<[u8]>> = Vec::new();
    for i in 0..4 {
        blocks.push(arena.alloc_bytes(&bytes(i, 50_000)).unwrap());
    }
    let all_there = |arena: &Arena, blocks: &[Offset<[u8]>]| {
        assert_clean(arena);
        let tx = arena.read().unwrap();
        for (i, &block) in blocks.iter().enumerate() {
            assert!(tx.bytes(block).unwrap() == bytes(i as u64, 50_000));
        }
        assert_eq!(tx.blocks().count(), blocks.len());
    };

    // Far more than there is: at once, and without taking what there is.
    let before = (left(disk), std::fs::metadata(&path).unwrap().len());
    for len in [64 * MIB, 1 << 30, 1 << 38] {
        let mut tx = arena.write().unwrap();
        is_full(tx.alloc_unset(len, 8));
        is_full(tx.alloc_zeroed(len, 4096));
        is_full(tx.resize(blocks[0], len));
        tx.commit().unwrap();
        is_full(arena.alloc_bytes(&vec![1; 64 << 20]));
    }
    assert_eq!((left(disk), std::fs::metadata(&path).unwrap().len()), before, "space is gone");
    all_there(&arena, &blocks);

    // Until nothing is left.
    fill(disk, room);
    let error = loop {
        match arena.alloc_bytes(&bytes(blocks.len() as u64, 50_000)) {
            Ok(block) => blocks.push(block),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    all_there(&arena, &blocks);
    fill(disk, 0);
    // What needs no new space goes on; a commit whose record does not fit the log needs some.
    let mut tx = arena.write().unwrap();
    tx.write_at(blocks[0], 0, &bytes(0, 100)).unwrap();
    tx.commit().unwrap();
    let mut tx = arena.write().unwrap();
    for &block in &blocks {
        tx.bytes_mut(block).unwrap().fill(9);
    }
    if blocks.len() > 6 {
        is_full(tx.commit());
    } else {
        drop(tx);
    }
    all_there(&arena, &blocks);
    // Another handle, and another arena.
    drop(arena);
    let arena = options.open(&path).unwrap();
    all_there(&arena, &blocks);
    is_full(options.create(disk.join("other.heap")));
    is_full(options.open_or_create(disk.join("other.heap")));

    // Space again, by freeing inside the arena and on the disk.
    let last = blocks.pop().unwrap();
    arena.free(last).unwrap();
    blocks.push(arena.alloc_bytes(&bytes(blocks.len() as u64, 50_000)).unwrap());
    all_there(&arena, &blocks);
    empty(disk);
    blocks.push(arena.alloc_bytes(&bytes(blocks.len() as u64, 50_000)).unwrap());
    let mut tx = arena.write().unwrap();
    for &block in &blocks {
        tx.bytes_mut(block).unwrap()[0] ^= 0xFF;
    }
    tx.commit().unwrap();
    let mut tx = arena.write().unwrap();
    for &block in &blocks {
        tx.bytes_mut(block).unwrap()[0] ^= 0xFF;
    }
    tx.commit().unwrap();
    all_there(&arena, &blocks);
    assert_clean(&options.create(disk.join("other.heap")).unwrap());
    drop(arena);
    for name in ["other.heap".to_owned(), format!("{durability:?}.heap")] {
        std::fs::remove_file(disk.join(name)).unwrap();
    }
}

#[test]
fn a_full_disk_in_memory() {
    if let Some((_, disk)) = role() {
        return BOTH.into_iter().for_each(|durability| play(&disk, durability, 300_000));
    }
    on_a_disk("a_full_disk_in_memory", "mount -t tmpfs -o size=6m tmpfs \"$DISK\"");
}

/// Files that grow by whole huge pages take what is there too, to the last page.
#[test]
fn a_full_disk_of_huge_pages() {
    if let Some((_, disk)) = role() {
        return BOTH.into_iter().for_each(|durability| play(&disk, durability, 20 * MIB));
    }
    on_a_disk("a_full_disk_of_huge_pages", "mount -t tmpfs -o size=64m tmpfs \"$DISK\"");
}

/// A load into a store that the disk cannot hold changes nothing; what was there goes on.
fn load(disk: &Path, durability: Durability) {
    use heapfile::store::{Store, Table};
    let path = disk.join(format!("{durability:?}.heap"));
    let store = Store::with(small(durability).max_size(1 << 40).create(&path).unwrap());
    store.put("t", b"before", b"load").unwrap();
    let mut tx = store.write().unwrap();
    let table = Table::open_or_create(&mut tx, "t").unwrap();
    let error = (0u64..)
        .find_map(|n| {
            table
                .put(&mut tx, &bytes(n, 16), &bytes(n, 100))
                .err()
                .or((n > 1 << 17).then_some(Error::ReadOnly))
        })
        .unwrap();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    drop(tx);
    store.check().unwrap();
    assert_clean(store.arena());
    assert_eq!((store.len("t").unwrap(), store.get("t", b"before").unwrap().unwrap()), (1, b"load".to_vec()));
    for n in 0u64..1000 {
        store.put("t", &bytes(n, 16), &bytes(n, 100)).unwrap();
    }
    store.check().unwrap();
    drop(store);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_full_disk_in_the_middle_of_a_load() {
    if let Some((_, disk)) = role() {
        return BOTH.into_iter().for_each(|durability| load(&disk, durability));
    }
    let mount = "mount -t tmpfs -o size=6m tmpfs \"$DISK\"";
    on_a_disk("a_full_disk_in_the_middle_of_a_load", mount);
}

/// ext4 keeps what it had reserved when it found that the rest does not fit.
#[test]
fn a_full_disk_of_blocks() {
    if let Some((_, disk)) = role() {
        return BOTH.into_iter().for_each(|durability| play(&disk, durability, 300_000));
    }
    let mount =
        "truncate -s 24m \"$IMAGE\" && mkfs.ext4 -q -m 0 \"$IMAGE\" && mount -o loop \"$IMAGE\" \"$DISK\"";
    on_a_disk("a_full_disk_of_blocks", mount);
}

/// A snapshot that does not fit leaves nothing, neither of itself nor in the way of the next one.
fn snap(disk: &Path, durability: Durability) {
    let dir = dir();
    let arena = small(durability).max_size(1 << 40).create(dir.path().join("a.heap")).unwrap();
    let mut blocks: Vec<_> = (0..24).map(|i| arena.alloc_bytes(&bytes(i, 100_000)).unwrap()).collect();
    blocks.drain(8..12).for_each(|block| arena.free(block).unwrap());
    let to = disk.join("b.heap");
    let options = heapfile::SnapshotOptions::new();
    for space in [0, 100_000, 900_000, 1_900_000] {
        fill(disk, space);
        is_full(arena.snapshot(&to, &options));
        assert_eq!(
            std::fs::read_dir(disk).unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count(),
            1
        );
        empty(disk);
    }
    arena.snapshot(&to, &options).unwrap();
    // What is in use has its room: to change it needs none.
    let copy = small(durability).max_size(1 << 40).open(&to).unwrap();
    fill(disk, 0);
    for (i, &block) in blocks.iter().enumerate() {
        let mut tx = copy.write().unwrap();
        tx.write_at(block, 50_000, &bytes(i as u64, 100)).unwrap();
        tx.commit().unwrap();
    }
    // What is free is hollow, and known to be.
    is_full(copy.alloc_bytes(&bytes(0, 300_000)));
    assert_clean(&copy);
    assert_clean(&arena);
    drop(copy);
    // Nor takes what is hollow any room by being salvaged.
    let salvage = Arena::salvage(&to, dir.path().join("c.heap")).unwrap();
    assert!(salvage.losses.is_empty() && salvage.report.is_clean());
    let salvaged = small(durability).open(dir.path().join("c.heap")).unwrap();
    assert_eq!(salvaged.read().unwrap().blocks().count(), blocks.len());
    std::fs::remove_file(&to).unwrap();
    empty(disk);
}

#[test]
fn a_snapshot_to_a_full_disk() {
    if let Some((_, disk)) = role() {
        return BOTH.into_iter().for_each(|durability| snap(&disk, durability));
    }
    on_a_disk("a_snapshot_to_a_full_disk", "mount -t tmpfs -o size=6m tmpfs \"$DISK\"");
}

#[test]
fn a_failed_creation_leaves_an_empty_file_that_can_be_created_again() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let refused = Options::new().max_size(1 << 20).create(&path);
    assert!(matches!(refused, Err(Error::MaxSize { .. })));
    assert!(!path.exists() || std::fs::metadata(&path).unwrap().len() == 0);
    assert_clean(&Options::new().log_size(64 << 10).create(&path).unwrap());
}

/// Of each table of a store.
const ENTRIES: u64 = 240;

/// A store of three tables.
fn stored(disk: &Path, durability: Durability) -> heapfile::store::Store {
    use heapfile::store::Table;
    let path = disk.join(format!("{durability:?}.heap"));
    let store = heapfile::store::Store::with(small(durability).max_size(1 << 40).create(path).unwrap());
    let mut tx = store.write().unwrap();
    for table in ["a", "b", "c"] {
        let table = Table::open_or_create(&mut tx, table).unwrap();
        for n in 0..ENTRIES {
            table.put(&mut tx, &n.to_be_bytes(), &bytes(n, 700)).unwrap();
        }
    }
    tx.commit().unwrap();
    store
}

/// Deletes all but each `kept`th entry; where there is no room even for that, calls `make_room` and tries again.
fn thin_out(store: &heapfile::store::Store, kept: u64, mut make_room: impl FnMut()) {
    for table in ["a", "b", "c"] {
        for n in (0..ENTRIES).filter(|n| n % kept != 0) {
            let key = n.to_be_bytes();
            if let Err(e) = store.delete(table, &key) {
                assert!(matches!(e, Error::NoSpace { .. }), "{e}");
                assert!(store.contains(table, &key).unwrap());
                make_room();
                store.delete(table, &key).unwrap();
            }
        }
    }
}

/// All but each `kept`th entry was deleted.
fn assert_kept(store: &heapfile::store::Store, kept: u64) {
    store.check().unwrap();
    assert_clean(store.arena());
    for table in ["a", "b", "c"] {
        assert_eq!(store.len(table).unwrap(), ENTRIES / kept);
        for n in (0..ENTRIES).step_by(kept as usize) {
            assert!(store.get(table, &n.to_be_bytes()).unwrap().unwrap() == bytes(n, 700), "{table} {n}");
        }
    }
}

/// To pack and to shrink takes no room that is not there: what is left has its place, what is free goes back.
fn give_back(disk: &Path, durability: Durability) {
    let store = stored(disk, durability);
    fill(disk, 0);
    thin_out(&store, 4, || assert!(store.shrink().unwrap().file_bytes > 0));
    store.shrink().unwrap();
    assert_kept(&store, 4);
    std::fs::remove_file(store.arena().path()).unwrap();
    drop(store);
    empty(disk);

    let mut store = stored(disk, durability);
    fill(disk, 0);
    // No room for a second copy of anything.
    let before = std::fs::metadata(store.arena().path()).unwrap().len();
    is_full(store.pack("a"));
    assert_kept(&store, 1);
    for _ in 0..2 {
        let shrunk = store.shrink().unwrap();
        assert!(shrunk.file_bytes <= before);
        assert_kept(&store, 1);
        fill(disk, 0);
    }
    for kept in [2, 6, 30] {
        empty(disk);
        thin_out(&store, kept, || panic!("there is room"));
        fill(disk, 0);
        let free = left(disk);
        assert!(store.shrink().unwrap().file_bytes <= before);
        assert!(left(disk) > free + 100_000, "{kept}: {} after {free}", left(disk));
        assert_kept(&store, kept);
        // Others take what was given back; and what is there is there after an open.
        fill(disk, 0);
        let path = store.arena().path().to_owned();
        drop(store);
        store = heapfile::store::Store::open(path).unwrap();
        assert_kept(&store, kept);
    }
    empty(disk);
    std::fs::remove_file(store.arena().path()).unwrap();
}

#[test]
fn a_store_is_packed_on_a_full_disk() {
    if let Some((_, disk)) = role() {
        return BOTH.into_iter().for_each(|durability| give_back(&disk, durability));
    }
    on_a_disk("a_store_is_packed_on_a_full_disk", "mount -t tmpfs -o size=6m tmpfs \"$DISK\"");
}

#[test]
fn a_store_is_packed_on_a_full_disk_of_blocks() {
    if let Some((_, disk)) = role() {
        return BOTH.into_iter().for_each(|durability| give_back(&disk, durability));
    }
    let mount =
        "truncate -s 24m \"$IMAGE\" && mkfs.ext4 -q -m 0 \"$IMAGE\" && mount -o loop \"$IMAGE\" \"$DISK\"";
    on_a_disk("a_store_is_packed_on_a_full_disk_of_blocks", mount);
}
