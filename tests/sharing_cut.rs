//! A handle that shortens the file: the others take notice before they grow it again, or look at what is there.

mod sharing;

use heapfile::{Arena, Options, View};
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
