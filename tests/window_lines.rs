//! Lines are what lies between line feeds.

use heapfile::Error;
use heapfile::window::{Backend, WindowPool};
use proptest::prelude::*;

fn lines(bytes: &[u8], pool: &WindowPool) -> Vec<(u64, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, bytes).unwrap();
    let file = pool.open(&path).unwrap();
    file.lines(..).unwrap().map(|line| line.map(|line| (line.offset, line.bytes)).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn lines_are_those_of_bufread(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..3000),
        limit in 4096u64..20_000,
        mapped: bool,
    ) {
        let builder = WindowPool::builder().window_size(4096).memory_limit(limit);
        let pool = if mapped {
            // SAFETY: the file is this test's own, and not changed while it is open.
            unsafe { builder.trust_files() }.build().unwrap()
        } else {
            builder.backend(Backend::Pread).build().unwrap()
        };
        let ours = lines(&bytes, &pool);
        let theirs: Vec<_> = std::io::BufRead::split(&bytes[..], b'\n').map(Result::unwrap).collect();
        prop_assert_eq!(ours.iter().map(|line| line.1.clone()).collect::<Vec<_>>(), theirs);
        for (offset, line) in ours {
            prop_assert!(bytes[offset as usize..].starts_with(&line));
            prop_assert!(offset == 0 || bytes[offset as usize - 1] == b'\n');
        }
    }
}

#[test]
fn lines_may_be_longer_than_a_piece() {
    let long = vec![b'x'; 1 << 20];
    let mut bytes = b"short\n".to_vec();
    bytes.extend_from_slice(&long);
    bytes.extend_from_slice(b"\nend");
    let ours = lines(&bytes, &WindowPool::new());
    assert_eq!(ours.len(), 3);
    assert_eq!((ours[1].0, ours[1].1.len()), (6, 1 << 20));
    assert_eq!(ours[2], (6 + (1 << 20) + 1, b"end".to_vec()));
}

#[test]
fn a_line_longer_than_the_limit_is_an_error_and_ends_the_iteration() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 30).unwrap();
    let pool = WindowPool::builder().memory_limit(8 << 20).build().unwrap();
    let mut lines = pool.open(file.path()).unwrap().lines(..).unwrap();
    assert!(matches!(lines.next(), Some(Err(Error::TooLarge { max, .. })) if max == 8 << 20));
    assert!(lines.next().is_none());
    assert!(pool.stats().peak_bytes <= 8 << 20);
}
