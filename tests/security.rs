//! What others can do to us, and what they cannot: each statement of "Security" in `docs/RELIABILITY.md` by a test.
//!
//! Files of others, damaged files and what is no file are in `not_an_arena` and `hostile_file`; names that change under an opener in `sharing_replaced`.

mod common;

use common::script::{self, Script};
use common::{BOTH, assert_clean, bytes, child, dir, fast_dir, role, small};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Durability, Error, Locking, Offset, View};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Whatever the umask allows: nobody else ever has the file, from its first moment.
#[test]
fn a_new_file_is_its_owners_alone() {
    if let Some((_, dir)) = role() {
        // SAFETY: a plain system call; the process is a child with nothing else to do.
        unsafe { libc::umask(0) };
        let _arena = Arena::create(dir.join("a.heap")).unwrap();
        let _other = Arena::open_or_create(dir.join("b.heap")).unwrap();
        assert_eq!((mode(&dir.join("a.heap")), mode(&dir.join("b.heap"))), (0o600, 0o600));
        let _shared = small(BOTH[0]).mode(0o660).create(dir.join("c.heap")).unwrap();
        assert_eq!(mode(&dir.join("c.heap")), 0o660);
        return;
    }
    let dir = dir();
    let output = child("a_new_file_is_its_owners_alone", "alone", dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A link that somebody put in the place of the new file leads nowhere.
#[test]
fn creation_follows_no_link() {
    let dir = dir();
    let (link, target) = (dir.path().join("link.heap"), dir.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for follow in [true, false] {
        let options = small(BOTH[0]).follow_links(follow);
        for outcome in [options.create(&link), options.open_or_create(&link)] {
            let refused = outcome.unwrap_err();
            assert!(matches!(refused, Error::NotAFile { .. }), "{refused}");
            assert!(refused.to_string().contains("is a symbolic link"), "{refused}");
        }
        assert!(!target.exists(), "a file was made behind the link");
    }
    std::fs::write(&target, b"precious").unwrap();
    for follow in [true, false] {
        let options = small(BOTH[0]).follow_links(follow);
        assert!(options.create(&link).is_err() && options.open_or_create(&link).is_err());
    }
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    assert!(link.is_symlink());
}

/// Not even an empty file, which creation would take over, or an arena, behind a link that is not to be followed.
#[test]
fn a_link_that_is_not_to_be_followed() {
    let dir = dir();
    let (link, target) = (dir.path().join("link.heap"), dir.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let options = small(BOTH[0]).follow_links(false);
    let refused = |what: &str| {
        for outcome in [
            options.create(&link),
            options.open(&link),
            options.open_or_create(&link),
            options.open_read_only(&link),
        ] {
            assert!(
                matches!(
                    outcome,
                    Err(Error::NotAFile { what: "a symbolic link", .. } | Error::AlreadyExists { .. })
                ),
                "{what}: {outcome:?}"
            );
        }
    };
    refused("nothing");
    File::create(&target).unwrap();
    refused("an empty file");
    assert_eq!(std::fs::metadata(&target).unwrap().len(), 0);
    std::fs::remove_file(&target).unwrap();
    drop(small(BOTH[0]).create(&target).unwrap());
    refused("an arena");
    assert!(options.open(&target).is_ok());
}

fn lock(file: &File, command: libc::c_int, kind: libc::c_int, start: i64, len: i64) -> bool {
    // SAFETY: a structure of integers, for which zeros are values, and a plain system call.
    unsafe {
        let mut request: libc::flock = std::mem::zeroed();
        request.l_type = kind as libc::c_short;
        (request.l_start, request.l_len) = (start, len);
        libc::fcntl(file.as_raw_fd(), command, &request) == 0
    }
}

fn took<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

/// Who may only read the file can still lock it, and so keep others out: they are told, in time.
#[test]
fn a_reader_without_rights_can_keep_others_out_and_no_more() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let options = small(BOTH[0]).lock_timeout(Duration::from_millis(200));
    let arena = options.create(&path).unwrap();
    let stranger = File::open(&path).unwrap();
    // The whole-file lock keeps openers out, not those who have it open.
    fs2::FileExt::lock_shared(&stranger).unwrap();
    let (refused, time) = took(|| options.open(&path).map(drop));
    assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    assert!(time < Duration::from_secs(20));
    arena.alloc(&1u64).unwrap();
    fs2::FileExt::unlock(&stranger).unwrap();
    // On all bytes of the file: nobody is taken for a handle who may not write, so the arena opens, and recovers; it finds another way of locking
    // in use, or no slot.
    drop(arena);
    assert!(lock(&stranger, libc::F_OFD_SETLK, libc::F_RDLCK, 0, 0));
    let shared = options.clone().locking(Locking::Shared);
    let (refused, time) = took(|| shared.open(&path).map(drop));
    assert!(matches!(refused, Err(Error::NoSlot { .. } | Error::LockMode { .. })), "{refused:?}");
    assert!(time < Duration::from_secs(20));
    drop(stranger);
    let arena = options.open(&path).unwrap();
    assert_clean(&arena);
    assert_eq!(arena.read().unwrap().blocks().count(), 1);
}

/// A lock of somebody who may only read does not pass for a handle: what a dead process left is completed, not taken for the business of a live one.
#[test]
fn a_reader_without_rights_does_not_pass_for_a_handle() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    for durability in BOTH {
        for point in ["commit: half applied", "commit: applied"] {
            let _ = std::fs::remove_file(&path);
            let arena = small(durability).create(&path).unwrap();
            script::begin(&arena).unwrap();
            let image = common::killed_at(point, &path, || {
                script::play(&arena).unwrap();
            });
            drop(arena);
            std::fs::write(&path, image).unwrap();
            let stranger = File::open(&path).unwrap();
            // The bytes of the first two slots.
            for slot in 0..2 {
                assert!(lock(&stranger, libc::F_OFD_SETLK, libc::F_RDLCK, 5 * 4096 + 512 * slot, 1));
            }
            let arena = Arena::open(&path).unwrap();
            Script::after(1).assert_in(&arena);
            assert_clean(&arena);
            script::play(&arena).unwrap();
            assert_eq!(arena.handles().unwrap().len(), 1);
        }
    }
}

/// Nor for one that locks the whole file, while others do not.
#[test]
fn a_reader_without_rights_does_not_change_the_way_of_locking() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(BOTH[0]).create(&path).unwrap();
    let stranger = File::open(&path).unwrap();
    assert!(lock(&stranger, libc::F_OFD_SETLK, libc::F_RDLCK, 4 * 4096, 4096));
    match Arena::open(&path) {
        Err(Error::LockMode { stored: "Locking::Shared", .. }) => {}
        Ok(other) => assert_eq!(other.locking(), Locking::Shared),
        Err(e) => panic!("{e}"),
    }
    arena.alloc(&1u64).unwrap();
    drop(stranger);
    assert_eq!(Arena::open(&path).unwrap().locking(), Locking::Shared);
}

/// Who may write the file can cut it. A process that then reads what is gone from the mapping is ended by the kernel (SIGBUS): the one thing that the
/// library trusts others with. No other process, and no other file, is touched.
#[test]
fn who_cuts_the_file_ends_those_who_read_it() {
    if let Some((_, path)) = role() {
        let arena = Arena::open(&path).unwrap();
        let tx = arena.read().unwrap();
        let block = tx.root::<[u8]>().unwrap().unwrap();
        let view = tx.bytes(block).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(4096 * 40).unwrap();
        std::process::exit(i32::from(view.iter().fold(0, |sum, byte| sum ^ byte) & 1) + 1);
    }
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(BOTH[0]).create(&path).unwrap();
    let mut tx = arena.write().unwrap();
    let block = tx.alloc_bytes(&bytes(1, 1 << 20)).unwrap();
    tx.set_root(block).unwrap();
    tx.commit().unwrap();
    drop(arena);
    let status = child("who_cuts_the_file_ends_those_who_read_it", "read", &path).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
    assert!(Arena::open(&path).is_err());
}

/// A neighbour with write access that writes nonsense anywhere, all the time, while others work: they get errors or wrong bytes, but do not panic, hang or
/// touch memory or files that are none of the arena.
#[test]
fn a_hostile_neighbour() {
    if let Some((role, path)) = role() {
        return live_beside_it(&path, role.parse().unwrap());
    }
    for durability in BOTH {
        for locking in [Locking::Shared, Locking::File] {
            for part in 0..4 {
                let dir = fast_dir();
                let path = dir.path().join("a.heap");
                let arena = small(durability).locking(locking).create(&path).unwrap();
                for i in 0..200 {
                    arena.alloc_bytes(&bytes(i, (i * i / 3) as usize)).unwrap();
                }
                drop(arena);
                let whole_file = u8::from(locking == Locking::File);
                let mut victim =
                    child("a_hostile_neighbour", &whole_file.to_string(), &path).spawn().unwrap();
                let file = File::options().write(true).open(&path).unwrap();
                let begun = Instant::now();
                let mut rng = SplitMix64(part);
                let status = loop {
                    if let Some(status) = victim.try_wait().unwrap() {
                        break status;
                    }
                    assert!(begun.elapsed() < Duration::from_secs(100), "it hangs");
                    annoy(&file, &mut rng, part);
                };
                let mut said = String::new();
                std::io::Read::read_to_string(&mut victim.stderr.take().unwrap(), &mut said).unwrap();
                assert!(status.success(), "{durability:?}, {locking:?}, part {part}: {status}: {said}");
                // No longer than the victim's limit allows.
                assert!(file.metadata().unwrap().len() <= 64 << 20);
            }
        }
    }
}

/// Writes nonsense into some part of the file.
fn annoy(file: &File, rng: &mut SplitMix64, part: u64) {
    let pages = file.metadata().unwrap().len() / 4096;
    let page = match part {
        0 => 4,
        1 => 4 + rng.below(33),
        2 => rng.below(pages.min(120)),
        _ => rng.below(pages),
    };
    let word = match rng.below(4) {
        0 => 0,
        1 => rng.below(300),
        2 => 1 << rng.below(64),
        _ => rng.next(),
    };
    let place = if page == 4 { rng.below(50) } else { rng.below(512) };
    file.write_all_at(&word.to_le_bytes(), page * 4096 + place * 8).unwrap();
    if rng.below(4) == 0 {
        std::thread::sleep(Duration::from_micros(rng.below(60)));
    }
}

fn live_beside_it(path: &Path, whole_file: u8) {
    let locking = if whole_file == 1 { Locking::File } else { Locking::Shared };
    let options = small(Durability::Power)
        .locking(locking)
        .accept_unsynced(true)
        .lock_timeout(Duration::from_millis(3));
    let begun = Instant::now();
    let mut rng = SplitMix64(7);
    while begun.elapsed() < Duration::from_millis(700) {
        let Ok(arena) = options.open(path) else { continue };
        let _ = arena.check();
        let _ = arena.stats();
        let _ = arena.handles();
        for _ in 0..20 {
            let _ = change(&arena, &mut rng);
            let _ = look(&arena);
        }
        let _ = arena.sync();
        let _ = arena.checkpoint();
        let _ = arena.shrink();
        let _ = options.open_read_only(path).and_then(|arena| look(&arena));
    }
}

fn look(arena: &Arena) -> heapfile::Result<u8> {
    let tx = arena.read()?;
    let mut sum = 0;
    for block in tx.blocks().take(300) {
        sum ^= tx.bytes(block?.offset)?.iter().fold(0, |sum, byte| sum ^ byte);
    }
    Ok(sum)
}

fn change(arena: &Arena, rng: &mut SplitMix64) -> heapfile::Result<()> {
    let some: Vec<Offset<[u8]>> = {
        let tx = arena.read()?;
        tx.blocks().take(30).filter_map(|block| Some(block.ok()?.offset)).collect()
    };
    let mut tx = arena.write()?;
    let new = tx.alloc_bytes(&bytes(rng.next(), rng.below(20_000) as usize))?;
    for (i, &block) in some.iter().enumerate() {
        let done = match (i as u64 + rng.below(3)) % 5 {
            0 => tx.free(block),
            1 => tx.resize(block, rng.below(9_000)).map(drop),
            2 => tx.write_at(block, 0, &[1; 100]),
            _ => Ok(()),
        };
        if rng.below(2) == 0 {
            done?;
        }
    }
    tx.set_root(new)?;
    tx.commit()
}
