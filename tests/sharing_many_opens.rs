//! Many handles on one file: two hundred opens at once, a slot table that is full, several handles in one process.

mod sharing;

use heapfile::{Arena, Durability, Error, Options, View};
use sharing::*;
use std::sync::Barrier;

const THREADS: usize = 100;
const PROCESSES: usize = 10;
const EACH: usize = 10;

fn small(durability: Durability) -> Options {
    options(durability).max_size(64 << 20)
}

#[test]
fn two_hundred_opens_at_once() {
    const TEST: &str = "two_hundred_opens_at_once";
    if let Some((_, file)) = role() {
        say("is ready");
        listen();
        let open = || Options::new().max_size(64 << 20).lock_timeout(PATIENCE).open(&file).expect("it opens");
        let kept: Vec<Arena> = std::thread::scope(|threads| {
            let opening: Vec<_> = (0..EACH).map(|_| threads.spawn(open)).collect();
            opening.into_iter().map(|t| t.join().expect("it opens")).collect()
        });
        for arena in &kept {
            commit_next(arena).expect("a commit");
        }
        say("has them");
        listen();
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena = create(&file, &small(durability));
        let mut children: Vec<Child> = (0..PROCESSES).map(|_| start(TEST, "open", &file)).collect();
        children.iter().for_each(|child| child.expect("is ready"));
        let together = Barrier::new(THREADS);
        let kept: Vec<Arena> = std::thread::scope(|threads| {
            let opening: Vec<_> = (0..THREADS)
                .map(|_| {
                    threads.spawn(|| {
                        together.wait();
                        let arena = small(durability).open(&file).expect("it opens");
                        commit_next(&arena).expect("a commit");
                        arena
                    })
                })
                .collect();
            children.iter_mut().for_each(|child| child.tell("open"));
            opening.into_iter().map(|t| t.join().expect("it opens")).collect()
        });
        children.iter().for_each(|child| child.expect("has them"));
        let handles = arena.handles().expect("handles");
        assert_eq!(handles.len(), 1 + THREADS + PROCESSES * EACH);
        assert!(handles.windows(2).all(|w| w[0].slot < w[1].slot), "each has a slot of its own");
        assert_eq!(read_number(&arena), (THREADS + PROCESSES * EACH) as u64);
        // Half of the processes are killed: their slots are free at once.
        for child in &mut children[..PROCESSES / 2] {
            child.kill();
        }
        assert_eq!(arena.handles().expect("handles").len(), 1 + THREADS + PROCESSES * EACH / 2);
        commit_next(&arena).expect("a commit");
        drop(kept);
        children.into_iter().skip(PROCESSES / 2).for_each(Child::finish);
        assert_eq!(arena.handles().expect("handles").len(), 1);
        assert_clean(&arena);
    }
}

#[test]
fn a_full_slot_table_is_an_error_until_a_handle_closes() {
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &small(Durability::Process));
    let mut kept: Vec<Arena> =
        (1..256).map(|_| small(Durability::Process).open(&file).expect("a slot")).collect();
    for _ in 0..2 {
        match small(Durability::Process).open(&file).map(drop) {
            Err(Error::NoSlot { slots: 256 }) => {}
            other => panic!("NoSlot is expected, not {other:?}"),
        }
        assert_eq!(commit_next(&arena).expect("the others go on"), kept.len() as u64 - 254);
        drop(kept.swap_remove(77));
        kept.push(small(Durability::Process).open(&file).expect("one slot is free"));
        kept.push(kept[0].clone());
    }
    assert_eq!(arena.handles().expect("handles").len(), 256);
    assert_clean(&arena);
}

#[test]
fn handles_of_one_process_keep_each_other_apart() {
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        let first = create(&file, &options(durability).locking(locking));
        let quick = options(durability).locking(locking).lock_timeout(std::time::Duration::from_millis(60));
        let second = quick.open(&file).expect("it opens");
        let mut tx = first.write().expect("a writer");
        set_number(&mut tx, 1).expect("a change");
        std::thread::scope(|threads| {
            threads.spawn(|| busy(second.write())).join().expect("it does not panic");
        });
        tx.commit().expect("a commit");
        assert_eq!(read_number(&second), 1);
        let tx = first.read().expect("a reader");
        std::thread::scope(|threads| {
            threads.spawn(|| busy(commit_next(&second))).join().expect("it does not panic");
        });
        assert_eq!(number(&tx), 1);
        assert!(tx.roots().expect("roots").len() == 1);
        drop(tx);
        // A handle that is closed takes nothing along.
        drop(first);
        assert_eq!(commit_next(&second).expect("a commit"), 2);
    }
}
