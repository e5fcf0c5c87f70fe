//! What the disk that holds a file writes and how often it flushes, for all programs, as the kernel counts it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Counts since the machine started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    bytes: u64,
    flushes: u64,
}

/// What was done between two looks, which a durable load did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    /// `None`: not counted. A durable load flushes; of a disk that writes through, and of many that are made of other disks, the kernel
    /// counts no flush.
    pub(crate) flushes: Option<u64>,
}

impl Counts {
    /// Of the disk that holds a file or a directory; `None` if it is on none.
    pub(crate) fn now(path: &Path) -> Option<Self> {
        let device = path.metadata().ok()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stat = stat_of(Path::new(&format!("/sys/dev/block/{major}:{minor}")))?;
        Self::parse(&std::fs::read_to_string(stat).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let field = |n: usize| stat.split_whitespace().nth(n)?.parse::<u64>().ok();
        // Sectors have 512 bytes here, whatever the disk's have.
        Some(Self { bytes: field(6)? * 512, flushes: field(15)? })
    }

    /// What was done since `before`.
    pub(crate) fn since(self, before: Self) -> Done {
        let flushes = self.flushes - before.flushes;
        Done { bytes: self.bytes - before.bytes, flushes: (flushes > 0).then_some(flushes) }
    }
}

/// The counts of a device. Flushes are those of a whole disk: the kernel counts none for a partition.
fn stat_of(device: &Path) -> Option<PathBuf> {
    // A partition's directory is in that of its disk.
    let device = device.canonicalize().ok()?;
    let disk = if device.join("partition").exists() { device.parent()? } else { &device };
    Some(disk.join("stat"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn of_a_partition_the_whole_disk_is_looked_at() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path().canonicalize().unwrap();
        let disk = sys.join("devices/block/vda");
        fs::create_dir_all(disk.join("vda1")).unwrap();
        fs::write(disk.join("vda1/partition"), "1\n").unwrap();
        symlink(&disk, sys.join("254:0")).unwrap();
        symlink(disk.join("vda1"), sys.join("254:1")).unwrap();
        for device in ["254:0", "254:1"] {
            assert_eq!(stat_of(&sys.join(device)), Some(disk.join("stat")), "{device}");
        }
        assert_eq!(stat_of(&sys.join("0:27")), None, "no disk");
    }

    #[test]
    fn flushes_that_stand_still_are_not_counted() {
        let counts = |sectors: u64, flushes: u64| {
            let stat = format!("  9  0  9  9  9  9  {sectors}  9  0  9  9  0  0  0  0  {flushes}  9\n");
            Counts::parse(&stat).unwrap()
        };
        assert_eq!(counts(7, 5).since(counts(3, 2)), Done { bytes: 2048, flushes: Some(3) });
        assert_eq!(counts(7, 2).since(counts(3, 2)), Done { bytes: 2048, flushes: None });
        assert!(Counts::parse("1 2 3 4 5 6 7 8 9 10 11").is_none(), "a kernel that counts no flushes at all");
    }
}
