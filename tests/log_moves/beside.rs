//! Others are at work while the log moves.

use crate::common::{assert_clean, copy_as_killed, fast_dir};
use crate::image::*;
use crate::ledger::*;
use crate::sharing;
use heapfile::testing::{at_failpoint, move_log};
use heapfile::{Arena, Locking, SnapshotOptions, View};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Bytes of a block that takes a page of its own.
const PAGE: usize = 4096;

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

/// A reader is in the way when the run is to be freed that the log has left: that is done later.
#[test]
fn a_run_that_could_not_be_freed_goes_later() {
    let dir = fast_dir();
    let path = dir.path().join("a");
    let options = options().log_limit(4 * LOG).lock_timeout(Duration::from_millis(50));
    let (arena, ledger) = make(&path, &options.clone().log_limit(2 * LOG));
    drop(arena);
    let arena = options.open(&path).unwrap();
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
    copy_as_killed(arena.path(), &killed);
    let copy = options().open(&killed).unwrap();
    assert_eq!(ledger.count(&copy).unwrap(), count);
    assert_clean(&copy);
}

/// The ring of a snapshot's source is given up, and goes with the end of the file or not.
#[test]
fn a_snapshot_goes_on_when_the_log_moves_away() {
    let dir = fast_dir();
    let points = ["snapshot: begun", "snapshot: piece copied", "snapshot: before the last round"];
    for (point, pages) in points.into_iter().flat_map(|point| [(point, 0), (point, 200)]) {
        let path = dir.path().join("a");
        let _ = std::fs::remove_file(&path);
        let (arena, ledger) = make(&path, &options());
        let other = options().open(&path).unwrap();
        at_failpoint(point, move || {
            let ledger = Ledger::find(&other).unwrap();
            ledger.commit(&other).unwrap();
            match pages {
                0 => drop(other.shrink().unwrap()),
                _ => heapfile::testing::move_log(&other, pages).unwrap(),
            }
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

/// The log moves in each start of a snapshot: it ends under the writer lock, and is whole.
#[test]
fn a_snapshot_whose_log_always_moves_is_whole() {
    fn lose(path: PathBuf, times: u32) {
        at_failpoint("snapshot: begun", move || {
            let other = options().open(&path).unwrap();
            let ledger = Ledger::find(&other).unwrap();
            ledger.commit(&other).unwrap();
            heapfile::testing::move_log(&other, 1000 + 100 * times).unwrap();
            ledger.commit(&other).unwrap();
            lose(path, times + 1);
        });
    }
    let dir = fast_dir();
    let (path, copy) = (dir.path().join("a"), dir.path().join("b"));
    let (arena, ledger) = make(&path, &options());
    // More than is copied at once.
    let long = vec![7; 5 << 20];
    let block = arena.alloc_bytes(&long).unwrap();
    lose(path, 0);
    arena.snapshot(&copy, &SnapshotOptions::new()).unwrap();
    let copy = Arena::open(&copy).unwrap();
    assert_eq!(ledger.count(&copy).unwrap(), ledger.count(&arena).unwrap());
    assert!(copy.read().unwrap().bytes(block).unwrap() == long);
    assert_clean(&copy);
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

/// Another handle frees the run that is being filled, and puts blocks there: the mover leaves them alone.
#[test]
fn a_run_that_another_gave_up_is_filled_no_further() {
    let dir = fast_dir();
    let path = dir.path().join("a");
    let options = options().log_limit(0);
    let arena = options.create(&path).unwrap();
    let ledger = Ledger::create(&arena, 12);
    let other = options.open(&path).unwrap();
    let made = Rc::new(RefCell::new(Vec::new()));
    let makes = made.clone();
    at_failpoint("log: a piece of its new place filled", move || {
        other.shrink().unwrap();
        let mut tx = other.write().unwrap();
        // First fit: they come where the run was.
        *makes.borrow_mut() = (0..64).map(|_| tx.alloc_slice(&[0xABu8; PAGE]).unwrap()).collect();
        tx.commit().unwrap();
    });
    move_log(&arena, (4 * LOG) as u32 / PAGE as u32).unwrap();
    assert_eq!(log_len(&arena), LOG, "it moved into what is others'");
    let tx = arena.read().unwrap();
    assert_eq!(made.borrow().len(), 64, "the move passes that step");
    for &block in made.borrow().iter() {
        assert_eq!(tx.slice(block).unwrap(), [0xAB; PAGE], "a block was overwritten");
    }
    drop(tx);
    assert_clean(&arena);
    ledger.commit(&arena).unwrap();
}

/// Two are at it, the second takes the run away that the first fills: the first gives up, and leaves the second's alone.
#[test]
fn the_last_of_two_movers_gets_there() {
    const TEST: &str = "beside::the_last_of_two_movers_gets_there";
    let pages = (4 * LOG) as u32 / PAGE as u32;
    if let Some((_, file)) = sharing::role() {
        return move_log(&options().log_limit(0).open(file).unwrap(), pages).unwrap();
    }
    for locking in sharing::LOCKINGS {
        let dir = fast_dir();
        let path = dir.path().join("a");
        let arena = options().log_limit(0).locking(locking).create(&path).unwrap();
        let ledger = Ledger::create(&arena, 12);
        let second = Rc::new(RefCell::new(None));
        let starts = second.clone();
        at_failpoint("log: a piece of its new place filled", move || {
            let child =
                sharing::start_stopped_at(TEST, "move", &path, "log: a piece of its new place filled");
            child.wait_stopped();
            *starts.borrow_mut() = Some(child);
        });
        move_log(&arena, pages).unwrap();
        assert_eq!(log_len(&arena), LOG, "{locking:?}: it moved into what the second had taken away");
        let child = second.take().expect("the first passes that step");
        child.go_on();
        child.finish();
        assert_eq!(log_len(&arena), 4 * LOG, "{locking:?}: neither has moved it");
        ledger.commit(&arena).unwrap();
        assert_clean(&arena);
    }
}
