//! A process that is killed in the middle of a transaction on a store leaves all of it or nothing, in every table.

mod common;

use common::{BOTH, child, fast_dir, objects, role, small, tell};
use heapfile::store::Store;
use heapfile::{Arena, Durability};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

/// Commits until it is killed; should nobody come, it ends so late that no slow machine is to blame.
fn play(file: &Path) {
    let store = Store::with(Arena::open(file).expect("the child can open the arena"));
    let done = objects::count(&store).expect("the child can read");
    for n in done + 1..done + 100_000 {
        objects::play(&store, n).expect("the child can commit");
        tell(&format!("ack {n}"));
    }
}

/// Runs the child until it is killed, at a failpoint or after a while; what it acknowledged last.
fn run(test: &str, file: &Path, failpoint: Option<String>, after: Duration) -> u64 {
    let mut command = child(test, "play", file);
    if let Some(point) = &failpoint {
        command.env("HEAPFILE_FAILPOINT", point);
    }
    let mut child = command.spawn().expect("the child starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
    let mut acknowledged = 0;
    let mut note = |line: &str| match line.strip_prefix("ack ").and_then(|n| n.parse().ok()) {
        Some(n) => acknowledged = n,
        None => panic!("{line}"),
    };
    if failpoint.is_none() {
        note(&lines.next().expect("the child tells of its first commit").expect("the pipe can be read"));
        std::thread::sleep(after);
        child.kill().expect("the child can be killed");
    }
    lines.map_while(Result::ok).for_each(|line| note(&line));
    assert_eq!(child.wait().expect("the child ends").signal(), Some(9), "{failpoint:?}");
    acknowledged
}

#[track_caller]
fn assert_whole(file: &Path, acknowledged: u64) {
    let store = Store::with(Arena::open(file).expect("the arena opens after a kill"));
    let count = objects::count(&store).unwrap();
    assert!(count == acknowledged || count == acknowledged + 1, "{acknowledged} acknowledged, {count} there");
    assert_eq!(objects::difference(store.arena(), &objects::after(count)), None);
    objects::play(&store, count + 1).unwrap();
    let model = objects::after(count + 1);
    assert_eq!(objects::difference(store.arena(), &model), None);
    assert_eq!(objects::left_over(store.arena(), &model), None);
}

fn fresh(file: &Path, durability: Durability) {
    let _ = std::fs::remove_file(file);
    drop(small(durability).create(file).unwrap());
}

#[test]
fn killed_at_a_step_of_a_commit() {
    if let Some((_, file)) = role() {
        return play(&file);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    let power = ["commit: in doubt set", "commit: record durable", "commit: half applied", "commit: applied"];
    let process = ["commit: intent prepared", "commit: intent valid", "commit: half applied"];
    for (durability, points) in [(Durability::Power, &power[..]), (Durability::Process, &process[..])] {
        for point in points {
            for time in [2, 9, 21] {
                fresh(&file, durability);
                let failpoint = Some(format!("{point}#{time}"));
                let acknowledged = run("killed_at_a_step_of_a_commit", &file, failpoint, Duration::ZERO);
                assert_whole(&file, acknowledged);
            }
        }
    }
}

#[test]
fn killed_at_any_time() {
    if let Some((_, file)) = role() {
        return play(&file);
    }
    let dir = fast_dir();
    let file = dir.path().join("a.heap");
    for durability in BOTH {
        fresh(&file, durability);
        for round in 0..6 {
            let before = objects::count(&Store::with(Arena::open(&file).unwrap())).unwrap();
            let acknowledged = run("killed_at_any_time", &file, None, Duration::from_micros(700 * round));
            assert!(acknowledged > before);
            assert_whole(&file, acknowledged);
        }
    }
}
