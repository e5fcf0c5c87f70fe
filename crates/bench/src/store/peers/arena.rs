//! heapfile: a store with one table, hashed or ordered.

use std::path::Path;

use heapfile::store::{self, Store, Table};
use heapfile::{Arena, Durability, Options};

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::Result;

const TABLE: &str = "entries";

pub(super) fn hashed(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    open(dir, kind, store::Kind::Hashed, Arena::options())
}

pub(super) fn ordered(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    open(dir, kind, store::Kind::Ordered, Arena::options())
}

pub(super) fn long_log(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    open(dir, kind, store::Kind::Hashed, Arena::options().log_size(256 << 20))
}

fn open(dir: &Path, kind: Kind, table: store::Kind, options: Options) -> Result<Box<dyn Kv>> {
    let durability = match kind {
        Kind::Kill => Durability::Process,
        Kind::Power => Durability::Power,
    };
    let store = Store::with(options.durability(durability).open_or_create(dir.join("store.heap"))?);
    if store.tables()?.is_empty() {
        let mut tx = store.write()?;
        Table::create(&mut tx, TABLE, table)?;
        tx.commit()?;
    }
    Ok(Box::new(store))
}

impl Kv for Store {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        Ok(self.get_with(TABLE, key, looked_at)?.flatten())
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Store::put(self, TABLE, key, value)?;
        Ok(())
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        let mut tx = self.write()?;
        let table = Table::open_or_create(&mut tx, TABLE)?;
        table.extend(&mut tx, entries)?;
        Ok(tx.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        self.arena().sync()?;
        Ok(self.arena().checkpoint()?)
    }
}
