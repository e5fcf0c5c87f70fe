//! `heapfile-soak fuzz`: the fuzz targets in turn, with their executions counted.
//!
//! Needs the nightly toolchain and cargo-fuzz. What is found to be interesting is kept from one run to the next; it begins with the seeds in
//! `fuzz/corpus-seed.tar.xz`. Built once at the beginning: what is changed in the tree meanwhile is for the next run.

#![forbid(unsafe_code)]

use crate::effort::Effort;
use crate::state::State;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

const SECTION: &str = "fuzz";

/// The targets in `fuzz/fuzz_targets`.
const TARGETS: [&str; 3] = ["open_mutated", "ops_vs_model", "replay_mutated"];

fn executions_of(target: &str) -> String {
    format!("{target}: executions")
}

/// Runs the target that is the furthest behind for so many seconds, then the next. Whether all was well.
pub(crate) fn run(root: &Path, work: &Path, seconds: u64, effort: &Effort) -> Result<bool, Box<dyn Error>> {
    fs::create_dir_all(work)?;
    if !TARGETS.iter().all(|target| work.join(target).exists()) {
        let seeds = root.join("fuzz/corpus-seed.tar.xz");
        if !Command::new("tar").arg("-xf").arg(seeds).arg("-C").arg(work).status()?.success() {
            return Err("the seeds cannot be unpacked".into());
        }
    }
    let programs = build(root, work)?;
    let mut done = effort.run(|state| one(state, &programs, work, seconds))?;
    let counts = done.state.section(SECTION)?;
    for target in TARGETS {
        println!("{target:<20} {:>9} executions", counts.get(&executions_of(target)).copied().unwrap_or(0));
    }
    println!("this run: {} executions in {:.0} s", done.count, done.seconds);
    Ok(done.well)
}

/// Builds the targets; the directory that they are in.
fn build(root: &Path, work: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target = work.join("build");
    // No sanitizer: what it watches is not where this library's unsafe code reaches, and without it there are more runs.
    let built = Command::new("cargo")
        .args(["+nightly", "fuzz", "build", "--sanitizer", "none", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .stdin(Stdio::null())
        .status()?;
    if !built.success() {
        return Err("the targets cannot be built".into());
    }
    // Below the name of the platform.
    fs::read_dir(&target)?
        .filter_map(|entry| Some(entry.ok()?.path().join("release")))
        .find(|programs| TARGETS.iter().all(|target| programs.join(target).is_file()))
        .ok_or_else(|| format!("no targets were built in {}", target.display()).into())
}

/// Runs one target for a while.
fn one(state: &Mutex<State>, programs: &Path, work: &Path, seconds: u64) -> io::Result<Result<u64, String>> {
    let counts = state.lock().expect("no thread panicked").section(SECTION)?;
    let behind = |target: &&str| counts.get(&executions_of(target)).copied().unwrap_or(0);
    let target = TARGETS.into_iter().min_by_key(behind).expect("there are targets");
    let output = Command::new(programs.join(target))
        .arg(work.join(target))
        .args(["-len_control=0", "-max_len=1000", "-timeout=60", "-rss_limit_mb=4096"])
        .args(["-print_final_stats=1".to_owned(), format!("-max_total_time={seconds}")])
        .arg(format!("-artifact_prefix={}/", work.display()))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executions = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    match executions.map(str::trim).map(str::parse::<u64>) {
        Some(Ok(n)) if output.status.success() => {
            let mut state = state.lock().expect("no thread panicked");
            let before = state.add(SECTION, &executions_of(target), n)?;
            println!("{target}: {n} executions, {} in all", before + n);
            Ok(Ok(n))
        }
        _ => {
            let tail: Vec<_> = said.lines().rev().take(40).collect();
            Ok(Err(format!("{target}: {}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))))
        }
    }
}
