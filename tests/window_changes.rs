//! The file changes while it is open: growth, truncation, other bytes, deletion, replacement.

use heapfile::Error;
use heapfile::window::{WindowFile, WindowPool};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn file_of(len: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, vec![b'a'; len]).unwrap();
    (dir, path)
}

fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn cut(path: &Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn pool() -> WindowPool {
    WindowPool::builder().window_size(64 * 1024).build().unwrap()
}

#[test]
fn growth_is_seen_after_refresh() {
    let (_dir, path) = file_of(10_000);
    // SAFETY: the file only grows while it is open.
    let mapped = unsafe { WindowPool::builder().window_size(64 * 1024).trust_files() }.build().unwrap();
    for pool in [pool(), mapped] {
        let file = pool.open(&path).unwrap();
        let old = file.len();
        let (mut buffer, mut cursor) = (file.buffer(), file.cursor());
        let held = file.window(0, old as usize).unwrap();
        assert_eq!(buffer.get(old - 1).unwrap(), Some(b'a'));
        append(&path, b"aaaa");
        assert_eq!(file.len(), old);
        assert!(matches!(file.window(old, 4), Err(Error::OutsideFile { .. })));
        assert_eq!(buffer.get(old).unwrap(), None);
        assert_eq!(file.refresh().unwrap(), old + 4);
        assert_eq!(&file.window(old - 2, 6).unwrap()[..], b"aaaaaa");
        assert_eq!(&buffer.slice(old - 2..).unwrap()[..], b"aaaaaa");
        cursor.seek(SeekFrom::End(-3)).unwrap();
        assert_eq!(cursor.read(&mut [0; 10]).unwrap(), 3);
        assert_eq!(held.len() as u64, old, "a pinned window stays as it is");
    }
}

type Attempt = fn(&WindowFile) -> Result<(), Error>;

/// Every way to read, each from a file that was cut short after it was opened.
fn reads() -> Vec<(&'static str, Attempt)> {
    vec![
        ("window", |f| f.window(150_000, 10_000).map(drop)),
        ("whole window", |f| f.window(131_072, 65_536).map(drop)),
        ("read_exact_at", |f| f.read_exact_at(150_000, &mut [0; 8])),
        ("get", |f| f.get::<u64>(150_000).map(drop)),
        ("buffer get", |f| f.buffer().get(150_000).map(drop)),
        ("buffer value", |f| f.buffer().get_as::<u64>(150_000).map(drop)),
        ("slice", |f| f.buffer().slice(90_000..190_000).map(drop)),
        ("long slice", |f| f.buffer().slice(..).map(drop)),
        ("region", |f| f.cursor().use_region(150_000, 10).map(drop)),
        ("chunks", |f| {
            let mut chunks = f.chunks(..)?;
            while chunks.next_chunk()?.is_some() {}
            Ok(())
        }),
        ("find", |f| f.find(b"x", ..).map(drop)),
        ("rfind", |f| f.rfind(b"x", ..).map(drop)),
        ("count", |f| f.count(b"a", ..).map(drop)),
        ("find_iter", |f| f.find_iter(b"xy", ..)?.try_for_each(|m| m.map(drop))),
        ("lines", |f| f.lines(100_000..)?.try_for_each(|line| line.map(drop))),
    ]
}

#[test]
fn a_file_cut_short_is_an_error_in_every_read_and_never_a_signal() {
    for (name, read) in reads() {
        let (_dir, path) = file_of(200_000);
        let file = pool().open(&path).unwrap();
        cut(&path, 100_000);
        match read(&file) {
            Err(Error::Truncated { needed, found: 100_000 }) => assert!(needed > 100_000, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(file.refresh().unwrap(), 100_000);
        assert!(matches!(file.window(150_000, 1), Err(Error::OutsideFile { .. })), "{name}");
        assert_eq!(file.window(99_999, 1).unwrap()[..], *b"a", "{name}");
        assert_eq!(file.count(b"a", ..).unwrap(), 100_000, "{name}");
    }
}

#[test]
fn what_is_left_of_a_file_cut_short_can_still_be_read() {
    let (_dir, path) = file_of(200_000);
    let file = pool().open(&path).unwrap();
    cut(&path, 100_001);
    assert_eq!(file.window(70_000, 20_000).unwrap().len(), 20_000);
    assert_eq!(file.buffer().get(99_999).unwrap(), Some(b'a'));
    let mut stream = file.cursor();
    let mut all = Vec::new();
    let e = stream.read_to_end(&mut all).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::UnexpectedEof);
    let source = e.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert!(matches!(source, Error::Truncated { found: 100_001, .. }));
    assert!(all.iter().all(|&b| b == b'a'));
}

#[test]
fn a_pinned_window_survives_truncation() {
    let (_dir, path) = file_of(200_000);
    let file = pool().open(&path).unwrap();
    let held = file.window(0, 200_000).unwrap();
    cut(&path, 0);
    assert!(held.iter().all(|&b| b == b'a'));
    file.refresh().unwrap();
    assert!(held.iter().all(|&b| b == b'a'));
    assert!(file.is_empty());
}

#[test]
fn a_file_that_is_cut_and_grown_all_the_time_never_kills() {
    let (_dir, path) = file_of(1 << 20);
    let file = pool().open(&path).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let truncated = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                cut(&path, 1000);
                cut(&path, 1 << 20);
            }
        });
        let mut truncated = 0;
        for _ in 0..300 {
            for read in [
                file.count(b"a", ..).map(drop),
                file.window(5000, 500_000).map(|w| assert!(w.iter().all(|&b| b == b'a' || b == 0))),
                file.buffer().slice(100_000..200_000).map(drop),
            ] {
                match read {
                    Ok(()) => {}
                    Err(Error::Truncated { .. }) => truncated += 1,
                    Err(e) => panic!("{e}"),
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        truncated
    });
    println!("{truncated} of 900 reads met the file cut short");
}

#[test]
fn other_bytes_are_shown_after_refresh() {
    let (_dir, path) = file_of(10_000);
    let file = pool().open(&path).unwrap();
    let (mut buffer, held) = (file.buffer(), file.window(0, 10).unwrap());
    for at in 0..100 {
        assert_eq!(buffer.get(at).unwrap(), Some(b'a'));
    }
    use std::os::unix::fs::FileExt as _;
    let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all_at(b"bbbb", 0).unwrap();
    assert_eq!(
        file.get::<u8>(0).unwrap(),
        b'b',
        "a read that goes through no window shows what is there now"
    );
    assert_eq!(&held[..4], b"aaaa");
    file.refresh().unwrap();
    assert_eq!(buffer.get(0).unwrap(), Some(b'b'));
    assert_eq!(&file.window(0, 5).unwrap()[..], b"bbbba");
    assert_eq!(&held[..4], b"aaaa");
}

#[test]
fn opening_once_more_sees_changes() {
    let (_dir, path) = file_of(10_000);
    let pool = pool();
    let file = pool.open(&path).unwrap();
    drop(file.window(0, 10).unwrap());
    drop(pool.open(&path).unwrap().window(0, 10).unwrap());
    assert_eq!(pool.stats().misses, 1, "unchanged: the window is shared");
    append(&path, b"b");
    assert_eq!(pool.open(&path).unwrap().len(), 10_001);
    assert_eq!(file.get::<u8>(10_000).unwrap(), b'b');
}

#[test]
fn a_deleted_file_goes_on_and_says_that_it_is_not_current() {
    let (_dir, path) = file_of(10_000);
    let pool = pool();
    let file = pool.open(&path).unwrap();
    assert!(file.is_current());
    std::fs::remove_file(&path).unwrap();
    assert!(!file.is_current());
    assert_eq!(file.refresh().unwrap(), 10_000);
    assert_eq!(file.count(b"a", ..).unwrap(), 10_000);
    let again = pool.open(&path).unwrap_err();
    assert!(matches!(&again, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn a_replaced_file_is_another_file() {
    let (dir, path) = file_of(10_000);
    let pool = pool();
    let old = pool.open(&path).unwrap();
    let next = dir.path().join("next");
    std::fs::write(&next, b"other").unwrap();
    std::fs::rename(&next, &path).unwrap();
    assert!(!old.is_current());
    let new = pool.open(&path).unwrap();
    assert_eq!((old.len(), new.len()), (10_000, 5));
    assert_eq!(&new.window(0, 5).unwrap()[..], b"other");
    assert_eq!(&old.window(0, 5).unwrap()[..], b"aaaaa");
    assert_eq!(pool.stats().files, 2);
}

/// After a refresh a cursor's region is of the file as it is now, all of it.
#[test]
fn a_region_is_of_one_state_of_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'a'; 65_536]).unwrap();
    let open = WindowPool::new().open(file.path()).unwrap();
    let mut cursor = open.cursor();
    cursor.use_region(0, 100).unwrap();
    std::fs::write(file.path(), vec![b'b'; 131_072]).unwrap();
    open.refresh().unwrap();
    cursor.use_region(0, 0).unwrap();
    assert!(cursor.view().iter().all(|&byte| byte == b'b'));
    cursor.use_region(60_000, 10_000).unwrap();
    assert_eq!(cursor.size(), 10_000);
}

/// Where others see the file become shorter, a window or a read that lay behind its new end is an error at most.
#[test]
fn windows_and_reads_beside_a_refresh() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let pool = WindowPool::builder().window_size(4096).build().unwrap();
    let open = pool.open(file.path()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let windows = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = open.window(9_950, 100);
            }
        });
        let reads = scope.spawn(|| {
            let (mut buffer, mut bytes) = (open.buffer(), [0; 300]);
            for at in (0..(1 << 20) - 300).step_by(64).cycle() {
                let _ = buffer.read_exact_at(at, &mut bytes);
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let until = Instant::now() + Duration::from_millis(700);
        while Instant::now() < until && !windows.is_finished() && !reads.is_finished() {
            for len in [10_000, 1 << 20] {
                file.as_file().set_len(len).unwrap();
                open.refresh().unwrap();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
