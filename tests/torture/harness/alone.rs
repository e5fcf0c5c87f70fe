//! Blocks beside the script, each allocated, replaced or freed by a call that is a transaction of its own.
//!
//! Such a block says itself what it holds: its name and its length, and bytes that follow from the name. So every reader can tell a whole one from a torn one, and
//! the oracle, which hears of names and offsets, can tell which have to be there. Blocks of processes that are dead go to those that are
//! started later, so that blocks are freed by others than have allocated them.

use crate::common::{bytes, tell};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Error, Offset, ReadTxn, Result, View};
use std::fmt;
use std::str::FromStr;

/// Blocks that a process keeps at most.
const MOST: usize = 12;

/// Name and length.
const HEAD: usize = 16;

/// A block that somebody allocated alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Single {
    pub(super) offset: u64,
    pub(super) name: u64,
    pub(super) len: u64,
}

impl Single {
    pub(super) fn block(self) -> Offset<[u8]> {
        Offset::from_raw(self.offset)
    }

    /// The block at `offset` that holds these bytes, if they are what such a block holds.
    pub(super) fn of(offset: u64, found: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(found.get(at..at + 8)?.try_into().ok()?));
        let (name, len) = (word(0)?, word(8)?);
        (found.len() as u64 == len && found == content(name, len)).then_some(Self { offset, name, len })
    }
}

impl fmt::Display for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.offset, self.name, self.len)
    }
}

impl FromStr for Single {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: Vec<u64> = text.split(' ').filter_map(|n| n.parse().ok()).collect();
        match numbers[..] {
            [offset, name, len] => Ok(Self { offset, name, len }),
            _ => Err(format!("no block: {text:?}")),
        }
    }
}

/// What the block of this name and length holds.
fn content(name: u64, len: u64) -> Vec<u8> {
    let mut content = Vec::with_capacity(len as usize);
    content.extend_from_slice(&name.to_le_bytes());
    content.extend_from_slice(&len.to_le_bytes());
    content.extend_from_slice(&bytes(name, len as usize - HEAD));
    content
}

/// All of them that the transaction sees. The script's own are its `slots`, and so many `more` blocks.
pub(super) fn all(
    tx: &ReadTxn<'_>,
    slots: &[u64],
    more: usize,
) -> Result<std::result::Result<Vec<Single>, String>> {
    let (mut singles, mut unknown) = (Vec::new(), Vec::new());
    for block in tx.blocks() {
        let block = block?.offset;
        if slots.contains(&block.raw()) {
            continue;
        }
        match Single::of(block.raw(), tx.bytes(block)?) {
            Some(single) => singles.push(single),
            None => unknown.push(block.raw()),
        }
    }
    Ok(match unknown.len() == more {
        true => Ok(singles),
        false => Err(format!("{} blocks are neither the script's nor whole: {unknown:?}", unknown.len())),
    })
}

/// What a process, or one thread of it, does alone.
#[derive(Debug)]
pub(super) struct Alone {
    rng: SplitMix64,
    /// Blocks that nobody else frees.
    live: Vec<Single>,
}

impl Alone {
    pub(super) fn new(seed: u64, live: Vec<Single>) -> Self {
        Self { rng: SplitMix64(seed), live }
    }

    /// The blocks that it owns.
    pub(super) fn live(&self) -> &[Single] {
        &self.live
    }

    /// Owns what the other one did.
    pub(super) fn take_over(&mut self, other: Self) {
        self.live.extend(other.live);
    }

    /// Its blocks are there, and hold what they should.
    pub(super) fn difference(&self, tx: &ReadTxn<'_>) -> Option<String> {
        let wrong = |single: &&Single| !matches!(tx.bytes(single.block()), Ok(found) if Single::of(single.offset, found) == Some(**single));
        self.live.iter().find(wrong).map(|single| format!("a block of one's own differs: {single}"))
    }

    /// Makes a few calls. `settle` says of an error whether it changed nothing and is none.
    pub(super) fn work(
        &mut self,
        arena: &Arena,
        id: &str,
        settle: impl Fn(Error) -> std::result::Result<(), String>,
    ) -> std::result::Result<(), String> {
        for _ in 0..1 + self.rng.below(24) {
            let outcome = match self.rng.below(8) {
                0..=3 if self.live.len() < MOST => self.alloc(arena, id),
                4 | 5 if !self.live.is_empty() => self.replace(arena, id),
                _ if !self.live.is_empty() => self.free(arena, id),
                _ => continue,
            };
            if let Err(error) = outcome {
                settle(error)?;
                tell(&format!("kept {id}"));
            }
        }
        Ok(())
    }

    fn draw_len(&mut self) -> u64 {
        let most = [48, 48, 48, 300, 300, 300, 5_000, 5_000, 90_000][self.rng.below(9) as usize];
        HEAD as u64 + self.rng.below(most)
    }

    fn alloc(&mut self, arena: &Arena, id: &str) -> Result<()> {
        let (name, len, way) = (self.rng.next(), self.draw_len(), self.rng.below(3));
        let len = if way == 0 { 32 } else { len };
        let bytes = content(name, len);
        tell(&format!("alloc {id} 0 {name} {len}"));
        let offset = match way {
            0 => arena.alloc(&<[u8; 32]>::try_from(&bytes[..]).expect("it is so long"))?.raw(),
            1 => arena.alloc_bytes(&bytes)?.raw(),
            _ => arena.alloc_with(len, 1 << self.rng.below(5), |_, to| to.copy_from_slice(&bytes))?.raw(),
        };
        self.done(id, Some(Single { offset, name, len }));
        Ok(())
    }

    fn free(&mut self, arena: &Arena, id: &str) -> Result<()> {
        let at = self.rng.below(self.live.len() as u64) as usize;
        let old = self.live[at];
        tell(&format!("free {id} {old}"));
        arena.free(old.block())?;
        self.live.swap_remove(at);
        self.done(id, None);
        Ok(())
    }

    /// Another length and another content in one transaction, in place or not.
    fn replace(&mut self, arena: &Arena, id: &str) -> Result<()> {
        let at = self.rng.below(self.live.len() as u64) as usize;
        let (old, name, len) = (self.live[at], self.rng.next(), self.draw_len());
        tell(&format!("free {id} {old}"));
        tell(&format!("alloc {id} 0 {name} {len}"));
        let mut tx = arena.write()?;
        let block = tx.resize(old.block(), len)?;
        tx.write_at(block, 0, &content(name, len))?;
        tx.commit()?;
        self.live.swap_remove(at);
        self.done(id, Some(Single { offset: block.raw(), name, len }));
        Ok(())
    }

    fn done(&mut self, id: &str, new: Option<Single>) {
        let new_one = new.map(|new| format!(" {new}")).unwrap_or_default();
        tell(&format!("done {id}{new_one}"));
        self.live.extend(new);
    }
}
