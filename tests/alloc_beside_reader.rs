//! In a `Process` arena an allocation of its own waits for no reader: nobody can know of the block before. Freeing, which may take away what a
//! reader looks at, waits.

mod common;

use common::{assert_clean, fast_dir, small};
use heapfile::{Durability, Error, View};
use std::time::Duration;

#[test]
fn an_allocation_waits_for_no_reader() {
    let dir = fast_dir();
    let arena = small(Durability::Process)
        .lock_timeout(Duration::from_millis(30))
        .create(dir.path().join("a.heap"))
        .unwrap();
    let old = arena.alloc_bytes(b"what the reader looks at").unwrap();
    // The first of its class made the slab, which is more than a word.
    let spare = arena.alloc_bytes(b"another of the same class").unwrap();
    arena.free(spare).unwrap();

    let reading = arena.read().unwrap();
    let seen = reading.bytes(old).unwrap();
    let (new, with, freed) = std::thread::scope(|threads| {
        threads
            .spawn(|| {
                let new = arena.alloc_bytes(b"what is made beside it ..").unwrap();
                let with = arena.alloc_with(24, 1, |_, bytes| bytes.fill(b'w')).unwrap();
                (new, with, arena.free(old))
            })
            .join()
            .unwrap()
    });
    assert!(matches!(freed, Err(Error::Busy { .. })), "{freed:?}");
    assert_eq!(seen, b"what the reader looks at");
    assert_eq!(reading.bytes(new).unwrap(), b"what is made beside it ..");
    assert_eq!(reading.bytes(with).unwrap(), [b'w'; 24]);
    drop(reading);

    arena.free(old).unwrap();
    arena.free(new).unwrap();
    arena.free(with).unwrap();
    assert!(arena.free(new).is_err());
    assert_clean(&arena);
}
