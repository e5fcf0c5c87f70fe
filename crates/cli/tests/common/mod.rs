//! Runs the command as a user would, and makes arenas for it.
#![allow(dead_code, reason = "each test binary uses some of it")]

use heapfile::{Arena, Options};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The command with nothing of the caller's terminal in its environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heapfile"));
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command
}

/// What a run of the command gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the command was ended by a signal"),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }
}

impl Run {
    /// Stdout of a run that has to succeed, with nothing to say on stderr.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// A run that has to fail with this exit code, one line on stderr that contains `message`, and no data.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, message: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert!(self.stderr.starts_with("heapfile: ") && self.stderr.lines().count() == 1, "{self:?}");
        assert!(self.stderr.contains(message), "{message:?} is not in {:?}", self.stderr);
    }
}

pub(crate) fn run(args: &[&str]) -> Run {
    command().args(args).output().expect("the command starts").into()
}

/// A directory with the path of an arena in it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("a.heap"), dir }
    }

    /// With an arena that `fill` made something of.
    pub(crate) fn with(fill: impl FnOnce(&Arena)) -> Self {
        let place = Self::new();
        let arena = Options::new().log_size(1 << 16).log_limit(0).create(&place.path).unwrap();
        fill(&arena);
        place
    }

    pub(crate) fn arg(&self) -> &str {
        text(&self.path)
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
