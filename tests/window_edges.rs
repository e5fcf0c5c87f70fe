//! Files of no byte, one byte, one window exactly; requests that touch the ends.

use heapfile::Error;
use heapfile::window::{Backend, Builder, WindowFile, WindowPool};
use std::io::{BufRead as _, Read as _};

fn each(len: usize, check: impl Fn(&WindowFile, &[u8])) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let small = || WindowPool::builder().window_size(4096);
    let whole = || WindowPool::builder().whole_file();
    for builder in [small as fn() -> Builder, whole as fn() -> Builder] {
        // SAFETY: the file is this test's own, and not changed while it is open.
        let pools = [builder().backend(Backend::Pread), unsafe { builder().trust_files() }];
        for pool in pools.map(|builder| builder.build().unwrap()) {
            check(&pool.open(&path).unwrap(), &bytes);
        }
    }
}

#[test]
fn an_empty_file_has_nothing_and_says_so() {
    each(0, |file, _| {
        assert!(file.is_empty());
        assert!(file.window(0, 0).unwrap().is_empty());
        assert!(matches!(file.window(0, 1), Err(Error::OutsideFile { start: 0, end: 1, len: 0 })));
        assert_eq!(file.buffer().get(0).unwrap(), None);
        assert!(file.buffer().slice(..).unwrap().is_empty());
        assert_eq!(file.cursor().read(&mut [0; 9]).unwrap(), 0);
        assert!(!file.cursor().use_region(0, 0).unwrap());
        assert!(file.chunks(..).unwrap().next_chunk().unwrap().is_none());
        assert_eq!(file.data_ranges(..).unwrap().count(), 0);
        assert_eq!(file.find(b"x", ..).unwrap(), None);
        assert_eq!(file.find([0], ..).unwrap(), None);
        assert_eq!(file.rfind(b"x", ..).unwrap(), None);
        assert_eq!(file.count(b"x", ..).unwrap(), 0);
        assert_eq!(file.lines(..).unwrap().count(), 0);
        file.prefetch(..).unwrap();
    });
}

#[test]
fn one_byte() {
    each(1, |file, _| {
        assert_eq!(file.window(0, 1).unwrap()[..], [0]);
        assert!(file.window(1, 0).unwrap().is_empty());
        assert!(file.window(1, 1).is_err() && file.window(0, 2).is_err() && file.window(2, 0).is_err());
        assert_eq!(file.buffer().get(0).unwrap(), Some(0));
        assert_eq!(file.buffer().get(1).unwrap(), None);
        assert_eq!(file.find([0], ..).unwrap(), Some(0));
        assert_eq!(file.rfind([0], ..).unwrap(), Some(0));
        assert_eq!(file.find([0, 0], ..).unwrap(), None);
        assert_eq!(file.lines(..).unwrap().count(), 1);
    });
}

#[test]
fn one_window_exactly_and_one_byte_more_or_less() {
    for len in [4095, 4096, 4097, 8192] {
        each(len, |file, bytes| {
            let n = len as u64;
            assert_eq!(&file.window(0, len).unwrap()[..], bytes);
            assert_eq!(&file.window(n - 1, 1).unwrap()[..], &bytes[len - 1..]);
            assert!(file.window(n, 0).unwrap().is_empty());
            assert!(file.window(n - 1, 2).is_err());
            assert_eq!(&file.buffer().slice(..).unwrap()[..], bytes);
            let mut all = Vec::new();
            file.cursor().read_to_end(&mut all).unwrap();
            assert_eq!(all, bytes);
            let (mut lines, mut joined) = (file.cursor(), Vec::new());
            while lines.read_until(7, &mut joined).unwrap() > 0 {}
            assert_eq!(joined, bytes);
            let last = &bytes[len - 3..];
            assert_eq!(file.rfind(last, ..).unwrap(), Some(n - 3));
        });
    }
}

#[test]
fn requests_that_overflow_are_outside() {
    each(10, |file, _| {
        assert!(matches!(file.window(u64::MAX, 1), Err(Error::OutsideFile { .. })));
        assert!(matches!(file.window(5, usize::MAX), Err(Error::OutsideFile { .. })));
        assert!(matches!(file.get::<u64>(u64::MAX - 3), Err(Error::OutsideFile { .. })));
        assert!(matches!(file.buffer().slice(0..=u64::MAX), Err(Error::OutsideFile { .. })));
        assert!(matches!(file.buffer().get_as::<u64>(u64::MAX), Err(Error::OutsideFile { .. })));
        assert_eq!(file.buffer().get(u64::MAX).unwrap(), None);
        let backwards = (std::ops::Bound::Included(5), std::ops::Bound::Excluded(4));
        assert!(matches!(file.find(b"x", backwards), Err(Error::OutsideFile { .. })));
        assert!(matches!(file.find(b"", ..), Err(Error::BadOption { .. })));
        assert!(matches!(file.count(b"", ..), Err(Error::BadOption { .. })));
        assert!(matches!(file.rfind(b"", ..), Err(Error::BadOption { .. })));
    });
}

#[test]
fn a_part_of_a_buffer_has_its_own_ends() {
    each(10_000, |file, bytes| {
        let mut part = file.buffer().part(4000..5000).unwrap();
        assert_eq!(part.len(), 1000);
        assert_eq!(&part.slice(..).unwrap()[..], &bytes[4000..5000]);
        assert_eq!(part.get(999).unwrap(), Some(bytes[4999]));
        assert_eq!(part.get(1000).unwrap(), None);
        assert!(part.slice(..1001).is_err());
        let mut inner = part.part(10..20).unwrap();
        assert_eq!(&inner.slice(5..).unwrap()[..], &bytes[4015..4020]);
    });
}
