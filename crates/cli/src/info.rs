//! `heapfile info`: sizes, counts and roots of an arena.

use crate::units::{count, counted, hex, size};
use crate::usage::tail_bytes;
use crate::{Failure, Outcome, output};
use heapfile::{Arena, Durability, Error, Handle, Locking, Offset, Options, RootInfo, Stats, View};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show sizes, counts and roots of an arena
///
/// Costs no walk through the heap: quick on any file. What a killed process left unfinished is completed first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  heapfile info my.heap\n  heapfile info --json my.heap | jq .free_bytes")]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    show(&Options::new().accept_unsynced(true).open_read_only(&args.file)?, args.json)
}

/// Describes an arena on stdout.
pub(crate) fn show(arena: &Arena, as_json: bool) -> Outcome {
    // Who has the file open can be told even while somebody stands in everybody's way: before anything that waits.
    let others = others(arena)?;
    let (stats, roots) = match arena.stats().and_then(|stats| Ok((stats, roots(arena)?))) {
        Err(busy @ Error::Busy { .. }) if !as_json => {
            let mut out = output::buffered();
            print_others(&mut out, &others)?;
            out.flush()?;
            return Err(busy.into());
        }
        other => other?,
    };
    if as_json {
        output::json(&to_json(arena, &stats, &roots, &others))?;
    } else {
        let mut out = output::buffered();
        print(&mut out, arena, &stats, &roots)?;
        print_others(&mut out, &others)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The live handles on the file, but for this command's own.
pub(crate) fn others(arena: &Arena) -> Result<Vec<Handle>, Failure> {
    let own = std::process::id();
    Ok(arena.handles()?.into_iter().filter(|handle| handle.pid != own).collect())
}

/// One line for each process that has the file open: what it holds and what it waits for.
pub(crate) fn print_others(out: &mut impl Write, others: &[Handle]) -> std::io::Result<()> {
    output::row(out, "open in", &counted(others.len() as u64, "other handle"))?;
    for handle in others {
        let mut does = Vec::new();
        if handle.holds_lock {
            does.push(if handle.shuts_gate { "commits".to_owned() } else { "writes".to_owned() });
        }
        if handle.readers > 0 {
            does.push(format!("reads ({})", count(handle.readers)));
        }
        if handle.waiting_writers > 0 {
            does.push(format!("waits to write ({})", count(handle.waiting_writers)));
        }
        if handle.waiting_readers > 0 {
            does.push(format!("waits to read ({})", count(handle.waiting_readers)));
        }
        let does = if does.is_empty() { "idle".to_owned() } else { does.join(", ") };
        writeln!(out, "    process {:<8}  slot {:<4} {does}", handle.pid, handle.slot)?;
    }
    Ok(())
}

/// A root, and the length of its block if it leads to one.
pub(crate) struct Root {
    pub(crate) info: RootInfo,
    pub(crate) len: Option<u64>,
}

impl Root {
    /// The name as it can be shown on any terminal.
    pub(crate) fn shown_name(&self) -> String {
        if self.info.name.is_empty() {
            "(unnamed)".to_owned()
        } else {
            self.info.name.escape_debug().to_string()
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "name": self.info.name,
            "offset": self.info.offset.raw(),
            "len_bytes": self.len,
            "type": self.info.type_name,
            "type_size_bytes": self.info.size,
            "type_align_bytes": self.info.align,
        })
    }
}

/// All roots, with the lengths of their blocks.
pub(crate) fn roots(arena: &Arena) -> heapfile::Result<Vec<Root>> {
    let tx = arena.read()?;
    let roots = tx.roots()?;
    Ok(roots.into_iter().map(|info| Root { len: len_of(&tx, info.offset), info }).collect())
}

fn len_of(tx: &impl View, offset: Offset<[u8]>) -> Option<u64> {
    tx.len_of(offset).ok()
}

/// Writes the roots, one a line, names in a column wide enough for most.
pub(crate) fn print_roots(out: &mut impl Write, roots: &[Root]) -> std::io::Result<()> {
    let width = roots.iter().map(|root| root.shown_name().chars().count()).max().unwrap_or(0).min(32);
    for root in roots {
        let len = root.len.map_or("leads to no block".to_owned(), |len| counted(len, "byte"));
        let offset = root.info.offset.to_string();
        let type_name = root.info.type_name.escape_debug();
        writeln!(out, "    {:<width$}  {offset:<10}  {len}, {type_name}", root.shown_name())?;
    }
    Ok(())
}

pub(crate) fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Power => "power",
        Durability::Process => "process",
        _ => "other",
    }
}

fn to_json(arena: &Arena, stats: &Stats, roots: &[Root], others: &[Handle]) -> Value {
    json!({
        "path": arena.path().to_string_lossy(),
        "format_version": stats.version,
        "id": hex(&stats.id),
        "durability": durability_name(stats.durability),
        "file_bytes": stats.file_bytes,
        "max_bytes": stats.max_bytes,
        "heap_offset": stats.heap_offset,
        "heap_bytes": stats.heap_bytes,
        "free_bytes": stats.free_bytes,
        "tail_bytes": tail_bytes(stats),
        "extents": stats.extents,
        "longest_extent_bytes": stats.longest_extent_bytes,
        "slabs": stats.slabs.iter().map(|&(slot, slabs)| json!({"slot_bytes": slot, "slabs": slabs})).collect::<Vec<_>>(),
        "log_bytes": stats.log_bytes,
        "log_used_bytes": stats.log_used_bytes,
        "sequence": stats.sequence,
        "synced": stats.synced,
        "roots": roots.iter().map(Root::to_json).collect::<Vec<_>>(),
        "locking": locking_name(arena.locking()),
        "other_handles": others.iter().map(handle_json).collect::<Vec<_>>(),
    })
}

fn locking_name(locking: Locking) -> &'static str {
    match locking {
        Locking::Shared => "shared",
        Locking::File => "file",
        _ => "other",
    }
}

pub(crate) fn handle_json(handle: &Handle) -> Value {
    json!({
        "slot": handle.slot,
        "pid": handle.pid,
        "readers": handle.readers,
        "holds_lock": handle.holds_lock,
        "shuts_gate": handle.shuts_gate,
        "waiting_writers": handle.waiting_writers,
        "waiting_readers": handle.waiting_readers,
    })
}

fn print(out: &mut impl Write, arena: &Arena, stats: &Stats, roots: &[Root]) -> std::io::Result<()> {
    let both = |bytes: u64| match bytes {
        ..1024 => size(bytes),
        _ => format!("{} ({} bytes)", size(bytes), count(bytes)),
    };
    writeln!(out, "{}", arena.path().display())?;
    output::row(out, "format", &format!("version {}, id {}", stats.version, hex(&stats.id)))?;
    let survives = match stats.durability {
        Durability::Power => "power: a commit survives loss of power",
        Durability::Process => "process: a commit survives the death of any process, not of the machine",
        _ => "of a kind that this command does not know",
    };
    output::row(out, "durability", survives)?;
    output::row(out, "locking", locking_name(arena.locking()))?;
    output::row(out, "file", &format!("{}, may grow to {}", both(stats.file_bytes), size(stats.max_bytes)))?;
    output::row(out, "heap", &format!("{}, from {:#x} on", both(stats.heap_bytes), stats.heap_offset))?;
    let longest = match stats.extents {
        0 => String::new(),
        _ => format!(
            " in {}, the longest {}",
            counted(stats.extents, "extent"),
            size(stats.longest_extent_bytes)
        ),
    };
    output::row(out, "free", &format!("{}{longest}", both(stats.free_bytes)))?;
    print_tail(out, stats)?;
    output::row(out, "slabs", &slabs(stats))?;
    if stats.log_bytes > 0 {
        let used = format!(
            "{}, {} used since the last checkpoint",
            size(stats.log_bytes),
            size(stats.log_used_bytes)
        );
        output::row(out, "log", &used)?;
    }
    output::row(out, "commits", &count(stats.sequence))?;
    let synced = if stats.synced { "yes" } else { "no: the disk does not have everything yet" };
    output::row(out, "synced", synced)?;
    output::row(out, "roots", &count(roots.len() as u64))?;
    print_roots(out, roots)
}

/// What is free besides the heap's extents, if anything is.
pub(crate) fn print_tail(out: &mut impl Write, stats: &Stats) -> std::io::Result<()> {
    match tail_bytes(stats) {
        0 => Ok(()),
        tail => output::row(out, "tail", &format!("{} behind the heap, free besides", size(tail))),
    }
}

fn slabs(stats: &Stats) -> String {
    let all = stats.slabs.iter().map(|&(_, slabs)| u64::from(slabs)).sum();
    match stats.slabs.as_slice() {
        [] => "none".to_owned(),
        [(slot, _)] => format!("{} for blocks up to {}", count(all), counted((*slot).into(), "byte")),
        [(least, _), .., (most, _)] => {
            let classes = stats.slabs.len();
            let most = counted((*most).into(), "byte");
            format!("{} in {classes} size classes, from {least} to {most}", count(all))
        }
    }
}
