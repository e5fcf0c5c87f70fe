//! Long records whose changes lie densely are applied by copies, from the log to mapped pages: whoever looks sees what was committed.

mod common;

use common::{assert_clean, dir, small};
use heapfile::testing::{self, Call, SimDisk, SplitMix64};
use heapfile::{Arena, Durability, Error, Offset, Result, View};

const BLOCKS: usize = 300;
const LEN: usize = 200;

/// Blocks, and what each holds.
struct Blocks(Vec<(Offset<[u8]>, u8)>);

impl Blocks {
    fn new(arena: &Arena) -> Self {
        let mut tx = arena.write().unwrap();
        let blocks = (0..BLOCKS).map(|_| (tx.alloc_bytes(&[0; LEN]).unwrap(), 0)).collect();
        tx.commit().unwrap();
        Self(blocks)
    }

    /// Changes a third of them, each in two pieces.
    fn change(&mut self, arena: &Arena, rng: &mut SplitMix64) -> Result<()> {
        let mut tx = arena.write()?;
        for (block, content) in &mut self.0 {
            if rng.below(3) == 0 {
                *content = content.wrapping_add(1);
                let middle = rng.below(LEN as u64);
                let new = [*content; LEN];
                let (first, second) = new.split_at(middle as usize);
                tx.write_at(*block, middle, second)?;
                tx.write_at(*block, 0, first)?;
            }
        }
        tx.commit()
    }

    #[track_caller]
    fn assert_in(&self, arena: &Arena) {
        let tx = arena.read().unwrap();
        for (block, content) in &self.0 {
            assert_eq!(tx.slice(*block).unwrap(), [*content; LEN]);
        }
    }
}

#[test]
fn who_looks_sees_what_was_committed() {
    testing::small_stretches(true);
    let dir = dir();
    let path = dir.path().join("a.heap");
    let arena = small(Durability::Power).create(&path).unwrap();
    let other = Arena::open(&path).unwrap();
    let (mut blocks, mut rng) = (Blocks::new(&arena), SplitMix64(1));
    let mut copied = 0;
    for round in 0..60 {
        let writer = if round % 7 == 0 { &other } else { &arena };
        testing::at_failpoint("commit: copied", || ());
        blocks.change(writer, &mut rng).unwrap();
        // Nothing is left to happen where it has.
        copied += u64::from(!testing::at_no_point());
        blocks.assert_in(&arena);
        blocks.assert_in(&other);
    }
    assert!(copied > 40, "{copied}");
    assert_clean(&other);
    drop((arena, other));
    let arena = Arena::open(&path).unwrap();
    blocks.assert_in(&arena);
    assert_clean(&arena);
}

#[test]
fn what_cannot_be_copied_is_written() {
    let (disk, options) = (SimDisk::new().unwrap(), &small(Durability::Power).log_size(1 << 20));
    let arena = testing::create(&disk, options).unwrap();
    let (mut blocks, mut rng) = (Blocks::new(&arena), SplitMix64(3));
    let mut failed = 0;
    for _ in 0..20 {
        disk.fail(Call::Scatter, 0, libc::EFAULT);
        blocks.change(&arena, &mut rng).unwrap();
        failed += usize::from(disk.clear_faults() == 0);
        blocks.assert_in(&arena);
    }
    assert!(failed > 10, "{failed}");
    // What cannot be written either is left to whoever comes next.
    disk.fail_from(Call::Scatter, 0, libc::EFAULT);
    disk.fail_from(Call::Write, 0, libc::EIO);
    let outcome = blocks.change(&arena, &mut rng);
    assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
    disk.clear_faults();
    drop(arena);
    let arena = testing::open(&disk, options).unwrap();
    blocks.assert_in(&arena);
    assert_clean(&arena);
}
