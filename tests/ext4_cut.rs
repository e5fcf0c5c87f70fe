//! The power cut of a real file system: ext4 on an image, shut down in the middle of work without its journal being flushed, as its own developers
//! test it (`EXT4_IOC_SHUTDOWN`), then mounted again. Every acknowledged commit is there.
//!
//! Needs to be root and `unshare`, `mkfs.ext4` and loop devices; says so and ends where one is missing.

mod common;

use common::mounted::on_a_disk;
use common::script::{self, Script};
use common::{assert_clean, role, small};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, View};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
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

/// What a disk that is gone does to a handle.
fn is_gone(e: &Error) -> bool {
    matches!(e, Error::Io { .. } | Error::SyncFailed | Error::Poisoned { .. } | Error::NoSpace { .. })
}

/// Commits until the disk is gone; the last that was acknowledged. Counts them in `commits`.
fn commit_until_gone(
    gone: &AtomicBool,
    commits: &AtomicU64,
    mut commit: impl FnMut() -> heapfile::Result<u64>,
) -> u64 {
    let mut acknowledged = 0;
    loop {
        match commit() {
            Ok(count) => {
                acknowledged = count;
                commits.fetch_add(1, SeqCst);
            }
            Err(e) => {
                assert!(is_gone(&e), "{e}");
                break;
            }
        }
    }
    // Nothing of that was for another reason than the cut.
    while !gone.load(SeqCst) {
        std::thread::yield_now();
    }
    acknowledged
}

fn count_up(arena: &Arena) -> heapfile::Result<u64> {
    let mut tx = arena.write()?;
    let root = tx.root::<u64>()?.expect("there is a counter");
    let count = tx.get_mut(root)?;
    *count += 1;
    let count = *count;
    tx.commit()?;
    Ok(count)
}

/// Counts up in one arena, one flush a commit, until the disk is gone; with `both` plays the script in another meanwhile, whose syncs may flush more than
/// that. What was acknowledged.
fn work(paths: &[PathBuf; 2], disk: &Path, pause: Duration, both: bool) -> [u64; 2] {
    let [script, counter] = [Arena::open(&paths[0]).unwrap(), Arena::open(&paths[1]).unwrap()];
    let (gone, played, counted) = (&AtomicBool::new(false), &AtomicU64::new(0), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Some of them certainly without anything after them that would flush them too.
            while counted.load(SeqCst) < 30 {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(pause);
            cut_power(disk);
            gone.store(true, SeqCst);
        });
        let counting = scope.spawn(move || commit_until_gone(gone, counted, || count_up(&counter)));
        let last = if both { commit_until_gone(gone, played, || script::play(&script)) } else { 0 };
        [last, counting.join().unwrap()]
    })
}

fn cut_again_and_again(disk: &Path) {
    let (image, disk_name) = (std::env::var("IMAGE").unwrap(), disk.to_str().unwrap());
    let paths = [disk.join("a.heap"), disk.join("b.heap")];
    script::begin(&small(Durability::Power).create(&paths[0]).unwrap()).unwrap();
    let arena = small(Durability::Power).create(&paths[1]).unwrap();
    let mut tx = arena.write().unwrap();
    let counter = tx.alloc(&0u64).unwrap();
    tx.set_root(counter).unwrap();
    tx.commit().unwrap();
    drop(arena);
    let mut rng = SplitMix64(std::process::id().into());
    let mut before = [0, 0];
    for round in 0..12 {
        let done = work(&paths, disk, Duration::from_micros(rng.below(30_000)), round % 2 == 0);
        run("umount", &[disk_name]);
        run("mount", &["-o", "loop", &image, disk_name]);
        let (arena, counter) = (Arena::open(&paths[0]).unwrap(), Arena::open(&paths[1]).unwrap());
        let tx = counter.read().unwrap();
        let found = [script::count(&arena), *tx.get(tx.root::<u64>().unwrap().unwrap()).unwrap()];
        for i in 0..2 {
            let acknowledged = before[i].max(done[i]);
            assert!(
                (acknowledged..=acknowledged + 1).contains(&found[i]),
                "round {round}, arena {i}: {acknowledged} commits were acknowledged, {} are there",
                found[i]
            );
        }
        Script::after(found[0]).assert_in(&arena);
        assert_clean(&arena);
        assert_clean(&counter);
        before = found;
    }
    common::tell(&format!("12 cuts, {before:?} commits"));
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
