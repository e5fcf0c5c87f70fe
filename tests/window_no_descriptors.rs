//! Out of file descriptors: an error, and what is open goes on. Alone in its file: the limit is the process's.
#![cfg(target_os = "linux")]

use heapfile::Error;
use heapfile::window::WindowPool;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn without_descriptors_opening_fails_and_open_files_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    std::fs::write(&first, vec![1; 1 << 20]).unwrap();
    std::fs::write(&second, b"2").unwrap();
    // SAFETY: the files are this test's own, and not changed while they are open.
    let mapped = unsafe { WindowPool::builder().window_size(4096).trust_files() }.build().unwrap();
    for pool in [WindowPool::builder().window_size(4096).build().unwrap(), mapped] {
        let file = pool.open(&first).unwrap();
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).unwrap();
        let refused = pool.open(&second).unwrap_err();
        let pins: Vec<_> = (0..200).map(|page| file.window(page * 4096, 4096).unwrap()).collect();
        let again = pool.open(&first).unwrap();
        let count = again.count([1], ..).unwrap();
        setrlimit(Resource::Nofile, before).unwrap();
        assert!(
            matches!(&refused, Error::Io { op: "open", source, .. } if source.raw_os_error() == Some(libc::EMFILE)),
            "{refused}"
        );
        assert_eq!((pins.len(), count), (200, 1 << 20), "windows need no descriptors");
        pool.open(&second).unwrap();
    }
}
