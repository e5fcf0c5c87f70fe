//! A line chart as SVG: one file that any browser shows, light or dark.

use std::fmt::Write as _;

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 240.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 55.0;
/// Colours that people with any colour vision can tell apart (Okabe and Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One line: its name and points.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart whose x axis is logarithmic.
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// The y axis begins here.
    pub(crate) from: f64,
    pub(crate) lines: Vec<Line>,
}

impl Chart {
    /// The first figure of each power of ten, and the last, as a table in Markdown.
    pub(crate) fn table(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let mut columns: Vec<f64> = points().map(|&(x, _)| x).collect();
        columns.sort_by(f64::total_cmp);
        let last = columns.last().copied();
        columns.dedup_by_key(|x| x.log10().floor());
        if let Some(last) = last.filter(|last| columns.last().is_none_or(|column| column < last)) {
            columns.push(last);
        }
        let heads: String = columns.iter().map(|x| format!(" {x:.0} |")).collect();
        let mut table =
            format!("| {}, by {} |{heads}\n|---|{}\n", self.y, self.x, "---|".repeat(columns.len()));
        for line in &self.lines {
            let at = |x: f64| line.points.iter().find(|point| point.0 == x).map(|point| number(point.1));
            let figures: String =
                columns.iter().map(|&x| format!(" {} |", at(x).unwrap_or_default())).collect();
            let _ = writeln!(table, "| {} |{figures}", line.name);
        }
        table
    }

    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let low = points().map(|(x, _)| x).fold(f64::INFINITY, f64::min).max(1.0).log10().floor();
        let high = points().map(|(x, _)| x).fold(1.0, f64::max).log10().ceil().max(low + 1.0);
        let step = step(points().map(|(_, y)| y).fold(0.0, f64::max) - self.from);
        let steps = ((points().map(|(_, y)| y).fold(0.0, f64::max) - self.from) / step).ceil().max(1.0);
        let at_x = |x: f64| LEFT + (x.log10() - low) / (high - low) * (WIDTH - LEFT - RIGHT);
        let at_y = |y: f64| HEIGHT - BOTTOM - (y - self.from) / (steps * step) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<style>.t{{fill:#222}}.g{{stroke:#bbb}}@media(prefers-color-scheme:dark){{.t{{fill:#ddd}}\
             .g{{stroke:#555}}}}</style>\n<text class=\"t\" x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
            self.title
        );
        for n in 0..=steps as usize {
            let y = self.from + n as f64 * step;
            let (place, text) = (at_y(y), number(y));
            let _ = writeln!(
                svg,
                "<line class=\"g\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>\
                 <text class=\"t\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                place + 4.0
            );
        }
        for power in low as i32..=high as i32 {
            let place = at_x(10f64.powi(power));
            let _ = writeln!(
                svg,
                "<line class=\"g\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
                 <text class=\"t\" x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">1e{power}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"t\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text class=\"t\" x=\"{LEFT}\" y=\"42\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 15.0,
            self.x,
            self.y
        );
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let path: Vec<String> =
                line.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", at_x(x), at_y(y))).collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                path.join(" ")
            );
        }
        for (n, (line, colour)) in self.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let (x, y) = (WIDTH - RIGHT + 15.0, TOP + 10.0 + 20.0 * n as f64);
            let _ = writeln!(
                svg,
                "<line stroke=\"{colour}\" stroke-width=\"3\" x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>\
                 <text class=\"t\" x=\"{}\" y=\"{}\">{}</text>",
                x + 18.0,
                x + 24.0,
                y + 4.0,
                line.name
            );
        }
        svg + "</svg>\n"
    }
}

/// A step of 1, 2 or 5 times a power of ten, of which up to seven make up the range.
fn step(range: f64) -> f64 {
    let rough = (range / 7.0).max(1e-3);
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|&n| n >= rough).unwrap_or(10.0 * power)
}

fn number(y: f64) -> String {
    if y.abs() >= 10.0 { format!("{y:.0}") } else { format!("{y:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_points_lie_in_the_picture() {
        let line = Line { name: "a".to_owned(), points: vec![(10.0, 3.0), (1e6, 250.0)] };
        let svg = Chart { title: "t", x: "x", y: "y", from: 0.0, lines: vec![line] }.svg();
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
        assert!(svg.ends_with("</svg>\n") && svg.contains("1e6"));
    }

    #[test]
    fn a_table_has_a_column_for_each_power_of_ten_and_the_last() {
        let points = vec![(1000.0, 1.5), (2000.0, 2.0), (12_000.0, 250.4), (90_000.0, 3.0)];
        let line = Line { name: "a".to_owned(), points };
        let table = Chart { title: "t", x: "blocks", y: "ns", from: 0.0, lines: vec![line] }.table();
        assert_eq!(
            table,
            "| ns, by blocks | 1000 | 12000 | 90000 |\n|---|---|---|---|\n| a | 1.50 | 250 | 3.00 |\n"
        );
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([step(7.0), step(10.0), step(100.0), step(0.3)], [1.0, 2.0, 20.0, 0.05]);
    }
}
