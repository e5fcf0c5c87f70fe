//! The file grows while others read: their views stay where they are, and they see what lies past the old end.

mod sharing;

use heapfile::{Arena, Offset, Options, View};
use sharing::*;

#[test]
fn views_stay_and_see_further() {
    const TEST: &str = "views_stay_and_see_further";
    if let Some((_, file)) = role() {
        // Grows the file by steps while the parent reads; takes care to have no reader in the way of its commit.
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        for step in 0..12u64 {
            let mut tx = arena.write().expect("a writer");
            let block = tx.alloc_slice(&vec![step; 1 << 17]).expect("space");
            tx.set_named_root(&format!("step {step}"), block).expect("a root");
            let length = std::fs::metadata(&file).expect("the file").len();
            say(&format!("grown {step} {length}"));
            listen();
            tx.commit().expect("a commit");
            say("committed");
        }
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena = create(&file, &options(durability));
        let mut child = start(TEST, "grow", &file);
        let mut lengths = Vec::new();
        for step in 0..12u64 {
            // Begun before the file grows (but for the first step), held while it does.
            let tx = arena.read().expect("a reader");
            let seen: Vec<_> = (0..step).map(|s| block(&tx, s)).collect();
            let addresses: Vec<_> = seen.iter().map(|&b| tx.slice(b).expect("a view").as_ptr()).collect();
            let told = child.hear();
            lengths.push(told.rsplit(' ').next().and_then(|l| l.parse::<u64>().ok()).expect("a length"));
            for (s, (&b, &at)) in seen.iter().zip(&addresses).enumerate() {
                let view = tx.slice(b).expect("a view");
                assert_eq!(view.as_ptr(), at, "a view moved");
                assert!(view.iter().all(|&word| word == s as u64));
            }
            assert_eq!(number(&tx), 0);
            drop(tx);
            child.tell("commit");
            child.expect("committed");
            let tx = arena.read().expect("a reader");
            assert!(tx.slice(block(&tx, step)).expect("a view").iter().all(|&word| word == step));
        }
        assert!(lengths.windows(2).filter(|w| w[0] < w[1]).count() >= 3, "it did not grow: {lengths:?}");
        child.finish();
        assert_clean(&arena);
    }
}

fn block(view: &impl View, step: u64) -> Offset<[u64]> {
    view.named_root(&format!("step {step}")).expect("roots").expect("it was made")
}

/// A handle that mapped less than the file has come to need is told so; others go on.
#[test]
fn a_handle_with_too_little_room_is_told() {
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena: Arena = create(&file, &options(durability).max_size(4 << 30));
        let small = options(durability).max_size(64 << 20).open(&file).expect("it opens");
        let mut tx = arena.write().expect("a writer");
        let block = tx.alloc_unset(1200 << 20, 8).expect("space");
        tx.write_at(block, 0, &[1; 4096]).expect("a change");
        tx.commit().expect("a commit");
        assert!(matches!(small.read().map(drop), Err(heapfile::Error::MaxSize { .. })));
        assert!(matches!(small.write().map(drop), Err(heapfile::Error::MaxSize { .. })));
        assert_eq!(commit_next(&arena).expect("a commit"), 1);
        arena.free(block).expect("it is there");
    }
}
