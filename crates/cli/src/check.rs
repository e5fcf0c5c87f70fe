//! `heapfile check`: looks for damage.

use crate::output::{self, Style};
use crate::progress::Spinner;
use crate::units::{count, counted, size};
use crate::{FOUND, Failure, Outcome, advice, target, unless_unread};
use heapfile::store::Store;
use heapfile::{Arena, Counts, Error, Finding, Options, Report};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check an arena for damage
///
/// Checks the superblock, the log, the free tree, the slabs, and that every byte of the heap is exactly one thing: free, or of one
/// block, or metadata. Lists everything that is wrong, not just the first, and changes nothing, except that
/// commits which a crash left in the log are completed, as by any command that may write the file (--salvage only reads). Of a store, as `kv` makes one, it goes
/// through all tables too, up to the first thing that is wrong there.
///
/// With --repair, of an arena that nobody has open, it builds the metadata anew from what of it is sound: blocks stay where they are, pages
/// that nothing vouches for are kept as blocks, and what could not be told for certain is listed. Tables are looked through, not repaired. The pages that it changes are saved
/// beside the arena first.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 sound, 1 damage was found (--repair, --salvage: something is listed as damaged, or still wrong), 2 it could not be checked.\n\n\
    Examples:\n  heapfile check my.heap\n  heapfile check --json my.heap | jq '.findings[]'\n  heapfile check --repair my.heap\n  heapfile check --salvage new.heap my.heap"
)]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// Repair it: build its metadata anew from what is sound
    #[arg(long)]
    repair: bool,
    /// Bring all blocks and roots that can be told into a new arena TO, where they keep their offsets, and only read this one
    #[arg(long, value_name = "TO", conflicts_with = "repair")]
    salvage: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    if args.repair {
        return repair(&args);
    }
    if let Some(to) = &args.salvage {
        return salvage(&args, to);
    }
    let (findings, counts) = examine(&args.file)?;
    unless_unread(show(&args, &findings, counts.as_ref()))?;
    Ok(code(findings.is_empty()))
}

fn show(args: &Args, findings: &[Wrong], counts: Option<&Counts>) -> Result<(), Failure> {
    if args.json {
        return output::json(&json!({
            "path": args.file.to_string_lossy(),
            "sound": findings.is_empty(),
            "findings": findings.iter().map(|f| place(f.offset, &f.what)).collect::<Vec<_>>(),
            "counts": counts.map(to_json),
        }));
    }
    let mut out = output::buffered();
    print(&mut out, &args.file, findings, counts)?;
    Ok(out.flush()?)
}

fn code(whole: bool) -> ExitCode {
    if whole { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
}

fn repair(args: &Args) -> Outcome {
    let repair = {
        let _spinner = Spinner::new("repairing");
        Arena::repair(&args.file)?
    };
    let words = counted(repair.changed_words, "word");
    let row = match &repair.backup {
        Some(path) => format!("{words}, their pages saved in {}", path.display()),
        None => words,
    };
    let backup = repair.backup.as_ref().map(|path| path.to_string_lossy());
    let more = [("changed_words", json!(repair.changed_words)), ("backup", json!(backup))];
    tell(args, &args.file, &repair.losses, repair.report, more, Some(("repaired", &row)))
}

fn salvage(args: &Args, to: &Path) -> Outcome {
    let salvage = {
        let _spinner = Spinner::new("salvaging");
        Arena::salvage(&args.file, to).map_err(|e| match e {
            Error::AlreadyExists { .. } => exists(to, &args.file).into(),
            other => Failure::from(other),
        })?
    };
    tell(args, to, &salvage.losses, salvage.report, [("to", json!(to.to_string_lossy()))], None)
}

/// What to do about a file that is where the new arena was to be.
fn exists(to: &Path, arena: &Path) -> String {
    let advice = || format!("{} exists already: give another name, or remove it first", to.display());
    target::refused(to, arena).unwrap_or_else(advice)
}

/// Tells what became of a damaged arena, in the file that is `mended`: what was lost, what a check of it and its tables finds, and `more`, in JSON, or a `row`.
fn tell(
    args: &Args,
    mended: &Path,
    losses: &[Finding],
    report: Report,
    more: impl IntoIterator<Item = (&'static str, Value)>,
    row: Option<(&str, &str)>,
) -> Outcome {
    let mut findings: Vec<Wrong> = report.findings.into_iter().map(Wrong::from).collect();
    check_store_of(mended, &mut findings);
    let whole = findings.is_empty() && losses.is_empty();
    unless_unread(show_mended(args, mended, losses, &findings, &report.counts, more, row))?;
    Ok(code(whole))
}

fn show_mended(
    args: &Args,
    mended: &Path,
    losses: &[Finding],
    findings: &[Wrong],
    counts: &Counts,
    more: impl IntoIterator<Item = (&'static str, Value)>,
    row: Option<(&str, &str)>,
) -> Result<(), Failure> {
    if args.json {
        let mut told = json!({
            "path": args.file.to_string_lossy(),
            "sound": findings.is_empty(),
            "losses": losses.iter().map(|loss| place(loss.offset, &loss.what)).collect::<Vec<_>>(),
            "findings": findings.iter().map(|f| place(f.offset, &f.what)).collect::<Vec<_>>(),
            "counts": to_json(counts),
        });
        for (name, value) in more {
            told[name] = value;
        }
        return output::json(&told);
    }
    let mut out = output::buffered();
    for loss in losses {
        writeln!(out, "damaged: {loss}")?;
    }
    print(&mut out, mended, findings, Some(counts))?;
    if let Some((name, value)) = row {
        output::row(&mut out, name, value)?;
    }
    Ok(out.flush()?)
}

/// Something wrong: where, and what.
#[derive(PartialEq, Eq)]
struct Wrong {
    offset: u64,
    what: String,
}

impl From<Finding> for Wrong {
    fn from(finding: Finding) -> Self {
        Self { offset: finding.offset, what: finding.what }
    }
}

fn open(file: &Path) -> Result<Arena, Error> {
    Options::new().accept_unsynced(true).open_read_only(file)
}

/// All findings and, unless the arena is too damaged to be opened, the counts.
fn examine(file: &Path) -> Result<(Vec<Wrong>, Option<Counts>), Error> {
    let _spinner = Spinner::new("checking");
    let look = || {
        let arena = open(file)?;
        let report = arena.check()?;
        let mut findings = report.findings.into_iter().map(Wrong::from).collect();
        check_store(arena, &mut findings)?;
        Ok((findings, Some(report.counts)))
    };
    // Damage that is in the way of everything else is still what was asked for.
    look().or_else(|e| Ok((vec![damage(&e).ok_or(e)?], None)))
}

/// The same after a repair: what it has done is told whatever comes of this.
fn check_store_of(file: &Path, findings: &mut Vec<Wrong>) {
    if let Err(e) = open(file).and_then(|arena| check_store(arena, findings)) {
        findings.push(Wrong {
            offset: 0,
            what: format!("its tables could not be gone through: {}", advice::told(&e)),
        });
    }
}

/// Goes through the tables of the store, if the arena has one: the first contradiction is a finding.
fn check_store(arena: Arena, findings: &mut Vec<Wrong>) -> Result<(), Error> {
    match Store::with(arena).check() {
        // The root of that name is no store's.
        Ok(()) | Err(Error::TypeMismatch { .. }) => Ok(()),
        Err(e) => {
            let wrong = damage(&e).ok_or(e)?;
            // What is in the way of every look at roots is found already.
            if !findings.contains(&wrong) {
                findings.push(wrong);
            }
            Ok(())
        }
    }
}

/// Where something is wrong with an arena or its tables, if an error of a look at them says so.
pub(crate) fn place_of_damage(error: &Error) -> Option<u64> {
    match *error {
        Error::Corrupt { offset, .. }
        | Error::Truncated { found: offset, .. }
        | Error::BadOffset { offset, .. }
        | Error::OutOfBounds { offset, .. }
        | Error::SizeMismatch { offset, .. } => Some(offset),
        _ => None,
    }
}

/// The same, with what is wrong.
fn damage(error: &Error) -> Option<Wrong> {
    let offset = place_of_damage(error)?;
    let what = match *error {
        Error::Corrupt { what, .. } => what.to_owned(),
        Error::Truncated { needed, found } => {
            format!("the file was cut short: {needed} bytes are needed, {found} are there")
        }
        _ => format!("a table does not fit its blocks: {error}"),
    };
    Some(Wrong { offset, what })
}

fn place(offset: u64, what: &str) -> Value {
    json!({"offset": offset, "what": what})
}

fn to_json(counts: &Counts) -> Value {
    json!({
        "blocks": counts.blocks,
        "block_bytes": counts.block_bytes,
        "slack_bytes": counts.slack_bytes,
        "slabs": counts.slabs,
        "free_slot_bytes": counts.free_slot_bytes,
        "extents": counts.extents,
        "free_bytes": counts.free_bytes,
        "heap_bytes": counts.heap_bytes,
        "roots": counts.roots,
        "log_records": counts.log_records,
    })
}

fn print(
    out: &mut impl Write,
    file: &Path,
    findings: &[Wrong],
    counts: Option<&Counts>,
) -> std::io::Result<()> {
    let style = Style::of_stdout();
    for wrong in findings {
        writeln!(out, "{:#x}: {}", wrong.offset, wrong.what)?;
    }
    let verdict = match findings.len() {
        0 => style.good("sound"),
        n => style.bad(&counted(n as u64, "finding")),
    };
    writeln!(out, "{}: {verdict}", file.display())?;
    let Some(counts) = counts else {
        return writeln!(
            out,
            "  too damaged to be looked into any further: try --repair, or --salvage NEW, or restore a copy"
        );
    };
    let blocks = format!(
        "{} with {}, {} lost to rounding",
        count(counts.blocks),
        size(counts.block_bytes),
        size(counts.slack_bytes)
    );
    output::row(out, "blocks", &blocks)?;
    output::row(
        out,
        "slabs",
        &format!("{}, {} in free slots", count(counts.slabs), size(counts.free_slot_bytes)),
    )?;
    let extents = counted(counts.extents, "extent");
    output::row(
        out,
        "free",
        &format!("{} of {} in {extents}", size(counts.free_bytes), size(counts.heap_bytes)),
    )?;
    output::row(out, "roots", &count(counts.roots))?;
    output::row(out, "log", &format!("{} since the last checkpoint", counted(counts.log_records, "record")))
}
