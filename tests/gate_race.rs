//! Readers and a committer that meet at the gate as often as they can: a reader counts itself and then looks at the gate, the committer shuts the gate and
//! then looks at the counts. Were one of the two orders wrong, or not kept by the processor, a reader would see a commit being applied.

mod common;

use common::{fast_dir, small};
use heapfile::{Arena, Durability, Offset, View, WriteTxn};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Blocks that each commit changes, on pages of their own.
const CELLS: usize = 60;
/// Commits of a test.
const COMMITS: u64 = 40_000;

type Cells = [Offset<u64>; CELLS];

fn make(arena: &Arena) -> Cells {
    let mut tx = arena.write().unwrap();
    let mut cells = [Offset::null(); CELLS];
    for cell in &mut cells {
        *cell = tx.alloc(&0u64).unwrap();
        // What lies between keeps them apart.
        tx.alloc_zeroed(2_000, 8).unwrap();
    }
    tx.commit().unwrap();
    cells
}

fn set(tx: &mut WriteTxn<'_>, cells: &Cells, to: u64) {
    for &cell in cells {
        *tx.get_mut(cell).unwrap() = to;
    }
}

/// Reads first and last cell, which are equal in every committed state, until the writer is done.
fn read(arena: &Arena, cells: &Cells, done: &AtomicBool) -> u64 {
    let mut reads = 0;
    while !done.load(Relaxed) {
        let tx = arena.read().unwrap();
        let first = *tx.get(cells[0]).unwrap();
        let last = *tx.get(cells[CELLS - 1]).unwrap();
        assert_eq!(first, last, "half a commit can be seen");
        reads += 1;
    }
    reads
}

fn meet(readers_of_their_own: bool) {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(Durability::Process).create(&path).unwrap();
    let cells = make(&arena);
    let done = AtomicBool::new(false);
    let reads: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let own = if readers_of_their_own { Arena::open(&path).unwrap() } else { arena.clone() };
                let (cells, done) = (&cells, &done);
                scope.spawn(move || read(&own, cells, done))
            })
            .collect();
        for commit in 1..=COMMITS {
            let mut tx = arena.write().unwrap();
            set(&mut tx, &cells, commit);
            tx.commit().unwrap();
            if readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
        }
        done.store(true, Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(reads > 0);
    assert_eq!(arena.read().unwrap().get(cells[7]).unwrap(), &COMMITS);
}

#[test]
fn readers_of_the_same_handle() {
    meet(false);
}

#[test]
fn readers_of_other_handles() {
    meet(true);
}
