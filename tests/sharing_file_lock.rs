//! `Locking::File`: what a lock on the whole file has to do by itself: a killed holder's is free, threads of one handle are kept
//! apart, waiting writers get their turn, every close leaves the disk with everything.

mod sharing;

use heapfile::{Arena, Durability, Error, Locking, Options, View};
use sharing::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn open(file: &Path, patience: Duration) -> Arena {
    Options::new().locking(Locking::File).lock_timeout(patience).open(file).expect("it opens")
}

#[test]
fn a_killed_holder_holds_nothing() {
    const TEST: &str = "a_killed_holder_holds_nothing";
    if let Some((role, file)) = role() {
        let arena = open(&file, PATIENCE);
        let (_reading, _writing);
        if role == "read" {
            _reading = arena.read().expect("a reader");
        } else {
            let mut tx = arena.write().expect("a writer");
            set_number(&mut tx, 7).expect("a change");
            _writing = tx;
        }
        say("holds it");
        listen();
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        drop(create(&file, &options(durability).locking(Locking::File)));
        let (hasty, patient) = (open(&file, Duration::from_millis(60)), open(&file, PATIENCE));
        assert!(hasty.handles().expect("handles").is_empty(), "nobody is known");
        for holder in ["read", "write"] {
            let mut child = start(TEST, holder, &file);
            child.expect("holds it");
            assert_eq!(busy(hasty.write()), (None, None));
            if holder == "read" {
                assert_eq!(read_number(&hasty), number(&patient.read().expect("a reader")));
            } else {
                assert_eq!(busy(hasty.read()), (None, None));
            }
            std::thread::scope(|threads| {
                let waiting = threads.spawn(|| commit_next(&patient).expect("the holder is dead"));
                std::thread::sleep(Duration::from_millis(30));
                assert!(!waiting.is_finished());
                child.kill();
                waiting.join().expect("it does not panic");
            });
        }
        assert_eq!(read_number(&hasty), 2);
        assert_clean(&hasty);
    }
}

/// Readers that overlap without end do not keep a writer out, neither of their own handle nor of another process.
#[test]
fn a_waiting_writer_gets_its_turn() {
    const TEST: &str = "a_waiting_writer_gets_its_turn";
    if let Some((_, file)) = role() {
        return overlap(&open(&file, PATIENCE), || listen() == "go on");
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(Durability::Process).locking(Locking::File));
    let readers = start(TEST, "read", &file);
    readers.expect("overlap");
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            overlap(&arena, || {
                eventually("the writer is done", || done.load(Ordering::Relaxed));
                false
            });
        });
        for _ in 0..10 {
            commit_next(&arena).expect("its turn comes");
        }
        let late = open(&file, PATIENCE);
        commit_next(&late).expect("its turn comes");
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(read_number(&arena), 11);
    readers.finish();
}

/// Three threads of which at almost any moment one reads, until `goes_on` says no.
fn overlap(arena: &Arena, goes_on: impl Fn() -> bool) {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let tx = arena.read().expect("a reader");
                    std::thread::sleep(Duration::from_millis(3));
                    drop(tx);
                }
            });
        }
        say("overlap");
        while goes_on() {}
        done.store(true, Ordering::Relaxed);
    });
}

/// With nobody knowing who else is there, each close leaves the disk with everything.
#[test]
fn every_close_syncs() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let first = create(&file, &options(Durability::Process).locking(Locking::File));
    let second = open(&file, PATIENCE);
    assert!(!first.stats().expect("figures").synced);
    drop(second);
    assert!(first.stats().expect("figures").synced);
    commit_next(&first).expect("a commit");
    assert!(!first.stats().expect("figures").synced);

    let file = dir.path().join("b.heap");
    let first = create(&file, &options(Durability::Power).locking(Locking::File));
    let second = open(&file, PATIENCE);
    commit_next(&first).expect("a commit");
    drop(second);
    assert_eq!(first.stats().expect("figures").log_used_bytes, 0);
}

/// Reading and writing exclude each other for the length of a whole transaction, and the same thread is told so at once.
#[test]
fn a_thread_does_not_wait_for_itself() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(Durability::Process).locking(Locking::File));
    let tx = arena.write().expect("a writer");
    assert!(matches!(arena.read(), Err(Error::WouldDeadlock { .. })));
    assert!(matches!(arena.write(), Err(Error::WouldDeadlock { .. })));
    drop(tx);
    let tx = arena.read().expect("a reader");
    let nested = arena.read().expect("a nested reader");
    assert!(matches!(arena.write(), Err(Error::WouldDeadlock { .. })));
    drop((tx, nested));
    assert_eq!(commit_next(&arena).expect("a commit"), 1);
}

/// Who opens beside a live handle takes what that one knows for what there is, whatever boot of the machine he is told.
#[test]
fn an_opener_changes_nothing_beneath_live_handles() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let options = options(heapfile::Durability::Process).locking(Locking::File);
    let arena = create(&file, &options);
    let blocks: Vec<_> = (0..2000u64).map(|n| arena.alloc(&[n; 8]).expect("a block")).collect();
    heapfile::testing::set_boot(Some([9; 16]));
    let other = options.open(&file);
    heapfile::testing::set_boot(None);
    let other = other.expect("the page cache has what live handles see");
    // The other one makes pages of slabs free, and other blocks of them.
    for &block in &blocks[100..] {
        other.free(block).expect("it is there");
    }
    let big = other.alloc_bytes(&[7; 100 << 10]).expect("a block");
    for n in 0..2000u64 {
        arena.alloc(&[n; 8]).expect("a block");
    }
    assert!(arena.read().expect("a reader").bytes(big).expect("it is there").iter().all(|&byte| byte == 7));
    assert!(arena.check().expect("the check runs").is_clean());
}
