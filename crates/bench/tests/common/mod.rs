//! Running the command.

use std::process::Command;

use serde_json::Value;

/// Runs a bench on files in a directory of the test's own; its JSON lines.
pub(crate) fn bench(args: &[&str], without: &str) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_heapfile-bench"))
        .args(args)
        .args(["--quick", "--json", "--shm-dir"])
        .arg(dir.path())
        .arg("--disk-dir")
        .arg(dir.path())
        .env("HEAPFILE_BENCH_WITHOUT", without)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the run removes its directories");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
