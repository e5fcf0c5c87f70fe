//! `Locking::File`: who may read and write at the same time; waiting, its limit, and waiting for oneself. What does not depend on the way
//! of locking is tested with both.

mod common;

use common::{BOTH, assert_clean, child, dir, role, small, tell};
use heapfile::{Arena, Durability, Error, Locking, Offset, Options, View};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(60);

fn file(durability: Durability) -> Options {
    small(durability).locking(Locking::File)
}

/// Both kinds of arena with both ways of locking.
fn all() -> impl Iterator<Item = Options> {
    BOTH.into_iter().flat_map(|d| [small(d).locking(Locking::Shared), file(d)])
}

#[track_caller]
fn assert_busy<T: std::fmt::Debug>(outcome: heapfile::Result<T>) {
    match outcome {
        Err(Error::Busy { waited, .. }) => assert!(waited >= SHORT),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_deadlock<T>(outcome: heapfile::Result<T>, expected: &str) {
    match outcome.map(drop) {
        Err(Error::WouldDeadlock { held }) => assert!(held.contains(expected), "{held}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thread_never_waits_for_itself() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        // With this timeout a wait would be noticed.
        let options = file(durability).lock_timeout(Duration::from_secs(3600));
        let arena = options.create(&path).unwrap();
        let other = options.open(&path).unwrap();
        let x = arena.alloc(&1u32).unwrap();

        let reading = arena.read().unwrap();
        for handle in [&arena, &arena.clone(), &other] {
            assert_deadlock(handle.write(), "read");
            assert_deadlock(handle.alloc(&1u8), "read");
            assert_deadlock(handle.free(x), "read");
            assert_deadlock(handle.checkpoint(), "read");
            assert_eq!(handle.read().unwrap().get(x).unwrap(), &1);
            assert!(handle.check().unwrap().is_clean());
        }
        drop(reading);

        // Changed since the last sync, so that there is something to sync.
        arena.alloc(&2u32).unwrap();
        let mut writing = arena.write().unwrap();
        for handle in [&arena, &arena.clone(), &other] {
            assert_deadlock(handle.read(), "write");
            assert_deadlock(handle.write(), "write");
            assert_deadlock(handle.check(), "write");
            assert_deadlock(handle.stats(), "write");
            assert_deadlock(handle.checkpoint(), "write");
            assert_deadlock(handle.alloc(&1u8), "write");
        }
        writing.free(x).unwrap();
        writing.commit().unwrap();
        assert_clean(&arena);
        // A transaction of another arena is in nobody's way.
        let far = small(durability).create(dir.path().join(format!("far{i}"))).unwrap();
        let _reading = far.read().unwrap();
        arena.alloc(&1u8).unwrap();
    }
}

#[test]
fn writers_and_readers_wait_up_to_the_timeout() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let options = file(durability).lock_timeout(SHORT);
        let arena = options.create(&path).unwrap();
        let x = arena.alloc(&1u32).unwrap();
        let other = options.open(&path).unwrap();
        for handle in [arena.clone(), other] {
            std::thread::scope(|scope| {
                let mut tx = arena.write().unwrap();
                *tx.get_mut(x).unwrap() = 99;
                let waiting = scope.spawn(|| {
                    assert_busy(handle.write());
                    assert_busy(handle.read());
                    assert_busy(handle.alloc(&1u8));
                    assert_busy(handle.check());
                    assert_busy(options.open(&path));
                });
                waiting.join().unwrap();
            });
            std::thread::scope(|scope| {
                let tx = arena.read().unwrap();
                let waiting = scope.spawn(|| {
                    assert_eq!(handle.read().unwrap().get(x).unwrap(), &1);
                    assert_busy(handle.write());
                    assert_busy(handle.free(x));
                });
                waiting.join().unwrap();
                assert_eq!(tx.get(x).unwrap(), &1);
            });
            // Nothing was changed, nothing is left locked.
            assert_eq!(handle.read().unwrap().get(x).unwrap(), &1);
            drop(handle.write().unwrap());
        }
        assert_clean(&arena);
    }
}

#[test]
fn a_waiting_writer_goes_on_when_the_lock_is_free() {
    let dir = dir();
    for (i, options) in all().enumerate() {
        let path = dir.path().join(i.to_string());
        let options = options.lock_timeout(Duration::from_secs(600));
        let arena = options.create(&path).unwrap();
        let other = options.open(&path).unwrap();
        for handle in [arena.clone(), other] {
            let (begin, begun) = mpsc::channel();
            let tx = arena.write().unwrap();
            let waiting = std::thread::spawn(move || {
                begin.send(()).unwrap();
                handle.alloc(&5u64).unwrap()
            });
            begun.recv().unwrap();
            std::thread::sleep(SHORT);
            assert!(!waiting.is_finished());
            drop(tx);
            let x = waiting.join().unwrap();
            assert_eq!(arena.read().unwrap().get(x).unwrap(), &5);
        }
    }
}

#[test]
fn two_handles_of_one_process_see_each_others_commits() {
    let dir = dir();
    for (i, options) in all().enumerate() {
        let path = dir.path().join(i.to_string());
        let a = options.create(&path).unwrap();
        let b = options.open(&path).unwrap();
        let counter = a.alloc(&0u64).unwrap();
        let mut blocks: Vec<Offset<[u8]>> = Vec::new();
        for round in 0..60u64 {
            let arena = if round % 3 == 0 { &a } else { &b };
            let mut tx = arena.write().unwrap();
            assert_eq!(*tx.get(counter).unwrap(), round);
            *tx.get_mut(counter).unwrap() += 1;
            // Both grow the file and fill it in place, under the other's mapping.
            blocks.push(tx.alloc_bytes(&vec![round as u8; 20_000]).unwrap());
            if round % 4 == 3 {
                tx.free(blocks.remove(0)).unwrap();
            }
            tx.commit().unwrap();
            let reader = if round % 2 == 0 { &a } else { &b };
            let tx = reader.read().unwrap();
            for &block in &blocks {
                let bytes = tx.bytes(block).unwrap();
                assert!(bytes.len() == 20_000 && bytes.iter().all(|&b| b == bytes[0]));
            }
        }
        assert_clean(&a);
        assert_clean(&b);
        drop(a);
        b.free(blocks.pop().unwrap()).unwrap();
        assert_clean(&b);
    }
}

/// The child takes what its role says, tells of it, and waits for the end of its standard input.
fn hold(role: &str, file: &Path) {
    let arena = Options::new().locking(Locking::File).open(file).unwrap();
    let wait = || {
        tell("held");
        let _ = std::io::stdin().read(&mut [0]);
    };
    match role {
        "write" => {
            let mut tx = arena.write().unwrap();
            tx.alloc_bytes(&[1; 100_000]).unwrap();
            wait();
        }
        "read" => {
            let _tx = arena.read().unwrap();
            wait();
        }
        other => panic!("{other}"),
    }
}

fn start(test: &str, role: &str, file: &Path) -> Child {
    let mut child = child(test, role, file).stdin(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child
}

#[test]
fn another_process_holds_the_lock() {
    if let Some((role, file)) = role() {
        return hold(&role, &file);
    }
    let test = "another_process_holds_the_lock";
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let options = file(durability).lock_timeout(SHORT);
        let arena = options.create(&path).unwrap();
        let x = arena.alloc(&1u32).unwrap();

        let mut writer = start(test, "write", &path);
        assert_busy(arena.write());
        assert_busy(arena.read());
        assert_busy(options.open(&path));
        assert_busy(options.open_read_only(&path));
        // A stopped process is alive: nobody takes over.
        let pid = rustix::process::Pid::from_child(&writer);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        assert_busy(arena.write());
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        assert_busy(arena.write());
        // A killed one is dead.
        writer.kill().unwrap();
        writer.wait().unwrap();
        let mut tx = arena.write().unwrap();
        *tx.get_mut(x).unwrap() += 1;
        tx.commit().unwrap();

        let mut reader = start(test, "read", &path);
        assert_eq!(arena.read().unwrap().get(x).unwrap(), &2);
        assert_busy(arena.write());
        drop(reader.stdin.take());
        assert!(reader.wait().unwrap().success());
        arena.free(x).unwrap();
        assert_clean(&arena);
    }
}

#[test]
fn processes_take_turns() {
    const ROUNDS: u64 = 40;
    let raise = |arena: &Arena| {
        for _ in 0..ROUNDS {
            let mut tx = arena.write().unwrap();
            let counter = tx.root::<u64>().unwrap().unwrap();
            let n = *tx.get(counter).unwrap() + 1;
            *tx.get_mut(counter).unwrap() = n;
            tx.alloc_bytes(&vec![n as u8; (n * 731 % 30_000) as usize]).unwrap();
            tx.commit().unwrap();
        }
    };
    if let Some((_, file)) = role() {
        return raise(&Options::new().lock_timeout(Duration::from_secs(100)).open(file).unwrap());
    }
    let dir = common::fast_dir();
    for (i, options) in all().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = options.lock_timeout(Duration::from_secs(100)).create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        let counter = tx.alloc(&0u64).unwrap();
        tx.set_root(counter).unwrap();
        tx.commit().unwrap();
        let children: Vec<_> =
            (0..3).map(|_| child("processes_take_turns", "raise", &path).spawn().unwrap()).collect();
        raise(&arena);
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let tx = arena.read().unwrap();
        assert_eq!(*tx.get(counter).unwrap(), 4 * ROUNDS);
        // The counter, its root's two blocks, and a block of each round.
        assert_eq!(tx.blocks().count() as u64, 3 + 4 * ROUNDS);
        drop(tx);
        assert_clean(&arena);
    }
}

#[test]
fn a_timeout_of_nothing_tries_once() {
    let dir = dir();
    for (i, options) in all().enumerate() {
        let arena = options.lock_timeout(Duration::ZERO).create(dir.path().join(i.to_string())).unwrap();
        let _tx = arena.write().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| assert!(matches!(arena.write(), Err(Error::Busy { .. }))));
            waiting.join().unwrap();
        });
    }
}
