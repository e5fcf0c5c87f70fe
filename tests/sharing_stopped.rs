//! Who is stopped is alive: nobody takes its place, others get `Busy` with its slot and process, and when it goes on
//! nothing is damaged.

mod sharing;

use heapfile::{Arena, Durability, Error, Locking, Options};
use sharing::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn hasty(file: &Path) -> Arena {
    Options::new().lock_timeout(Duration::from_millis(150)).open(file).expect("it opens")
}

fn patient(file: &Path) -> Arena {
    Options::new().lock_timeout(PATIENCE).open(file).expect("it opens")
}

/// What `Busy` has to name: with the whole-file lock nothing is known.
fn named(locking: Locking, slot: u32, child: &Child) -> (Option<u32>, Option<u32>) {
    match locking {
        Locking::Shared => (Some(slot), Some(child.pid())),
        _ => (None, None),
    }
}

/// Stopped for a time in which a waiter asks many times whether the owner lives.
fn for_a_while(mut check: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1100) {
        check();
    }
}

#[test]
fn a_stopped_owner_keeps_its_lock() {
    const TEST: &str = "a_stopped_owner_keeps_its_lock";
    if let Some((_, file)) = role() {
        let arena = patient(&file);
        let mut tx = arena.write().expect("a writer");
        set_number(&mut tx, 1).expect("a change");
        say("owns");
        listen();
        return tx.commit().expect("a commit");
    }
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        drop(create(&file, &options(durability).locking(locking)));
        let arena = hasty_in(&file, locking);
        let mut owner = start(TEST, "own", &file);
        owner.expect("owns");
        owner.stop();
        let expected = named(locking, 1, &owner);
        for_a_while(|| {
            assert_eq!(busy(arena.write()), expected);
            assert_eq!(busy(arena.alloc(&1u64)), expected);
            match locking {
                // The body of a transaction leaves the gate open.
                Locking::Shared => assert_eq!(read_number(&arena), 0),
                _ => assert_eq!(busy(arena.read()), expected),
            }
        });
        owner.go_on();
        owner.tell("commit");
        owner.finish();
        assert_eq!(read_number(&arena), 1);
        assert_eq!(commit_next(&arena).expect("a commit"), 2);
        assert_clean(&arena);
    }
}

fn hasty_in(file: &Path, locking: Locking) -> Arena {
    Options::new().locking(locking).lock_timeout(Duration::from_millis(150)).open(file).expect("it opens")
}

#[test]
fn an_owner_stopped_in_its_apply_keeps_readers_out_too() {
    const TEST: &str = "an_owner_stopped_in_its_apply_keeps_readers_out_too";
    if let Some((_, file)) = role() {
        {
            commit_next(&patient(&file)).expect("a commit");
            return;
        }
    }
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        drop(create(&file, &options(durability).locking(locking)));
        let arena = hasty_in(&file, locking);
        let owner = start_stopped_at(TEST, "commit", &file, "commit: half applied#3");
        owner.wait_stopped();
        let expected = named(locking, 1, &owner);
        for_a_while(|| {
            assert_eq!(busy(arena.read()), expected);
            assert_eq!(busy(arena.write()), expected);
        });
        owner.go_on();
        owner.finish();
        assert_eq!(read_number(&arena), 1);
        assert_clean(&arena);
    }
}

/// A commit that waits for a stopped reader in vain has changed nothing; in a `Power` arena not even where its record was durable
/// before it waited, also after recovery.
#[test]
fn a_stopped_reader_fails_commits_and_nothing_else() {
    const TEST: &str = "a_stopped_reader_fails_commits_and_nothing_else";
    if let Some((_, file)) = role() {
        let arena = patient(&file);
        let tx = arena.read().expect("a reader");
        let before = number(&tx);
        say("reads");
        listen();
        assert_eq!(number(&tx), before, "a view changed under its reader");
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        // The record goes to the log at first, to a spill extent in the second round.
        for log_size in [1 << 20, 64 << 10] {
            let _ = std::fs::remove_file(&file);
            drop(create(&file, &options(durability).log_size(log_size)));
            let (arena, other) = (hasty(&file), hasty(&file));
            let mut reader = start(TEST, "read", &file);
            reader.expect("reads");
            reader.stop();
            for _ in 0..3 {
                assert_eq!(busy(commit_next(&arena)), (Some(2), Some(reader.pid())));
                assert_eq!(busy(arena.alloc(&[1u64; 100])), (Some(2), Some(reader.pid())));
                // Other readers come and go.
                assert_eq!((read_number(&arena), read_number(&other)), (0, 0));
            }
            let copy = dir.path().join("copy.heap");
            std::fs::copy(&file, &copy).expect("a copy");
            let after = Arena::open(&copy).expect("the copy opens");
            assert_eq!(read_number(&after), 0, "the void record was not believed");
            assert_clean(&after);
            reader.go_on();
            reader.tell("end");
            reader.finish();
            assert_eq!(commit_next(&arena).expect("the reader is gone"), 1);
            assert_eq!(read_number(&other), 1);
            assert_clean(&arena);
        }
    }
}

/// A reader stopped between counting itself and looking at the gate keeps its count. If the owner dies in its apply
/// just then, whoever takes over has to wait for the reader, and must let nobody in meanwhile: half a commit is applied.
#[test]
fn half_a_commit_stays_behind_the_gate_however_long_its_completion_waits() {
    const TEST: &str = "half_a_commit_stays_behind_the_gate_however_long_its_completion_waits";
    if let Some((role, file)) = role() {
        let arena = patient(&file);
        return match role.as_str() {
            "commit" => drop(commit_next(&arena).expect("a commit")),
            _ => assert_eq!(read_number(&arena), 1),
        };
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        drop(create(&file, &options(durability)));
        let (arena, other) = (hasty(&file), hasty(&file));
        let mut owner = start_stopped_at(TEST, "commit", &file, "commit: half applied#3");
        owner.wait_stopped();
        let reader = start_stopped_at(TEST, "read", &file, "gate: reader counted");
        reader.wait_stopped();
        owner.kill();
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    match other.read() {
                        Ok(tx) => drop(number(&tx)),
                        Err(e) => assert!(matches!(e, Error::Busy { .. }), "{e}"),
                    }
                }
            });
            for _ in 0..3 {
                busy(arena.write());
                busy(arena.read());
            }
            done.store(true, Ordering::Relaxed);
        });
        reader.go_on();
        reader.finish();
        assert_eq!((read_number(&arena), read_number(&other)), (1, 1));
        assert_eq!(commit_next(&other).expect("a commit"), 2);
        assert_clean(&arena);
    }
}

/// An owner that dies after its record is durable, the gate still open, has applied nothing: a stopped reader keeps the commit
/// from being completed, but no other reader out.
#[test]
fn a_stopped_reader_keeps_no_reader_out_after_a_death() {
    const TEST: &str = "a_stopped_reader_keeps_no_reader_out_after_a_death";
    if let Some((role, file)) = role() {
        let arena = patient(&file);
        if role == "commit" {
            {
                commit_next(&arena).expect("a commit");
                return;
            }
        }
        let tx = arena.read().expect("a reader");
        say("reads");
        listen();
        assert_eq!(number(&tx), 0);
        return;
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    drop(create(&file, &options(Durability::Power).log_size(1 << 20)));
    let (arena, other) = (hasty(&file), hasty(&file));
    let mut reader = start(TEST, "read", &file);
    reader.expect("reads");
    reader.stop();
    start_killed_at(TEST, "commit", &file, "commit: record durable").wait_killed();
    for _ in 0..3 {
        assert_eq!(busy(arena.write()), (Some(2), Some(reader.pid())));
        assert_eq!((read_number(&arena), read_number(&other)), (0, 0));
    }
    reader.go_on();
    reader.tell("end");
    reader.finish();
    let tx = other.write().expect("the commit can be completed");
    assert_eq!(number(&tx), 1);
    drop(tx);
    assert_clean(&arena);
}
