//! `heapfile-soak mutate`: breaks the library on purpose, one place at a time, and runs the tests that ought to notice.
//!
//! Works in a copy of the tree, so that the tree itself is never broken. Which breaks, and which tests, is in `mutations.txt`.

#![forbid(unsafe_code)]

use crate::state::State;
use rustix::process::{Pid, Signal, kill_process_group};
use std::error::Error;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any of the tests takes; one that hangs has noticed.
const PATIENCE: Duration = Duration::from_secs(200);

/// What of the tree is needed to build and run the tests.
const PARTS: [&str; 7] = ["Cargo.toml", "Cargo.lock", "README.md", "src", "tests", "crates", "examples"];

/// A break.
#[derive(Debug)]
struct Mutation<'a> {
    name: &'a str,
    rule: &'a str,
    file: &'a str,
    /// Arguments of `cargo test`, in turn.
    tests: Vec<&'a str>,
    old: &'a str,
    new: &'a str,
}

/// What became of one.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Caught(String),
    Survived,
    /// It cannot be applied or built: the table is out of date.
    Stale(String),
}

/// Runs the mutations of the tree at `root` whose names contain one of `only` (all, if there are none), from the one on whose name
/// contains `from`. Whether all were caught.
pub(crate) fn run(
    root: &Path,
    work: &Path,
    only: &[String],
    from: Option<&str>,
    mut state: State,
) -> Result<bool, Box<dyn Error>> {
    let text = fs::read_to_string(root.join("crates/soak/mutations.txt"))?;
    let all = parse(&text)?;
    let copy = work.join("tree");
    fs::create_dir_all(&copy)?;
    let (mut caught, mut others) = (0, Vec::new());
    let first = all.iter().position(|m| from.is_none_or(|from| m.name.contains(from)));
    let wanted = |m: &&Mutation<'_>| only.is_empty() || only.iter().any(|only| m.name.contains(only));
    for mutation in all[first.ok_or("no mutation has such a name")?..].iter().filter(wanted) {
        for part in PARTS {
            copy_changed(&root.join(part), &copy.join(part))?;
        }
        let begun = Instant::now();
        let fate = apply(&copy, mutation)?
            .map_or_else(|| judge(&copy, work, mutation), |why| Ok(Fate::Stale(why)))?;
        let seconds = begun.elapsed().as_secs();
        match fate {
            Fate::Caught(by) => {
                println!("caught    {:<75} {seconds:>4} s  {by}", mutation.name);
                caught += 1;
                state.add("mutations", "caught", 1)?;
            }
            Fate::Survived => {
                println!("SURVIVED  {:<75} {seconds:>4} s  (rule: {})", mutation.name, mutation.rule);
                others.push(mutation.name);
            }
            Fate::Stale(why) => {
                println!("STALE     {:<75} {seconds:>4} s  {why}", mutation.name);
                others.push(mutation.name);
            }
        }
    }
    println!("{caught} caught, {} not", others.len());
    Ok(others.is_empty())
}

fn parse(text: &str) -> Result<Vec<Mutation<'_>>, String> {
    text.split("\n## ").skip(1).map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<Mutation<'_>, String> {
    let name = text.lines().next().unwrap_or_default();
    let wrong = |what: &str| format!("mutation {name:?}: {what}");
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map(str::trim).ok_or_else(|| wrong(&format!("no line begins with {key}")))
    };
    let edit = text.split_once("<<<\n").ok_or_else(|| wrong("there is no <<<"))?.1;
    let (old, rest) = edit.split_once("===\n").ok_or_else(|| wrong("there is no ==="))?;
    let (new, _) = rest.split_once(">>>").ok_or_else(|| wrong("there is no >>>"))?;
    Ok(Mutation {
        name,
        rule: field("rule:")?,
        file: field("file:")?,
        tests: field("tests:")?.split(';').map(str::trim).collect(),
        // Parts of lines can be named too.
        old: old.strip_suffix('\n').unwrap_or(old),
        new: new.strip_suffix('\n').unwrap_or(new),
    })
}

/// Copies what differs, so that what does not is not built again; removes what is gone.
fn copy_changed(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        let new = fs::read(from)?;
        if fs::read(to).ok().as_ref() != Some(&new) {
            fs::write(to, new)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name != "target" {
            copy_changed(&from.join(&name), &to.join(&name))?;
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            match entry.path().is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

/// Breaks the copy; why that cannot be done, if it cannot.
fn apply(copy: &Path, mutation: &Mutation<'_>) -> std::io::Result<Option<String>> {
    let path = copy.join(mutation.file);
    let text = fs::read_to_string(&path)?;
    let count = text.matches(mutation.old).count();
    if count != 1 {
        return Ok(Some(format!("its text occurs {count} times in {}", mutation.file)));
    }
    fs::write(path, text.replace(mutation.old, mutation.new))?;
    Ok(None)
}

fn judge(copy: &Path, work: &Path, mutation: &Mutation<'_>) -> Result<Fate, Box<dyn Error>> {
    let log = work.join("last.log");
    for test in &mutation.tests {
        let mut built = cargo(copy, work, test, &log)?;
        if !built.arg("--no-run").status()?.success() {
            return Ok(Fate::Stale(format!("{test} does not build: {}", log.display())));
        }
        let mut child = cargo(copy, work, test, &log)?.process_group(0).spawn()?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if begun.elapsed() > PATIENCE {
                // With the test that cargo has started.
                kill_process_group(Pid::from_child(&child), Signal::KILL)?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        if status.is_none_or(|status| !status.success()) {
            return Ok(Fate::Caught(failed(&log, test, status.is_none())));
        }
    }
    Ok(Fate::Survived)
}

fn cargo(copy: &Path, work: &Path, test: &str, log: &Path) -> std::io::Result<Command> {
    let out = fs::File::create(log)?;
    let (binary, filter) = match test.split_once(' ') {
        Some(("--test", rest)) => {
            let mut words = rest.split(' ');
            (vec!["--test", words.next().unwrap_or_default()], words.next())
        }
        Some((flag, rest)) => (vec![flag], Some(rest)),
        None => (vec![test], None),
    };
    let mut command = Command::new("cargo");
    command.args(["test", "-q", "-p", "heapfile"]).args(binary).args(filter).current_dir(copy);
    command.env("CARGO_TARGET_DIR", work.join("target")).env("CARGO_TERM_COLOR", "never");
    // What is broken leaves many warnings.
    command.env("RUSTFLAGS", "-Awarnings").stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    Ok(command)
}

/// Which test failed, as its log tells.
fn failed(log: &Path, test: &str, hangs: bool) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let names: Vec<_> = text
        .lines()
        .skip_while(|line| *line != "failures:")
        .filter_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"))
        .collect();
    let target = test.split(' ').take(if test.starts_with("--test") { 2 } else { 1 }).last().unwrap_or(test);
    let target = target.trim_start_matches("--");
    match names.first() {
        Some(first) => format!("{target}: {first}{}", if names.len() > 1 { " and others" } else { "" }),
        None if hangs => format!("{target}: it hangs"),
        None => format!("{target}: it aborts"),
    }
}

/// The tree that this program was built from.
pub(crate) fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_applies_to_the_tree_as_it_is() {
        let text = fs::read_to_string(tree().join("crates/soak/mutations.txt")).unwrap();
        let all = parse(&text).unwrap();
        assert!(all.len() >= 25, "{}", all.len());
        for mutation in all {
            let source = fs::read_to_string(tree().join(mutation.file)).unwrap();
            let count = source.matches(mutation.old).count();
            assert_eq!(count, 1, "{:?} occurs {count} times in {}", mutation.name, mutation.file);
            for test in mutation.tests {
                if let Some(name) = test.strip_prefix("--test ").and_then(|rest| rest.split(' ').next()) {
                    let tests = tree().join("tests");
                    let there = tests.join(format!("{name}.rs")).exists() || tests.join(name).is_dir();
                    assert!(there, "{:?} names a test that there is not: {name}", mutation.name);
                }
            }
        }
    }
}
