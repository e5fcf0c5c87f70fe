//! Directories for the files under test, and what machine this is.
//!
//! Each run works in directories of its own, which it holds locked and removes. Those of a run that was killed are found unlocked by
//! the next run and removed by it, so that nothing stays behind in memory for long.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contender::Place;
use crate::system::Result;

const PREFIX: &str = "heapfile-bench-";

/// One directory on shared memory and one on a disk.
pub(crate) struct Places {
    shm: Locked,
    disk: Locked,
}

struct Locked {
    dir: TempDir,
    /// Held for the life of the run: says that the directory is in use.
    _lock: File,
}

impl Places {
    pub(crate) fn make(shm: &Path, disk: &Path) -> Result<Self> {
        Ok(Self { shm: Locked::make(shm)?, disk: Locked::make(disk)? })
    }

    /// A path for a new file. A system in memory gets one too, and does not use it.
    pub(crate) fn file(&self, place: Place, name: &str) -> PathBuf {
        let locked = if place == Place::Disk { &self.disk } else { &self.shm };
        locked.dir.path().join(name)
    }

    /// Machine and file systems, for the head of a report.
    pub(crate) fn machine(&self) -> Value {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let field = |path: &str, key: &str| {
            let text = line(path);
            let found = text
                .lines()
                .find_map(|l| l.strip_prefix(key)?.split_once(':').map(|(_, v)| v.trim().to_owned()));
            found.unwrap_or_default()
        };
        json!({
            "cpu": field("/proc/cpuinfo", "model name"),
            "cores": std::thread::available_parallelism().map_or(0, |n| n.get()),
            "memory": field("/proc/meminfo", "MemTotal"),
            "kernel": line("/proc/sys/kernel/osrelease"),
            "huge_pages_shmem": line("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
            "load": line("/proc/loadavg"),
            "shm": file_system(self.shm.dir.path()),
            "disk": file_system(self.disk.dir.path()),
        })
    }
}

impl Locked {
    fn make(parent: &Path) -> Result<Self> {
        remove_left_behind(parent)?;
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::open(dir.path())?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }
}

fn remove_left_behind(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir();
        if ours && File::open(entry.path())?.try_lock().is_ok() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Name of the file system that holds a path.
fn file_system(path: &Path) -> String {
    match rustix::fs::statfs(path).map(|s| s.f_type as u64) {
        Ok(0x0102_1994) => "tmpfs".to_owned(),
        Ok(0xef53) => "ext4".to_owned(),
        Ok(0x9123_683e) => "btrfs".to_owned(),
        Ok(0x5846_5342) => "xfs".to_owned(),
        Ok(0x794c_7630) => "overlayfs".to_owned(),
        Ok(other) => format!("file system {other:#x}"),
        Err(error) => error.to_string(),
    }
}
