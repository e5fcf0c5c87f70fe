//! `heapfile kv import` and `export`: entries as lines of JSON.
//!
//! An import is one transaction. With `--batch` it is one for every so many lines, and each notes in the table `.imports`, under the input's name, how many lines are done and
//! their checksum; the same command goes on behind these lines, if they are the same, and the note is deleted at the end.

use super::{changeable, input, is_missing, line, open_or_create, reading};
use crate::output::buffered;
use crate::progress::Bar;
use crate::units::counted;
use crate::{FOUND, Failure, Outcome, advice};
use heapfile::store::{Store, Table};
use heapfile::{Error, WriteTxn};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, Write, stderr};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where unfinished imports are noted: by the name of the input, a [`Progress`].
pub(super) const IMPORTS: &str = ".imports";

/// Store entries from lines of JSON, as `export` writes them
///
/// All of it in one transaction: if it fails or is cut off, nothing is stored. With --batch in many: the same command goes on behind the lines that are stored, and
/// refuses input that begins with other lines. How far it came is noted in the table `.imports` under the INPUT as it was given, or under NAME, until the import is done; entries of your own are not
/// stored in a table of that name.
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
    /// Note how far it came under this name: for imports from stdin, of which there may be several, and of files that are given by other paths later [default: INPUT, or -]
    #[arg(long, requires = "batch")]
    name: Option<OsString>,
    /// Forget how far an import of that name came, and begin at the first line
    #[arg(long, requires = "batch")]
    restart: bool,
}

pub(super) fn import(args: ImportArgs) -> Outcome {
    changeable(&args.table)?;
    let path = args.input.as_deref().filter(|path| path.as_os_str() != "-");
    let shown = path.map_or_else(|| "-".into(), |path| path.to_string_lossy());
    let name =
        args.name.as_deref().or(path.map(|path| path.as_os_str())).map_or(&b"-"[..], OsStrExt::as_bytes);
    let (total, mut lines) = input::lines(path)?;
    let mut bar = if total > 0 { Bar::new("importing", total) } else { Bar::hidden() };
    let store = Store::open(&args.file)?;
    if args.restart {
        let mut tx = store.write()?;
        forget(&mut tx, name)?;
        tx.commit()?;
    }
    let mut progress = Progress::begin(&args.table);
    let mut bytes = 0;
    let noted = store.get(IMPORTS, name)?;
    if args.batch.is_some()
        && let Some(note) = &noted
    {
        bytes = progress.skip(&mut lines, note)?.ok_or_else(|| {
            format!(
                "the first {} of {shown} are not those that its import into {} was begun with, or --table is another: give the same ones, or begin anew with --restart, or give this import a --name",
                counted(progress.lines, "line"),
                args.file.display()
            )
        })?;
        writeln!(stderr(), "heapfile: going on behind line {}", progress.lines)?;
    }
    let done = progress.lines;
    let begin = |behind| Batch::new(&store, &args, &shown, behind);
    let mut batch = begin(done);
    // In one transaction: of these lines, or of others, whose import ended in the middle, and which have the same name.
    let mut is_noted = args.batch.is_some();
    let mut text = Vec::new();
    loop {
        text.clear();
        let read =
            lines.read_until(b'\n', &mut text).map_err(|e| batch.failed(batch.line + 1..=batch.line, e))?;
        if read == 0 {
            break;
        }
        progress.add(&text);
        is_noted |= noted.as_ref().is_some_and(|note| progress.is_at(note));
        bytes += read as u64;
        batch.add(&text)?;
        if args.batch.is_some_and(|lines| (progress.lines - done).is_multiple_of(lines)) {
            batch.change(|tx| note(tx, name, &progress))?;
            batch.commit()?;
            batch = begin(progress.lines);
        }
        bar.set(bytes);
    }
    batch.store()?;
    if is_noted {
        batch.change(|tx| forget(tx, name))?;
    }
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

    /// Whether the lines so far are those that were done when `note` was made.
    fn is_at(&self, note: &[u8]) -> bool {
        note.first_chunk() == Some(&self.lines.to_le_bytes()) && self.note() == note
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

/// Notes how far the import of that name came.
fn note(tx: &mut WriteTxn<'_>, name: &[u8], progress: &Progress) -> Result<(), Failure> {
    Table::open_or_create(tx, IMPORTS)?.put(tx, name, &progress.note())?;
    Ok(())
}

/// Forgets how far the import of that name came.
fn forget(tx: &mut WriteTxn<'_>, name: &[u8]) -> Result<(), Failure> {
    if let Some(table) = Table::open(tx, IMPORTS)? {
        table.delete(tx, name)?;
        if table.is_empty(tx)? {
            Table::drop_table(tx, IMPORTS)?;
        }
    }
    Ok(())
}

/// Bytes of entries that wait for being stored together.
const WAITING: usize = 32 << 20;
/// Bytes that an entry takes beside its key and value: where they lie, and what an allocation of each costs.
const ENTRY: usize = 112;

/// Entries of one table that wait, and the lines that they are among.
struct Waiting {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    first: u64,
    last: u64,
}

/// A transaction of an import. Entries are collected and stored many at a time, which is faster. Errors name the lines.
struct Batch<'a> {
    store: &'a Store,
    /// Begun with the first change: while up to [`WAITING`] bytes of lines are awaited, nobody has to wait.
    tx: Option<WriteTxn<'a>>,
    args: &'a ImportArgs,
    /// Name of the input in messages.
    input: &'a str,
    waiting: HashMap<String, Waiting>,
    waiting_bytes: usize,
    /// The line before its first one.
    behind: u64,
    /// Its last line.
    line: u64,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store, args: &'a ImportArgs, input: &'a str, behind: u64) -> Self {
        let waiting = HashMap::new();
        Self { store, tx: None, args, input, waiting, waiting_bytes: 0, behind, line: behind }
    }

    /// The next line: an entry, or nothing.
    fn add(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.line += 1;
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let number = self.line;
        let line = line::parse(text).and_then(|line| {
            line.table.as_deref().map_or(Ok(()), changeable)?;
            Ok(line)
        });
        let line = line.map_err(|why| self.failed(number..=number, why.as_str()))?;
        let table = line.table.unwrap_or_else(|| self.args.table.clone());
        self.waiting_bytes += line.key.len() + line.value.len() + ENTRY;
        let new = || Waiting { entries: Vec::new(), first: number, last: number };
        let waiting = self.waiting.entry(table).or_insert_with(new);
        waiting.entries.push((line.key, line.value));
        waiting.last = number;
        if self.waiting_bytes >= WAITING { self.store() } else { Ok(()) }
    }

    /// Stores what waits.
    fn store(&mut self) -> Result<(), Failure> {
        let hashed = self.args.hashed;
        for (name, Waiting { entries, first, last }) in std::mem::take(&mut self.waiting) {
            let table = self.change_for(first..=first, |tx| open_or_create(tx, &name, hashed))?;
            self.change_for(first..=last, |tx| Ok(table.extend(tx, entries)?))?;
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Makes a change that belongs to all lines.
    fn change(
        &mut self,
        change: impl FnOnce(&mut WriteTxn<'a>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.change_for(self.behind + 1..=self.line, change)
    }

    fn change_for<T>(
        &mut self,
        lines: RangeInclusive<u64>,
        change: impl FnOnce(&mut WriteTxn<'a>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let tx = match &mut self.tx {
            Some(tx) => Ok(tx),
            none => self.store.write().map(|tx| none.insert(tx)).map_err(Failure::from),
        };
        tx.and_then(change).map_err(|e| self.failed(lines, e))
    }

    fn commit(mut self) -> Result<(), Failure> {
        self.store()?;
        let committed = self.tx.take().map_or(Ok(()), WriteTxn::commit);
        committed.map_err(|e| self.failed(self.behind + 1..=self.line, e))
    }

    /// What failed with lines of the input, and what is stored of it.
    fn failed(&self, lines: RangeInclusive<u64>, why: impl Into<Failure>) -> Failure {
        let (first, last, input) = (lines.start(), lines.end(), self.input);
        let place = match last.saturating_sub(*first) {
            _ if lines.is_empty() => format!("behind line {last} of {input}"),
            0 => format!("line {first} of {input}"),
            _ => format!("lines {first} to {last} of {input}"),
        };
        let (why, from) = (why.into(), self.behind + 1);
        let stored = match why.downcast_ref() {
            Some(Error::Poisoned { .. }) => {
                format!("then see whether lines {from} to {} are stored", self.line)
            }
            _ => format!("nothing from line {from} on is stored"),
        };
        format!("{place}: {}; {stored}", advice::told(why.as_ref())).into()
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
