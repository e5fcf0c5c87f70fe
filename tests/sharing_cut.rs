//! A handle that shortens the file: the others take notice before they grow it again, or look at what is there.

mod sharing;

use heapfile::{Arena, Durability, Options, View};
use sharing::*;

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

/// A record too long for the log lies behind the heap's end for a while. Who opened the file then knows it longer than it is, until it looks at the
/// count of cuts.
#[test]
fn a_handle_opened_while_the_file_was_longer() {
    const TEST: &str = "a_handle_opened_while_the_file_was_longer";
    if let Some((_, file)) = role() {
        let arena: Arena = Options::new().lock_timeout(PATIENCE).open(file).expect("it opens");
        commit_next(&arena).expect("a commit");
        return;
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    // No room behind the heap's end, so that the record makes the file longer.
    let arena = create(&file, &options(Durability::Power));
    arena.shrink().expect("the file is cut");
    let child = start_stopped_at(TEST, "commit", &file, "commit: spill written");
    child.wait_stopped();
    let longer = std::fs::metadata(&file).expect("the file").len();
    let late: Arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
    child.go_on();
    child.finish();
    assert!(std::fs::metadata(&file).expect("the file").len() < longer, "the record's space was given back");
    let block = late.alloc_bytes(&vec![7; LEN]).expect("the file grows from where it ends now");
    assert_eq!(arena.read().expect("a reader").bytes(block).expect("the block")[LEN - 1], 7);
    assert_eq!(read_number(&late), 1);
    assert_clean(&late);
}
