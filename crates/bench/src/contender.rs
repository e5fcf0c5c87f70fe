//! Who is measured: a system, where its file lies, and how many operations share a commit.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

/// A system under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SystemId {
    /// heapfile, an arena of `Durability::Process`.
    Heapfile,
    /// heapfile, an arena of `Durability::Power`.
    HeapfilePower,
    /// Boost.Interprocess managed_mapped_file.
    Boost,
    /// The same without its own lock, one lock of ours around each replacement.
    BoostOneLock,
    /// PMDK libpmemobj.
    Pmdk,
    /// mimalloc, in memory.
    Mimalloc,
    /// jemalloc, in memory.
    Jemalloc,
    /// glibc's malloc, in memory.
    Glibc,
    /// No heap: 256 bytes written through to the disk, the least that a commit can cost.
    RawDsync,
}

impl SystemId {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Heapfile => "heapfile",
            Self::HeapfilePower => "heapfile-power",
            Self::Boost => "boost",
            Self::BoostOneLock => "boost-one-lock",
            Self::Pmdk => "pmdk",
            Self::Mimalloc => "mimalloc",
            Self::Jemalloc => "jemalloc",
            Self::Glibc => "glibc",
            Self::RawDsync => "raw-dsync",
        }
    }

    /// Names of the shared library that makes it this process's malloc, most likely first. The environment variable
    /// `HEAPFILE_BENCH_<NAME>` goes before them.
    pub(crate) fn preload(self) -> &'static [&'static str] {
        match self {
            Self::Mimalloc => {
                &["libmimalloc.so.2", "libmimalloc.so.2.0", "libmimalloc.so.3", "libmimalloc.so"]
            }
            Self::Jemalloc => &["libjemalloc.so.2", "libjemalloc.so"],
            _ => &[],
        }
    }

    /// Debian's package that brings it.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Boost | Self::BoostOneLock => "libboost-dev",
            Self::Pmdk => "libpmemobj-dev",
            Self::Mimalloc => "libmimalloc2.0",
            Self::Jemalloc => "libjemalloc2",
            Self::Glibc => "libc6",
            Self::Heapfile | Self::HeapfilePower | Self::RawDsync => "none",
        }
    }
}

/// Where a system keeps its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// A file on /dev/shm.
    Shm,
    /// A file on a disk.
    Disk,
    /// Memory of the process, gone with it.
    Dram,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shm => "shm",
            Self::Disk => "disk",
            Self::Dram => "dram",
        }
    }
}

/// How many operations share a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each operation is complete, and committed, on its own.
    Each,
    /// Each operation in a commit that it shares with other threads.
    Submit,
    /// So many steps of the workload in one transaction.
    Tx(usize),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => f.pad("each"),
            Self::Submit => f.pad("submit"),
            Self::Tx(n) => f.pad(&format!("tx{n}")),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.strip_prefix("tx").map(str::parse) {
            _ if s == "each" => Ok(Self::Each),
            _ if s == "submit" => Ok(Self::Submit),
            Some(Ok(n)) if n > 0 => Ok(Self::Tx(n)),
            _ => Err(format!("{s}: each, submit, or tx and a number of operations, was expected")),
        }
    }
}

/// One line of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) system: SystemId,
    pub(crate) place: Place,
    pub(crate) mode: Mode,
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.system.name(), self.place.name(), self.mode)
    }
}
