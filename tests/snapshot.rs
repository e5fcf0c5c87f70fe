//! A snapshot is a whole arena of its own, of one state, in as little space as that needs; and nothing is left of one that failed.

mod common;

use common::{BOTH, assert_clean, bytes, child, dir, fast_dir, role, small};
use heapfile::{Arena, Durability, Error, Locking, Offset, Options, RunKind, SnapshotOptions, View};
use std::cell::RefCell;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Blocks of many lengths with roots, and holes between them.
fn fill(arena: &Arena) -> Vec<(Offset<[u8]>, u64, usize)> {
    let mut blocks = Vec::new();
    let mut tx = arena.write().unwrap();
    for seed in 0..200u64 {
        let len = [3, 40, 700, 9_000, 70_000][seed as usize % 5] + seed as usize;
        let block = tx.alloc_bytes(&bytes(seed, len)).unwrap();
        blocks.push((block, seed, len));
    }
    tx.create_root("first", blocks[0].0).unwrap();
    tx.set_root(blocks[199].0).unwrap();
    tx.commit().unwrap();
    let mut tx = arena.write().unwrap();
    let mut index = 0;
    blocks.retain(|&(block, ..)| {
        index += 1;
        let keep = !(20..120).contains(&index) || index % 9 == 0;
        if !keep {
            tx.free(block).unwrap();
        }
        keep
    });
    tx.commit().unwrap();
    blocks
}

#[track_caller]
fn assert_holds(arena: &Arena, blocks: &[(Offset<[u8]>, u64, usize)]) {
    assert_clean(arena);
    let tx = arena.read().unwrap();
    for &(block, seed, len) in blocks {
        assert!(tx.bytes(block).unwrap() == bytes(seed, len), "{seed}");
    }
    assert_eq!(tx.named_root::<[u8]>("first").unwrap(), Some(blocks[0].0));
    assert_eq!(tx.root::<[u8]>().unwrap(), blocks.last().map(|block| block.0));
    // Directory and two records besides.
    assert_eq!(tx.blocks().count(), blocks.len() + 3);
}

#[test]
fn a_snapshot_is_an_arena_of_its_own() {
    for durability in BOTH {
        let dir = dir();
        let (path, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
        let arena = small(durability).mode(0o640).create(&path).unwrap();
        let blocks = fill(&arena);
        let snapshot = arena.snapshot(&to, &SnapshotOptions::new()).unwrap();
        assert_eq!(snapshot.sequence, arena.stats().unwrap().sequence);
        assert_eq!(names(dir.path()), ["a.heap", "b.heap"]);

        let meta = std::fs::metadata(&to).unwrap();
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (snapshot.file_bytes, 0o640));
        let freed = arena.stats().unwrap().free_bytes;
        assert!(
            freed > 1 << 20 && meta.blocks() * 512 < meta.len() - freed / 2,
            "{} of {}",
            meta.blocks(),
            meta.len()
        );

        let copy = Arena::open(&to).unwrap();
        assert_holds(&copy, &blocks);
        let (from, now) = (arena.stats().unwrap(), copy.stats().unwrap());
        assert_ne!(from.id, now.id);
        // However long the log has become, its own is as long as that was at first.
        let first = if durability == Durability::Power { 64 << 10 } else { 0 };
        assert_eq!((now.durability, now.log_bytes), (durability, first));
        assert!(now.sequence >= from.sequence && now.synced);

        // Each goes its own way; what was hollow is filled again.
        let mut tx = copy.write().unwrap();
        for _ in 0..30 {
            tx.alloc_bytes(&bytes(7, 60_000)).unwrap();
        }
        tx.commit().unwrap();
        assert_clean(&copy);
        assert_holds(&arena, &blocks);
        drop(copy);
        assert_clean(&Arena::open(&to).unwrap());
    }
}

#[test]
fn what_exists_is_replaced_only_when_asked_and_the_arena_itself_never() {
    let dir = fast_dir();
    let (path, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    let arena = small(Durability::Power).create(&path).unwrap();
    let blocks = fill(&arena);
    std::fs::write(&to, "precious").unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    let over = SnapshotOptions::new().overwrite(true);
    let exists = |to: &Path, options: &SnapshotOptions| {
        let refused = arena.snapshot(to, options).unwrap_err();
        assert!(matches!(&refused, Error::AlreadyExists { path } if path == to), "{refused}");
    };
    exists(&to, &SnapshotOptions::new());
    exists(&path, &over);
    exists(&dir.path().join("d"), &over);
    assert_eq!(std::fs::read(&to).unwrap(), b"precious");
    arena.snapshot(&to, &over).unwrap();
    assert_holds(&Arena::open(&to).unwrap(), &blocks);
    // Taken between the look and the name.
    let third = dir.path().join("c.heap");
    let taken = third.clone();
    heapfile::testing::at_failpoint("snapshot: before the rename", move || {
        std::fs::write(&taken, "precious").unwrap();
    });
    exists(&third, &SnapshotOptions::new());
    assert_eq!(std::fs::read(&third).unwrap(), b"precious");
    let missing = arena.snapshot(dir.path().join("no/such/b.heap"), &over).unwrap_err();
    assert!(matches!(missing, Error::Io { op: "create", .. }), "{missing}");
    assert_eq!(names(dir.path()), ["a.heap", "b.heap", "c.heap", "d"]);
    assert_holds(&arena, &blocks);
}

/// What is in use has its room on the disk; what is free has none (but for what a file system adds of its own accord), and is marked so.
#[track_caller]
fn assert_has_room(copy: &Arena, path: &Path) {
    let runs: Vec<heapfile::Run> = copy.runs().map(Result::unwrap).collect();
    let is_free = |run: &&heapfile::Run| matches!(run.kind, RunKind::Free { .. });
    assert!(runs.iter().filter(is_free).all(|run| run.kind == RunKind::Free { punched: true }), "{runs:#?}");
    let used: u64 = runs.iter().filter(|run| !is_free(run)).map(|run| run.len_bytes).sum();
    let disk = std::fs::metadata(path).unwrap().blocks() * 512;
    assert!((used..used + 256 * 1024).contains(&disk), "{disk} bytes of the disk for {used}");
}

/// However short the runs are, the log is read before it has gone round: nothing is copied anew under the lock.
#[test]
fn the_log_is_followed_through_many_short_runs() {
    fn write_at_each_piece(other: std::rc::Rc<Arena>, block: Offset<[u8]>) {
        heapfile::testing::at_failpoint("snapshot: piece copied", move || {
            for round in 0..15 {
                let mut tx = other.write().unwrap();
                tx.write_at(block, 0, &bytes(round, 1000)).unwrap();
                tx.commit().unwrap();
            }
            write_at_each_piece(other, block);
        });
    }
    let dir = fast_dir();
    let (path, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    let arena = small(Durability::Power).log_limit(64 << 10).create(&path).unwrap();
    let mut tx = arena.write().unwrap();
    let blocks: Vec<_> = (0..2500).map(|_| tx.alloc_unset(8192, 4096).unwrap()).collect();
    tx.commit().unwrap();
    write_at_each_piece(Options::new().log_limit(64 << 10).open(&path).unwrap().into(), blocks[0]);
    let snapshot = arena.snapshot(&to, &SnapshotOptions::new()).unwrap();
    heapfile::testing::at_no_point();
    assert!(snapshot.held_bytes < 1 << 20, "{snapshot:?}");
    assert!(snapshot.copied_bytes < 30 << 20, "{snapshot:?}");
}

/// What another handle does at a point of the copying of a `Power` arena: the snapshot has all of it or nothing, and says which.
#[test]
fn changes_beside_the_copying_are_taken_up() {
    type Change = fn(&Arena, &[(Offset<[u8]>, u64, usize)]);
    let small_change: Change = |other, blocks| {
        let mut tx = other.write().unwrap();
        for &(block, seed, len) in blocks {
            let new = bytes(seed + 1000, len);
            tx.write_at(block, 0, &new[..len.min(16)]).unwrap();
            tx.write_at(block, (len - 2) as u64, &[7, 7]).unwrap();
        }
        tx.commit().unwrap();
    };
    let in_place: Change = |other, _| {
        for seed in 0..3 {
            let block = other.alloc_bytes(&bytes(seed, 90_000)).unwrap();
            other.free(block).unwrap();
        }
        let mut tx = other.write().unwrap();
        let block = tx.alloc_bytes(&bytes(9, 90_000)).unwrap();
        tx.create_root("new", block).unwrap();
        tx.commit().unwrap();
    };
    // Nothing is written to it, so the log has nothing of it.
    let unset: Change = |other, _| {
        let mut tx = other.write().unwrap();
        tx.alloc_unset(40_000, 8).unwrap();
        tx.commit().unwrap();
    };
    let spilled: Change = |other, blocks| {
        let mut tx = other.write().unwrap();
        for &(block, ..) in blocks {
            tx.bytes_mut(block).unwrap().fill(5);
        }
        tx.commit().unwrap();
    };
    let laps: Change = |other, blocks| {
        for round in 0..400u64 {
            let mut tx = other.write().unwrap();
            tx.write_at(blocks[round as usize % 5].0, 0, &bytes(round, 3)).unwrap();
            tx.write_at(blocks[4].0, 0, &bytes(round, 1000)).unwrap();
            tx.commit().unwrap();
        }
    };
    let grown: Change = |other, _| {
        for seed in 0..6 {
            other.alloc_bytes(&bytes(seed, 1 << 20)).unwrap();
        }
    };
    let shrunk: Change = |other, blocks| {
        let mut tx = other.write().unwrap();
        for &(block, ..) in &blocks[100..blocks.len() - 1] {
            tx.free(block).unwrap();
        }
        tx.commit().unwrap();
        other.shrink().unwrap();
    };
    let points = ["snapshot: begun", "snapshot: piece copied", "snapshot: before the last round"];
    for (number, change) in
        [small_change, in_place, unset, spilled, laps, grown, shrunk].into_iter().enumerate()
    {
        for point in points {
            let dir = fast_dir();
            let (path, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
            let arena = small(Durability::Power).create(&path).unwrap();
            let blocks = fill(&arena);
            let (other, theirs) = (Arena::open(&path).unwrap(), blocks.clone());
            heapfile::testing::at_failpoint(point, move || change(&other, &theirs));
            let snapshot = arena.snapshot(&to, &SnapshotOptions::new()).unwrap();
            let copy = Arena::open(&to).unwrap();
            assert_clean(&copy);
            assert_eq!(snapshot.sequence, arena.stats().unwrap().sequence, "change {number} at {point}");
            let (a, b) = (arena.read().unwrap(), copy.read().unwrap());
            let (of_a, of_b): (Vec<_>, Vec<_>) =
                (a.blocks().map(Result::unwrap).collect(), b.blocks().map(Result::unwrap).collect());
            assert_eq!(of_a.len(), of_b.len(), "change {number} at {point}");
            assert_has_room(&copy, &to);
            for (x, y) in of_a.iter().zip(&of_b) {
                assert_eq!((x.offset, x.len), (y.offset, y.len));
                assert!(
                    a.bytes(x.offset).unwrap() == b.bytes(y.offset).unwrap(),
                    "change {number} at {point}"
                );
            }
        }
    }
}

#[test]
fn every_kind_of_handle_can_take_one() {
    for durability in BOTH {
        let dir = fast_dir();
        let path = dir.path().join("a.heap");
        let arena = small(durability).create(&path).unwrap();
        let blocks = fill(&arena);
        let take = |name: &str, arena: &Arena| {
            let to = dir.path().join(name);
            arena.snapshot(&to, &SnapshotOptions::new()).unwrap();
            assert_holds(&Arena::open(&to).unwrap(), &blocks);
        };
        take("read-only", &Arena::open_read_only(&path).unwrap());
        // Inside an own read transaction.
        if durability == Durability::Power {
            let _tx = arena.read().unwrap();
            take("reading", &arena);
        }
        drop(arena);
        take("whole-file", &Options::new().locking(Locking::File).open(&path).unwrap());
    }
    let arena = small(Durability::Process).create_anonymous().unwrap();
    let blocks = fill(&arena);
    let dir = fast_dir();
    let to = dir.path().join("b.heap");
    arena.snapshot(&to, &SnapshotOptions::new()).unwrap();
    assert_holds(&Arena::open(&to).unwrap(), &blocks);
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
}

/// An allocation of its own waits for no reader in a `Process` arena: a read transaction would not keep the state as it is.
#[test]
fn a_copy_through_a_read_only_handle_is_of_one_state() {
    let dir = fast_dir();
    let path = dir.path().join("a.heap");
    let arena = small(Durability::Process).lock_timeout(Duration::from_millis(50)).create(&path).unwrap();
    let blocks = fill(&arena);
    let reader = Arena::open_read_only(&path).unwrap();
    let outcome = Rc::new(RefCell::new(None));
    let (other, told) = (arena.clone(), outcome.clone());
    heapfile::testing::at_failpoint("snapshot: piece copied", move || {
        let alloc = || other.alloc(&7u64);
        *told.borrow_mut() = Some(std::thread::scope(|s| s.spawn(alloc).join().unwrap()));
    });
    let to = dir.path().join("b.heap");
    let snapshot = reader.snapshot(&to, &SnapshotOptions::new()).unwrap();
    let outcome = outcome.take().expect("something was copied");
    assert!(outcome.is_err(), "{outcome:?} came into the state that is being copied");
    assert_eq!(snapshot.sequence, arena.stats().unwrap().sequence);
    assert_holds(&Arena::open(&to).unwrap(), &blocks);
    arena.alloc(&7u64).unwrap();
}

#[test]
fn reflinks_are_made_or_refused() {
    let dir = dir();
    let (path, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    for durability in BOTH {
        let arena = small(durability).create(&path).unwrap();
        let blocks = fill(&arena);
        match arena.snapshot(&to, &SnapshotOptions::new().reflink(true).overwrite(true)) {
            Ok(snapshot) => {
                assert_eq!(snapshot.copied_bytes, 0);
                assert_holds(&Arena::open(&to).unwrap(), &blocks);
            }
            Err(refused) => {
                assert!(matches!(refused, Error::NoReflink { .. }), "{refused}");
                assert_eq!(names(dir.path()), ["a.heap"]);
            }
        }
        drop(arena);
        std::fs::remove_file(&path).unwrap();
    }
}

/// On a file system that can share blocks. Holes in what is in use get their room.
#[test]
fn reflinks_share_blocks() {
    if let Some((_, disk)) = role() {
        for durability in BOTH {
            let (path, to) =
                (disk.join(format!("{durability:?}.heap")), disk.join(format!("{durability:?}.copy")));
            let arena = small(durability).create(&path).unwrap();
            let blocks = fill(&arena);
            let snapshot = arena.snapshot(&to, &SnapshotOptions::new().reflink(true)).unwrap();
            assert_eq!((snapshot.copied_bytes, snapshot.held_bytes), (0, 0));
            let copy = Arena::open(&to).unwrap();
            assert_holds(&copy, &blocks);
            assert_has_room(&copy, &to);
            let mut tx = copy.write().unwrap();
            tx.bytes_mut(blocks[0].0).unwrap().fill(1);
            tx.commit().unwrap();
            assert_holds(&arena, &blocks);
        }
        return;
    }
    let mount = "truncate -s 320m \"$IMAGE\" && mkfs.xfs -q -m reflink=1 \"$IMAGE\" && mount -o loop \"$IMAGE\" \"$DISK\"";
    common::mounted::on_a_disk("reflinks_share_blocks", mount);
}

#[test]
fn who_is_killed_over_one_leaves_nothing_under_its_name() {
    const TEST: &str = "who_is_killed_over_one_leaves_nothing_under_its_name";
    if let Some((_, path)) = role() {
        let arena = Arena::open(&path).unwrap();
        let _ = arena.snapshot(path.with_extension("copy"), &SnapshotOptions::new());
        return;
    }
    for durability in BOTH {
        let dir = fast_dir();
        let path = dir.path().join("a.heap");
        let blocks = fill(&small(durability).create(&path).unwrap());
        let power = ["snapshot: begun", "snapshot: piece copied", "snapshot: before the last round"];
        let both = ["checkpoint: after sync", "snapshot: before the rename", "snapshot: renamed"];
        let both = if durability == Durability::Power { both.to_vec() } else { both[1..].to_vec() };
        let power = if durability == Durability::Power { &power[..] } else { &[] };
        for point in power.iter().chain(&both) {
            let mut child = child(TEST, "snapshot", &path);
            let output = child.env("HEAPFILE_FAILPOINT", point).output().unwrap();
            assert_eq!(
                output.status.signal(),
                Some(9),
                "{point}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let copy = path.with_extension("copy");
            if *point == "snapshot: renamed" {
                assert_holds(&Arena::open(&copy).unwrap(), &blocks);
            } else {
                assert!(!copy.exists(), "{point}");
            }
            assert_holds(&Arena::open(&path).unwrap(), &blocks);
        }
    }
}

/// Of a file that nobody may write, a snapshot can be made, and be written by its owner.
#[test]
fn a_snapshot_can_be_written_by_its_owner() {
    let dir = common::fast_dir();
    let (path, to) = (dir.path().join("a.heap"), dir.path().join("b.heap"));
    let arena = small(Durability::Power).create(&path).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    arena.snapshot(&to, &SnapshotOptions::new()).unwrap();
    assert_eq!((mode(&path), mode(&to)), (0o444, 0o644));
}
