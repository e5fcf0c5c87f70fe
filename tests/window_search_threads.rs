//! Several threads that search one file find what one would: the same matches, in order, each once.

use heapfile::Error;
use heapfile::window::{Backend, Builder, WindowFile, WindowPool};
use std::path::Path;

/// What threads take at once, and what is searched before there are several.
const BLOCK: usize = 4 << 20;
const ALONE: usize = 32 << 20;

fn open(path: &Path, backend: Backend, set: impl Fn(Builder) -> Builder) -> (WindowPool, WindowFile) {
    let builder = set(WindowPool::builder()).backend(backend);
    // SAFETY: mapped files of these tests are their own, and not changed while they are open.
    let builder = if backend == Backend::Mmap { unsafe { builder.trust_files() } } else { builder };
    let pool = builder.build().unwrap();
    let file = pool.open(path).unwrap();
    (pool, file)
}

fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// Dots, with the pattern at some places.
fn with(len: usize, pattern: &[u8], places: &[usize]) -> Vec<u8> {
    let mut bytes = vec![b'.'; len];
    for &at in places {
        bytes[at..at + pattern.len()].copy_from_slice(pattern);
    }
    bytes
}

#[test]
fn all_matches_are_found_once_and_in_order() {
    let pattern = b"pattern";
    let late = ALONE + 5 * BLOCK;
    let places: Vec<usize> = [
        // Then others help; around the seams of their blocks.
        vec![5, late - 3],
        (0..9).map(|before| late + (2 + before) * BLOCK + ALONE - before).collect(),
        // Neighbours, of which the second lies across a seam.
        vec![late + 2 * ALONE + 12 * BLOCK - 10, late + 2 * ALONE + 12 * BLOCK - 3],
    ]
    .concat();
    let bytes = with(late + 2 * ALONE + 14 * BLOCK + 12_345, pattern, &places);
    let file = file_of(&bytes);
    let expect: Vec<u64> = memchr::memmem::find_iter(&bytes, pattern).map(|at| at as u64).collect();
    assert_eq!(expect.len(), places.len());
    for backend in [Backend::Pread, Backend::Mmap] {
        for threads in [1, 2, 3] {
            let (_pool, file) = open(file.path(), backend, |builder| builder.search_threads(threads));
            let found: Vec<u64> = file.find_iter(pattern, ..).unwrap().map(Result::unwrap).collect();
            assert_eq!(found, expect, "{backend:?}, {threads} threads");
            assert_eq!(file.count(pattern, ..).unwrap(), expect.len() as u64);
            // From an odd place to the middle of a match.
            let last = *expect.last().unwrap();
            assert_eq!(file.find(pattern, 7..last + 6).unwrap(), Some(expect[1]));
            assert_eq!(file.find(pattern, expect[1] + 1..last + 6).unwrap(), Some(expect[2]));
            assert_eq!(file.count(pattern, 7..last + 6).unwrap(), expect.len() as u64 - 2);
            assert_eq!(file.count(b"p", ..).unwrap(), expect.len() as u64);
            assert_eq!(file.find(b"patterns", ..).unwrap(), None);
        }
    }
}

#[test]
fn matches_that_overlap_are_counted_as_one_thread_does() {
    // Runs of an odd length across the seams: which pairs count depends on where the run began.
    let mut bytes = vec![b'.'; ALONE + 6 * BLOCK];
    for block in 1..6 {
        bytes[ALONE + block * BLOCK - 4..ALONE + block * BLOCK + 5].fill(b'a');
    }
    let file = file_of(&bytes);
    for backend in [Backend::Pread, Backend::Mmap] {
        let (_pool, file) = open(file.path(), backend, |builder| builder.search_threads(3));
        assert_eq!(file.count(b"aa", ..).unwrap(), 5 * 4);
        assert_eq!(file.find_iter(b"aa", ..).unwrap().count(), 5 * 4);
        assert_eq!(file.count(b"aaaaaaaaa", ..).unwrap(), 5);
    }
}

#[test]
fn the_first_match_counts_whoever_is_first_to_find_one() {
    // Each second block has a match at its end, where it is found late, the one behind at its beginning.
    let pairs = 1..6;
    let places: Vec<usize> =
        pairs.flat_map(|pair| [(ALONE + 2 * pair * BLOCK) - 7, ALONE + 2 * pair * BLOCK]).collect();
    let source = file_of(&with(ALONE + 12 * BLOCK, b"pattern", &places));
    for backend in [Backend::Pread, Backend::Mmap] {
        let (_pool, file) = open(source.path(), backend, |builder| builder.search_threads(4));
        for _ in 0..20 {
            assert_eq!(file.find(b"pattern", ..).unwrap(), Some(places[0] as u64));
        }
    }
}

#[test]
fn limits_hold_and_no_window_has_to_leave() {
    let bytes = with(2 * ALONE, b"end", &[2 * ALONE - 3]);
    let file = file_of(&bytes);
    for backend in [Backend::Pread, Backend::Mmap] {
        for (limit, windows) in [(64, 100), (16, 100), (10, 100), (6, 100), (64, 3), (64, 2)] {
            let limit = limit << 20;
            let (pool, file) = open(file.path(), backend, |builder| {
                builder.memory_limit(limit).window_size(1 << 20).max_windows(windows).search_threads(100)
            });
            drop(file.window(0, 1).unwrap());
            assert_eq!(file.find(b"end", ..).unwrap(), Some(2 * ALONE as u64 - 3));
            assert_eq!(file.count(b"end", ..).unwrap(), 1);
            let stats = pool.stats();
            assert!(stats.peak_bytes <= limit, "{stats:?}");
            assert_eq!((stats.evictions, stats.windows, stats.mapped_bytes), (0, 1, 1 << 20), "{stats:?}");
        }
    }
}

#[test]
fn of_a_file_that_was_cut_short_a_match_before_the_end_is_found_and_none_behind() {
    let end = 2 * ALONE as u64;
    // Zeros may be in holes: so the search does not ask first where the data ends.
    let zeros = [0; 7];
    for (places, expect) in [(vec![ALONE + 3 * BLOCK], true), (vec![], false)] {
        let source = file_of(&with(2 * ALONE, &zeros, &places));
        let (_pool, file) = open(source.path(), Backend::Pread, |builder| builder.search_threads(3));
        // In the block behind the match.
        source.as_file().set_len((ALONE + 4 * BLOCK) as u64 + 1).unwrap();
        let found = file.find(zeros, ..);
        if expect {
            assert_eq!(found.unwrap(), Some(places[0] as u64));
        } else {
            assert!(matches!(found, Err(Error::Truncated { needed, .. }) if needed <= end), "{found:?}");
        }
        assert!(matches!(file.count(b"other", ..), Err(Error::Truncated { .. })));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_lives_on() {
    let searchers = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("window search")).count()
    };
    let source = file_of(&with(3 * ALONE, b"end", &[3 * ALONE - 3]));
    let (_pool, file) = open(source.path(), Backend::Pread, |builder| builder.search_threads(4));
    let mut matches = file.find_iter(b"end", ..).unwrap();
    assert!(matches.next().is_some());
    // A thread's entry may outlast its end by a moment.
    for _ in 0..1000 {
        if searchers() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("threads are left");
}

#[test]
fn a_pool_needs_a_thread() {
    let refused = WindowPool::builder().search_threads(0).build();
    assert!(matches!(refused, Err(Error::BadOption { option: "search_threads", .. })));
}
