//! What the tests share: places for files, copies as a kill leaves them, children of the test binary, a script of edits.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod model;
pub mod mounted;
pub mod objects;
pub mod script;

use heapfile::testing::{self, Call, Died};
use heapfile::{Arena, Durability, Error, Options};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Both kinds of arena.
pub const BOTH: [Durability; 2] = [Durability::Power, Durability::Process];

/// A directory on the disk, for tests that flush seldom.
pub fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// A directory in memory where there is one: a kill leaves the same there, and flushes cost nothing.
pub fn fast_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| dir())
}

/// Options for a small arena whose log comes round soon.
pub fn small(durability: Durability) -> Options {
    Options::new().durability(durability).log_size(64 << 10).max_size(64 << 20)
}

/// Whether all is to be tried, however long it takes: `HEAPFILE_TEST_THOROUGH` is set.
pub fn is_thorough() -> bool {
    std::env::var_os("HEAPFILE_TEST_THOROUGH").is_some()
}

/// The file as another process would find it if all that have it open were killed now.
pub fn copy_as_killed(arena: &Path, to: &Path) {
    let bytes = std::fs::read(arena).expect("the arena can be read");
    std::fs::write(to, bytes).expect("the copy can be written");
}

/// Runs `work` and returns what a process that was killed when it first passed the failpoint would have left.
pub fn killed_at(point: &'static str, arena: &Path, work: impl FnOnce()) -> Vec<u8> {
    use std::cell::RefCell;
    use std::rc::Rc;
    let (taken, path) = (Rc::new(RefCell::new(None)), arena.to_owned());
    let take = taken.clone();
    heapfile::testing::at_failpoint(point, move || {
        *take.borrow_mut() = Some(std::fs::read(&path).expect("the arena can be read"));
    });
    work();
    taken.take().unwrap_or_else(|| panic!("{point:?} was not passed"))
}

/// Runs `work` until its process dies, after so many points or when something in it says so; nothing if it did. Handles that it leaves over are
/// dropped before `die_after(None)`: they write nothing any more.
pub fn mortal<T>(points: u64, work: impl FnOnce() -> T) -> Option<T> {
    testing::die_after(Some(points));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    match outcome {
        Ok(value) => {
            testing::die_after(None);
            Some(value)
        }
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// Calls on the file, each with an error that it may end with.
pub const FAILURES: [(Call, i32); 9] = [
    (Call::Write, libc::EIO),
    (Call::Scatter, libc::EFAULT),
    (Call::WriteDurable, libc::EIO),
    (Call::WriteDurable, libc::ENOSPC),
    (Call::Flush, libc::EIO),
    (Call::Sync, libc::EIO),
    (Call::Reserve, libc::ENOSPC),
    (Call::Reserve, libc::EIO),
    (Call::Truncate, libc::EIO),
];

/// What is wrong: of a group that failed, what is wrong with that.
pub fn cause(error: &Error) -> &Error {
    match error {
        Error::Group { cause } => cause,
        error => error,
    }
}

/// The check finds nothing.
#[track_caller]
pub fn assert_clean(arena: &Arena) {
    let report = arena.check().expect("the check runs");
    assert!(report.is_clean(), "{:#?}", report.findings);
}

const ROLE: &str = "HEAPFILE_TEST_ROLE";
const FILE: &str = "HEAPFILE_TEST_FILE";

/// This test binary again, to run the test `test` alone as a child with this role.
pub fn child(test: &str, role: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FILE, file)
        .env_remove("HEAPFILE_FAILPOINT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The role and file of this process, if it is such a child.
pub fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, PathBuf::from(std::env::var_os(FILE)?)))
}

/// Tells the parent something, as one write.
pub fn tell(line: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("the parent listens");
}

/// Bytes that follow from a seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = heapfile::testing::SplitMix64(seed);
    let mut all = Vec::with_capacity(len + 8);
    while all.len() < len {
        all.extend_from_slice(&rng.next().to_le_bytes());
    }
    all.truncate(len);
    all
}
