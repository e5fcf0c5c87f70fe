//! The mover dies.

use crate::common::{assert_clean, copy_as_killed, fast_dir};
use crate::image::*;
use crate::ledger::*;
use crate::sharing;
use heapfile::testing::at_failpoint;
use heapfile::{Arena, Locking};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a mover is killed.
const MOVING: [&str; 5] = [
    "log: a piece of its new place filled",
    "log: about to move",
    "log: a slot names its new place",
    "log: a slot names its new place#2",
    "log: moved",
];

/// An arena anew, whose log this handle does not make longer.
fn fresh(path: &Path, locking: Locking) -> (Arena, Ledger) {
    let _ = std::fs::remove_file(path);
    let arena = options().locking(locking).log_limit(0).create(path).unwrap();
    let ledger = Ledger::create(&arena, 12);
    (arena, ledger)
}

/// The mover dies, another process lives and goes on: what that commits then is found again, whatever ends it.
#[test]
fn another_process_goes_on_after_the_mover_was_killed() {
    const TEST: &str = "deaths::another_process_goes_on_after_the_mover_was_killed";
    if let Some((_, file)) = sharing::role() {
        let arena = options().open(file).unwrap();
        let ledger = Ledger::find(&arena).unwrap();
        for _ in 0..2000 {
            ledger.commit(&arena).unwrap();
        }
        panic!("the failpoint was not passed");
    }
    let dir = fast_dir();
    let (path, killed) = (dir.path().join("a"), dir.path().join("b"));
    for locking in sharing::LOCKINGS {
        for point in MOVING {
            let what = format!("{locking:?}, {point}");
            let (arena, ledger) = fresh(&path, locking);
            ledger.commit(&arena).unwrap();
            sharing::start_killed_at(TEST, "move", &path, point).wait_killed();
            let before = ledger.count(&arena).unwrap();
            // A death of this one too, with its first record on the disk and nothing of it applied.
            let (from, to) = (path.clone(), killed.clone());
            at_failpoint("commit: record durable", move || copy_as_killed(&from, &to));
            assert_eq!(ledger.commit(&arena).unwrap(), before + 1, "{what}");
            let copy = options().open(&killed).unwrap();
            assert_eq!(ledger.count(&copy).unwrap(), before + 1, "{what}: a commit is lost");
            assert_eq!(copy.stats().unwrap().sequence, arena.stats().unwrap().sequence, "{what}");
            assert_clean(&copy);
            drop(copy);
            assert_goes_on(&arena, &ledger, before + 1, 398, &what);
            copy_as_killed(&path, &killed);
            let copy = options().open(&killed).unwrap();
            assert_eq!(ledger.count(&copy).unwrap(), before + 399, "{what}");
            assert_eq!(copy.stats().unwrap().sequence, arena.stats().unwrap().sequence, "{what}");
            assert_clean(&copy);
        }
    }
}

/// Nobody else has the file when the mover dies: who opens it next finds what was committed, and whose runtime words to believe.
#[test]
fn a_file_is_opened_after_its_mover_was_killed() {
    const TEST: &str = "deaths::a_file_is_opened_after_its_mover_was_killed";
    if let Some((_, file)) = sharing::role() {
        let told = std::fs::File::create(file.with_extension("count")).unwrap();
        let arena = options().open(file).unwrap();
        let ledger = Ledger::find(&arena).unwrap();
        loop {
            let count = ledger.commit(&arena).unwrap();
            told.write_all_at(&count.to_le_bytes(), 0).unwrap();
            assert!(count < 3000, "the failpoint was not passed");
        }
    }
    let dir = fast_dir();
    let path = dir.path().join("a");
    for locking in sharing::LOCKINGS {
        for point in MOVING {
            let what = format!("{locking:?}, {point}");
            let (arena, ledger) = fresh(&path, locking);
            drop(arena);
            sharing::start_killed_at(TEST, "move", &path, point).wait_killed();
            let told = u64_at(&std::fs::read(path.with_extension("count")).unwrap(), 0);
            let arena = options().locking(locking).open(&path).unwrap();
            // The move is on the way of the commit after.
            assert_goes_on(&arena, &ledger, told + 1, 398, &what);
        }
    }
}
