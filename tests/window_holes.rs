//! Sparse files: holes are known, passed over, and read as zeros.
#![cfg(target_os = "linux")]

use heapfile::window::{Backend, WindowFile, WindowPool};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

const BLOCK: u64 = 64 * 1024;

/// A file of `len` bytes with data at some offsets only; the directory must hold holes.
fn sparse(len: u64, data: &[(u64, &[u8])]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(len).unwrap();
    for (at, bytes) in data {
        file.as_file().write_all_at(bytes, *at).unwrap();
    }
    file
}

fn open(file: &tempfile::NamedTempFile, mapped: bool) -> WindowFile {
    let builder = WindowPool::builder();
    // SAFETY: the files of these tests are their own, and not changed while they are open.
    let builder = if mapped { unsafe { builder.trust_files() } } else { builder.backend(Backend::Pread) };
    builder.build().unwrap().open(file.path()).unwrap()
}

#[test]
fn data_ranges_cover_the_data_and_leave_out_the_holes() {
    let len = 100 << 30;
    let file = sparse(len, &[(10 << 30, b"ten"), (50 << 30, b"fifty"), (len - 3, b"end")]);
    let ranges: Vec<_> = open(&file, false).data_ranges(..).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(ranges.len(), 3);
    for (range, at) in ranges.iter().zip([10 << 30, 50 << 30, len - 3]) {
        assert!(range.contains(&at) && range.end - range.start <= 1 << 20, "{range:?}");
    }
    assert_eq!(ranges[2].end, len);
    let some: Vec<_> = open(&file, false)
        .data_ranges((10 << 30) + 1..(10 << 30) + 2)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(some, vec![(10 << 30) + 1..(10 << 30) + 2]);
}

#[test]
fn a_search_passes_over_holes_of_a_hundred_gigabytes() {
    let len = 100 << 30;
    let file = sparse(len, &[(50 << 30, b"needle"), (len - 6, b"needle")]);
    for mapped in [false, true] {
        let file = open(&file, mapped);
        assert_eq!(file.find(b"needle", ..).unwrap(), Some(50 << 30));
        assert_eq!(file.rfind(b"needle", ..).unwrap(), Some(len - 6));
        assert_eq!(file.count(b"needle", ..).unwrap(), 2);
        assert_eq!(file.find(b"absent", ..).unwrap(), None);
        // Matches may begin and end in holes.
        assert_eq!(file.find(b"\0\0\0needle\0\0", ..).unwrap(), Some((50 << 30) - 3));
        assert_eq!(file.rfind(b"\0\0\0needle", ..).unwrap(), Some(len - 9));
        assert_eq!(file.find([0; 9], ..).unwrap(), Some(0), "zeros are found in holes");
        assert_eq!(file.rfind([0; 9], ..).unwrap(), Some(len - 15));
    }
}

#[test]
fn holes_read_as_zeros() {
    let file = sparse(1 << 30, &[(5 * BLOCK, b"x")]);
    for mapped in [false, true] {
        let file = open(&file, mapped);
        assert_eq!(file.get::<u64>(1 << 29).unwrap(), 0);
        assert!(file.window(6 * BLOCK, 4096).unwrap().iter().all(|&b| b == 0));
        assert_eq!(file.buffer().slice(5 * BLOCK..5 * BLOCK + 3).unwrap()[..], [b'x', 0, 0]);
        assert_eq!(file.count([0], ..10 * BLOCK).unwrap(), 10 * BLOCK - 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn searches_find_what_they_would_without_holes(
        blocks in proptest::collection::vec((0u64..24, 0u64..BLOCK - 8, 1usize..8), 0..6),
        pattern in proptest::collection::vec(0u8..3, 1..5),
        from in 0u64..12 * BLOCK,
        mapped: bool,
    ) {
        let bytes = [1, 2, 0, 1, 2, 1, 1, 0];
        let data: Vec<_> = blocks.iter().map(|&(b, at, n)| (b * BLOCK + at, &bytes[..n])).collect();
        let len = 24 * BLOCK;
        let file = sparse(len, &data);
        let mut plain = vec![0; len as usize];
        File::open(file.path()).unwrap().read_exact_at(&mut plain, 0).unwrap();
        let opened = open(&file, mapped);
        let hay = &plain[from as usize..];
        let expect = hay.windows(pattern.len()).position(|w| w == pattern).map(|at| at as u64 + from);
        prop_assert_eq!(opened.find(&pattern, from..).unwrap(), expect);
        let expect = hay.windows(pattern.len()).rposition(|w| w == pattern).map(|at| at as u64 + from);
        prop_assert_eq!(opened.rfind(&pattern, from..).unwrap(), expect);
        let expect = memchr::memmem::find_iter(hay, &pattern).count() as u64;
        prop_assert_eq!(opened.count(&pattern, from..).unwrap(), expect);
        prop_assert_eq!(opened.find_iter(&pattern, from..).unwrap().count() as u64, expect);
    }
}
