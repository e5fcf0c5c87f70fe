//! `heapfile map`: a picture of where the space of an arena is.

mod picture;
mod svg;
mod terminal;

use crate::progress::Bar;
use crate::usage::Kind;
use crate::{Failure, Outcome, output, target};
use heapfile::{Arena, Options, RunKind};
use picture::Picture;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show a picture of where the space is
///
/// Each cell is a stretch of the file: the fuller, the more of it is in use, and its colour (or letter) says what for. Below: a legend
/// with totals, and what each size class holds. Reads in short read transactions: no writer waits for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  heapfile map my.heap\n  heapfile map --width 120 my.heap\n  \
    heapfile map --svg my.svg my.heap\n  heapfile map --json my.heap | jq .totals")]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// Write the picture as SVG to FILE (`-`: to stdout) instead of to the terminal; a FILE that is there is replaced once the picture is whole
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    svg: Option<PathBuf>,
    /// Cells in a row, 8 to 1000; by default what the terminal has room for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(8..=1000))]
    width: Option<u16>,
    /// Write totals, size classes and cells as JSON
    #[arg(long)]
    json: bool,
}

/// Most rows of a picture.
const ROWS: u64 = 24;

pub(crate) fn run(args: Args) -> Outcome {
    let arena = Options::new().accept_unsynced(true).open_read_only(&args.file)?;
    if let Some(why) = args.svg.as_ref().and_then(|svg| target::refused(svg, &args.file)) {
        return Err(why.into());
    }
    let columns = match args.width {
        Some(width) => u64::from(width),
        None if args.svg.is_some() => 64,
        None => terminal::columns(),
    };
    let picture = draw(&arena, &args.file, columns)?;
    match &args.svg {
        Some(path) if path.as_os_str() == "-" => {
            let mut out = output::buffered();
            out.write_all(svg::render(&picture, &args.file).as_bytes())?;
            out.flush()?;
        }
        Some(path) => {
            target::write(path, svg::render(&picture, &args.file).as_bytes())
                .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        None if args.json => output::json(&to_json(&picture, &args.file))?,
        None => {
            let mut out = output::buffered();
            terminal::print(&mut out, &picture, &args.file)?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks at the whole file.
fn draw(arena: &Arena, path: &Path, columns: u64) -> Result<Picture, Failure> {
    let stats = arena.stats()?;
    let mut picture = Picture::new(stats.file_bytes, stats.heap_offset, columns, ROWS);
    let mut bar = Bar::new("looking", stats.file_bytes);
    // Holes as the file system sees them. Where it does not tell, all is data.
    let mut data = heapfile::window::WindowPool::new().open(path)?.data_ranges(..)?.peekable();
    for run in arena.runs() {
        let run = run?;
        bar.set(run.offset);
        picture.usage.add(&run, |start, end, parts| picture.cells.add(start, end, parts));
        if !matches!(run.kind, RunKind::Free { punched: true }) {
            continue;
        }
        let (mut at, end) = (run.offset, run.offset + run.len_bytes);
        while at < end {
            while data.next_if(|range| range.as_ref().is_ok_and(|range| range.end <= at)).is_some() {}
            let hole_end = match data.peek() {
                Some(Ok(range)) => range.start.min(end),
                Some(Err(_)) => at,
                None => end,
            };
            if at < hole_end {
                picture.usage.punched(hole_end - at);
                picture.cells.punched(at, hole_end);
            }
            at = match data.peek() {
                Some(Ok(range)) => range.end.min(end).max(hole_end),
                _ => end,
            };
        }
    }
    Ok(picture)
}

fn to_json(picture: &Picture, path: &Path) -> serde_json::Value {
    let totals: serde_json::Map<_, _> = Kind::ALL
        .iter()
        .map(|&kind| (format!("{}_bytes", kind.key()), picture.usage.of(kind).into()))
        .collect();
    json!({
        "path": path.to_string_lossy(),
        "file_bytes": picture.file_bytes,
        "heap_offset": picture.heap_offset,
        "totals": totals,
        "classes": picture.usage.classes.iter().map(|(slot, class)| json!({
            "slot_bytes": slot,
            "slabs": class.slabs,
            "slots": class.slots,
            "used_slots": class.used,
            "bytes": class.bytes,
        })).collect::<Vec<_>>(),
        "large_blocks": picture.usage.large.0,
        "large_block_bytes": picture.usage.large.1,
        "cell_bytes": picture.cells.bytes,
        "cells": picture.cells.all().map(|cell| Kind::ALL.map(|kind| cell.of(kind))).collect::<Vec<_>>(),
        "cell_kinds": Kind::ALL.map(Kind::key),
    })
}
