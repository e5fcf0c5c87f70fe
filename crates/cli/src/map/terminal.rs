//! The picture in a terminal: blocks and colours for people, letters for everything else.

use super::picture::{Cell, Picture};
use crate::output::Style;
use crate::units::{count, counted, size};
use crate::usage::{Kind, Usage};
use std::io::{Result, Write, stdout};
use std::path::Path;

/// Columns before the cells of a row: the offset.
const MARGIN: u64 = 15;
/// Cells of a row where there is no terminal to ask.
const USUAL: u64 = 64;

/// Cells that a row has room for.
pub(super) fn columns() -> u64 {
    let window = rustix::termios::tcgetwinsize(stdout());
    window.map_or(USUAL, |size| u64::from(size.ws_col).saturating_sub(MARGIN).clamp(8, 256))
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Blocks => '#',
        Kind::Slack => '+',
        Kind::Metadata => 'm',
        Kind::Log => 'L',
        Kind::Fixed => 'S',
        Kind::Free => '.',
        Kind::Punched => '_',
        Kind::Tail => ',',
        Kind::Unknown => '?',
    }
}

/// Colour as a parameter of the terminal's SGR sequence.
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Blocks => "32",
        Kind::Slack => "33",
        Kind::Metadata => "35",
        Kind::Log => "36",
        Kind::Fixed => "34",
        Kind::Free | Kind::Punched | Kind::Tail => "2",
        Kind::Unknown => "1;31",
    }
}

/// A sign as high as the cell is full.
fn sign(cell: &Cell) -> char {
    const EIGHTHS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    match cell.fill(8) {
        0 if matches!(cell.leading(), Kind::Punched | Kind::Tail) => ' ',
        eighths => EIGHTHS[eighths.min(8) as usize],
    }
}

pub(super) fn print(out: &mut impl Write, picture: &Picture, path: &Path) -> Result<()> {
    let style = Style::of_stdout();
    let title = format!("{}, {}", path.display(), size(picture.file_bytes));
    writeln!(out, "{}, one cell is {}", style.title(&title), size(picture.cells.bytes))?;
    let cells: Vec<Cell> = picture.cells.all().collect();
    for (row, cells) in cells.chunks(picture.columns as usize).enumerate() {
        let offset = row as u64 * picture.columns * picture.cells.bytes;
        write!(out, "{offset:#013x}  ")?;
        // One sequence for all cells in a row that look alike.
        for alike in cells.chunk_by(|a, b| a.leading() == b.leading()) {
            let kind = alike[0].leading();
            if style.is_coloured() {
                let signs: String = alike.iter().map(sign).collect();
                write!(out, "{}", style.paint(colour(kind), &signs))?;
            } else {
                write!(out, "{}", letter(kind).to_string().repeat(alike.len()))?;
            }
        }
        writeln!(out)?;
    }
    legend(out, &picture.usage, picture.file_bytes, style)?;
    classes(out, &picture.usage)
}

fn legend(out: &mut impl Write, usage: &Usage, file_bytes: u64, style: Style) -> Result<()> {
    writeln!(out)?;
    for kind in Kind::ALL {
        let bytes = usage.of(kind);
        if bytes == 0 && matches!(kind, Kind::Tail | Kind::Unknown) {
            continue;
        }
        let sign = match kind {
            _ if !style.is_coloured() => letter(kind).to_string(),
            Kind::Free => style.paint(colour(kind), "·"),
            Kind::Punched | Kind::Tail => " ".to_owned(),
            _ => style.paint(colour(kind), "█"),
        };
        let share = bytes as f64 * 100.0 / file_bytes.max(1) as f64;
        writeln!(out, "  {sign}  {:<28}{:>12}  {share:>5.1} %", kind.name(), size(bytes))?;
    }
    Ok(())
}

fn classes(out: &mut impl Write, usage: &Usage) -> Result<()> {
    writeln!(out)?;
    if !usage.classes.is_empty() {
        writeln!(
            out,
            "  {:>10}{:>10}{:>14}{:>14}{:>8}  bytes",
            "slots of", "slabs", "used", "slots", "full"
        )?;
    }
    for (slot, class) in &usage.classes {
        let full = class.used as f64 * 100.0 / class.slots.max(1) as f64;
        let (slabs, used, slots) = (count(class.slabs), count(class.used), count(class.slots));
        let bytes = size(class.bytes);
        writeln!(
            out,
            "  {:>10}{slabs:>10}{used:>14}{slots:>14}{full:>6.0} %  {bytes}",
            count((*slot).into())
        )?;
    }
    let (blocks, bytes) = usage.large;
    writeln!(out, "  {} with pages of their own, {}", counted(blocks, "block"), size(bytes))
}
