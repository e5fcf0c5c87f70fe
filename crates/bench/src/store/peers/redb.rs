//! redb, durable at each commit.

use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition};

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::Result;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

struct Redb(Database);

pub(super) fn open(dir: &Path, _: Kind) -> Result<Box<dyn Kv>> {
    let db = Database::create(dir.join("store.redb"))?;
    let tx = db.begin_write()?;
    tx.open_table(TABLE)?;
    tx.commit()?;
    Ok(Box::new(Redb(db)))
}

impl Kv for Redb {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        let tx = self.0.begin_read()?;
        let table = tx.open_table(TABLE)?;
        Ok(table.get(&key[..])?.and_then(|value| looked_at(value.value())))
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let tx = self.0.begin_write()?;
        tx.open_table(TABLE)?.insert(&key[..], value)?;
        Ok(tx.commit()?)
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        let tx = self.0.begin_write()?;
        {
            let mut table = tx.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(&key[..], &value[..])?;
            }
        }
        Ok(tx.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}
