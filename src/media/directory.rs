//! The directory in which a file has its name: what makes a new name durable.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

/// The directory of a file, open to be synced. Some file systems refuse to sync a directory, and some users may not read it: then that the file
/// itself is synced has to do.
#[derive(Debug)]
pub(crate) struct Directory(Option<File>);

impl Directory {
    /// Where the directory of the file at `path` is.
    pub(super) fn place(path: &Path) -> &Path {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Opens the directory of the file at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        unless_refused(File::open(Self::place(path))).map(Self)
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let synced = self.0.as_ref().map_or(Ok(()), File::sync_all);
        unless_refused(synced).map(drop)
    }
}

/// The outcome; nothing in place of a refusal.
fn unless_refused<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => Ok(None),
        outcome => outcome.map(Some),
    }
}
