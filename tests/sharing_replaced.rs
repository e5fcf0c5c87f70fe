//! A file that is replaced, removed or cut under us: seen at open, growth, sync and take-over; never a crash, never half a commit.

mod sharing;

use heapfile::{Arena, Durability, Error, Options};
use sharing::*;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

#[track_caller]
fn is_replaced<T>(outcome: heapfile::Result<T>) {
    match outcome.map(drop) {
        Err(Error::Replaced { .. }) => {}
        other => panic!("Replaced is expected, not {other:?}"),
    }
}

#[track_caller]
fn is_truncated<T>(outcome: heapfile::Result<T>) {
    match outcome.map(drop) {
        Err(Error::Truncated { .. }) => {}
        other => panic!("Truncated is expected, not {other:?}"),
    }
}

/// A commit for which the file has to grow.
fn grow(arena: &Arena) -> heapfile::Result<()> {
    let mut tx = arena.write()?;
    tx.alloc_zeroed(32 << 20, 8)?;
    tx.commit()
}

fn cut(file: &Path, len: u64) {
    let file = OpenOptions::new().write(true).open(file).expect("the file can be written");
    file.set_len(len).expect("it can be cut");
}

#[test]
fn what_is_left_of_a_file_that_was_emptied_can_be_closed() {
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        let arena = create(&file, &options(durability).locking(locking));
        let other: Arena = options(durability).open_read_only(&file).expect("it opens");
        cut(&file, 0);
        is_truncated(arena.sync());
        drop(arena);
        drop(other);
    }
}

#[test]
fn seen_at_sync_and_growth() {
    let dir = dir();
    let (file, other) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        for replaced in [true, false] {
            let _ = std::fs::remove_file(&file);
            let arena = create(&file, &options(durability).locking(locking));
            if replaced {
                drop(create(&other, &options(durability)));
                std::fs::rename(&other, &file).expect("a rename");
            } else {
                std::fs::remove_file(&file).expect("a removal");
            }
            is_replaced(arena.sync());
            is_replaced(arena.checkpoint());
            is_replaced(grow(&arena));
            // What needs nothing of the name still works on the file that was opened.
            assert_eq!(read_number(&arena), 0);
            drop(arena);
            assert_eq!(Arena::open(&file).is_ok(), replaced);
        }
    }
}

#[test]
fn a_cut_is_seen_at_sync_growth_and_open() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let lengths = || {
            let _ = std::fs::remove_file(&file);
            let arena = create(&file, &options(durability).locking(locking));
            let len = std::fs::metadata(&file).expect("the file is there").len();
            (arena, len)
        };
        let (arena, len) = lengths();
        cut(&file, len - (64 << 10));
        is_truncated(arena.sync().and_then(|()| arena.checkpoint()));
        is_truncated(grow(&arena));
        is_truncated(Arena::options().locking(locking).open(&file));
        drop(arena);

        // In the middle of a transaction, before anything else could see it.
        let (arena, len) = lengths();
        let mut tx = arena.write().expect("a writer");
        cut(&file, len - (64 << 10));
        is_truncated(tx.alloc_zeroed(32 << 20, 8));
        drop(tx);
        is_truncated(arena.write());
        is_truncated(arena.read());
        drop(arena);

        // To nothing: no page of the mapping can be touched any more.
        let (arena, _) = lengths();
        cut(&file, 0);
        is_truncated(arena.sync());
        is_truncated(arena.checkpoint());
        assert!(matches!(Arena::open(&file), Err(Error::Unfinished { .. })));
        std::mem::forget(arena);
    }
}

#[test]
fn seen_at_take_over() {
    const TEST: &str = "seen_at_take_over";
    if let Some((_, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        {
            commit_next(&arena).expect("a commit");
            return;
        }
    }
    let dir = dir();
    let (file, away) = (dir.path().join("a.heap"), dir.path().join("away.heap"));
    for durability in BOTH {
        for replaced in [true, false] {
            let _ = std::fs::remove_file(&file);
            let arena = create(&file, &options(durability).log_size(1 << 20));
            let second = Arena::open(&file).expect("it opens");
            start_killed_at(TEST, "commit", &file, "commit: half applied#3").wait_killed();
            let len = std::fs::metadata(&file).expect("the file is there").len();
            if replaced {
                std::fs::rename(&file, &away).expect("a rename");
            } else {
                cut(&file, len - (64 << 10));
            }
            // Whoever tries, in whatever order: nobody sees half a commit.
            for handle in [&arena, &second, &arena, &second] {
                let check = if replaced { is_replaced::<()> } else { is_truncated::<()> };
                check(handle.read().map(drop));
                check(handle.write().map(drop));
            }
            // Put right, it goes on.
            if replaced {
                std::fs::rename(&away, &file).expect("a rename");
                assert_eq!((read_number(&arena), read_number(&second)), (1, 1));
                assert_clean(&arena);
            }
        }
    }
}

/// Who waits to open while the path is given to another file opens that one.
#[test]
fn an_opener_that_had_to_wait_gets_the_file_of_that_name() {
    const TEST: &str = "an_opener_that_had_to_wait_gets_the_file_of_that_name";
    if let Some((_, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        return say(&format!("found {}", read_number(&arena)));
    }
    let dir = dir();
    let (file, other) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    drop(create(&file, &options(Durability::Process)));
    let arena = create(&other, &options(Durability::Process));
    commit_next(&arena).expect("a commit");
    drop(arena);
    let locked = File::open(&file).expect("the file opens");
    // SAFETY: a plain system call on an open descriptor.
    assert_eq!(unsafe { libc::flock(locked.as_raw_fd(), libc::LOCK_EX) }, 0);
    let opener = start(TEST, "open", &file);
    eventually("the opener has the old file open", || {
        let links = std::fs::read_dir(format!("/proc/{}/fd", opener.pid())).expect("descriptors");
        links.flatten().any(|l| std::fs::read_link(l.path()).is_ok_and(|to| to == file))
    });
    std::fs::rename(&other, &file).expect("a rename");
    drop(locked);
    opener.expect("found 1");
    opener.finish();
}
