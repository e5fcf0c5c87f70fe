//! `fork`: the child's copies of handles are of no use and do no harm, the parent's death frees what it held although
//! the child lives on, and the child can open the arena for itself.

mod sharing;

use heapfile::{Arena, Error, Locking, Options, SnapshotOptions, View};
use sharing::*;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Forks; the child runs `child` and ends without running destructors or the test harness. Returns its process id.
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the children here do what the library promises to work after a fork; glibc keeps its allocator usable.
    match unsafe { libc::fork() } {
        0 => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(if outcome.is_ok() { 0 } else { 1 }) }
        }
        -1 => panic!("cannot fork"),
        pid => pid,
    }
}

#[track_caller]
fn ends_well(pid: i32) {
    let mut status = 0;
    // SAFETY: waits for a child of this process, with a place for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
}

#[track_caller]
fn is_forked<T>(outcome: heapfile::Result<T>) {
    match outcome.map(drop) {
        Err(Error::Forked) => {}
        other => panic!("Forked is expected, not {other:?}"),
    }
}

/// Everything that a handle offers. None of it leaves anything in the file, which the parent goes on with.
fn all_refuse(arena: &Arena) {
    let before = std::fs::read(arena.path()).expect("the file can be read");
    is_forked(arena.read());
    is_forked(arena.write());
    is_forked(arena.submit(|tx| tx.alloc(&1u64)));
    is_forked(arena.alloc(&1u64));
    is_forked(arena.alloc_bytes(b"one"));
    is_forked(arena.alloc_unset(8, 8));
    is_forked(arena.alloc_with(8, 8, |_, bytes| bytes.fill(1)));
    is_forked(arena.free(heapfile::Offset::<u64>::from_raw(1 << 20)));
    is_forked(arena.sync());
    is_forked(arena.checkpoint());
    is_forked(arena.stats());
    is_forked(arena.handles());
    is_forked(arena.check());
    is_forked(arena.share());
    is_forked(arena.shrink());
    is_forked(arena.snapshot(arena.path().with_extension("copy"), &SnapshotOptions::new()));
    is_forked(arena.runs().collect::<heapfile::Result<Vec<_>>>());
    let store = heapfile::store::Store::with(arena.clone());
    is_forked(store.put("t", b"key", b"value"));
    is_forked(store.delete("t", b"key"));
    is_forked(store.shrink());
    let after = std::fs::read(arena.path()).expect("the file can be read");
    assert!(before == after, "the child has changed the file");
}

/// In a process of its own: forks with a handle, with transactions open, with handles dropped by the child.
fn children_of_one_parent(file: &Path, locking: Locking) {
    let arena = Options::new().locking(locking).open(file).expect("it opens");
    // An idle handle.
    ends_well(fork(|| {
        all_refuse(&arena);
        let again = Options::new().locking(locking).open(file).expect("a child may open it again");
        commit_next(&again).expect("and commit");
    }));
    assert_eq!(read_number(&arena), 1);

    // A read transaction: the child gets no new views, and its drop takes nothing off the parent's count.
    let reading = arena.read().expect("a reader");
    let moved = std::mem::ManuallyDrop::new(arena.read().expect("a nested reader"));
    ends_well(fork(|| {
        is_forked(reading.root::<u64>().and_then(|_| reading.bytes(heapfile::Offset::from_raw(1 << 20))));
        // SAFETY: dropped once in this process; the parent's copy is another.
        drop(unsafe { std::ptr::read(&*moved) });
        all_refuse(&arena);
    }));
    if locking == Locking::Shared {
        assert_eq!(arena.handles().expect("handles")[0].readers, 2);
    }
    drop(std::mem::ManuallyDrop::into_inner(moved));
    drop(reading);

    // A write transaction: whatever the child does with it, the parent's commits.
    let mut tx = arena.write().expect("a writer");
    set_number(&mut tx, 2).expect("a change");
    let block = tx.alloc_unset(1 << 20, 8).expect("space");
    tx.write_at(block, 0, &[7; 1 << 20]).expect("filled in place");
    ends_well(fork(|| {
        // SAFETY: as above.
        let mut copy = unsafe { std::ptr::read(&tx) };
        is_forked(copy.write_at(block, 0, &[9; 8192]));
        is_forked(copy.commit());
        all_refuse(&arena);
        drop(arena.clone());
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&arena) });
    }));
    tx.commit().expect("the parent commits");
    assert!(arena.read().expect("a reader").bytes(block).expect("the block").iter().all(|&b| b == 7));
    assert_eq!(commit_next(&arena).expect("the parent goes on"), 3);
    assert_clean(&arena);
}

/// Holds the lock, leaves a child behind, and waits for its death.
fn leave_a_child(file: &Path) {
    let arena = Arena::open(file).expect("it opens");
    let mut tx = arena.write().expect("a writer");
    set_number(&mut tx, 99).expect("a change");
    let reading = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        if arena.locking() == Locking::Shared {
            threads.spawn(|| {
                let _tx = arena.read().expect("a reader");
                reading.0.send(()).expect("the other thread lives");
                wait_for_death();
            });
            reading.1.recv().expect("the thread reads");
        }
        let child = fork(|| {
            listen();
        });
        say(&format!("{child}"));
        wait_for_death();
    });
}

/// Forks again and again while other threads open handles, and leaves all children behind.
fn fork_while_opening(file: &Path) {
    let opened = AtomicU32::new(0);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                for _ in 0..60 {
                    std::mem::forget(Options::new().max_size(64 << 20).open(file).expect("it opens"));
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while opened.load(Ordering::Relaxed) < 180 {
            fork(|| {
                listen();
            });
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    say("forked");
    wait_for_death();
}

#[test]
fn children_do_no_harm() {
    if let Some((role, file)) = role() {
        return children_of_one_parent(&file, if role == "Shared" { Locking::Shared } else { Locking::File });
    }
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        drop(create(&file, &options(durability).locking(locking)));
        start("children_do_no_harm", &format!("{locking:?}"), &file).finish();
        assert_eq!(read_number(&Arena::open(&file).expect("it opens")), 3);
    }
}

#[test]
fn a_parents_death_frees_its_locks_though_a_child_lives() {
    const TEST: &str = "a_parents_death_frees_its_locks_though_a_child_lives";
    if let Some((_, file)) = role() {
        return leave_a_child(&file);
    }
    let dir = dir();
    for (durability, locking) in BOTH.into_iter().flat_map(|d| LOCKINGS.map(|l| (d, l))) {
        let file = dir.path().join(format!("{durability:?}{locking:?}.heap"));
        let arena = create(&file, &options(durability).locking(locking));
        let mut parent = start(TEST, "parent", &file);
        let child: i32 = parent.hear().parse().expect("a process id");
        parent.kill();
        assert_eq!(commit_next(&arena).expect("the lock is free, the reader gone"), 1);
        // SAFETY: a plain system call that only asks.
        assert_eq!(unsafe { libc::kill(child, 0) }, 0, "the child lives");
        if locking == Locking::Shared {
            assert_eq!(arena.handles().expect("handles").len(), 1);
        }
        assert_clean(&arena);
    }
}

#[test]
fn no_fork_falls_between_opening_and_giving_up() {
    if let Some((_, file)) = role() {
        return fork_while_opening(&file);
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(heapfile::Durability::Process));
    let mut parent = start("no_fork_falls_between_opening_and_giving_up", "parent", &file);
    parent.expect("forked");
    assert_eq!(arena.handles().expect("handles").len(), 181);
    parent.kill();
    // The last child may not have come to give up anything yet.
    eventually("children give up what they inherited", || arena.handles().expect("handles").len() == 1);
    assert_eq!(commit_next(&arena).expect("a commit"), 1);
    assert_clean(&arena);
}

/// In a process of its own: forks where nothing can be opened, and has the child use a descriptor beside its copy of the handle.
fn fork_where_nothing_can_be_opened(file: &Path, why: &str) {
    let arena = Arena::open(file).expect("it opens");
    let zeros = || std::fs::File::open("/dev/zero");
    let mut mine = vec![zeros().expect("it can be opened")];
    if why == "chroot" {
        std::os::unix::fs::chroot(file.parent().expect("a directory")).expect("root may do so");
    } else {
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: a plain system call that reads the struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        mine.extend(std::iter::from_fn(|| zeros().ok()));
    }
    ends_well(fork(|| {
        let first = mine.swap_remove(0);
        drop(mine.pop());
        let own = first.try_clone().expect("a descriptor is free");
        // SAFETY: dropped once in this process; the parent's copy is another.
        drop(unsafe { std::ptr::read(&arena) });
        own.metadata().expect("it is still open");
    }));
    assert_eq!(commit_next(&arena).expect("the parent goes on"), 1);
}

#[test]
fn children_close_nothing_but_what_they_give_up() {
    if let Some((role, file)) = role() {
        return fork_where_nothing_can_be_opened(&file, &role);
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    // SAFETY: a plain system call.
    let is_root = unsafe { libc::geteuid() } == 0;
    for why in ["no descriptors", "chroot"].into_iter().filter(|&why| why != "chroot" || is_root) {
        let _ = std::fs::remove_file(&file);
        drop(create(&file, &options(heapfile::Durability::Process)));
        start("children_close_nothing_but_what_they_give_up", why, &file).finish();
    }
}

/// The child's copy of a group's batch is ended by nobody. Whether a child is made while others of the group wait, and the batch is young, is a matter of time: so many are made.
#[test]
fn a_child_made_inside_a_group_does_not_wait_for_it() {
    const ROUNDS: usize = 30;
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(heapfile::Durability::Process));
    let blocks = || arena.read().expect("a reader").blocks().count();
    let before = blocks();
    for _ in 0..ROUNDS {
        let begun = AtomicU32::new(0);
        std::thread::scope(|threads| {
            // Holds the others up until all of them wait.
            threads.spawn(|| {
                let held = arena.submit(|tx| {
                    begun.store(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(10));
                    tx.alloc(&0u64)
                });
                held.expect("a member");
            });
            eventually("the others are held up", || begun.load(Ordering::Relaxed) == 1);
            for n in 1..4u64 {
                let arena = &arena;
                threads.spawn(move || arena.submit(|tx| tx.alloc(&n)).expect("a member"));
            }
            fork_in_a_group(&arena);
        });
    }
    assert_eq!(blocks(), before + 5 * ROUNDS);
}

fn fork_in_a_group(arena: &Arena) {
    let mut pid = -1;
    let outcome = arena.submit(|tx| {
        // SAFETY: as in `fork`.
        pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: a signal that nobody handles, should this child hang.
            unsafe { libc::alarm(5) };
        }
        tx.alloc(&5u64)
    });
    if pid == 0 {
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(if matches!(outcome, Err(Error::Forked)) { 0 } else { 1 }) }
    }
    outcome.expect("the parent goes on");
    ends_well(pid);
}
