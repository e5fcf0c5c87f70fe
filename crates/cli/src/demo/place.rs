//! Where the demo works: a directory on a disk, gone at the end unless it is to be kept.

use crate::Failure;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `f_type` of file systems that live in memory.
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;

/// The directory of a demo.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Place {
    /// `keep`: the directory, made if it is missing, to stay at the end.
    pub(crate) fn new(keep: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = keep {
            std::fs::create_dir_all(&path)
                .map_err(|e| format!("cannot create directory {}: {e}", path.display()))?;
            return Ok(Self { path, temporary: None });
        }
        let parent = parent();
        let temporary =
            tempfile::Builder::new().prefix("heapfile-demo-").tempdir_in(&parent).map_err(|e| {
                format!(
                    "cannot create a directory in {}: {e}; name one with --keep, or set TMPDIR",
                    parent.display()
                )
            })?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is no disk behind it, so that times say nothing about disks.
    pub(crate) fn is_in_memory(&self) -> bool {
        is_in_memory(&self.path)
    }

    /// Whether it stays at the end.
    pub(crate) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Lets it stay.
    pub(crate) fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            self.path = temporary.keep();
        }
    }
}

/// `TMPDIR` if it is set; else `/var/tmp`, which is on a disk where `/tmp` is often not.
fn parent() -> PathBuf {
    let on_disk = Path::new("/var/tmp");
    let named = std::env::var_os("TMPDIR").is_some_and(|dir| !dir.is_empty());
    let usable = |path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok() && !is_in_memory(path);
    if !named && usable(on_disk) { on_disk.to_owned() } else { std::env::temp_dir() }
}

fn is_in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| [TMPFS, RAMFS].contains(&u64::try_from(fs.f_type).unwrap_or(0)))
}
