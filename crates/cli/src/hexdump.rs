//! `heapfile hexdump`: bytes of a file of any size.

use crate::output::buffered;
use crate::units::counted;
use crate::{Failure, Outcome};
use clap::Args;
use heapfile::Result;
use heapfile::window::{Buffer, DataRanges, WindowPool};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show bytes of a file of any size in hexadecimal and as text
///
/// Rows that repeat the one before are shown as one `*`; holes of sparse files are passed over without being read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  heapfile hexdump my.heap | head\n  heapfile hexdump my.heap 0x1000+64\n  \
    heapfile hexdump disk.img 512M..513M"
)]
pub(crate) struct HexdumpArgs {
    /// The file to show
    file: PathBuf,
    /// What to show: START..END, START+LENGTH, START.. or ..END; numbers are decimal or 0x…, with K, M, G or T for
    /// powers of 1024
    #[arg(value_parser = parse)]
    range: Option<Part>,
    /// Show all rows, also those that repeat the one before
    #[arg(short = 'v', long)]
    no_squeezing: bool,
}

const ROW: u64 = 16;
/// Looked at once.
const BLOCK: u64 = 4096;

/// Runs the command.
pub(crate) fn run(args: &HexdumpArgs) -> Outcome {
    let file = WindowPool::new().open(&args.file)?;
    let range = match &args.range {
        Some(part) => part.of(file.len()).map_err(|why| format!("{}: {why}", args.file.display()))?,
        None => 0..file.len(),
    };
    let mut dump = Dump {
        data: file.data_ranges(range.clone())?,
        next_data: range.start..range.start,
        buffer: file.buffer(),
        squeeze: !args.no_squeezing,
        digits: if range.end > u64::from(u32::MAX) { 16 } else { 8 },
        last: None,
        starred: false,
    };
    let mut to = buffered();
    dump.all(range, &mut to)?;
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What to show, as asked for.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: u64,
    /// To the end of the file if there is none.
    end: Option<u64>,
}

impl Part {
    /// The part of a file of `len` bytes: as one wants who pages, it may end behind it.
    fn of(self, len: u64) -> Result<Range<u64>, String> {
        let end = self.end.map_or(len, |end| end.min(len));
        if self.start > end {
            return Err(format!("there is nothing at {}: the file has {}", self.start, counted(len, "byte")));
        }
        Ok(self.start..end)
    }
}

fn parse(text: &str) -> Result<Part, &'static str> {
    let part = if let Some((start, end)) = text.split_once("..") {
        let start = if start.is_empty() { Some(0) } else { number(start) };
        let end = if end.is_empty() { Some(None) } else { number(end).map(Some) };
        start.zip(end)
    } else {
        text.split_once('+').and_then(|(start, length)| {
            let start = if start.is_empty() { 0 } else { number(start)? };
            Some((start, Some(start.checked_add(number(length)?)?)))
        })
    };
    match part {
        Some((start, end)) if end.is_none_or(|end| start <= end) => Ok(Part { start, end }),
        _ => Err("give START..END, START+LENGTH, START.. or ..END, each a number such as 4096, 0x1000 or 4K"),
    }
}

fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    value.checked_mul(1u64 << shift)
}

struct Dump {
    data: DataRanges,
    /// The first data at or behind where the dump is.
    next_data: Range<u64>,
    buffer: Buffer,
    squeeze: bool,
    digits: usize,
    last: Option<[u8; ROW as usize]>,
    starred: bool,
}

impl Dump {
    fn all(&mut self, range: Range<u64>, to: &mut impl Write) -> Result<(), Failure> {
        let mut at = range.start;
        while at < range.end {
            let skip = self.skip(at, range.end)?;
            if skip > 0 {
                self.star(to)?;
                at += skip;
            }
            let block = at..range.end.min(at + BLOCK);
            let bytes = self.buffer.slice(block.clone())?.into_owned();
            for row in bytes.chunks(ROW as usize) {
                self.row(at, row, to)?;
                at += row.len() as u64;
            }
        }
        if !range.is_empty() {
            writeln!(to, "{at:0digits$x}", digits = self.digits)?;
        }
        Ok(())
    }

    /// Bytes of whole rows from `at` on that lie in a hole and would be squeezed. The last row is never skipped.
    fn skip(&mut self, at: u64, end: u64) -> Result<u64> {
        if !self.squeeze || self.last != Some([0; ROW as usize]) {
            return Ok(0);
        }
        while self.next_data.end <= at {
            self.next_data = match self.data.next() {
                Some(data) => data?,
                None => end..u64::MAX,
            };
        }
        let hole = self.next_data.start.min(end - 1).saturating_sub(at);
        Ok(hole / ROW * ROW)
    }

    fn star(&mut self, to: &mut impl Write) -> io::Result<()> {
        if !std::mem::replace(&mut self.starred, true) {
            writeln!(to, "*")?;
        }
        Ok(())
    }

    fn row(&mut self, at: u64, row: &[u8], to: &mut impl Write) -> io::Result<()> {
        let whole: Option<[u8; ROW as usize]> = row.try_into().ok();
        if self.squeeze && whole.is_some() && whole == self.last {
            return self.star(to);
        }
        (self.last, self.starred) = (whole, false);
        write!(to, "{at:0digits$x} ", digits = self.digits)?;
        for i in 0..ROW as usize {
            if i % 8 == 0 {
                write!(to, " ")?;
            }
            match row.get(i) {
                Some(byte) => write!(to, "{byte:02x} ")?,
                None => write!(to, "   ")?,
            }
        }
        let text: String = row
            .iter()
            .map(|&b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '.' })
            .collect();
        writeln!(to, " |{text}|")
    }
}
