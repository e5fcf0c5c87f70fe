//! `heapfile shrink`: gives free space back to the file system.

use crate::output::{self, Style};
use crate::progress::Spinner;
use crate::units::{count, size};
use crate::{Failure, Outcome};
use heapfile::{Options, Shrunk};
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Give free space back to the file system
///
/// Cuts the file behind the last block and punches holes where nothing is inside it. Blocks never move: one at the end keeps the
/// file long, but hollow. Others may have the arena open; writers wait at the end for about as long as one flush of the disk.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  heapfile shrink my.heap\n  heapfile shrink --json my.heap | jq .disk_bytes"
)]
pub(crate) struct Args {
    /// The arena
    file: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Length of a file, and what of it takes room on the disk.
fn sizes(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.len(), metadata.blocks() * 512))
}

pub(crate) fn run(args: &Args) -> Outcome {
    let arena = Options::new().open(&args.file)?;
    tell(&args.file, args.json, || {
        let _spinner = Spinner::new("shrinking");
        Ok(arena.shrink()?)
    })
}

/// Has `shrink` give space of a file back, and says how much that was.
pub(crate) fn tell(file: &Path, json: bool, shrink: impl FnOnce() -> Result<Shrunk, Failure>) -> Outcome {
    let (_, disk_before) = sizes(file)?;
    let shrunk = shrink()?;
    let (_, disk) = sizes(file)?;
    if json {
        output::json(&json!({
            "path": file.to_string_lossy(),
            "file_bytes_before": shrunk.file_bytes_before,
            "file_bytes": shrunk.file_bytes,
            "punched_bytes": shrunk.punched_bytes,
            "disk_bytes_before": disk_before,
            "disk_bytes": disk,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = output::buffered();
    let style = Style::of_stdout();
    let change = |before: u64, now: u64| {
        format!("{} -> {} ({} bytes less)", size(before), size(now), count(before.saturating_sub(now)))
    };
    writeln!(out, "{}", style.title(&file.display().to_string()))?;
    output::row(&mut out, "file", &change(shrunk.file_bytes_before, shrunk.file_bytes))?;
    output::row(&mut out, "on the disk", &change(disk_before, disk))?;
    output::row(
        &mut out,
        "hollow",
        &format!("{} in free extents inside the file", size(shrunk.punched_bytes)),
    )?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
