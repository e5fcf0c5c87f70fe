//! Who waits is woken, and does not sleep its time out: by the end of a transaction, and by a gate that opens between two attempts to drain the readers.
//! A wake-up may come while nobody sleeps, so each is tried until one is seen to end a sleep.

mod sharing;

use heapfile::testing::{sleeps, woken};
use heapfile::{Arena, Durability, Options};
use sharing::*;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Attempts, of which one has to succeed.
const ATTEMPTS: usize = 60;

fn open(arena: &Arena) -> Arena {
    Options::new().lock_timeout(PATIENCE).open(arena.path()).expect("it opens")
}

/// Waits until a thread of this process has begun a sleep on the lock word.
fn until_asleep(before: usize) {
    eventually("the waiter sleeps", || sleeps().len() > before);
}

#[test]
fn waiters_are_woken() {
    let dir = dir();
    let arena = create(&dir.path().join("a.heap"), &options(Durability::Process));
    by_the_end_of_a_transaction(&arena);
    by_a_gate_that_opens(&arena);
}

fn by_the_end_of_a_transaction(arena: &Arena) {
    let other = open(arena);
    let before = woken();
    for _ in 0..ATTEMPTS {
        let (asleep, tx) = (sleeps().len(), arena.write().expect("a writer"));
        std::thread::scope(|threads| {
            threads.spawn(|| drop(other.write().expect("the waiter gets the lock")));
            until_asleep(asleep);
            drop(tx);
        });
        if woken() > before {
            return;
        }
    }
    panic!("{ATTEMPTS} waiters slept their time out");
}

fn by_a_gate_that_opens(arena: &Arena) {
    let (committer, late) = (open(arena), open(arena));
    let (reads, reading) = channel();
    let (ends, end) = channel::<()>();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            let tx = arena.read().expect("a reader");
            reads.send(()).expect("the test listens");
            // Until the other end is dropped.
            let _ = end.recv();
            drop(tx);
        });
        reading.recv().expect("the reader reads");
        let committing = threads.spawn(|| commit_next(&committer).expect("a commit"));
        // Late readers come while the gate is shut, sleep, and are woken when it opens for a while.
        let before = woken();
        let mut attempts = 0;
        while woken() == before && attempts < 200 * ATTEMPTS {
            drop(late.read().expect("a late reader gets in between two attempts"));
            std::thread::sleep(Duration::from_micros(50));
            attempts += 1;
        }
        let woken = woken() > before;
        assert!(!committing.is_finished(), "the first reader still reads");
        drop(ends);
        assert!(woken, "{attempts} late readers slept their time out");
    });
}
