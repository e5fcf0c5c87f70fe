//! A writer killed at every step of a commit while another process waits for its lock: the waiter goes on, from the state before
//! or after the commit and no other, and it does not sleep again once the owner is dead.

mod sharing;

use heapfile::testing::FAILPOINTS;
use heapfile::{Arena, Durability, Locking, Options, View};
use sharing::*;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the killed transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Changes only blocks that are there.
    Small,
    /// Also allocates a block that is filled in place.
    InPlace,
    /// Changes more than the log or the intent area takes.
    Spilled,
    /// Waits in vain for a reader, and takes its record back.
    Void,
}

fn options_for(kind: Kind, durability: Durability, locking: Locking) -> Options {
    let log_size = if kind == Kind::Spilled { 64 << 10 } else { 4 << 20 };
    options(durability).log_size(log_size).locking(locking)
}

/// The failpoints that a commit passes, and whether it counts when it is killed there.
fn points(kind: Kind, durability: Durability) -> Vec<(&'static str, bool)> {
    let power = durability == Durability::Power;
    FAILPOINTS
        .iter()
        .filter_map(|&point| {
            let (passed, counts) = match point.strip_prefix("commit: ").unwrap_or(point) {
                "begin" | "in place filled" => (true, false),
                "grow: file longer" => (kind == Kind::InPlace, false),
                "mark: set" => (!power, false),
                "in place synced" => (power && matches!(kind, Kind::InPlace | Kind::Spilled), false),
                "spill written" => (power && kind == Kind::Spilled, false),
                "in doubt set" => (power, false),
                "record durable" | "head moved" => (power, true),
                "intent prepared" => (!power, false),
                "intent valid" => (!power, true),
                "before void" => (power && kind == Kind::Void, true),
                "void durable" => (power && kind == Kind::Void, false),
                "gate shut" | "half applied" | "applied" | "done" => (true, true),
                "checkpoint: before sync"
                | "checkpoint: after sync"
                | "checkpoint: slot durable"
                | "checkpoint: slot known" => (power && kind == Kind::Spilled, true),
                _ => (false, false),
            };
            let reached = kind != Kind::Void
                || ["begin", "in place filled", "in doubt set", "record durable"]
                    .iter()
                    .any(|p| point == format!("commit: {p}"))
                || point.contains("void");
            (passed && reached).then_some((point, counts))
        })
        .collect()
}

/// The owner: takes the lock, and commits when told.
fn own(file: &Path, kind: Kind) {
    let patience = if kind == Kind::Void { Duration::from_millis(30) } else { PATIENCE };
    let arena = Options::new().lock_timeout(patience).open(file).expect("the owner opens it");
    let mut tx = arena.write().expect("the owner gets the lock");
    let next = number(&tx) + 1;
    say("owns it");
    listen();
    set_number(&mut tx, next).expect("a change");
    match kind {
        Kind::InPlace => drop(tx.alloc_zeroed(8 << 20, 8).expect("space")),
        // Together with the cells more than the 256 KiB of the intent area, of blocks that are there.
        Kind::Spilled => {
            let long = tx.named_root::<[u8]>("long").expect("roots").expect("made by the parent");
            tx.write_at(long, 0, &vec![next as u8; 300 << 10]).expect("a change");
        }
        Kind::Small | Kind::Void => {}
    }
    let _ = tx.commit();
    say("survived");
}

/// The waiter: waits for the lock, says what it found and how often it slept, then commits.
fn wait(file: &Path) {
    let arena = Options::new().lock_timeout(PATIENCE).open(file).expect("the waiter opens it");
    say("is ready");
    listen();
    let tx = arena.write().expect("the waiter gets the lock");
    let got = Instant::now();
    say(&format!("{}", number(&tx)));
    drop(tx);
    // The parent knows when the owner was dead; the clock is one for all processes.
    let dead_for = Duration::from_nanos(listen().parse().expect("nanoseconds since the death"));
    let death = Instant::now() - dead_for;
    let sleeps = heapfile::testing::sleeps();
    assert!(sleeps.iter().all(|&(_, most)| most <= Duration::from_millis(50)), "a sleep without a probe");
    let late = sleeps.iter().filter(|&&(began, _)| began > death).count();
    say(&format!("{late} {}", got.saturating_duration_since(death).as_micros()));
    commit_next(&arena).expect("the waiter commits");
    assert_clean(&arena);
}

/// One killing; returns for how long the waiter waited after the death.
fn kill_at(
    file: &Path,
    kind: Kind,
    durability: Durability,
    locking: Locking,
    point: &str,
) -> (u32, Duration) {
    const TEST: &str = "a_waiter_goes_on_after_a_death_at_any_step";
    let _ = std::fs::remove_file(file);
    let arena = create(file, &options_for(kind, durability, locking));
    let mut tx = arena.write().expect("a writer");
    let long = tx.alloc_zeroed(300 << 10, 8).expect("space");
    tx.set_named_root("long", long).expect("a root");
    tx.commit().expect("a commit");
    arena.sync().expect("a sync");

    let mut waiter = start(TEST, "wait", file);
    waiter.expect("is ready");
    let mut owner = start_killed_at(TEST, &format!("own {kind:?}"), file, point);
    owner.expect("owns it");
    waiter.tell("wait");
    match locking {
        Locking::Shared => drop(until_handle(&arena, "the waiter waits", |h| h.waiting_writers == 1)),
        _ => std::thread::sleep(Duration::from_millis(5)),
    }
    let reader = (kind == Kind::Void).then(|| arena.read().expect("a reader"));
    owner.tell("commit");
    let death = owner.wait_killed();
    drop(reader);

    let counts = points(kind, durability).iter().any(|&(p, counts)| p == point && counts);
    let what = format!("{durability:?} {locking:?} {kind:?} at {point:?}");
    assert_eq!(waiter.hear(), if counts { "1" } else { "0" }, "{what}");
    waiter.tell(&death.elapsed().as_nanos().to_string());
    let told = waiter.hear();
    let (late, micros) = told.split_once(' ').expect("two numbers");
    assert!(locking == Locking::File || late == "0", "{what}: {late} sleeps of 50 ms began after the death");
    waiter.finish();
    assert_eq!(read_number(&arena), 1 + u64::from(counts), "{what}");
    assert_clean(&arena);
    (late.parse().expect("a number"), Duration::from_micros(micros.parse().expect("a number")))
}

#[test]
fn a_waiter_goes_on_after_a_death_at_any_step() {
    if let Some((role, file)) = role() {
        return match role.as_str() {
            "own Small" => own(&file, Kind::Small),
            "own InPlace" => own(&file, Kind::InPlace),
            "own Spilled" => own(&file, Kind::Spilled),
            "own Void" => own(&file, Kind::Void),
            _ => wait(&file),
        };
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    for durability in BOTH {
        for locking in LOCKINGS {
            let mut times = Vec::new();
            for kind in [Kind::Small, Kind::InPlace, Kind::Spilled, Kind::Void] {
                // With the whole-file lock nobody reads meanwhile; without a log nothing is taken back.
                if kind == Kind::Void && (locking == Locking::File || durability == Durability::Process) {
                    continue;
                }
                for (point, _) in points(kind, durability) {
                    // Points that the plain commit passes too tell nothing new, but for the apply.
                    let again =
                        kind != Kind::Small && points(Kind::Small, durability).iter().any(|p| p.0 == point);
                    if again && !(kind == Kind::Spilled && point == "commit: half applied") {
                        continue;
                    }
                    times.push(kill_at(&file, kind, durability, locking, point).1);
                }
            }
            times.sort();
            println!(
                "{durability:?} {locking:?}: {} deaths, the lock is had after it in {:?} (median), {:?} (most)",
                times.len(),
                times[times.len() / 2],
                times[times.len() - 1],
            );
        }
    }
}

/// Both ends of the same: after the owner's death the next reader completes the commit, without any writer.
#[test]
fn a_reader_completes_what_a_dead_owner_left() {
    if let Some((_, file)) = role() {
        return own(&file, Kind::Small);
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    for durability in BOTH {
        for locking in LOCKINGS {
            for point in ["commit: half applied", "commit: half applied#7", "commit: applied"] {
                let _ = std::fs::remove_file(&file);
                let arena = create(&file, &options_for(Kind::Small, durability, locking));
                let mut owner =
                    start_killed_at("a_reader_completes_what_a_dead_owner_left", "own", &file, point);
                owner.expect("owns it");
                owner.tell("commit");
                owner.wait_killed();
                assert_eq!(read_number(&arena), 1, "{durability:?} {locking:?} {point}");
                let reader = Arena::open_read_only(&file).expect("a read-only handle");
                assert_eq!(read_number(&reader), 1);
                assert_clean(&arena);
            }
        }
    }
}

/// Who completes a dead owner's commit may die of it too, at every step of that: the next one does it all again.
#[test]
fn a_completion_is_completed_by_the_next_one() {
    const TEST: &str = "a_completion_is_completed_by_the_next_one";
    if let Some((role, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        match role.as_str() {
            "own" => assert_eq!(commit_next(&arena).expect("a commit"), 1),
            "read" => assert_eq!(read_number(&arena), 1),
            _ => drop(arena.write().expect("a writer")),
        }
        return;
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    for durability in BOTH {
        let mut points = vec!["lock: owner judged dead", "lock: taken over", "recover: replayed"];
        if durability == Durability::Power {
            points.push("recover: log rewritten");
        }
        for left in ["commit: half applied#5", "commit: applied"] {
            for point in &points {
                let _ = std::fs::remove_file(&file);
                let arena = create(&file, &options_for(Kind::Small, durability, Locking::Shared));
                start_killed_at(TEST, "own", &file, left).wait_killed();
                for role in ["read", "write", "read"] {
                    start_killed_at(TEST, role, &file, point).wait_killed();
                }
                assert_eq!(read_number(&arena), 1, "{durability:?} {left:?} {point:?}");
                assert_eq!(commit_next(&arena).expect("a commit"), 2);
                assert_clean(&arena);
            }
        }
    }
}
