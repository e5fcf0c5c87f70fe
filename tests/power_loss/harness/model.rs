//! The model: what an arena should hold, and random transactions that change both.

use heapfile::testing::SplitMix64;
use heapfile::{Arena, Offset, Result, SavePoint, View, WriteTxn};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One committed state: every block of the user with its bytes, and every root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) blocks: BTreeMap<u64, Arc<Vec<u8>>>,
    pub(crate) roots: BTreeMap<String, u64>,
}

impl State {
    /// Compares the arena with this state, byte by byte and in both directions; says how they differ.
    pub(crate) fn difference(&self, arena: &Arena) -> Result<Option<String>> {
        let tx = arena.read()?;
        let roots: BTreeMap<_, _> = tx.roots()?.into_iter().map(|r| (r.name, r.offset.raw())).collect();
        if roots != self.roots {
            return Ok(Some(format!("the roots are {roots:x?}, not {:x?}", self.roots)));
        }
        let (mut found, mut others) = (0, 0);
        for block in tx.blocks() {
            let block = block?;
            let Some(content) = self.blocks.get(&block.offset.raw()) else {
                others += 1;
                continue;
            };
            found += 1;
            let bytes = tx.bytes(block.offset)?;
            if bytes != content.as_slice() {
                let at = bytes.iter().zip(content.iter()).position(|(a, b)| a != b);
                return Ok(Some(format!(
                    "block {} has {} bytes, {} are right; first difference at {at:?}",
                    block.offset,
                    bytes.len(),
                    content.len()
                )));
            }
        }
        // The directory of the roots and a record for each are blocks too.
        let expected = if self.roots.is_empty() { 0 } else { self.roots.len() + 1 };
        if found != self.blocks.len() || others != expected {
            return Ok(Some(format!(
                "{found} of {} blocks are there, and {others} others instead of {expected}",
                self.blocks.len()
            )));
        }
        Ok(None)
    }

    /// Bytes of all blocks together.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.values().map(|content| content.len()).sum()
    }
}

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A few small blocks allocated, freed, changed, resized; roots.
    Small,
    /// One small block of always the same size is replaced: all records have the same length.
    Even,
    /// Parts of long blocks overwritten, few enough to be logged in the ring.
    Patch,
    /// Blocks of a few pages, below the limit for filling in place.
    Pages,
    /// At least 64 KiB of new blocks, filled in place.
    InPlace,
    /// So much of existing blocks overwritten that the record does not fit the ring.
    Spill,
    /// Most blocks of more than a page freed.
    FreeLarge,
    /// Changes, some of them rolled back to nested save points.
    SavePoints,
}

/// Length of the block of [`Kind::Even`].
const EVEN_BYTES: usize = 1_400;

/// Bytes that the live blocks may have together before more is freed than allocated.
const MOST_BYTES: usize = 500 << 10;

/// A write transaction and the model of what it will have committed.
pub(crate) struct Pending<'a> {
    pub(crate) tx: WriteTxn<'a>,
    pub(crate) next: State,
}

impl Pending<'_> {
    /// Commits; the state that is now committed.
    pub(crate) fn commit(self) -> Result<State> {
        self.tx.commit()?;
        Ok(self.next)
    }
}

/// Begins a random transaction of this kind on an arena that holds `state`.
pub(crate) fn transact<'a>(
    arena: &'a Arena,
    state: &State,
    kind: Kind,
    rng: &mut SplitMix64,
) -> Result<Pending<'a>> {
    let mut tx = arena.write()?;
    let next = change(&mut tx, state, kind, rng)?;
    Ok(Pending { tx, next })
}

/// Makes a random change of this kind in a transaction that sees `state`; what it sees then.
pub(crate) fn change(
    tx: &mut WriteTxn<'_>,
    state: &State,
    kind: Kind,
    rng: &mut SplitMix64,
) -> Result<State> {
    let mut edits = Edits { tx, next: state.clone() };
    let kind = if edits.next.bytes() > MOST_BYTES { Kind::FreeLarge } else { kind };
    match kind {
        Kind::Small => {
            for _ in 0..=rng.below(3) {
                edits.small(rng)?;
            }
        }
        Kind::Even => edits.even(rng)?,
        Kind::Patch => {
            for _ in 0..=rng.below(3) {
                if let Some(at) = edits.pick(rng, |len| len > 16 << 10) {
                    edits.write(rng, at, 3_000)?;
                }
            }
        }
        Kind::Pages => {
            for _ in 0..=rng.below(3) {
                let len = 4_096 + rng_len(rng, 12_000);
                edits.alloc(rng, len)?;
            }
            edits.write_some(rng, 64)?;
        }
        Kind::InPlace => {
            let mut left = 66_000 + rng_len(rng, 40_000);
            let piece = [left, 20_000, 40_000][rng.below(3) as usize];
            while left > 0 {
                let len = left.min(piece);
                edits.alloc(rng, len)?;
                left -= len;
            }
            edits.write_some(rng, 5_000)?;
            if rng.below(3) == 0 {
                edits.free_some(rng, |_| true)?;
            }
        }
        Kind::Spill => {
            let mut left = 17_000i64 + rng.below(30_000) as i64;
            while left > 0 {
                match edits.pick(rng, |len| len > 4_096) {
                    Some(at) => left -= edits.write(rng, at, 40_000)? as i64,
                    None => {
                        edits.alloc(rng, 30_000)?;
                        break;
                    }
                }
            }
        }
        Kind::FreeLarge => {
            for _ in 0..20 {
                edits.free_some(rng, |len| len > 4_096)?;
            }
        }
        Kind::SavePoints => edits.save_points(rng)?,
    }
    Ok(edits.next)
}

fn rng_len(rng: &mut SplitMix64, below: u64) -> usize {
    rng.below(below) as usize
}

/// A transaction under way and the model of what it has done.
struct Edits<'t, 'a> {
    tx: &'t mut WriteTxn<'a>,
    next: State,
}

impl Edits<'_, '_> {
    fn small(&mut self, rng: &mut SplitMix64) -> Result<()> {
        match rng.below(8) {
            0..=2 => {
                let most = [8, 40, 300, 3_000][rng_len(rng, 4)];
                let len = rng_len(rng, most);
                self.alloc(rng, len).map(drop)
            }
            3 => self.free_some(rng, |len| len < 4_096),
            4 | 5 => self.write_some(rng, 40),
            6 => self.resize_some(rng),
            _ => self.change_roots(rng),
        }
    }

    fn even(&mut self, rng: &mut SplitMix64) -> Result<()> {
        match self.pick(rng, |len| len == EVEN_BYTES) {
            Some(at) => self.write_exactly(rng, at, 0, EVEN_BYTES),
            None => self.alloc(rng, EVEN_BYTES).map(drop),
        }
    }

    fn save_points(&mut self, rng: &mut SplitMix64) -> Result<()> {
        let mut open: Vec<(SavePoint, State)> = Vec::new();
        for _ in 0..4 + rng.below(4) {
            match rng.below(5) {
                0 | 1 => open.push((self.tx.save_point(), self.next.clone())),
                2 if !open.is_empty() => {
                    let at = rng_len(rng, open.len() as u64);
                    open.truncate(at + 1);
                    let (point, then) = &open[at];
                    self.tx.roll_back_to(point)?;
                    self.next = then.clone();
                }
                3 => {
                    let len = 1_000 + rng_len(rng, 70_000);
                    self.alloc(rng, len).map(drop)?;
                }
                _ => self.small(rng)?,
            }
        }
        Ok(())
    }

    fn pick(&self, rng: &mut SplitMix64, fits: impl Fn(usize) -> bool) -> Option<u64> {
        let all: Vec<u64> =
            self.next.blocks.iter().filter(|(_, c)| fits(c.len())).map(|(&at, _)| at).collect();
        (!all.is_empty()).then(|| all[rng_len(rng, all.len() as u64)])
    }

    fn alloc(&mut self, rng: &mut SplitMix64, len: usize) -> Result<u64> {
        let content = noise(rng, len);
        let offset = self.tx.alloc_bytes(&content)?.raw();
        self.next.blocks.insert(offset, Arc::new(content));
        Ok(offset)
    }

    fn free_some(&mut self, rng: &mut SplitMix64, fits: impl Fn(usize) -> bool) -> Result<()> {
        let Some(at) = self.pick(rng, fits) else { return Ok(()) };
        let names: Vec<String> =
            self.next.roots.iter().filter(|(_, to)| **to == at).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.tx.remove_root(&name)?;
            self.next.roots.remove(&name);
        }
        self.tx.free(offset(at))?;
        self.next.blocks.remove(&at);
        Ok(())
    }

    fn write_some(&mut self, rng: &mut SplitMix64, most: usize) -> Result<()> {
        match self.pick(rng, |len| len > 0) {
            Some(at) => self.write(rng, at, most).map(drop),
            None => Ok(()),
        }
    }

    /// Overwrites a random part of the block; returns its length.
    fn write(&mut self, rng: &mut SplitMix64, at: u64, most: usize) -> Result<usize> {
        let len = self.next.blocks[&at].len();
        let start = if most >= len { 0 } else { rng_len(rng, (len - most) as u64 + 1) };
        let n = if most >= 1_000 { most.min(len) } else { 1 + rng_len(rng, most.min(len - start) as u64) };
        self.write_exactly(rng, at, start, n.min(len - start))?;
        Ok(n)
    }

    fn write_exactly(&mut self, rng: &mut SplitMix64, at: u64, start: usize, n: usize) -> Result<()> {
        let bytes = noise(rng, n);
        self.tx.write_at(offset(at), start as u64, &bytes)?;
        let content = self.next.blocks.get_mut(&at).map(Arc::make_mut);
        content.expect("the block is in the model")[start..start + n].copy_from_slice(&bytes);
        Ok(())
    }

    fn resize_some(&mut self, rng: &mut SplitMix64) -> Result<()> {
        // A block that moves would take its roots' targets with it.
        let Some(at) = self.pick(rng, |_| true).filter(|at| !self.next.roots.values().any(|to| to == at))
        else {
            return Ok(());
        };
        let most = [100, 5_000, 30_000][rng_len(rng, 3)];
        let len = rng_len(rng, most);
        let moved = self.tx.resize(offset(at), len as u64)?.raw();
        let mut content = self.next.blocks.remove(&at).expect("the block is in the model");
        Arc::make_mut(&mut content).resize(len, 0);
        self.next.blocks.insert(moved, content);
        Ok(())
    }

    fn change_roots(&mut self, rng: &mut SplitMix64) -> Result<()> {
        let name = ["", "a", "b", "a longer name of a root"][rng.below(4) as usize];
        match rng.below(4) {
            0 if self.next.roots.contains_key(name) => {
                self.tx.remove_root(name)?;
                self.next.roots.remove(name);
            }
            1 if self.next.roots.contains_key(name) && !self.next.roots.contains_key("renamed") => {
                self.tx.rename_root(name, "renamed")?;
                let to = self.next.roots.remove(name).expect("it was looked up");
                self.next.roots.insert("renamed".to_owned(), to);
            }
            _ => {
                if let Some(at) = self.pick(rng, |_| true) {
                    self.tx.set_named_root(name, offset(at))?;
                    self.next.roots.insert(name.to_owned(), at);
                }
            }
        }
        Ok(())
    }
}

fn offset(raw: u64) -> Offset<[u8]> {
    Offset::from_raw(raw)
}

/// Bytes without a pattern, none of them zero: neither zeros nor older content can pass for them.
fn noise(rng: &mut SplitMix64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&(rng.next() | 0x0101_0101_0101_0101).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
