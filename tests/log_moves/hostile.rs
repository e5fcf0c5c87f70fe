//! Words that lead the log elsewhere.

use crate::common::{assert_clean, fast_dir};
use crate::image::*;
use crate::ledger::*;
use heapfile::{Arena, Error, SnapshotOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

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
    assert_goes_on(&arena, &Ledger::find(&arena).unwrap(), count, 100, what);
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
