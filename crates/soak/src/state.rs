//! What long runs have done so far, in a small file that adds up over runs.
//!
//! The file is JSON: sections, each with counts by name. Several processes may add to one file at the same time: each change is made under
//! a lock on the file, to what it holds then, by a new file in place of the old one. A seed is claimed before it is run, so that no two runs do the same.
//!
//! Limits: a run that is cut off in the middle of a seed leaves that seed claimed and not counted.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Counts of one kind of run, by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The file of counts; none: counts of this run alone.
#[derive(Debug)]
pub(crate) struct State {
    path: Option<PathBuf>,
    memory: BTreeMap<String, Counts>,
}

impl State {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, memory: BTreeMap::new() }
    }

    /// Adds to a count; what it was before.
    pub(crate) fn add(&mut self, section: &str, name: &str, n: u64) -> io::Result<u64> {
        self.change(|all| {
            let count = all.entry(section.to_owned()).or_default().entry(name.to_owned()).or_default();
            let before = *count;
            *count += n;
            before
        })
    }

    /// Raises a count to at least this.
    pub(crate) fn raise(&mut self, section: &str, name: &str, to: u64) -> io::Result<()> {
        self.change(|all| {
            let count = all.entry(section.to_owned()).or_default().entry(name.to_owned()).or_default();
            *count = to.max(*count);
        })
    }

    /// All counts of a section.
    pub(crate) fn section(&mut self, section: &str) -> io::Result<Counts> {
        self.change(|all| all.get(section).cloned().unwrap_or_default())
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut BTreeMap<String, Counts>) -> T) -> io::Result<T> {
        let Some(path) = &self.path else { return Ok(change(&mut self.memory)) };
        let lock = File::create(beside(path, "lock"))?;
        lock.lock()?;
        let mut all = read(path)?;
        let before = all.clone();
        let out = change(&mut all);
        if all != before {
            let new = beside(path, "new");
            std::fs::write(&new, serde_json::to_vec_pretty(&all)?)?;
            std::fs::rename(new, path)?;
        }
        Ok(out)
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Counts>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for run in 0..3 {
            let mut state = State::new(Some(path.clone()));
            assert_eq!(state.add("power", "images", 5).unwrap(), run * 5);
            state.raise("kill", "longest", 10 - run).unwrap();
        }
        let mut state = State::new(Some(path.clone()));
        assert_eq!(state.section("power").unwrap(), Counts::from([("images".to_owned(), 15)]));
        assert_eq!(state.section("kill").unwrap()["longest"], 10);
        std::fs::write(&path, "{").unwrap();
        assert!(state.section("power").is_err());
    }
}
