//! Read-only handles: with permission to write the file, and without it, where a log has to be replayed into private memory.

mod common;

use common::script::{self, Script};
use common::{BOTH, assert_clean, child, killed_at, role, small};
use heapfile::{Arena, Error, Options, View};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

#[test]
fn a_read_only_handle_refuses_changes_and_sees_those_of_others() {
    let dir = common::dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        let x = arena.alloc(&1u64).unwrap();
        let reader = Arena::open_read_only(&path).unwrap();
        assert!(matches!(reader.write(), Err(Error::ReadOnly)));
        assert!(matches!(reader.alloc(&1u8), Err(Error::ReadOnly)));
        assert!(matches!(reader.alloc_bytes(&[1]), Err(Error::ReadOnly)));
        assert!(matches!(reader.free(x), Err(Error::ReadOnly)));
        reader.sync().unwrap();
        assert!(arena.stats().unwrap().synced);
        reader.checkpoint().unwrap();
        assert_eq!(reader.durability(), durability);
        for n in 2..5u64 {
            let mut tx = arena.write().unwrap();
            *tx.get_mut(x).unwrap() = n;
            // Growth, too.
            tx.alloc_bytes(&vec![n as u8; 600_000]).unwrap();
            tx.commit().unwrap();
            let tx = reader.read().unwrap();
            assert_eq!(tx.get(x).unwrap(), &n);
            assert_eq!(tx.blocks().count() as u64, n);
        }
        assert_clean(&reader);
        drop(arena);
        assert_clean(&reader);
    }
}

/// A read-only handle completes what a killed writer left, as long as it may write the file.
#[test]
fn a_reader_completes_the_commit_of_a_killed_writer() {
    let dir = common::dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        for count in [1, 3] {
            let path = dir.path().join(format!("{i}-{count}"));
            let arena = small(durability).create(&path).unwrap();
            script::begin(&arena).unwrap();
            (0..count).for_each(|_| {
                script::play(&arena).unwrap();
            });
            let image = killed_at("commit: half applied", &path, || {
                script::play(&arena).unwrap();
            });
            drop(arena);
            std::fs::write(&path, image).unwrap();
            let reader = Arena::open_read_only(&path).unwrap();
            Script::after(count + 1).assert_in(&reader);
            assert_clean(&reader);
            drop(reader);
            Script::after(count + 1).assert_in(&Arena::open(&path).unwrap());
        }
    }
}

const NOBODY: u32 = 65534;

/// Runs the test `test` as a child who is nobody; false if that cannot be.
fn as_nobody(test: &str, role: &str, file: &Path) -> bool {
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root can become nobody");
        return false;
    }
    let output = match child(test, role, file).uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => output,
        Err(e) => {
            println!("skipped: nobody may not run the test binary: {e}");
            return false;
        }
    };
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

fn no_permission<T: std::fmt::Debug>(outcome: heapfile::Result<T>) {
    match outcome {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied),
        other => panic!("{other:?}"),
    }
}

/// What nobody finds.
fn look(role: &str, file: &Path) {
    match role.split_once(' ').unwrap_or((role, "")) {
        ("nothing", _) => {
            no_permission(Arena::open(file));
            no_permission(Arena::open_read_only(file));
            no_permission(Arena::open_or_create(file));
            no_permission(Arena::create(file.with_extension("new")));
        }
        ("reads", count) => {
            no_permission(Arena::open(file));
            no_permission(Arena::open_or_create(file));
            let before = std::fs::read(file).unwrap();
            for _ in 0..2 {
                let arena = Arena::open_read_only(file).unwrap();
                Script::after(count.parse().unwrap()).assert_in(&arena);
                assert_clean(&arena);
                assert!(matches!(arena.write(), Err(Error::ReadOnly)));
                // What a killed writer left of a `Process` arena is not on the disk, and not this handle's to bring there.
                if arena.stats().unwrap().synced {
                    arena.sync().and_then(|()| arena.checkpoint()).unwrap();
                } else {
                    assert!(matches!(arena.sync(), Err(Error::ReadOnly)));
                    assert!(matches!(arena.checkpoint(), Err(Error::ReadOnly)));
                }
            }
            assert!(std::fs::read(file).unwrap() == before, "a handle that may not write has written");
        }
        ("busy", _) => {
            let short = Options::new().lock_timeout(Duration::from_millis(50));
            let outcome = short.open_read_only(file);
            assert!(matches!(outcome, Err(Error::Busy { .. })), "{outcome:?}");
        }
        other => panic!("{other:?}"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn without_permission_to_write() {
    if let Some((role, file)) = role() {
        return look(&role, &file);
    }
    let test = "without_permission_to_write";
    let dir = common::dir();
    set_mode(dir.path(), 0o755);
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        script::begin(&arena).unwrap();
        for count in 1..=7 {
            script::play(&arena).unwrap();
            if count == 5 {
                // A handle that writes keeps one out that would not notice its commits.
                set_mode(&path, 0o644);
                if !as_nobody(test, "busy", &path) {
                    return;
                }
            }
        }
        // In the middle of a commit, with a log; the spilled one, too.
        for (at, point) in [(7, "commit: half applied"), (8, "commit: applied"), (11, "commit: half applied")]
        {
            while script::count(&arena) < at {
                script::play(&arena).unwrap();
            }
            let image = killed_at(point, &path, || {
                script::play(&arena).unwrap();
            });
            let copy = dir.path().join("copy");
            std::fs::write(&copy, image).unwrap();
            set_mode(&copy, 0o600);
            as_nobody(test, "nothing", &copy);
            set_mode(&copy, 0o644);
            as_nobody(test, &format!("reads {}", at + 1), &copy);
        }
        drop(arena);
        as_nobody(test, "reads 12", &path);
    }
}

#[test]
fn a_writer_waits_for_a_reader_who_may_not_write() {
    if let Some((_, file)) = role() {
        let arena = Arena::open_read_only(&file).unwrap();
        common::tell("held");
        let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
        drop(arena);
        return;
    }
    if !rustix::process::getuid().is_root() {
        return println!("skipped: only root can become nobody");
    }
    let dir = common::dir();
    set_mode(dir.path(), 0o755);
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        small(durability).create(&path).unwrap().alloc(&1u8).unwrap();
        set_mode(&path, 0o644);
        let mut command = child("a_writer_waits_for_a_reader_who_may_not_write", "hold", &path);
        let Ok(mut child) = command.uid(NOBODY).gid(NOBODY).stdin(std::process::Stdio::piped()).spawn()
        else {
            return println!("skipped: nobody may not run the test binary");
        };
        let mut line = String::new();
        let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        assert_eq!(line, "held\n");
        let short = small(durability).lock_timeout(Duration::from_millis(50));
        let outcome = short.open(&path);
        assert!(matches!(outcome, Err(Error::Busy { .. })), "{outcome:?}");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        short.open(&path).unwrap().alloc(&2u8).unwrap();
    }
}
