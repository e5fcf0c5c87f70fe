//! Commits that can be counted, and arenas whose log has moved.

use crate::common::assert_clean;
use heapfile::{Arena, Error, Offset, Options, Result, View};
use std::path::Path;
use std::time::Duration;

pub(crate) const LOG: u64 = 64 << 10;
/// Numbers that a block holds.
pub(crate) const NUMBERS: u64 = 4000;

pub(crate) fn options() -> Options {
    Options::new().log_size(LOG).max_size(256 << 20).lock_timeout(Duration::from_secs(10))
}

/// Counts commits, and has the number of each in one of some blocks.
pub(crate) struct Ledger {
    pub(crate) count: Offset<u64>,
    pub(crate) blocks: Vec<Offset<[u8]>>,
}

impl Ledger {
    pub(crate) fn create(arena: &Arena, blocks: usize) -> Self {
        let mut tx = arena.write().unwrap();
        let count = tx.alloc(&0u64).unwrap();
        let blocks: Vec<_> = (0..blocks).map(|_| tx.alloc_zeroed(64 << 10, 8).unwrap()).collect();
        let raw: Vec<u64> = blocks.iter().map(|block| block.raw()).collect();
        let table = tx.alloc_slice(&raw).unwrap();
        tx.set_named_root("count", count).unwrap();
        tx.set_named_root("blocks", table).unwrap();
        tx.commit().unwrap();
        Self { count, blocks }
    }

    pub(crate) fn find(arena: &Arena) -> Result<Self> {
        let tx = arena.read()?;
        let missing = || Error::Unsynced { path: "a root is missing".into() };
        let count = tx.named_root::<u64>("count")?.ok_or_else(missing)?;
        let table = tx.named_root::<[u64]>("blocks")?.ok_or_else(missing)?;
        let blocks = tx.slice(table)?.iter().map(|&raw| Offset::from_raw(raw)).collect();
        Ok(Self { count, blocks })
    }

    pub(crate) fn place(&self, number: u64) -> (Offset<[u8]>, u64) {
        (self.blocks[number as usize % self.blocks.len()], number % NUMBERS * 8)
    }

    /// Commits the next number, in a record of a KiB.
    pub(crate) fn commit(&self, arena: &Arena) -> Result<u64> {
        let mut tx = arena.write()?;
        let number = *tx.get(self.count)? + 1;
        *tx.get_mut(self.count)? = number;
        let (block, at) = self.place(number);
        tx.write_at(block, at, &number.to_le_bytes())?;
        tx.write_at(block, NUMBERS * 8, &[number as u8; 1000])?;
        tx.commit()?;
        Ok(number)
    }

    /// The number of the last commit; all before it are looked for.
    #[track_caller]
    pub(crate) fn count(&self, arena: &Arena) -> Result<u64> {
        let tx = arena.read()?;
        let count = *tx.get(self.count)?;
        for number in count.saturating_sub(NUMBERS - 1).max(1)..=count {
            let (block, at) = self.place(number);
            assert_eq!(tx.bytes(block)?[at as usize..][..8], number.to_le_bytes(), "{number} of {count}");
        }
        Ok(count)
    }
}

/// All of `count` commits are there, so many more can be made, and the arena is sound.
#[track_caller]
pub(crate) fn assert_goes_on(arena: &Arena, ledger: &Ledger, count: u64, more: u64, what: &str) {
    assert_eq!(ledger.count(arena).unwrap(), count, "{what}");
    for number in 1..=more {
        assert_eq!(ledger.commit(arena).unwrap(), count + number, "{what}");
    }
    assert_clean(arena);
}

pub(crate) fn log_len(arena: &Arena) -> u64 {
    arena.stats().unwrap().log_bytes
}

/// Makes an arena whose log has moved.
pub(crate) fn make(path: &Path, options: &Options) -> (Arena, Ledger) {
    let arena = options.create(path).unwrap();
    let ledger = Ledger::create(&arena, 12);
    while log_len(&arena) == LOG {
        assert!(ledger.commit(&arena).unwrap() < 1000, "the log does not move");
    }
    // Some records in the new ring.
    for _ in 0..5 {
        ledger.commit(&arena).unwrap();
    }
    (arena, ledger)
}

/// The bytes of a closed arena whose log has moved, and of one that was killed; the count of its commits.
pub(crate) fn images(dir: &Path) -> ([Vec<u8>; 2], u64) {
    let path = dir.join("made");
    let (arena, ledger) = make(&path, &options());
    let count = ledger.count(&arena).unwrap();
    let killed = std::fs::read(&path).unwrap();
    drop(arena);
    ([std::fs::read(&path).unwrap(), killed], count)
}
