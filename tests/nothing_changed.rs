//! A transaction that changes nothing commits without a record: it gets no number, and waits for no reader.

mod common;

use common::{BOTH, fast_dir, small};
use heapfile::View;
use std::time::Duration;

#[test]
fn a_commit_of_nothing_is_none() {
    let dir = fast_dir();
    for durability in BOTH {
        let options = small(durability).lock_timeout(Duration::from_millis(30));
        let arena = options.create(dir.path().join(format!("{durability:?}.heap"))).unwrap();
        let block = arena.alloc(&7u64).unwrap();
        let before = arena.stats().unwrap().sequence;
        let reading = arena.read().unwrap();
        // By another thread: in this one it would wait for itself.
        std::thread::scope(|threads| threads.spawn(|| arena.write()?.commit()).join().unwrap()).unwrap();
        assert_eq!(reading.get(block).unwrap(), &7);
        drop(reading);
        assert_eq!(arena.stats().unwrap().sequence, before, "{durability:?}");
    }
}
