//! Opening after a kill: what the killed process had applied is not looked at again, however long the log; unless the file is not
//! the one that it left.

mod common;

use common::{child, dir, role, tell};
use heapfile::{Arena, Durability, Offset, Options, View};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

const BLOCKS: u64 = 3000;
const BLOCK: u64 = 4096;

/// An arena of many blocks; the root block leads to them.
fn create(path: &Path) {
    let options = Options::new().durability(Durability::Power).log_size(2 << 20).max_size(64 << 20);
    let arena = options.create(path).unwrap();
    let mut tx = arena.write().unwrap();
    let blocks: Vec<u64> = (0..BLOCKS).map(|_| tx.alloc_zeroed(BLOCK, 8).unwrap().raw()).collect();
    let root = tx.alloc_bytes(bytemuck::cast_slice(&blocks)).unwrap();
    tx.set_root(root).unwrap();
    tx.commit().unwrap();
    arena.checkpoint().unwrap();
}

fn blocks(view: &impl View) -> Vec<Offset<[u8]>> {
    let root = view.root::<[u8]>().unwrap().expect("the arena has a root");
    let bytes = view.bytes(root).unwrap();
    bytes.chunks_exact(8).map(|raw| Offset::from_raw(u64::from_le_bytes(raw.try_into().unwrap()))).collect()
}

/// Writes into each block, in several commits, and waits to be killed.
fn write_all(path: &Path) {
    let arena = Arena::open(path).unwrap();
    let blocks = blocks(&arena.read().unwrap());
    for part in blocks.chunks(100) {
        let mut tx = arena.write().unwrap();
        part.iter().for_each(|&block| tx.write_at(block, 0, &[7]).unwrap());
        tx.commit().unwrap();
    }
    tell("done");
    std::thread::sleep(Duration::from_secs(600));
}

/// Has a child do that, and kills it.
fn killed(test: &str, path: &Path) {
    let mut child = child(test, "write", path).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn assert_all_written(path: &Path) {
    let arena = Arena::open(path).unwrap();
    let tx = arena.read().unwrap();
    let written = blocks(&tx).into_iter().filter(|&block| tx.bytes(block).unwrap()[0] == 7).count();
    assert_eq!(written as u64, BLOCKS);
}

/// Pages that this thread touched for the first time while `work` ran.
fn touched(work: impl FnOnce()) -> i64 {
    let faults = || {
        // SAFETY: all zeros are a valid `rusage`, which the call fills.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a `rusage` of our own.
        let outcome = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        assert_eq!(outcome, 0);
        usage.ru_minflt
    };
    let before = faults();
    work();
    faults() - before
}

#[test]
fn what_was_applied_is_not_looked_at_again() {
    if let Some((_, path)) = role() {
        return write_all(&path);
    }
    let (dir, kernel) = (dir(), std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap());
    let version: Vec<u32> = kernel.split('.').take(2).map_while(|part| part.parse().ok()).collect();
    if version < vec![6, 8] {
        println!("Linux {kernel} does not number mounts for good");
        return;
    }
    let (path, copy) = (dir.path().join("a.heap"), dir.path().join("copy.heap"));
    create(&path);
    killed("what_was_applied_is_not_looked_at_again", &path);
    std::fs::copy(&path, &copy).unwrap();
    // A copy is another file: of that nothing is known.
    let all = touched(|| drop(Arena::open(&copy).unwrap()));
    let few = touched(|| drop(Arena::open(&path).unwrap()));
    println!("pages touched: {few} of {all}");
    assert!(few * 3 < all, "{few} of {all}");
    assert_all_written(&path);
    assert_all_written(&copy);
}

/// As a snapshot of the disk that was taken in the middle of a commit: the log and the runtime words have what the heap has not.
#[test]
fn an_older_state_that_was_put_in_its_place_is_replayed() {
    if let Some((_, path)) = role() {
        return write_all(&path);
    }
    let dir = dir();
    let (path, copy) = (dir.path().join("a.heap"), dir.path().join("copy.heap"));
    create(&path);
    let before = std::fs::read(&path).unwrap();
    killed("an_older_state_that_was_put_in_its_place_is_replayed", &path);
    let mut older = std::fs::read(&path).unwrap();
    let last = {
        std::fs::write(&copy, &before).unwrap();
        let arena = Arena::open(&copy).unwrap();
        let tx = arena.read().unwrap();
        blocks(&tx).last().unwrap().raw() as usize
    };
    older[last..last + 8].copy_from_slice(&before[last..last + 8]);
    std::thread::sleep(Duration::from_millis(50));
    std::fs::write(&path, &older).unwrap();
    assert_all_written(&path);
    // And in the place of another file.
    std::fs::write(&copy, &older).unwrap();
    assert_all_written(&copy);
}
