//! `Process` arenas and the machine: `sync`, the mark, and what opens after a crash of the machine.

mod common;

use common::{assert_clean, bytes, copy_as_killed, dir, small};
use heapfile::testing::{self, Call, SimDisk, at_failpoint, set_boot};
use heapfile::{Arena, Durability, Error, Offset, Options, View};
use std::path::Path;
use std::sync::Barrier;

const MARK: usize = 3 * 4096;
const BOOT_WORDS: usize = 4 * 4096 + 40 * 8;

/// Makes the file look as if all that was written to it had been written before the machine was started again. The superblock
/// stays as it is.
fn reboot(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let mark = &mut bytes[MARK..MARK + 64];
    assert_eq!(&mark[..8], b"HFMARK\0\0");
    mark[16..32].fill(0xEE);
    let crc = crc32fast::hash(&mark[..60]);
    mark[60..].copy_from_slice(&crc.to_le_bytes());
    bytes[BOOT_WORDS..BOOT_WORDS + 16].fill(0xEE);
    std::fs::write(path, bytes).unwrap();
}

/// What the mark in the file says.
fn is_marked(path: &Path) -> bool {
    std::fs::read(path).unwrap()[MARK + 8] == 1
}

struct Place {
    dir: tempfile::TempDir,
    path: std::path::PathBuf,
    copy: std::path::PathBuf,
    arena: Arena,
    block: Offset<[u8]>,
}

fn place() -> Place {
    let dir = dir();
    let (path, copy) = (dir.path().join("a.heap"), dir.path().join("copy.heap"));
    let arena = small(Durability::Process).create(&path).unwrap();
    let block = arena.alloc_bytes(&bytes(1, 5000)).unwrap();
    Place { dir, path, copy, arena, block }
}

#[test]
fn the_mark_is_set_before_the_first_change_and_cleared_by_sync() {
    let Place { dir: _dir, path, arena, block, .. } = place();
    assert!(is_marked(&path) && !arena.stats().unwrap().synced);
    arena.sync().unwrap();
    assert!(!is_marked(&path) && arena.stats().unwrap().synced);
    // Neither reading nor an empty or dropped transaction changes anything.
    assert_eq!(arena.read().unwrap().len_of(block).unwrap(), 5000);
    arena.write().unwrap().commit().unwrap();
    arena.write().unwrap().alloc(&1u32).unwrap();
    assert!(!is_marked(&path));
    arena.free(block).unwrap();
    assert!(is_marked(&path));
    arena.checkpoint().unwrap();
    assert!(!is_marked(&path));
    arena.alloc(&1u32).unwrap();
    drop(arena);
    assert!(!is_marked(&path), "the last close syncs");
}

#[test]
fn what_was_synced_opens_after_a_crash_of_the_machine() {
    let Place { dir: _dir, path, copy, arena, block, .. } = place();
    arena.sync().unwrap();
    copy_as_killed(&path, &copy);
    reboot(&copy);
    let found = Arena::open(&copy).unwrap();
    assert_eq!(found.read().unwrap().bytes(block).unwrap(), bytes(1, 5000));
    assert_clean(&found);
    found.free(block).unwrap();
    assert_clean(&found);
}

#[test]
fn what_was_not_synced_opens_only_when_that_is_accepted() {
    let Place { dir: _dir, path, copy, arena, block, .. } = place();
    copy_as_killed(&path, &copy);
    // Without a crash of the machine nothing is missing.
    assert_clean(&Arena::open(&copy).unwrap());
    copy_as_killed(&path, &copy);
    reboot(&copy);
    let accepting = Options::new().accept_unsynced(true);
    for _ in 0..3 {
        // No refusal, and no reader, makes the next one forget.
        assert!(matches!(Arena::open(&copy), Err(Error::Unsynced { .. })));
        assert!(matches!(Arena::open_or_create(&copy), Err(Error::Unsynced { .. })));
        assert!(matches!(Arena::open_read_only(&copy), Err(Error::Unsynced { .. })));
        let looking = accepting.open_read_only(&copy).unwrap();
        assert_clean(&looking);
        // Not even while somebody looks at it.
        assert!(matches!(Arena::open(&copy), Err(Error::Unsynced { .. })));
        assert!(matches!(Arena::open_read_only(&copy), Err(Error::Unsynced { .. })));
        assert_eq!(looking.read().unwrap().bytes(block).unwrap(), bytes(1, 5000));
    }
    let found = accepting.open(&copy).unwrap();
    assert_eq!(found.read().unwrap().bytes(block).unwrap(), bytes(1, 5000));
    found.alloc(&1u8).unwrap();
    drop(found);
    // Accepted, checked and synced: an arena as any other.
    assert_clean(&Arena::open(&copy).unwrap());
    drop(arena);
}

#[test]
fn what_was_not_synced_and_is_not_sound_is_refused_again_and_again() {
    let Place { dir: _dir, path, copy, arena, .. } = place();
    let heap = arena.stats().unwrap().heap_offset as usize;
    arena.alloc_bytes(&bytes(2, 100)).unwrap();
    copy_as_killed(&path, &copy);
    reboot(&copy);
    let mut damaged = std::fs::read(&copy).unwrap();
    // One page of the heap, the node page, kept what it was long ago.
    damaged[heap + 2 * 4096..][..4096].fill(0);
    std::fs::write(&copy, damaged).unwrap();
    let accepting = Options::new().accept_unsynced(true);
    for _ in 0..2 {
        assert!(matches!(accepting.open(&copy), Err(Error::Corrupt { .. })));
        assert!(matches!(Arena::open(&copy), Err(Error::Unsynced { .. })));
        let looking = accepting.open_read_only(&copy).unwrap();
        assert!(!looking.check().unwrap().is_clean());
    }
}

/// A commit that was cut off by the crash of the machine is not completed: its record may be there in part.
#[test]
fn half_a_commit_on_an_unsynced_state_says_nothing() {
    let Place { dir: _dir, path, copy, arena, block, .. } = place();
    let half = common::killed_at("commit: intent valid", &path, || {
        let mut tx = arena.write().unwrap();
        tx.free(block).unwrap();
        tx.commit().unwrap();
    });
    std::fs::write(&copy, half).unwrap();
    reboot(&copy);
    let found = Options::new().accept_unsynced(true).open(&copy).unwrap();
    assert_eq!(found.read().unwrap().bytes(block).unwrap(), bytes(1, 5000));
    assert_clean(&found);
}

#[test]
fn a_damaged_mark_is_damage() {
    let Place { dir: _dir, path, copy, arena, .. } = place();
    arena.sync().unwrap();
    copy_as_killed(&path, &copy);
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes[MARK + 8] = 2;
    std::fs::write(&copy, bytes).unwrap();
    for outcome in [Arena::open(&copy), Options::new().accept_unsynced(true).open(&copy)] {
        assert!(
            matches!(outcome, Err(Error::Corrupt { offset, .. }) if offset == MARK as u64),
            "{outcome:?}"
        );
    }
}

/// Whoever is the last one to have it open.
#[test]
fn the_last_close_syncs_though_only_readers_are_left() {
    let Place { dir: _dir, path, arena, .. } = place();
    let (reader, another) = (Arena::open_read_only(&path).unwrap(), Arena::open_read_only(&path).unwrap());
    drop(arena);
    drop(reader);
    assert!(is_marked(&path), "not the last one");
    drop(another);
    assert!(!is_marked(&path));
}

/// A read-only handle that may write the file syncs what others committed; `checkpoint` is the same call there.
#[test]
fn a_read_only_handle_syncs() {
    let Place { dir: _dir, path, copy, arena, block } = place();
    let reader = Arena::open_read_only(&path).unwrap();
    for sync in [Arena::sync, Arena::checkpoint] {
        arena.alloc(&1u64).unwrap();
        assert!(is_marked(&path) && !reader.stats().unwrap().synced);
        sync(&reader).unwrap();
        assert!(!is_marked(&path) && reader.stats().unwrap().synced && arena.stats().unwrap().synced);
        copy_as_killed(&path, &copy);
        reboot(&copy);
        assert_eq!(Arena::open(&copy).unwrap().read().unwrap().bytes(block).unwrap(), bytes(1, 5000));
    }
    std::fs::remove_file(&path).unwrap();
    for sync in [Arena::sync, Arena::checkpoint] {
        assert!(matches!(sync(&reader), Err(Error::Replaced { .. })));
    }
}

/// What a handle merely looks at, lost with another boot, is not called synced by it.
#[test]
fn who_looks_at_what_was_not_synced_does_not_sync_it() {
    let Place { dir: _dir, path, copy, arena: _arena, .. } = place();
    copy_as_killed(&path, &copy);
    reboot(&copy);
    let looking = Options::new().accept_unsynced(true).open_read_only(&copy).unwrap();
    for sync in [Arena::sync, Arena::checkpoint] {
        assert!(matches!(sync(&looking), Err(Error::ReadOnly)));
    }
    assert!(is_marked(&copy));
    drop(looking);
    assert!(matches!(Arena::open(&copy), Err(Error::Unsynced { .. })));
}

/// Each of them sees the other until that has left.
#[test]
fn the_last_close_syncs_though_two_close_at_once() {
    let dir = common::fast_dir();
    let path = dir.path().join("a.heap");
    drop(small(Durability::Process).create(&path).unwrap());
    let both = Barrier::new(2);
    for _ in 0..1000 {
        let (one, other) = (Arena::open(&path).unwrap(), Arena::open(&path).unwrap());
        one.alloc(&1u64).unwrap();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                both.wait();
                drop(one);
            });
            both.wait();
            drop(other);
        });
        assert!(!is_marked(&path));
    }
}

/// The identity of a boot differs from container to container: it says something of who is not there any more, nothing of who is.
#[test]
fn another_boot_beside_a_handle_that_is_in_sync_is_none() {
    let Place { dir: _dir, path, arena, block, .. } = place();
    set_boot(Some([9; 16]));
    let beside = Arena::open(&path).unwrap();
    let looking = Arena::open_read_only(&path).unwrap();
    assert_eq!(beside.read().unwrap().bytes(block).unwrap(), bytes(1, 5000));
    beside.free(block).unwrap();
    set_boot(None);
    drop(arena);
    drop(Arena::open(&path).unwrap());
    assert_clean(&looking);
}

#[test]
fn a_sync_beside_one_that_failed_says_nothing() {
    let disk = SimDisk::new().unwrap();
    let arena = testing::create(&disk, &small(Durability::Process)).unwrap();
    let other = testing::open(&disk, &small(Durability::Process)).unwrap();
    arena.alloc(&1u64).unwrap();
    let faulty = disk.clone();
    at_failpoint("sync: with the lock", move || {
        faulty.fail(Call::Sync, 0, libc::EIO);
        other.sync().unwrap_err();
    });
    let outcome = arena.sync();
    assert!(matches!(outcome, Err(Error::SyncFailed)), "{outcome:?}");
    assert_eq!(disk.read_cache().unwrap()[MARK + 8], 1, "the mark is cleared");
    arena.sync().unwrap();
    assert_eq!(disk.read_cache().unwrap()[MARK + 8], 0);
}
