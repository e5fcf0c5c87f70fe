//! A log that has moved, in files that were damaged or made up, under failing calls and deaths: whatever opens has all that was committed, or
//! says that it is damaged; nothing panics, loops or waits for ever.

mod common;
mod sharing;

use common::{assert_clean, fast_dir};
use heapfile::testing::{self, Call, Plan, SimDisk, at_failpoint};
use heapfile::{Arena, Error, Locking, Offset, Options, Result, RunKind, SnapshotOptions, View};
use std::cell::Cell;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

const LOG: u64 = 64 << 10;
const PAGE: u64 = 4096;
/// Numbers that a block holds.
const NUMBERS: u64 = 4000;

fn options() -> Options {
    Options::new().log_size(LOG).max_size(256 << 20).lock_timeout(Duration::from_secs(10))
}

/// Counts commits, and has the number of each in one of some blocks.
struct Ledger {
    count: Offset<u64>,
    blocks: Vec<Offset<[u8]>>,
}

impl Ledger {
    fn create(arena: &Arena, blocks: usize) -> Self {
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

    fn find(arena: &Arena) -> Result<Self> {
        let tx = arena.read()?;
        let missing = || Error::Unsynced { path: "a root is missing".into() };
        let count = tx.named_root::<u64>("count")?.ok_or_else(missing)?;
        let table = tx.named_root::<[u64]>("blocks")?.ok_or_else(missing)?;
        let blocks = tx.slice(table)?.iter().map(|&raw| Offset::from_raw(raw)).collect();
        Ok(Self { count, blocks })
    }

    fn place(&self, number: u64) -> (Offset<[u8]>, u64) {
        (self.blocks[number as usize % self.blocks.len()], number % NUMBERS * 8)
    }

    /// Commits the next number, in a record of a KiB.
    fn commit(&self, arena: &Arena) -> Result<u64> {
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
    fn count(&self, arena: &Arena) -> Result<u64> {
        let tx = arena.read()?;
        let count = *tx.get(self.count)?;
        for number in count.saturating_sub(NUMBERS - 1).max(1)..=count {
            let (block, at) = self.place(number);
            assert_eq!(tx.bytes(block)?[at as usize..][..8], number.to_le_bytes(), "{number} of {count}");
        }
        Ok(count)
    }
}

fn log_len(arena: &Arena) -> u64 {
    arena.stats().unwrap().log_bytes
}

/// Makes an arena whose log has moved.
fn make(path: &Path, options: &Options) -> (Arena, Ledger) {
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
fn images(dir: &Path) -> ([Vec<u8>; 2], u64) {
    let path = dir.join("made");
    let (arena, ledger) = make(&path, &options());
    let count = ledger.count(&arena).unwrap();
    let killed = std::fs::read(&path).unwrap();
    drop(arena);
    ([std::fs::read(&path).unwrap(), killed], count)
}

fn u32_at(image: &[u8], at: u64) -> u64 {
    u32::from_le_bytes(image[at as usize..][..4].try_into().unwrap()).into()
}

fn u64_at(image: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(image[at as usize..][..8].try_into().unwrap())
}

fn put(image: &mut [u8], at: u64, word: u64) {
    image[at as usize..][..8].copy_from_slice(&word.to_le_bytes());
}

/// First page of the heap.
fn heap_page(image: &[u8]) -> u64 {
    u32_at(image, 64)
}

fn heap_end(image: &[u8]) -> u64 {
    u32_at(image, heap_page(image) * PAGE + 8)
}

/// Where the page map has the word of a page that its first array describes.
fn map_word(image: &[u8], page: u64) -> u64 {
    let index = page - heap_page(image);
    assert!(index < 512);
    (heap_page(image) + 1) * PAGE + index * 8
}

/// Where the header names the runs of the log.
fn header_words(image: &[u8]) -> [u64; 2] {
    [7, 104].map(|word| heap_page(image) * PAGE + word * 8)
}

/// Page of the slot of the larger generation.
fn newest_slot(image: &[u8]) -> u64 {
    if u64_at(image, PAGE + 8) > u64_at(image, 2 * PAGE + 8) { 1 } else { 2 }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

/// Has a slot name another place, with the right checksum.
fn put_place(image: &mut [u8], slot: u64, place: u64) {
    let at = (slot * PAGE) as usize;
    put(image, slot * PAGE + 36, place);
    let crc = crc32(&image[at..at + 60]);
    image[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
}

const fn place(page: u64, pages: u64) -> u64 {
    page | pages << 32
}

/// Places in which no log is, or can be.
fn odd_places(image: &[u8]) -> Vec<u64> {
    let (first, end) = (heap_page(image), heap_end(image));
    let page = u64::from(u32::MAX);
    vec![
        place(0, 16),
        place(1, 0),
        place(4, 32),
        place(first, 32),
        place(first + 1, 32),
        place(first + 3, 32),
        place(first + 40, 64),
        place(first + 40, 15),
        place(end - 16, 16),
        place(end - 1, 64),
        place(end + 100, 64),
        place(1 << 30, 1 << 18),
        place(first + 40, (1 << 18) + 1),
        place(page - 15, 16),
        place(page, 16),
        place(page, page),
    ]
}

/// Uses all of an arena that may be damaged. Where it can be opened and read all commits are there, and those that it takes stay; repair leaves a sound one, or says that it cannot.
fn use_all(path: &Path, count: u64, what: &str) {
    let mut count = count;
    for _ in 0..2 {
        if let Ok(arena) = options().open_read_only(path) {
            let _ = (arena.check(), arena.stats(), arena.runs().take(10_000).count());
        }
        let Ok(arena) = options().open(path) else { break };
        let _ = (arena.check(), arena.stats(), arena.runs().take(10_000).count());
        let Ok(ledger) = Ledger::find(&arena) else { panic!("{what}: roots are lost") };
        assert_eq!(ledger.count(&arena).unwrap(), count, "{what}");
        for _ in 0..200 {
            match ledger.commit(&arena) {
                Ok(number) => count = number,
                Err(Error::Corrupt { .. } | Error::Truncated { .. }) => break,
                Err(e) => panic!("{what}: {e}"),
            }
        }
        assert_eq!(ledger.count(&arena).unwrap(), count, "{what}");
        let copy = path.with_extension("copy");
        if arena.snapshot(&copy, &SnapshotOptions::new().overwrite(true)).is_ok() {
            let copy = Arena::open(&copy).unwrap();
            assert_eq!(ledger.count(&copy).unwrap(), count, "{what}");
        }
        let _ = arena.shrink();
        assert_eq!(ledger.count(&arena).unwrap(), count, "{what}");
    }
    let repair = match options().repair(path) {
        Ok(repair) => repair,
        Err(Error::Corrupt { .. } | Error::Truncated { .. }) => return,
        Err(e) => panic!("{what}: {e}"),
    };
    assert!(repair.report.is_clean(), "{what}: {:#?}", repair.report.findings);
    let arena = options().open(path).unwrap();
    let ledger = Ledger::find(&arena).unwrap();
    assert_eq!(ledger.count(&arena).unwrap(), count, "{what}");
    for _ in 0..100 {
        ledger.commit(&arena).unwrap();
    }
    assert_clean(&arena);
}

#[test]
fn a_slot_that_names_an_odd_place() {
    let dir = fast_dir();
    let (images, count) = images(dir.path());
    let path = dir.path().join("a");
    // What the log of a killed one had is known to the heap too, as the page cache has it.
    for image in &images {
        for odd in odd_places(image) {
            let newest = newest_slot(image);
            for slots in [&[newest][..], &[3 - newest], &[1, 2]] {
                let mut image = image.clone();
                slots.iter().for_each(|&slot| put_place(&mut image, slot, odd));
                std::fs::write(&path, image).unwrap();
                use_all(&path, count, &format!("slots {slots:?} name {odd:#x}"));
            }
        }
    }
}

#[test]
fn a_runtime_word_that_names_an_odd_place() {
    const PLACE: u64 = 4 * PAGE + 31 * 8;
    let dir = fast_dir();
    let (images, count) = images(dir.path());
    let path = dir.path().join("a");
    for image in &images {
        for odd in odd_places(image) {
            let mut image = image.clone();
            put(&mut image, PLACE, odd);
            std::fs::write(&path, image).unwrap();
            use_all(&path, count, &format!("the word is {odd:#x}"));
        }
    }
    // Under a handle at work: what can be no place is refused, with nothing changed.
    std::fs::write(&path, &images[0]).unwrap();
    let arena = options().open(&path).unwrap();
    let ledger = Ledger::find(&arena).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut right = [0; 8];
    file.read_exact_at(&mut right, PLACE).unwrap();
    let page = u64::from(u32::MAX);
    for odd in
        [place(0, 16), place(4, 32), place(heap_page(&images[0]), 32), place(page, 16), place(page, page)]
    {
        file.write_all_at(&odd.to_le_bytes(), PLACE).unwrap();
        let _ = (arena.stats().unwrap(), arena.check().unwrap());
        assert!(matches!(ledger.commit(&arena), Err(Error::Corrupt { .. })), "{odd:#x}");
        let copy = dir.path().join("copy");
        let _ = arena.snapshot(&copy, &SnapshotOptions::new().overwrite(true));
        file.write_all_at(&right, PLACE).unwrap();
        assert_eq!(ledger.count(&arena).unwrap(), count);
    }
    assert_eq!(ledger.commit(&arena).unwrap(), count + 1);
    assert_clean(&arena);
}

#[test]
fn words_of_the_heap_that_name_odd_runs() {
    let dir = fast_dir();
    let (images, count) = images(dir.path());
    let path = dir.path().join("a");
    let image = &images[0];
    let log = u64_at(image, newest_slot(image) * PAGE + 36);
    let (log_page, log_pages) = (log & 0xFFFF_FFFF, log >> 32);
    let words = header_words(image);
    let free = words.into_iter().find(|&at| u64_at(image, at) == 0).unwrap();
    let used = words.into_iter().find(|&at| u64_at(image, at) == log).unwrap();
    let mut cases: Vec<Vec<(u64, u64)>> = Vec::new();
    for odd in odd_places(image).into_iter().chain([0, log, place(log_page, 0), place(log_page + 16, 16)]) {
        cases.extend([vec![(free, odd)], vec![(used, odd)], vec![(free, odd), (used, odd)]]);
    }
    let entry = map_word(image, log_page);
    for odd in [
        0,
        6,
        6 | 1 << 32,
        6 | (log_pages + 1) << 32,
        6 | 0xFFFF_FFFF << 32,
        7,
        6 | 1 << 4 | log_pages << 32,
        1 | log_pages << 32,
    ] {
        cases.push(vec![(entry, odd)]);
        // Header and page map agree.
        cases.push(vec![(entry, odd), (used, place(log_page, odd >> 32))]);
    }
    for page in [heap_end(image) - 1, heap_end(image), log_page + 1] {
        for pages in [0, 1, 2, 40, 1 << 18, 0xFFFF_FFFF] {
            cases.push(vec![(map_word(image, page), 6 | pages << 32)]);
            cases.push(vec![(map_word(image, page), 6 | pages << 32), (free, place(page, pages))]);
        }
    }
    for case in cases {
        let mut image = image.clone();
        case.iter().for_each(|&(at, word)| put(&mut image, at, word));
        std::fs::write(&path, image).unwrap();
        use_all(&path, count, &format!("{case:x?}"));
    }
}

#[test]
fn a_damaged_heap_with_a_moved_log_is_repaired() {
    let dir = fast_dir();
    let (images, count) = images(dir.path());
    let path = dir.path().join("a");
    for image in &images {
        std::fs::write(&path, image).unwrap();
        let arena = options().open(&path).unwrap();
        let runs: Vec<_> = arena.runs().map(Result::unwrap).collect();
        drop(arena);
        let heap = heap_page(image) * PAGE;
        let inside = |kind: RunKind| runs.iter().filter(move |run| run.kind == kind && run.offset >= heap);
        let log = inside(RunKind::LogRing).next().unwrap();
        let tree = inside(RunKind::FreeTree).next().unwrap();
        let mut places: Vec<u64> = (0..6).map(|word| heap + word * 8).collect();
        places.extend(header_words(image));
        places.extend((0..24).map(|word| tree.offset + word * 8));
        places.push(map_word(image, log.offset / PAGE));
        places.push(map_word(image, tree.offset / PAGE));
        for at in places {
            for word in [0, u64_at(image, at) ^ 1 << 33, 0x0123_4567_89AB_CDEF] {
                let mut image = image.clone();
                put(&mut image, at, word);
                std::fs::write(&path, image).unwrap();
                let what = format!("{word:#x} at {at:#x}");
                let repair = options().repair(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(repair.report.is_clean(), "{what}: {:#?}", repair.report.findings);
                let arena = options().open(&path).unwrap();
                let ledger = Ledger::find(&arena).unwrap();
                assert_eq!(ledger.count(&arena).unwrap(), count, "{what}");
                for _ in 0..60 {
                    ledger.commit(&arena).unwrap();
                }
                assert_clean(&arena);
            }
        }
    }
}

#[test]
fn a_damaged_slot_after_a_move_shows_no_older_state() {
    let dir = fast_dir();
    let path = dir.path().join("made");
    let arena = options().log_limit(2 * LOG).create(&path).unwrap();
    let ledger = Ledger::create(&arena, 12);
    let damaged = dir.path().join("a");
    let (mut same, mut refused) = (0, 0);
    // Until it has moved, and gone round in the new ring.
    let mut left = 300;
    while left > 0 {
        let count = ledger.commit(&arena).unwrap();
        let sequence = arena.stats().unwrap().sequence;
        left -= u64::from(log_len(&arena) > LOG);
        if left % 7 != 0 && left < 290 {
            continue;
        }
        for slot in [1, 2] {
            for byte in [3, 12, 20, 37, 41, 60] {
                let mut image = std::fs::read(&path).unwrap();
                image[(slot * PAGE + byte) as usize] ^= 0x10;
                // As after a power cut: nothing is known of what was applied.
                image[(4 * PAGE) as usize..(5 * PAGE) as usize].fill(0);
                std::fs::write(&damaged, image).unwrap();
                match options().open(&damaged) {
                    Ok(arena) => {
                        assert_eq!(ledger.count(&arena).unwrap(), count);
                        assert_eq!(arena.stats().unwrap().sequence, sequence);
                        ledger.commit(&arena).unwrap();
                        assert_eq!(ledger.count(&arena).unwrap(), count + 1);
                        same += 1;
                    }
                    Err(Error::Corrupt { .. }) => refused += 1,
                    Err(e) => panic!("{e}"),
                }
            }
        }
    }
    assert!(same > 0 && refused > 0, "both outcomes were met: {same}, {refused}");
}

#[test]
fn a_handle_that_may_not_write_reads_a_moved_log() {
    const NOBODY: u32 = 65534;
    if let Some((role, file)) = common::role() {
        let arena = Arena::open_read_only(file).unwrap();
        let ledger = Ledger::find(&arena).unwrap();
        assert_eq!(ledger.count(&arena).unwrap().to_string(), role);
        assert_clean(&arena);
        assert!(matches!(arena.write(), Err(Error::ReadOnly)));
        arena.stats().unwrap();
        return;
    }
    if !rustix::process::getuid().is_root() {
        return println!("skipped: only root can become nobody");
    }
    let dir = fast_dir();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("made");
    let (arena, ledger) = make(&path, &options());
    let count = ledger.count(&arena).unwrap();
    // Killed with its last record in the ring, of which the heap has nothing.
    let image = common::killed_at("commit: record durable", &path, || {
        ledger.commit(&arena).unwrap();
    });
    drop(arena);
    for (image, count) in [(std::fs::read(&path).unwrap(), count + 1), (image, count + 1)] {
        let file = dir.path().join("a");
        std::fs::write(&file, &image).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let test = "a_handle_that_may_not_write_reads_a_moved_log";
        let output = match common::child(test, &count.to_string(), &file).uid(NOBODY).gid(NOBODY).output() {
            Ok(output) => output,
            Err(e) => return println!("skipped: nobody may not run the test binary: {e}"),
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(std::fs::read(&file).unwrap() == image, "a handle that may not write has written");
        // Nor does one that saves what there is.
        let saved = dir.path().join("saved");
        let _ = std::fs::remove_file(&saved);
        Arena::salvage(&file, &saved).unwrap();
        let arena = Arena::open(&saved).unwrap();
        assert_eq!(log_len(&arena), LOG);
        assert_clean(&arena);
    }
}

/// The end of the file is gone, and the ring with it: what the heap has is saved.
#[test]
fn a_file_without_its_ring_is_salvaged() {
    let dir = fast_dir();
    let (images, count) = images(dir.path());
    let path = dir.path().join("a");
    for image in images {
        let log = u64_at(&image, newest_slot(&image) * PAGE + 36) & 0xFFFF_FFFF;
        for len in [log + 1, log + 8, log + 20] {
            std::fs::write(&path, &image[..(len * PAGE) as usize]).unwrap();
            assert!(matches!(options().open(&path), Err(Error::Truncated { .. })));
            let saved = dir.path().join("saved");
            let _ = std::fs::remove_file(&saved);
            let salvage = Arena::salvage(&path, &saved).unwrap_or_else(|e| panic!("{len} pages: {e}"));
            assert!(salvage.roots == 2 && salvage.blocks.len() >= 14, "{len} pages: {salvage:?}");
            let saved = Arena::open(&saved).unwrap();
            let tx = saved.read().unwrap();
            assert_eq!(tx.get(tx.named_root::<u64>("count").unwrap().unwrap()).unwrap(), &count);
        }
    }
}

#[test]
fn a_log_moves_under_the_lock_of_the_whole_file() {
    let dir = fast_dir();
    let path = dir.path().join("a");
    let options = options().locking(Locking::File);
    let (arena, ledger) = make(&path, &options);
    let other = options.open(&path).unwrap();
    let reader = options.open_read_only(&path).unwrap();
    let mut lens = vec![log_len(&arena)];
    for _ in 0..300 {
        let count = ledger.commit(&arena).unwrap();
        assert_eq!(ledger.count(&other).unwrap(), count);
        let count = ledger.commit(&other).unwrap();
        assert_eq!(ledger.count(&reader).unwrap(), count);
        lens.push(log_len(&other));
    }
    assert!(lens.is_sorted());
    other.shrink().unwrap();
    for arena in [&arena, &other, &reader] {
        assert_eq!(log_len(arena), LOG);
        assert_clean(arena);
    }
    let count = ledger.commit(&arena).unwrap();
    drop((arena, other, reader));
    let arena = options.open(&path).unwrap();
    assert_eq!(ledger.count(&arena).unwrap(), count);
}

/// Where a mover is killed.
const MOVING: [&str; 4] = [
    "log: about to move",
    "log: a slot names its new place",
    "log: a slot names its new place#2",
    "log: moved",
];

/// The mover dies, another process lives and goes on: what that commits then is found again, whatever ends it.
#[test]
fn another_process_goes_on_after_the_mover_was_killed() {
    const TEST: &str = "another_process_goes_on_after_the_mover_was_killed";
    if let Some((_, file)) = sharing::role() {
        let arena = options().open(file).unwrap();
        let ledger = Ledger::find(&arena).unwrap();
        for _ in 0..2000 {
            ledger.commit(&arena).unwrap();
        }
        panic!("the failpoint was not passed");
    }
    let dir = fast_dir();
    let (path, killed) = (dir.path().join("a"), dir.path().join("b"));
    for locking in sharing::LOCKINGS {
        for point in MOVING {
            let what = format!("{locking:?}, {point}");
            let _ = std::fs::remove_file(&path);
            let arena = options().locking(locking).log_limit(0).create(&path).unwrap();
            let ledger = Ledger::create(&arena, 12);
            ledger.commit(&arena).unwrap();
            sharing::start_killed_at(TEST, "move", &path, point).wait_killed();
            let before = ledger.count(&arena).unwrap();
            // A death of this one too, with its first record on the disk and nothing of it applied.
            let (from, to) = (path.clone(), killed.clone());
            at_failpoint("commit: record durable", move || common::copy_as_killed(&from, &to));
            assert_eq!(ledger.commit(&arena).unwrap(), before + 1, "{what}");
            let copy = options().open(&killed).unwrap();
            assert_eq!(ledger.count(&copy).unwrap(), before + 1, "{what}: a commit is lost");
            assert_eq!(copy.stats().unwrap().sequence, arena.stats().unwrap().sequence, "{what}");
            assert_clean(&copy);
            drop(copy);
            for number in 2..400 {
                assert_eq!(ledger.commit(&arena).unwrap(), before + number, "{what}");
            }
            assert_clean(&arena);
            common::copy_as_killed(&path, &killed);
            let copy = options().open(&killed).unwrap();
            assert_eq!(ledger.count(&copy).unwrap(), before + 399, "{what}");
            assert_eq!(copy.stats().unwrap().sequence, arena.stats().unwrap().sequence, "{what}");
            assert_clean(&copy);
        }
    }
}

/// A reader is in the way when the run is to be freed that the log has left: that is done later.
#[test]
fn a_run_that_could_not_be_freed_goes_later() {
    let dir = fast_dir();
    let path = dir.path().join("a");
    let options = options().log_limit(4 * LOG).lock_timeout(Duration::from_millis(50));
    let (arena, ledger) = make(&path, &options);
    let (end, ends) = channel::<()>();
    let (tells, told) = channel();
    let told = Rc::new(told);
    let (file, hears) = (path.clone(), told.clone());
    at_failpoint("log: moved", move || {
        std::thread::spawn(move || {
            let other = Arena::open_read_only(&file).unwrap();
            let reads = other.read().unwrap();
            tells.send("reads").unwrap();
            let _ = ends.recv();
            drop(reads);
            tells.send("is gone").unwrap();
        });
        assert_eq!(hears.recv(), Ok("reads"));
    });
    while log_len(&arena) < 4 * LOG {
        ledger.commit(&arena).unwrap();
    }
    let named = || {
        let image = std::fs::read(&path).unwrap();
        header_words(&image).into_iter().filter(|&at| u64_at(&image, at) != 0).count()
    };
    assert_eq!(named(), 2);
    drop(end);
    assert_eq!(told.recv(), Ok("is gone"));
    for _ in 0..400 {
        ledger.commit(&arena).unwrap();
    }
    assert_eq!((named(), log_len(&arena)), (1, 4 * LOG));
    assert_clean(&arena);
}

/// Batches are as large as the ring allows, which becomes longer under them; some of their records are spilled.
#[test]
fn groups_commit_while_the_log_moves() {
    let dir = fast_dir();
    let arena = options().create(dir.path().join("a")).unwrap();
    let ledger = Ledger::create(&arena, 12);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (arena, ledger) = (&arena, &ledger);
            scope.spawn(move || {
                for turn in 0..150 {
                    let filler = vec![turn as u8; if turn % 25 == thread { 25_000 } else { 1500 }];
                    let change = |tx: &mut heapfile::WriteTxn<'_>| {
                        let number = *tx.get(ledger.count)? + 1;
                        *tx.get_mut(ledger.count)? = number;
                        let (block, at) = ledger.place(number);
                        tx.write_at(block, at, &number.to_le_bytes())?;
                        tx.write_at(block, NUMBERS * 8, &filler)
                    };
                    arena.submit(change).unwrap();
                }
            });
        }
    });
    // Where most batches were spilled, which empties the log each time, it had no need to grow.
    let mut count = 600;
    while log_len(&arena) == LOG {
        count = ledger.commit(&arena).unwrap();
        assert!(count < 5000);
    }
    assert_eq!(ledger.count(&arena).unwrap(), count);
    assert_clean(&arena);
    let killed = dir.path().join("b");
    common::copy_as_killed(arena.path(), &killed);
    let copy = options().open(&killed).unwrap();
    assert_eq!(ledger.count(&copy).unwrap(), count);
    assert_clean(&copy);
}

/// Nobody else has the file when the mover dies: who opens it next finds what was committed, and whose runtime words to believe.
#[test]
fn a_file_is_opened_after_its_mover_was_killed() {
    const TEST: &str = "a_file_is_opened_after_its_mover_was_killed";
    if let Some((_, file)) = sharing::role() {
        let told = std::fs::File::create(file.with_extension("count")).unwrap();
        let arena = options().open(file).unwrap();
        let ledger = Ledger::find(&arena).unwrap();
        loop {
            let count = ledger.commit(&arena).unwrap();
            told.write_all_at(&count.to_le_bytes(), 0).unwrap();
            assert!(count < 3000, "the failpoint was not passed");
        }
    }
    let dir = fast_dir();
    let path = dir.path().join("a");
    for locking in sharing::LOCKINGS {
        for point in MOVING {
            let what = format!("{locking:?}, {point}");
            let _ = std::fs::remove_file(&path);
            let arena = options().locking(locking).log_limit(0).create(&path).unwrap();
            let ledger = Ledger::create(&arena, 12);
            drop(arena);
            sharing::start_killed_at(TEST, "move", &path, point).wait_killed();
            let told = u64_at(&std::fs::read(path.with_extension("count")).unwrap(), 0);
            let arena = options().locking(locking).open(&path).unwrap();
            // The move is on the way of the commit after.
            assert_eq!(ledger.count(&arena).unwrap(), told + 1, "{what}");
            for number in 2..400 {
                assert_eq!(ledger.commit(&arena).unwrap(), told + number, "{what}");
            }
            assert_clean(&arena);
        }
    }
}

/// A part of the ring of a snapshot's source goes with the end of the file.
#[test]
fn a_snapshot_goes_on_when_the_log_moves_away() {
    let dir = fast_dir();
    for point in ["snapshot: begun", "snapshot: piece copied", "snapshot: before the last round"] {
        let path = dir.path().join("a");
        let _ = std::fs::remove_file(&path);
        let (arena, ledger) = make(&path, &options());
        let other = options().open(&path).unwrap();
        at_failpoint(point, move || {
            let ledger = Ledger::find(&other).unwrap();
            ledger.commit(&other).unwrap();
            other.shrink().unwrap();
            ledger.commit(&other).unwrap();
        });
        let copy = dir.path().join("b");
        arena
            .snapshot(&copy, &SnapshotOptions::new().overwrite(true))
            .unwrap_or_else(|e| panic!("{point}: {e}"));
        let copy = Arena::open(&copy).unwrap();
        assert_eq!(ledger.count(&copy).unwrap(), ledger.count(&arena).unwrap(), "{point}");
        assert_clean(&copy);
    }
}

/// A disk on which an arena stands before its log's first move; no call has failed yet.
fn disk_before_a_move(commits: u64) -> (SimDisk, Arena, Ledger) {
    let disk = SimDisk::new().unwrap();
    disk.record(false).unwrap();
    let arena = testing::create(&disk, &options().log_limit(2 * LOG)).unwrap();
    let ledger = Ledger::create(&arena, 8);
    while ledger.count(&arena).unwrap() < commits {
        ledger.commit(&arena).unwrap();
    }
    (disk, arena, ledger)
}

/// The commit in whose passing the log first moves.
fn commit_of_the_move() -> u64 {
    let (_disk, arena, ledger) = disk_before_a_move(1);
    while log_len(&arena) == LOG {
        assert!(ledger.commit(&arena).unwrap() < 1000, "the log does not move");
    }
    ledger.count(&arena).unwrap()
}

#[test]
fn a_power_cut_at_any_step_of_a_move_loses_nothing() {
    let moves = commit_of_the_move();
    let (disk, arena, ledger) = disk_before_a_move(moves - 2);
    disk.record(true).unwrap();
    let mut acknowledged = vec![(0, moves - 2)];
    for _ in 0..4 {
        let count = ledger.commit(&arena).unwrap();
        acknowledged.push((disk.steps(), count));
    }
    assert_eq!(log_len(&arena), 2 * LOG);
    arena.shrink().unwrap();
    assert_eq!(log_len(&arena), LOG);
    let count = ledger.commit(&arena).unwrap();
    acknowledged.push((disk.steps(), count));
    drop(arena);
    let history = disk.history();
    let plan = Plan { enumerate_up_to: 32, samples: 16, seed: 1 };
    let (other, mut image) = (SimDisk::new().unwrap(), Vec::new());
    let mut images = 0;
    testing::set_boot(Some([7; 16]));
    for point in 0..history.points() {
        let crash = history.at(point);
        let least = acknowledged.iter().rfind(|&&(steps, _)| steps <= point).unwrap().1;
        for recipe in crash.recipes(&plan) {
            crash.build(recipe, &mut image);
            other.reset(&image).unwrap();
            other.record(false).unwrap();
            let arena = testing::open(&other, &options()).unwrap_or_else(|e| panic!("{point}: {e}"));
            let count = ledger.count(&arena).unwrap();
            assert!((least..=least + 1).contains(&count), "{point}: {count} of {least}");
            assert_eq!(ledger.commit(&arena).unwrap(), count + 1);
            assert_clean(&arena);
            images += 1;
        }
    }
    testing::set_boot(None);
    assert!(images > 500, "{images} images of {} points", history.points());
}

#[test]
fn calls_that_fail_in_a_move_lose_nothing() {
    let moves = commit_of_the_move();
    let mut struck = 0;
    for call in [Call::Write, Call::WriteDurable, Call::Flush, Call::Sync, Call::Reserve] {
        for lasting in [false, true] {
            for nth in 0..100 {
                let what = format!("{call:?} {nth}, lasting: {lasting}");
                let (disk, mut arena, ledger) = disk_before_a_move(moves - 1);
                let seen = Rc::new(Cell::new(false));
                let (from, to) = (disk.clone(), seen.clone());
                // Once the user's own commit is done.
                at_failpoint("checkpoint: slot durable", move || {
                    to.set(true);
                    if lasting { from.fail_from(call, nth, 5) } else { from.fail(call, nth, 5) }
                });
                disk.record(true).unwrap();
                assert_eq!(ledger.commit(&arena).unwrap(), moves, "{what}");
                assert!(seen.get());
                // What was committed can be read meanwhile, whatever the disk does.
                if let Err(e) = ledger.count(&arena)
                    && !matches!(e, Error::Poisoned { .. })
                {
                    panic!("{what}: {e}");
                }
                let over = disk.clear_faults() > 0 && !lasting;
                match ledger.commit(&arena) {
                    Ok(count) => assert_eq!(count, moves + 1, "{what}"),
                    Err(Error::Poisoned { .. }) => {
                        arena = testing::open(&disk, &options()).unwrap();
                        assert_eq!(ledger.count(&arena).unwrap(), moves, "{what}");
                        ledger.commit(&arena).unwrap();
                    }
                    Err(e) => panic!("{what}: {e}"),
                }
                let (history, mut image) = (disk.history(), Vec::new());
                let crash = history.at(history.points() - 1);
                testing::set_boot(Some([7; 16]));
                for recipe in crash.recipes(&Plan { enumerate_up_to: 16, samples: 8, seed: nth }) {
                    crash.build(recipe, &mut image);
                    let cut = testing::open(&SimDisk::from_image(&image).unwrap(), &options());
                    let cut = cut.unwrap_or_else(|e| panic!("{what}: after a power cut: {e}"));
                    assert_eq!(ledger.count(&cut).unwrap(), moves + 1, "{what}: after a power cut");
                    assert_clean(&cut);
                }
                testing::set_boot(None);
                disk.record(false).unwrap();
                for number in 2..150 {
                    assert_eq!(ledger.commit(&arena).unwrap(), moves + number, "{what}");
                }
                assert!(log_len(&arena) > LOG, "{what}");
                assert_clean(&arena);
                let image = disk.read_cache().unwrap();
                let copy = SimDisk::from_image(&image).unwrap();
                let copied = testing::open(&copy, &options()).unwrap();
                assert_eq!(ledger.count(&copied).unwrap(), moves + 149, "{what}");
                struck += u64::from(!over);
                if over || lasting && nth > 20 {
                    break;
                }
            }
        }
    }
    assert!(struck > 30, "{struck}");
}

/// Two handles find the log short at the same time: it becomes twice as long, and no run is left over.
#[test]
fn two_that_lengthen_the_log_leave_no_run_over() {
    let dir = fast_dir();
    for round in 0..10 {
        let path = dir.path().join("a");
        let _ = std::fs::remove_file(&path);
        let options = options().log_limit(2 * LOG);
        let arena = options.create(&path).unwrap();
        let ledger = Ledger::create(&arena, 12);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let other = options.open(&path).unwrap();
                    while log_len(&other) == LOG {
                        ledger.commit(&other).unwrap();
                    }
                    for _ in 0..20 {
                        ledger.commit(&other).unwrap();
                    }
                });
            }
        });
        assert_eq!(log_len(&arena), 2 * LOG);
        let image = std::fs::read(&path).unwrap();
        let named = header_words(&image).map(|at| u64_at(&image, at));
        assert!(named.contains(&0), "{round}: {named:x?}");
        assert_clean(&arena);
    }
}
