//! `heapfile snapshot`: a copy of one state, while others go on.

use crate::output::{self, Style};
use crate::progress::Spinner;
use crate::units::{count, size};
use crate::{Failure, Outcome, target};
use heapfile::{Error, Options, SnapshotOptions};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Copy one state of an arena to another file, while others go on
///
/// The copy is an arena of its own, with all blocks at the same offsets, and takes only the room of what is in use. It is made beside the
/// target under another name and renamed when it is whole and on the disk. Writers of a `power` arena wait for the last moments only;
/// those of a `process` arena for the length of the copying.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  heapfile snapshot my.heap backup.heap\n  \
    heapfile snapshot --force --reflink my.heap backup.heap")]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// The file to make
    to: PathBuf,
    /// Share the blocks on the disk instead of copying them; an error where the file system cannot (it can on XFS and Btrfs)
    #[arg(long)]
    reflink: bool,
    /// Replace the target if it is a regular file, and not the arena itself
    #[arg(long)]
    force: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// What to do about a target that is there: the same that the library replaces, and nothing else, is said to be replaced by --force.
fn exists(path: &Path, args: &Args) -> String {
    if let Some(why) = target::refused(path, &args.file) {
        return why;
    }
    let kind = std::fs::symlink_metadata(path).map(|found| found.file_type());
    let what = match kind {
        Ok(kind) if kind.is_symlink() => "a symbolic link",
        Ok(kind) if kind.is_dir() => "a directory",
        Ok(kind) if !kind.is_file() => "no regular file",
        _ if args.force => return format!("{} changed meanwhile: run this again", path.display()),
        _ => return format!("{} exists already: --force replaces it", path.display()),
    };
    format!("{} is {what}, which a snapshot does not replace: give another name", path.display())
}

pub(crate) fn run(args: Args) -> Outcome {
    // With a handle that may write, so that the writer lock can be had if the writers are too fast.
    let arena = match Options::new().open(&args.file) {
        Err(Error::Io { op: "open", .. }) => Options::new().open_read_only(&args.file)?,
        other => other?,
    };
    let options = SnapshotOptions::new().reflink(args.reflink).overwrite(args.force);
    let snapshot = {
        let _spinner = Spinner::new("copying");
        arena.snapshot(&args.to, &options).map_err(|e| match e {
            Error::AlreadyExists { path } => exists(&path, &args).into(),
            other => Failure::from(other),
        })?
    };
    if args.json {
        output::json(&json!({
            "path": args.file.to_string_lossy(),
            "to": args.to.to_string_lossy(),
            "sequence": snapshot.sequence,
            "file_bytes": snapshot.file_bytes,
            "copied_bytes": snapshot.copied_bytes,
            "recopied_bytes": snapshot.recopied_bytes,
            "held_bytes": snapshot.held_bytes,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = output::buffered();
    writeln!(out, "{}", Style::of_stdout().title(&args.to.display().to_string()))?;
    output::row(&mut out, "state", &format!("after commit {}", count(snapshot.sequence)))?;
    output::row(&mut out, "file", &size(snapshot.file_bytes))?;
    let copied = format!(
        "{}, of which {} again because it changed, {} while commits waited",
        size(snapshot.copied_bytes),
        size(snapshot.recopied_bytes),
        size(snapshot.held_bytes)
    );
    output::row(&mut out, "copied", &copied)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
