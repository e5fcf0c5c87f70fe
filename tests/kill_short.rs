//! Allocations and frees that are transactions of their own, killed at every step: each that returned is there, the one under way is there whole or not
//! at all, and another handle goes on.

mod common;

use common::{BOTH, assert_clean, child, fast_dir, role, small, tell};
use heapfile::testing::FAILPOINTS;
use heapfile::{Arena, Durability, Offset, View};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Content of the block that was allocated as the n-th.
fn content(n: u64) -> Vec<u8> {
    let len = [8, 40, 100, 250, 3_000, 20_000][n as usize % 6];
    n.to_le_bytes().repeat(len / 8 + 1)[..len].to_vec()
}

/// The child's part: says what it is about to do, does it, says that it is done.
fn work(file: &Path) {
    let arena = Arena::open(file).unwrap();
    let mut live = Vec::new();
    for n in 0..60u64 {
        tell(&format!("alloc {n}"));
        let block = arena.alloc_bytes(&content(n)).unwrap();
        tell(&format!("done {}", block.raw()));
        live.push(block);
        if n % 3 == 2 {
            let block = live.remove((n as usize * 7) % live.len());
            tell(&format!("free {}", block.raw()));
            arena.free(block).unwrap();
            tell("done 0");
        }
    }
}

/// What the child said.
#[derive(Debug, Default)]
struct Heard {
    live: BTreeMap<u64, u64>,
    under_way: Option<(String, u64)>,
}

impl Heard {
    fn line(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some(word), Some(Ok(n))) = (words.next(), words.next().map(str::parse)) else { return };
        match (word, self.under_way.take()) {
            ("alloc" | "free", _) => self.under_way = Some((word.to_owned(), n)),
            ("done", Some((what, number))) if what == "alloc" => drop(self.live.insert(n, number)),
            ("done", Some((_, offset))) => drop(self.live.remove(&offset)),
            _ => {}
        }
    }

    /// Compares the arena with what was heard.
    fn judge(&self, arena: &Arena, point: &str) {
        assert_clean(arena);
        let tx = arena.read().unwrap();
        let found: BTreeMap<u64, Vec<u8>> = tx
            .blocks()
            .map(|block| {
                let offset = block.unwrap().offset;
                (offset.raw(), tx.bytes(offset).unwrap().to_vec())
            })
            .collect();
        let mut expected: BTreeMap<u64, Vec<u8>> =
            self.live.iter().map(|(&offset, &n)| (offset, content(n))).collect();
        if found != expected {
            match &self.under_way {
                Some((what, n)) if what == "alloc" => {
                    let new = found.keys().find(|offset| !expected.contains_key(offset));
                    let new = *new.unwrap_or_else(|| panic!("{point}: something is lost"));
                    expected.insert(new, content(*n));
                }
                Some((_, offset)) => drop(expected.remove(offset)),
                None => {}
            }
        }
        assert!(found == expected, "{point}: {self:?}");
    }
}

fn run(file: &Path, failpoint: &str) -> Option<Heard> {
    let mut command = child("killed_at_every_step", "work", file);
    let mut child = command.env("HEAPFILE_FAILPOINT", failpoint).spawn().unwrap();
    let mut heard = Heard::default();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        heard.line(&line);
    }
    let status = child.wait().unwrap();
    match status.signal() {
        Some(libc::SIGKILL) => Some(heard),
        _ => {
            assert!(status.success(), "{failpoint}: {status}");
            None
        }
    }
}

#[test]
fn killed_at_every_step() {
    if let Some((_, file)) = role() {
        return work(&file);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    let mut kills = BTreeMap::new();
    for durability in BOTH {
        for point in FAILPOINTS {
            for time in [1, 2, 7, 30] {
                let _ = std::fs::remove_file(&file);
                let arena = small(durability).create(&file).unwrap();
                // What the handle knows of the heap has to survive the other's death.
                let own = arena.alloc(&1u64).unwrap();
                arena.free(own).unwrap();
                let point = format!("{point}#{time}");
                let Some(heard) = run(&file, &point) else { break };
                *kills.entry(durability == Durability::Process).or_insert(0) += 1;
                drop(arena.write().unwrap());
                heard.judge(&arena, &point);
                let mut new: Vec<Offset<[u8]>> = Vec::new();
                for n in 100..120 {
                    new.push(arena.alloc_bytes(&content(n)).unwrap());
                }
                for block in new {
                    arena.free(block).unwrap();
                }
                heard.judge(&arena, &point);
                drop(arena);
                heard.judge(&Arena::open(&file).unwrap(), &point);
            }
        }
    }
    println!("kills: {kills:?}");
    assert!(kills.values().all(|&kills| kills > 20) && kills.len() == 2, "{kills:?}");
}

/// A block that is freed in a full slab puts that slab into its class's list: several words, of which the child applies the first. The intent has the others.
#[test]
fn killed_between_the_words_of_one_free() {
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    if let Some((_, file)) = role() {
        let arena = Arena::open(&file).unwrap();
        let block = arena.read().unwrap().blocks().next().unwrap().unwrap().offset;
        return arena.free(block).unwrap();
    }
    let arena = small(Durability::Process).create(&file).unwrap();
    for n in 0..200 {
        arena.alloc_bytes(&n.to_string().repeat(1000).as_bytes()[..1000]).unwrap();
    }
    let mut child = child("killed_between_the_words_of_one_free", "free", &file);
    let status = child.env("HEAPFILE_FAILPOINT", "commit: half applied").status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    drop(arena.write().unwrap());
    assert_clean(&arena);
    assert_eq!(arena.read().unwrap().blocks().count(), 199);
}

/// What a commit leaves valid the next one would overwrite while it counts.
#[test]
fn nothing_is_left_to_complete() {
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    let arena = small(Durability::Process).create(&file).unwrap();
    let block = arena.alloc(&1u64).unwrap();
    arena.free(block).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    // The intent word (docs/FORMAT.md, Runtime).
    assert_eq!(bytes[4 * 4096 + 136..][..8], [0; 8]);
}
