//! Out of address space: unpinned windows make room, then an error or positioned reads; never a crash. Alone
//! in its file: the limit is the process's.
#![cfg(target_os = "linux")]

use heapfile::Error;
use heapfile::window::WindowPool;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bytes of address space in use.
fn in_use() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
}

#[test]
fn without_address_space_windows_make_room_and_reads_go_on() {
    let len = 8u64 << 30;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(len).unwrap();
    use std::os::unix::fs::FileExt as _;
    file.as_file().write_all_at(b"end", len - 3).unwrap();
    let builder = || WindowPool::builder().window_size(64 << 20).memory_limit(len);
    // SAFETY: the file is this test's own, and not changed while it is open.
    let mapped = unsafe { builder().trust_files() }.build().unwrap();
    for pool in [builder().build().unwrap(), mapped] {
        let opened = pool.open(file.path()).unwrap();
        let before = getrlimit(Resource::As);
        setrlimit(Resource::As, Rlimit { current: Some(in_use() + (1 << 30)), maximum: before.maximum })
            .unwrap();
        // More windows than fit: those that nobody pins leave, although the pool's own limit is not reached.
        let paged = (0..100).try_for_each(|i| opened.window(i * (64 << 20), 9).map(drop));
        let mut pins = Vec::new();
        let refused = (0..100).find_map(|i| match opened.window(i * (64 << 20), 9) {
            Ok(window) => {
                pins.push(window);
                None
            }
            Err(e) => Some(e),
        });
        let value = opened.get::<[u8; 3]>(len - 3);
        let far = opened.buffer().get(len - 1);
        let found = opened.find(b"end", ..);
        setrlimit(Resource::As, before).unwrap();
        paged.unwrap();
        assert!(pins.len() > 4 && pins.len() < 17, "{}", pins.len());
        assert!(
            matches!(&refused, Some(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOMEM)),
            "{refused:?}"
        );
        assert_eq!(value.unwrap(), *b"end");
        assert_eq!(far.unwrap(), Some(b'd'));
        assert_eq!(found.unwrap(), Some(len - 3));
        drop(pins);
        opened.window(0, 9).unwrap();
    }
}
