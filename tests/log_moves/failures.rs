//! The power goes in the middle of a move, or a call on the file fails.

use crate::common::{assert_clean, mortal};
use crate::ledger::*;
use heapfile::Arena;
use heapfile::testing::{self, Call, Plan, Recipe, SimDisk, at_failpoint};
use std::cell::Cell;
use std::rc::Rc;

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
                let (disk, arena, ledger) = disk_before_a_move(moves - 1);
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
                // What was committed can be read meanwhile, whatever the disk does, and the handle stays in use.
                assert_eq!(ledger.count(&arena).unwrap(), moves, "{what}");
                let over = disk.clear_faults() > 0 && !lasting;
                assert_eq!(ledger.commit(&arena).unwrap(), moves + 1, "{what}");
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

/// Bringing the log back begins with a sync without the lock, which cannot mend one that failed before; what follows does.
#[test]
fn shrinking_mends_a_sync_that_failed() {
    let (disk, arena, ledger) = disk_before_a_move(5);
    disk.fail(Call::Sync, 0, 5);
    arena.checkpoint().unwrap_err();
    arena.shrink().unwrap();
    assert_eq!(ledger.commit(&arena).unwrap(), 6);
    assert_clean(&arena);
}

#[test]
fn a_move_that_failed_is_completed_though_the_recovery_is_cut_off() {
    let mut deaths = 0;
    for steps in 0..8 {
        let (disk, arena, ledger) = disk_before_a_move(5);
        let [second, third] = [0; 2].map(|_| testing::open(&disk, &options()).unwrap());
        disk.record(true).unwrap();
        // The first of the slots that name the new ring: it can be read, and the words do not know of it.
        disk.fail(Call::Flush, 1, 5);
        testing::move_log(&arena, 32).unwrap_err();
        at_failpoint("recover: replayed", move || testing::die_after(Some(steps)));
        deaths += u64::from(mortal(u64::MAX, || drop(second.write())).is_none());
        drop(second);
        testing::die_after(None);
        assert_eq!(ledger.commit(&third).unwrap(), 6, "{steps}");
        let (history, mut image) = (disk.history(), Vec::new());
        history.at(history.points() - 1).build(Recipe::Old, &mut image);
        let cut = testing::open(&SimDisk::from_image(&image).unwrap(), &options()).unwrap();
        assert_goes_on(&cut, &ledger, 6, 1, &format!("after {steps} steps"));
    }
    assert!(deaths > 3, "{deaths}");
}
