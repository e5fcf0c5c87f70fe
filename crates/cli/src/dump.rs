//! `heapfile dump`: one block byte for byte, or a list of all.
//!
//! Nothing is written while a read transaction is held, so that a slow reader of our output never holds up those who work with
//! the arena. The price: of an arena that is being changed, each part of a listing is as it was when that part was read.

use crate::progress::Bar;
use crate::units::{count, counted, parse_offset};
use crate::{Failure, Outcome, advice, found, info, output};
use heapfile::{Arena, BlockInfo, Error, Offset, View};
use serde_json::json;
use std::io::{IsTerminal, Write, stdout};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show a block, or list the roots and all blocks
///
/// An offset names a block by its first byte, as `info` and `dump` without offset show them. What `check` finds wrong is a
/// word or a page, mostly none of a block: `heapfile hexdump FILE OFFSET+64` shows that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 shown, 1 there is no such block or root, 2 an error.\n\n\
    Examples:\n  heapfile dump my.heap\n  heapfile dump my.heap 0x428080\n  heapfile dump my.heap --root document\n  \
    heapfile dump my.heap --root '' --raw > root.bin\n  heapfile dump my.heap 0x500000 --range 0x1000..0x1040")]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// Where the block begins, in bytes from the start of the file: decimal, or hex after 0x
    #[arg(value_parser = parse_offset, conflicts_with = "root")]
    offset: Option<u64>,
    /// The block that this root leads to; '' is the unnamed root
    #[arg(long, value_name = "NAME")]
    root: Option<String>,
    /// Only these bytes of the block
    #[arg(long, value_name = "FIRST..END", value_parser = parse_range)]
    range: Option<Range<u64>>,
    /// Write the bytes themselves to stdout
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Write JSON, bytes as hex
    #[arg(long)]
    json: bool,
}

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;
/// Blocks that are listed in one read transaction.
const BATCH: usize = 4096;

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || "give a range as FIRST..END, for instance 0..64".to_owned();
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let range = parse_offset(first)?..parse_offset(end)?;
    if range.start <= range.end { Ok(range) } else { Err(wrong()) }
}

pub(crate) fn run(args: Args) -> Outcome {
    let root = args.root.clone();
    show(args).or_else(|e| match (e.downcast_ref::<Error>(), root) {
        (Some(Error::NoSuchRoot { .. }), _) => Ok(found(&advice::told(e.as_ref()))),
        (Some(Error::BadOffset { .. }), Some(root)) => {
            Ok(found(&format!("the root {root:?} leads to no block: {e}")))
        }
        (Some(Error::BadOffset { .. }), None) => Ok(found(&e.to_string())),
        _ => Err(e),
    })
}

fn show(args: Args) -> Outcome {
    let arena = Arena::open_read_only(&args.file)?;
    let offset = match (args.offset, &args.root) {
        (Some(raw), _) => Offset::from_raw(raw),
        (None, Some(name)) => root(&arena, name)?,
        (None, None) if args.raw || args.range.is_some() => {
            return Err("--raw and --range are about one block: give its offset, or --root".into());
        }
        (None, None) => {
            if args.json {
                list_json(&arena)?;
            } else {
                list(&arena)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let block = find(&arena, offset)?;
    let range = args.range.unwrap_or(0..block.len);
    // Refused before anything is written.
    if range.end > block.len {
        let (Range { start, end }, len) = (range, counted(block.len, "byte"));
        return Err(format!("bytes {start}..{end} reach outside the block, which has {len}").into());
    }
    arena.read()?.bytes_range(block.offset, range.end..range.end)?;
    let mut out = output::buffered();
    if args.raw {
        pieces(&arena, &block, range, |_, bytes| out.write_all(bytes))?;
    } else if args.json {
        block_json(&mut out, &arena, &block, range)?;
    } else {
        writeln!(
            out,
            "block {}: {}, room for {}",
            block.offset,
            counted(block.len, "byte"),
            count(block.capacity)
        )?;
        let mut lines = HexLines::default();
        pieces(&arena, &block, range, |at, bytes| lines.write(&mut out, at, bytes))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn root(arena: &Arena, name: &str) -> Result<Offset<[u8]>, Failure> {
    match arena.read()?.root_info(name)? {
        Some(root) => Ok(root.offset),
        None => Err(Error::NoSuchRoot { name: name.to_owned() }.into()),
    }
}

/// The block that begins at `offset`.
fn find(arena: &Arena, offset: Offset<[u8]>) -> Result<BlockInfo, Failure> {
    Ok(arena.read()?.block_info(offset)?)
}

/// Calls `each` with the bytes of a block, piece by piece, and where each piece begins.
fn pieces(
    arena: &Arena,
    block: &BlockInfo,
    range: Range<u64>,
    mut each: impl FnMut(u64, &[u8]) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut bar =
        if stdout().is_terminal() { Bar::hidden() } else { Bar::new("dumping", range.end - range.start) };
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + PIECE);
        let piece = {
            let tx = arena.read()?;
            // Found before, so that it is no offset of the user's any more that leads nowhere.
            match tx.block_info(block.offset) {
                Ok(now) if now.len == block.len => tx.bytes_range(block.offset, at..end)?.to_vec(),
                Ok(_) | Err(Error::BadOffset { .. }) => {
                    return Err("the block was changed while it was read: try again".into());
                }
                Err(e) => return Err(e.into()),
            }
        };
        each(at, &piece)?;
        bar.set(end - range.start);
        at = end;
    }
    Ok(())
}

fn block_json(
    out: &mut impl Write,
    arena: &Arena,
    block: &BlockInfo,
    range: Range<u64>,
) -> Result<(), Failure> {
    let (at, len, capacity) = (block.offset.raw(), block.len, block.capacity);
    write!(out, "{{\"offset\": {at}, \"len_bytes\": {len}, \"capacity_bytes\": {capacity}, ")?;
    write!(out, "\"first\": {}, \"end\": {}, \"hex\": \"", range.start, range.end)?;
    pieces(arena, block, range, |_, bytes| bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")))?;
    Ok(writeln!(out, "\"}}")?)
}

/// Lines of 16 bytes: where they begin in the block, in hex, as text. Lines that repeat the one before are a single `*`.
#[derive(Default)]
struct HexLines {
    last: Vec<u8>,
    skipping: bool,
}

impl HexLines {
    /// All pieces but the last have a multiple of 16 bytes.
    fn write(&mut self, out: &mut impl Write, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        for (index, line) in bytes.chunks(16).enumerate() {
            let repeats = line == self.last;
            if !repeats {
                Self::line(out, at + index as u64 * 16, line)?;
                self.last.clear();
                self.last.extend_from_slice(line);
            } else if !self.skipping {
                writeln!(out, "*")?;
            }
            self.skipping = repeats;
        }
        Ok(())
    }

    fn line(out: &mut impl Write, at: u64, line: &[u8]) -> std::io::Result<()> {
        write!(out, "{at:08x} ")?;
        for index in 0..16 {
            let gap = if index == 8 { " " } else { "" };
            match line.get(index) {
                Some(byte) => write!(out, "{gap} {byte:02x}")?,
                None => write!(out, "{gap}   ")?,
            }
        }
        let text: String = line
            .iter()
            .map(|&byte| if byte == b' ' || byte.is_ascii_graphic() { byte as char } else { '.' })
            .collect();
        writeln!(out, "  |{text}|")
    }
}

/// Calls `each` with every block, in the order of their offsets.
fn blocks(arena: &Arena, mut each: impl FnMut(&BlockInfo) -> std::io::Result<()>) -> Result<(), Failure> {
    let stats = arena.stats()?;
    let mut bar = if stdout().is_terminal() { Bar::hidden() } else { Bar::new("listing", stats.heap_bytes) };
    let mut from = Offset::null();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        {
            let tx = arena.read()?;
            while batch.len() < BATCH
                && let Some(block) = tx.next_block(from)?
            {
                from = Offset::from_raw(block.offset.raw() + 1);
                batch.push(block);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        batch.iter().try_for_each(&mut each)?;
        bar.set(from.raw().saturating_sub(stats.heap_offset));
        batch.clear();
    }
}

fn list(arena: &Arena) -> Result<(), Failure> {
    let roots = info::roots(arena)?;
    let mut out = output::buffered();
    output::row(&mut out, "roots", &count(roots.len() as u64))?;
    info::print_roots(&mut out, &roots)?;
    output::row(&mut out, "blocks", "offset, bytes, room for")?;
    let mut number = 0;
    blocks(arena, |block| {
        number += 1;
        writeln!(
            out,
            "    {:<12}  {:>12}  {:>12}",
            block.offset.to_string(),
            count(block.len),
            count(block.capacity)
        )
    })?;
    writeln!(out, "    {}", counted(number, "block"))?;
    Ok(out.flush()?)
}

fn list_json(arena: &Arena) -> Result<(), Failure> {
    let roots: Vec<_> = info::roots(arena)?.iter().map(info::Root::to_json).collect();
    let mut out = output::buffered();
    write!(out, "{{\"roots\": {}, \"blocks\": [", json!(roots))?;
    let mut separator = "\n";
    blocks(arena, |block| {
        let (at, len, capacity) = (block.offset.raw(), block.len, block.capacity);
        write!(out, "{separator}{{\"offset\": {at}, \"len_bytes\": {len}, \"capacity_bytes\": {capacity}}}")?;
        separator = ",\n";
        Ok(())
    })?;
    writeln!(out, "\n]}}")?;
    Ok(out.flush()?)
}
