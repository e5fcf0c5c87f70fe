//! `heapfile kv import` and `export`: entries as lines of JSON.
//!
//! An import is one transaction. With `--batch` it is one for every so many lines, and each counts in the table `.imports` how many lines of this input are done; the same
//! command goes on behind them, and the count is deleted at the end.

use super::{line, reading};
use crate::output::buffered;
use crate::progress::Bar;
use crate::{Failure, Outcome};
use heapfile::WriteTxn;
use heapfile::store::{Store, Table};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write, stderr, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where unfinished imports are counted.
const IMPORTS: &str = ".imports";

/// Store entries from lines of JSON, as `export` writes them
///
/// All of it in one transaction: if it fails or is cut off, nothing is stored.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The arena; created if it is not there
    file: PathBuf,
    /// The lines; - or nothing: stdin
    input: Option<PathBuf>,
    /// The table for lines that name none
    #[arg(long, short, default_value = "main")]
    table: String,
    /// Commit after every so many lines; the same command goes on where a failed one ended
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
}

pub(super) fn import(args: ImportArgs) -> Outcome {
    let name = args.input.as_ref().map_or_else(|| "-".into(), |path| path.to_string_lossy().into_owned());
    let file = args.input.as_ref().filter(|path| path.as_os_str() != "-");
    let (mut lines, total): (Box<dyn BufRead>, u64) = match file {
        Some(path) => {
            let file = File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
            let len = file.metadata()?.len();
            (Box::new(BufReader::with_capacity(1 << 20, file)), len)
        }
        None => (Box::new(stdin().lock()), 0),
    };
    let mut bar = if total > 0 { Bar::new("importing", total) } else { Bar::hidden() };
    let store = Store::open(&args.file)?;
    let done = match args.batch {
        Some(_) => {
            store.get(IMPORTS, name.as_bytes())?.and_then(|n| n.try_into().ok()).map_or(0, u64::from_le_bytes)
        }
        None => 0,
    };
    if done > 0 {
        writeln!(stderr(), "heapfile: going on behind line {done}")?;
    }
    let mut batch = Batch::begin(&store, &args.table)?;
    let (mut number, mut bytes, mut text) = (0, 0, Vec::new());
    loop {
        text.clear();
        let read = lines.read_until(b'\n', &mut text)?;
        if read == 0 {
            break;
        }
        (number, bytes) = (number + 1, bytes + read as u64);
        if number <= done || text.trim_ascii().is_empty() {
            continue;
        }
        let line = line::parse(&text).map_err(|why| {
            format!("line {number} of {name}: {why}; nothing from line {} on is stored", batch.first(done))
        })?;
        batch.put(line)?;
        if args.batch.is_some_and(|batch| (number - done).is_multiple_of(batch)) {
            batch.count(&name, number)?;
            batch.commit()?;
            batch = Batch::begin(&store, &args.table)?;
            batch.begun_behind = number;
        }
        bar.set(bytes);
    }
    if args.batch.is_some() {
        batch.forget(&name)?;
    }
    batch.commit()?;
    Ok(ExitCode::SUCCESS)
}

/// Bytes of entries that wait for being stored together.
const WAITING: usize = 32 << 20;

/// Keys and values.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A transaction of an import. Entries are collected and stored many at a time, which is faster.
struct Batch<'a> {
    tx: WriteTxn<'a>,
    table: &'a str,
    waiting: HashMap<String, Entries>,
    waiting_bytes: usize,
    begun_behind: u64,
}

impl<'a> Batch<'a> {
    fn begin(store: &'a Store, table: &'a str) -> Result<Self, Failure> {
        Ok(Self { tx: store.write()?, table, waiting: HashMap::new(), waiting_bytes: 0, begun_behind: 0 })
    }

    /// The first line of this transaction.
    fn first(&self, done: u64) -> u64 {
        self.begun_behind.max(done) + 1
    }

    fn put(&mut self, line: line::Line) -> Result<(), Failure> {
        let name = line.table.unwrap_or_else(|| self.table.to_owned());
        self.waiting_bytes += line.key.len() + line.value.len();
        self.waiting.entry(name).or_default().push((line.key, line.value));
        if self.waiting_bytes >= WAITING { self.store() } else { Ok(()) }
    }

    /// Stores what waits.
    fn store(&mut self) -> Result<(), Failure> {
        for (name, entries) in self.waiting.drain() {
            let table = Table::open_or_create(&mut self.tx, &name)?;
            table.extend(&mut self.tx, entries)?;
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    fn count(&mut self, input: &str, lines: u64) -> Result<(), Failure> {
        let table = Table::open_or_create(&mut self.tx, IMPORTS)?;
        table.put(&mut self.tx, input.as_bytes(), &lines.to_le_bytes())?;
        Ok(())
    }

    fn forget(&mut self, input: &str) -> Result<(), Failure> {
        if let Some(table) = Table::open(&self.tx, IMPORTS)? {
            table.delete(&mut self.tx, input.as_bytes())?;
            if table.is_empty(&self.tx)? {
                Table::drop_table(&mut self.tx, IMPORTS)?;
            }
        }
        Ok(())
    }

    fn commit(mut self) -> Result<(), Failure> {
        self.store()?;
        Ok(self.tx.commit()?)
    }
}

/// Write all entries to stdout as lines of JSON, for `import`
///
/// Writers are not held up: entries that change meanwhile are written as they are when the export comes to them.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The arena
    file: PathBuf,
    /// Only this table
    #[arg(long, short)]
    table: Option<String>,
}

pub(super) fn export(args: ExportArgs) -> Outcome {
    let store = reading(&args.file)?;
    let tables = match args.table {
        Some(table) => vec![table],
        None => store.tables()?.into_iter().filter(|name| name != IMPORTS).collect(),
    };
    let total = tables.iter().map(|table| store.len(table)).sum::<Result<u64, _>>()?;
    let mut bar = Bar::new("exporting", total);
    let (mut out, mut done) = (buffered(), 0);
    for table in tables {
        for entry in store.list(&table, ..) {
            let (key, value) = entry?;
            line::write(&mut out, &table, &key, &value)?;
            done += 1;
            bar.set(done);
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
