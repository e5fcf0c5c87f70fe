//! Limits hold to the byte, and windows leave in the order of their last use.

use heapfile::Error;
use heapfile::window::{Backend, Builder, WindowPool};
use std::path::PathBuf;

const PAGE: u64 = 4096;

fn file_of(pages: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pages");
    let bytes: Vec<u8> = (0..pages * PAGE).map(|at| (at / PAGE) as u8).collect();
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// Windows of one page, of both backends.
fn pools(pages: u64, more: impl Fn(Builder) -> Builder) -> [WindowPool; 2] {
    let builder = || more(WindowPool::builder().window_size(PAGE).memory_limit(pages * PAGE));
    // SAFETY: the files of these tests are their own, and not changed while they are open.
    [builder().backend(Backend::Pread).build().unwrap(), unsafe { builder().trust_files() }.build().unwrap()]
}

#[test]
fn the_least_recently_requested_window_leaves_first() {
    let (_dir, path) = file_of(8);
    for pool in pools(3, |b| b) {
        let file = pool.open(&path).unwrap();
        let touch = |page: u64| {
            let before = pool.stats().misses;
            assert_eq!(file.window(page * PAGE, 1).unwrap()[0], page as u8);
            pool.stats().misses > before
        };
        assert!(touch(0) && touch(1) && touch(2));
        assert!(!touch(0), "0 is there, and now the most recent");
        assert_eq!(pool.stats().evictions, 0);
        assert!(touch(3), "1 leaves");
        assert!(!touch(0) && !touch(2) && !touch(3));
        assert!(touch(1), "0 leaves: requested before 2 and 3");
        assert!(!touch(2) && !touch(3) && touch(0));
        let stats = pool.stats();
        assert_eq!((stats.evictions, stats.windows), (3, 3));
        assert_eq!((stats.mapped_bytes, stats.peak_bytes), (3 * PAGE, 3 * PAGE));
        assert_eq!(stats.hits + stats.misses, 12);
    }
}

#[test]
fn a_hard_limit_refuses_what_does_not_fit_beside_the_pins() {
    let (_dir, path) = file_of(8);
    for pool in pools(2, |b| b) {
        let file = pool.open(&path).unwrap();
        let pins = [file.window(0, 1).unwrap(), file.window(PAGE, 1).unwrap()];
        let refused = file.window(2 * PAGE, 1).unwrap_err();
        assert!(
            matches!(refused, Error::PoolLimit { what: "memory_limit", needed, limit }
                if needed == 3 * PAGE && limit == 2 * PAGE),
            "{refused}"
        );
        assert_eq!(pool.stats().peak_bytes, 2 * PAGE);
        assert_eq!(file.window(PAGE + 5, 2).unwrap()[..], [1, 1], "what is there may be pinned again");
        assert!(matches!(file.window(0, 3 * PAGE as usize), Err(Error::PoolLimit { .. })), "longer than all");
        drop(pins);
        assert_eq!(file.window(2 * PAGE, 1).unwrap()[0], 2);
        assert_eq!(pool.stats().peak_bytes, 2 * PAGE);
    }
}

#[test]
fn a_soft_limit_is_exceeded_only_while_all_is_pinned() {
    let (_dir, path) = file_of(8);
    for pool in pools(2, Builder::soft_limit) {
        let file = pool.open(&path).unwrap();
        let pins: Vec<_> = (0..4).map(|page| file.window(page * PAGE, 1).unwrap()).collect();
        assert_eq!(pool.stats().mapped_bytes, 4 * PAGE);
        drop(pins);
        drop(file.window(5 * PAGE, 1).unwrap());
        assert_eq!(pool.stats().mapped_bytes, 2 * PAGE);
    }
}

#[test]
fn pinned_windows_stay_whatever_their_age() {
    let (_dir, path) = file_of(16);
    for pool in pools(2, |b| b) {
        let file = pool.open(&path).unwrap();
        let oldest = file.window(0, PAGE as usize).unwrap();
        for page in 1..16 {
            assert_eq!(file.window(page * PAGE, 1).unwrap()[0], page as u8);
        }
        assert!(oldest.iter().all(|&b| b == 0));
        let misses = pool.stats().misses;
        drop(file.window(0, 1).unwrap());
        assert_eq!(pool.stats().misses, misses, "it was there all the time");
        assert_eq!(pool.stats().evictions, 14);
    }
}

#[test]
fn the_number_of_windows_is_limited() {
    let (_dir, path) = file_of(8);
    for pool in pools(8, |b| b.max_windows(2)) {
        let file = pool.open(&path).unwrap();
        for page in 0..8 {
            drop(file.window(page * PAGE, 1).unwrap());
            assert!(pool.stats().windows <= 2);
        }
        let _pins = [file.window(0, 1).unwrap(), file.window(PAGE, 1).unwrap()];
        let refused = file.window(2 * PAGE, 1).unwrap_err();
        assert!(
            matches!(refused, Error::PoolLimit { what: "max_windows", needed: 3, limit: 2 }),
            "{refused}"
        );
    }
}

#[test]
fn the_number_of_files_is_limited() {
    let (_a, first) = file_of(1);
    let (_b, second) = file_of(1);
    let pool = WindowPool::builder().max_files(1).build().unwrap();
    let open = pool.open(&first).unwrap();
    assert_eq!(pool.open(&first).unwrap().len(), PAGE, "the same file counts once");
    let refused = pool.open(&second).unwrap_err();
    assert!(matches!(refused, Error::PoolLimit { what: "max_files", needed: 2, limit: 1 }), "{refused}");
    drop(open);
    pool.open(&second).unwrap();
}

#[test]
fn read_buffers_count_and_shrink_to_what_is_left() {
    let (_dir, path) = file_of(64);
    for pool in pools(4, |b| b) {
        let file = pool.open(&path).unwrap();
        let _pins: Vec<_> = (0..3).map(|page| file.window(page * PAGE, 1).unwrap()).collect();
        assert_eq!(file.find([63; 9], ..).unwrap(), Some(63 * PAGE));
        assert_eq!(file.rfind([0; 9], ..).unwrap(), Some(PAGE - 9));
        assert_eq!(file.count([7], ..).unwrap(), PAGE);
        let mut buffer = file.buffer();
        assert!((0..64 * PAGE).step_by(7).all(|at| buffer.get(at).unwrap() == Some((at / PAGE) as u8)));
        assert_eq!(pool.stats().peak_bytes, 4 * PAGE);
    }
}

#[test]
fn with_everything_pinned_a_scan_is_refused_but_single_reads_go_on() {
    let (_dir, path) = file_of(8);
    for pool in pools(2, |b| b) {
        let file = pool.open(&path).unwrap();
        let _pins = [file.window(0, 1).unwrap(), file.window(PAGE, 1).unwrap()];
        assert!(matches!(file.find([7], ..), Err(Error::PoolLimit { .. })));
        assert_eq!(file.get::<u8>(7 * PAGE).unwrap(), 7);
    }
}

#[test]
fn paging_through_a_huge_file_stays_in_one_window() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let len = 100u64 << 30;
    file.as_file().set_len(len).unwrap();
    for pool in pools(16, |b| b) {
        let mut buffer = pool.open(file.path()).unwrap().buffer();
        for at in (0..len).step_by(len as usize / 997) {
            assert_eq!(buffer.get(at).unwrap(), Some(0));
        }
        let stats = pool.stats();
        assert!(stats.peak_bytes <= 16 * PAGE, "{stats:?}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let builder = WindowPool::builder;
    for (builder, name) in [
        (builder().window_size(0), "window_size"),
        (builder().window_size(u64::MAX), "window_size"),
        (builder().window_size(8192).memory_limit(8191), "window_size"),
        (builder().whole_file().memory_limit(0), "memory_limit"),
        (builder().max_windows(0), "max_windows"),
        (builder().max_files(0), "max_files"),
    ] {
        assert!(matches!(builder.build(), Err(Error::BadOption { option, .. }) if option == name));
    }
}

/// However many threads open files at once.
#[test]
fn the_number_of_files_is_limited_for_all_threads_together() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..8).map(|n| dir.path().join(n.to_string())).collect();
    paths.iter().for_each(|path| std::fs::write(path, b"x").unwrap());
    for _ in 0..100 {
        let pool = WindowPool::builder().max_files(1).build().unwrap();
        let start = std::sync::Barrier::new(paths.len());
        let open: Vec<_> = std::thread::scope(|scope| {
            let open = |path| {
                start.wait();
                pool.open(path).ok()
            };
            let threads: Vec<_> = paths.iter().map(|path| scope.spawn(move || open(path))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(open.len(), 1);
    }
}

#[test]
fn copies_are_counted_in_the_whole_pages_that_they_take() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![1; PAGE as usize + 1]).unwrap();
    let pool = WindowPool::builder().backend(Backend::Pread).window_size(PAGE).build().unwrap();
    let file = pool.open(file.path()).unwrap();
    drop(file.window(PAGE, 1).unwrap());
    assert_eq!(pool.stats().mapped_bytes, PAGE);
    assert_eq!(pool.collect().bytes, PAGE);
}

#[test]
fn the_buffer_of_a_copied_file_is_no_longer_than_is_said() {
    const MOST: u64 = 256 << 10;
    let on_disk = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(on_disk.path(), vec![1; 1 << 20]).unwrap();
    let pool = WindowPool::builder().backend(Backend::Pread).build().unwrap();
    let mut buffer = pool.open(on_disk.path()).unwrap().buffer();
    // A place that is read from again and again is worth some bytes before it too.
    for at in [1000, 1500, 2000] {
        assert_eq!(buffer.get(at).unwrap(), Some(1));
    }
    for at in (10_000..).step_by(5000).take(100) {
        assert_eq!(buffer.slice(at..at + MOST).unwrap().len() as u64, MOST);
    }
    assert!((1..=MOST).contains(&pool.stats().peak_bytes), "{}", pool.stats().peak_bytes);
}
