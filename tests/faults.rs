//! Every call on the file fails once, at every place of a stretch of work: what was acknowledged stays, what failed changed nothing or is
//! completed by the next owner, and work goes on.

mod common;

use common::script::{self, Script};
use common::{BOTH, FAILURES, assert_clean, dir, small};
use heapfile::collections::HashMap;
use heapfile::testing::{self, Call, SimDisk};
use heapfile::{Arena, Durability, Error, Options, SnapshotOptions, View};

const COMMITS: u64 = 7;

/// A handle on the disk, as often as needed: one that was poisoned is closed first.
fn reopen(disk: &SimDisk, options: &Options) -> Arena {
    testing::open(disk, options).expect("it opens when nothing fails")
}

/// Works with one call failing; whether that call was reached.
fn work(durability: Durability, call: Call, nth: u64, errno: i32, lasting: bool) -> bool {
    let what = format!("{durability:?}, {call:?} {nth} fails with {errno}");
    let disk = SimDisk::new().unwrap();
    disk.record(false).unwrap();
    let options = small(durability);
    let mut arena = testing::create(&disk, &options).unwrap();
    script::begin(&arena).unwrap();
    if lasting {
        disk.fail_from(call, nth, errno);
    } else {
        disk.fail(call, nth, errno);
    }
    let (mut count, mut failed) = (0, false);
    while count < COMMITS {
        let outcome = script::play(&arena);
        match &outcome {
            Ok(acknowledged) => assert_eq!(*acknowledged, count + 1, "{what}"),
            Err(Error::Io { .. } | Error::NoSpace { .. } | Error::SyncFailed | Error::Poisoned { .. }) => {}
            Err(e) => panic!("{what}: {e}"),
        }
        failed |= outcome.is_err();
        if outcome.is_err() {
            disk.clear_faults();
        }
        // What fails as the log becomes longer, after the commit, is not the commit's: the handle goes on as soon as the disk does.
        if outcome.is_ok() && arena.read().is_err() {
            failed = true;
            disk.clear_faults();
        }
        if matches!(outcome, Err(Error::Poisoned { .. })) {
            arena = reopen(&disk, &options);
        }
        let found = script::count(&arena);
        match outcome {
            Ok(_) => assert_eq!(found, count + 1, "{what}"),
            Err(Error::Poisoned { .. }) => assert!((count..=count + 1).contains(&found), "{what}"),
            Err(_) => assert_eq!(found, count, "{what}: a commit that failed has changed something"),
        }
        count = found;
        Script::after(count).assert_in(&arena);
        for outcome in [arena.sync(), if count % 3 == 2 { arena.checkpoint() } else { Ok(()) }] {
            if outcome.is_err() {
                failed = true;
                disk.clear_faults();
            }
        }
    }
    disk.clear_faults();
    assert_clean(&arena);
    arena.sync().unwrap_or_else(|e| panic!("{what}: {e}"));
    drop(arena);
    let arena = reopen(&disk, &options);
    Script::after(count).assert_in(&arena);
    assert_clean(&arena);
    failed
}

fn sweep(durability: Durability) {
    for (call, errno) in FAILURES {
        for lasting in [false, true] {
            // Until the call is not reached any more; a cut that fails is nobody's loss, and what cannot be copied is written: these never show.
            let mut reached = 0;
            for nth in 0.. {
                let shown = work(durability, call, nth, errno, lasting);
                reached += u64::from(shown);
                if !shown && (nth > 40 || nth > reached + 8) {
                    break;
                }
            }
            let silent = matches!(call, Call::Truncate | Call::Scatter)
                || durability == Durability::Process && call == Call::Write;
            assert!(silent || reached > 0, "{durability:?}: no {call:?} failed");
        }
    }
}

#[test]
fn every_call_of_a_power_arena() {
    sweep(Durability::Power);
}

#[test]
fn every_call_of_a_process_arena() {
    sweep(Durability::Process);
}

#[test]
fn a_creation_that_fails_can_be_done_again() {
    for durability in BOTH {
        for call in [Call::Write, Call::WriteDurable, Call::Flush, Call::Sync, Call::Reserve, Call::Truncate]
        {
            for nth in 0..30 {
                let disk = SimDisk::new().unwrap();
                disk.fail(call, nth, libc::EIO);
                let first = testing::create(&disk, &small(durability));
                let Err(e) = first else { break };
                assert!(matches!(e, Error::Io { .. }), "{e}");
                disk.clear_faults();
                let arena = match testing::create(&disk, &small(durability)) {
                    // What failed was the last step: all of it can be read.
                    Err(Error::AlreadyExists { .. }) => testing::open(&disk, &small(durability)).unwrap(),
                    other => other.unwrap(),
                };
                script::begin(&arena).unwrap();
                assert_clean(&arena);
            }
        }
    }
}

/// Before blocks are shared the file is synced: where that fails, what can be read may never come to the disk unless it is written again.
#[test]
fn a_sync_that_fails_before_blocks_are_shared_is_made_up_for() {
    for durability in BOTH {
        let (disk, dir) = (SimDisk::new().unwrap(), dir());
        let arena = testing::create(&disk, &small(durability)).unwrap();
        script::begin(&arena).unwrap();
        script::play(&arena).unwrap();
        disk.fail(Call::Sync, 0, libc::EIO);
        let failed = arena.snapshot(dir.path().join("b.heap"), &SnapshotOptions::new().reflink(true));
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
        assert_eq!((disk.clear_faults(), std::fs::read_dir(dir.path()).unwrap().count()), (0, 0));
        script::play(&arena).unwrap();
        arena.checkpoint().unwrap();
        arena.sync().unwrap();
        // The intent area, before the heap, needs no sync.
        let (history, heap) = (disk.history(), arena.stats().unwrap().heap_offset / 4096);
        let crash = history.at(history.points() - 1);
        assert_eq!(crash.dirty_pages().find(|&page| page >= heap), None, "{durability:?}");
        Script::after(2).assert_in(&arena);
    }
}

/// A long block is filled in place as it is allocated. Where that fails the call has done a part of what it should, and that is never committed.
#[test]
fn what_could_not_be_filled_is_not_committed() {
    for errno in [libc::EIO, libc::ENOSPC] {
        let disk = SimDisk::new().unwrap();
        let arena = testing::create(&disk, &small(Durability::Power)).unwrap();
        let mut tx = arena.write().unwrap();
        let map = HashMap::<u64, [u8]>::new_in(&mut tx).unwrap();
        map.insert(&mut tx, &1, &[7; 100_000]).unwrap();
        tx.commit().unwrap();
        let blocks = arena.read().unwrap().blocks().count();
        type Act = fn(&mut heapfile::WriteTxn<'_>, HashMap<u64, [u8]>) -> heapfile::Result<()>;
        let acts: [Act; 3] = [
            |tx, _| tx.alloc_bytes(&[7; 100_000]).map(drop),
            |tx, map| map.insert(tx, &2, &[7; 100_000]).map(drop),
            |tx, map| map.insert(tx, &1, &[8; 190_000]).map(drop),
        ];
        for act in acts {
            let mut tx = arena.write().unwrap();
            disk.fail(Call::Write, 0, errno);
            act(&mut tx, map).unwrap_err();
            assert_eq!(disk.clear_faults(), 0);
            assert!(matches!(tx.commit(), Err(Error::HalfChanged)));
            let mut tx = arena.write().unwrap();
            let before = tx.save_point();
            disk.fail(Call::Write, 0, errno);
            act(&mut tx, map).unwrap_err();
            assert_eq!(disk.clear_faults(), 0);
            tx.roll_back_to(&before).unwrap();
            tx.commit().unwrap();
            let tx = arena.read().unwrap();
            assert_eq!(tx.blocks().count(), blocks);
            assert!(map.get(&tx, &1).unwrap().unwrap() == [7; 100_000]);
        }
        assert_clean(&arena);
    }
}
