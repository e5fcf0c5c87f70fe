//! The record of a `Process` commit that was cut off, as its next owner finds it: it is completed, once; and what it says about itself is not believed.

mod common;

use common::script::{self, Script};
use common::{assert_clean, child, fast_dir, killed_at, role, small};
use heapfile::{Arena, Durability, Error};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Where the superblock names the intent area's first page.
const INTENT_PAGE_AT: usize = 48;

fn page(image: &[u8], at: usize) -> usize {
    u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize
}

/// A file whose last process was killed at the point of its second commit.
fn left_at(point: &'static str, path: &Path) -> Vec<u8> {
    let arena = small(Durability::Process).create(path).unwrap();
    script::begin(&arena).unwrap();
    script::play(&arena).unwrap();
    // The third commit of the script fits the area; the second is spilled.
    script::play(&arena).unwrap();
    killed_at(point, path, || {
        script::play(&arena).unwrap();
    })
}

#[test]
fn what_an_intent_says_of_itself_is_checked() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let image = left_at("commit: intent valid", &path);
    let area = page(&image, INTENT_PAGE_AT) * 4096;
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    let [sequence, words, counts, end] = [0, 8, 16, 24].map(|at| word(area + at));
    assert!(words > 0 && words < 1 << 20, "{words}");
    let open = |at: usize, lie: u64| {
        let mut bytes = image.clone();
        bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        Arena::open(&path)
    };
    let arena = open(area, sequence).unwrap();
    Script::after(3).assert_in(&arena);
    assert_clean(&arena);
    drop(arena);
    for (at, lies) in [
        (0, vec![0, sequence.wrapping_add(1), sequence.wrapping_sub(2), 1 << 40, u64::MAX]),
        (8, vec![0, 1, words - 1, words + 1, 1 << 20, 1 << 40, (1 << 61) - 1, 1 << 61, u64::MAX]),
        (16, vec![0, counts + 1, counts | 1 << 31, counts + (1 << 32), u64::MAX]),
        (24, vec![0, 1, end << 20, 1 << 32, u64::MAX]),
    ] {
        for lie in lies {
            let outcome = open(area + at, lie);
            assert!(
                matches!(outcome, Err(Error::Corrupt { .. } | Error::Truncated { .. })),
                "word {at} is {lie:#x}: {outcome:?}"
            );
        }
    }
}

/// No commit writes nothing.
#[test]
fn an_intent_without_a_body_is_none() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let mut image = left_at("commit: intent valid", &path);
    let area = page(&image, INTENT_PAGE_AT) * 4096;
    image[area + 8..area + 24].fill(0);
    std::fs::write(&path, &image).unwrap();
    let outcome = Arena::open(&path);
    assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{outcome:?}");
}

#[test]
fn a_commit_that_was_completed_counts() {
    if let Some((_, file)) = role() {
        script::play(&Arena::open(&file).unwrap()).unwrap();
        return;
    }
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    for point in ["commit: intent valid", "commit: half applied", "commit: applied"] {
        let _ = std::fs::remove_file(&path);
        let arena = small(Durability::Process).create(&path).unwrap();
        script::begin(&arena).unwrap();
        let before = arena.stats().unwrap().sequence;
        let mut command = child("a_commit_that_was_completed_counts", "play", &path);
        let status = command.env("HEAPFILE_FAILPOINT", point).status().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        drop(arena.write().unwrap());
        Script::after(1).assert_in(&arena);
        assert_eq!(arena.stats().unwrap().sequence, before + 1, "killed at {point:?}");
    }
}
