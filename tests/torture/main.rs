//! Kill torture: 2 to 6 processes on one file are killed and stopped at any moment, fork, and exec. Nothing that was acknowledged is lost, nothing torn,
//! nobody waits without end.
//!
//! `heapfile-soak kill` runs the same rounds for as long as it is told to.

#[path = "../common/mod.rs"]
mod common;
mod harness;

use harness::Tally;

/// Kills in all rounds of a test.
const KILLS: u64 = 100;
const KILLS_A_ROUND: u64 = 13;

fn rounds(test: &str, seeds: impl IntoIterator<Item = u64>) {
    if harness::is_child() {
        harness::live();
    }
    let mut all = Tally::new();
    let command = || common::child(test, "torture", std::path::Path::new(""));
    for seed in seeds {
        let dir = common::fast_dir();
        let tally =
            harness::round(seed, KILLS_A_ROUND, dir.path(), &command).unwrap_or_else(|what| panic!("{what}"));
        for (name, n) in tally {
            let longest = name.starts_with("longest");
            let count = all.entry(name).or_default();
            *count = if longest { n.max(*count) } else { *count + n };
        }
        if all["kills"] >= KILLS {
            break;
        }
    }
    println!("{test}: {all:?}");
    assert!(all["kills"] >= KILLS && all["commits"] > 0, "{all:?}");
}

#[test]
fn power_arenas() {
    rounds("power_arenas", (0..).map(|n| 2 * n));
}

#[test]
fn process_arenas() {
    rounds("process_arenas", (0..).map(|n| 2 * n + 1));
}

/// Tables of a store, in arenas of both kinds.
#[test]
fn tables() {
    rounds("tables", (3..).step_by(4).flat_map(|n| 8 * n..8 * n + 8));
}

/// With a lock on the whole file.
#[test]
fn whole_file_locks() {
    rounds("whole_file_locks", (0..).map(|n| 8 * (n / 2) + 6 + n % 2));
}
