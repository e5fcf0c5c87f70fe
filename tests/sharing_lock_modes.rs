//! All handles on a file keep each other apart in the same way: the first one settles it, the others adopt it or are refused.

mod sharing;

use heapfile::{Arena, Durability, Error, Locking, Options};
use sharing::*;

#[track_caller]
fn refused(outcome: heapfile::Result<Arena>, stored: &str) {
    match outcome.map(drop) {
        Err(Error::LockMode { stored: found, .. }) => assert_eq!(found, stored),
        other => panic!("LockMode is expected, not {other:?}"),
    }
}

#[test]
fn the_first_handle_settles_it() {
    const TEST: &str = "the_first_handle_settles_it";
    if let Some((_, file)) = role() {
        let arena = Arena::open(&file).expect("it opens");
        say(&format!("{:?}", arena.locking()));
        listen();
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let shared = options(durability).locking(Locking::Shared);
        let whole = options(durability).locking(Locking::File);
        drop(create(&file, &options(durability)));
        for _ in 0..2 {
            let first = shared.open(&file).expect("it opens");
            refused(whole.open(&file), "Locking::Shared");
            refused(whole.open_read_only(&file), "Locking::Shared");
            refused(
                whole.create(&file).map_err(already).and_then(|_| whole.open_or_create(&file)),
                "Locking::Shared",
            );
            let mut other = start(TEST, "adopt", &file);
            other.expect("Shared");
            drop(first);
            refused(whole.open(&file), "Locking::Shared");
            other.kill();

            // A killed handle settles nothing any more.
            let first = whole.open(&file).expect("nobody is left");
            refused(shared.open(&file), "Locking::File");
            refused(shared.open_read_only(&file), "Locking::File");
            let mut other = start(TEST, "adopt", &file);
            other.expect("File");
            drop(first);
            refused(shared.open(&file), "Locking::File");
            other.kill();
        }
    }
}

fn already(e: Error) -> Error {
    assert!(matches!(e, Error::AlreadyExists { .. } | Error::LockMode { .. }), "{e}");
    Error::LockMode { stored: "Locking::Shared", asked: "Locking::File" }
}

/// What one way left behind when it was killed the other one completes.
#[test]
fn a_death_in_one_mode_is_completed_in_the_other() {
    const TEST: &str = "a_death_in_one_mode_is_completed_in_the_other";
    if let Some((role, file)) = role() {
        let locking = if role == "Shared" { Locking::Shared } else { Locking::File };
        let arena = Options::new().locking(locking).open(&file).expect("it opens");
        commit_next(&arena).expect("a commit");
        return;
    }
    let dir = dir();
    for durability in BOTH {
        for [died, next] in [[Locking::Shared, Locking::File], [Locking::File, Locking::Shared]] {
            for point in ["commit: half applied#3", "commit: applied"] {
                let file = dir.path().join("a.heap");
                let _ = std::fs::remove_file(&file);
                drop(create(&file, &options(durability)));
                start_killed_at(TEST, &format!("{died:?}"), &file, point).wait_killed();
                let arena = options(durability).locking(next).open(&file).expect("it opens");
                assert_eq!(arena.locking(), next);
                assert_eq!(read_number(&arena), 1);
                assert_eq!(commit_next(&arena).expect("a commit"), 2);
                assert_clean(&arena);
            }
        }
    }
}

#[test]
fn the_default_is_shared() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    assert_eq!(create(&file, &options(Durability::Power)).locking(), Locking::Shared);
    assert_eq!(Locking::default(), Locking::Shared);
}
