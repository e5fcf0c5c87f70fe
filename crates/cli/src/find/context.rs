//! What `find` shows of a match: its offset, bytes or lines around it. What overlaps is shown once.
//!
//! Whatever lies around a match is read and written in pieces when its turn comes: memory does not depend on how much was asked for.

use super::FindArgs;
use crate::Failure;
use crate::output::{Out, buffered};
use heapfile::Result;
use heapfile::window::{Buffer, WindowFile};
use std::io::{BufWriter, Write};
use std::ops::Range;

/// The most that is shown of a line before and behind a match.
const LINE: u64 = 4096;
/// Bytes that are read at a time.
const PIECE: u64 = 64 << 10;

/// Shows matches, in the order of their offsets.
pub(super) struct Output<'a> {
    args: &'a FindArgs,
    /// The file's length, and a view that goes along with what is shown.
    len: u64,
    buffer: Buffer,
    to: BufWriter<Out>,
    /// By lines: all before this offset was shown.
    shown: u64,
    /// By lines: how many are still to be shown behind.
    due: u64,
    /// By bytes: those around the last matches, not yet shown, and the offset of the first of these matches.
    group: Option<(u64, Range<u64>)>,
}

impl<'a> Output<'a> {
    pub(super) fn new(args: &'a FindArgs, file: &WindowFile) -> Self {
        let (len, buffer) = (file.len(), file.buffer());
        Self { args, len, buffer, to: buffered(), shown: 0, due: 0, group: None }
    }

    /// A match, as was asked for.
    pub(super) fn show(&mut self, found: &Range<u64>) -> Result<(), Failure> {
        match (self.args.bytes, self.args.lines) {
            (Some(around), _) => self.bytes(found, around),
            (None, None) if self.args.offset => Ok(writeln!(self.to, "{}", found.start)?),
            (None, around) => self.lines(found, around),
        }
    }

    /// What is still to be shown behind the last match.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.close_group()?;
        self.lines_due(self.len)?;
        Ok(self.to.flush()?)
    }

    fn bytes(&mut self, found: &Range<u64>, around: u64) -> Result<(), Failure> {
        let start = found.start.saturating_sub(around);
        let end = found.end.saturating_add(around).min(self.len);
        if let Some((_, group)) = self.group.as_mut().filter(|(_, group)| start <= group.end) {
            group.end = end;
            return Ok(());
        }
        self.close_group()?;
        self.group = Some((found.start, start..end));
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), Failure> {
        self.group.take().map_or(Ok(()), |(offset, group)| self.part(offset, group))
    }

    /// The line of a match and those around it, but for those that were shown already.
    fn lines(&mut self, found: &Range<u64>, around: Option<u32>) -> Result<(), Failure> {
        let line = self.line_start(found.start)?..self.end_of(found)?;
        self.lines_due(line.start)?;
        let mut first = line.start;
        for _ in 0..around.unwrap_or(0) {
            if first <= self.shown || !self.is_feed(first - 1)? {
                break;
            }
            first = self.line_start(first - 1)?.max(self.shown);
        }
        if around.is_some() && self.shown > 0 && first > self.shown {
            writeln!(self.to, "--")?;
        }
        while first < line.start {
            first = self.next_line(first)?;
        }
        // A match over several lines may begin in one that was shown, and a line may be empty.
        let behind = self.behind(line.end)?;
        if self.shown < behind {
            let rest = line.start.max(self.shown)..line.end;
            self.shown = behind;
            self.part(found.start, rest)?;
        }
        self.due = around.unwrap_or(0).into();
        Ok(())
    }

    /// Lines behind the last match that begin before `until`.
    fn lines_due(&mut self, until: u64) -> Result<(), Failure> {
        while self.due > 0 && self.shown < until && self.is_feed(self.shown - 1)? {
            self.due -= 1;
            self.next_line(self.shown)?;
        }
        Ok(())
    }

    /// Shows the line that begins at `start`; where the next one does.
    fn next_line(&mut self, start: u64) -> Result<u64, Failure> {
        let end = self.line_end(start)?;
        self.shown = self.behind(end)?;
        self.part(start, start..end)?;
        Ok(self.shown)
    }

    /// A line of output: perhaps an offset, and the bytes of a range.
    fn part(&mut self, offset: u64, mut part: Range<u64>) -> Result<(), Failure> {
        if self.args.offset {
            write!(self.to, "{offset}:")?;
        }
        while !part.is_empty() {
            let mut piece = &self.buffer.slice(part.start..part.end.min(part.start + PIECE))?[..];
            if part.start + (piece.len() as u64) < part.end {
                piece = &piece[..whole_characters(piece)];
            }
            part.start += piece.len() as u64;
            write_printable(&mut self.to, piece)?;
        }
        Ok(writeln!(self.to)?)
    }

    fn is_feed(&mut self, at: u64) -> Result<bool> {
        Ok(self.buffer.get(at)? == Some(b'\n'))
    }

    fn line_start(&mut self, at: u64) -> Result<u64> {
        let floor = at.saturating_sub(LINE);
        let before = self.buffer.slice(floor..at)?;
        Ok(before.iter().rposition(|&byte| byte == b'\n').map_or(floor, |feed| floor + feed as u64 + 1))
    }

    /// Where the last line of a match ends.
    fn end_of(&mut self, found: &Range<u64>) -> Result<u64> {
        match found.end.checked_sub(1) {
            Some(last) if self.is_feed(last)? => Ok(last),
            _ => self.line_end(found.end),
        }
    }

    /// Where it goes on behind the end of a line: with the next line, or, where it was cut off, with its rest.
    fn behind(&mut self, end: u64) -> Result<u64> {
        Ok(end + u64::from(self.is_feed(end)?))
    }

    /// Offset of the line feed, or where the line is cut off.
    fn line_end(&mut self, at: u64) -> Result<u64> {
        let at = at.min(self.len);
        let behind = self.buffer.slice(at..at.saturating_add(LINE).min(self.len))?;
        let end = behind.iter().position(|&byte| byte == b'\n').unwrap_or(behind.len());
        Ok(at + end as u64)
    }
}

/// Length of what a piece holds before a character of UTF-8 that may be cut off at its end.
fn whole_characters(piece: &[u8]) -> usize {
    let last = piece.len().saturating_sub(3);
    let begins = piece[last..].iter().rposition(|&byte| byte >= 0xC0);
    begins.map_or(piece.len(), |at| last + at)
}

/// Text as it is; control characters and bytes that are no text escaped.
fn write_printable(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        for text in chunk.valid().split_inclusive(is_escaped) {
            let mut characters = text.chars();
            let escaped = characters.next_back().filter(|&c| is_escaped(c));
            let plain = if escaped.is_some() { characters.as_str() } else { text };
            out.write_all(plain.as_bytes())?;
            if let Some(c) = escaped {
                write!(out, "{}", c.encode_utf8(&mut [0; 4]).as_bytes().escape_ascii())?;
            }
        }
        write!(out, "{}", chunk.invalid().escape_ascii())?;
    }
    Ok(())
}

fn is_escaped(c: char) -> bool {
    c.is_control() && c != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_cut_characters() {
        for (piece, whole) in [
            (&b"abcd"[..], 4),
            ("abä".as_bytes(), 2),
            (&"abä".as_bytes()[..3], 2),
            (&"ab\u{1F600}".as_bytes()[..5], 2),
            (b"\x80\x80\x80\x80", 4),
        ] {
            assert_eq!(whole_characters(piece), whole, "{piece:?}");
        }
    }
}
