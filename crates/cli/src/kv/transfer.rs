//! `heapfile kv import` and `export`: entries as lines of JSON.
//!
//! An import is one transaction. With `--batch` it is one for every so many lines, and each notes in the table `.imports`, under the input's name, how many lines are done and
//! their checksum; the same command goes on behind these lines, if they are the same, and the note is deleted at the end.

use super::{changeable, is_missing, line, open_or_create, reading};
use crate::output::buffered;
use crate::progress::Bar;
use crate::units::counted;
use crate::{FOUND, Failure, Outcome};
use heapfile::WriteTxn;
use heapfile::store::{Store, Table};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write, stderr, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where unfinished imports are noted: by the name of the input, a [`Progress`].
pub(super) const IMPORTS: &str = ".imports";

/// Store entries from lines of JSON, as `export` writes them
///
/// All of it in one transaction: if it fails or is cut off, nothing is stored. With --batch in many: the same command goes on behind the lines that are stored, and
/// refuses input that begins with other lines. How far it came is noted in the table `.imports`, which is there until the import is done; entries of your own are not stored under that name.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The arena; created if it is not there
    file: PathBuf,
    /// The lines; - or nothing: stdin
    input: Option<PathBuf>,
    /// The table for lines that name none
    #[arg(long, short, default_value = "main")]
    table: String,
    /// Find entries of tables that are created by hash: faster, without order
    #[arg(long)]
    hashed: bool,
    /// Commit after every so many lines; the same command goes on where a failed one ended
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// Forget how far an import of that input came, and begin at the first line
    #[arg(long, requires = "batch")]
    restart: bool,
}

pub(super) fn import(args: ImportArgs) -> Outcome {
    changeable(&args.table)?;
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
    if args.restart {
        let mut tx = store.write()?;
        forget(&mut tx, &name)?;
        tx.commit()?;
    }
    let mut progress = Progress::begin(&args.table);
    let mut bytes = 0;
    if args.batch.is_some()
        && let Some(note) = store.get(IMPORTS, name.as_bytes())?
    {
        bytes = progress.skip(&mut lines, &note)?.ok_or_else(|| {
            format!(
                "the first {} of {name} are not those that its import into {} was begun with, or --table is another: give the same ones, or begin anew with --restart",
                counted(progress.lines, "line"),
                args.file.display()
            )
        })?;
        writeln!(stderr(), "heapfile: going on behind line {}", progress.lines)?;
    }
    let done = progress.lines;
    let begin = |behind| Batch::new(&store, &args.table, args.hashed, behind);
    let mut batch = begin(done);
    let mut text = Vec::new();
    loop {
        text.clear();
        let read = lines.read_until(b'\n', &mut text)?;
        if read == 0 {
            break;
        }
        progress.add(&text);
        bytes += read as u64;
        let number = progress.lines;
        if !text.trim_ascii().is_empty() {
            let line = line::parse(&text).and_then(|line| {
                line.table.as_deref().map_or(Ok(()), changeable)?;
                Ok(line)
            });
            let line = line.map_err(|why| {
                format!("line {number} of {name}: {why}; nothing from line {} on is stored", batch.behind + 1)
            })?;
            batch.put(line)?;
        }
        if args.batch.is_some_and(|batch| (number - done).is_multiple_of(batch)) {
            batch.note(&name, &progress)?;
            batch.commit()?;
            batch = begin(number);
        }
        bar.set(bytes);
    }
    batch.store()?;
    forget(batch.tx()?, &name)?;
    batch.commit()?;
    Ok(ExitCode::SUCCESS)
}

/// How far an import came.
struct Progress {
    lines: u64,
    /// Of the table for lines that name none, and of these lines.
    checksum: crc32fast::Hasher,
}

impl Progress {
    fn begin(table: &str) -> Self {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(table.as_bytes());
        Self { lines: 0, checksum }
    }

    fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        self.checksum.update(line);
    }

    /// As it is stored: the number of lines, their checksum.
    fn note(&self) -> [u8; 12] {
        let mut note = [0; 12];
        note[..8].copy_from_slice(&self.lines.to_le_bytes());
        note[8..].copy_from_slice(&self.checksum.clone().finalize().to_le_bytes());
        note
    }

    /// Reads the lines that were done when `note` was made; their bytes, or `None` if they were others.
    fn skip(&mut self, input: &mut impl BufRead, note: &[u8]) -> std::io::Result<Option<u64>> {
        let Some(lines) = note.first_chunk().copied().map(u64::from_le_bytes) else { return Ok(None) };
        let (mut bytes, mut text) = (0, Vec::new());
        while self.lines < lines && input.read_until(b'\n', &mut text)? > 0 {
            self.add(&text);
            bytes += text.len() as u64;
            text.clear();
        }
        Ok((self.note() == note).then_some(bytes))
    }
}

/// Forgets how far the import of that input came.
fn forget(tx: &mut WriteTxn<'_>, input: &str) -> Result<(), Failure> {
    if let Some(table) = Table::open(tx, IMPORTS)? {
        table.delete(tx, input.as_bytes())?;
        if table.is_empty(tx)? {
            Table::drop_table(tx, IMPORTS)?;
        }
    }
    Ok(())
}

/// Bytes of entries that wait for being stored together.
const WAITING: usize = 32 << 20;

/// Keys and values.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A transaction of an import. Entries are collected and stored many at a time, which is faster.
struct Batch<'a> {
    store: &'a Store,
    /// Begun with the first change: while up to [`WAITING`] bytes of lines are awaited, nobody has to wait.
    tx: Option<WriteTxn<'a>>,
    table: &'a str,
    hashed: bool,
    waiting: HashMap<String, Entries>,
    waiting_bytes: usize,
    /// The line before its first one.
    behind: u64,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store, table: &'a str, hashed: bool, behind: u64) -> Self {
        Self { store, tx: None, table, hashed, waiting: HashMap::new(), waiting_bytes: 0, behind }
    }

    fn tx(&mut self) -> Result<&mut WriteTxn<'a>, Failure> {
        match &mut self.tx {
            Some(tx) => Ok(tx),
            none => Ok(none.insert(self.store.write()?)),
        }
    }

    fn put(&mut self, line: line::Line) -> Result<(), Failure> {
        let name = line.table.unwrap_or_else(|| self.table.to_owned());
        self.waiting_bytes += line.key.len() + line.value.len();
        self.waiting.entry(name).or_default().push((line.key, line.value));
        if self.waiting_bytes >= WAITING { self.store() } else { Ok(()) }
    }

    /// Stores what waits.
    fn store(&mut self) -> Result<(), Failure> {
        for (name, entries) in std::mem::take(&mut self.waiting) {
            let hashed = self.hashed;
            let tx = self.tx()?;
            open_or_create(tx, &name, hashed)?.extend(tx, entries)?;
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    fn note(&mut self, input: &str, progress: &Progress) -> Result<(), Failure> {
        let tx = self.tx()?;
        Table::open_or_create(tx, IMPORTS)?.put(tx, input.as_bytes(), &progress.note())?;
        Ok(())
    }

    fn commit(mut self) -> Result<(), Failure> {
        self.store()?;
        Ok(self.tx.map_or(Ok(()), WriteTxn::commit)?)
    }
}

/// Write all entries to stdout as lines of JSON, for `import`; exit code 1 if a table that is named is not there
///
/// Lines do not say how a table finds its entries: `import --hashed` makes hashed ones of all. The table `.imports`, in which `import --batch` notes how far it came, is written only if it is named. Writers are not held up: entries that change meanwhile are written as they are when the export comes to them.
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
    if is_missing(&store, args.table.as_deref())? {
        return Ok(ExitCode::from(FOUND));
    }
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
