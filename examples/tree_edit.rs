//! A tree at the beginning of a large file; one of its texts becomes longer, and nothing behind it moves.
//!
//! The file holds `<a><b><c>Foo</c></b></a>`, each element a block, and behind it a remainder of 256 MiB (give another number of
//! MiB as argument: 4096 if the disk has room). Making `Foobar` of `Foo` in a text file would mean to write all of that again. Here the
//! text's block is freed, one for the longer text allocated, and its offset stored in node `c`.
//!
//!     cargo run --release --example tree_edit

use bytemuck::{Pod, Zeroable};
use heapfile::{Arena, Offset, View, WriteTxn};
use std::mem::offset_of;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// An element. Offsets take the place of pointers: 8 bytes each, valid in every process and after every restart.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Node {
    name: Offset<[u8]>,
    text: Offset<[u8]>,
    child: Offset<Node>,
}

/// What is behind the tree, with a byte of it that we can recognise.
const LAST_BYTE: &[u8] = b"!";

fn main() -> Result<()> {
    let mebibytes = std::env::args().nth(1).map_or(Ok(256), |argument| argument.parse())?;
    run(mebibytes << 20)
}

/// The example, with so many bytes behind the tree.
pub fn run(remainder_bytes: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let arena = Arena::create(dir.path().join("tree.heap"))?;

    // The tree, innermost element first: an offset has to be known before it can be stored.
    let mut tx = arena.write()?;
    let c = element(&mut tx, "c", "Foo", Offset::null())?;
    let b = element(&mut tx, "b", "", c)?;
    let a = element(&mut tx, "a", "", b)?;
    tx.set_root(a)?;
    let remainder = tx.alloc_unset(remainder_bytes, 8)?;
    tx.write_at(remainder, remainder_bytes - 1, LAST_BYTE)?;
    tx.create_root("remainder", remainder)?;
    tx.commit()?;
    arena.checkpoint()?;
    assert_eq!(export(&arena.read()?, a)?, "<a><b><c>Foo</c></b></a>");

    // The edit. All of it happens at the commit, or nothing, even if the power fails meanwhile.
    let before = bytes_written()?;
    let mut tx = arena.write()?;
    let old = tx.get(c)?.text;
    tx.free(old)?;
    let new = tx.alloc_bytes(b"Foobar")?;
    tx.write_at(c.cast(), offset_of!(Node, text) as u64, bytemuck::bytes_of(&new))?;
    tx.commit()?;
    let written = bytes_written()? - before;

    let tx = arena.read()?;
    assert_eq!(export(&tx, a)?, "<a><b><c>Foobar</c></b></a>");
    assert_eq!(tx.named_root("remainder")?, Some(remainder), "it is where it was");
    assert_eq!(tx.bytes_range(remainder, remainder_bytes - 1..remainder_bytes)?, LAST_BYTE);
    // Every change is written twice: to the log, which makes it safe, and to its place.
    assert!(written < 64 * 8, "{written} bytes are more than a few dozen words");
    println!("<a><b><c>Foo</c></b></a>, and {} MiB behind it", remainder_bytes >> 20);
    println!("{}: {written} bytes written, in a file of {}", export(&tx, a)?, arena.stats()?.file_bytes);
    Ok(())
}

fn element(
    tx: &mut WriteTxn<'_>,
    name: &str,
    text: &str,
    child: Offset<Node>,
) -> heapfile::Result<Offset<Node>> {
    let name = tx.alloc_bytes(name.as_bytes())?;
    let text = tx.alloc_bytes(text.as_bytes())?;
    tx.alloc(&Node { name, text, child })
}

fn export(tx: &impl View, at: Offset<Node>) -> Result<String> {
    if at.is_null() {
        return Ok(String::new());
    }
    let node = tx.get(at)?;
    let name = std::str::from_utf8(tx.bytes(node.name)?)?;
    let text = std::str::from_utf8(tx.bytes(node.text)?)?;
    Ok(format!("<{name}>{text}{}</{name}>", export(tx, node.child)?))
}

/// Bytes that this process ever passed to write calls, as Linux counts them.
fn bytes_written() -> Result<u64> {
    let counts = std::fs::read_to_string("/proc/self/io")?;
    let line =
        counts.lines().find_map(|line| line.strip_prefix("wchar: ")).ok_or("no wchar in /proc/self/io")?;
    Ok(line.parse()?)
}
