//! Whatever the windows, limits and offsets: the bytes are those of the file.

use heapfile::window::{Access, Backend, Builder, WindowFile, WindowPool};
use proptest::prelude::*;
use std::io::{BufRead as _, Read as _, Seek as _, SeekFrom};

/// One read, placed by fractions so that it fits files of any length.
#[derive(Debug, Clone)]
enum Op {
    Window { at: u64, len: u64 },
    Held { at: u64, len: u64 },
    ReadAt { at: u64, len: u64 },
    Index(u64),
    Value(u64),
    Slice { at: u64, len: u64 },
    Stream { at: u64, len: u64 },
    Fill { at: u64 },
    Region { at: u64, len: u64 },
    Find { at: u64, pattern: u64, len: u64 },
    Refresh,
    Collect,
}

/// Near a seam of the 4 KiB grid, or anywhere.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..70_000, (0u64..17, 0u64..5).prop_map(|(page, by)| (page * 4096 + by).saturating_sub(2))]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, 0u64..300, 4000u64..9000, 0u64..40_000]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (offset(), length()).prop_map(|(at, len)| Op::Window { at, len }),
        (offset(), length()).prop_map(|(at, len)| Op::Held { at, len }),
        (offset(), length()).prop_map(|(at, len)| Op::ReadAt { at, len }),
        offset().prop_map(Op::Index),
        offset().prop_map(Op::Value),
        (offset(), length()).prop_map(|(at, len)| Op::Slice { at, len }),
        (offset(), length()).prop_map(|(at, len)| Op::Stream { at, len }),
        offset().prop_map(|at| Op::Fill { at }),
        (offset(), length()).prop_map(|(at, len)| Op::Region { at, len }),
        (offset(), offset(), 1u64..9).prop_map(|(at, pattern, len)| Op::Find { at, pattern, len }),
        Just(Op::Refresh),
        Just(Op::Collect),
    ]
}

fn file_bytes(len: usize, seed: u64) -> Vec<u8> {
    // Few values: patterns are found, sometimes overlapping.
    let mut x = seed | 1;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x % 5) as u8
    })
    .take(len)
    .collect()
}

fn non_overlapping(hay: &[u8], needle: &[u8]) -> Vec<u64> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at + needle.len() <= hay.len() {
        if hay[at..].starts_with(needle) {
            found.push(at as u64);
            at += needle.len();
        } else {
            at += 1;
        }
    }
    found
}

fn check(pool: &WindowPool, file: &WindowFile, bytes: &[u8], ops: &[Op]) -> Result<(), heapfile::Error> {
    let len = bytes.len() as u64;
    let part = |at: u64, n: u64| (at.min(len), n.min(len - at.min(len)) as usize);
    let plain = |at: u64, n: usize| &bytes[at as usize..at as usize + n];
    let (mut buffer, mut cursor) = (file.buffer(), file.cursor());
    let mut held = None;
    for op in ops {
        match *op {
            Op::Window { at, len: n } => {
                let (at, n) = part(at, n);
                let window = file.window(at, n)?;
                assert_eq!(&window[..], plain(at, n));
                assert!(n == 0 || window.region().start <= at && window.region().end >= at + n as u64);
            }
            Op::Held { at, len: n } => {
                drop(held.take());
                let (at, n) = part(at, n.min(4096));
                held = Some((file.window(at, n)?, at, n));
            }
            Op::ReadAt { at, len: n } => {
                let (at, n) = part(at, n);
                let mut into = vec![0xff; n];
                file.read_exact_at(at, &mut into)?;
                assert_eq!(into, plain(at, n));
                buffer.read_exact_at(at, &mut into)?;
                assert_eq!(into, plain(at, n));
            }
            Op::Index(at) => assert_eq!(buffer.get(at)?, bytes.get(at as usize).copied()),
            Op::Value(at) if at + 8 <= len => {
                let value = u64::from_ne_bytes(plain(at, 8).try_into().unwrap());
                assert_eq!(buffer.get_as::<u64>(at)?, value);
                assert_eq!(file.get::<u64>(at)?, value);
            }
            Op::Value(at) => assert!(buffer.get_as::<u64>(at).is_err() && file.get::<u64>(at).is_err()),
            Op::Slice { at, len: n } => {
                let (at, n) = part(at, n);
                assert_eq!(&buffer.slice(at..at + n as u64)?[..], plain(at, n));
            }
            Op::Stream { at, len: n } => {
                let (at, n) = part(at, n);
                cursor.seek(SeekFrom::Start(at)).unwrap();
                let mut into = vec![0; n];
                cursor.read_exact(&mut into).unwrap();
                assert_eq!(into, plain(at, n));
                assert_eq!(cursor.stream_position().unwrap(), at + n as u64);
            }
            Op::Fill { at } => {
                cursor.seek(SeekFrom::Start(at)).unwrap();
                let got = cursor.fill_buf().unwrap();
                assert_eq!(got.is_empty(), at >= len);
                assert!(at >= len || bytes[at as usize..].starts_with(got));
            }
            Op::Region { at, len: n } => {
                assert_eq!(cursor.use_region(at, n)?, at < len);
                assert_eq!(cursor.is_valid(), at < len);
                if at < len {
                    assert_eq!(cursor.view(), plain(at, cursor.size() as usize));
                    assert!(cursor.size() >= 1 && (n == 0 || cursor.size() <= n));
                }
            }
            Op::Find { at, pattern, len: n } => {
                let (from, n) = part(pattern, n);
                let start = at.min(len);
                if n > 0 {
                    let pattern = plain(from, n);
                    let expect: Vec<_> = non_overlapping(&bytes[start as usize..], pattern)
                        .into_iter()
                        .map(|at| at + start)
                        .collect();
                    let found: Result<Vec<_>, _> = file.find_iter(pattern, start..)?.collect();
                    assert_eq!(found?, expect);
                    assert_eq!(file.find(pattern, start..)?, expect.first().copied());
                    assert_eq!(file.count(pattern, start..)?, expect.len() as u64);
                    let last = bytes[start as usize..].windows(n).rposition(|w| w == pattern);
                    assert_eq!(file.rfind(pattern, start..)?, last.map(|at| at as u64 + start));
                }
            }
            Op::Refresh => assert_eq!(file.refresh()?, len),
            Op::Collect => {
                pool.collect();
            }
        }
        if let Some((window, at, n)) = &held {
            assert_eq!(&window[..], plain(*at, *n), "a pinned window stays as it is");
        }
        let stats = pool.stats();
        assert!(stats.peak_bytes <= pool.memory_limit(), "{stats:?}");
        assert!(stats.mapped_bytes <= stats.peak_bytes);
    }
    Ok(())
}

fn build(builder: Builder, backend: Backend) -> WindowPool {
    let builder = builder.backend(backend);
    if backend == Backend::Mmap {
        // SAFETY: the file is this test's own, and not changed while it is open.
        unsafe { builder.trust_files() }.build().unwrap()
    } else {
        builder.build().unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn reads_show_the_bytes_of_the_file(
        len in prop_oneof![0usize..3, 4094usize..4099, 0usize..65_000],
        seed: u64,
        window in prop_oneof![Just(1u64), Just(4096), Just(8192), Just(40_000)],
        room in 8192u64..200_000,
        backend in prop_oneof![Just(Backend::Mmap), Just(Backend::Pread)],
        access in prop_oneof![Just(Access::Auto), Just(Access::Sequential), Just(Access::Random)],
        ops in proptest::collection::vec(op(), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        let bytes = file_bytes(len, seed);
        std::fs::write(&path, &bytes).unwrap();
        // A held page, what buffer and cursor read ahead (at most the file, each), and the largest request: more is never pinned at once.
        let limit = 2 * window.next_multiple_of(4096) + 2 * len as u64 + 65_536 + room;
        let pool = build(WindowPool::builder().window_size(window).memory_limit(limit).access(access), backend);
        let file = pool.open(&path).unwrap();
        check(&pool, &file, &bytes, &ops).unwrap();
        drop(file);
        prop_assert_eq!(pool.stats().mapped_bytes, 0);
        prop_assert_eq!(pool.stats().files, 0);
    }
}

#[test]
fn patterns_are_found_wherever_they_lie_around_the_seams_of_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes");
    for backend in [Backend::Pread, Backend::Mmap] {
        for seam in [256 * 1024u64, 512 * 1024, 4 << 20, 8 << 20] {
            for before in [0u64, 1, 3, 6, 7] {
                let mut bytes = vec![b'.'; seam as usize + 300_000];
                let at = seam - before;
                bytes[at as usize..at as usize + 7].copy_from_slice(b"pattern");
                std::fs::write(&path, &bytes).unwrap();
                let file = build(WindowPool::builder(), backend).open(&path).unwrap();
                assert_eq!(file.find(b"pattern", ..).unwrap(), Some(at));
                assert_eq!(file.rfind(b"pattern", ..).unwrap(), Some(at));
                assert_eq!(file.find_iter(b"pattern", ..).unwrap().count(), 1);
                assert_eq!(file.count(b"pattern", ..).unwrap(), 1);
                assert_eq!(file.find(b"pattern", ..at + 6).unwrap(), None);
                assert_eq!(file.find(b"pattern", at + 1..).unwrap(), None);
                assert_eq!(file.rfind(b"pattern", at + 1..).unwrap(), None);
            }
        }
    }
}

#[test]
fn patterns_longer_than_a_piece_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes");
    let pattern = file_bytes(600_000, 3);
    let mut bytes = file_bytes(300_000, 5);
    bytes.extend_from_slice(&pattern);
    bytes.extend_from_slice(&file_bytes(300_000, 7));
    std::fs::write(&path, &bytes).unwrap();
    for backend in [Backend::Pread, Backend::Mmap] {
        let file = build(WindowPool::builder(), backend).open(&path).unwrap();
        assert_eq!(file.find(&pattern, ..).unwrap(), Some(300_000));
        assert_eq!(file.rfind(&pattern, ..).unwrap(), Some(300_000));
        assert_eq!(file.count(&pattern, ..).unwrap(), 1);
    }
}
