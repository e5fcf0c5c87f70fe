//! `heapfile kv pack`.

use super::is_missing;
use crate::progress::{Bar, Spinner};
use crate::shrink::tell;
use crate::{FOUND, Outcome};
use heapfile::Arena;
use heapfile::store::Store;
use std::path::PathBuf;
use std::process::ExitCode;

/// Pack what is left after many deletions, and give free space back to the file system; exit code 1 if a table that is named is not there
///
/// Writes the entries of ordered tables anew, side by side, then does what `heapfile shrink` does. Hashed tables pack themselves as they get smaller. Others may
/// have the arena open; writers wait for one table at a time. A table that the disk
/// has no room to write anew stays as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The arena
    file: PathBuf,
    /// Only this table [default: all]
    #[arg(long, short)]
    table: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let store = Store::with(Arena::open(&args.file)?);
    if is_missing(&store, args.table.as_deref())? {
        return Ok(ExitCode::from(FOUND));
    }
    let tables = match &args.table {
        Some(table) => vec![table.clone()],
        None => store.tables()?,
    };
    tell(&args.file, args.json, || {
        let total = tables.iter().map(|table| store.len(table)).sum::<Result<u64, _>>()?;
        let (mut bar, mut done) = (Bar::new("packing", total), 0);
        for table in tables {
            done += store.len(&table)?;
            match store.pack(&table) {
                // The others, and what is free already, may make room.
                Err(e) if e.is_want_of_space() => {}
                packed => drop(packed?),
            }
            bar.set(done);
        }
        drop(bar);
        let _spinner = Spinner::new("shrinking");
        Ok(store.arena().shrink()?)
    })
}
