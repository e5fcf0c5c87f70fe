//! One handle at a time makes the checkpoint that has become due: others go on with their commits meanwhile. It is nobody's when that one dies.

mod sharing;

use heapfile::{Arena, Durability, Offset, Options, View};
use sharing::*;

/// Bytes of each commit's record, about: a quarter of the log is less than eight of them.
const LEN: u64 = 2000;

fn commit(arena: &Arena, block: Offset<[u8]>) {
    let mut tx = arena.write().expect("a writer");
    tx.write_at(block, 0, &[7; LEN as usize]).expect("the block is there");
    tx.commit().expect("a commit");
}

/// The part of the log that is used, in percent.
fn used(arena: &Arena) -> u64 {
    let stats = arena.stats().expect("an arena that works");
    stats.log_used_bytes * 100 / stats.log_bytes
}

fn root(arena: &Arena) -> Offset<[u8]> {
    arena.read().expect("a reader").root().expect("a root of this type").expect("there is one")
}

#[test]
fn another_that_is_at_it_is_enough() {
    if let Some((_, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(file).expect("it opens");
        let block = root(&arena);
        say("open");
        listen();
        loop {
            commit(&arena, block);
        }
    }
    let dir = dir();
    let path = dir.path().join("a.heap");
    let arena = create(&path, &options(Durability::Power).log_limit(0));
    let block = {
        let mut tx = arena.write().expect("a writer");
        let block = tx.alloc_zeroed(LEN, 8).expect("space");
        tx.set_root(block).expect("a root");
        tx.commit().expect("a commit");
        block
    };
    arena.checkpoint().expect("a checkpoint");
    let mut child =
        start_stopped_at("another_that_is_at_it_is_enough", "commits", &path, "checkpoint: before sync");
    child.expect("open");
    child.tell("go");
    child.wait_stopped();
    let due = used(&arena);
    assert!(due > 75, "{due} %: it stopped in another checkpoint");
    commit(&arena, block);
    assert!(used(&arena) > due, "it was made a second time");
    // Who is stopped holds nobody up: where there is no room left, whoever needs it sees to that.
    let mut made_room = false;
    for _ in 0..40 {
        let before = used(&arena);
        commit(&arena, block);
        made_room |= used(&arena) < before;
    }
    assert!(made_room);
    child.kill();
    for _ in 0..60 {
        commit(&arena, block);
        assert!(used(&arena) <= 75, "nobody makes what a dead handle had begun");
    }
}
