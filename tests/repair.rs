//! Each kind of metadata word of a small arena is damaged in turn and the arena repaired: then a check finds nothing, and every block that
//! the damage left is there with its bytes.

mod common;

use common::{BOTH, assert_clean, bytes, dir, fast_dir, killed_at, small};
use heapfile::store::{Kind, Store, Table};
use heapfile::testing::{SplitMix64, set_boot};
use heapfile::{Arena, Durability, Error, Offset, Options, RunKind, View};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

type Blocks = Vec<(Offset<[u8]>, Vec<u8>)>;

/// An arena, closed; its bytes, its blocks, its runs.
struct Sample {
    _dir: TempDir,
    path: PathBuf,
    image: Vec<u8>,
    blocks: Blocks,
    runs: Vec<heapfile::Run>,
}

fn sample(durability: Durability) -> Sample {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(durability).create(&path).unwrap();
    let mut tx = arena.write().unwrap();
    let mut blocks: Blocks = Vec::new();
    for seed in 0..60u64 {
        let len = [8, 20, 100, 1500, 17_000, 30_000][seed as usize % 6] - seed as usize % 4;
        let content = bytes(seed, len);
        blocks.push((tx.alloc_bytes(&content).unwrap(), content));
    }
    tx.create_root("first", blocks[0].0).unwrap();
    tx.create_root("long", blocks[5].0).unwrap();
    tx.commit().unwrap();
    let mut tx = arena.write().unwrap();
    let mut index = 0;
    blocks.retain(|&(block, _)| {
        index += 1;
        let keep = index < 10 || index % 3 == 0 || index % 7 == 0;
        if !keep {
            tx.free(block).unwrap();
        }
        keep
    });
    tx.commit().unwrap();
    arena.checkpoint().unwrap();
    let runs = arena.runs().map(Result::unwrap).collect();
    drop(arena);
    Sample { image: std::fs::read(&path).unwrap(), _dir: dir, path, blocks, runs }
}

impl Sample {
    fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.image[at as usize..][..8].try_into().unwrap())
    }

    /// The arena as it was, but for these words.
    fn damaged(&self, words: &[(u64, u64)]) {
        std::fs::write(&self.path, &self.image).unwrap();
        let file = File::options().write(true).open(&self.path).unwrap();
        for &(at, word) in words {
            file.write_all_at(&word.to_le_bytes(), at).unwrap();
        }
    }

    /// Repairs it. All blocks but those in `but` have to be there.
    #[track_caller]
    fn repaired(&self, what: &str, but: &std::ops::Range<u64>) -> heapfile::Repair {
        let repair = match Arena::repair(&self.path) {
            Ok(repair) => repair,
            Err(e) => panic!("{what}: {e}"),
        };
        assert!(repair.report.is_clean(), "{what}: {:#?}\n{:#?}", repair.report.findings, repair.losses);
        if let Some(backup) = &repair.backup {
            std::fs::remove_file(backup).unwrap();
        }
        let arena = Arena::open(&self.path).unwrap();
        let tx = arena.read().unwrap();
        for (block, content) in self.blocks.iter().filter(|(block, _)| !but.contains(&block.raw())) {
            match tx.bytes(*block) {
                Ok(found) => assert!(found == content, "{what}: {block} has {} bytes", found.len()),
                Err(e) => panic!("{what}: {block}: {e}; {:?}", repair.losses),
            }
        }
        if but.is_empty() {
            assert_eq!(tx.named_root::<[u8]>("first").unwrap(), Some(self.blocks[0].0), "{what}");
            assert_eq!(tx.blocks().count(), self.blocks.len() + 3, "{what}: {:?}", repair.losses);
        }
        repair
    }

    /// Each of these words flipped in some bit, zeroed, and replaced by another.
    fn each(&self, words: impl Iterator<Item = u64>, but: impl Fn(u64) -> std::ops::Range<u64>, name: &str) {
        let mut rng = SplitMix64(1);
        let mut cases = 0;
        for at in words {
            let word = self.word(at);
            for new in [word ^ 1 << (rng.next() % 64), 0, rng.next()] {
                if new == word {
                    continue;
                }
                self.damaged(&[(at, new)]);
                let what = format!("{name}, {at:#x}: {word:#x} became {new:#x}");
                self.repaired(&what, &but(at));
                cases += 1;
            }
        }
        assert!(cases > 0, "{name}");
    }

    /// Where the header has the word that leads to the roots.
    fn roots_word(&self) -> u64 {
        self.runs(|kind| kind == RunKind::HeapHeader).next().unwrap().offset + 48
    }

    /// Where the byte with the state of a block in a slab of short slots is.
    fn state_of(&self, block: u64) -> u64 {
        let around = |run: &&heapfile::Run| (run.offset..run.offset + run.len_bytes).contains(&block);
        let slab = self.runs.iter().find(around).unwrap();
        let RunKind::Slab { slot_bytes, slots, .. } = slab.kind else { panic!("{slab:?}") };
        assert!(slot_bytes <= 248);
        let align = 1 << slot_bytes.trailing_zeros().min(8);
        let start = (16 + slots.next_multiple_of(8)).next_multiple_of(align);
        slab.offset + 16 + (block - slab.offset - u64::from(start)) / u64::from(slot_bytes)
    }

    /// Where the word with that byte is, and what becomes of it if these bits of the byte are flipped.
    fn flipped(&self, byte_at: u64, bits: u64) -> (u64, u64) {
        let at = byte_at & !7;
        (at, self.word(at) ^ bits << (8 * (byte_at - at)))
    }

    fn runs(&self, is: impl Fn(RunKind) -> bool) -> impl Iterator<Item = &heapfile::Run> {
        self.runs.iter().filter(move |run| is(run.kind))
    }
}

const NONE: fn(u64) -> std::ops::Range<u64> = |_| 0..0;

#[test]
fn nothing_is_changed_where_nothing_is_wrong() {
    for sample in BOTH.map(sample) {
        let repair = sample.repaired("unhurt", &(0..0));
        assert_eq!((repair.changed_words, repair.losses.len(), repair.backup), (0, 0, None));
    }
}

#[test]
fn the_header_is_computed() {
    for sample in BOTH.map(sample) {
        let header = sample.runs(|kind| kind == RunKind::HeapHeader).next().unwrap().offset;
        // Word 6 leads to the roots, of which there is no second witness.
        let words = (0..110).filter(|&word| word != 6).map(|word| header + word * 8);
        sample.each(words, NONE, "header");
        sample.damaged(&[(header + 48, 0x1234_5678)]);
        let repair = sample.repaired("roots", &(0..u64::MAX));
        assert!(repair.losses.iter().any(|loss| loss.what.contains("all roots")), "{:?}", repair.losses);
        let arena = Arena::open(&sample.path).unwrap();
        assert!(arena.read().unwrap().roots().unwrap().is_empty());
    }
}

#[test]
fn the_free_tree_is_computed() {
    for sample in BOTH.map(sample) {
        let nodes = sample.runs(|kind| kind == RunKind::FreeTree).next().unwrap().offset;
        sample.each((0..512).step_by(3).map(|word| nodes + word * 8), NONE, "node");
    }
}

#[test]
fn heads_and_lists_of_slabs_are_computed() {
    for sample in BOTH.map(sample) {
        let slabs: Vec<u64> =
            sample.runs(|kind| matches!(kind, RunKind::Slab { .. })).map(|run| run.offset).collect();
        assert!(slabs.len() > 3);
        sample.each(slabs.iter().flat_map(|slab| [*slab, slab + 8]), NONE, "slab");
    }
}

#[test]
fn words_of_the_page_map_are_told_by_what_they_describe_or_kept_as_blocks() {
    for sample in BOTH.map(sample) {
        let map = sample.runs(|kind| kind == RunKind::PageMap).next().unwrap().offset;
        let heap = sample.runs(|kind| kind == RunKind::HeapHeader).next().unwrap().offset;
        let of = |page: u64| map + (page - heap) / 4096 * 8;
        let pages = |&heapfile::Run { offset, len_bytes, .. }: &heapfile::Run| {
            (offset..offset + len_bytes).step_by(4096)
        };
        let slabs: Vec<u64> =
            sample.runs(|kind| matches!(kind, RunKind::Slab { .. })).flat_map(pages).map(of).collect();
        // A slab's page may be said to be of another shape that fits as well; else all is there.
        for &at in &slabs {
            for new in [0, u64::MAX, 0x77] {
                sample.damaged(&[(at, new)]);
                sample.repaired(&format!("slab's page, {at:#x} became {new:#x}"), &(0..0));
            }
        }
        for run in sample.runs(|kind| matches!(kind, RunKind::Block { .. })) {
            let (at, own) = (of(run.offset), run.offset..run.offset + run.len_bytes);
            // Words of a run of the log and of an array, neither of which is there.
            let others = [6 | 3 << 32, 4 | 0xFF << 8 | 3 << 32];
            let lengths = [sample.word(at) + (3 << 32), sample.word(at) - (1 << 32)];
            for new in [0, u64::MAX, 0x77].into_iter().chain(lengths).chain(others) {
                sample.damaged(&[(at, new)]);
                let what = format!("block's page, {at:#x} became {new:#x}");
                let repair = sample.repaired(&what, &own);
                assert!(
                    repair.losses.iter().any(|loss| own.contains(&loss.offset)),
                    "{what}: {:?}",
                    repair.losses
                );
                let (block, content) =
                    sample.blocks.iter().find(|(block, _)| block.raw() == run.offset).unwrap();
                let arena = Arena::open(&sample.path).unwrap();
                let tx = arena.read().unwrap();
                let kept = tx.bytes(*block).unwrap();
                assert!(kept.iter().zip(content).all(|(a, b)| a == b), "{what}");
                assert!(kept.len() + 4096 >= content.len(), "{what}");
            }
        }
        let free = sample.runs(|kind| matches!(kind, RunKind::Free { .. })).next().unwrap().offset;
        for word in [0x77, u64::MAX, 2 << 32 | 1] {
            sample.damaged(&[(of(free), word)]);
            sample.repaired(&format!("free page, {word:#x}"), &(0..1));
        }
    }
}

#[test]
fn states_of_slots_are_mended() {
    for sample in BOTH.map(sample) {
        let slabs: Vec<_> = sample.runs(|kind| matches!(kind, RunKind::Slab { .. })).collect();
        let own = |at: u64| {
            let run =
                slabs.iter().find(|run| (run.offset..run.offset + run.len_bytes).contains(&at)).unwrap();
            run.offset..run.offset + run.len_bytes
        };
        sample.each(slabs.iter().flat_map(|run| [run.offset + 16, run.offset + 24]), own, "states");
    }
}

#[test]
fn slots_of_checkpoints_and_marks_are_written_anew() {
    let of_power = sample(Durability::Power);
    for page in [1, 2] {
        of_power.damaged(&[(page * 4096 + 16, 0x5555)]);
        let repair = of_power.repaired("slot", &(0..0));
        assert!(repair.losses[0].what.contains("a checkpoint slot"), "{:?}", repair.losses);
    }
    of_power.damaged(&[(4096, 1), (8192, 1)]);
    let refused = Arena::repair(&of_power.path).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { offset: 4096, .. }), "{refused}");
    let of_process = sample(Durability::Process);
    of_process.damaged(&[(3 * 4096 + 8, 0x5555)]);
    assert!(matches!(Arena::open(&of_process.path), Err(Error::Corrupt { .. })));
    of_process.repaired("mark", &(0..0));
}

/// What blocks hold may look like anything, and so may what lies in free pages.
#[test]
fn what_slabs_left_behind_is_no_slab() {
    for durability in BOTH {
        let dir = fast_dir();
        let path = dir.path().join("a.heap");
        let arena = small(durability).create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        let kept = tx.alloc_bytes(&[3; 100]).unwrap();
        let dropped: Vec<_> =
            (0..4000).map(|len| tx.alloc_bytes(&vec![1; 20 + len % 700]).unwrap()).collect();
        tx.commit().unwrap();
        let mut tx = arena.write().unwrap();
        dropped.into_iter().for_each(|block| tx.free(block).unwrap());
        tx.commit().unwrap();
        // Where slabs were, and only in part written to.
        let mut tx = arena.write().unwrap();
        let long: Vec<_> = (0..20).map(|_| tx.alloc_unset(40_000, 8).unwrap()).collect();
        for &block in &long {
            tx.write_at(block, 10_000, &bytes(5, 30_000)).unwrap();
        }
        // And one that holds what a slab in use looks like.
        let slab = (kept.raw() & !4095) as usize;
        tx.write_at(long[7], 0, &std::fs::read(&path).unwrap()[slab..slab + 4096]).unwrap();
        tx.commit().unwrap();
        let before = arena.stats().unwrap();
        drop(arena);
        // The count of free pages: the free tree is no longer believed.
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0x77; 4], before.heap_offset + 20).unwrap();
        let repair = Arena::repair(&path).unwrap();
        assert!(repair.report.is_clean());
        assert_eq!(repair.losses, []);
        let arena = Arena::open(&path).unwrap();
        assert_eq!(arena.stats().unwrap().slabs, before.slabs);
        let tx = arena.read().unwrap();
        assert_eq!(tx.bytes(kept).unwrap(), [3; 100]);
        for block in long {
            assert!(tx.bytes(block).unwrap()[10_000..] == bytes(5, 30_000));
        }
    }
}

/// Damage leads from the header to a block in which no root record is named.
#[test]
fn a_block_that_is_no_directory_of_roots_stays() {
    for sample in BOTH.map(sample) {
        let header = sample.runs(|kind| kind == RunKind::HeapHeader).next().unwrap().offset;
        for (block, content) in sample.blocks.iter().filter(|(_, content)| content.len() % 8 == 0) {
            sample.damaged(&[(header + 48, block.raw())]);
            let repair = sample.repaired(&format!("roots at a block of {}", content.len()), &(0..1));
            assert!(!repair.losses.is_empty());
            let arena = Arena::open(&sample.path).unwrap();
            assert!(arena.read().unwrap().roots().unwrap().is_empty());
        }
    }
}

/// Words of the roots' own: to the directory, the directory's length (so that it is free, and so that it has half a word), a record.
fn damage_of_roots(sample: &Sample) -> [(u64, u64); 4] {
    let directory = sample.word(sample.roots_word());
    let state = sample.state_of(directory);
    [
        (sample.roots_word(), 0x1234_5678),
        sample.flipped(state, 1),
        sample.flipped(state, 2),
        (sample.word(directory) + 16, 0x5555),
    ]
}

#[test]
fn all_that_a_repair_changes_of_the_heap_is_saved() {
    for sample in BOTH.map(sample) {
        let heap = sample.roots_word() - 48;
        for damage in damage_of_roots(&sample) {
            for more in [None, Some((heap + 16, 7))] {
                let damage: Vec<_> = more.into_iter().chain([damage]).collect();
                sample.damaged(&damage);
                let before = std::fs::read(&sample.path).unwrap();
                let repair = Arena::repair(&sample.path).unwrap();
                assert!(repair.report.is_clean() && !repair.losses.is_empty(), "{damage:x?}: {repair:?}");
                let after = std::fs::read(&sample.path).unwrap();
                let is_log = |at: usize| {
                    let logs = sample.runs(|kind| kind == RunKind::LogRing);
                    logs.into_iter()
                        .any(|log| (log.offset..log.offset + log.len_bytes).contains(&(at as u64)))
                };
                let changed: Vec<usize> = (heap as usize..before.len())
                    .step_by(8)
                    .filter(|&at| before[at..at + 8] != after[at..at + 8] && !is_log(at))
                    .collect();
                assert_eq!(repair.changed_words, changed.len() as u64, "{damage:x?}");
                let saved = std::fs::read(repair.backup.as_ref().unwrap()).unwrap();
                std::fs::remove_file(repair.backup.unwrap()).unwrap();
                let pages: Vec<usize> = saved
                    .chunks(4104)
                    .map(|saved| {
                        let at = u64::from_le_bytes(saved[..8].try_into().unwrap()) as usize;
                        assert!(saved[8..] == before[at..at + 4096], "{damage:x?}: {at:#x} as it was");
                        at
                    })
                    .collect();
                assert!(changed.iter().all(|at| pages.contains(&(at / 4096 * 4096))), "{damage:x?}");
            }
        }
    }
}

#[test]
fn a_directory_of_roots_that_is_lost_is_named_by_where_it_lay() {
    for sample in BOTH.map(sample) {
        let directory = sample.word(sample.roots_word());
        sample.damaged(&[sample.flipped(sample.state_of(directory), 1)]);
        let losses = Arena::repair(&sample.path).unwrap().losses;
        assert!(losses.len() == 1 && losses[0].offset == directory, "{losses:?}");
        assert!(losses[0].what.contains("all roots are gone"), "{losses:?}");
    }
}

#[test]
fn a_wrong_length_of_the_directory_costs_no_root() {
    for sample in BOTH.map(sample) {
        let directory = sample.word(sample.roots_word());
        sample.damaged(&[sample.flipped(sample.state_of(directory), 2)]);
        let repair = sample.repaired("length of the directory", &(0..0));
        assert!(repair.losses.len() == 1 && repair.losses[0].offset == directory, "{:?}", repair.losses);
        let arena = Arena::open(&sample.path).unwrap();
        assert_eq!(arena.read().unwrap().roots().unwrap().len(), 2);
    }
}

/// Not a byte is free, and a root is to be taken out of the directory.
#[test]
fn a_full_arena_is_repaired() {
    for durability in BOTH {
        let dir = fast_dir();
        let path = dir.path().join("a.heap");
        let options = small(durability).max_size(2 << 20);
        let arena = options.create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        for name in ["a", "b", "c"] {
            let block = tx.alloc_bytes(name.as_bytes()).unwrap();
            tx.create_root(name, block).unwrap();
        }
        tx.commit().unwrap();
        for len in [4096, 2000, 500, 100, 56, 24, 16, 8] {
            while arena.alloc_bytes(&bytes(1, len)).is_ok() {}
        }
        let heap = arena.stats().unwrap().heap_offset;
        drop(arena);
        let image = std::fs::read(&path).unwrap();
        let word = |at: u64| u64::from_le_bytes(image[at as usize..][..8].try_into().unwrap());
        let record = word(word(heap + 48));
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0x55; 8], record + 16).unwrap();
        file.write_all_at(&[0x55; 4], heap + 16).unwrap();
        let repair = options.repair(&path).unwrap();
        assert!(repair.report.is_clean() && repair.losses.len() == 1, "{repair:?}");
        assert_eq!(repair.losses[0].offset, record);
        let arena = options.open(&path).unwrap();
        let roots = arena.read().unwrap().roots().unwrap();
        assert_eq!(roots.iter().map(|root| root.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    }
}

/// What is salvaged has the blocks of before, and the old file is as it was.
#[test]
fn blocks_and_roots_are_salvaged_from_what_cannot_be_opened() {
    for durability in BOTH {
        let sample = sample(durability);
        let root = sample.blocks[0].0;
        let header = sample.runs(|kind| kind == RunKind::HeapHeader).next().unwrap().offset;
        let hurt =
            [(4096, 1), (8192, 1), (3 * 4096, 1), (header, 0), (header + 8, u64::MAX), (header + 24, 77)];
        for damage in [&[][..], &hurt] {
            sample.damaged(damage);
            let before = std::fs::read(&sample.path).unwrap();
            let to = sample.path.with_file_name("new.heap");
            let salvage = Arena::salvage(&sample.path, &to).unwrap();
            assert!(std::fs::read(&sample.path).unwrap() == before);
            assert_eq!(damage.is_empty(), salvage.losses.is_empty(), "{:?}", salvage.losses);
            let arena = Arena::open(&to).unwrap();
            assert_clean(&arena);
            assert_eq!(arena.durability(), durability);
            let tx = arena.read().unwrap();
            assert_eq!(salvage.report.counts.roots, 2);
            for (block, content) in &sample.blocks {
                assert!(tx.bytes(*block).unwrap() == content);
            }
            assert_eq!(tx.named_root::<[u8]>("first").unwrap(), Some(root));
            drop(tx);
            drop(arena);
            assert!(matches!(Arena::salvage(&sample.path, &to), Err(Error::AlreadyExists { .. })));
            std::fs::remove_file(&to).unwrap();
        }
    }
}

/// The file of a `Power` arena as it is when a commit counts that nothing was applied of, which changes a block (of "before", 1000 times) in this way; the
/// block, and where the heap ended before.
fn not_applied(
    dir: &Path,
    change: impl FnOnce(&mut heapfile::WriteTxn<'_>, &[Offset<[u8]>]),
) -> (Vec<u8>, Offset<[u8]>, usize) {
    let path = dir.join("a.heap");
    let arena = small(Durability::Power).create(&path).unwrap();
    let blocks: Vec<_> = (0..100).map(|_| arena.alloc_bytes(&b"before".repeat(200)).unwrap()).collect();
    arena.checkpoint().unwrap();
    let stats = arena.stats().unwrap();
    let image = killed_at("commit: record durable", &path, || {
        let mut tx = arena.write().unwrap();
        change(&mut tx, &blocks);
        tx.commit().unwrap();
    });
    drop(arena);
    std::fs::remove_file(&path).unwrap();
    (image, blocks[0], (stats.heap_offset + stats.heap_bytes) as usize)
}

/// How the block begins in the arena that is salvaged from this image, and whether a loss names the log.
fn salvaged(dir: &Path, image: &[u8], block: Offset<[u8]>) -> (String, bool) {
    let (from, to) = (dir.join("from.heap"), dir.join("to.heap"));
    std::fs::write(&from, image).unwrap();
    let salvage = Arena::salvage(&from, &to).unwrap();
    assert!(salvage.report.is_clean(), "{salvage:?}");
    let arena = Arena::open(&to).unwrap();
    let found = String::from_utf8(arena.read().unwrap().bytes(block).unwrap()[..6].to_vec()).unwrap();
    std::fs::remove_file(to).unwrap();
    (found, salvage.losses.iter().any(|loss| loss.what.contains("the log")))
}

#[test]
fn what_the_log_of_a_cut_file_has_for_the_rest_is_salvaged() {
    let dir = fast_dir();
    let (image, block, end) = not_applied(dir.path(), |tx, blocks| {
        tx.write_at(blocks[0], 0, b"after!").unwrap();
        tx.alloc_unset(1 << 20, 4096).unwrap();
    });
    assert_eq!(salvaged(dir.path(), &image, block), ("after!".to_owned(), false));
    assert_eq!(salvaged(dir.path(), &image[..end], block), ("after!".to_owned(), true));
}

/// Its body lay behind the heap, in the part that is missing.
#[test]
fn a_record_that_lost_its_body_with_the_end_of_the_file_is_told() {
    let dir = fast_dir();
    let (image, block, end) = not_applied(dir.path(), |tx, blocks| {
        blocks.iter().for_each(|&block| tx.write_at(block, 0, &b"after!".repeat(200)).unwrap());
    });
    assert_eq!(salvaged(dir.path(), &image, block), ("after!".to_owned(), false));
    assert_eq!(salvaged(dir.path(), &image[..end], block), ("before".to_owned(), true));
}

/// A machine that went down left a heap that is not sound.
#[test]
fn what_was_not_synced_is_repaired() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let arena = small(Durability::Process).create(&path).unwrap();
    let kept = arena.alloc_bytes(b"kept").unwrap();
    arena.alloc_bytes(&bytes(1, 50_000)).unwrap();
    let image = std::fs::read(&path).unwrap();
    drop(arena);
    std::fs::write(&path, image).unwrap();
    let heap = {
        set_boot(Some([9; 16]));
        assert!(matches!(Arena::open(&path), Err(Error::Unsynced { .. })));
        Options::new().accept_unsynced(true).open_read_only(&path).unwrap().stats().unwrap().heap_offset
    };
    File::options().write(true).open(&path).unwrap().write_all_at(&[7; 8], heap + 16).unwrap();
    assert!(Options::new().accept_unsynced(true).open(&path).is_err());
    let repair = Arena::repair(&path).unwrap();
    assert!(repair.report.is_clean() && repair.losses.is_empty());
    let arena = Arena::open(&path).unwrap();
    assert_eq!(arena.read().unwrap().bytes(kept).unwrap(), b"kept");
    assert_clean(&arena);
    set_boot(None);
}

#[test]
fn it_needs_the_arena_for_itself_and_a_file_that_is_one() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(Durability::Power).create(&path).unwrap();
    assert!(matches!(Arena::repair(&path), Err(Error::Busy { .. })));
    drop(arena);
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    assert!(matches!(Arena::repair(&path), Err(Error::NotAnArena { .. })));
    assert!(Arena::repair(dir.path().join("none")).is_err());
}

/// Collections consist of offsets: what is salvaged of a store is a store.
#[test]
fn a_store_is_salvaged_with_its_tables() {
    let dir = fast_dir();
    let (from, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    let store = Store::with(small(Durability::Power).create(&from).unwrap());
    let mut tx = store.write().unwrap();
    for kind in [Kind::Ordered, Kind::Hashed] {
        let table = Table::create(&mut tx, &format!("{kind:?}"), kind).unwrap();
        for key in 0..300u64 {
            table.put(&mut tx, &key.to_be_bytes(), &bytes(key, key as usize * 9)).unwrap();
        }
    }
    tx.commit().unwrap();
    let heap = store.arena().stats().unwrap().heap_offset;
    drop(store);
    // The header's words of the heap's end, of its free tree and of the page map.
    let file = File::options().write(true).open(&from).unwrap();
    file.write_all_at(&[0x77; 24], heap + 8).unwrap();
    let salvage = Arena::salvage(&from, &to).unwrap();
    assert!(!salvage.losses.is_empty() && salvage.report.is_clean());
    let store = Store::open(&to).unwrap();
    store.check().unwrap();
    for table in store.tables().unwrap() {
        assert_eq!(store.len(&table).unwrap(), 300);
        assert_eq!(store.get(&table, &299u64.to_be_bytes()).unwrap().unwrap(), bytes(299, 299 * 9));
    }
}
