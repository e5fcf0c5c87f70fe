//! The power cut of a real file system: ext4 on an image, shut down in the middle of work without its journal being flushed, as its own developers
//! test it (`EXT4_IOC_SHUTDOWN`), then mounted again. Every acknowledged commit is there.
//!
//! Needs to be root and `unshare`, `mkfs.ext4` and loop devices; says so and ends where one is missing.

mod common;

use common::mounted::on_a_disk;
use common::script::{self, Script};
use common::{assert_clean, role, small};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// `_IOR('X', 125, __u32)`.
const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Nothing that is not on the disk gets there.
const NOLOGFLUSH: u32 = 2;

fn cut_power(disk: &Path) {
    let root = std::fs::File::open(disk).unwrap();
    // SAFETY: the call reads one number; the descriptor is open.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &NOLOGFLUSH) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Works until the disk is gone; how many commits were acknowledged.
fn work(path: &Path, disk: &Path, pause: Duration) -> u64 {
    let arena = Arena::open(path).unwrap();
    let (acknowledged, gone) = (AtomicU64::new(script::count(&arena)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(pause);
            cut_power(disk);
            gone.store(true, SeqCst);
        });
        loop {
            match script::play(&arena) {
                Ok(count) => acknowledged.store(count, SeqCst),
                // What a disk that is gone does to a handle.
                Err(
                    Error::Io { .. } | Error::SyncFailed | Error::Poisoned { .. } | Error::NoSpace { .. },
                ) => break,
                Err(e) => panic!("{e}"),
            }
        }
        // Nothing of that was for another reason than the cut.
        while !gone.load(SeqCst) {
            std::thread::yield_now();
        }
    });
    assert!(arena.checkpoint().is_err());
    acknowledged.into_inner()
}

fn cut_again_and_again(disk: &Path) {
    let (image, disk_name) = (std::env::var("IMAGE").unwrap(), disk.to_str().unwrap());
    let path = disk.join("a.heap");
    script::begin(&small(Durability::Power).create(&path).unwrap()).unwrap();
    let mut rng = SplitMix64(std::process::id().into());
    let mut commits = 0;
    for round in 0..12 {
        let acknowledged = work(&path, disk, Duration::from_micros(rng.below(60_000)));
        run("umount", &[disk_name]);
        run("mount", &["-o", "loop", &image, disk_name]);
        let arena = Arena::open(&path).unwrap();
        let count = script::count(&arena);
        assert!(
            (acknowledged..=acknowledged + 1).contains(&count),
            "round {round}: {acknowledged} commits were acknowledged, {count} are there"
        );
        Script::after(count).assert_in(&arena);
        assert_clean(&arena);
        commits = count;
    }
    common::tell(&format!("12 cuts, {commits} commits"));
}

#[test]
fn acknowledged_commits_survive_the_shutdown_of_ext4() {
    if let Some((_, disk)) = role() {
        return cut_again_and_again(&disk);
    }
    let mount = "truncate -s 64m \"$IMAGE\" && mkfs.ext4 -q \"$IMAGE\" && mount -o loop \"$IMAGE\" \"$DISK\"";
    on_a_disk("acknowledged_commits_survive_the_shutdown_of_ext4", mount);
}

/// A file system that may only be read: opening for writing says why not; reading works, and replays what the log has.
#[test]
fn a_file_system_that_became_read_only() {
    if let Some((_, disk)) = role() {
        return read_only(&disk);
    }
    let mount = "truncate -s 64m \"$IMAGE\" && mkfs.ext4 -q \"$IMAGE\" && mount -o loop \"$IMAGE\" \"$DISK\"";
    on_a_disk("a_file_system_that_became_read_only", mount);
}

fn read_only(disk: &Path) {
    for durability in common::BOTH {
        let path = disk.join("a.heap");
        let arena = small(durability).create(&path).unwrap();
        script::begin(&arena).unwrap();
        for _ in 0..6 {
            script::play(&arena).unwrap();
        }
        // As a kill in the middle of the next commit leaves it.
        let image = common::killed_at("commit: half applied", &path, || {
            script::play(&arena).unwrap();
        });
        drop(arena);
        std::fs::write(&path, image).unwrap();
        run("mount", &["-o", "remount,ro", disk.to_str().unwrap()]);
        for refused in [Arena::open(&path), Arena::open_or_create(&path), Arena::create(disk.join("b.heap"))]
        {
            match refused {
                Err(Error::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(libc::EROFS)),
                other => panic!("{other:?}"),
            }
        }
        let arena = Arena::open_read_only(&path).unwrap();
        Script::after(7).assert_in(&arena);
        assert_clean(&arena);
        assert!(matches!(arena.write().map(drop), Err(Error::ReadOnly)));
        drop(arena);
        run("mount", &["-o", "remount,rw", disk.to_str().unwrap()]);
        let arena = Arena::open(&path).unwrap();
        Script::after(7).assert_in(&arena);
        drop(arena);
        std::fs::remove_file(&path).unwrap();
    }
}
