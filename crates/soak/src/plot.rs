//! Lines over time as an SVG drawing.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// Lines that share an axis.
pub(crate) struct Panel<'a> {
    pub(crate) name: &'a str,
    /// Each with a name and its points.
    pub(crate) lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 40.0;
const GAP: f64 = 40.0;
const COLOURS: [&str; 4] = ["#1f77b4", "#2ca02c", "#d62728", "#9467bd"];

/// Draws the panels one below the other, over the same time.
pub(crate) fn plot(title: &str, panels: &[Panel<'_>]) -> String {
    let height = TOP + panels.len() as f64 * (HEIGHT + GAP) + 10.0;
    let full = LEFT + WIDTH + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{full}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{title}</text>\n"
    );
    let points = || panels.iter().flat_map(|panel| &panel.lines).flat_map(|(_, points)| points);
    let end = points().map(|point| point.0).fold(1.0, f64::max);
    for (i, panel) in panels.iter().enumerate() {
        draw(&mut svg, panel, TOP + i as f64 * (HEIGHT + GAP), end);
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, panel: &Panel<'_>, top: f64, end: f64) {
    let most = panel.lines.iter().flat_map(|(_, points)| points).map(|point| point.1).fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.05 } else { 1.0 };
    let bottom = top + HEIGHT;
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#999\"/>\n\
         <text x=\"{LEFT}\" y=\"{}\" fill=\"#333\">{}</text>",
        top - 5.0,
        panel.name
    );
    for step in 0..=4 {
        let (share, digits) = (f64::from(step) / 4.0, if most < 10.0 { 2 } else { 0 });
        let (y, x) = (bottom - share * HEIGHT, LEFT + share * WIDTH);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#eee\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.digits$}</text>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{:.0} s</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0,
            share * most,
            bottom + 14.0,
            share * end
        );
    }
    for (i, (name, points)) in panel.lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let path: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", LEFT + x / end * WIDTH, bottom - y / most * HEIGHT))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            path.join(" "),
            LEFT + 8.0 + 60.0 * i as f64,
            top + 16.0
        );
    }
}
