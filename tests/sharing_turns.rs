//! A writer that begins its next transaction as soon as one is done does not keep the others out: however long it goes on, they get their turn.

mod sharing;

use heapfile::testing::{at_failpoint, sleeps};
use heapfile::{Arena, Locking, Options};
use sharing::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// How long each transaction of the busy writer takes.
const WORK: Duration = Duration::from_millis(5);
/// Transactions of the other one.
const TURNS: usize = 30;
/// So many of the busy writer's may pass before one of them gets its turn, taken together. Without turns they are more than
/// twice as many.
const PATIENT: usize = 3 * TURNS;

fn busy_writer(arena: &Arena, done: &AtomicUsize, stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        let mut tx = arena.write().expect("the busy writer gets the lock");
        let begun = std::time::Instant::now();
        while begun.elapsed() < WORK {}
        tx.alloc(&1u64).expect("room");
        tx.commit().expect("a commit");
        done.fetch_add(1, SeqCst);
    }
}

/// The other one is a thread with a handle of its own.
fn the_other_gets_its_turn(locking: Locking, take: impl Fn(&Arena)) {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let arena = create(&path, &options(BOTH[0]).locking(locking));
    let other = Options::new().locking(locking).lock_timeout(PATIENCE).open(&path).expect("it opens");
    gets_its_turn(&arena, || take(&other));
}

/// Both are threads with the same handle.
fn another_thread_gets_its_turn(locking: Locking, take: impl Fn(&Arena)) {
    let dir = dir();
    let arena = create(&dir.path().join("a.heap"), &options(BOTH[0]).locking(locking));
    gets_its_turn(&arena, || take(&arena));
}

fn gets_its_turn(arena: &Arena, take: impl Fn()) {
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let passed: usize = std::thread::scope(|threads| {
        threads.spawn(|| busy_writer(arena, &done, &stop));
        eventually("the busy writer is at work", || done.load(SeqCst) > 0);
        let passed = (0..TURNS)
            .map(|_| {
                let before = done.load(SeqCst);
                eventually("the busy writer goes on", || done.load(SeqCst) > before);
                let before = done.load(SeqCst);
                take();
                done.load(SeqCst) - before
            })
            .sum();
        stop.store(true, SeqCst);
        passed
    });
    assert!(
        passed <= PATIENT,
        "{passed} transactions of a busy writer passed before {TURNS} turns of another"
    );
}

/// The busy writer goes on without a pause, and whether one who was woken is quick enough by luck depends on the system: so this
/// looks whether the next transaction begins with the courtesy.
#[test]
fn who_slept_through_a_turn_is_let_in_first() {
    let dir = dir();
    let arena = create(&dir.path().join("a.heap"), &options(BOTH[0]));
    let other = Options::new().lock_timeout(PATIENCE).open(arena.path()).expect("it opens");
    let (asleep, tx) = (sleeps().len(), arena.write().expect("a writer"));
    let gave_way = std::rc::Rc::new(std::cell::Cell::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| drop(other.write().expect("the waiter gets the lock")));
        eventually("the waiter sleeps", || sleeps().len() > asleep);
        std::thread::sleep(WORK);
        drop(tx);
        let seen = gave_way.clone();
        at_failpoint("lock: gives way", move || seen.set(true));
        drop(arena.write().expect("a writer"));
    });
    assert!(gave_way.get(), "a handle took the lock again while another had waited for a whole turn");
}

fn write(arena: &Arena) {
    drop(arena.write().expect("a writer gets its turn"));
}

fn read(arena: &Arena) {
    drop(arena.read().expect("a reader gets its turn"));
}

fn open(arena: &Arena) {
    drop(Options::new().lock_timeout(PATIENCE).open(arena.path()).expect("an opener gets its turn"));
}

#[test]
fn writers_under_the_shared_lock() {
    the_other_gets_its_turn(Locking::Shared, write);
}

#[test]
fn readers_under_the_shared_lock() {
    the_other_gets_its_turn(Locking::Shared, read);
}

#[test]
fn writers_under_the_file_lock() {
    the_other_gets_its_turn(Locking::File, write);
}

#[test]
fn readers_under_the_file_lock() {
    the_other_gets_its_turn(Locking::File, read);
}

#[test]
fn openers_under_the_shared_lock() {
    the_other_gets_its_turn(Locking::Shared, open);
}

#[test]
fn openers_under_the_file_lock() {
    the_other_gets_its_turn(Locking::File, open);
}

#[test]
fn threads_under_the_shared_lock() {
    another_thread_gets_its_turn(Locking::Shared, write);
}

#[test]
fn threads_under_the_file_lock() {
    another_thread_gets_its_turn(Locking::File, write);
    another_thread_gets_its_turn(Locking::File, read);
}
