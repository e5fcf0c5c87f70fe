//! A damaged slot, a damaged heap, a handle that may not write, a file without its end.

use crate::common::{assert_clean, child, fast_dir, killed_at, role};
use crate::image::*;
use crate::ledger::*;
use heapfile::{Arena, Error, RunKind, View};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

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
                assert_goes_on(&arena, &Ledger::find(&arena).unwrap(), count, 60, &what);
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
    if let Some((role, file)) = role() {
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
    let image = killed_at("commit: record durable", &path, || {
        ledger.commit(&arena).unwrap();
    });
    drop(arena);
    for (image, count) in [(std::fs::read(&path).unwrap(), count + 1), (image, count + 1)] {
        let file = dir.path().join("a");
        std::fs::write(&file, &image).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let test = "refused::a_handle_that_may_not_write_reads_a_moved_log";
        let output = match child(test, &count.to_string(), &file).uid(NOBODY).gid(NOBODY).output() {
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
            assert!(
                salvage.report.counts.roots == 2 && salvage.report.counts.blocks >= 14,
                "{len} pages: {salvage:?}"
            );
            let saved = Arena::open(&saved).unwrap();
            let tx = saved.read().unwrap();
            assert_eq!(tx.get(tx.named_root::<u64>("count").unwrap().unwrap()).unwrap(), &count);
        }
    }
}
