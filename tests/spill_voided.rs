//! What the log still says of a body behind the heap's end is gone before the heap grows over it, whoever dies on the way there.

mod common;

use common::{assert_clean, mortal, small};
use heapfile::testing::{self, Call, Recipe, SimDisk};
use heapfile::{Arena, Durability, Error, Offset, Options, View};
use std::time::Duration;

const LONG: usize = 300 << 10;

fn options() -> Options {
    small(Durability::Power).lock_timeout(Duration::from_millis(50))
}

/// An arena with a block that no record has room for.
fn with_long_block() -> (SimDisk, Offset<[u8]>) {
    let disk = SimDisk::new().unwrap();
    let arena = testing::create(&disk, &options()).unwrap();
    let long = arena.alloc_bytes(&vec![1; LONG]).unwrap();
    (disk, long)
}

fn fill(arena: &Arena, long: Offset<[u8]>, byte: u8) -> Result<(), Error> {
    let mut tx = arena.write()?;
    tx.bytes_mut(long)?.fill(byte);
    tx.commit()
}

/// Dies when it comes to the checkpoint that frees the log of the body.
fn dies_at_the_checkpoint(work: impl FnOnce()) {
    testing::at_failpoint("checkpoint: before sync", || testing::die_after(Some(0)));
    assert!(mortal(u64::MAX, work).is_none(), "it did not come to its checkpoint");
}

/// Makes the heap longer, loses the power, and looks what is left.
fn assert_nothing_lost(disk: &SimDisk, arena: &Arena, long: Offset<[u8]>, byte: u8) {
    let next = arena.alloc_bytes(&vec![5; 2 * LONG]).unwrap();
    let history = disk.history();
    let mut image = Vec::new();
    history.at(history.points() - 1).build(Recipe::Old, &mut image);
    let after = testing::open(&SimDisk::from_image(&image).unwrap(), &options()).unwrap();
    let tx = after.read().unwrap();
    assert!(tx.bytes(next).is_ok_and(|bytes| bytes == vec![5; 2 * LONG]), "the last commit is lost");
    assert!(tx.bytes(long).unwrap() == vec![byte; LONG]);
    drop(tx);
    assert_clean(&after);
}

#[test]
fn one_that_was_taken_back() {
    let (disk, long) = with_long_block();
    let (writer, other) =
        (testing::open(&disk, &options()).unwrap(), testing::open(&disk, &options()).unwrap());
    std::thread::scope(|scope| {
        let (reads, begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = &other;
        scope.spawn(move || {
            let tx = other.read().unwrap();
            reads.send(()).unwrap();
            let _ = ended.recv();
            drop(tx);
        });
        begun.recv().unwrap();
        dies_at_the_checkpoint(|| drop(fill(&writer, long, 2)));
        drop((writer, end));
    });
    testing::die_after(None);
    assert_nothing_lost(&disk, &other, long, 1);
}

#[test]
fn one_whose_checkpoint_failed() {
    let (disk, long) = with_long_block();
    let [first, second, third] = [0; 3].map(|_| testing::open(&disk, &options()).unwrap());
    // After that of the body.
    disk.fail(Call::Sync, 1, libc::EIO);
    fill(&first, long, 2).unwrap();
    dies_at_the_checkpoint(|| drop(second.write()));
    drop(second);
    testing::die_after(None);
    assert_nothing_lost(&disk, &third, long, 2);
}
