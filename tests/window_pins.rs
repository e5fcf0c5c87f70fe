//! Guards pin: what they show stays, and the pool says who holds it.

use heapfile::window::{Backend, WindowFile, WindowPool};
use std::path::Path;

fn pool(mapped: bool) -> WindowPool {
    let builder = WindowPool::builder().window_size(4096);
    // SAFETY: the files of these tests are their own, and not changed while they are open.
    if mapped { unsafe { builder.trust_files() } } else { builder.backend(Backend::Pread) }.build().unwrap()
}

fn write(path: &Path) {
    std::fs::write(path, (0..20_000u32).map(|i| (i / 4096) as u8).collect::<Vec<_>>()).unwrap();
}

/// Has `test` look at a file through a pool that copies, and through one that maps.
fn with_each_backend(test: impl Fn(&Path, WindowPool, WindowFile)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write(&path);
    for mapped in [false, true] {
        let pool = pool(mapped);
        let file = pool.open(&path).unwrap();
        test(&path, pool, file);
    }
}

#[test]
fn a_guard_outlives_its_handle_and_its_pool() {
    with_each_backend(|_, pool, file| {
        let guard = file.window(4096, 100).unwrap();
        drop(file);
        assert_eq!((pool.stats().files, pool.stats().windows, pool.stats().pinned_windows), (0, 1, 1));
        assert_eq!(pool.stats().mapped_bytes, 4096);
        let other = guard.clone();
        drop(guard);
        drop(pool);
        assert!(std::thread::spawn(move || other.iter().all(|&b| b == 1)).join().unwrap());
    });
}

#[test]
fn clients_are_counted() {
    with_each_backend(|_, _pool, file| {
        let first = file.window(0, 10).unwrap();
        assert_eq!(first.clients(), 1);
        let mut cursor = file.cursor();
        assert!(cursor.use_region(100, 10).unwrap());
        assert!(cursor.region().unwrap().shares(&first));
        let copy = cursor.clone();
        assert_eq!(first.clients(), 3);
        cursor.unuse_region();
        drop(copy);
        assert_eq!(first.clients(), 1);
        assert!(!first.shares(&file.window(4096, 1).unwrap()));
        file.refresh().unwrap();
        assert_eq!(first.clients(), 1, "also when the pool lists it no longer");
    });
}

#[test]
fn collect_leaves_only_pins() {
    with_each_backend(|_, pool, file| {
        for page in 0..4 {
            drop(file.window(page * 4096, 1).unwrap());
        }
        let pin = file.window(4096, 1).unwrap();
        let collected = pool.collect();
        assert_eq!((collected.windows, collected.bytes), (3, 3 * 4096));
        assert_eq!((pool.stats().windows, pool.stats().mapped_bytes), (1, 4096));
        drop(pin);
        assert_eq!(pool.collect().windows, 1);
        assert_eq!(pool.stats().mapped_bytes, 0);
    });
}

#[test]
fn release_says_who_still_pins() {
    with_each_backend(|path, pool, file| {
        drop(file.window(0, 1).unwrap());
        let line = line!() + 1;
        let pin = file.window(8192, 5).unwrap();
        let again = pin.clone();
        let release = pool.release(path).unwrap();
        assert_eq!((release.dropped.windows, release.handles, release.pinned.len()), (1, 1, 1));
        let pinned = release.pinned[0];
        assert_eq!((pinned.offset, pinned.len, pinned.clients), (8192, 4096, 2));
        assert!(pinned.last_pinned_by.file().ends_with("window_pins.rs"));
        assert_eq!(pinned.last_pinned_by.line(), line);
        drop(pin);
        assert!(!pool.release(path).unwrap().is_complete(), "the handle is open");
        drop(file);
        let release = pool.release(path).unwrap();
        assert_eq!((release.handles, release.pinned.len(), release.pinned[0].clients), (0, 1, 1));
        assert_eq!(release.pinned[0].last_pinned_by.line(), line, "also of a file that is closed");
        drop(again);
        assert!(pool.release(path).unwrap().is_complete());
        assert!(pool.release(path.with_file_name("missing")).is_err());
    });
}

/// Where a longer window is asked for that begins at the same place, that takes its place.
#[test]
fn release_knows_of_a_pinned_window_that_a_longer_one_displaced() {
    with_each_backend(|path, pool, file| {
        let short = file.window(0, 10).unwrap();
        drop(file.window(0, 6000).unwrap());
        assert_eq!(pool.release(path).unwrap().pinned.len(), 1);
        drop(file);
        assert!(!pool.release(path).unwrap().is_complete());
        drop(short);
        assert!(pool.release(path).unwrap().is_complete());
    });
}

/// A pinned copy does not keep the inode of a file that is closed and gone.
#[test]
#[cfg(unix)]
fn a_file_does_not_have_the_pins_of_one_whose_inode_it_got() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let (path, other, pool) = (dir.path().join("a"), dir.path().join("b"), pool(false));
    let inode = |path: &Path| path.metadata().unwrap().ino();
    // Somebody else's file may get it.
    let Some(pin) = (0..20).find_map(|_| {
        write(&path);
        let (pin, was) = (pool.open(&path).unwrap().window(4096, 100).unwrap(), inode(&path));
        std::fs::remove_file(&path).unwrap();
        // The clock for births goes in steps.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&other, [7; 5000]).unwrap();
        let has_it = inode(&other) == was;
        if !has_it {
            std::fs::remove_file(&other).unwrap();
        }
        has_it.then_some(pin)
    }) else {
        return println!("skipped: no inode is used again here");
    };
    if other.metadata().unwrap().created().is_err() {
        return println!("skipped: files have no time of birth here");
    }
    assert!(pool.release(&other).unwrap().is_complete());
    assert!(pool.open(&other).unwrap().window(4096, 100).unwrap().iter().all(|&byte| byte == 7));
    assert!(pin.iter().all(|&byte| byte == 1));
}

#[test]
fn cursors_and_buffers_are_handles() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write(&path);
    let pool = pool(false);
    let file = pool.open(&path).unwrap();
    let (cursor, buffer) = (file.cursor(), file.buffer());
    drop(file);
    assert!(pool.release(&path).unwrap().handles >= 2);
    drop((cursor, buffer));
    assert!(pool.release(&path).unwrap().is_complete());
}
