//! A reader that is killed holds nobody up: in the middle of a read, between counting itself and looking at the gate, and
//! while it waits at the gate.

mod sharing;

use heapfile::{Arena, Options};
use sharing::*;
use std::path::Path;

const TEST: &str = "killed_readers_hold_nobody_up";

/// Several threads that read at once, so that several counts are left behind.
fn read_in_threads(file: &Path) {
    let arena = Arena::open(file).expect("the reader opens it");
    std::thread::scope(|threads| {
        for _ in 0..10 {
            threads.spawn(|| {
                let tx = arena.read().expect("a reader");
                number(&tx);
                say("reads");
                wait_for_death();
            });
        }
    });
}

fn killed_while_it_reads(arena: &Arena, file: &Path) {
    let mut reader = start(TEST, "threads", file);
    for _ in 0..10 {
        reader.expect("reads");
    }
    let seen = until_handle(arena, "ten readers are counted", |h| h.readers == 10);
    assert_eq!(seen.pid, reader.pid());
    reader.kill();
    let before = read_number(arena);
    assert_eq!(commit_next(arena).expect("nobody is in the way"), before + 1);
}

fn killed_before_it_looks(arena: &Arena, file: &Path) {
    let mut reader = start_killed_at(TEST, "read", file, "gate: reader counted");
    reader.wait_killed();
    let before = read_number(arena);
    assert_eq!(commit_next(arena).expect("nobody is in the way"), before + 1);
}

fn killed_at_the_gate(arena: &Arena, file: &Path) {
    let before = read_number(arena);
    let owner = start_stopped_at(TEST, "commit", file, "commit: half applied#2");
    owner.wait_stopped();
    let mut reader = start(TEST, "read", file);
    until_handle(arena, "the reader waits", |h| h.waiting_readers == 1 && h.pid == reader.pid());
    assert!(arena.handles().expect("handles").iter().any(|h| h.shuts_gate && h.pid == owner.pid()));
    reader.kill();
    owner.go_on();
    owner.finish();
    assert_eq!(read_number(arena), before + 1);
    assert_eq!(commit_next(arena).expect("nobody is in the way"), before + 2);
}

#[test]
fn killed_readers_hold_nobody_up() {
    if let Some((role, file)) = role() {
        let open = || Options::new().lock_timeout(PATIENCE).open(&file).expect("the child opens it");
        return match role.as_str() {
            "threads" => read_in_threads(&file),
            "commit" => drop(commit_next(&open()).expect("a commit")),
            _ => drop(read_number(&open())),
        };
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena = create(&file, &options(durability));
        killed_while_it_reads(&arena, &file);
        killed_before_it_looks(&arena, &file);
        killed_at_the_gate(&arena, &file);
        assert_eq!(arena.handles().expect("handles").len(), 1);
        assert_clean(&arena);
    }
}
