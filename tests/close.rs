//! Closing leaves a file that is easy to open; figures and lists of an arena; a file that is replaced while it is open, or that can no longer be looked up by
//! its path.

mod common;

use common::{BOTH, assert_clean, bytes, child, copy_as_killed, dir, fast_dir, role, small};
use heapfile::{Arena, Durability, Error, Locking, Offset, View};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn the_last_close_leaves_an_empty_log() {
    let dir = dir();
    for locking in [Locking::Shared, Locking::File] {
        let path = dir.path().join(format!("{locking:?}"));
        let arena = small(Durability::Power).locking(locking).create(&path).unwrap();
        arena.alloc(&1u64).unwrap();
        arena.alloc(&2u64).unwrap();
        assert!(arena.stats().unwrap().log_used_bytes > 0);
        assert_eq!(arena.check().unwrap().counts.log_records, 2);
        let clone = arena.clone();
        drop(arena);
        // Not the last one.
        assert_eq!(clone.check().unwrap().counts.log_records, 2);
        drop(clone);
        let arena = Arena::open(&path).unwrap();
        assert_eq!(arena.stats().unwrap().log_used_bytes, 0);
        assert_eq!(arena.check().unwrap().counts.log_records, 0);
        // Nothing was written since: nothing is to be done at the next close either.
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        drop(arena);
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
    }
}

#[test]
fn the_log_comes_round_without_a_close() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(Durability::Power).create(&path).unwrap();
    let x = arena.alloc_bytes(&[0; 2000]).unwrap();
    let (mut most, mut laps) = (0, 0);
    let mut before = arena.stats().unwrap().log_used_bytes;
    for n in 0..400u32 {
        let mut tx = arena.write().unwrap();
        tx.bytes_mut(x).unwrap().fill(n as u8);
        tx.commit().unwrap();
        let used = arena.stats().unwrap().log_used_bytes;
        laps += u32::from(used < before);
        before = used;
        most = most.max(used);
        if n % 37 == 0 {
            let copy = dir.path().join("copy");
            copy_as_killed(&path, &copy);
            let copied = Arena::open(&copy).unwrap();
            assert_eq!(copied.read().unwrap().bytes(x).unwrap(), [n as u8; 2000]);
        }
    }
    assert!(laps > 10, "{laps}");
    // A checkpoint begins at three quarters.
    assert!((20 << 10..=64 << 10).contains(&most), "{most}");
}

#[test]
fn stats_say_what_there_is() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        let empty = arena.stats().unwrap();
        assert_eq!((empty.version, empty.durability, empty.max_bytes), (1, durability, 64 << 20));
        assert_eq!(empty.file_bytes, std::fs::metadata(&path).unwrap().len());
        assert_eq!(empty.heap_offset + empty.heap_bytes, empty.file_bytes);
        assert_eq!(empty.log_bytes, if durability == Durability::Power { 64 << 10 } else { 0 });
        assert!(
            empty.slabs.is_empty() && empty.extents == 1 && empty.free_bytes == empty.longest_extent_bytes
        );
        let mut tx = arena.write().unwrap();
        let large = tx.alloc_bytes(&bytes(1, 100_000)).unwrap();
        tx.alloc(&1u64).unwrap();
        tx.commit().unwrap();
        let stats = arena.stats().unwrap();
        assert_eq!(stats.id, empty.id);
        assert_eq!(stats.sequence, empty.sequence + 1);
        assert_eq!(stats.slabs, [(8, 1)]);
        assert_eq!(stats.free_bytes, empty.free_bytes - 25 * 4096 - 4096);
        let counts = arena.check().unwrap().counts;
        assert_eq!((counts.blocks, counts.block_bytes), (2, 100_008));
        assert_eq!((counts.free_bytes, counts.heap_bytes), (stats.free_bytes, stats.heap_bytes));
        arena.free(large).unwrap();
        assert_eq!(arena.stats().unwrap().free_bytes, empty.free_bytes - 4096);
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        assert_eq!(arena.stats().unwrap().sequence, empty.sequence + 2);
        assert_eq!(arena.stats().unwrap().id, empty.id);
    }
}

#[test]
fn blocks_are_listed_in_order_and_from_anywhere() {
    let dir = dir();
    let arena = small(Durability::Power).create(dir.path().join("a")).unwrap();
    assert_eq!(arena.read().unwrap().next_block(Offset::null()).unwrap(), None);
    let mut tx = arena.write().unwrap();
    let mut all: Vec<(u64, u64)> = [0, 5, 8, 300, 20_000, 4096, 70_000, 1]
        .map(|len| (tx.alloc_bytes(&bytes(1, len as usize)).unwrap().raw(), len))
        .to_vec();
    let gone = tx.alloc_bytes(&[1; 5000]).unwrap();
    tx.free(gone).unwrap();
    all.sort_unstable();
    let list = |view: &dyn Fn(Offset<[u8]>) -> Option<(u64, u64)>| {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some((raw, len)) = view(Offset::from_raw(from)) {
            found.push((raw, len));
            from = raw + 1;
        }
        found
    };
    let seen = |view: &heapfile::WriteTxn<'_>| {
        list(&|from| view.next_block(from).unwrap().map(|b| (b.offset.raw(), b.len)))
    };
    assert_eq!(seen(&tx), all);
    tx.commit().unwrap();
    let tx = arena.read().unwrap();
    assert_eq!(list(&|from| tx.next_block(from).unwrap().map(|b| (b.offset.raw(), b.len))), all);
    for (i, &(raw, len)) in all.iter().enumerate() {
        let at = |from: u64| tx.next_block(Offset::from_raw(from)).unwrap().map(|block| block.offset.raw());
        let next = all.get(i + 1).map(|&(raw, _)| raw);
        // At its own offset, just before, anywhere inside, behind its end.
        assert_eq!((at(raw), at(raw - 1), at(raw + 1)), (Some(raw), Some(raw), next));
        assert_eq!((at(raw + len / 2 + 1), at(raw + len.max(1))), (next, next));
        let block = tx.next_block(Offset::from_raw(raw)).unwrap().unwrap();
        assert!(block.capacity >= block.len);
    }
    assert_eq!(tx.next_block(Offset::from_raw(u64::MAX)).unwrap(), None);
}

/// Up to its capacity a block grows where it is.
#[test]
fn a_block_grows_in_place_up_to_its_capacity() {
    let dir = dir();
    let arena = small(Durability::Process).create(dir.path().join("a")).unwrap();
    for len in [0usize, 1, 20, 130, 1000, 17_000, 50_000] {
        let x = arena.alloc_bytes(&bytes(1, len)).unwrap();
        let capacity = arena.read().unwrap().next_block(x).unwrap().unwrap().capacity;
        let mut tx = arena.write().unwrap();
        for to in [(len as u64 + capacity) / 2, capacity] {
            assert_eq!(tx.resize(x, to).unwrap(), x);
            assert_eq!(tx.len_of(x).unwrap(), to);
            let kept = len.min(to as usize);
            assert!(tx.bytes(x).unwrap()[..kept] == bytes(1, len)[..kept]);
            assert!(tx.bytes(x).unwrap()[kept..].iter().all(|&byte| byte == 0));
        }
    }
    assert_clean(&arena);
}

#[test]
fn a_file_that_was_removed_or_replaced() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        let x = arena.alloc_bytes(&bytes(1, 100)).unwrap();
        std::fs::remove_file(&path).unwrap();
        // What is open can be read on; the check says what happened.
        assert_eq!(arena.read().unwrap().bytes(x).unwrap(), bytes(1, 100));
        let report = arena.check().unwrap();
        assert!(report.findings.iter().any(|finding| finding.what.contains("names another file")));
        let new = small(durability).create(&path).unwrap();
        new.alloc_bytes(&bytes(2, 200)).unwrap();
        let outcome = arena.alloc_bytes(&bytes(3, 10 << 20));
        assert!(matches!(outcome, Err(Error::Replaced { .. })), "{outcome:?}");
        drop(arena);
        assert_clean(&new);
        assert_eq!(new.read().unwrap().blocks().count(), 1);
    }
}

/// Runs the test as a child with this role, and waits for its good end.
#[track_caller]
fn in_child(test: &str, role: &str, file: &Path) {
    let ended = child(test, role, file).output().unwrap();
    assert!(ended.status.success(), "{role}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// Gives this thread, and no other, the rights of a user; those of the first one can be had again.
fn as_user(id: i64) {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, id, id, -1i64) }, 0);
}

/// All that looks whether the path still names the file.
fn use_in_place(arena: &Arena) {
    arena.alloc_bytes(&bytes(1, 10 << 20)).expect("growth");
    arena.sync().expect("a sync");
    arena.checkpoint().expect("a checkpoint");
    assert_clean(arena);
}

#[test]
fn a_file_whose_path_leads_there_no_more() {
    const TEST: &str = "a_file_whose_path_leads_there_no_more";
    if let Some((role, dir)) = role() {
        std::env::set_current_dir(&dir).unwrap();
        for durability in BOTH {
            let arena = small(durability).create(format!("{role} {durability:?}")).unwrap();
            if role == "changed directory" {
                std::env::set_current_dir("/").unwrap();
                use_in_place(&arena);
                std::env::set_current_dir(&dir).unwrap();
            } else {
                as_user(65534);
                use_in_place(&arena);
                as_user(0);
            }
        }
        return;
    }
    let dir = dir();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    in_child(TEST, "changed directory", dir.path());
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        in_child(TEST, "dropped privileges", dir.path());
    }
}
