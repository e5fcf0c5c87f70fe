//! `heapfile kv`: objects by key, from the shell.
//!
//! Keys are given as bytes on the command line (`--hex`: as hexadecimal digits), values come from the command line, a file or stdin as they are. Listings go
//! through the table in batches and hold no writer up.

mod input;
mod line;
mod list;
mod pack;
mod stat;
mod transfer;

use crate::output::buffered;
use crate::{FOUND, Failure, Outcome, advice};
use clap::Subcommand;
use heapfile::store::{Kind, Store, Table};
use heapfile::{Arena, Error, WriteTxn};
use input::{Named, content, spooled};
use std::ffi::OsString;
use std::io::{Cursor, Read, Write, stderr, stdin};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Keep objects by key in an arena
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  heapfile kv put my.heap colour green\n  heapfile kv get my.heap colour\n  \
    heapfile kv put my.heap photo <photo.jpg\n  heapfile kv list my.heap --prefix user: --json\n  \
    heapfile kv export my.heap >all.jsonl\n  heapfile kv import other.heap all.jsonl --batch 10000"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Put(PutArgs),
    Get(GetArgs),
    Delete(DeleteArgs),
    List(list::Args),
    Import(transfer::ImportArgs),
    Export(transfer::ExportArgs),
    Pack(pack::Args),
    Stat(stat::Args),
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.command {
        Command::Put(args) => put(args),
        Command::Get(args) => get(args),
        Command::Delete(args) => delete(args),
        Command::List(args) => list::run(args),
        Command::Import(args) => transfer::import(args),
        Command::Export(args) => transfer::export(args),
        Command::Pack(args) => pack::run(&args),
        Command::Stat(args) => stat::run(&args),
    }
}

/// Which table, and how keys are written.
#[derive(Debug, clap::Args)]
struct In {
    /// The table [default: main]
    #[arg(long, short)]
    table: Option<String>,
    /// Keys are given and shown as hexadecimal digits
    #[arg(long)]
    hex: bool,
}

impl In {
    fn table(&self) -> &str {
        self.table.as_deref().unwrap_or("main")
    }

    /// The table, for changes.
    fn table_to_change(&self) -> Result<&str, Failure> {
        changeable(self.table())?;
        Ok(self.table())
    }

    fn key(&self, key: OsString) -> Result<Vec<u8>, Failure> {
        let key = key.into_vec();
        if self.hex { unhex(&key) } else { Ok(key) }
    }
}

/// Refuses the name of the table that the command keeps for itself.
fn changeable(table: &str) -> Result<(), String> {
    if table == transfer::IMPORTS {
        return Err(format!(
            "the table {table:?} is where `kv import --batch` notes how far it came: name another (the note of an input goes with --restart)"
        ));
    }
    Ok(())
}

fn unhex(digits: &[u8]) -> Result<Vec<u8>, Failure> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    if !digits.len().is_multiple_of(2) {
        return Err("a key in hexadecimal has two digits for each byte".into());
    }
    let bytes = digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
    bytes.collect::<Option<_>>().ok_or_else(|| "a key in hexadecimal has digits 0-9 and a-f only".into())
}

/// A store to be read.
fn reading(file: &Path) -> Result<Store, Error> {
    Ok(Store::with(Arena::open_read_only(file)?))
}

/// Whether a table that was named is missing; says so.
fn is_missing(store: &Store, table: Option<&str>) -> Result<bool, Failure> {
    let Some(name) = table else { return Ok(false) };
    let missing = Table::open(&store.read()?, name)?.is_none();
    if missing {
        let file = store.arena().path().display();
        writeln!(
            stderr(),
            "heapfile: there is no table {name:?} in {file}: `heapfile kv stat` lists those there are"
        )?;
    }
    Ok(missing)
}

/// The table of that name; created if there is none, hashed or ordered.
fn open_or_create(tx: &mut WriteTxn<'_>, name: &str, hashed: bool) -> Result<Table, Failure> {
    if hashed && Table::open(tx, name)?.is_none() {
        return Ok(Table::create(tx, name, Kind::Hashed)?);
    }
    Ok(Table::open_or_create(tx, name)?)
}

/// Store a value; an arena or table that is not there is created
#[derive(Debug, clap::Args)]
struct PutArgs {
    /// The arena
    file: PathBuf,
    /// The key
    key: OsString,
    /// The value; without it and --from, stdin is stored
    value: Option<OsString>,
    /// Store what this file holds
    #[arg(long, value_name = "PATH", conflicts_with = "value")]
    from: Option<PathBuf>,
    /// Find entries of a table that is created by hash: faster, without order
    #[arg(long)]
    hashed: bool,
    #[command(flatten)]
    place: In,
}

fn put(args: PutArgs) -> Outcome {
    let table = args.place.table_to_change()?;
    let key = args.place.key(args.key)?;
    // All that has no length yet is read before the arena is locked.
    let (len, source): (u64, Box<dyn Read>) = match (args.value, args.from) {
        (Some(value), _) => {
            let value = value.into_vec();
            (value.len() as u64, Box::new(Cursor::new(value)))
        }
        (None, Some(path)) => content(&path)?,
        (None, None) => {
            let (len, file) = spooled(Named::new("stdin", stdin().lock()))?;
            (len, Box::new(file))
        }
    };
    let store = Store::open(&args.file)?;
    let mut tx = store.write()?;
    let table = open_or_create(&mut tx, table, args.hashed)?;
    table.put_from(&mut tx, &key, len, source)?;
    tx.commit()?;
    Ok(ExitCode::SUCCESS)
}

/// Write a value to stdout, as it is; exit code 1 if there is none
///
/// A value of over 16 MiB is read in pieces: if somebody changes it meanwhile, some may be older than others.
#[derive(Debug, clap::Args)]
struct GetArgs {
    /// The arena
    file: PathBuf,
    /// The key
    key: OsString,
    #[command(flatten)]
    place: In,
    /// Write key and value as a line of JSON; --hex is for the key that is given then
    #[arg(long)]
    json: bool,
}

fn get(args: GetArgs) -> Outcome {
    let key = args.place.key(args.key)?;
    let store = reading(&args.file)?;
    let mut out = buffered();
    if args.json {
        let Some(value) = store.get(args.place.table(), &key)? else { return Ok(ExitCode::from(FOUND)) };
        line::write(&mut out, args.place.table(), &key, &value)?;
    } else if !copy(&store, args.place.table(), &key, &mut out)? {
        return Ok(ExitCode::from(FOUND));
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a value in pieces; no transaction is held while one is written, so that a slow reader of our output holds nobody up.
fn copy(store: &Store, table: &str, key: &[u8], out: &mut impl Write) -> Result<bool, Failure> {
    const PIECE: usize = 16 << 20;
    let (mut at, mut len) = (0, None);
    loop {
        let piece = store.get_with(table, key, |value| {
            let end = value.len().min(at + PIECE);
            (value.len(), value.get(at..end).unwrap_or(&[]).to_vec())
        })?;
        match (piece, len) {
            (None, None) => return Ok(false),
            (Some((now, piece)), before) if before.is_none_or(|before| before == now) => {
                out.write_all(&piece)?;
                (at, len) = (at + piece.len(), Some(now));
                if at == now {
                    return Ok(true);
                }
            }
            _ => return Err("the value was replaced while it was read: try again".into()),
        }
    }
}

/// Delete entries; exit code 1 if a key or the table was not there
#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// The arena
    file: PathBuf,
    /// The keys, all deleted in one transaction
    #[arg(required_unless_present_any = ["prefix", "all"])]
    keys: Vec<OsString>,
    /// Delete all entries whose keys begin so; of a hashed table this goes through all entries
    #[arg(long, conflicts_with_all = ["keys", "all"])]
    prefix: Option<OsString>,
    /// Delete the table with all its entries
    #[arg(long, conflicts_with = "keys")]
    all: bool,
    /// Then pack the tables and give free space back to the file system
    #[arg(long)]
    shrink: bool,
    #[command(flatten)]
    place: In,
}

fn delete(args: DeleteArgs) -> Outcome {
    let name = args.place.table_to_change()?;
    let store = Store::with(Arena::open(&args.file)?);
    let mut tx = store.write()?;
    let mut missing = false;
    if args.all {
        missing = !Table::drop_table(&mut tx, name)?;
    } else if let Some(table) = Table::open(&tx, name)? {
        if let Some(prefix) = args.prefix {
            let prefix = args.place.key(prefix)?;
            delete_prefix(&mut tx, table, &prefix)?;
        }
        for key in args.keys {
            missing |= !table.delete(&mut tx, &args.place.key(key)?)?;
        }
    } else {
        missing = true;
    }
    tx.commit()?;
    if args.shrink {
        store
            .shrink()
            .map_err(|e| format!("deleted, but the space could not be given back: {}", advice::told(&e)))?;
    }
    Ok(if missing { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

fn delete_prefix(tx: &mut WriteTxn<'_>, table: Table, prefix: &[u8]) -> Result<(), Failure> {
    const BATCH: usize = 1024;
    if table.kind() == Kind::Hashed {
        return Ok(table.retain(tx, |key, _| !key.starts_with(prefix))?);
    }
    loop {
        let keys: Vec<Vec<u8>> = table
            .prefix(tx, prefix)?
            .take(BATCH)
            .map(|entry| entry.map(|(key, _)| key.to_vec()))
            .collect::<Result<_, _>>()?;
        for key in &keys {
            if !table.delete(tx, key)? {
                return Err("a key that is listed is not found: see `heapfile kv stat --check`".into());
            }
        }
        if keys.len() < BATCH {
            return Ok(());
        }
    }
}
