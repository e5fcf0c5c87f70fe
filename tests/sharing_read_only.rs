//! Read-only handles: with permission to write the file they share it and complete what a dead writer left; without it they replay
//! in private memory, and they and writing handles keep each other out.

mod sharing;

use heapfile::{Arena, Error, Options};
use sharing::*;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

#[test]
fn with_permission_it_shares_and_completes() {
    const TEST: &str = "with_permission_it_shares_and_completes";
    if let Some((_, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        commit_next(&arena).expect("a commit");
        return;
    }
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        drop(create(&file, &options(durability).locking(locking)));
        let reader = options(durability).locking(locking).open_read_only(&file).expect("it opens");
        assert!(matches!(reader.write(), Err(Error::ReadOnly)));
        assert!(matches!(reader.alloc(&1u64), Err(Error::ReadOnly)));
        let writer = Options::new().open(&file).expect("writers are welcome");
        assert_eq!(commit_next(&writer).expect("a commit"), 1);
        assert_eq!(read_number(&reader), 1);
        // A writer dies in its apply: the reader completes it.
        start_killed_at(TEST, "commit", &file, "commit: half applied#3").wait_killed();
        assert_eq!(read_number(&reader), 2);
        drop(writer);
        // Also where it is alone with what was left.
        start_killed_at(TEST, "commit", &file, "commit: half applied#3").wait_killed();
        drop(reader);
        let reader = options(durability).locking(locking).open_read_only(&file).expect("it opens");
        assert_eq!(read_number(&reader), 3);
        reader.sync().expect("it may write the file");
        assert!(reader.stats().expect("figures").synced);
        assert_clean(&reader);
    }
}

/// The child's part, as a user that may only read.
fn read_without_permission(file: &Path) {
    // SAFETY: plain system calls; the test's own user without privileges has no rights to lose.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setresgid(65534, 65534, 65534) | libc::setresuid(65534, 65534, 65534) }, 0);
    }
    loop {
        let hasty = Options::new().lock_timeout(Duration::from_millis(100));
        assert!(matches!(hasty.open(file), Err(Error::Io { .. })), "this user may not write");
        match hasty.open_read_only(file) {
            Ok(arena) => {
                assert!(matches!(arena.write(), Err(Error::ReadOnly)));
                let (first, second) =
                    (arena.read().expect("a reader"), arena.read().expect("a nested reader"));
                assert_eq!(number(&first), number(&second));
                assert_clean(&arena);
                say(&format!("reads {}", number(&first)));
                if listen() == "end" {
                    return;
                }
            }
            Err(e) => {
                assert!(matches!(e, Error::Busy { .. }), "{e}");
                say("busy");
                if listen() == "end" {
                    return;
                }
            }
        }
    }
}

#[test]
fn without_permission_it_and_writers_keep_each_other_out() {
    const TEST: &str = "without_permission_it_and_writers_keep_each_other_out";
    if let Some((role, file)) = role() {
        if role == "commit" {
            let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
            commit_next(&arena).expect("a commit");
            return;
        }
        return read_without_permission(&file);
    }
    // Readable by others, all the way: the default place of temporary files is.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the mode can be set");
    };
    mode(dir.path(), 0o755);
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        let hasty = options(durability).locking(locking).lock_timeout(Duration::from_millis(100));
        let writer = create(&file, &hasty);
        writer.sync().expect("a sync");
        mode(&file, 0o644);
        let mut reader = start(TEST, "read", &file);
        // The writer is idle, and yet in the way.
        reader.expect("busy");
        drop(writer);
        // What a killed writer left is replayed without touching the file.
        start_killed_at(TEST, "commit", &file, "commit: half applied#3").wait_killed();
        let before = std::fs::read(&file).expect("the file can be read");
        reader.tell("again");
        reader.expect("reads 1");
        assert!(std::fs::read(&file).expect("the file can be read") == before, "the file was touched");
        // The reader is in the way of writers, not of other such readers.
        assert_eq!(busy(hasty.open(&file)), (None, None));
        let other = start(TEST, "read", &file);
        other.expect("reads 1");
        drop((reader, other));
        let writer: Arena = hasty.open(&file).expect("the readers are gone");
        assert_eq!(commit_next(&writer).expect("a commit"), 2);
    }
}
