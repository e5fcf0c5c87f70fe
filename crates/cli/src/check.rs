//! `heapfile check`: looks for damage.

use crate::output::{self, Style};
use crate::progress::Spinner;
use crate::units::{count, counted, size};
use crate::{FOUND, Outcome};
use heapfile::{Counts, Error, Finding, Options};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check an arena for damage
///
/// Checks the superblock, the log, the free tree, the slabs, and that every byte of the heap is exactly one thing: free, or of one
/// block, or metadata. Lists everything that is wrong, not just the first, and changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 sound, 1 damage was found, 2 it could not be checked.\n\n\
    Examples:\n  heapfile check my.heap\n  heapfile check --json my.heap | jq '.findings[]'")]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let (findings, counts) = examine(&args.file)?;
    if args.json {
        output::json(&json!({
            "path": args.file.to_string_lossy(),
            "sound": findings.is_empty(),
            "findings": findings.iter().map(|f| json!({"offset": f.offset, "what": f.what})).collect::<Vec<_>>(),
            "counts": counts.map(|counts| to_json(&counts)),
        }))?;
    } else {
        let mut out = output::buffered();
        print(&mut out, &args.file, &findings, counts.as_ref())?;
        out.flush()?;
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// Something wrong: where, and what.
struct Wrong {
    offset: u64,
    what: String,
}

impl From<Finding> for Wrong {
    fn from(finding: Finding) -> Self {
        Self { offset: finding.offset, what: finding.what }
    }
}

/// All findings and, unless the arena is too damaged to be opened, the counts.
fn examine(file: &Path) -> Result<(Vec<Wrong>, Option<Counts>), Error> {
    let _spinner = Spinner::new("checking");
    let options = Options::new().accept_unsynced(true);
    match options.open_read_only(file).and_then(|arena| arena.check()) {
        Ok(report) => Ok((report.findings.into_iter().map(Wrong::from).collect(), Some(report.counts))),
        // Damage that is in the way of everything else is still what was asked for.
        Err(Error::Corrupt { offset, what }) => Ok((vec![Wrong { offset, what: what.to_owned() }], None)),
        Err(Error::Truncated { needed, found }) => {
            let what = format!("the file was cut short: {needed} bytes are needed, {found} are there");
            Ok((vec![Wrong { offset: found, what }], None))
        }
        Err(e) => Err(e),
    }
}

fn to_json(counts: &Counts) -> serde_json::Value {
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
        return writeln!(out, "  too damaged to be looked into any further: restore a copy");
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
