//! What opens nothing: files that are not ours, cut, newer, foreign, unfinished; paths that are no files.

mod common;

use common::{BOTH, assert_clean, dir, small};
use heapfile::{Arena, Durability, Error, Options, View};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// All ways to open an existing arena give an error that `expected` accepts, and change nothing.
#[track_caller]
fn refuses(path: &Path, expected: impl Fn(&Error) -> bool) {
    let before = content(path);
    for (name, outcome) in [
        ("open", Arena::open(path)),
        ("open_read_only", Arena::open_read_only(path)),
        ("open_or_create", Arena::open_or_create(path)),
    ] {
        match outcome {
            Err(e) if expected(&e) => assert!(!e.to_string().is_empty()),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(content(path) == before, "an open that failed changed the file");
}

/// What the file holds, but for the words by which processes know of each other.
fn content(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(path).ok()?;
    let end = bytes.len().min(37 * 4096);
    if let Some(words) = bytes.get_mut(4 * 4096..end) {
        words.fill(0);
    }
    Some(bytes)
}

/// `create` leaves what is there.
#[track_caller]
fn create_refuses(path: &Path) {
    let before = content(path);
    assert!(matches!(Arena::create(path), Err(Error::AlreadyExists { .. })));
    assert!(content(path) == before, "a creation that was refused changed the file");
}

/// An arena of this kind with one block, as bytes.
fn image(durability: Durability) -> Vec<u8> {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let arena = small(durability).create(&path).unwrap();
    arena.alloc(&1u64).unwrap();
    drop(arena);
    std::fs::read(&path).unwrap()
}

#[test]
fn a_missing_file() {
    let dir = dir();
    let path = dir.path().join("none.heap");
    for outcome in [Arena::open(&path), Arena::open_read_only(&path)] {
        match outcome {
            Err(Error::Io { op: "open", source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!path.exists());
    assert!(matches!(Arena::create(dir.path().join("no/dir.heap")), Err(Error::Io { .. })));
}

#[test]
fn files_of_others() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    for content in [&b"<?xml version='1.0'?>"[..], b"x", b"HEAPFIL", &[0; 4096], &[0xFF; 1 << 20]] {
        std::fs::write(&path, content).unwrap();
        refuses(&path, |e| matches!(e, Error::NotAnArena { .. }));
        create_refuses(&path);
    }
}

#[test]
fn a_newer_version() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let mut bytes = image(Durability::Power);
    bytes[12..16].copy_from_slice(&2u32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    refuses(&path, |e| matches!(e, Error::Version { found: 2, supported: 1, .. }));
    create_refuses(&path);
}

/// Every word makes sense, but not the checksum.
#[test]
fn a_wrong_checksum() {
    for durability in BOTH {
        let dir = dir();
        let path = dir.path().join("a.heap");
        let mut bytes = image(durability);
        // Of the arena's identity, which may be anything.
        bytes[16] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        refuses(&path, |e| matches!(e, Error::Corrupt { .. } | Error::NotAnArena { .. }));
    }
}

#[test]
fn another_byte_order() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let mut bytes = image(Durability::Power);
    bytes[8..12].reverse();
    bytes[12..16].reverse();
    std::fs::write(&path, bytes).unwrap();
    refuses(&path, |e| matches!(e, Error::Endianness { .. }));
    create_refuses(&path);
}

#[test]
fn a_file_that_was_cut() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    for durability in BOTH {
        let bytes = image(durability);
        let near = |at: usize| [at - 1, at, at + 1];
        let lengths = [1, 7, 8, 12, 16, 20, 95, 96, 97, 4095, 4096, 4097]
            .into_iter()
            .chain((8192..bytes.len()).step_by(4096).flat_map(near))
            .chain([bytes.len() - 1]);
        for len in lengths {
            std::fs::write(&path, &bytes[..len]).unwrap();
            refuses(&path, |e| match e {
                Error::NotAnArena { .. } => len < 16,
                Error::Truncated { needed, found } => len >= 16 && needed > found,
                _ => false,
            });
            create_refuses(&path);
        }
    }
}

#[test]
fn a_creation_that_was_cut_off() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let mut beginning = image(Durability::Power);
    beginning[12..96].fill(0);
    for content in [&[][..], &beginning[..16], &beginning[..4096], &beginning] {
        std::fs::write(&path, content).unwrap();
        for outcome in [Arena::open(&path), Arena::open_read_only(&path)] {
            assert!(matches!(outcome, Err(Error::Unfinished { .. })), "{outcome:?}");
        }
        let arena = Options::new().log_size(64 << 10).open_or_create(&path).unwrap();
        assert_clean(&arena);
        assert_eq!(arena.read().unwrap().blocks().count(), 0);
        drop(arena);
        std::fs::write(&path, content).unwrap();
        assert_clean(&Options::new().log_size(64 << 10).create(&path).unwrap());
    }
}

/// One damaged byte must not make an arena look like the beginnings of one, which may be written over; what is wrong is not the checksum, which may be right.
#[test]
fn a_damaged_version_or_byte_order_is_no_unfinished_creation() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    for durability in BOTH {
        for (at, name) in [(8, "byte order"), (12, "version")] {
            let mut bytes = image(durability);
            bytes[at] = 0;
            for seal in [false, true] {
                if seal {
                    let crc = crc32fast::hash(&bytes[..92]);
                    bytes[92..96].copy_from_slice(&crc.to_le_bytes());
                }
                std::fs::write(&path, &bytes).unwrap();
                refuses(&path, |e| {
                    matches!(e, Error::Corrupt { offset, .. } if *offset == at as u64)
                        && e.to_string().contains(name)
                });
                create_refuses(&path);
            }
        }
    }
}

#[test]
fn an_arena_is_not_created_over() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let x = Arena::create(&path).unwrap().alloc(&7u32).unwrap();
    create_refuses(&path);
    let arena = Arena::open_or_create(&path).unwrap();
    assert_eq!(arena.read().unwrap().get(x).unwrap(), &7);
    // While it is open, too.
    create_refuses(&path);
}

#[test]
fn what_is_no_file() {
    let dir = dir();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, kind) in [(dir.path(), "a directory"), (&pipe, "a pipe"), (Path::new("/dev/null"), "a device")]
    {
        for outcome in
            [Arena::open(path), Arena::create(path), Arena::open_or_create(path), Arena::open_read_only(path)]
        {
            match outcome {
                Err(Error::NotAFile { what, .. }) => assert_eq!(what, kind),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(Arena::open(&socket).is_err() && Arena::create(&socket).is_err());
}

#[test]
fn a_link_is_followed_unless_that_is_refused() {
    let dir = dir();
    let (path, link) = (dir.path().join("a.heap"), dir.path().join("link"));
    let x = Arena::create(&path).unwrap().alloc(&7u32).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(Arena::open(&link).unwrap().read().unwrap().get(x).unwrap(), &7);
    let refused = Options::new().follow_links(false).open(&link);
    assert!(matches!(refused, Err(Error::NotAFile { what: "a symbolic link", .. })), "{refused:?}");
    assert!(Options::new().follow_links(false).open(&path).is_ok());
}

#[test]
fn a_new_file_has_the_mode_that_was_asked_for() {
    let dir = dir();
    for (mode, path) in [(0o600, dir.path().join("a")), (0o640, dir.path().join("b"))] {
        let _arena = Options::new().mode(mode).log_size(64 << 10).create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn options_that_make_no_sense() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let refused = |options: Options, expected: &str| match options.create(&path) {
        Err(Error::BadOption { option, .. }) => assert_eq!(option, expected),
        other => panic!("{other:?}"),
    };
    for size in [0, 4096, (64 << 10) - 1, (64 << 10) + 1, (1 << 30) + 4096, u64::MAX] {
        refused(Options::new().log_size(size), "log_size");
    }
    for align in [0, 1, 63, 65, 96, 8192] {
        refused(Options::new().log_align(align), "log_align");
    }
    for size in [0, 1, (1 << 20) - 1] {
        refused(Options::new().max_size(size), "max_size");
    }
    assert!(!path.exists());
    // More address space than there is: less is taken.
    let arena = Options::new().max_size(u64::MAX).log_size(64 << 10).create(&path).unwrap();
    assert!(arena.stats().unwrap().max_bytes >= 1 << 30);
}

/// Nothing is left of a creation that cannot be.
#[test]
fn options_that_leave_no_room_make_no_file() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let options = Options::new().log_size(1 << 30).max_size(1 << 20);
    assert!(matches!(options.create(&path), Err(Error::MaxSize { .. })));
    assert!(matches!(options.open_or_create(&path), Err(Error::MaxSize { .. })));
    assert!(matches!(Options::new().mode(0o400).create(&path), Err(Error::BadOption { option: "mode", .. })));
    assert!(!path.exists());
}
