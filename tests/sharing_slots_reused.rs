//! A slot's next owner is another one: who judged the old owner dead must not take the lock from the new one.

mod sharing;

use heapfile::testing::at_failpoint;
use heapfile::{Arena, Options};
use sharing::*;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const TEST: &str = "the_next_owner_of_a_slot_keeps_the_lock";

fn own(file: &Path) {
    let arena = Options::new().lock_timeout(PATIENCE).open(file).expect("it opens");
    let mut tx = arena.write().expect("a writer");
    let next = number(&tx) + 1;
    set_number(&mut tx, next).expect("a change");
    say(&format!("owns {next}"));
    listen();
    tx.commit().expect("a commit");
    say("committed");
    listen();
}

#[test]
fn the_next_owner_of_a_slot_keeps_the_lock() {
    if let Some((_, file)) = role() {
        return own(&file);
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena = create(&file, &options(durability));
        let slot_of = |pid| until_handle(&arena, "it has a slot", |h| h.pid == pid).slot;

        let mut first = start(TEST, "own", &file);
        first.expect("owns 1");
        let slot = slot_of(first.pid());
        // Stops once it knows that the owner is dead, before it takes the lock.
        let mut waiter = start_stopped_at(TEST, "own", &file, "lock: owner judged dead");
        until_handle(&arena, "the waiter waits", |h| h.waiting_writers == 1);
        // Until it sleeps.
        std::thread::sleep(Duration::from_millis(30));
        first.kill();
        waiter.wait_stopped();

        let mut second = start(TEST, "own", &file);
        second.expect("owns 1");
        assert_eq!(slot_of(second.pid()), slot, "the slot is used again");
        std::thread::scope(|threads| {
            // A third one that sleeps on the word makes it the one that was judged, but for the generation.
            let third = threads.spawn(|| commit_next(&arena).expect("a commit"));
            until_handle(&arena, "the third one waits", |h| {
                h.pid == std::process::id() && h.waiting_writers == 1
            });
            std::thread::sleep(Duration::from_millis(30));
            waiter.go_on();
            assert!(
                waiter.is_silent_for(Duration::from_millis(200)),
                "the waiter has the lock of a live owner"
            );
            let handles = arena.handles().expect("handles");
            assert!(handles.iter().any(|h| h.holds_lock && h.pid == second.pid()), "{handles:?}");
            second.tell("commit");
            second.expect("committed");
            assert!(waiter.hear().starts_with("owns "));
            waiter.tell("commit");
            waiter.expect("committed");
            third.join().expect("it does not panic");
        });
        waiter.finish();
        second.finish();
        assert_eq!(read_number(&arena), 3);
        assert_clean(&arena);
    }
}

/// Between taking a slot's byte and changing its generation the dead owner of that slot looks alive; no longer.
#[test]
fn a_slot_that_is_being_taken_does_not_keep_its_dead_owner_alive() {
    if let Some((role, file)) = role() {
        return if role == "own" { own(&file) } else { drop(Arena::open(&file).expect("it opens")) };
    }
    const TEST: &str = "a_slot_that_is_being_taken_does_not_keep_its_dead_owner_alive";
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(heapfile::Durability::Process));
    let mut owner = start(TEST, "own", &file);
    owner.expect("owns 1");
    let slot = until_handle(&arena, "it owns", |h| h.holds_lock).slot;
    owner.kill();
    let next = start_stopped_at(TEST, "join", &file, "attach: slot locked");
    next.wait_stopped();
    let hasty = options(heapfile::Durability::Process).lock_timeout(Duration::from_millis(120));
    // Opening waits for the other opener, which is stopped.
    assert_eq!(busy(hasty.open(&file)), (None, None));
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| read_and_write(&arena));
        until_handle(&arena, "it waits", |h| h.waiting_writers == 1);
        std::thread::sleep(Duration::from_millis(120));
        assert!(!waiting.is_finished(), "the slot's byte is locked, its generation the dead owner's");
        let handles = arena.handles().expect("handles");
        assert!(handles.iter().any(|h| h.slot == slot), "{handles:?}");
        next.go_on();
        assert_eq!(waiting.join().expect("it does not panic"), 1);
    });
    next.finish();
    assert_clean(&arena);
}

fn read_and_write(arena: &Arena) -> u64 {
    assert_eq!(read_number(arena), 0, "the gate was open");
    commit_next(arena).expect("a commit")
}

#[test]
fn a_closed_slot_is_the_next_one_taken() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(heapfile::Durability::Process));
    for _ in 0..50 {
        let other = Arena::open(&file).expect("it opens");
        let slots: Vec<u32> = other.handles().expect("handles").iter().map(|h| h.slot).collect();
        assert_eq!(slots, [0, 1]);
        commit_next(&other).expect("a commit");
    }
    assert_eq!(read_number(&arena), 50);
}

/// A lock on a slot's byte keeps other handles away, not other threads of the same one: two of them that clean the slot of a dead writer must not do so one after
/// the other, for the first one's unlocking lets the next owner in.
#[test]
fn a_slot_is_not_cleaned_under_its_next_owner() {
    const TEST: &str = "a_slot_is_not_cleaned_under_its_next_owner";
    if let Some((role, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        let _reading = (role == "read").then(|| arena.read().expect("a reader"));
        say(&role);
        drop(arena.write());
        wait_for_death();
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(heapfile::Durability::Process));
    let owning = arena.write().expect("a writer");
    let mut waiter = start(TEST, "wait", &file);
    until_handle(&arena, "the waiter waits", |h| h.waiting_writers == 1);
    // Until it sleeps, and this handle has had the lock for long: then it gives way, and finds a dead one.
    std::thread::sleep(Duration::from_millis(30));
    waiter.kill();
    drop(owning);

    let next = Rc::new(RefCell::new(None));
    let (another, joining, file) = (arena.clone(), next.clone(), file.clone());
    at_failpoint("slot: about to be cleaned", move || {
        std::thread::spawn(move || drop(another.write().expect("a writer")))
            .join()
            .expect("it does not panic");
        let child = start(TEST, "read", &file);
        child.expect("read");
        *joining.borrow_mut() = Some(child);
    });
    drop(arena.write().expect("a writer"));
    let next = next.take().expect("the dead one's slot was cleaned");
    let handles = arena.handles().expect("handles");
    assert!(handles.iter().any(|h| h.pid == next.pid() && h.readers == 1), "{handles:?}");
}
