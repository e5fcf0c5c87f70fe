//! What another machine, or this one after a restart, finds: the file's bytes as they were in the middle of something, with
//! runtime words that speak of processes that are not there.

mod sharing;

use heapfile::testing::{FAILPOINTS, SplitMix64};
use heapfile::{Arena, Durability, Error, Options};
use sharing::*;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Lock words, process slots: pages 4 to 36 of format version 1.
const RUNTIME: Range<u64> = 4 * 4096..37 * 4096;
/// The words of the first of them that name the boot.
const BOOT: u64 = RUNTIME.start + 40 * 8;

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(file).expect("the file can be written");
    file.write_all_at(bytes, at).expect("it is written");
}

/// A copy taken while processes have the original open, one of them in the middle of a commit, is an arena of its own.
#[test]
fn a_copy_taken_in_the_middle_opens_whole() {
    const TEST: &str = "a_copy_taken_in_the_middle_opens_whole";
    if let Some((_, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        let mut tx = arena.write().expect("a writer");
        set_number(&mut tx, 1).expect("a change");
        tx.alloc_zeroed(8 << 20, 8).expect("space");
        return tx.commit().expect("a commit");
    }
    let dir = dir();
    let (file, copy) = (dir.path().join("a.heap"), dir.path().join("copy.heap"));
    for durability in BOTH {
        let mut stops = 0;
        for point in FAILPOINTS.iter().filter(|p| !p.starts_with("recover")) {
            let _ = std::fs::remove_file(&file);
            let arena = create(&file, &options(durability).log_size(1 << 20));
            arena.sync().expect("a sync");
            let writer = start_stopped_at(TEST, "commit", &file, point);
            // Stopped in the middle, or done where it does not pass this point.
            eventually("it stops or ends", || writer.is_stopped() || writer.has_ended());
            stops += u32::from(writer.is_stopped());
            for other_boot in [false, true] {
                std::fs::copy(&file, &copy).expect("a copy");
                if other_boot && durability == Durability::Power {
                    overwrite(&copy, BOOT, &[0x5A; 16]);
                }
                let other = Options::new().lock_timeout(PATIENCE).open(&copy).expect("the copy opens");
                assert_eq!(other.handles().expect("handles").len(), 1, "nobody else is there");
                assert!(read_number(&other) <= 1);
                commit_next(&other).expect("the copy can be written");
                assert_clean(&other);
            }
            writer.go_on();
            writer.finish();
            assert_eq!(read_number(&arena), 1);
            assert_clean(&arena);
        }
        assert!(stops >= 10, "{durability:?}: only {stops} of the points were passed");
    }
}

/// Runtime pages are not written in order, if at all, before a loss of power: whatever they hold, they are computed anew.
#[test]
fn garbage_in_the_runtime_pages_is_thrown_away() {
    let dir = dir();
    let (file, copy) = (dir.path().join("a.heap"), dir.path().join("copy.heap"));
    let mut rng = SplitMix64(1);
    let len = (RUNTIME.end - RUNTIME.start) as usize;
    for durability in BOTH {
        for locking in LOCKINGS {
            let _ = std::fs::remove_file(&file);
            let arena = create(&file, &options(durability).locking(locking));
            commit_next(&arena).expect("a commit");
            arena.sync().expect("a sync");
            for round in 0..24 {
                let garbage: Vec<u8> = match round {
                    0 => vec![0xFF; len],
                    1 => vec![0; len],
                    2 => vec![1; len],
                    3 => (0..len as u64 / 8).flat_map(|_| 1u64.to_le_bytes()).collect(),
                    // Plausible words and wild ones.
                    4..14 => {
                        (0..len / 8).flat_map(|_| (rng.next() >> (rng.next() % 64)).to_le_bytes()).collect()
                    }
                    _ => (0..len / 8).flat_map(|_| rng.next().to_le_bytes()).collect(),
                };
                std::fs::copy(&file, &copy).expect("a copy");
                overwrite(&copy, RUNTIME.start, &garbage);
                let other = options(durability)
                    .locking(locking)
                    .lock_timeout(Duration::from_secs(10))
                    .open(&copy)
                    .unwrap_or_else(|e| panic!("{durability:?} {locking:?} round {round}: {e}"));
                assert_eq!(read_number(&other), 1);
                assert_eq!(commit_next(&other).expect("a commit"), 2);
                assert_clean(&other);
                let again = options(durability).locking(locking).open(&copy).expect("it opens again");
                assert_eq!(commit_next(&again).expect("a commit"), 3);
                assert_eq!(read_number(&other), 3);
            }
        }
    }
}

/// A lock word that was left by nobody may name exactly the slot and generation that the next handle gets. It is reset when nobody is there, or that handle
/// would take it for its own, and wait for itself.
#[test]
fn a_lock_word_that_names_the_next_handle_is_nobodys() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    for durability in BOTH {
        let _ = std::fs::remove_file(&file);
        let options = options(durability).lock_timeout(Duration::from_secs(2));
        commit_next(&create(&file, &options)).expect("a commit");
        let mut generation = [0; 8];
        let opened = std::fs::File::open(&file).expect("the file can be read");
        opened.read_exact_at(&mut generation, RUNTIME.start + 4096).expect("slot 0 is there");
        let next = (u64::from_le_bytes(generation) + 1) << 32 | 1;
        overwrite(&file, RUNTIME.start, &next.to_le_bytes());
        let arena = options.open(&file).expect("it opens");
        assert_eq!(arena.handles().expect("they are known")[0].slot, 0, "this shows nothing");
        assert_eq!(commit_next(&arena).expect("nobody holds the lock"), 2);
        assert_clean(&arena);
    }
}

/// Another boot's words are no reason to take anything from a handle that lives: in a container the number of the boot differs.
#[test]
fn a_live_handle_keeps_its_lock_whatever_boot_the_words_name() {
    const TEST: &str = "a_live_handle_keeps_its_lock_whatever_boot_the_words_name";
    if let Some((_, file)) = role() {
        let arena = Arena::open(&file).expect("it opens");
        let mut tx = arena.write().expect("a writer");
        set_number(&mut tx, 1).expect("a change");
        say("owns");
        listen();
        return tx.commit().expect("a commit");
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        drop(create(&file, &options(durability)));
        let mut owner = start(TEST, "own", &file);
        owner.expect("owns");
        overwrite(&file, BOOT, &[0x5A; 16]);
        let arena = Options::new().lock_timeout(Duration::from_millis(200)).open(&file).expect("it opens");
        assert_eq!(busy(arena.write()), (Some(0), Some(owner.pid())));
        assert_eq!(read_number(&arena), 0);
        owner.tell("commit");
        owner.finish();
        assert_eq!(commit_next(&arena).expect("a commit"), 2);
        assert_clean(&arena);
    }
}

/// The mark of a `Process` arena, sealed as the library does, for another boot.
fn forge_mark(file: &Path) {
    let mut mark = [0u8; 64];
    let opened = std::fs::File::open(file).expect("the file can be read");
    opened.read_exact_at(&mut mark, 3 * 4096).expect("the mark");
    mark[8..12].copy_from_slice(&1u32.to_le_bytes());
    mark[16..32].copy_from_slice(&[0x5A; 16]);
    let crc = crc32fast::hash(&mark[..60]);
    mark[60..].copy_from_slice(&crc.to_le_bytes());
    overwrite(file, 3 * 4096, &mark);
    overwrite(file, BOOT, &[0x5A; 16]);
}

/// A `Process` arena that was not synced when the machine went down stays refused until a writer accepts it, whoever reads
/// it before, and whoever has it open meanwhile.
#[test]
fn a_read_only_handle_does_not_accept_what_was_not_synced() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let options = options(Durability::Process);
    drop(create(&file, &options));
    forge_mark(&file);
    let unsynced = |outcome: heapfile::Result<Arena>| assert!(matches!(outcome, Err(Error::Unsynced { .. })));
    let accepting = options.clone().accept_unsynced(true);
    unsynced(options.open(&file));
    unsynced(options.open_read_only(&file));
    let reader = accepting.open_read_only(&file).expect("for reading it opens");
    unsynced(options.open(&file));
    drop(reader);
    unsynced(options.open(&file));
    let reader = accepting.open_read_only(&file).expect("for reading it opens");
    let writer = accepting.open(&file).expect("it is sound");
    assert_eq!(commit_next(&writer).expect("a commit"), 1);
    drop((reader, writer));
    assert_eq!(read_number(&options.open(&file).expect("it is accepted")), 1);
}

/// The mark on the disk says "changed" from the first commit after a sync on, also when the process that synced died while it
/// cleared the mark, and another one commits.
#[test]
fn the_mark_is_set_again_after_a_death_in_a_sync() {
    const TEST: &str = "the_mark_is_set_again_after_a_death_in_a_sync";
    if let Some((_, file)) = role() {
        let arena = Arena::open(&file).expect("it opens");
        return arena.sync().expect("a sync");
    }
    let changed = |file: &Path| {
        let bytes = std::fs::read(file).expect("the file can be read");
        bytes[3 * 4096 + 8] == 1
    };
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(Durability::Process));
    assert!(changed(&file));
    start_killed_at(TEST, "sync", &file, "sync: mark cleared").wait_killed();
    assert!(!changed(&file));
    commit_next(&arena).expect("a commit");
    assert!(changed(&file), "a loss of power now would not be noticed");
    arena.sync().expect("a sync");
    assert!(!changed(&file));
}
