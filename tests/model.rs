//! Any sequence of operations leaves an arena as it leaves a plain map from offsets to bytes.
//!
//! Transactions of all operations, with nested save points, end by commit, roll back or a crash; between them the
//! arena is opened again, synced, checkpointed. A crash is a copy of the file's bytes, as the page cache holds them when a
//! process is killed, taken in the middle of a transaction or after it; it has to open with the committed state.
//! Log and `max_size` are small: records spill, the ring comes round, allocations fail for want of space.
//!
//! `PROPTEST_CASES` sets the number of cases.

mod common;

use common::{assert_clean, bytes, copy_as_killed, fast_dir, small};
use heapfile::{Arena, Durability, Error, Offset, Options, View, WriteTxn};
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One operation. Blocks, names and save points are picked by number, modulo how many there are.
#[derive(Debug, Clone)]
enum Act {
    Alloc { len: u64, seed: u64 },
    AllocZeroed { len: u64, align: u32 },
    AllocUnset { len: u64, align: u32 },
    AllocWords { count: usize, seed: u64 },
    AllocValue { seed: u64 },
    Free(usize),
    Resize { block: usize, len: u64 },
    WriteAt { block: usize, at: u64, len: u64, seed: u64 },
    BytesMut { block: usize, seed: u64 },
    WordsMut { block: usize, seed: u64 },
    ValueMut { block: usize, seed: u64 },
    Copy { from: usize, to: usize, start: u64, at: u64, len: u64 },
    Read { block: usize, at: u64, len: u64 },
    SetRoot { name: usize, block: usize },
    RenameRoot { from: usize, to: usize },
    RemoveRoot(usize),
    SavePoint,
    RollBackTo(usize),
    Release(usize),
    Crash,
    CheckAll,
}

/// How a transaction ends, and what comes then.
#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    RollBack,
    Reopen,
    GoOnInCopy,
    Sync,
    Checkpoint,
}

fn lens() -> impl Strategy<Value = u64> {
    prop_oneof![
        // A few lengths again and again, so that places are used again.
        5 => prop::sample::select(vec![24, 100, 3000, 20_000]),
        3 => 0u64..80,
        2 => 80u64..3000,
        2 => 3000u64..20_000,
        2 => 20_000u64..200_000,
        1 => prop::sample::select(vec![0, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537]),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let pick = || any::<usize>();
    let align = || 0u32..=12;
    prop_oneof![
        6 => (lens(), any::<u64>()).prop_map(|(len, seed)| Act::Alloc { len, seed }),
        2 => (lens(), align()).prop_map(|(len, align)| Act::AllocZeroed { len, align }),
        2 => (lens(), align()).prop_map(|(len, align)| Act::AllocUnset { len, align }),
        1 => (0usize..3000, any::<u64>()).prop_map(|(count, seed)| Act::AllocWords { count, seed }),
        1 => any::<u64>().prop_map(|seed| Act::AllocValue { seed }),
        5 => pick().prop_map(Act::Free),
        4 => (pick(), lens()).prop_map(|(block, len)| Act::Resize { block, len }),
        3 => (pick(), any::<u64>(), lens(), any::<u64>())
            .prop_map(|(block, at, len, seed)| Act::WriteAt { block, at, len, seed }),
        3 => (pick(), any::<u64>()).prop_map(|(block, seed)| Act::BytesMut { block, seed }),
        1 => (pick(), any::<u64>()).prop_map(|(block, seed)| Act::WordsMut { block, seed }),
        1 => (pick(), any::<u64>()).prop_map(|(block, seed)| Act::ValueMut { block, seed }),
        2 => (pick(), pick(), any::<u64>(), any::<u64>(), lens())
            .prop_map(|(from, to, start, at, len)| Act::Copy { from, to, start, at, len }),
        2 => (pick(), any::<u64>(), lens()).prop_map(|(block, at, len)| Act::Read { block, at, len }),
        1 => (pick(), pick()).prop_map(|(name, block)| Act::SetRoot { name, block }),
        1 => (pick(), pick()).prop_map(|(from, to)| Act::RenameRoot { from, to }),
        1 => pick().prop_map(Act::RemoveRoot),
        3 => Just(Act::SavePoint),
        2 => pick().prop_map(Act::RollBackTo),
        1 => pick().prop_map(Act::Release),
        1 => Just(Act::Crash),
        1 => Just(Act::CheckAll),
    ]
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        5 => Just(End::Commit),
        2 => Just(End::RollBack),
        1 => Just(End::Reopen),
        2 => Just(End::GoOnInCopy),
        1 => Just(End::Sync),
        1 => Just(End::Checkpoint),
    ]
}

type Transaction = (Vec<Act>, End);

fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    prop::collection::vec((prop::collection::vec(acts(), 1..24), ends()), 1..10)
}

/// What an arena should hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    blocks: BTreeMap<u64, Vec<u8>>,
    roots: BTreeMap<String, u64>,
}

const NAMES: [&str; 5] = ["", "a", "b", "list of things", "ä"];

impl Model {
    fn pick(&self, number: usize) -> Option<Offset<[u8]>> {
        let at = number.checked_rem(self.blocks.len())?;
        self.blocks.keys().nth(at).map(|&raw| Offset::from_raw(raw))
    }

    /// Blocks of roots themselves: a directory and a record each.
    fn hidden(&self) -> usize {
        if self.roots.is_empty() { 0 } else { self.roots.len() + 1 }
    }

    fn assert_in(&self, view: &impl View) {
        for (&raw, expected) in &self.blocks {
            let found = view.bytes(Offset::from_raw(raw)).expect("a live block can be read");
            assert!(found == &expected[..], "block {raw:#x} of {} bytes differs", expected.len());
        }
        let live = view.blocks().map(|block| block.expect("the blocks can be listed"));
        assert_eq!(live.count(), self.blocks.len() + self.hidden());
        let roots = view.roots().expect("the roots can be listed");
        let roots: BTreeMap<_, _> = roots.into_iter().map(|root| (root.name, root.offset.raw())).collect();
        assert_eq!(roots, self.roots);
    }

    fn assert_is(&self, arena: &Arena) {
        self.assert_in(&arena.read().expect("the arena can be read"));
        assert_clean(arena);
    }
}

/// An error that says that there is no room.
fn is_full(error: &Error) -> bool {
    matches!(error, Error::MaxSize { .. } | Error::NoSpace { .. })
}

/// The arena under test and its model.
struct Play<'a> {
    options: Options,
    path: PathBuf,
    committed: Model,
    dir: &'a Path,
    copies: u32,
}

impl Play<'_> {
    fn crashed(&mut self) -> PathBuf {
        self.copies += 1;
        let copy = self.dir.join(format!("copy{}", self.copies));
        copy_as_killed(&self.path, &copy);
        copy
    }

    fn open(&self) -> Arena {
        let arena = self.options.open(&self.path).expect("the arena opens");
        self.committed.assert_is(&arena);
        arena
    }

    fn run(&mut self, transactions: &[Transaction]) {
        let mut arena = self.open();
        for (acts, end) in transactions {
            let mut tx = arena.write().expect("nobody else writes");
            let model = self.transaction(&mut tx, acts);
            match end {
                End::RollBack => drop(tx),
                _ => match tx.commit() {
                    Ok(()) => self.committed = model,
                    Err(e) => assert!(is_full(&e), "{e}"),
                },
            }
            self.committed.assert_is(&arena);
            match end {
                End::Commit | End::RollBack => {}
                End::Sync => arena.sync().expect("it can be synced"),
                End::Checkpoint => {
                    arena.checkpoint().expect("a checkpoint can be made");
                    assert_eq!(arena.stats().unwrap().log_used_bytes, 0);
                }
                End::Reopen => {
                    drop(arena);
                    arena = self.open();
                }
                End::GoOnInCopy => {
                    let copy = self.crashed();
                    drop(arena);
                    std::fs::remove_file(&self.path).unwrap();
                    self.path = copy;
                    arena = self.open();
                }
            }
        }
        drop(arena);
        self.open();
    }

    /// Does the operations; returns what they should have made of the state.
    fn transaction(&mut self, tx: &mut WriteTxn<'_>, acts: &[Act]) -> Model {
        let mut model = self.committed.clone();
        let mut points = Vec::new();
        for act in acts {
            match *act {
                Act::SavePoint => points.push((tx.save_point(), model.clone())),
                Act::RollBackTo(n) if !points.is_empty() => {
                    points.truncate(n % points.len() + 1);
                    let (point, before) = points.last().expect("one is left");
                    tx.roll_back_to(point).expect("it is one of this transaction");
                    model = before.clone();
                    model.assert_in(tx);
                }
                Act::Release(n) if !points.is_empty() => {
                    points.truncate(n % points.len() + 1);
                    let (point, _) = points.pop().expect("one is left");
                    tx.release(point).expect("it is one of this transaction");
                }
                Act::RollBackTo(_) | Act::Release(_) => {}
                Act::Crash => {
                    let copy = self.crashed();
                    self.committed.assert_is(&self.options.open(&copy).expect("the copy opens"));
                    std::fs::remove_file(copy).unwrap();
                }
                Act::CheckAll => model.assert_in(tx),
                _ => {
                    let before = model.clone();
                    if let Err(e) = change(tx, &mut model, act) {
                        assert!(is_full(&e), "{act:?}: {e}");
                        model = before;
                    }
                }
            }
        }
        model.assert_in(tx);
        model
    }
}

/// Does one operation to both.
fn change(tx: &mut WriteTxn<'_>, model: &mut Model, act: &Act) -> heapfile::Result<()> {
    match *act {
        Act::Alloc { len, seed } => {
            let content = bytes(seed, len as usize);
            let block = tx.alloc_bytes(&content)?;
            add(model, block, content);
        }
        Act::AllocZeroed { len, align } => {
            let block = tx.alloc_zeroed(len, 1 << align)?;
            assert_eq!(block.raw() % (1 << align), 0);
            add(model, block, vec![0; len as usize]);
        }
        Act::AllocUnset { len, align } => {
            let block = tx.alloc_unset(len, 1 << align)?;
            assert_eq!(block.raw() % (1 << align), 0);
            let content = tx.bytes(block)?.to_vec();
            assert_eq!(content.len() as u64, len);
            // What nobody sets no commit has: a recovery may put there what an earlier one had.
            tx.write_at(block, 0, &content)?;
            add(model, block, content);
        }
        Act::AllocWords { count, seed } => {
            let words: Vec<u64> = (0..count as u64).map(|i| i ^ seed).collect();
            let block = tx.alloc_slice(&words)?;
            assert_eq!(tx.slice(block)?, words);
            add(model, block.cast(), bytemuck::cast_slice(&words).to_vec());
        }
        Act::AllocValue { seed } => {
            let value = [seed as u32; 5];
            let block = tx.alloc(&value)?;
            assert_eq!(tx.get(block)?, &value);
            add(model, block.cast(), bytemuck::bytes_of(&value).to_vec());
        }
        Act::SetRoot { name, block } => {
            let Some(block) = model.pick(block) else { return Ok(()) };
            tx.set_named_root(NAMES[name % NAMES.len()], block)?;
            model.roots.insert(NAMES[name % NAMES.len()].to_owned(), block.raw());
        }
        Act::RenameRoot { from, to } => {
            let (from, to) = (NAMES[from % NAMES.len()], NAMES[to % NAMES.len()]);
            match tx.rename_root(from, to) {
                Err(Error::NoSuchRoot { .. }) => assert!(!model.roots.contains_key(from)),
                Err(Error::RootExists { .. }) => assert!(model.roots.contains_key(to)),
                other => {
                    other?;
                    let raw = model.roots.remove(from).expect("it was found in the arena");
                    assert_eq!(model.roots.insert(to.to_owned(), raw), None);
                }
            }
        }
        Act::RemoveRoot(name) => match tx.remove_root(NAMES[name % NAMES.len()]) {
            Err(Error::NoSuchRoot { .. }) => assert!(!model.roots.contains_key(NAMES[name % NAMES.len()])),
            other => {
                other?;
                model.roots.remove(NAMES[name % NAMES.len()]).expect("it was found in the arena");
            }
        },
        _ => change_block(tx, model, act)?,
    }
    Ok(())
}

fn add(model: &mut Model, block: Offset<[u8]>, content: Vec<u8>) {
    let end = block.raw() + content.len() as u64;
    let next = model.blocks.range(block.raw()..).next();
    assert!(next.is_none_or(|(&next, _)| end <= next && block.raw() != next), "blocks overlap");
    let before = model.blocks.range(..block.raw()).next_back();
    assert!(before.is_none_or(|(&raw, b)| raw + b.len() as u64 <= block.raw()), "blocks overlap");
    model.blocks.insert(block.raw(), content);
}

/// Does one operation on a block that exists.
fn change_block(tx: &mut WriteTxn<'_>, model: &mut Model, act: &Act) -> heapfile::Result<()> {
    let (Act::Free(number)
    | Act::Resize { block: number, .. }
    | Act::WriteAt { block: number, .. }
    | Act::BytesMut { block: number, .. }
    | Act::WordsMut { block: number, .. }
    | Act::ValueMut { block: number, .. }
    | Act::Copy { from: number, .. }
    | Act::Read { block: number, .. }) = *act
    else {
        unreachable!("all others are done by `change`");
    };
    let Some(block) = model.pick(number) else { return Ok(()) };
    let content = model.blocks.get_mut(&block.raw()).expect("it was picked");
    let len = content.len() as u64;
    match *act {
        Act::Free(_) => {
            let names: Vec<_> = model.roots.iter().filter(|(_, raw)| **raw == block.raw()).collect();
            let names: Vec<String> = names.into_iter().map(|(name, _)| name.clone()).collect();
            for name in names {
                tx.remove_root(&name)?;
                model.roots.remove(&name);
            }
            tx.free(block)?;
            assert!(matches!(tx.free(block), Err(Error::BadOffset { .. })));
            model.blocks.remove(&block.raw());
        }
        Act::Resize { len, .. } => {
            let moved = tx.resize(block, len)?;
            let mut content = model.blocks.remove(&block.raw()).expect("it was picked");
            content.resize(len as usize, 0);
            add(model, moved, content);
            let names: Vec<String> = model.roots.keys().cloned().collect();
            for name in names.iter().filter(|_| moved != block) {
                if model.roots[name] == block.raw() {
                    tx.set_named_root(name, moved)?;
                    model.roots.insert(name.clone(), moved.raw());
                }
            }
        }
        Act::WriteAt { at, len: n, seed, .. } => {
            let at = at % (len + 1);
            let new = bytes(seed, n.min(len - at) as usize);
            tx.write_at(block, at, &new)?;
            content[at as usize..at as usize + new.len()].copy_from_slice(&new);
        }
        Act::BytesMut { seed, .. } => {
            let view = tx.bytes_mut(block)?;
            assert!(view == &content[..]);
            // Not all of it: what is left must stay.
            for at in (0..content.len()).step_by(seed as usize % 97 + 1) {
                view[at] ^= seed as u8;
                content[at] = view[at];
            }
        }
        Act::WordsMut { seed, .. } => match tx.slice_mut::<u64>(block.cast()) {
            Ok(words) => {
                assert_eq!(len % 8, 0);
                for (word, bytes) in words.iter_mut().zip(content.chunks_exact_mut(8)) {
                    *word = word.rotate_left(seed as u32 % 64);
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
            }
            Err(Error::SizeMismatch { .. }) => assert_ne!(len % 8, 0),
            Err(e) => return Err(e),
        },
        Act::ValueMut { seed, .. } => match tx.get_mut::<[u32; 5]>(block.cast()) {
            Ok(value) => {
                value[2] = seed as u32;
                content[8..12].copy_from_slice(&(seed as u32).to_le_bytes());
            }
            Err(Error::SizeMismatch { .. }) => assert_ne!(len, 20),
            Err(e) => return Err(e),
        },
        Act::Copy { to, start, at, len: n, .. } => {
            let start = start % (len + 1);
            let source = content.clone();
            let target = model.pick(to).expect("there is one at least");
            let room = model.blocks[&target.raw()].len() as u64;
            let at = at % (room + 1);
            let n = n.min(len - start).min(room - at);
            tx.copy(block, start..start + n, target, at)?;
            let target = model.blocks.get_mut(&target.raw()).expect("it was picked");
            target[at as usize..(at + n) as usize]
                .copy_from_slice(&source[start as usize..(start + n) as usize]);
        }
        Act::Read { at, len: n, .. } => {
            let at = at % (len + 1);
            let n = n.min(len - at);
            let found = tx.bytes_range(block, at..at + n)?;
            assert!(found == &content[at as usize..(at + n) as usize]);
            assert_eq!(tx.len_of(block)?, len);
        }
        _ => {}
    }
    Ok(())
}

fn play(durability: Durability, max_size: u64, transactions: &[Transaction]) {
    // So that little heaps, too, are copied in part, not written.
    heapfile::testing::small_stretches(true);
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let options = small(durability).max_size(max_size);
    drop(options.create(&path).expect("it can be created"));
    let mut play = Play { options, path, committed: Model::default(), dir: dir.path(), copies: 0 };
    play.run(transactions);
}

fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_power_arena_is_a_map(transactions in transactions()) {
        play(Durability::Power, 64 << 20, &transactions);
    }

    #[test]
    fn a_process_arena_is_a_map(transactions in transactions()) {
        play(Durability::Process, 64 << 20, &transactions);
    }

    #[test]
    fn a_full_arena_is_a_map(transactions in transactions(), power in any::<bool>()) {
        let durability = if power { Durability::Power } else { Durability::Process };
        play(durability, 5 << 18, &transactions);
    }
}
