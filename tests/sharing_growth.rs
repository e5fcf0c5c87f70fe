//! The file grows while others read: their views stay where they are, and they see what lies past the old end.

mod sharing;

use heapfile::testing::{at_failpoint, move_log};
use heapfile::{Arena, Offset, Options, View, WriteTxn};
use sharing::*;

#[test]
fn views_stay_and_see_further() {
    const TEST: &str = "views_stay_and_see_further";
    if let Some((_, file)) = role() {
        // Grows the file by steps while the parent reads; takes care to have no reader in the way of its commit.
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        for step in 0..12u64 {
            let mut tx = arena.write().expect("a writer");
            add_step(&mut tx, step, 1 << 17);
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
            assert_step(&tx, step);
        }
        assert!(lengths.windows(2).filter(|w| w[0] < w[1]).count() >= 3, "it did not grow: {lengths:?}");
        child.finish();
        assert_clean(&arena);
    }
}

/// Makes a block that is full of the step's number.
fn add_step(tx: &mut WriteTxn<'_>, step: u64, words: usize) {
    let block = tx.alloc_slice(&vec![step; words]).expect("space");
    tx.set_named_root(&format!("step {step}"), block).expect("a root");
}

#[track_caller]
fn assert_step(view: &impl View, step: u64) {
    assert!(view.slice(block(view, step)).expect("a view").iter().all(|&word| word == step));
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

/// Who is making a handle asks for the file's length before the last of the others, which may still make it longer, is gone.
#[test]
fn the_last_of_the_others_may_grow_it_while_it_is_opened() {
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let last = create(&file, &options(durability));
        at_failpoint("attach: length known", move || {
            let mut tx = last.write().expect("a writer");
            add_step(&mut tx, 7, 1 << 19);
            tx.commit().expect("a commit");
            // Behind what the file had: nothing of it is read where it is thought to be as short as then.
            move_log(&last, 1024).expect("the log moves");
            assert_eq!(commit_next(&last).expect("a commit"), 1);
        });
        let arena = Options::new().open(&file).expect("it opens");
        let tx = arena.read().expect("a reader");
        assert_eq!(number(&tx), 1);
        assert_step(&tx, 7);
        drop(tx);
        assert_clean(&arena);
    }
}

/// A thread that was told the file's length before another made it longer does not make the handle forget the newer one.
#[test]
fn an_old_length_does_not_replace_a_newer_one() {
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let other = create(&file, &options(durability));
        let arena = Options::new().open(&file).expect("it opens");
        // The handle has to ask once more.
        let block = other.alloc_bytes(&vec![1; 3 << 20]).expect("space");
        other.free(block).expect("it is there");
        other.shrink().expect("it shrinks");
        let (go, begun) = std::sync::mpsc::channel();
        let (grown, done) = std::sync::mpsc::channel();
        let writer = std::thread::spawn({
            let arena = arena.clone();
            move || {
                begun.recv().expect("the reader asks");
                let mut tx = arena.write().expect("a writer");
                add_step(&mut tx, 7, 1 << 19);
                grown.send(()).expect("the reader waits");
                tx.commit().expect("a commit");
            }
        });
        at_failpoint("file: length asked for", move || {
            go.send(()).expect("the writer waits");
            done.recv().expect("it is longer");
        });
        drop(arena.read().expect("a reader"));
        writer.join().expect("the writer is through");
        let tx = arena.read().expect("a reader");
        assert_step(&tx, 7);
        drop(tx);
        assert_clean(&arena);
    }
}
