//! What one program stores the next one finds: structs, single fields, bytes of any kind, through a table of contents.
//!
//! The first run makes the file and fills it, the second finds everything again and changes some of it in place. Without argument
//! both happen in a temporary directory; with a path, each run of the program is one of them.
//!
//!     cargo run --release --example persistence
//!     cargo run --release --example persistence my.heap

use bytemuck::{Pod, Zeroable};
use heapfile::{Arena, Offset, View, WriteTxn};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Three numbers, laid out as C would.
#[derive(Debug, PartialEq, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Record {
    width: u32,
    height: u32,
    depth: u32,
}

#[derive(Debug, PartialEq, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

/// A line of the table of contents.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    name: Offset<[u8]>,
    block: Offset<[u8]>,
}

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(path) => run(&PathBuf::from(path)),
        None => {
            let dir = tempfile::tempdir()?;
            let path = dir.path().join("persistence.heap");
            run(&path)?;
            run(&path)
        }
    }
}

/// One run of the program: stores if nothing is there, else finds.
pub fn run(path: &Path) -> Result<()> {
    let arena = Arena::open_or_create(path)?;
    let is_new = arena.read()?.root::<[Entry]>()?.is_none();
    if is_new { store(&arena) } else { find(&arena) }
}

fn store(arena: &Arena) -> Result<()> {
    let mut tx = arena.write()?;
    // A struct in one block.
    let record = tx.alloc(&Record { width: 2, height: 4, depth: 6 })?;
    add(&mut tx, "record", record)?;
    // One block for each field, and a block with their offsets: each can be replaced alone, by one of any length.
    let fields = [tx.alloc(&2u32)?, tx.alloc(&4u32)?, tx.alloc(&6u32)?];
    let fields = tx.alloc_slice(&fields)?;
    add(&mut tx, "fields", fields)?;
    let point = tx.alloc(&Point { x: 1.5, y: 2.5 })?;
    add(&mut tx, "point", point)?;
    // Bytes that only their owner understands: a pickle of Python's, a picture, an encrypted text.
    let opaque = tx.alloc_bytes(b"\x80\x04K\x02K\x04K\x06\x87\x94.")?;
    add(&mut tx, "opaque", opaque)?;
    // Until here nobody can see any of it; from here on it survives even loss of power.
    tx.commit()?;
    println!("stored 4 things in {}", arena.path().display());
    Ok(())
}

fn find(arena: &Arena) -> Result<()> {
    {
        let tx = arena.read()?;
        assert_eq!(tx.get(look_up::<Record>(&tx, "record")?)?, &Record { width: 2, height: 4, depth: 6 });
        assert_eq!(tx.bytes(look_up(&tx, "opaque")?)?, b"\x80\x04K\x02K\x04K\x06\x87\x94.");
        // An offset is checked whenever it is used: this block is no `Point`.
        assert!(tx.get(look_up::<Point>(&tx, "record")?).is_err());
    }
    let mut tx = arena.write()?;
    // Fields of a struct are changed in place.
    let point = look_up::<Point>(&tx, "point")?;
    let before = *tx.get(point)?;
    tx.get_mut(point)?.y += 1.0;
    assert_eq!(tx.get(point)?, &Point { y: before.y + 1.0, ..before });
    // The second field alone.
    let fields = look_up::<[Offset<u32>]>(&tx, "fields")?;
    let second = tx.slice(fields)?[1];
    *tx.get_mut(second)? += 1;
    // The table of contents grows, and moves if it has to: the root then leads to the new one.
    let count = tx.slice(table(&tx)?)?.len();
    let note = tx.alloc_bytes(format!("this was run {} times", count - 2).as_bytes())?;
    add(&mut tx, &format!("note {}", count - 3), note)?;
    tx.commit()?;

    let tx = arena.read()?;
    for entry in tx.slice(table(&tx)?)? {
        println!("{:<8} {:02x?}", String::from_utf8_lossy(tx.bytes(entry.name)?), tx.bytes(entry.block)?);
    }
    assert_eq!(tx.slice(table(&tx)?)?.len(), count + 1);
    Ok(())
}

fn table(tx: &impl View) -> Result<Offset<[Entry]>> {
    Ok(tx.root()?.ok_or("there is no table of contents")?)
}

/// Enters a block into the table of contents. For a few things the arena's own named roots do the same.
fn add<T: ?Sized>(tx: &mut WriteTxn<'_>, name: &str, block: Offset<T>) -> Result<()> {
    let name = tx.alloc_bytes(name.as_bytes())?;
    let entry = Entry { name, block: block.cast() };
    let table = match tx.root::<[Entry]>()? {
        None => tx.alloc_slice(&[entry])?,
        Some(old) => {
            let count = tx.slice(old)?.len();
            let grown = tx.resize(old, count as u64 + 1)?;
            tx.slice_mut(grown)?[count] = entry;
            grown
        }
    };
    Ok(tx.set_root(table)?)
}

fn look_up<T: ?Sized>(tx: &impl View, name: &str) -> Result<Offset<T>> {
    for entry in tx.slice(table(tx)?)? {
        if tx.bytes(entry.name)? == name.as_bytes() {
            return Ok(entry.block.cast());
        }
    }
    Err(format!("{name} is not in the table of contents").into())
}
