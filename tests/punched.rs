//! Space that was given back is reserved again before it is handed out: a disk that has none left by then is `NoSpace`, with nothing
//! changed; never a commit that cannot be applied, and never a fault.

mod common;

use common::mounted::on_a_disk;
use common::{BOTH, assert_clean, bytes, role, small};
use heapfile::{Arena, Durability, Error, Offset, View};
use std::os::unix::fs::FileExt;
use std::path::Path;

const LEN: usize = 900_000;

/// Takes all space that is left.
fn fill(disk: &Path) {
    let file = std::fs::File::create(disk.join("filler")).unwrap();
    let (page, mut at) = ([1; 4096], 0);
    while file.write_all_at(&page, at).is_ok() {
        at += 4096;
    }
}

/// An arena with a large hole in the middle: the block behind it holds the file long.
fn hollow(path: &Path, durability: Durability) -> (Arena, Offset<[u8]>) {
    let arena = small(durability).create(path).unwrap();
    let hole = arena.alloc_bytes(&bytes(1, LEN)).unwrap();
    let kept = arena.alloc_bytes(&bytes(2, 20_000)).unwrap();
    arena.free(hole).unwrap();
    let shrunk = arena.shrink().unwrap();
    assert!(shrunk.punched_bytes >= LEN as u64 && shrunk.file_bytes > LEN as u64, "{shrunk:?}");
    (arena, kept)
}

fn no_space<T: std::fmt::Debug>(outcome: heapfile::Result<T>) {
    assert!(matches!(outcome, Err(Error::NoSpace { .. })), "{outcome:?}");
}

fn play(disk: &Path, durability: Durability) {
    let path = disk.join("a.heap");
    let (arena, kept) = hollow(&path, durability);
    fill(disk);
    let sound = |arena: &Arena, others: usize| {
        assert_clean(arena);
        let tx = arena.read().unwrap();
        assert!(tx.bytes(kept).unwrap() == bytes(2, 20_000));
        assert_eq!(tx.blocks().count(), 1 + others);
    };
    // In every way in which free pages are taken.
    no_space(arena.alloc_bytes(&bytes(3, LEN)));
    sound(&arena, 0);
    let mut tx = arena.write().unwrap();
    no_space(tx.alloc_unset(LEN as u64, 8));
    no_space(tx.alloc_zeroed(LEN as u64 / 2, 4096));
    tx.commit().unwrap();
    sound(&arena, 0);
    // Another handle knows of the hole as well.
    drop(arena);
    let arena = Arena::open(&path).unwrap();
    no_space(arena.alloc_bytes(&bytes(3, LEN)));
    sound(&arena, 0);
    // With space again all of it can be taken and filled.
    std::fs::remove_file(disk.join("filler")).unwrap();
    let again = arena.alloc_bytes(&bytes(4, LEN)).unwrap();
    assert!(arena.read().unwrap().bytes(again).unwrap() == bytes(4, LEN));
    sound(&arena, 1);
    drop(arena);
    std::fs::remove_file(path).unwrap();
}

/// A repair that cannot tell which free extents are punched takes all for it; one without space leaves nothing beside the arena.
fn repair(disk: &Path, durability: Durability) {
    let path = disk.join("a.heap");
    let (arena, kept) = hollow(&path, durability);
    let heap = arena.stats().unwrap().heap_offset;
    drop(arena);
    // The count of free pages: the free tree is no longer believed.
    let damage = || {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0x77; 4], heap + 20).unwrap();
    };
    damage();
    // What is punched stays so when it is looked at.
    fill(disk);
    no_space(Arena::repair(&path));
    std::fs::remove_file(disk.join("filler")).unwrap();
    let repair = Arena::repair(&path).unwrap();
    assert!(repair.report.is_clean() && repair.losses.is_empty());
    std::fs::remove_file(repair.backup.unwrap()).unwrap();
    fill(disk);
    let arena = Arena::open(&path).unwrap();
    no_space(arena.alloc_bytes(&bytes(3, LEN)));
    assert!(arena.read().unwrap().bytes(kept).unwrap() == bytes(2, 20_000));
    assert_clean(&arena);
    std::fs::remove_file(disk.join("filler")).unwrap();
    let filled = arena.alloc_bytes(&bytes(3, LEN)).unwrap();
    arena.free(filled).unwrap();
    drop(arena);

    damage();
    fill(disk);
    no_space(Arena::repair(&path));
    let names = || std::fs::read_dir(disk).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names().filter(|name| name.to_string_lossy().contains("repair")).count(), 0);
    for path in [path, disk.join("filler")] {
        std::fs::remove_file(path).unwrap();
    }
}

fn play_all(disk: &Path) {
    for durability in BOTH {
        play(disk, durability);
        repair(disk, durability);
    }
}

#[test]
fn in_memory() {
    if let Some((_, disk)) = role() {
        return play_all(&disk);
    }
    on_a_disk("in_memory", "mount -t tmpfs -o size=6m tmpfs \"$DISK\"");
}

#[test]
fn on_blocks() {
    if let Some((_, disk)) = role() {
        return play_all(&disk);
    }
    let mount =
        "truncate -s 24m \"$IMAGE\" && mkfs.ext4 -q -m 0 \"$IMAGE\" && mount -o loop \"$IMAGE\" \"$DISK\"";
    on_a_disk("on_blocks", mount);
}
