//! A salvage that dies at any point of its way leaves the damaged file as it was, and at the new one's name nothing or all of it. Then it can be done again.

mod common;

use common::script::{self, Script};
use common::{BOTH, assert_clean, child, copy_as_killed, fast_dir, role, small};
use heapfile::{Arena, Durability, Error, testing};
use rustix::process::{Signal, getpid, kill_process};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

const COMMITS: u64 = 9;

/// Where the child puts what it salvages.
fn target(from: &Path) -> PathBuf {
    from.with_extension("new")
}

/// Salvages in a child that is killed at a point of its way; whether it was.
fn dies(from: &Path, point: u64) -> bool {
    let status =
        child("killed_at_each_point", &point.to_string(), from).output().expect("the child runs").status;
    assert!(status.success() || status.signal() == Some(9), "point {point}: {status}");
    !status.success()
}

#[track_caller]
fn assert_whole(file: &Path) {
    let arena = Arena::open(file).expect("what was salvaged opens");
    assert_clean(&arena);
    Script::after(COMMITS).assert_in(&arena);
    assert_eq!(script::play(&arena).unwrap(), COMMITS + 1);
    assert_clean(&arena);
}

/// An arena as a kill leaves it, with a log; or closed, with damage in the heap's header.
fn source(dir: &Path, durability: Durability, damaged: bool) -> PathBuf {
    let (made, from) = (dir.join("made.heap"), dir.join("from.heap"));
    let arena = small(durability).create(&made).unwrap();
    script::begin(&arena).unwrap();
    (0..COMMITS).for_each(|_| _ = script::play(&arena).unwrap());
    let header = arena.stats().unwrap().heap_offset;
    if damaged {
        drop(arena);
        std::fs::rename(&made, &from).unwrap();
        // The heap's end, its free tree and the page map.
        File::options().write(true).open(&from).unwrap().write_all_at(&[0x77; 24], header + 8).unwrap();
    } else {
        copy_as_killed(&made, &from);
    }
    from
}

#[test]
fn killed_at_each_point() {
    if let Some((point, from)) = role() {
        testing::at_point(point.parse().expect("a number"), || kill_process(getpid(), Signal::KILL).unwrap());
        drop(Arena::salvage(&from, target(&from)).expect("nothing else is in the way"));
        return;
    }
    for durability in BOTH {
        for damaged in [false, true] {
            let dir = fast_dir();
            let from = source(dir.path(), durability, damaged);
            let (before, to) = (std::fs::read(&from).unwrap(), target(&from));
            let (mut point, mut whole) = (0, 0);
            while dies(&from, point) {
                assert!(
                    std::fs::read(&from).unwrap() == before,
                    "point {point}: the damaged file was changed"
                );
                match Arena::open(&to) {
                    Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => panic!("{durability:?}, point {point}: half of a file: {e}"),
                    Ok(_) => whole += 1,
                }
                if to.exists() {
                    assert_whole(&to);
                    std::fs::remove_file(&to).unwrap();
                }
                // The first ones are those between two pages.
                point += if point < 120 { 4 } else { 1 };
            }
            assert!(point > 100, "{durability:?}: it dies at points of its way");
            println!(
                "{durability:?}, damaged: {damaged}: {point} points, complete at {whole} of those tried"
            );
            assert_whole(&to);
            assert!(std::fs::read(&from).unwrap() == before);
        }
    }
}
