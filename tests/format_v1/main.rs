//! Format version 1: files that were written once still open, and the format is as `docs/FORMAT.md` says.
//!
//! The fixtures are arenas without their pages of zeros (see [`expand`]). With `HEAPFILE_WRITE_FIXTURES` set they are written anew, which
//! is right only for a format that nobody has files of.

#[path = "../common/mod.rs"]
mod common;
mod reader;

use common::script::{self, Script};
use common::{BOTH, assert_clean, bytes, dir, killed_at, small};
use heapfile::{Arena, Durability, Offset, View};
use reader::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The fixtures: of which kind, and whether killed in the middle of a commit.
const FIXTURES: [(&str, Durability, bool); 4] = [
    ("power_closed", Durability::Power, false),
    ("power_killed", Durability::Power, true),
    ("process_closed", Durability::Process, false),
    ("process_killed", Durability::Process, true),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_v1").join(name)
}

/// A fixture as it lies in the repository: length of the file in pages, then each page that is not all zeros, with its number before it.
fn shrink(file: &[u8]) -> Vec<u8> {
    let mut small = (file.len() as u32 / 4096).to_le_bytes().to_vec();
    for (number, page) in file.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|&b| b != 0)) {
        small.extend_from_slice(&(number as u32).to_le_bytes());
        small.extend_from_slice(page);
    }
    small
}

fn expand(small: &[u8]) -> Vec<u8> {
    let (pages, rest) = small.split_first_chunk::<4>().unwrap();
    let mut file = vec![0; u32::from_le_bytes(*pages) as usize * 4096];
    for page in rest.chunks_exact(4 + 4096) {
        let (number, content) = page.split_first_chunk::<4>().unwrap();
        file[u32::from_le_bytes(*number) as usize * 4096..][..4096].copy_from_slice(content);
    }
    file
}

/// What the roots of a fixture lead to; `last` is there after the commit that kills cut off.
fn expected(killed: bool) -> BTreeMap<&'static str, Vec<u8>> {
    let mut all = BTreeMap::from([
        ("", bytemuck::cast_slice(&[2u32, 4, 6]).to_vec()),
        ("empty", Vec::new()),
        ("text", "Foobar, größer".as_bytes().to_vec()),
        ("in a slab of two pages", bytes(1, 300)),
        ("pages", bytes(2, 20_000)),
        ("aligned", vec![0; 100]),
    ]);
    if killed {
        all.insert("last", bytes(3, 70));
    }
    all
}

fn write_fixture(path: &Path, durability: Durability, killed: bool) -> Vec<u8> {
    let arena = small(durability).create(path).unwrap();
    let mut tx = arena.write().unwrap();
    let numbers = tx.alloc_slice(&[2u32, 4, 6]).unwrap();
    tx.set_root(numbers).unwrap();
    for (name, content) in expected(false) {
        if !["", "aligned"].contains(&name) {
            let block = tx.alloc_bytes(&content).unwrap();
            tx.create_root(name, block).unwrap();
        }
    }
    let aligned = tx.alloc_zeroed(100, 4096).unwrap();
    tx.create_root("aligned", aligned).unwrap();
    tx.commit().unwrap();
    // Two full slabs of a class, then holes: a block freed in each size.
    let mut freed = Vec::new();
    for len in [8, 60, 900, 9000, 40_000] {
        let mut tx = arena.write().unwrap();
        for i in 0..if len == 60 { 130 } else { 2 } {
            tx.alloc(&i).unwrap();
            // Zeros where they are long, for short fixtures.
            let content = if len < 5000 { bytes(i, len) } else { vec![0; len] };
            freed.push(tx.alloc_bytes(&content).unwrap());
        }
        tx.commit().unwrap();
    }
    for block in freed.into_iter().step_by(3) {
        arena.free(block).unwrap();
    }
    if killed {
        return killed_at("commit: half applied", path, || {
            let mut tx = arena.write().unwrap();
            let last = tx.alloc_bytes(&bytes(3, 70)).unwrap();
            tx.create_root("last", last).unwrap();
            tx.commit().unwrap();
        });
    }
    drop(arena);
    std::fs::read(path).unwrap()
}

#[test]
fn fixtures_can_be_written() {
    let dir = dir();
    let keep = std::env::var_os("HEAPFILE_WRITE_FIXTURES").is_some();
    for (name, durability, killed) in FIXTURES {
        let image = write_fixture(&dir.path().join(name), durability, killed);
        assert!(expand(&shrink(&image)) == image);
        if keep {
            std::fs::create_dir_all(fixture("")).unwrap();
            std::fs::write(fixture(name), shrink(&image)).unwrap();
        }
    }
}

#[test]
fn old_files_open() {
    let dir = dir();
    for (name, durability, killed) in FIXTURES {
        let path = dir.path().join(name);
        let mut image = expand(&std::fs::read(fixture(name)).unwrap());
        if killed && durability == Durability::Process {
            let_it_be_this_boots(&mut image);
        }
        std::fs::write(&path, image).unwrap();
        let arena = Arena::open(&path).unwrap();
        assert_eq!(arena.durability(), durability);
        assert_clean(&arena);
        let tx = arena.read().unwrap();
        let expected = expected(killed);
        assert_eq!(tx.roots().unwrap().len(), expected.len());
        let numbers = tx.root::<[u32]>().unwrap().unwrap();
        assert_eq!(tx.slice(numbers).unwrap(), [2, 4, 6]);
        for (root, content) in expected.into_iter().filter(|(name, _)| !name.is_empty()) {
            let block = tx.named_root::<[u8]>(root).unwrap().expect(root);
            assert!(tx.bytes(block).unwrap() == content, "{name}: {root:?}");
        }
        drop(tx);
        script_works(&arena);
        drop(arena);
        assert_clean(&Arena::open(&path).unwrap());
    }
}

/// Makes a fixture look as if this boot of the machine had left it, as the kill that it shows did.
fn let_it_be_this_boots(image: &mut [u8]) {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).unwrap().to_be_bytes();
    image[4 * 4096 + 320..][..16].copy_from_slice(&id);
}

fn script_works(arena: &Arena) {
    let before = arena.read().unwrap().root::<[u32]>().unwrap();
    let mut tx = arena.write().unwrap();
    tx.rename_root("", "numbers").unwrap();
    tx.commit().unwrap();
    script::begin(arena).unwrap();
    for _ in 0..8 {
        script::play(arena).unwrap();
    }
    assert_clean(arena);
    let numbers = arena.read().unwrap().named_root::<[u32]>("numbers").unwrap();
    assert_eq!(numbers, before);
}

#[test]
fn the_page_describes_old_files() {
    for (name, _, killed) in FIXTURES {
        let reader = Reader::open(expand(&std::fs::read(fixture(name)).unwrap())).unwrap();
        let roots = reader.roots();
        let expected = expected(killed);
        assert_eq!(roots.len(), expected.len(), "{name}");
        for (root, content) in expected {
            assert!(roots[root].content == content, "{name}: {root:?}");
        }
        let numbers = &roots[""];
        assert_eq!((numbers.size, numbers.align, numbers.type_name.as_str()), (4, 4, "[u32]"));
        assert_eq!(roots["aligned"].offset % 4096, 0);
        assert_eq!((roots["text"].size, roots["text"].type_name.as_str()), (1, "[u8]"));
    }
}

/// What the library finds in an arena, the other reader finds too.
fn compare(arena: &Arena, image: Vec<u8>) {
    let reader = Reader::open(image).unwrap();
    let tx = arena.read().unwrap();
    let mut blocks = reader.blocks();
    for block in tx.blocks() {
        let block = block.unwrap();
        let found = blocks.remove(&block.offset.raw()).expect("the other reader misses a block");
        assert!(tx.bytes(block.offset).unwrap() == found, "block {}", block.offset);
    }
    assert!(blocks.is_empty(), "the other reader finds {} more blocks", blocks.len());
    let mut roots = reader.roots();
    for root in tx.roots().unwrap() {
        let found = roots.remove(&root.name).expect("the other reader misses a root");
        let seen = (root.offset, root.size, root.align, root.type_name);
        assert_eq!(seen, (Offset::from_raw(found.offset), found.size, found.align, found.type_name));
    }
    assert!(roots.is_empty());
}

#[test]
fn the_page_describes_new_files() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        script::begin(&arena).unwrap();
        for count in 1..=25 {
            script::play(&arena).unwrap();
            // With a log that was not replayed into this copy, or an arena that was just checkpointed.
            compare(&arena, std::fs::read(&path).unwrap());
            if count == 12 {
                arena.checkpoint().unwrap();
            }
        }
        Script::after(25).assert_in(&arena);
    }
}

/// A commit that was cut off: the other reader completes it as the library does.
#[test]
fn the_page_describes_recovery() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        for (count, point) in [
            (0, "commit: half applied"),
            (1, "commit: half applied"),
            (2, "commit: gate shut"),
            (3, "commit: half applied"),
            (6, "commit: applied"),
        ] {
            let path = dir.path().join(format!("{i} {count}"));
            let arena = small(durability).create(&path).unwrap();
            script::begin(&arena).unwrap();
            for _ in 0..count {
                script::play(&arena).unwrap();
            }
            let image = killed_at(point, &path, || {
                script::play(&arena).unwrap();
            });
            let copy = dir.path().join("copy");
            std::fs::write(&copy, &image).unwrap();
            let recovered = Arena::open(&copy).unwrap();
            Script::after(count + 1).assert_in(&recovered);
            compare(&recovered, image);
        }
    }
}

/// The log alone gives the newest state: nothing of the heap since the last checkpoint reached the disk.
#[test]
fn the_page_describes_replay_over_an_old_heap() {
    for moved in [0, 1100] {
        replay_over_an_old_heap(moved);
    }
}

/// `moved`: pages of the run of the heap that the log lies in, or 0.
fn replay_over_an_old_heap(moved: u32) {
    let dir = dir();
    let path = dir.path().join("a");
    let arena = small(Durability::Power).log_size(4 << 20).create(&path).unwrap();
    script::begin(&arena).unwrap();
    for _ in 0..5 {
        script::play(&arena).unwrap();
    }
    heapfile::testing::move_log(&arena, moved).unwrap();
    // So that the file need not grow below.
    let spare = arena.alloc_bytes(&bytes(4, 100_000)).unwrap();
    arena.free(spare).unwrap();
    arena.checkpoint().unwrap();
    let old = std::fs::read(&path).unwrap();
    for _ in 0..2 {
        // Small ones: nothing is filled in place, the file does not grow.
        let mut tx = arena.write().unwrap();
        let block = tx.alloc_bytes(&bytes(5, 600)).unwrap();
        tx.set_named_root("since", block).unwrap();
        tx.commit().unwrap();
    }
    let mut image = std::fs::read(&path).unwrap();
    let stats = arena.stats().unwrap();
    assert_eq!(image.len(), old.len());
    let log = arena
        .runs()
        .map(|run| run.unwrap())
        .filter(|run| run.kind == heapfile::RunKind::LogRing)
        .last()
        .unwrap();
    let heap = stats.heap_offset as usize..image.len();
    let log = log.offset as usize..(log.offset + log.len_bytes) as usize;
    assert_eq!((log.len() as u64, heap.contains(&log.start)), (stats.log_bytes, moved > 0));
    for at in heap.filter(|at| !log.contains(at)) {
        image[at] = old[at];
    }
    compare(&arena, image);
}
