//! Changes of several threads in one commit: all of those that succeed are there, none of the others, and a failed commit fails all of its members.

mod common;

use common::{BOTH, assert_clean, small};
use heapfile::testing::{self, Call, SimDisk};
use heapfile::{Arena, Error, Offset, Options, View};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const THREADS: u64 = 8;
const EACH: u64 = 60;

fn add_one(arena: &Arena, counter: Offset<u64>) -> Result<u64, Error> {
    arena.submit(|tx| {
        *tx.get_mut(counter)? += 1;
        Ok(*tx.get(counter)?)
    })
}

#[test]
fn what_all_threads_submit_is_there() {
    for durability in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.heap");
        let arena = small(durability).create(&path).unwrap();
        let counter = arena.alloc(&0u64).unwrap();
        let seen: Vec<AtomicU64> = (0..THREADS * EACH).map(|_| AtomicU64::new(0)).collect();
        let start = Barrier::new(THREADS as usize);
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    start.wait();
                    for _ in 0..EACH {
                        let now = add_one(&arena, counter).unwrap();
                        // Acknowledged is committed: readers see it.
                        assert!(*arena.read().unwrap().get(counter).unwrap() >= now);
                        seen[now as usize - 1].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(
            seen.iter().all(|times| times.load(Ordering::Relaxed) == 1),
            "each sees what those before it did"
        );
        assert_clean(&arena);
        drop(arena);
        let arena = small(durability).open(&path).unwrap();
        assert_eq!(*arena.read().unwrap().get(counter).unwrap(), THREADS * EACH);
    }
}

#[test]
fn one_commit_serves_many() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create(dir.path().join("a.heap")).unwrap();
    let counter = arena.alloc(&0u64).unwrap();
    let before = arena.stats().unwrap().sequence;
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| (0..EACH).for_each(|_| assert!(add_one(&arena, counter).is_ok())));
        }
    });
    let commits = arena.stats().unwrap().sequence - before;
    assert!(commits < THREADS * EACH, "{commits} commits");
}

#[test]
fn a_change_that_fails_or_panics_is_taken_back_alone() {
    for durability in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let arena = small(durability).create(dir.path().join("a.heap")).unwrap();
        let counter = arena.alloc(&0u64).unwrap();
        std::thread::scope(|threads| {
            for thread in 0..THREADS {
                let arena = &arena;
                threads.spawn(move || {
                    for _ in 0..EACH {
                        match thread % 4 {
                            0 => {
                                let outcome = arena.submit(|tx| {
                                    *tx.get_mut(counter)? += 1000;
                                    tx.free(Offset::<u64>::from_raw(8))
                                });
                                assert!(matches!(outcome, Err(Error::BadOffset { .. })), "{outcome:?}");
                            }
                            1 => {
                                let outcome = catch_unwind(AssertUnwindSafe(|| {
                                    arena.submit(|tx| {
                                        *tx.get_mut(counter)? += 1000;
                                        tx.alloc(&1u64)?;
                                        if *tx.get(counter)? > 0 {
                                            std::panic::resume_unwind(Box::new(7));
                                        }
                                        Ok::<(), Error>(())
                                    })
                                }));
                                assert_eq!(*outcome.unwrap_err().downcast::<i32>().unwrap(), 7);
                            }
                            _ => assert!(add_one(arena, counter).is_ok()),
                        }
                    }
                });
            }
        });
        assert_eq!(*arena.read().unwrap().get(counter).unwrap(), THREADS / 2 * EACH);
        assert_eq!(arena.read().unwrap().blocks().count(), 1);
        assert_clean(&arena);
        drop(arena.write().unwrap());
    }
}

#[test]
fn whoever_would_wait_for_itself_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create(dir.path().join("a.heap")).unwrap();
    let counter = arena.alloc(&0u64).unwrap();
    let deadlocks = |outcome: Result<u64, Error>| matches!(outcome, Err(Error::WouldDeadlock { .. }));
    let tx = arena.read().unwrap();
    assert!(deadlocks(add_one(&arena, counter)));
    drop(tx);
    let tx = arena.write().unwrap();
    assert!(deadlocks(add_one(&arena, counter)));
    drop(tx);
    arena
        .submit(|tx| {
            assert!(deadlocks(add_one(&arena, counter)));
            assert!(matches!(arena.write(), Err(Error::WouldDeadlock { .. })));
            assert!(matches!(arena.alloc(&1u8), Err(Error::WouldDeadlock { .. })));
            *tx.get_mut(counter)? += 1;
            Ok::<(), Error>(())
        })
        .unwrap();
    let mut kept = None;
    let outcome = arena.submit(|tx| {
        *tx.get_mut(counter)? += 1;
        kept = Some(arena.read()?);
        Ok::<(), Error>(())
    });
    assert!(matches!(outcome, Err(Error::WouldDeadlock { .. })), "{outcome:?}");
    drop(kept);
    assert_eq!(*arena.read().unwrap().get(counter).unwrap(), 1);
    assert!(arena.write().is_ok() && add_one(&arena, counter).is_ok());
}

#[test]
fn a_transaction_exchanged_for_another_takes_the_handle_out_of_use() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create(dir.path().join("a.heap")).unwrap();
    // For ever, as only such a one can be.
    let other: &Arena = Box::leak(Box::new(Arena::create(dir.path().join("b.heap")).unwrap()));
    let counter = arena.alloc(&0u64).unwrap();
    let outcome = arena.submit(|tx| {
        *tx.get_mut(counter)? += 1;
        let mut others = other.write()?;
        std::mem::swap(tx, &mut others);
        Ok::<(), Error>(())
    });
    assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
    assert!(matches!(arena.write(), Err(Error::Poisoned { .. })));
    drop(arena);
    let arena = Arena::open(dir.path().join("a.heap")).unwrap();
    assert_eq!(*arena.read().unwrap().get(counter).unwrap(), 0);
}

#[test]
fn a_commit_that_fails_fails_for_all_its_members() {
    let disk = SimDisk::new().unwrap();
    disk.record(false).unwrap();
    let options = small(heapfile::Durability::Power);
    let arena = testing::create(&disk, &options).unwrap();
    let counter = arena.alloc(&0u64).unwrap();
    disk.fail_from(Call::WriteDurable, 0, libc::EIO);
    let failed = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| match add_one(&arena, counter) {
                // Whoever comes after the batch that failed cannot begin a new one.
                Err(Error::Group { .. } | Error::Poisoned { .. } | Error::Io { .. }) => {
                    failed.fetch_add(1, Ordering::Relaxed)
                }
                other => panic!("{other:?}"),
            });
        }
    });
    assert_eq!(failed.load(Ordering::Relaxed), THREADS);
    disk.clear_faults();
    drop(arena);
    let arena = testing::open(&disk, &options).unwrap();
    // The first record may have reached the disk before the write failed; never half of it.
    assert!(*arena.read().unwrap().get(counter).unwrap() <= THREADS);
    assert_clean(&arena);
}

/// Those that wait for one another wait for the lock together, not in turn.
#[test]
fn many_that_wait_in_vain_wait_for_one_timeout() {
    const MANY: u32 = 32;
    let timeout = Duration::from_millis(500);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.heap");
    let other = Arena::create(&path).unwrap();
    let arena = Options::new().lock_timeout(timeout).open(&path).unwrap();
    let owning = other.write().unwrap();
    let start = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..MANY {
            threads.spawn(|| match arena.submit(|tx| tx.alloc(&1u64)) {
                Err(Error::Busy { waited, .. }) => assert!(waited >= timeout),
                outcome => panic!("{outcome:?}"),
            });
        }
    });
    assert!(start.elapsed() < timeout * MANY / 2, "{:?}", start.elapsed());
    drop(owning);
    assert!(arena.submit(|tx| tx.alloc(&1u64)).is_ok());
}
