//! SQLite, WAL; `synchronous` FULL where commits are durable, else OFF. A table without row numbers, prepared statements.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::Result;

struct Sqlite(Connection);

const PUT: &str = "INSERT INTO entries VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";

pub(super) fn version() -> String {
    rusqlite::version().to_owned()
}

pub(super) fn open(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    let db = Connection::open(dir.join("store.sqlite"))?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", if kind == Kind::Power { "FULL" } else { "OFF" })?;
    db.pragma_update(None, "cache_size", -262_144)?;
    db.pragma_update(None, "mmap_size", 16i64 << 30)?;
    db.execute_batch("CREATE TABLE IF NOT EXISTS entries (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")?;
    Ok(Box::new(Sqlite(db)))
}

impl Kv for Sqlite {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        let mut get = self.0.prepare_cached("SELECT v FROM entries WHERE k = ?1")?;
        let mut rows = get.query([&key[..]])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(row.get_ref(0)?.as_blob().ok().and_then(looked_at))
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.0.prepare_cached(PUT)?.execute(params![&key[..], value])?;
        Ok(())
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        let tx = self.0.transaction()?;
        {
            let mut put = tx.prepare_cached(PUT)?;
            for (key, value) in entries {
                put.execute(params![&key[..], &value[..]])?;
            }
        }
        Ok(tx.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}
