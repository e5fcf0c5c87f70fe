//! The rules of the log (`docs/ARCHITECTURE.md`), as far as they show from outside: on real files, and on the simulated disk where a call has to
//! fail or the order of calls matters. What shows in the log alone is in the unit tests of `src/log`, what only a power cut shows in `power_loss`.

mod common;

use common::script::{self, Script};
use common::{assert_clean, bytes, dir, fast_dir, small};
use heapfile::testing::{self, Call, History, Recipe, SimDisk};
use heapfile::{Arena, Durability, Error, Options, SnapshotOptions, View};
use std::cell::RefCell;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

fn options() -> Options {
    small(Durability::Power)
}

/// What was done to the disk, a line for each step.
fn steps(history: &History) -> Vec<String> {
    (0..history.points() - 1).map(|step| history.describe(step)).collect()
}

/// The last image of all that is possible: with nothing but what is known to be on the disk.
fn after_power_cut(disk: &SimDisk) -> Vec<u8> {
    let history = disk.history();
    let mut image = Vec::new();
    history.at(history.points() - 1).build(Recipe::Old, &mut image);
    image
}

/// First page of a region, as the superblock says.
fn page_at(image: &[u8], field: usize) -> usize {
    u32::from_le_bytes(image[field..field + 4].try_into().unwrap()) as usize * 4096
}

const LOG: usize = 56;
const HEAP: usize = 64;

#[test]
fn rule_1_a_record_comes_after_a_completed_sync_of_what_it_lists() {
    let disk = SimDisk::new().unwrap();
    // A log that has room for the small ones as a whole.
    let arena = testing::create(&disk, &options().log_size(1 << 20)).unwrap();
    let image = disk.read_cache().unwrap();
    let (log, heap) = (page_at(&image, LOG), page_at(&image, HEAP));
    let letter = |step: &String| {
        let at = step.split("at 0x").nth(1).and_then(|hex| usize::from_str_radix(hex, 16).ok());
        match at {
            Some(at) if step.starts_with("write") && (log..heap).contains(&at) => 'r',
            Some(at) if step.starts_with("write") && at >= heap => 'h',
            _ if step.starts_with("sync done: true") => 's',
            _ => '.',
        }
    };
    // 64 KiB and more are filled in place; half of it also makes the file longer.
    for len in [64 << 10, 100 << 10, 400 << 10] {
        disk.record(true).unwrap();
        arena.alloc_bytes(&bytes(1, len)).unwrap();
        let done: String = steps(&disk.history()).iter().map(letter).filter(|&c| c != '.').collect();
        let record = done.find('r').expect("there is a record");
        assert!(done[..record].trim_matches('h') == "s" && done[..record].starts_with('h'), "{len}: {done}");
    }
    // A smaller one goes to the log as a whole: it needs a sync only where it makes the heap longer.
    let (mut longer, mut as_long) = (0, 0);
    let mut end = arena.stats().unwrap().heap_bytes;
    while longer < 3 || as_long < 3 {
        disk.record(true).unwrap();
        arena.alloc_bytes(&bytes(1, 20_000)).unwrap();
        let done: String = steps(&disk.history()).iter().map(letter).filter(|&c| c != '.').collect();
        let grown = arena.stats().unwrap().heap_bytes != end;
        end = arena.stats().unwrap().heap_bytes;
        if grown {
            assert!(done.starts_with("sr"), "{done}");
            longer += 1;
        } else {
            assert!(done.starts_with('r'), "{done}");
            as_long += 1;
        }
    }
}

#[test]
fn rule_1_without_that_sync_there_is_no_commit() {
    let disk = SimDisk::new().unwrap();
    let arena = testing::create(&disk, &options()).unwrap();
    script::begin(&arena).unwrap();
    let ring = |disk: &SimDisk| {
        let image = disk.read_cache().unwrap();
        image[page_at(&image, LOG)..page_at(&image, HEAP)].to_vec()
    };
    for count in [0, 1] {
        let before = ring(&disk);
        disk.fail(Call::Sync, 0, libc::EIO);
        let outcome = script::play(&arena);
        assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
        assert!(ring(&disk) == before, "the record of a commit that failed was written");
        Script::after(count).assert_in(&arena);
        // The same handle goes on.
        script::play(&arena).unwrap();
        Script::after(count + 1).assert_in(&arena);
        assert_clean(&arena);
    }
}

#[test]
fn rule_3_a_commit_in_doubt_is_completed_by_the_next_owner() {
    for (call, outcome) in [(Call::WriteDurable, 0), (Call::Flush, 1)] {
        let disk = SimDisk::new().unwrap();
        let arena = testing::create(&disk, &options()).unwrap();
        let x = arena.alloc(&1u64).unwrap();
        let other = testing::open(&disk, &options()).unwrap();
        disk.fail(call, 0, libc::EIO);
        let mut tx = arena.write().unwrap();
        *tx.get_mut(x).unwrap() = 2;
        assert!(matches!(tx.commit(), Err(Error::Poisoned { .. })));
        // Whoever made it does not know its outcome, and is out of use.
        for refused in [arena.read().map(drop), arena.write().map(drop), arena.checkpoint(), arena.free(x)] {
            assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
        }
        // The next one does: the record can be read, or not.
        drop(other.write().unwrap());
        assert_eq!(*other.read().unwrap().get(x).unwrap(), 1 + outcome);
        // And what it saw stays, whatever happens to the power.
        let image = after_power_cut(&disk);
        let after = testing::open(&SimDisk::from_image(&image).unwrap(), &options()).unwrap();
        assert_eq!(*after.read().unwrap().get(x).unwrap(), 1 + outcome);
        assert_clean(&after);
        drop(arena);
        assert_clean(&other);
    }
}

#[test]
fn an_apply_that_fails_leaves_a_commit_that_is_durable() {
    let disk = SimDisk::new().unwrap();
    let arena = testing::create(&disk, &options()).unwrap();
    script::begin(&arena).unwrap();
    let other = testing::open(&disk, &options()).unwrap();
    for count in 0..7 {
        // Each write to the heap in turn: the first ones may be fills in place, which fail the commit as a whole.
        let arena = testing::open(&disk, &options()).unwrap();
        disk.fail(Call::Write, count, libc::EIO);
        let outcome = script::play(&arena);
        disk.clear_faults();
        drop(arena);
        let found = script::count(&other);
        match outcome {
            Ok(acknowledged) => assert_eq!(found, acknowledged),
            Err(Error::Poisoned { .. } | Error::Io { .. }) => {}
            Err(e) => panic!("{e}"),
        }
        Script::after(found).assert_in(&other);
        assert_clean(&other);
    }
}

#[test]
fn rule_4_after_a_failed_sync_nothing_acknowledged_is_lost() {
    for nth in 0..4 {
        let disk = SimDisk::new().unwrap();
        let arena = testing::create(&disk, &options()).unwrap();
        let x = arena.alloc(&0u64).unwrap();
        disk.fail(Call::Sync, nth, libc::EIO);
        for n in 1..=60u64 {
            let mut tx = arena.write().unwrap();
            *tx.get_mut(x).unwrap() = n;
            tx.alloc_bytes(&bytes(n, 1500)).unwrap();
            tx.commit().unwrap();
            if n % 7 == 0 {
                // Fails once; says so; then what it could not make durable is written anew.
                match arena.checkpoint() {
                    Ok(()) | Err(Error::Io { .. } | Error::SyncFailed) => {}
                    Err(e) => panic!("{e}"),
                }
            }
            if n % 5 == 0 {
                let image = after_power_cut(&disk);
                let after = testing::open(&SimDisk::from_image(&image).unwrap(), &options()).unwrap();
                assert_eq!(*after.read().unwrap().get(x).unwrap(), n, "sync {nth} failed");
                assert_clean(&after);
            }
        }
        assert_clean(&arena);
    }
}

#[test]
fn rule_4_whoever_synced_beside_one_that_failed_does_not_rely_on_it() {
    let disk = SimDisk::new().unwrap();
    let arena = testing::create(&disk, &options()).unwrap();
    let other = testing::open(&disk, &options()).unwrap();
    script::begin(&arena).unwrap();
    let faulty = disk.clone();
    testing::at_failpoint("commit: in place synced", move || {
        faulty.fail(Call::Sync, 0, libc::EIO);
        // What begins with a sync, without the lock.
        let dir = dir();
        let to = dir.path().join("copy");
        assert!(other.snapshot(to, &SnapshotOptions::new().reflink(true)).is_err());
    });
    let outcome = script::play(&arena);
    assert!(matches!(outcome, Err(Error::SyncFailed)), "{outcome:?}");
    Script::after(0).assert_in(&arena);
    script::play(&arena).unwrap();
    Script::after(1).assert_in(&arena);
    assert_clean(&arena);
}

fn damage(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
}

/// Page of the newer of the two slots.
fn newest_slot(path: &Path) -> u64 {
    let image = std::fs::read(path).unwrap();
    let generation = |page: usize| u64::from_le_bytes(image[page * 4096 + 8..][..8].try_into().unwrap());
    if generation(1) > generation(2) { 4096 } else { 8192 }
}

#[test]
fn rule_5_a_damaged_slot_is_no_way_back_to_an_older_state() {
    let dir = fast_dir();
    let (path, copy) = (dir.path().join("a.heap"), dir.path().join("copy"));
    let arena = options().create(&path).unwrap();
    let x = arena.alloc(&0u64).unwrap();
    let long = arena.alloc_bytes(&[0; 9000]).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for n in 1..=150u64 {
        let mut tx = arena.write().unwrap();
        *tx.get_mut(x).unwrap() = n;
        // Records of up to a seventh of the ring: some checkpoints come when the ring has come round to the one before the last.
        tx.write_at(long, 0, &bytes(n, (n * 3571 % 9000) as usize)).unwrap();
        tx.commit().unwrap();
        common::copy_as_killed(&path, &copy);
        // As after a loss of power: no runtime word says how far the log went.
        let file = std::fs::OpenOptions::new().write(true).open(&copy).unwrap();
        file.write_all_at(&vec![0; 33 * 4096], 4 * 4096).unwrap();
        damage(&copy, newest_slot(&copy) + 17);
        match options().open(&copy) {
            Ok(after) => {
                assert_eq!(*after.read().unwrap().get(x).unwrap(), n);
                assert!(!after.check().unwrap().is_clean(), "a damaged slot is a finding");
                opened += 1;
            }
            Err(Error::Corrupt { offset, .. }) => {
                assert!([4096, 8192].contains(&offset));
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(opened > 5 && refused > 5, "{opened} opened, {refused} refused");
}

#[test]
fn rule_5_the_slot_of_the_tail_is_not_written_over_whoever_died() {
    let mut deaths = 0;
    while rule_5_after_a_death_in_a_checkpoint(deaths) {
        deaths += 1;
    }
    assert!(deaths > 5, "{deaths}");
}

/// Whether somebody died after so many steps.
fn rule_5_after_a_death_in_a_checkpoint(steps: u64) -> bool {
    let disk = SimDisk::new().unwrap();
    let first = testing::create(&disk, &options()).unwrap();
    let other = testing::open(&disk, &options()).unwrap();
    let x = first.alloc_bytes(&[0; 2000]).unwrap();
    let fill = |arena: &Arena, byte: u8| {
        let mut tx = arena.write().unwrap();
        tx.bytes_mut(x).unwrap().fill(byte);
        tx.commit().unwrap();
    };
    (1..20).for_each(|byte| fill(&first, byte));
    let died = common::mortal(steps, || first.checkpoint()).is_none();
    drop(first);
    testing::die_after(None);
    // The next slot is torn as it is written, when the log has come round.
    let (torn, from) = (Rc::new(RefCell::new(None)), disk.clone());
    let to = torn.clone();
    testing::at_failpoint("checkpoint: slot durable", move || {
        *to.borrow_mut() = Some(from.read_cache().unwrap());
    });
    let mut last = 20;
    while torn.borrow().is_none() {
        last += 1;
        fill(&other, last);
    }
    let mut image = torn.take().unwrap();
    let generation = |page: usize| u64::from_le_bytes(image[page * 4096 + 8..][..8].try_into().unwrap());
    let newest = if generation(1) > generation(2) { 1 } else { 2 };
    image[newest * 4096 + 17] ^= 0x55;
    image[4 * 4096..37 * 4096].fill(0);
    let after = testing::open(&SimDisk::from_image(&image).unwrap(), &options());
    let after = after.unwrap_or_else(|e| panic!("a death after {steps} steps: {e}"));
    assert!(after.read().unwrap().bytes(x).unwrap() == [last; 2000], "a death after {steps} steps");
    died
}

#[test]
fn rule_7_space_is_cut_off_only_after_the_tail_has_passed_its_record() {
    let disk = SimDisk::new().unwrap();
    let arena = testing::create(&disk, &options()).unwrap();
    let x = arena.alloc_bytes(&bytes(1, 60_000)).unwrap();
    disk.record(true).unwrap();
    let mut tx = arena.write().unwrap();
    tx.bytes_mut(x).unwrap().fill(7);
    tx.commit().unwrap();
    let steps = steps(&disk.history());
    let position =
        |what: &dyn Fn(&str) -> bool| steps.iter().position(|step| what(step)).expect("it is done");
    let spill = position(&|step| step.starts_with("write of 6"));
    let cut = position(&|step| step.starts_with("cut"));
    let slot = position(&|step| step.ends_with("at 0x1000") || step.ends_with("at 0x2000"));
    assert!(spill < slot && steps[slot + 1] == "durable write done: true" && slot + 1 < cut, "{steps:#?}");
    let stats = arena.stats().unwrap();
    assert_eq!(stats.file_bytes, stats.heap_offset + stats.heap_bytes);
}

#[test]
fn rule_8_records_can_be_kept_apart() {
    let dir = dir();
    for align in [64, 512, 4096] {
        let path = dir.path().join(align.to_string());
        let arena = options().log_align(align).create(&path).unwrap();
        let mut expected = arena.stats().unwrap().log_used_bytes;
        for n in 0..6u64 {
            arena.alloc_bytes(&bytes(n, 100)).unwrap();
            let used = arena.stats().unwrap().log_used_bytes;
            assert!(used > expected && used.is_multiple_of(u64::from(align)), "{used}");
            expected = used;
        }
        let copy = dir.path().join("copy");
        common::copy_as_killed(&path, &copy);
        let image = std::fs::read(&copy).unwrap();
        let log = page_at(&image, LOG);
        let heap = page_at(&image, HEAP);
        let starts: Vec<usize> = (log..heap - 4).filter(|&at| &image[at..at + 4] == b"HFRC").collect();
        assert_eq!(starts.len(), 6);
        assert!(starts.iter().all(|at| (at - log).is_multiple_of(align as usize)), "{starts:?}");
        assert_clean(&Arena::open(&copy).unwrap());
    }
}
