//! A thread never waits for itself: what would is `WouldDeadlock` at once; nested reads pass a shut gate, but only under a
//! read of the same handle.

mod sharing;

use heapfile::{Arena, Durability, Error, Options};
use sharing::*;
use std::path::Path;
use std::time::{Duration, Instant};

#[track_caller]
fn would_deadlock<T>(outcome: heapfile::Result<T>) {
    match outcome.map(drop) {
        Err(Error::WouldDeadlock { .. }) => {}
        other => panic!("WouldDeadlock is expected, not {other:?}"),
    }
}

#[test]
fn at_once_through_any_handle() {
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena = create(&file, &options(durability));
        let other = options(durability).open(&file).expect("it opens");
        let start = Instant::now();
        for handle in [&arena, &arena.clone(), &other] {
            let tx = arena.read().expect("a reader");
            would_deadlock(handle.write());
            would_deadlock(handle.alloc(&1u64));
            would_deadlock(handle.checkpoint());
            assert!(handle.sync().is_ok() == (durability == Durability::Power));
            drop(tx);
            let tx = arena.write().expect("a writer");
            would_deadlock(handle.write());
            would_deadlock(handle.alloc_bytes(b"x"));
            // The body of a transaction leaves the gate open: its own thread may read what is committed.
            let before = read_number(handle);
            let reading = handle.read().expect("a reader");
            assert_eq!(number(&reading), before);
            would_deadlock(tx.commit());
            drop(reading);
            assert_eq!(commit_next(handle).expect("nothing is left behind"), before + 1);
        }
        assert!(start.elapsed() < PATIENCE, "something waited for its time to run out");
        assert_clean(&arena);
    }
}

/// Another thread's transaction is waited for.
#[test]
fn not_for_other_threads() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(Durability::Process));
    let tx = arena.read().expect("a reader");
    std::thread::scope(|threads| {
        let writing = threads.spawn(|| commit_next(&arena).expect("a commit"));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(number(&tx), 0);
        assert!(!writing.is_finished());
        drop(tx);
        assert_eq!(writing.join().expect("it does not panic"), 1);
    });
}

/// A transaction that was forgotten goes with its handle: what this thread held there it does not hold through another one.
#[test]
fn a_forgotten_read_is_none_of_a_later_handles() {
    let dir = dir();
    for durability in BOTH {
        let (file, other) =
            (dir.path().join(format!("{durability:?}")), dir.path().join(format!("{durability:?} 2")));
        let arena = create(&file, &options(durability));
        std::mem::forget(arena.read().expect("a reader"));
        would_deadlock(arena.write());
        drop(arena);
        for file in [&other, &file] {
            let arena = Options::new().durability(durability).open_or_create(file).expect("it opens");
            assert!(arena.write().is_ok());
        }
    }
}

fn open(file: &Path, patience: Duration) -> Arena {
    Options::new().lock_timeout(patience).open(file).expect("it opens")
}

/// The committer waits for the outer read, so the inner one must not wait for the committer. Through another handle it has to: its
/// count would lie in another slot, where a scan of all slots that is under way may have been already.
#[test]
fn nested_reads_pass_a_shut_gate_of_their_own_handle() {
    const TEST: &str = "nested_reads_pass_a_shut_gate_of_their_own_handle";
    if let Some((_, file)) = role() {
        commit_next(&open(&file, PATIENCE)).expect("a commit");
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        drop(create(&file, &options(durability)));
        let (arena, other) =
            (open(&file, Duration::from_millis(100)), open(&file, Duration::from_millis(100)));
        let outer = arena.read().expect("a reader");
        let committer = start_stopped_at(TEST, "commit", &file, "gate: shut before readers");
        committer.wait_stopped();
        assert!(arena.handles().expect("handles").iter().any(|h| h.shuts_gate && h.pid == committer.pid()));
        let nested = arena.read().expect("a nested reader passes");
        let third = arena.clone();
        let deeper = third.read().expect("through a clone too");
        assert_eq!((number(&outer), number(&nested), number(&deeper)), (0, 0, 0));
        assert_eq!(
            busy(other.read()).1,
            Some(committer.pid()),
            "another handle's slot may have been looked at"
        );
        std::thread::scope(|threads| {
            let outside = threads.spawn(|| busy(arena.read()));
            assert_eq!(outside.join().expect("it does not panic").1, Some(committer.pid()));
        });
        drop((outer, nested));
        committer.go_on();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(number(&deeper), 0, "the innermost one still counts");
        drop(deeper);
        committer.finish();
        assert_eq!((read_number(&arena), read_number(&other)), (1, 1));
    }
}

/// What a dead owner left is completed with the readers gone, of whom this thread is one.
#[test]
fn a_thread_that_reads_does_not_complete_what_waits_for_it() {
    const TEST: &str = "a_thread_that_reads_does_not_complete_what_waits_for_it";
    if let Some((_, file)) = role() {
        commit_next(&open(&file, PATIENCE)).expect("a commit");
        return;
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    drop(create(&file, &options(heapfile::Durability::Power)));
    let (arena, other) = (open(&file, PATIENCE), open(&file, Duration::from_secs(5)));
    let outer = arena.read().expect("a reader");
    let mut committer = start_stopped_at(TEST, "commit", &file, "gate: shut before readers");
    committer.wait_stopped();
    committer.kill();
    would_deadlock(other.read());
    assert_eq!(number(&outer), 0, "it goes on");
    drop(outer);
    assert_eq!((read_number(&other), read_number(&arena)), (1, 1));
}
