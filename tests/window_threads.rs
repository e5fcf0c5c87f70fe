//! Many threads, one pool: each sees the bytes of the file, and the limit holds.

use heapfile::window::{Backend, WindowFile, WindowPool};
use std::sync::atomic::{AtomicBool, Ordering};

const LEN: u64 = 1 << 20;

fn word(at: u64) -> u64 {
    (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn pools() -> Vec<WindowPool> {
    let builder = |limit| WindowPool::builder().window_size(8192).memory_limit(limit).max_windows(40);
    // SAFETY: the file of this test is its own, and not changed while it is open.
    let mapped = |limit| unsafe { builder(limit).trust_files() }.build().unwrap();
    let copied = |limit| builder(limit).backend(Backend::Pread).build().unwrap();
    vec![copied(200_000), mapped(200_000), copied(4 << 20), mapped(4 << 20)]
}

fn visit(file: &WindowFile, seed: u64, rounds: u64) {
    let (mut buffer, mut cursor) = (file.buffer(), file.cursor());
    let mut x = seed;
    for i in 0..rounds {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        // Half of them near the last one.
        let at = if i % 2 == 0 { x % LEN / 8 * 8 } else { (x >> 32) % 4096 / 8 * 8 };
        match i % 4 {
            0 => assert_eq!(buffer.get_as::<u64>(at).unwrap(), word(at)),
            1 => assert_eq!(file.get::<u64>(at).unwrap(), word(at)),
            2 => {
                let window = file.window(at, 8).unwrap();
                assert_eq!(window[..], word(at).to_ne_bytes());
            }
            _ => {
                assert!(cursor.use_region(at, 8).unwrap());
                assert_eq!(cursor.view(), word(at).to_ne_bytes());
                cursor.unuse_region();
            }
        }
    }
}

#[test]
fn threads_share_a_pool() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..LEN / 8).flat_map(|i| word(i * 8).to_ne_bytes()).collect();
    std::fs::write(file.path(), bytes).unwrap();
    for pool in pools() {
        let opened = pool.open(file.path()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..5)
                .map(|seed| {
                    let file = &opened;
                    scope.spawn(move || visit(file, seed, 4000))
                })
                .collect();
            let restless = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    pool.collect();
                    opened.refresh().unwrap();
                    let stats = pool.stats();
                    assert!(stats.peak_bytes <= pool.memory_limit() && stats.windows <= 40, "{stats:?}");
                    pool.release(opened.path()).unwrap();
                    drop(pool.open(opened.path()).unwrap());
                }
            });
            let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            done.store(true, Ordering::Relaxed);
            restless.join().unwrap();
            assert!(results.iter().all(Result::is_ok));
        });
        drop(opened);
        let stats = pool.stats();
        assert_eq!((stats.windows, stats.mapped_bytes, stats.files), (0, 0, 0));
    }
}

#[test]
fn handles_may_be_sent_and_shared() {
    fn both<T: Send + Sync>() {}
    fn send<T: Send>() {}
    both::<WindowPool>();
    both::<WindowFile>();
    both::<heapfile::window::Window>();
    send::<heapfile::window::Cursor>();
    send::<heapfile::window::Buffer>();
    send::<heapfile::window::Matches>();
    send::<heapfile::window::Lines>();
    send::<heapfile::window::Chunks>();
}
