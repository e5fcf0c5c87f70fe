//! The picture as SVG: one file, no script, no fonts, nothing to fetch.

use super::picture::{Cell, Picture};
use crate::units::{count, size};
use crate::usage::Kind;
use std::fmt::Write;
use std::path::Path;

/// Side of a cell, and of the gap between two.
const CELL: u64 = 13;
const STEP: u64 = 14;
/// Left edge of the cells: before them the offsets.
const LEFT: u64 = 118;
const TOP: u64 = 56;
const LINE: u64 = 20;

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Blocks => "#2a9d5c",
        Kind::Slack => "#e9c46a",
        Kind::Metadata => "#9b5de5",
        Kind::Log => "#3a9fc9",
        Kind::Fixed => "#3b5bb5",
        Kind::Free => "#dfe3e8",
        Kind::Punched | Kind::Tail => "#ffffff",
        Kind::Unknown => "#d62828",
    }
}

/// Text that may stand in XML: markup escaped, and what XML cannot hold replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    safe
}

pub(super) fn render(picture: &Picture, path: &Path) -> String {
    let rows = (picture.cells.all().len() as u64).div_ceil(picture.columns).max(1);
    let picture_end = TOP + rows * STEP;
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|&k| !matches!(k, Kind::Tail | Kind::Unknown) || picture.usage.of(k) > 0)
        .collect();
    let table_rows = picture.usage.classes.len() as u64 + 2;
    let width = (LEFT + picture.columns * STEP + 20).max(760);
    let height = picture_end + 40 + (kinds.len() as u64).max(table_rows) * LINE + 20;
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"26\" font-size=\"15\" font-weight=\"bold\">{}</text>\n\
         <text x=\"20\" y=\"44\" fill=\"#666\">{}, one cell is {}</text>\n",
        escaped(&path.display().to_string()),
        size(picture.file_bytes),
        size(picture.cells.bytes),
    );
    cells(&mut svg, picture);
    legend(&mut svg, picture, &kinds, picture_end + 40);
    classes(&mut svg, picture, picture_end + 40);
    svg.push_str("</svg>\n");
    svg
}

fn cells(svg: &mut String, picture: &Picture) {
    for (index, cell) in picture.cells.all().enumerate() {
        let index = index as u64;
        let (column, row) = (index % picture.columns, index / picture.columns);
        let (x, y) = (LEFT + column * STEP, TOP + row * STEP);
        let offset = index * picture.cells.bytes;
        if column == 0 {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" fill=\"#666\" text-anchor=\"end\">{offset:#x}</text>",
                LEFT - 8,
                y + 11
            );
        }
        one_cell(svg, &cell, x, y, offset);
    }
}

/// A cell: its kinds stacked from the bottom, each as high as its share.
fn one_cell(svg: &mut String, cell: &Cell, x: u64, y: u64, offset: u64) {
    let parts: Vec<(Kind, u64)> =
        Kind::ALL.into_iter().map(|kind| (kind, cell.of(kind))).filter(|part| part.1 > 0).collect();
    let all: u64 = parts.iter().map(|part| part.1).sum();
    let _ = write!(svg, "<g><title>{offset:#x}:");
    for (kind, bytes) in &parts {
        let _ = write!(svg, " {} {},", kind.name(), size(*bytes));
    }
    svg.pop();
    svg.push_str("</title>");
    let mut bottom = (y + CELL) as f64;
    for (kind, bytes) in parts {
        let high = CELL as f64 * bytes as f64 / all as f64;
        bottom -= high;
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{bottom:.2}\" width=\"{CELL}\" height=\"{high:.2}\" fill=\"{}\"/>",
            colour(kind)
        );
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"none\" stroke=\"#c8cdd3\" stroke-width=\"0.5\"/></g>"
    );
}

fn legend(svg: &mut String, picture: &Picture, kinds: &[Kind], top: u64) {
    for (line, &kind) in kinds.iter().enumerate() {
        let y = top + line as u64 * LINE;
        let bytes = picture.usage.of(kind);
        let share = bytes as f64 * 100.0 / picture.file_bytes.max(1) as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"20\" y=\"{}\" width=\"13\" height=\"13\" fill=\"{}\" stroke=\"#c8cdd3\"/>\
             <text x=\"42\" y=\"{y}\">{}</text>\
             <text x=\"330\" y=\"{y}\" text-anchor=\"end\">{}</text>\
             <text x=\"390\" y=\"{y}\" text-anchor=\"end\">{share:.1} %</text>",
            y - 11,
            colour(kind),
            kind.name(),
            size(bytes)
        );
    }
}

/// What each size class holds, as a bar and in numbers.
fn classes(svg: &mut String, picture: &Picture, top: u64) {
    let _ = writeln!(
        svg,
        "<text x=\"490\" y=\"{top}\" fill=\"#666\" text-anchor=\"end\">slots of</text>\
         <text x=\"502\" y=\"{top}\" fill=\"#666\">in use</text>"
    );
    let mut y = top;
    for (slot, class) in &picture.usage.classes {
        y += LINE;
        let full = class.used as f64 / class.slots.max(1) as f64;
        let _ = writeln!(
            svg,
            "<text x=\"490\" y=\"{y}\" text-anchor=\"end\">{}</text>\
             <rect x=\"502\" y=\"{}\" width=\"90\" height=\"11\" fill=\"{}\"/>\
             <rect x=\"502\" y=\"{}\" width=\"{:.1}\" height=\"11\" fill=\"{}\"/>\
             <text x=\"600\" y=\"{y}\">{} of {}</text>",
            count((*slot).into()),
            y - 10,
            colour(Kind::Slack),
            y - 10,
            90.0 * full,
            colour(Kind::Blocks),
            count(class.used),
            count(class.slots)
        );
    }
    let (blocks, bytes) = picture.usage.large;
    let _ = writeln!(
        svg,
        "<text x=\"430\" y=\"{}\">{} with pages of their own, {}</text>",
        y + LINE,
        crate::units::counted(blocks, "block"),
        size(bytes)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_markup() {
        assert_eq!(escaped("a<b>&\"c\u{1b}"), "a&lt;b&gt;&amp;&quot;c\u{FFFD}");
    }
}
