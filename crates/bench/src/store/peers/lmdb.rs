//! LMDB, through heed. Kill-safe: without its syncs, the commits are in the page cache. Its second form writes through the map.
#![allow(unsafe_code, reason = "heed leaves to its user that nobody else changes the file")]

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::{Failure, Result};

struct Lmdb {
    env: Env<WithoutTls>,
    db: Database<'static, Bytes, Bytes>,
}

pub(super) fn version() -> String {
    let v = heed::lmdb_version();
    format!("{}.{}.{}", v.major, v.minor, v.patch)
}

pub(super) fn open(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    open_with(dir, if kind == Kind::Kill { EnvFlags::NO_SYNC } else { EnvFlags::empty() })
}

pub(super) fn open_writemap(dir: &Path, _: Kind) -> Result<Box<dyn Kv>> {
    open_with(dir, EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP)
}

fn open_with(dir: &Path, flags: EnvFlags) -> Result<Box<dyn Kv>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(16 << 30);
    // SAFETY: without syncs a power cut may tear the file; the bench makes none, and the directory is its own.
    unsafe { options.flags(flags | EnvFlags::NO_READ_AHEAD) };
    // SAFETY: only this program's cells open the file, all through LMDB.
    let env = unsafe { options.open(dir)? };
    let tx = env.write_txn()?;
    let made = env.create_databases_and_commit(tx, |databases, tx| -> heed::Result<_> {
        databases.create_database::<Bytes, Bytes>(tx, None).map(CommitOrAbort::<_, ()>::Commit)
    });
    let CommitOrAbort::Commit(db) = made? else { return Err(Failure::new("no database was made")) };
    Ok(Box::new(Lmdb { env, db }))
}

impl Kv for Lmdb {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        let tx = self.env.read_txn()?;
        Ok(self.db.get(&tx, key)?.and_then(looked_at))
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        self.db.put(&mut tx, key, value)?;
        Ok(tx.commit()?)
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        for (key, value) in entries {
            self.db.put(&mut tx, &key, &value)?;
        }
        Ok(tx.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }
}
