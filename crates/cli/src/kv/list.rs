//! `heapfile kv list`.

use super::{In, is_missing, line, reading};
use crate::output::buffered;
use crate::{FOUND, Outcome};
use heapfile::store::Listing;
use std::ffi::OsString;
use std::io::Write;
use std::ops::Bound;
use std::path::PathBuf;
use std::process::ExitCode;

/// List keys and values; exit code 1 if a table that is named is not there
///
/// Entries of an ordered table come in the order of their keys, those of a hashed one in no order. The table `main`, if none is named, may be missing: it has
/// no entries. Without --json or --null, what is not printable ASCII is escaped, as `\n` or `\xff`. Writers are not held up: entries that change meanwhile are listed as
/// they are when the listing comes to them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The arena
    file: PathBuf,
    #[command(flatten)]
    place: In,
    /// Only keys that begin so
    #[arg(long, conflicts_with_all = ["from", "to"])]
    prefix: Option<OsString>,
    /// Only keys from this one on
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// Only keys below this one
    #[arg(long, value_name = "KEY")]
    to: Option<OsString>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Keys only
    #[arg(long)]
    keys: bool,
    /// One line of JSON for each entry, as `export` writes; --hex is for keys that are given then
    #[arg(long, conflicts_with_all = ["null", "keys"])]
    json: bool,
    /// Keys and values as they are, each with a zero byte behind
    #[arg(long, short = '0')]
    null: bool,
}

pub(super) fn run(args: Args) -> Outcome {
    let store = reading(&args.file)?;
    if is_missing(&store, args.place.table.as_deref())? {
        return Ok(ExitCode::from(FOUND));
    }
    let table = args.place.table();
    let bound = |key: Option<OsString>| key.map(|key| args.place.key(key)).transpose();
    let mut entries: Listing<'_> = if let Some(prefix) = bound(args.prefix)? {
        store.list_prefix(table, &prefix)
    } else {
        let (from, to) = (bound(args.from)?, bound(args.to)?);
        let from = from.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        store.list(table, (from, to))
    };
    if args.keys {
        entries = entries.keys_only();
    }
    let mut out = buffered();
    for entry in entries.take(args.limit.unwrap_or(usize::MAX)) {
        let (key, value) = entry?;
        if args.json {
            line::write(&mut out, table, &key, &value)?;
            continue;
        }
        let (between, end) = if args.null { (&b"\0"[..], &b"\0"[..]) } else { (&b"\t"[..], &b"\n"[..]) };
        show(&mut out, &key, args.null, args.place.hex)?;
        if !args.keys {
            out.write_all(between)?;
            show(&mut out, &value, args.null, false)?;
        }
        out.write_all(end)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut impl Write, bytes: &[u8], raw: bool, hex: bool) -> std::io::Result<()> {
    if hex {
        bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    } else if raw {
        out.write_all(bytes)
    } else {
        write!(out, "{}", bytes.escape_ascii())
    }
}
