//! `heapfile-soak fuzz`: the fuzz targets, one after the other, for so many seconds each, with their executions counted.
//!
//! Needs the nightly toolchain and cargo-fuzz. What is found to be interesting is kept from one run to the next; it begins with the seeds in
//! `fuzz/corpus-seed.tar.xz`.

#![forbid(unsafe_code)]

use crate::state::State;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The targets in `fuzz/fuzz_targets`.
const TARGETS: [&str; 3] = ["open_mutated", "ops_vs_model", "replay_mutated"];

/// Runs each target for so many seconds. Whether all was well.
pub(crate) fn run(root: &Path, work: &Path, seconds: u64, mut state: State) -> Result<bool, Box<dyn Error>> {
    fs::create_dir_all(work)?;
    let mut well = true;
    for target in TARGETS {
        let corpus = work.join(target);
        if !corpus.exists() {
            let seeds = root.join("fuzz/corpus-seed.tar.xz");
            let unpacked = Command::new("tar").arg("-xf").arg(seeds).arg("-C").arg(work).status()?;
            if !unpacked.success() {
                return Err("the seeds cannot be unpacked".into());
            }
        }
        let output = Command::new("cargo")
            .args(["+nightly", "fuzz", "run", "--sanitizer", "none", target])
            .arg(&corpus)
            .args(["--", "-len_control=0", "-max_len=1000", "-timeout=60", "-rss_limit_mb=4096"])
            .args(["-print_final_stats=1".to_owned(), format!("-max_total_time={seconds}")])
            .current_dir(root)
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let executions = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        match executions.map(str::trim).map(str::parse::<u64>) {
            Some(Ok(n)) if output.status.success() => {
                let before = state.add("fuzz", &format!("{target}: executions"), n)?;
                println!("{target}: {n} executions, {} in all", before + n);
            }
            _ => {
                well = false;
                let tail: Vec<_> = said.lines().rev().take(40).collect();
                eprintln!("VIOLATION: {target}: {}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
    Ok(well)
}
