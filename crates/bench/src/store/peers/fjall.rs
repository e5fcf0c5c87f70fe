//! fjall: its journal goes to the page cache at each commit or, where commits are durable, to the disk.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::Result;

struct Fjall {
    db: Database,
    entries: Keyspace,
    durable: bool,
}

pub(super) fn open(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    let db = Database::builder(dir).cache_size(256 << 20).open()?;
    let entries = db.keyspace("entries", KeyspaceCreateOptions::default)?;
    Ok(Box::new(Fjall { db, entries, durable: kind == Kind::Power }))
}

impl Kv for Fjall {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        Ok(self.entries.get(key)?.and_then(|value| looked_at(&value)))
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.entries.insert(&key[..], value)?;
        if self.durable {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        let mode = if self.durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.db.batch().durability(Some(mode));
        for (key, value) in entries {
            batch.insert(&self.entries, &key[..], &value[..]);
        }
        Ok(batch.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        self.entries.rotate_memtable_and_wait()?;
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
