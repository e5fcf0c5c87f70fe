//! Files that are no arenas, or no longer: each gets a message of its own that says what to do, and exit code 2.

mod common;

use common::{Place, Run, command, run, text};
use std::fs::{File, Permissions, copy, set_permissions, write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// All commands that open an arena refuse the file with this message.
#[track_caller]
fn refused(path: &str, message: &str) {
    for args in [&["info", path][..], &["info", "--json", path], &["dump", path], &["dump", path, "4096"]] {
        run(args).fails(2, message);
    }
    run(&["check", path]).fails(2, message);
}

#[test]
fn what_is_no_file() {
    let place = Place::new();
    refused(place.arg(), "No such file or directory");
    refused(text(place.dir.path()), "is a directory, not a regular file: give the path of a file");
    refused("/dev/null", "not a regular file: give the path of a file");
    assert!(Command::new("mkfifo").arg(&place.path).status().unwrap().success());
    refused(place.arg(), "not a regular file: give the path of a file");
    run(&["create", text(place.dir.path())]).fails(2, "");
    run(&["create", text(&place.dir.path().join("no/such/directory"))]).fails(2, "No such file or directory");
}

#[test]
fn what_is_no_arena() {
    let place = Place::new();
    write(&place.path, "x").unwrap();
    refused(place.arg(), "is not a heapfile arena: it is shorter than any arena");
    write(&place.path, vec![b'x'; 1 << 20]).unwrap();
    refused(place.arg(), "is not a heapfile arena: it does not begin with the arena's magic bytes");
    run(&["create", place.arg()]).fails(2, "exists already");
    write(&place.path, "").unwrap();
    refused(place.arg(), "was cut off: remove it, or run `heapfile create` on it");
    run(&["create", place.arg()]).ok();
}

#[test]
fn what_was_an_arena() {
    let place = Place::with(|arena| assert!(arena.alloc(&1u64).is_ok()));
    let file = File::options().read(true).write(true).open(&place.path).unwrap();
    let mut start = [0; 4096];
    file.read_exact_at(&mut start, 0).unwrap();
    let with = |at: usize, bytes: &[u8], message: &str| {
        file.write_all_at(bytes, at as u64).unwrap();
        refused(place.arg(), message);
        file.write_all_at(&start[at..at + bytes.len()], at as u64).unwrap();
    };
    with(12, &99u32.to_le_bytes(), "has format version 99, this library reads up to");
    let swapped: Vec<u8> = start[8..12].iter().rev().copied().collect();
    with(8, &swapped, "is not little-endian");
    run(&["info", place.arg()]).ok();

    let whole = file.metadata().unwrap().len();
    for len in [whole / 2, 4096, 100] {
        file.set_len(len).unwrap();
        run(&["info", place.arg()]).fails(2, "the file was cut short");
        let check = run(&["check", place.arg()]);
        assert!(check.code == 1 && check.stdout.contains("the file was cut short"), "{check:?}");
    }
}

#[test]
fn no_permission() {
    let place = Place::with(|_| {});
    set_permissions(&place.path, Permissions::from_mode(0o000)).unwrap();
    // Permissions do not hold for root: another user has to try, who must get at the program.
    let program = place.dir.path().join("heapfile");
    copy(env!("CARGO_BIN_EXE_heapfile"), &program).unwrap();
    set_permissions(place.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let is_root = place.path.metadata().unwrap().uid() == 0;
    for name in ["info", "check", "dump"] {
        let mut command = Command::new(&program);
        if is_root {
            command.uid(65534);
        }
        let run: Run = command.args([name, place.arg()]).output().unwrap().into();
        run.fails(2, "Permission denied");
    }
}

#[test]
fn a_flipped_byte_never_ends_in_a_panic() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let blocks: Vec<_> = (0..200).map(|i| tx.alloc_bytes(&vec![i as u8; i * 40]).unwrap()).collect();
        for block in blocks.iter().step_by(3) {
            tx.free(*block).unwrap();
        }
        let list = tx.alloc_slice(&blocks).unwrap();
        tx.set_root(list).unwrap();
        tx.commit().unwrap();
    });
    let whole = std::fs::read(&place.path).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
    let mut refused = 0;
    for at in used.iter().step_by(used.len() / 60) {
        let mut bytes = whole.clone();
        bytes[*at] ^= 0x21;
        write(&place.path, &bytes).unwrap();
        for name in ["check", "info", "dump"] {
            let run: Run = command().args([name, place.arg()]).output().unwrap().into();
            assert!((0..=2).contains(&run.code) && !run.stderr.contains("panicked"), "byte {at}: {run:?}");
            refused += usize::from(run.code > 0);
        }
    }
    assert!(refused > 0);
}
