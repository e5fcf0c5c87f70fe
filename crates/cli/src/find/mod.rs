//! `heapfile find`: where a pattern lies in a file of any size.

mod context;

use crate::output::buffered;
use crate::{Failure, Outcome, unless_unread};
use clap::Args;
use context::Output;
use heapfile::Result;
use heapfile::window::{WindowFile, WindowPool};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

/// Find a text or bytes in a file of any size
///
/// Prints the lines with matches, each once; bytes that are no printable text are escaped, and of a long line 4096 bytes on either side of the match
/// are shown. Needs a few MiB of memory; holes of sparse files cost nothing, unless the pattern is all zeros.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 found, 1 not found, 2 an error.\n\n\
    Examples:\n  heapfile find access.log ' 500 ' -C 2\n  heapfile find --count access.log ' 500 '\n  \
    heapfile find --hex --offset disk.img '50 4b 03 04'\n  heapfile find --bytes 16 core.1234 password")]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command")]
pub(crate) struct FindArgs {
    /// The file to search
    file: PathBuf,
    /// What to find: a text, or with --hex bytes
    pattern: String,
    /// The pattern is bytes in hexadecimal, as in "de ad be ef" or "deadbeef"
    #[arg(short = 'x', long)]
    hex: bool,
    /// Print only the number of matches
    #[arg(short, long, conflicts_with_all = ["offset", "bytes", "lines"])]
    count: bool,
    /// Print the byte offset of each match; with --bytes or --lines, in front of what they show: of the first match in it, or of a line without one
    #[arg(short = 'b', long)]
    offset: bool,
    /// Show each match with this many bytes on either side; matches whose bytes overlap or touch are shown as one
    #[arg(long, value_name = "N", conflicts_with = "lines")]
    bytes: Option<u64>,
    /// Show this many lines on either side of a line with a match, with `--` between groups that do not touch
    #[arg(short = 'C', long, value_name = "N")]
    lines: Option<u32>,
    /// Stop after this many matches
    #[arg(short, long, value_name = "N")]
    max_count: Option<u64>,
    /// Print nothing; the exit code tells. Stops at the first match
    #[arg(short, long, conflicts_with_all = ["count", "offset", "bytes", "lines"])]
    quiet: bool,
    /// Show no progress bar; there is one for files of 1 GiB and more if stderr is a terminal
    #[arg(long)]
    no_progress: bool,
}

/// Searched between two steps of the progress bar.
const STEP: u64 = 256 << 20;

/// Runs the command.
pub(crate) fn run(args: &FindArgs) -> Outcome {
    let pattern = if args.hex { from_hex(&args.pattern) } else { args.pattern.clone().into_bytes() };
    let file = WindowPool::new().open(&args.file)?;
    let bar = progress(args, file.len());
    let mut out = Output::new(args, &file);
    let found = search(args, &file, &pattern, &bar, &mut out)?;
    bar.finish_and_clear();
    unless_unread(out.finish())?;
    if args.count {
        let mut out = buffered();
        let told = writeln!(out, "{found}").and_then(|()| out.flush());
        unless_unread(told.map_err(Failure::from))?;
    }
    Ok(ExitCode::from(u8::from(found == 0)))
}

fn search(
    args: &FindArgs,
    file: &WindowFile,
    pattern: &[u8],
    bar: &ProgressBar,
    out: &mut Output<'_>,
) -> Result<u64, Failure> {
    let most = if args.quiet { 1 } else { args.max_count.unwrap_or(u64::MAX) };
    let (len, mut at, mut found) = (file.len(), 0, 0);
    while at < len && found < most {
        at = behind_hole(file, pattern, at..len)?;
        // A match belongs to the step that it begins in.
        let end = len.min(at.saturating_add(STEP));
        let reach = len.min(end.saturating_add(pattern.len().saturating_sub(1) as u64));
        let mut next = end;
        for offset in file.find_iter(pattern, at..reach)? {
            let offset = offset?;
            found += 1;
            next = next.max(offset + pattern.len() as u64);
            if !args.count && !args.quiet {
                bar.suspend(|| out.show(&(offset..offset + pattern.len() as u64)))?;
            }
            if found == most {
                break;
            }
        }
        at = next;
        bar.set_position(at);
    }
    if len == 0 {
        // Refuses an empty pattern in an empty file too.
        file.find(pattern, ..)?;
    }
    Ok(found)
}

/// The first offset of a range that a match may begin at: not in a hole, unless data follows before its end, or it is all zeros.
fn behind_hole(file: &WindowFile, pattern: &[u8], range: Range<u64>) -> Result<u64> {
    if pattern.iter().all(|&byte| byte == 0) {
        return Ok(range.start);
    }
    let data = file.data_ranges(range.clone())?.next().transpose()?;
    let begin = data.map(|data| data.start.saturating_sub(pattern.len() as u64 - 1));
    Ok(begin.map_or(range.end, |begin| begin.max(range.start)))
}

fn progress(args: &FindArgs, len: u64) -> ProgressBar {
    if args.no_progress || len < 4 * STEP {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(len).with_style(style.expect("a sound template"))
}

/// Bytes from digits; spaces, commas, colons and a leading 0x may stand between. Anything else is a wrong
/// command line.
fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.trim_start_matches("0x").chars().filter(|c| !matches!(c, ' ' | ',' | ':' | '_'));
    let digits: Option<Vec<u8>> = digits.map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => {
            digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        }
        _ => {
            let why = "with --hex the pattern must be two hexadecimal digits for each byte, as in \"de ad be ef\"\n";
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, why).exit()
        }
    }
}
