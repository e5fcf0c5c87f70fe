//! `heapfile-soak mutate`: breaks the library on purpose, one place at a time, and runs the tests that ought to notice.
//!
//! Works in a copy of the tree, so that the tree itself is never broken. Which breaks, and which tests, is in `mutations.txt`. Each test is run
//! on the copy as it is before it is asked about a break: one that fails there too would notice anything.

#![forbid(unsafe_code)]

use crate::state::State;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any of the tests takes; one that hangs has noticed.
const PATIENCE: Duration = Duration::from_secs(200);

/// A test may take so many times as long as on the unbroken copy, if that is more: one that is slow is not one that hangs.
const SLOWER: u32 = 4;

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
    /// One of its tests fails without it: whether that test notices cannot be told.
    Untold(String),
}

/// How a test ended.
enum End {
    /// All is well, after so long.
    Passed(Duration),
    /// How it failed, or that it hangs.
    Failed(String),
    /// It cannot be built; which file tells why.
    Unbuilt(String),
}

/// For each test, by its arguments, that has been run on the unbroken copy: how long it took, or why it is of no use.
type Unbroken<'a> = BTreeMap<&'a str, Result<Duration, String>>;

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
    let log = work.join("last.log");
    let (mut caught, mut others, mut unbroken) = (0, Vec::new(), Unbroken::new());
    let first = all.iter().position(|m| from.is_none_or(|from| m.name.contains(from)));
    let wanted = |m: &&Mutation<'_>| only.is_empty() || only.iter().any(|only| m.name.contains(only));
    for mutation in all[first.ok_or("no mutation has such a name")?..].iter().filter(wanted) {
        for part in PARTS {
            copy_changed(&root.join(part), &copy.join(part))?;
        }
        let begun = Instant::now();
        let fate = match broken(&copy, mutation)? {
            Err(why) => Fate::Stale(why),
            Ok(text) => {
                let breaks = || fs::write(copy.join(mutation.file), text);
                judge(mutation, &mut unbroken, breaks, |test, most| run_one(&copy, work, test, &log, most))?
            }
        };
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
            Fate::Untold(why) => {
                println!("UNTOLD    {:<75} {seconds:>4} s  {why}", mutation.name);
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

/// The broken text of the file; why there is none, if so.
fn broken(copy: &Path, mutation: &Mutation<'_>) -> std::io::Result<Result<String, String>> {
    let text = fs::read_to_string(copy.join(mutation.file))?;
    Ok(match text.matches(mutation.old).count() {
        1 => Ok(text.replace(mutation.old, mutation.new)),
        count => Err(format!("its text occurs {count} times in {}", mutation.file)),
    })
}

/// Lets `run` run the tests, given the longest that each may take: those that are not in `unbroken` before `breaks` breaks the copy, then all.
fn judge<'a>(
    mutation: &Mutation<'a>,
    unbroken: &mut Unbroken<'a>,
    breaks: impl FnOnce() -> std::io::Result<()>,
    mut run: impl FnMut(&str, Duration) -> Result<End, Box<dyn Error>>,
) -> Result<Fate, Box<dyn Error>> {
    let mut longest = Vec::new();
    for &test in &mutation.tests {
        if !unbroken.contains_key(test) {
            let end = match run(test, PATIENCE)? {
                End::Passed(time) => Ok(time),
                End::Failed(how) => Err(how),
                End::Unbuilt(log) => Err(format!("it does not build: {log}")),
            };
            unbroken.insert(test, end);
        }
        match &unbroken[test] {
            Ok(time) => longest.push(PATIENCE.max(*time * SLOWER)),
            Err(how) => return Ok(Fate::Untold(format!("`{test}` fails unbroken: {how}"))),
        }
    }
    breaks()?;
    for (&test, longest) in mutation.tests.iter().zip(longest) {
        match run(test, longest)? {
            End::Passed(_) => {}
            End::Failed(by) => return Ok(Fate::Caught(by)),
            End::Unbuilt(log) => return Ok(Fate::Stale(format!("`{test}` does not build: {log}"))),
        }
    }
    Ok(Fate::Survived)
}

/// Builds and runs a test on the copy as it is now. What it says is in `log`.
fn run_one(copy: &Path, work: &Path, test: &str, log: &Path, most: Duration) -> Result<End, Box<dyn Error>> {
    if !cargo(copy, work, test, log)?.arg("--no-run").status()?.success() {
        return Ok(End::Unbuilt(log.display().to_string()));
    }
    let mut child = cargo(copy, work, test, log)?.process_group(0).spawn()?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > most {
            // With the test that cargo has started.
            kill_process_group(Pid::from_child(&child), Signal::KILL)?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    Ok(match status {
        Some(status) if status.success() => End::Passed(begun.elapsed()),
        _ => End::Failed(failed(log, test, status.is_none())),
    })
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

    fn mutation(tests: &[&'static str]) -> Mutation<'static> {
        Mutation { name: "", rule: "", file: "", tests: tests.to_vec(), old: "", new: "" }
    }

    #[test]
    fn a_test_that_fails_unbroken_notices_nothing() {
        for end in [|| End::Failed("no space".to_owned()), || End::Unbuilt("last.log".to_owned())] {
            let mut unbroken = Unbroken::new();
            for _ in 0..2 {
                let breaks = || panic!("nothing is broken for it");
                let fate = judge(&mutation(&["a"]), &mut unbroken, breaks, |_, _| Ok(end())).unwrap();
                assert!(
                    matches!(&fate, Fate::Untold(why) if why.starts_with("`a` fails unbroken")),
                    "{fate:?}"
                );
            }
        }
    }

    #[test]
    fn a_test_runs_unbroken_once_and_has_the_longer_for_it_afterwards() {
        let mut unbroken = Unbroken::new();
        let mut judged = |tests: &[&'static str]| {
            let (broken, mut runs) = (std::cell::Cell::new(false), Vec::new());
            let breaks = || {
                broken.set(true);
                Ok(())
            };
            let fate = judge(&mutation(tests), &mut unbroken, breaks, |test, most| {
                runs.push((test.to_owned(), broken.get(), most.as_secs()));
                let fails = broken.get() && test == "b";
                let time = Duration::from_secs(if test == "a" { 100 } else { 1 });
                Ok(if fails { End::Failed("b: it hangs".to_owned()) } else { End::Passed(time) })
            });
            (fate.unwrap(), runs)
        };
        let run = |test: &str, broken, most| (test.to_owned(), broken, most);
        assert_eq!(judged(&["a"]), (Fate::Survived, vec![run("a", false, 200), run("a", true, 400)]));
        let runs = vec![run("b", false, 200), run("a", true, 400), run("b", true, 200)];
        assert_eq!(judged(&["a", "b"]), (Fate::Caught("b: it hangs".to_owned()), runs));
    }

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
