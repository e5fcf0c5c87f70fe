//! What the bench asks of a store, and the entries that it puts there.

use std::path::Path;

use clap::ValueEnum;

use crate::rng::Rng;
use crate::system::Result;

/// Bytes of a value, but where a workload changes them.
pub(super) const VALUE: usize = 100;
/// Bytes that a value is changed to and back.
pub(super) const LONG: usize = 10 << 10;

pub(super) type Key = [u8; 16];

/// What commits survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The death of the process, not a power cut.
    Kill,
    /// A power cut.
    Power,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill-safe",
            Self::Power => "durable",
        }
    }
}

/// A store under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreId {
    HeapfileHashed,
    HeapfileOrdered,
    /// Hashed, with a log of 256 MiB from the start, instead of 4: fjall's journals may take 512.
    HeapfileLongLog,
    Gdbm,
    Libmdbx,
    LibmdbxWritemap,
    Lmdb,
    LmdbWritemap,
    Redb,
    Sqlite,
    Fjall,
    Shelve,
}

impl StoreId {
    pub(super) const ALL: [Self; 12] = [
        Self::HeapfileHashed,
        Self::HeapfileOrdered,
        Self::HeapfileLongLog,
        Self::Gdbm,
        Self::Libmdbx,
        Self::LibmdbxWritemap,
        Self::Lmdb,
        Self::LmdbWritemap,
        Self::Redb,
        Self::Sqlite,
        Self::Fjall,
        Self::Shelve,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::HeapfileHashed => "heapfile-hashed",
            Self::HeapfileOrdered => "heapfile-ordered",
            Self::HeapfileLongLog => "heapfile-long-log",
            Self::Gdbm => "gdbm",
            Self::Libmdbx => "libmdbx",
            Self::LibmdbxWritemap => "libmdbx-writemap",
            Self::Lmdb => "lmdb",
            Self::LmdbWritemap => "lmdb-writemap",
            Self::Redb => "redb",
            Self::Sqlite => "sqlite",
            Self::Fjall => "fjall",
            Self::Shelve => "shelve",
        }
    }

    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::HeapfileHashed | Self::HeapfileOrdered | Self::HeapfileLongLog)
    }

    /// Whether it has commits of that kind. Those that cost no flush use no log; redb's without a flush do not survive a kill; shelve has none that survive a power cut; a map
    /// that is written to gains nothing where each commit is flushed.
    pub(super) const fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Kill => !matches!(self, Self::Redb | Self::HeapfileLongLog),
            Kind::Power => !matches!(self, Self::LibmdbxWritemap | Self::LmdbWritemap | Self::Shelve),
        }
    }

    /// Whether a second process can read while one writes.
    pub(super) const fn shares(self) -> bool {
        !matches!(self, Self::Gdbm | Self::Redb | Self::Fjall | Self::Shelve)
    }
}

/// An open store. A process works with one only.
pub(super) trait Kv {
    /// First eight bytes of the value, and a look at its last one; in a read transaction of its own.
    fn get(&mut self, key: &Key) -> Result<Option<u64>>;
    /// Sets a value, committed on its own.
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()>;
    /// Sets values, in one transaction where the store has them.
    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()>;
    /// Writes everything to the disk, however long that takes.
    fn sync(&mut self) -> Result<()>;
}

/// Opens a store in a directory of its own, creating it if it is not there.
pub(super) type Open = fn(&Path, Kind) -> Result<Box<dyn Kv>>;

/// Key of entry `n`: random order, the same in each run.
pub(super) fn key(n: u64) -> Key {
    let mut rng = Rng::new(n + 1);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&rng.next().to_le_bytes());
    key[8..].copy_from_slice(&n.to_le_bytes());
    key
}

/// A value for a key, recognisable by its first eight bytes.
pub(super) fn value(key: &Key, version: u64, len: usize) -> Vec<u8> {
    let mut value = vec![version as u8; len];
    value[..8].copy_from_slice(&key[..8]);
    value[8..16].copy_from_slice(&version.to_le_bytes());
    value
}

/// What [`Kv::get`] returns of a value.
#[inline]
pub(super) fn looked_at(value: &[u8]) -> Option<u64> {
    std::hint::black_box(value.last()?);
    Some(u64::from_le_bytes(*value.first_chunk()?))
}

/// What it has to be.
pub(super) fn expected(key: &Key) -> Option<u64> {
    Some(u64::from_le_bytes(*key.first_chunk()?))
}
