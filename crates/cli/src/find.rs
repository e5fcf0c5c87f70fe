//! `heapfile find`: where a pattern lies in a file of any size.

use clap::Args;
use heapfile::window::{WindowFile, WindowPool};
use heapfile::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

/// Finds a text or bytes in a file of any size, in a few MiB of memory. Holes of sparse files cost nothing.
///
/// Prints the lines with matches, each once; bytes that are no printable text are escaped. Exit code: 0 if
/// something was found, 1 if not, 2 for an error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  heapfile find huge.log 'out of memory'\n  heapfile find -b --hex my.heap 'de ad be ef'\n  heapfile find --count huge.log ERROR"
)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command")]
pub(crate) struct FindArgs {
    /// The file to search.
    file: PathBuf,
    /// What to find: a text, or with --hex bytes.
    pattern: String,
    /// The pattern is bytes in hexadecimal, as in "de ad be ef" or "deadbeef".
    #[arg(short = 'x', long)]
    hex: bool,
    /// Print only the number of matches.
    #[arg(short, long, conflicts_with_all = ["offset", "bytes", "lines"])]
    count: bool,
    /// Print the byte offset of each match; with --bytes or --lines, in front of what they show.
    #[arg(short = 'b', long)]
    offset: bool,
    /// Show each match with this many bytes on either side.
    #[arg(long, value_name = "N", conflicts_with = "lines")]
    bytes: Option<u64>,
    /// Show this many lines on either side of a line with a match.
    #[arg(short = 'C', long, value_name = "N")]
    lines: Option<u32>,
    /// Stop after this many matches.
    #[arg(short, long, value_name = "N")]
    max_count: Option<u64>,
    /// Print nothing; the exit code tells. Stops at the first match.
    #[arg(short, long, conflicts_with_all = ["count", "offset", "bytes", "lines"])]
    quiet: bool,
    /// Show no progress bar. (There is one for large files if the standard error is a terminal.)
    #[arg(long)]
    no_progress: bool,
}

/// Searched between two steps of the progress bar.
const STEP: u64 = 256 << 20;
/// The most that is shown of a line before and behind a match.
const LINE: u64 = 4096;

/// Runs the command.
pub(crate) fn run(args: &FindArgs) -> Result<ExitCode> {
    let pattern = if args.hex { from_hex(&args.pattern) } else { args.pattern.clone().into_bytes() };
    let file = WindowPool::new().open(&args.file)?;
    let bar = progress(args, file.len());
    let mut out = Output { args, file: &file, to: io::BufWriter::new(io::stdout().lock()), shown: 0 };
    let found = search(args, &file, &pattern, &bar, &mut out)?;
    bar.finish_and_clear();
    if args.count {
        out.write(|to| writeln!(to, "{found}"))?;
    }
    out.write(|to| to.flush())?;
    Ok(ExitCode::from(u8::from(found == 0)))
}

fn search(
    args: &FindArgs,
    file: &WindowFile,
    pattern: &[u8],
    bar: &ProgressBar,
    out: &mut Output<'_>,
) -> Result<u64> {
    let most = if args.quiet { 1 } else { args.max_count.unwrap_or(u64::MAX) };
    let (len, mut at, mut found) = (file.len(), 0, 0);
    while at < len && found < most {
        // A match belongs to the step that it begins in.
        let end = len.min(at.saturating_add(STEP));
        let reach = len.min(end.saturating_add(pattern.len().saturating_sub(1) as u64));
        let mut next = end;
        for offset in file.find_iter(pattern, at..reach)? {
            let offset = offset?;
            found += 1;
            next = next.max(offset + pattern.len() as u64);
            if !args.count && !args.quiet {
                bar.suspend(|| out.show(offset..offset + pattern.len() as u64))?;
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

/// Text as it is; control characters and bytes that are no text escaped.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\t' {
                text.extend(c.to_string().bytes().flat_map(std::ascii::escape_default).map(char::from));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().flat_map(std::ascii::escape_default).map(char::from));
    }
    text
}

struct Output<'a> {
    args: &'a FindArgs,
    file: &'a WindowFile,
    to: io::BufWriter<io::StdoutLock<'a>>,
    /// All before this offset was shown, by lines.
    shown: u64,
}

impl Output<'_> {
    fn write(
        &mut self,
        what: impl FnOnce(&mut io::BufWriter<io::StdoutLock<'_>>) -> io::Result<()>,
    ) -> Result<()> {
        what(&mut self.to).map_err(|source| Error::Io { op: "write", path: "standard output".into(), source })
    }

    fn show(&mut self, found: Range<u64>) -> Result<()> {
        if let Some(around) = self.args.bytes {
            let part =
                found.start.saturating_sub(around)..found.end.saturating_add(around).min(self.file.len());
            return self.part(Some(found.start), part);
        }
        match self.args.lines {
            None if self.args.offset => self.write(|to| writeln!(to, "{}", found.start)),
            lines => self.show_lines(&found, lines),
        }
    }

    fn part(&mut self, offset: Option<u64>, part: Range<u64>) -> Result<()> {
        let text = printable(&self.file.buffer().slice(part)?);
        match offset.filter(|_| self.args.offset) {
            Some(offset) => self.write(|to| writeln!(to, "{offset}:{text}")),
            None => self.write(|to| writeln!(to, "{text}")),
        }
    }

    /// The line of a match and those around it, but for those that were shown already.
    fn show_lines(&mut self, found: &Range<u64>, around: Option<u32>) -> Result<()> {
        let line = self.line_start(found.start)?..self.line_end(found.end)?;
        let mut lines = std::collections::VecDeque::from([line.clone()]);
        for _ in 0..around.unwrap_or(0) {
            let (first, last) = (lines[0].start, lines[lines.len() - 1].end);
            if first > 0 && self.is_feed(first - 1)? {
                lines.push_front(self.line_start(first - 1)?..first - 1);
            }
            if last + 1 < self.file.len() && self.is_feed(last)? {
                lines.push_back(last + 1..self.line_end(last + 1)?);
            }
        }
        lines.retain(|line| line.start >= self.shown);
        let Some(first) = lines.front() else { return Ok(()) };
        if around.is_some() && self.shown > 0 && first.start > self.shown {
            self.write(|to| writeln!(to, "--"))?;
        }
        for shown in lines {
            let at = if shown == line { found.start } else { shown.start };
            self.shown = shown.end + 1;
            self.part(Some(at), shown)?;
        }
        Ok(())
    }

    fn is_feed(&self, at: u64) -> Result<bool> {
        Ok(self.file.get::<u8>(at)? == b'\n')
    }

    fn line_start(&self, at: u64) -> Result<u64> {
        let floor = at.saturating_sub(LINE);
        Ok(self.file.rfind(b"\n", floor..at)?.map_or(floor, |feed| feed + 1))
    }

    /// Offset of the line feed, or where the line is cut off.
    fn line_end(&self, at: u64) -> Result<u64> {
        let at = at.min(self.file.len());
        let ceiling = at.saturating_add(LINE).min(self.file.len());
        Ok(self.file.find(b"\n", at..ceiling)?.unwrap_or(ceiling))
    }
}
