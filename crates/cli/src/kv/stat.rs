//! `heapfile kv stat`.

use super::reading;
use crate::advice::told;
use crate::check::place_of_damage;
use crate::output::{Style, buffered, json, row};
use crate::units::{count, counted};
use crate::usage::tail_bytes;
use crate::{Outcome, found};
use heapfile::Error;
use heapfile::store::{Kind, Store, Table};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show the tables, what they hold, and what the file takes; with --check, verify them: exit code 1 if one is damaged
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The arena
    file: PathBuf,
    /// Go through all entries and verify every table
    #[arg(long)]
    check: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The store; checked, where that was asked for.
fn look(args: &Args) -> Result<Store, Error> {
    let store = reading(&args.file)?;
    if args.check {
        store.check()?;
    }
    Ok(store)
}

pub(super) fn run(args: &Args) -> Outcome {
    let store = match look(args) {
        Err(e) if args.check && place_of_damage(&e).is_some() => return Ok(found(&told(&e))),
        looked => looked?,
    };
    let stats = store.arena().stats()?;
    let mut tables = Vec::new();
    for name in store.tables()? {
        let tx = store.read()?;
        if let Some(table) = Table::open(&tx, &name)? {
            let kind = if table.kind() == Kind::Hashed { "hashed" } else { "ordered" };
            tables.push((name, kind, table.len(&tx)?));
        }
    }
    let entries: u64 = tables.iter().map(|(_, _, entries)| entries).sum();
    if args.json {
        let tables: Vec<_> = tables
            .iter()
            .map(|(name, kind, entries)| json!({"name": name, "kind": kind, "entries": entries}))
            .collect();
        json(&json!({
            "tables": tables,
            "entries": entries,
            "file_bytes": stats.file_bytes,
            "free_bytes": stats.free_bytes,
            "tail_bytes": tail_bytes(&stats),
            "checked": args.check,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style::of_stdout();
    let mut out = buffered();
    writeln!(out, "{}", style.title(&args.file.display().to_string()))?;
    for (name, kind, entries) in &tables {
        row(&mut out, &name.escape_debug().to_string(), &format!("{}, {kind}", counted(*entries, "entry")))?;
    }
    let free = stats.free_bytes + tail_bytes(&stats);
    row(&mut out, "file", &format!("{} bytes, {} of them free", count(stats.file_bytes), count(free)))?;
    if args.check {
        row(&mut out, "checked", &style.good("sound"))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
