//! Many threads with one arena: writers take turns, every count is exact, and each reader sees one state.

mod common;

use common::{BOTH, assert_clean, fast_dir, small};
use heapfile::{Arena, Locking, Offset, Options, ReadTxn, View};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Both kinds of arena with both ways of locking, patient.
fn all() -> impl Iterator<Item = Options> {
    let modes = [Locking::Shared, Locking::File];
    BOTH.into_iter()
        .flat_map(move |d| modes.map(|mode| small(d).locking(mode).lock_timeout(Duration::from_secs(120))))
}

const CELLS: usize = 64;

#[test]
fn readers_see_one_state() {
    let dir = fast_dir();
    for (i, options) in all().enumerate() {
        let arena = options.create(dir.path().join(i.to_string())).unwrap();
        // Blocks apart from each other, that always hold the same number; of one the length says it, too.
        let mut tx = arena.write().unwrap();
        let cells: Vec<Offset<u64>> = (0..CELLS)
            .map(|_| {
                tx.alloc_zeroed(3000, 1).unwrap();
                tx.alloc(&0u64).unwrap()
            })
            .collect();
        let list = tx.alloc_bytes(&[]).unwrap();
        tx.set_root(list).unwrap();
        tx.commit().unwrap();
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let arena = arena.clone();
                scope.spawn({
                    let (cells, done, reads) = (&cells, &done, &reads);
                    move || {
                        let mut last = 0;
                        while !done.load(Ordering::Relaxed) {
                            let tx = arena.read().unwrap();
                            let first = *tx.get(cells[0]).unwrap();
                            for &cell in cells {
                                assert_eq!(*tx.get(cell).unwrap(), first);
                            }
                            let list = tx.root::<[u8]>().unwrap().unwrap();
                            let bytes = tx.bytes(list).unwrap();
                            assert_eq!(bytes.len() as u64, first % 100 * 500);
                            assert!(bytes.iter().all(|&byte| byte == first as u8));
                            // A view stays as it is for as long as the transaction lives.
                            std::thread::yield_now();
                            assert_eq!(*tx.get(cells[CELLS - 1]).unwrap(), first);
                            assert!(bytes.iter().all(|&byte| byte == first as u8));
                            assert!(first >= last);
                            last = first;
                            reads.fetch_add(1, Ordering::Relaxed);
                            drop(tx);
                            // The whole-file lock knows no queue: let a writer in.
                            std::thread::sleep(Duration::from_micros(100));
                        }
                    }
                });
            }
            let seen = || reads.load(Ordering::Relaxed);
            for n in (1..).take_while(|&n| n <= 40 || seen() < 60) {
                let mut tx = arena.write().unwrap();
                for &cell in &cells {
                    *tx.get_mut(cell).unwrap() = n;
                }
                let list = tx.root::<[u8]>().unwrap().unwrap();
                let list = tx.resize(list, n % 100 * 500).unwrap();
                tx.bytes_mut(list).unwrap().fill(n as u8);
                tx.set_root(list).unwrap();
                tx.commit().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_clean(&arena);
    }
}

#[test]
fn writers_take_turns() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 60;
    let dir = fast_dir();
    for (i, options) in all().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = options.create(&path).unwrap();
        let counter = arena.alloc(&0u64).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let arena = arena.clone();
                scope.spawn(move || {
                    let mut own: Vec<Offset<[u8]>> = Vec::new();
                    for round in 0..ROUNDS {
                        let mut tx = arena.write().unwrap();
                        *tx.get_mut(counter).unwrap() += 1;
                        own.push(
                            tx.alloc_bytes(&vec![thread as u8; (round * 97 % 20_000) as usize]).unwrap(),
                        );
                        if round % 5 == 4 {
                            // What is rolled back counts for nothing.
                            drop(tx);
                            own.pop();
                            continue;
                        }
                        if round % 3 == 2 {
                            tx.free(own.remove(0)).unwrap();
                        }
                        tx.commit().unwrap();
                        // One-call transactions between the others.
                        if round % 7 == 0 {
                            let x = arena.alloc(&thread).unwrap();
                            assert_eq!(arena.read().unwrap().get(x).unwrap(), &thread);
                            arena.free(x).unwrap();
                        }
                    }
                    let tx = arena.read().unwrap();
                    for block in own {
                        assert!(tx.bytes(block).unwrap().iter().all(|&byte| byte == thread as u8));
                    }
                });
            }
        });
        let expected = THREADS * ROUNDS * 4 / 5;
        assert_eq!(*arena.read().unwrap().get(counter).unwrap(), expected);
        let freed = (0..ROUNDS).filter(|round| round % 3 == 2 && round % 5 != 4).count() as u64;
        assert_eq!(arena.read().unwrap().blocks().count() as u64, 1 + expected - THREADS * freed);
        assert_clean(&arena);
        drop(arena);
        assert_clean(&Arena::open(&path).unwrap());
    }
}

/// Syncs and checkpoints run beside the writers and take nothing away.
#[test]
fn syncs_and_checkpoints_beside_writers() {
    let dir = fast_dir();
    for (i, options) in all().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = options.create(&path).unwrap();
        let counter = arena.alloc(&0u64).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    arena.checkpoint().unwrap();
                    arena.sync().unwrap();
                    arena.stats().unwrap();
                    assert_clean(&arena);
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            for n in 1..=200u64 {
                let mut tx = arena.write().unwrap();
                *tx.get_mut(counter).unwrap() = n;
                tx.alloc_bytes(&[n as u8; 700]).unwrap();
                tx.commit().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_clean(&arena);
        let copy = dir.path().join("copy");
        common::copy_as_killed(&path, &copy);
        let copied = Arena::open(&copy).unwrap();
        assert_eq!(*copied.read().unwrap().get(counter).unwrap(), 200);
        assert_clean(&copied);
    }
}

/// Reads while its thread ends, when what the library keeps for the thread is gone.
struct AtExit {
    reading: Option<ReadTxn<'static>>,
    other: &'static Arena,
}

static READS_AT_EXIT: AtomicU64 = AtomicU64::new(0);

impl Drop for AtExit {
    fn drop(&mut self) {
        let late = self.other.read().unwrap();
        drop(self.reading.take());
        // A panic here would end the process.
        let ended = catch_unwind(AssertUnwindSafe(|| drop(late)));
        READS_AT_EXIT.fetch_add(u64::from(ended.is_ok()), Ordering::Relaxed);
    }
}

thread_local! {
    static AT_EXIT: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_reads_while_it_ends() {
    let dir = fast_dir();
    let [one, other] = ["one", "other"]
        .map(|name| &*Box::leak(Box::new(small(BOTH[0]).create(dir.path().join(name)).unwrap())));
    let ending = move || {
        // Before the library keeps anything for this thread: what comes first goes last.
        AT_EXIT.with(|_| ());
        let reading = Some(one.read().unwrap());
        drop(other.read().unwrap());
        AT_EXIT.set(Some(AtExit { reading, other }));
    };
    std::thread::spawn(ending).join().unwrap();
    assert_eq!(READS_AT_EXIT.load(Ordering::Relaxed), 1);
    assert!(one.write().is_ok() && other.write().is_ok());
}
