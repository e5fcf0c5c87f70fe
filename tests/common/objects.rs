//! A script of transactions on a store: what number n changes follows from n, so that the state after it can be told without the store.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use heapfile::store::{Kind, Store, Table};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Result, View, WriteTxn};
use std::collections::BTreeMap;

/// Tables and their entries.
pub type Model = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

const TABLES: [&str; 3] = ["ordered", "hashed", "passing"];

#[derive(Debug, Clone)]
enum Change {
    Put(&'static str, Vec<u8>, Vec<u8>),
    Delete(&'static str, Vec<u8>),
    Drop(&'static str),
}

/// What transaction `n` changes.
fn changes(n: u64) -> Vec<Change> {
    let mut rng = SplitMix64(n ^ 0x0B7EC7);
    let count = if n.is_multiple_of(7) { 60 } else { 1 + rng.below(6) };
    let change = |_| {
        let table = TABLES[rng.below(3) as usize];
        let key = match rng.below(8) {
            0 => vec![b'k'; 500 + rng.below(30) as usize],
            _ => format!("key {}", rng.below(120)).into_bytes(),
        };
        let len = match rng.below(12) {
            0 => rng.below(9000),
            1 => 1000 + rng.below(50),
            _ => rng.below(80),
        };
        match rng.below(20) {
            0 if n.is_multiple_of(5) => Change::Drop("passing"),
            0..=5 => Change::Delete(table, key),
            _ => Change::Put(table, key, vec![n as u8; len as usize]),
        }
    };
    (0..count).map(change).collect()
}

fn open(tx: &mut WriteTxn<'_>, name: &str) -> Result<Table> {
    match Table::open(tx, name)? {
        Some(table) => Ok(table),
        None if name == "hashed" => Table::create(tx, name, Kind::Hashed),
        None => Table::open_or_create(tx, name),
    }
}

/// Does transaction `n`, and counts it.
pub fn play(store: &Store, n: u64) -> Result<()> {
    let mut tx = store.write()?;
    edit(&mut tx, n)?;
    tx.commit()
}

/// Does all that transaction `n` does, but for its commit.
pub fn edit(tx: &mut WriteTxn<'_>, n: u64) -> Result<()> {
    for change in changes(n) {
        match change {
            Change::Put(table, key, value) => drop(open(tx, table)?.put(tx, &key, &value)?),
            Change::Delete(table, key) => drop(open(tx, table)?.delete(tx, &key)?),
            Change::Drop(table) => drop(Table::drop_table(tx, table)?),
        }
    }
    Table::open_or_create(tx, "count")?.put_plain(tx, b"n", &n).map(drop)
}

/// How many transactions the store has seen.
pub fn count(store: &Store) -> Result<u64> {
    count_in(&store.read()?)
}

/// How many there are in what the transaction reads.
pub fn count_in(tx: &impl View) -> Result<u64> {
    let Some(table) = Table::open(tx, "count")? else { return Ok(0) };
    Ok(table.get_plain::<u64>(tx, b"n")?.copied().unwrap_or(0))
}

/// The state after transaction `n`.
pub fn after(n: u64) -> Model {
    let mut model = Model::new();
    (1..=n).for_each(|n| step(&mut model, n));
    model
}

/// The state after transaction `n` from that before it.
pub fn step(model: &mut Model, n: u64) {
    for change in changes(n) {
        match change {
            Change::Put(table, key, value) => {
                model.entry(table.to_owned()).or_default().insert(key, value);
            }
            Change::Delete(table, key) => {
                model.entry(table.to_owned()).or_default().remove(&key);
            }
            Change::Drop(table) => {
                model.remove(table);
            }
        }
    }
    model.entry("count".to_owned()).or_default().insert(b"n".to_vec(), n.to_le_bytes().to_vec());
}

/// What is wrong with the store, if it should hold this. See also [`left_over`].
pub fn difference(arena: &Arena, model: &Model) -> Option<String> {
    let store = Store::with(arena.clone());
    match compare(&store, model) {
        Ok(None) => match arena.check() {
            Ok(report) if report.is_clean() => None,
            Ok(report) => Some(format!("{:?}", report.findings)),
            Err(e) => Some(e.to_string()),
        },
        Ok(Some(what)) => Some(what),
        Err(e) => Some(e.to_string()),
    }
}

fn compare(store: &Store, model: &Model) -> Result<Option<String>> {
    store.check()?;
    let tables = store.tables()?;
    if !tables.iter().eq(model.keys()) {
        return Ok(Some(format!("tables {tables:?}, not {:?}", model.keys())));
    }
    difference_in(&store.read()?, model)
}

/// How what the transaction reads differs from the model, if it does.
pub fn difference_in(tx: &impl View, model: &Model) -> Result<Option<String>> {
    for name in TABLES.into_iter().filter(|name| !model.contains_key(*name)) {
        if Table::open(tx, name)?.is_some() {
            return Ok(Some(format!("there is a table {name:?}")));
        }
    }
    for (name, entries) in model {
        let Some(table) = Table::open(tx, name)? else {
            return Ok(Some(format!("there is no table {name:?}")));
        };
        table.check(tx)?;
        if table.len(tx)? != entries.len() as u64 {
            return Ok(Some(format!("{} entries in {name:?}, not {}", table.len(tx)?, entries.len())));
        }
        for (key, value) in entries {
            if table.get(tx, key)? != Some(value) {
                return Ok(Some(format!(
                    "another value of {:?} in {name:?}",
                    key.escape_ascii().to_string()
                )));
            }
        }
    }
    Ok(None)
}

/// Blocks of a store without tables: the roots' directory and its record, the store's directory, the header of the map of names.
const OWN: usize = 4;

/// Blocks that no table leads to, if there are any beside the store's own: what stays when all tables are dropped, in a transaction that is rolled
/// back. The store has the model's tables, and nothing else is in the arena. What is left over once stays, so it is enough to ask when all else is
/// done.
pub fn left_over(arena: &Arena, model: &Model) -> Option<String> {
    let (own, found) = (if model.is_empty() { 0 } else { OWN }, blocks_without_tables(arena, model));
    match found {
        Ok(found) if found == own => None,
        Ok(found) => Some(format!("{found} blocks are there without any table, not {own}")),
        Err(e) => Some(format!("the tables cannot be dropped: {e}")),
    }
}

fn blocks_without_tables(arena: &Arena, model: &Model) -> Result<usize> {
    let mut tx = arena.write()?;
    for name in model.keys() {
        Table::drop_table(&mut tx, name)?;
    }
    let blocks: Result<Vec<_>> = tx.blocks().collect();
    Ok(blocks?.len())
}
