//! heapfile: a hash map, or an ordered map, in an arena.

use std::path::Path;

use heapfile::collections::{BTreeMap, HashMap};
use heapfile::{Arena, Durability, View, WriteTxn};

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::{Failure, Result};

enum Map {
    Hashed(HashMap<[u8], [u8]>),
    Ordered(BTreeMap<[u8], [u8]>),
}

impl Map {
    #[inline]
    fn insert(&self, tx: &mut WriteTxn<'_>, key: &Key, value: &[u8]) -> heapfile::Result<bool> {
        match self {
            Self::Hashed(map) => map.insert(tx, key, value),
            Self::Ordered(map) => map.insert(tx, key, value),
        }
    }
}

struct Store {
    arena: Arena,
    map: Map,
}

pub(super) fn hashed(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    let arena = arena(dir, kind)?;
    let found = { arena.read()?.root::<HashMap<[u8], [u8]>>()? };
    let map = match found {
        Some(handle) => *arena.read()?.get(handle)?,
        None => {
            let mut tx = arena.write()?;
            let map = HashMap::new_in(&mut tx)?;
            let root = tx.alloc(&map)?;
            tx.set_root(root)?;
            tx.commit()?;
            map
        }
    };
    Ok(Box::new(Store { arena, map: Map::Hashed(map) }))
}

pub(super) fn ordered(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    let arena = arena(dir, kind)?;
    let found = { arena.read()?.root::<BTreeMap<[u8], [u8]>>()? };
    let map = match found {
        Some(handle) => *arena.read()?.get(handle)?,
        None => {
            let mut tx = arena.write()?;
            let map = BTreeMap::new_in(&mut tx)?;
            let root = tx.alloc(&map)?;
            tx.set_root(root)?;
            tx.commit()?;
            map
        }
    };
    Ok(Box::new(Store { arena, map: Map::Ordered(map) }))
}

fn arena(dir: &Path, kind: Kind) -> Result<Arena> {
    let durability = match kind {
        Kind::Kill => Durability::Process,
        Kind::Power => Durability::Power,
    };
    Ok(Arena::options().durability(durability).open_or_create(dir.join("store.heap"))?)
}

impl Kv for Store {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        let tx = self.arena.read()?;
        let value = match &self.map {
            Map::Hashed(map) => map.get(&tx, key)?,
            Map::Ordered(map) => map.get(&tx, key)?,
        };
        Ok(value.and_then(looked_at))
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut tx = self.arena.write()?;
        self.map.insert(&mut tx, key, value)?;
        Ok(tx.commit()?)
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        let mut tx = self.arena.write()?;
        for (key, value) in entries {
            self.map.insert(&mut tx, &key, &value)?;
        }
        tx.commit().map_err(|e| Failure::new(e.to_string()))
    }

    fn sync(&mut self) -> Result<()> {
        self.arena.sync()?;
        Ok(self.arena.checkpoint()?)
    }
}
