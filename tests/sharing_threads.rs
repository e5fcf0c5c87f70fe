//! Threads and processes together on one arena: every commit counts once, no reader ever sees a part of one.

mod sharing;

use heapfile::{Arena, Options};
use sharing::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const THREADS: u64 = 3;

/// Writers and readers on one handle; every writer commits `each` numbers.
fn work(arena: &Arena, each: u64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let writers: Vec<_> = (0..THREADS)
            .map(|_| {
                threads.spawn(|| {
                    for _ in 0..each {
                        commit_next(arena).expect("a commit");
                    }
                })
            })
            .collect();
        for _ in 0..THREADS {
            threads.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let tx = arena.read().expect("a reader");
                    let now = number(&tx);
                    assert!(now >= last, "a commit was taken back");
                    assert_eq!(number(&tx), now, "a view changed under its reader");
                    last = now;
                    drop(tx);
                    // On a machine with few cores readers without a break are for most of their time waiting for a core.
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
        }
        writers.into_iter().for_each(|w| w.join().expect("the writer goes on"));
        done.store(true, Ordering::Relaxed);
    });
}

fn open(file: &Path) -> Arena {
    Options::new().lock_timeout(PATIENCE).open(file).expect("it opens")
}

#[test]
fn threads_and_processes_count_together() {
    const TEST: &str = "threads_and_processes_count_together";
    if let Some((role, file)) = role() {
        return work(&open(&file), role.parse().expect("a number"));
    }
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let began = std::time::Instant::now();
        let each = if locking == heapfile::Locking::Shared { 25 } else { 10 };
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        let arena = create(&file, &options(durability).locking(locking));
        let children: Vec<Child> = (0..2).map(|_| start(TEST, &each.to_string(), &file)).collect();
        work(&arena, each);
        children.into_iter().for_each(Child::finish);
        println!("{durability:?} {locking:?}: {:?}", began.elapsed());
        assert_eq!(read_number(&arena), 3 * THREADS * each, "{durability:?} {locking:?}");
        assert_clean(&arena);
    }
}
