//! The command as a user runs it, on the shortest workload.

mod common;

use std::process::Command;

use common::bench;
use serde_json::Value;

#[test]
fn every_line_of_a_figure_has_its_fields() {
    let lines = bench(&["heap", "--system", "boost,glibc", "--work", "pair64_in_use"], "");
    assert!(lines[0]["machine"]["cores"].as_u64().is_some_and(|n| n > 0), "{}", lines[0]);
    let boost = lines.iter().any(|l| l["system"] == "boost" && l["missing"].is_null());
    let figures: Vec<&Value> = lines.iter().filter(|l| !l["value"].is_null()).collect();
    assert_eq!(figures.len(), if boost { 3 } else { 1 }, "boost on two places, glibc in memory");
    for line in figures {
        assert_eq!(line["bench"], "heap");
        assert_eq!(line["work"], "pair64_in_use");
        assert_eq!(line["unit"], "ns per op");
        assert!(line["value"].as_f64().is_some_and(|v| v > 0.0), "{line}");
        assert_eq!(line["ratio_to"]["boost"].is_f64(), boost, "{line}");
    }
}

#[test]
fn both_kinds_of_arena_are_changed_and_reopened() {
    let systems = "heapfile,heapfile-power";
    let lines = bench(&["heap", "--system", systems, "--work", "change_hot,reopen", "--place", "disk"], "");
    let of = |work: &str, system: &str| {
        lines
            .iter()
            .filter(|l| l["work"].as_str().is_some_and(|w| w.starts_with(work)) && l["system"] == system)
            .count()
    };
    assert!(lines.iter().all(|l| l["failed"].is_null()), "{lines:?}");
    for work in ["reopen_clean", "reopen_killed"] {
        assert_eq!((of(work, "heapfile"), of(work, "heapfile-power")), (1, 1), "{work}");
    }
    assert!(of("change_hot", "heapfile-power") >= 2, "single commits and transactions");
}

#[test]
fn a_missing_system_is_named_and_the_others_are_measured() {
    let lines = bench(&["heap", "--system", "mimalloc,glibc", "--work", "pair64_in_use"], "mimalloc");
    let missing = lines.iter().find(|l| l["system"] == "mimalloc").unwrap();
    assert_eq!(missing["missing"], "left out by HEAPFILE_BENCH_WITHOUT");
    assert!(lines.iter().any(|l| l["system"] == "glibc" && l["value"].is_f64()));
    assert!(!lines.iter().any(|l| l["system"] == "mimalloc" && !l["work"].is_null()));
}

#[test]
fn work_that_is_unknown_is_refused() {
    for (name, known) in [("heap", "pair64_in_use"), ("sharing", "take_over"), ("store", "batch_durable")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heapfile-bench"));
        let output =
            command.args([name, "--quick", "--work", &format!("{known},nonsense")]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(said.contains("\"nonsense\"") && said.contains(known), "{said}");
    }
}

#[test]
fn two_processes_share_one_file() {
    let lines = bench(&["sharing", "--system", "boost", "--work", "churn_small_2_processes"], "");
    let missing = lines.iter().any(|l| !l["missing"].is_null());
    let measured = lines.iter().find(|l| l["work"] == "churn_small_2_processes");
    assert!(missing || measured.is_some_and(|l| l["value"].is_f64() && l["failed"].is_null()), "{lines:?}");
}

#[test]
fn scenes_print_rows_with_the_ratio_to_their_reference() {
    let lines = bench(&["sharing", "--work", "lock,take_over"], "");
    let row = |work: &str, row: &str| {
        let found = lines.iter().find(|l| l["work"] == work && l["row"] == row);
        found.unwrap_or_else(|| panic!("{work}, {row}: {lines:?}"))
    };
    assert!(row("lock", "compare-and-swap")["ratio_to"].is_null());
    assert!(row("lock", "write, drop")["ratio_to"]["compare-and-swap"].as_f64().is_some_and(|r| r > 0.0));
    for name in ["write() called after the kill", "write() waited 1 to 70 ms before"] {
        let figure = row("take_over", name);
        assert!(figure["rounds"].as_u64().is_some_and(|kills| kills >= 30), "{figure}");
        assert!(figure["max"].as_f64() >= figure["value"].as_f64(), "{figure}");
    }
}
