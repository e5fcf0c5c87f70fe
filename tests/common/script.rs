//! A script of edits: what an arena holds after so many commits follows from the number alone.
//!
//! So a process can be killed while it plays the script, and another one can tell from the count in the arena what
//! all blocks have to hold. Every fifth commit replaces most of a long block, which is too much for the log ring of
//! a small arena; others allocate fresh space enough to be filled in place, grow, shrink, patch and free.

use super::bytes;
use bytemuck::{Pod, Zeroable};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Offset, ReadTxn, Result, View, WriteTxn};

/// Blocks that the script works on.
pub const SLOTS: usize = 16;

/// Blocks beside those: the table, the roots' directory, the root's record.
pub const BESIDE: usize = 3;

/// The root: how many commits there were, and the blocks.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Table {
    pub count: u64,
    pub slots: [Offset<[u8]>; SLOTS],
}

/// What is done to one block.
#[derive(Debug, Clone)]
enum Edit {
    Put(Vec<u8>),
    Patch { part: u64, bytes: Vec<u8> },
    Resize(usize),
    Drop,
}

/// What the blocks hold after `count` commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub count: u64,
    pub slots: Vec<Option<Vec<u8>>>,
}

impl Default for Script {
    fn default() -> Self {
        Self { count: 0, slots: vec![None; SLOTS] }
    }
}

/// The edits of the commit after `count` others.
fn edits(count: u64) -> Vec<(usize, Edit)> {
    let mut rng = SplitMix64(count.wrapping_mul(0x5DEE_CE66) + 1);
    let mut all = Vec::new();
    let mut len = |most: u64| {
        let seed = rng.next();
        (seed, (seed >> 20) % most)
    };
    let content = |(seed, len): (u64, u64)| bytes(seed, len as usize);
    match count % 5 {
        0 => {
            all.push((0, Edit::Put(content((count, 300 << 10)))));
            all.push((1, Edit::Put(content(len(200)))));
        }
        1 => {
            let (seed, _) = len(1);
            all.push((0, Edit::Patch { part: 0, bytes: bytes(seed, (280 << 10) + (seed % 8192) as usize) }));
        }
        2 => {
            for slot in 2..8 {
                all.push((slot, Edit::Put(content(len(5000)))));
            }
        }
        3 => {
            let (seed, slot) = len(6);
            all.push((2 + slot as usize, Edit::Resize((seed % 9000) as usize)));
            let (part, n) = len(64);
            all.push((0, Edit::Patch { part, bytes: content((part, n)) }));
            all.push((8 + (count / 5 % 8) as usize, Edit::Put(content((seed, 20_000 + seed % 70_000)))));
        }
        _ => {
            let (_, slot) = len(SLOTS as u64 - 2);
            all.push((2 + slot as usize, Edit::Drop));
            let (seed, _) = len(1);
            all.push((1, Edit::Resize((seed % 3000) as usize)));
        }
    }
    all
}

fn patch_at(part: u64, block: usize, patch: usize) -> (usize, usize) {
    let n = patch.min(block);
    (if block > n { part as usize % (block - n) } else { 0 }, n)
}

impl Script {
    /// The state after `count` commits.
    pub fn after(count: u64) -> Self {
        let mut script = Self::default();
        while script.count < count {
            script.next();
        }
        script
    }

    /// Goes one commit on.
    pub fn next(&mut self) {
        for (slot, edit) in edits(self.count) {
            let block = &mut self.slots[slot];
            match (edit, block.as_mut()) {
                (Edit::Put(bytes), _) => *block = Some(bytes),
                (Edit::Drop, _) => *block = None,
                (Edit::Patch { part, bytes }, Some(block)) => {
                    let (at, n) = patch_at(part, block.len(), bytes.len());
                    block[at..at + n].copy_from_slice(&bytes[..n]);
                }
                (Edit::Resize(len), Some(block)) => block.resize(len, 0),
                (_, None) => {}
            }
        }
        self.count += 1;
    }

    /// The arena holds exactly this state.
    #[track_caller]
    pub fn assert_in(&self, arena: &Arena) {
        let tx = arena.read().expect("the arena can be read");
        assert_eq!(self.difference(&tx), None);
    }

    /// How what the transaction reads differs from this state, if it does.
    pub fn difference(&self, tx: &ReadTxn<'_>) -> Option<String> {
        match self.places(tx) {
            Err(what) => Some(what),
            Ok(places) => {
                let (live, found) = (places.len() + BESIDE, tx.blocks().count());
                (found != live).then(|| format!("{found} blocks, not {live}, after {} commits", self.count))
            }
        }
    }

    /// Where the blocks of this state are in what the transaction reads, or how they differ.
    pub fn places(&self, tx: &ReadTxn<'_>) -> std::result::Result<Vec<u64>, String> {
        let table = *tx.get(tx.root::<Table>().unwrap().expect("there is a table")).unwrap();
        if table.count != self.count {
            return Err(format!("{} commits, not {}", table.count, self.count));
        }
        for (i, (&offset, expected)) in table.slots.iter().zip(&self.slots).enumerate() {
            let found = if offset.is_null() { None } else { Some(tx.bytes(offset).unwrap()) };
            if found != expected.as_deref() {
                return Err(format!("slot {i} after {} commits differs", self.count));
            }
        }
        Ok(table.slots.iter().filter(|offset| !offset.is_null()).map(|offset| offset.raw()).collect())
    }
}

/// Makes the table in an empty arena.
pub fn begin(arena: &Arena) -> Result<()> {
    let mut tx = arena.write()?;
    let table = tx.alloc(&Table::zeroed())?;
    tx.set_root(table)?;
    tx.commit()
}

/// The same, if nobody did it yet.
pub fn begin_if_empty(arena: &Arena) -> Result<()> {
    if arena.read()?.root::<Table>()?.is_some() {
        return Ok(());
    }
    let mut tx = arena.write()?;
    if tx.root::<Table>()?.is_none() {
        let table = tx.alloc(&Table::zeroed())?;
        tx.set_root(table)?;
        tx.commit()?;
    }
    Ok(())
}

/// How many commits of the script the arena has.
pub fn count(arena: &Arena) -> u64 {
    count_in(&arena.read().expect("the arena can be read")).expect("there is a table")
}

/// How many there are in what the transaction reads.
pub fn count_in(tx: &impl View) -> Result<u64> {
    let table = tx.root::<Table>()?.expect("there is a table");
    Ok(tx.get(table)?.count)
}

/// Plays the next commit of the script.
pub fn play(arena: &Arena) -> Result<u64> {
    let mut tx = arena.write()?;
    let count = edit(&mut tx)?;
    tx.commit()?;
    Ok(count)
}

/// Makes the edits of the next commit; returns which one it is.
pub fn edit(tx: &mut WriteTxn<'_>) -> Result<u64> {
    let root = tx.root::<Table>()?.expect("there is a table");
    let mut table = *tx.get(root)?;
    for (slot, edit) in edits(table.count) {
        let offset = &mut table.slots[slot];
        match edit {
            Edit::Put(bytes) => {
                if !offset.is_null() {
                    tx.free(*offset)?;
                }
                *offset = tx.alloc_bytes(&bytes)?;
            }
            _ if offset.is_null() => {}
            Edit::Drop => {
                tx.free(*offset)?;
                *offset = Offset::null();
            }
            Edit::Patch { part, bytes } => {
                let (at, n) = patch_at(part, tx.len_of(*offset)? as usize, bytes.len());
                tx.write_at(*offset, at as u64, &bytes[..n])?;
            }
            Edit::Resize(len) => *offset = tx.resize(*offset, len as u64)?,
        }
    }
    table.count += 1;
    *tx.get_mut(root)? = table;
    Ok(table.count)
}
