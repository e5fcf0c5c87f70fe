//! The stores that are compared, and why one is not there.

mod arena;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(have_gdbm)]
mod gdbm;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "libmdbx")]
mod mdbx;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sqlite")]
mod sqlite;

use super::kv::{Open, StoreId};

/// The script that measures Python's shelve.
pub(super) const SHELVE: &str = include_str!("shelve.py");

/// How the store is opened, and its version; or why it cannot be.
pub(super) fn find(id: StoreId) -> Result<(Open, String), &'static str> {
    #[allow(dead_code, reason = "said where a feature is off")]
    const OFF: &str = "left out at build time: turn its cargo feature on";
    match id {
        StoreId::HeapfileHashed => Ok((arena::hashed, env!("CARGO_PKG_VERSION").to_owned())),
        StoreId::HeapfileOrdered => Ok((arena::ordered, env!("CARGO_PKG_VERSION").to_owned())),
        StoreId::HeapfileLongLog => Ok((arena::long_log, env!("CARGO_PKG_VERSION").to_owned())),
        #[cfg(have_gdbm)]
        StoreId::Gdbm => Ok((gdbm::open, gdbm::version())),
        #[cfg(not(have_gdbm))]
        StoreId::Gdbm => Err(env!("HEAPFILE_BENCH_MISSING_GDBM")),
        #[cfg(feature = "libmdbx")]
        StoreId::Libmdbx => Ok((mdbx::open, mdbx::version())),
        #[cfg(feature = "libmdbx")]
        StoreId::LibmdbxWritemap => Ok((mdbx::open_writemap, mdbx::version())),
        #[cfg(not(feature = "libmdbx"))]
        StoreId::Libmdbx | StoreId::LibmdbxWritemap => Err(OFF),
        #[cfg(feature = "lmdb")]
        StoreId::Lmdb => Ok((lmdb::open, lmdb::version())),
        #[cfg(feature = "lmdb")]
        StoreId::LmdbWritemap => Ok((lmdb::open_writemap, lmdb::version())),
        #[cfg(not(feature = "lmdb"))]
        StoreId::Lmdb | StoreId::LmdbWritemap => Err(OFF),
        #[cfg(feature = "redb")]
        StoreId::Redb => Ok((redb::open, "4".to_owned())),
        #[cfg(not(feature = "redb"))]
        StoreId::Redb => Err(OFF),
        #[cfg(feature = "sqlite")]
        StoreId::Sqlite => Ok((sqlite::open, sqlite::version())),
        #[cfg(not(feature = "sqlite"))]
        StoreId::Sqlite => Err(OFF),
        #[cfg(feature = "fjall")]
        StoreId::Fjall => Ok((fjall::open, "3".to_owned())),
        #[cfg(not(feature = "fjall"))]
        StoreId::Fjall => Err(OFF),
        StoreId::Shelve => Err("it is Python's, and has a script of its own"),
    }
}
