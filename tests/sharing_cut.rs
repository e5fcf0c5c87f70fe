//! A handle that shortens the file: the others take notice before they grow it again, or look at what is there.

mod sharing;

use heapfile::{Arena, Durability, Offset, Options, View};
use sharing::*;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::TempDir;

const LEN: usize = 3 << 20;

#[test]
fn the_others_take_notice_of_a_cut() {
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        let arena = create(&file, &options(durability).locking(locking));
        let other: Arena = Options::new().open(&file).expect("it opens");
        for round in 1..4u8 {
            let block = arena.alloc_bytes(&vec![round; LEN]).expect("space");
            assert_eq!(other.read().expect("a reader").bytes(block).expect("the block")[LEN - 1], round);
            arena.free(block).expect("it is a block");
            let shrunk = arena.shrink().expect("the file is cut");
            assert!(shrunk.file_bytes < shrunk.file_bytes_before - LEN as u64, "{shrunk:?}");
            // The other grows it again, further than it was.
            let again = other.alloc_bytes(&vec![round; LEN + 100_000]).expect("space");
            assert_eq!(arena.read().expect("a reader").bytes(again).expect("the block")[LEN], round);
            other.free(again).expect("it is a block");
            other.shrink().expect("the file is cut");
            assert_clean(&arena);
        }
    }
}

/// What was cut off is no longer part of the file for the others either: a damaged map that leads there is refused, not followed.
#[test]
fn the_others_do_not_look_at_what_was_cut_off() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(Durability::Process));
    let other: Arena = Options::new().open(&file).expect("it opens");
    let kept = arena.alloc_bytes(&[1; 9]).expect("space");
    let block = arena.alloc_bytes(&vec![1; LEN]).expect("space");
    assert_eq!(other.read().expect("a reader").bytes(block).expect("the block")[LEN - 1], 1);
    arena.free(block).expect("it is a block");
    arena.shrink().expect("the file is cut");
    lead_the_map_behind_the_end(&file);
    other.read().expect("a reader").bytes(kept).expect_err("its page is not in the map");
}

/// Damages a file: the page map is said to be in the second page behind its end.
fn lead_the_map_behind_the_end(file: &Path) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).expect("it opens");
    let behind = file.metadata().expect("its length").len() / 4096 + 1;
    let mut heap_page = [0; 4];
    file.read_exact_at(&mut heap_page, 64).expect("the superblock");
    file.write_all_at(&behind.to_le_bytes(), u64::from(u32::from_le_bytes(heap_page)) * 4096 + 64)
        .expect("it is written");
}

/// An arena, and another handle, opened while a record too long for the log lay behind the heap's end; a block in it. In the other process, which commits that
/// record, nothing.
fn opened_while_longer(test: &str) -> Option<(TempDir, Arena, Arena, Offset<[u8]>)> {
    if let Some((_, file)) = role() {
        let arena: Arena = Options::new().lock_timeout(PATIENCE).open(file).expect("it opens");
        commit_next(&arena).expect("a commit");
        return None;
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(Durability::Power));
    let kept = arena.alloc_bytes(&[1; 9]).expect("space");
    // No room behind the heap's end, so that the record makes the file longer.
    arena.shrink().expect("the file is cut");
    let child = start_stopped_at(test, "commit", &file, "commit: spill written");
    child.wait_stopped();
    let longer = std::fs::metadata(&file).expect("the file").len();
    let late: Arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
    child.go_on();
    child.finish();
    assert!(std::fs::metadata(&file).expect("the file").len() < longer, "the record's space was given back");
    Some((dir, arena, late, kept))
}

/// Who opened the file while it was longer knows it so, until it looks at the count of cuts.
#[test]
fn a_handle_opened_while_the_file_was_longer() {
    let opened = opened_while_longer("a_handle_opened_while_the_file_was_longer");
    let Some((_dir, arena, late, _)) = opened else { return };
    let block = late.alloc_bytes(&vec![7; LEN]).expect("the file grows from where it ends now");
    assert_eq!(arena.read().expect("a reader").bytes(block).expect("the block")[LEN - 1], 7);
    assert_eq!(read_number(&late), 1);
    assert_clean(&late);
}

/// The same handle does not look there either, though nothing in the heap has changed.
#[test]
fn a_handle_opened_while_the_file_was_longer_does_not_look_there() {
    let opened = opened_while_longer("a_handle_opened_while_the_file_was_longer_does_not_look_there");
    let Some((_dir, arena, late, kept)) = opened else { return };
    lead_the_map_behind_the_end(arena.path());
    late.read().expect("a reader").bytes(kept).expect_err("its page is not in the map");
}
