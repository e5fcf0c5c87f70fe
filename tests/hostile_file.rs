//! A damaged file: any byte changed, anywhere, at any point of its life. Opening, checking, reading and writing give an
//! error or the right answer; they never panic, loop or touch memory outside of the file.
//!
//! Superblock, slots, mark and log carry checksums, and the runtime words are computed anew: a change there must not pass for
//! another state. A change in the heap may be a change of the user's own bytes, and the record of a `Process` commit under way
//! has no checksum (no kill damages it): there the harm is bounded, no more.
//!
//! Of the bytes that say something every other one is changed, in each state of the arena those that are left out in the state before; with
//! `HEAPFILE_TEST_THOROUGH` set, every one, and each bit of it.

mod common;

use common::{BOTH, fast_dir, is_thorough, killed_at, small};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, Offset, Options, View};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The state in which an arena is damaged.
#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    /// In the middle of the last commit.
    Killed,
    /// In the middle of the last commit, which does not fit the log.
    KilledSpilled,
}

/// Lengths of blocks: of several slabs, and of runs of pages.
const LENS: [usize; 14] = [0, 1, 8, 9, 24, 100, 250, 600, 3000, 5000, 16_384, 16_385, 20_000, 70_000];

/// Length of the block that a spilled commit changes, and what it makes of it.
const GROWN: usize = 300 << 10;
const FILLER: u8 = 0xAB;

/// Each block begins with its number; the rest is zero, so that most bytes of the file are metadata.
fn content(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes.iter_mut().take(1).for_each(|first| *first = number as u8 + 1);
    bytes
}

/// Makes an arena of some blocks, freed ones between them, and roots, in several commits; the last one adds the root "last".
fn build(path: &Path, durability: Durability, state: State) -> Vec<u8> {
    build_until(path, durability, state, "commit: half applied")
}

/// The same; if it is to be killed, at this failpoint.
fn build_until(path: &Path, durability: Durability, state: State, point: &'static str) -> Vec<u8> {
    let arena = small(durability).create(path).unwrap();
    let mut between = Vec::new();
    for (number, len) in LENS.into_iter().enumerate() {
        let mut tx = arena.write().unwrap();
        let block = tx.alloc_bytes(&content(number, len)).unwrap();
        between.push(tx.alloc_bytes(&content(99, len * 2 / 3)).unwrap());
        tx.create_root(&format!("root {number}"), block).unwrap();
        tx.commit().unwrap();
        if number == 9 {
            arena.checkpoint().unwrap();
        }
        if number % 2 == 1 {
            arena.free(between.remove(number / 3 % between.len())).unwrap();
        }
    }
    let spilled = matches!(state, State::KilledSpilled);
    if spilled {
        let mut tx = arena.write().unwrap();
        let block = tx.named_root::<[u8]>("root 13").unwrap().unwrap();
        let block = tx.resize(block, GROWN as u64).unwrap();
        tx.set_named_root("root 13", block).unwrap();
        tx.commit().unwrap();
    }
    let last = || {
        let mut tx = arena.write().unwrap();
        let block = tx.named_root::<[u8]>("root 13").unwrap().unwrap();
        if spilled {
            tx.bytes_mut(block).unwrap()[1..].fill(FILLER);
        }
        tx.create_root("last", block).unwrap();
        tx.commit().unwrap();
    };
    match state {
        State::Closed => {
            last();
            drop(arena);
            std::fs::read(path).unwrap()
        }
        State::Killed | State::KilledSpilled => killed_at(point, path, last),
    }
}

/// Whether everything is as before the last commit, or as after it.
fn is_right(arena: &Arena) -> heapfile::Result<bool> {
    let tx = arena.read()?;
    let roots = tx.roots()?;
    let last = roots.iter().any(|root| root.name == "last");
    let mut right = roots.len() == LENS.len() + usize::from(last);
    for (number, len) in LENS.into_iter().enumerate() {
        let block = tx.named_root::<[u8]>(&format!("root {number}"))?.unwrap_or_default();
        let found = tx.bytes(block)?;
        let mut expected = content(number, len);
        if number == 13 && found.len() == GROWN {
            expected.resize(GROWN, 0);
            expected[1..].fill(if last { FILLER } else { 0 });
        }
        right &= found == expected;
    }
    Ok(right)
}

/// Uses everything of an arena. Errors are fine; what is returned is whether the state was right where none came up.
fn use_all(path: &Path) -> heapfile::Result<bool> {
    let options = Options::new().max_size(16 << 20).lock_timeout(Duration::from_secs(20));
    if let Ok(arena) = options.open_read_only(path) {
        let _ = arena.check()?;
    }
    let arena = options.open(path)?;
    let _ = arena.check()?;
    let _ = arena.stats()?;
    let right = is_right(&arena);
    let tx = arena.read()?;
    let mut blocks = Vec::new();
    for block in tx.blocks().take(100_000) {
        let block = block?;
        let _ = tx.bytes(block.offset).map(<[u8]>::len);
        blocks.push(block.offset);
    }
    assert!(blocks.len() < 100_000, "the list of blocks does not end");
    drop(tx);
    // Each kind of change in a transaction of its own, so that one refusal hides none of the others.
    let _ = arena.alloc_bytes(&[1; 50]);
    let _ = arena.alloc_bytes(&[2; 30_000]);
    let change = |change: &dyn Fn(&mut heapfile::WriteTxn<'_>) -> heapfile::Result<()>| {
        let mut tx = arena.write()?;
        change(&mut tx)?;
        tx.commit()
    };
    for &block in blocks.iter().step_by(3) {
        let _ = change(&|tx| tx.resize(block, 777).map(drop));
        let _ = change(&|tx| tx.free(block));
    }
    let _ = change(&|tx| tx.write_at(Offset::from_raw(blocks.first().map_or(0, |b| b.raw())), 0, &[3]));
    let _ = change(&|tx| tx.remove_root("root 3"));
    let _ = change(&|tx| {
        let block = tx.alloc_zeroed(200_000, 4096)?;
        tx.set_root(block)
    });
    let _ = arena.sync();
    let _ = arena.checkpoint();
    let _ = arena.check()?;
    drop(arena);
    let _ = options.open(path)?.check()?;
    right
}

/// Stops the whole test when one byte takes too long.
struct Watch(std::sync::mpsc::Sender<(usize, u8)>);

impl Watch {
    fn start(what: String) -> Self {
        let (sender, at) = std::sync::mpsc::channel::<(usize, u8)>();
        std::thread::spawn(move || {
            let mut last = (0, 0);
            loop {
                match at.recv_timeout(Duration::from_secs(120)) {
                    Ok(next) => last = next,
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                        eprintln!("{what}: byte {:#x} xor {:#x} does not end", last.0, last.1);
                        std::process::abort();
                    }
                }
            }
        });
        Self(sender)
    }
}

/// Changes one byte after the other.
fn damage(durability: Durability, state: State) {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let image = build(&path, durability, state);
    std::fs::write(&path, &image).unwrap();
    assert!(use_all(&path).unwrap(), "the image is not right to begin with");
    // Fields of the superblock: the first pages of heap and intent area.
    let unchecked_from = match durability {
        Durability::Power => 64,
        _ => 48,
    };
    let page = image[unchecked_from..][..4].try_into().unwrap();
    let unchecked_from = u32::from_le_bytes(page) as usize * 4096;
    let mut rng = SplitMix64(image.len() as u64);
    let watch = Watch::start(format!("{durability:?} {state:?}"));
    // Every byte that says something, and some of the others.
    let thorough = is_thorough();
    let (every, zeros) = (if thorough { 1 } else { 2 }, 991);
    let places: Vec<usize> = (0..image.len())
        .filter(|&at| {
            ![0, FILLER].contains(&image[at]) || at < 4096 * 5 && at % 4096 < 512 || at % zeros == 0
        })
        .collect();
    for at in places.into_iter().skip(state as usize % every).step_by(every) {
        let bit = 1u8 << rng.below(8);
        let runtime = (4 * 4096..4 * 4096 + 512).contains(&at);
        let masks: &[u8] = match rng.below(2) {
            _ if runtime || thorough => &[0xFF, 1, 2, 4, 8, 16, 32, 64, 128],
            0 => &[0xFF],
            _ => &[bit],
        };
        for &mask in masks {
            watch.0.send((at, mask)).unwrap();
            std::fs::write(&path, &image).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[image[at] ^ mask], at as u64).unwrap();
            drop(file);
            match use_all(&path) {
                Ok(right) => assert!(
                    right || at >= unchecked_from,
                    "{durability:?} {state:?}: byte {at:#x} xor {mask:#x} passes for another state"
                ),
                Err(Error::Io { op, source, .. }) => panic!("byte {at:#x} xor {mask:#x}: {op}: {source}"),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn closed_power() {
    damage(Durability::Power, State::Closed);
}

#[test]
fn killed_power() {
    damage(Durability::Power, State::Killed);
}

#[test]
fn killed_spilled_power() {
    damage(Durability::Power, State::KilledSpilled);
}

#[test]
fn closed_process() {
    damage(Durability::Process, State::Closed);
}

#[test]
fn killed_process() {
    damage(Durability::Process, State::Killed);
}

#[test]
fn killed_spilled_process() {
    damage(Durability::Process, State::KilledSpilled);
}

/// The runtime words of a `Power` arena are never the truth: whatever one of them says, the killed commit is completed or dropped.
/// In a `Process` arena they are what makes a commit valid, so there a lie may be believed, but does no other harm.
#[test]
fn a_runtime_word_that_lies() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    for point in ["commit: in doubt set", "commit: record durable", "commit: half applied", "commit: applied"]
    {
        let _ = std::fs::remove_file(&path);
        let image = build_until(&path, Durability::Power, State::Killed, point);
        for word in (4 * 4096..4 * 4096 + 1024).step_by(8) {
            let old = u64::from_le_bytes(image[word..word + 8].try_into().unwrap());
            for lie in [0, 1, old.wrapping_add(1), old.wrapping_sub(1), old << 8, u64::MAX] {
                let mut bytes = image.clone();
                bytes[word..word + 8].copy_from_slice(&lie.to_le_bytes());
                std::fs::write(&path, &bytes).unwrap();
                let arena = Arena::open(&path).unwrap();
                let right = is_right(&arena);
                assert!(matches!(right, Ok(true)), "{point}, {word:#x} is {lie:#x}: {right:?}");
                common::assert_clean(&arena);
            }
        }
    }
    let _ = std::fs::remove_file(&path);
    let image = build(&path, Durability::Process, State::Killed);
    for word in (4 * 4096..4 * 4096 + 1024).step_by(8) {
        for lie in [0, 1, 0xFF, u64::MAX] {
            let mut bytes = image.clone();
            bytes[word..word + 8].copy_from_slice(&lie.to_le_bytes());
            std::fs::write(&path, &bytes).unwrap();
            let _ = use_all(&path);
        }
    }
}

#[test]
fn random_files_behind_a_sound_superblock() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let mut rng = SplitMix64(5);
    for durability in BOTH {
        let _ = std::fs::remove_file(&path);
        let image = build(&path, durability, State::Closed);
        for round in 0..60 {
            let mut bytes = image.clone();
            // Some pages get another's content, garbage, or all ones.
            for _ in 0..1 + round % 7 {
                let (to, from) =
                    (1 + rng.below(bytes.len() as u64 / 4096 - 1), rng.below(bytes.len() as u64 / 4096));
                let page = match rng.below(3) {
                    0 => image[from as usize * 4096..][..4096].to_vec(),
                    1 => common::bytes(rng.next(), 4096),
                    _ => vec![0xFF; 4096],
                };
                bytes[to as usize * 4096..][..4096].copy_from_slice(&page);
            }
            std::fs::write(&path, &bytes).unwrap();
            let _ = use_all(&path);
        }
    }
}
