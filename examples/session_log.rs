//! What a user does is recorded as it happens; others read each item, acknowledge it, and its space is used again.
//!
//! A plugin records keys, clicks and URLs of any length. The items are a linked list of blocks that begins at the root. Whoever has
//! the file open finds all of it through the root: no function here knows more than the arena. Each change is a transaction, so a party
//! that is killed leaves a list that is whole.
//!
//!     cargo run --release --example session_log

use bytemuck::{Pod, Zeroable};
use heapfile::{Arena, Durability, Offset, View};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// At the root.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Log {
    oldest: Offset<Item>,
    newest: Offset<Item>,
    /// Items ever recorded.
    recorded: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Item {
    next: Offset<Item>,
    text: Offset<[u8]>,
    /// Counted from 1 on.
    number: u64,
    kind: u32,
    acknowledged: u32,
}

const KEY: u32 = 1;
const CLICK: u32 = 2;
const URL: u32 = 3;

fn main() -> Result<()> {
    run()
}

/// The example.
pub fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Kills are what matters here, not power cuts: a commit costs no flush of the disk.
    let options = Arena::options().durability(Durability::Process);
    let arena = options.create(dir.path().join("session.heap"))?;
    let mut tx = arena.write()?;
    let log = tx.alloc(&Log::zeroed())?;
    tx.set_root(log)?;
    tx.commit()?;

    // The plugin records; nothing is cut off.
    let long_url = format!("https://example.org/?q={}", "x".repeat(100_000));
    record(&arena, KEY, "Ctrl+S")?;
    record(&arena, CLICK, "120,48")?;
    record(&arena, URL, &long_url)?;

    // Another program reads each item and acknowledges it.
    let items = pending(&arena)?;
    let texts: Vec<&str> = items.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(texts, ["Ctrl+S", "120,48", &long_url]);
    for (at, kind, text) in &items {
        let name = ["", "key", "click", "url"][*kind as usize];
        println!("{name:<6} {} bytes: {:.40}", text.len(), text);
        acknowledge(&arena, *at)?;
    }
    assert!(pending(&arena)?.is_empty());
    assert_eq!(recycle(&arena)?, 3);

    // Hours of that take no more space than the items that nobody has acknowledged yet.
    let blocks = arena.check()?.counts.blocks;
    let mut most_bytes = 0;
    for round in 0..200 {
        for key in 0..10 {
            record(&arena, KEY, &format!("round {round}, key {key}"))?;
        }
        record(&arena, URL, &long_url[..1000 + round * 300])?;
        for (at, ..) in pending(&arena)? {
            acknowledge(&arena, at)?;
        }
        recycle(&arena)?;
        most_bytes = arena.stats()?.file_bytes.max(most_bytes);
    }
    assert_eq!(arena.check()?.counts.blocks, blocks, "all of them were freed");
    let tx = arena.read()?;
    let recorded = tx.get(log)?.recorded;
    assert_eq!(recorded, 3 + 200 * 11);
    println!("{recorded} items recorded, acknowledged and recycled in a file of {most_bytes} bytes");
    assert!(most_bytes < 4 << 20);
    Ok(())
}

/// Appends an item.
fn record(arena: &Arena, kind: u32, text: &str) -> Result<()> {
    let mut tx = arena.write()?;
    let at = tx.root::<Log>()?.ok_or("no log")?;
    let log = *tx.get(at)?;
    let number = log.recorded + 1;
    let text = tx.alloc_bytes(text.as_bytes())?;
    let item = tx.alloc(&Item { next: Offset::null(), text, number, kind, acknowledged: 0 })?;
    if log.newest.is_null() {
        tx.get_mut(at)?.oldest = item;
    } else {
        tx.get_mut(log.newest)?.next = item;
    }
    let log = tx.get_mut(at)?;
    log.newest = item;
    log.recorded = number;
    Ok(tx.commit()?)
}

/// All items that are not acknowledged: where they are, of what kind, their texts. Copies, so that nobody waits for what the caller does with them.
fn pending(arena: &Arena) -> Result<Vec<(Offset<Item>, u32, String)>> {
    let tx = arena.read()?;
    let mut items = Vec::new();
    let mut at = tx.get(tx.root::<Log>()?.ok_or("no log")?)?.oldest;
    while !at.is_null() {
        let item = tx.get(at)?;
        if item.acknowledged == 0 {
            items.push((at, item.kind, String::from_utf8(tx.bytes(item.text)?.to_vec())?));
        }
        at = item.next;
    }
    Ok(items)
}

/// Marks an item as read.
fn acknowledge(arena: &Arena, item: Offset<Item>) -> Result<()> {
    let mut tx = arena.write()?;
    tx.get_mut(item)?.acknowledged = 1;
    Ok(tx.commit()?)
}

/// Frees the acknowledged items up to the first that is not; how many.
fn recycle(arena: &Arena) -> Result<u64> {
    let mut tx = arena.write()?;
    let at = tx.root::<Log>()?.ok_or("no log")?;
    let mut log = *tx.get(at)?;
    let mut freed = 0;
    while !log.oldest.is_null() {
        let item = *tx.get(log.oldest)?;
        if item.acknowledged == 0 {
            break;
        }
        tx.free(item.text)?;
        tx.free(log.oldest)?;
        log.oldest = item.next;
        freed += 1;
    }
    if log.oldest.is_null() {
        log.newest = Offset::null();
    }
    *tx.get_mut(at)? = log;
    tx.commit()?;
    Ok(freed)
}
