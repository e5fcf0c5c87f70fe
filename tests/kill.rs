//! A process that is killed at any step of its work loses no acknowledged commit, and leaves no half of one.
//!
//! The child plays the script and acknowledges each commit when it has returned. It is killed at a failpoint (it
//! has to die of SIGKILL there, so that no point is passed over unnoticed) or at a random time.

mod common;

use common::script::{self, Script};
use common::{BOTH, assert_clean, child, fast_dir, role, small, tell};
use heapfile::testing::{FAILPOINTS, SplitMix64};
use heapfile::{Arena, Durability};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

const SIGKILL: Option<i32> = Some(9);

/// The child's part: commits until it is killed, or `most` times.
fn play(file: &Path, most: u64) {
    heapfile::testing::small_stretches(true);
    let arena = Arena::open(file).expect("the child can open the arena");
    for _ in 0..most {
        let count = script::play(&arena).expect("the child can commit");
        tell(&format!("ack {count}"));
        match count % 4 {
            1 => arena.sync().expect("the child can sync"),
            3 => arena.checkpoint().expect("the child can checkpoint"),
            _ => {}
        }
    }
}

/// Reads what the child tells until it is gone: the last acknowledged commit, the signal that it died of, all else.
fn listen(mut child: Child) -> (u64, Option<i32>, String) {
    let (mut acknowledged, mut rest) = (0, String::new());
    for line in BufReader::new(child.stderr.take().expect("it is a pipe")).lines().map_while(Result::ok) {
        match line.strip_prefix("ack ").and_then(|n| n.parse().ok()) {
            Some(n) => acknowledged = n,
            None => rest = rest + &line + "\n",
        }
    }
    (acknowledged, child.wait().expect("the child ends").signal(), rest)
}

fn run(command: &mut Command) -> (u64, Option<i32>, String) {
    listen(command.spawn().expect("the child starts"))
}

/// What has to hold after a kill.
#[track_caller]
fn assert_whole(file: &Path, acknowledged: u64, more: u64) {
    let arena = Arena::open(file).expect("the arena opens after a kill");
    assert_clean(&arena);
    let count = script::count(&arena);
    assert!(
        (acknowledged..=acknowledged + 1).contains(&count),
        "{acknowledged} commits were acknowledged, {count} are there"
    );
    let mut script = Script::after(count);
    script.assert_in(&arena);
    for _ in 0..more {
        script::play(&arena).expect("work goes on after a kill");
        script.next();
    }
    script.assert_in(&arena);
    assert_clean(&arena);
    drop(arena);
    script.assert_in(&Arena::open(file).expect("the arena opens again"));
}

fn fresh(file: &Path, durability: Durability) {
    let _ = std::fs::remove_file(file);
    script::begin(&small(durability).create(file).unwrap()).unwrap();
}

/// Whether an arena of this kind passes the point when it is worked with.
fn is_passed(point: &str, durability: Durability) -> bool {
    let power = [
        "commit: in place synced",
        "commit: spill written",
        "commit: in doubt set",
        "commit: record durable",
        "commit: copied",
        "commit: head moved",
        "checkpoint: before sync",
        "checkpoint: after sync",
        "checkpoint: slot durable",
        "checkpoint: slot known",
        "recover: log rewritten",
    ];
    // Only a reader that will not go makes a commit take itself back: `sharing` has that; `log_moves` has moves of the log.
    if point.contains("void") || point.starts_with("log") {
        return false;
    }
    let process = [
        "commit: intent prepared",
        "commit: intent valid",
        "mark: set",
        "sync: before the lock",
        "sync: with the lock",
        "sync: mark cleared",
    ];
    match durability {
        Durability::Power => !process.contains(&point),
        _ => !power.contains(&point),
    }
}

#[test]
fn killed_at_every_step() {
    if let Some((_, file)) = role() {
        return play(&file, 24);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    for durability in BOTH {
        for point in FAILPOINTS.iter().filter(|p| !p.starts_with("recover") && is_passed(p, durability)) {
            for time in [1, 2, 3] {
                fresh(&file, durability);
                let mut command = child("killed_at_every_step", "play", &file);
                command.env("HEAPFILE_FAILPOINT", format!("{point}#{time}"));
                let (acknowledged, signal, rest) = run(&mut command);
                assert_eq!(signal, SIGKILL, "{durability:?} at {point:?}, time {time}: {rest}");
                assert_whole(&file, acknowledged, 10);
            }
        }
    }
}

#[test]
fn killed_while_it_recovers() {
    if let Some((_, file)) = role() {
        return play(&file, 24);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    for (durability, first) in [
        (Durability::Power, "commit: in doubt set"),
        (Durability::Power, "commit: record durable"),
        (Durability::Power, "commit: half applied"),
        (Durability::Power, "commit: applied"),
        (Durability::Process, "commit: intent valid"),
        (Durability::Process, "commit: half applied"),
    ] {
        for point in FAILPOINTS.iter().filter(|p| p.starts_with("recover") && is_passed(p, durability)) {
            // Commits 2 and 7 are spilled ones.
            for time in [1, 2, 4, 7] {
                fresh(&file, durability);
                let play = |point: String| {
                    let mut command = child("killed_while_it_recovers", "play", &file);
                    run(command.env("HEAPFILE_FAILPOINT", point))
                };
                let (acknowledged, signal, rest) = play(format!("{first}#{time}"));
                assert_eq!(signal, SIGKILL, "at {first:?}, time {time}: {rest}");
                for _ in 0..2 {
                    let (more, signal, rest) = play((*point).to_owned());
                    assert_eq!((more, signal), (0, SIGKILL), "at {point:?} after {first:?}: {rest}");
                }
                assert_whole(&file, acknowledged, 5);
            }
        }
    }
}

#[test]
fn killed_at_random_times() {
    if let Some((_, file)) = role() {
        return play(&file, u64::MAX);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    let mut rng = SplitMix64(7);
    for durability in BOTH {
        fresh(&file, durability);
        let mut acknowledged = 0;
        for _ in 0..12 {
            let mut child = child("killed_at_random_times", "play", &file).spawn().expect("the child starts");
            let mut lines = BufReader::new(child.stderr.take().expect("it is a pipe"));
            let mut line = String::new();
            lines.read_line(&mut line).expect("the child tells of its first commit");
            std::thread::sleep(Duration::from_micros(rng.below(40_000)));
            child.kill().expect("the child can be killed");
            loop {
                match line.trim_end().strip_prefix("ack ").and_then(|n| n.parse().ok()) {
                    Some(n) => acknowledged = n,
                    None => assert_eq!(line, ""),
                }
                line.clear();
                if lines.read_line(&mut line).expect("the pipe can be read") == 0 {
                    break;
                }
            }
            assert_eq!(child.wait().expect("the child ends").signal(), SIGKILL);
            assert_whole(&file, acknowledged, 1);
            acknowledged = script::count(&Arena::open(&file).unwrap());
        }
    }
}

/// Another process that has the file open goes on where the killed one stopped.
#[test]
fn the_next_owner_completes_what_a_killed_one_left() {
    if let Some((_, file)) = role() {
        return play(&file, 24);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    for durability in BOTH {
        for point in [
            "commit: half applied",
            "commit: head moved",
            "checkpoint: before sync",
            "checkpoint: slot durable",
        ] {
            if !is_passed(point, durability) {
                continue;
            }
            for time in [1, 2, 3] {
                fresh(&file, durability);
                let arena = Arena::open(&file).unwrap();
                let mut command = child("the_next_owner_completes_what_a_killed_one_left", "play", &file);
                let (acknowledged, signal, rest) =
                    run(command.env("HEAPFILE_FAILPOINT", format!("{point}#{time}")));
                assert_eq!(signal, SIGKILL, "{rest}");
                let count = script::count(&arena);
                assert!((acknowledged..=acknowledged + 1).contains(&count));
                drop(arena.write().unwrap());
                if point == "checkpoint: before sync" && count % 5 == 2 {
                    // The body of a spilled record lies where the heap may grow now: the record must be gone.
                    assert_eq!(arena.check().unwrap().counts.log_records, 0);
                }
                let mut script = Script::after(count);
                script.assert_in(&arena);
                assert_clean(&arena);
                for _ in 0..6 {
                    script::play(&arena).unwrap();
                    script.next();
                }
                script.assert_in(&arena);
                assert_clean(&arena);
            }
        }
    }
}
