//! libmdbx. Kill-safe: in its mode without syncs. Its second form writes through the map.

use std::borrow::Cow;
use std::path::Path;

use libmdbx::{
    Database, DatabaseKind, DatabaseOptions, Mode, NoWriteMap, ReadWriteOptions, SyncMode, Table, WriteFlags,
    WriteMap,
};

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::{Failure, Result};

/// The table's handle borrows from the database; both live as long as the cell.
struct Mdbx<E: DatabaseKind> {
    db: &'static Database<E>,
    table: Table<'static>,
}

pub(super) fn version() -> String {
    "crate 0.9".to_owned()
}

pub(super) fn open(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    open_with::<NoWriteMap>(dir, if kind == Kind::Kill { SyncMode::UtterlyNoSync } else { SyncMode::Durable })
}

pub(super) fn open_writemap(dir: &Path, _: Kind) -> Result<Box<dyn Kv>> {
    open_with::<WriteMap>(dir, SyncMode::UtterlyNoSync)
}

fn open_with<E: DatabaseKind>(dir: &Path, sync_mode: SyncMode) -> Result<Box<dyn Kv>>
where
    Mdbx<E>: Kv,
{
    let options = DatabaseOptions {
        mode: Mode::ReadWrite(ReadWriteOptions {
            sync_mode,
            max_size: Some(16 << 30),
            growth_step: Some(64 << 20),
            ..Default::default()
        }),
        no_rdahead: true,
        ..Default::default()
    };
    let db: &'static Database<E> = Box::leak(Box::new(Database::open_with_options(dir, options)?));
    let tx = db.begin_rw_txn()?;
    tx.prime_for_permaopen(tx.create_table(None, Default::default())?);
    let (_, mut tables) = tx.commit_and_rebind_open_dbs()?;
    let table = tables.pop().ok_or_else(|| Failure::new("no table"))?;
    Ok(Box::new(Mdbx { db, table }))
}

impl<E: DatabaseKind> Kv for Mdbx<E> {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        let tx = self.db.begin_ro_txn()?;
        Ok(tx.get::<Cow<'_, [u8]>>(&self.table, key)?.as_deref().and_then(looked_at))
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let tx = self.db.begin_rw_txn()?;
        tx.put(&self.table, key, value, WriteFlags::UPSERT)?;
        tx.commit()?;
        Ok(())
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        let tx = self.db.begin_rw_txn()?;
        for (key, value) in entries {
            tx.put(&self.table, key, value, WriteFlags::UPSERT)?;
        }
        tx.commit()?;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.db.sync(true)?;
        Ok(())
    }
}
