//! The bench `store` as a user runs it, with few entries.

mod common;

use common::bench;
use serde_json::Value;

fn store(args: &[&str], without: &str) -> Vec<Value> {
    bench(&[&["store", "--entries", "2000"], args].concat(), without)
}

#[test]
fn every_work_gives_a_figure_for_each_store() {
    let lines = store(&["--store", "heapfile-hashed,heapfile-ordered,sqlite"], "");
    let there = lines.iter().filter(|l| !l["version"].is_null()).count();
    let failed: Vec<&Value> = lines.iter().filter(|l| !l["failed"].is_null()).collect();
    assert!(there >= 2 && failed.is_empty(), "{failed:?}");
    for work in [
        "load_2e3",
        "load/bytes_2e3",
        "get_2e3",
        "replace_2e3",
        "beside_writer_2e3",
        "beside_writer/p99_2e3",
        "replace_durable_2e3",
        "batch_durable_2e3",
        "stretch_durable_2e3",
        "reopen_killed_2e3",
    ] {
        let figures: Vec<&Value> = lines.iter().filter(|l| l["work"] == work).collect();
        assert_eq!(figures.len(), there, "{work}");
        assert!(figures.iter().all(|l| l["value"].as_f64().is_some_and(|v| v > 0.0)), "{figures:?}");
        assert!(figures.iter().all(|l| there == 2 || l["ratio_to"]["sqlite"].is_f64()), "{figures:?}");
    }
}

#[test]
fn a_missing_store_is_named() {
    let lines = store(&["--store", "lmdb,heapfile-hashed", "--work", "get"], "lmdb");
    let missing: Vec<&Value> = lines.iter().filter(|l| !l["missing"].is_null()).collect();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0]["system"], "lmdb");
    assert_eq!(lines.iter().filter(|l| l["work"] == "get_2e3").count(), 1);
}
