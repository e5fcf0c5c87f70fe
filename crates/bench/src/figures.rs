//! A table of named rows of one system: what the scenes of `sharing` and the bench `loads` print.
//!
//! Every row may name the row that it is compared with; the ratio is the median of the ratios round by round, as in `report`.

use std::io::{self, Write};

use serde_json::json;

use crate::report::{bounds, figure, median, ratio_by_round};
use crate::system::Result;

struct Row {
    name: &'static str,
    /// Place of the row that this one is compared with.
    reference: Option<usize>,
    samples: Vec<f64>,
}

/// Rows of one measure. Smaller is better.
pub(crate) struct Figures {
    work: String,
    title: &'static str,
    unit: &'static str,
    /// What was measured, for programs that read the figures.
    system: &'static str,
    rows: Vec<Row>,
}

impl Figures {
    pub(crate) fn new(work: impl Into<String>, title: &'static str, unit: &'static str) -> Self {
        Self { work: work.into(), title, unit, system: "heapfile", rows: Vec::new() }
    }

    /// Figures of something else than heapfile.
    pub(crate) fn of(mut self, system: &'static str) -> Self {
        self.system = system;
        self
    }

    /// One more row, compared with the one at `reference`.
    pub(crate) fn row(mut self, name: &'static str, reference: Option<usize>) -> Self {
        debug_assert!(reference.is_none_or(|at| at < self.rows.len()));
        self.rows.push(Row { name, reference, samples: Vec::new() });
        self
    }

    pub(crate) fn add(&mut self, row: usize, sample: f64) {
        self.rows[row].samples.push(sample);
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.samples.is_empty())
    }

    /// Measures all rows in each round, in an order that moves on from round to round.
    pub(crate) fn interleave(
        mut self,
        rounds: usize,
        mut measure: impl FnMut(usize) -> Result<f64>,
    ) -> Result<Self> {
        for at in turns(rounds, self.rows.len()) {
            self.add(at, measure(at)?);
        }
        Ok(self)
    }

    fn ratio(&self, row: &Row) -> Option<(&'static str, f64)> {
        let reference = &self.rows[row.reference?];
        Some((reference.name, ratio_by_round(&row.samples, &reference.samples)?))
    }

    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n{}: {} [{}]", self.work, self.title, self.unit)?;
        writeln!(out, "  {:<32} {:>10} {:>10} {:>10}    ratio", "row", "median", "min", "max")?;
        for row in &self.rows {
            let Some(middle) = median(&row.samples) else { continue };
            let (min, max) = bounds(&row.samples);
            let (middle, min, max) = (figure(middle), figure(min), figure(max));
            write!(out, "  {:<32} {middle:>10} {min:>10} {max:>10}", row.name)?;
            match self.ratio(row) {
                Some((name, ratio)) => writeln!(out, " {ratio:>8.3} x {name}")?,
                None => writeln!(out)?,
            }
        }
        out.flush()
    }

    /// One JSON object per row.
    pub(crate) fn print_json(&self, bench: &str, out: &mut impl Write) -> io::Result<()> {
        for row in &self.rows {
            let Some(middle) = median(&row.samples) else { continue };
            let (min, max) = bounds(&row.samples);
            let mut line = json!({
                "bench": bench, "work": self.work, "system": self.system, "row": row.name, "unit": self.unit,
                "value": middle, "min": min, "max": max, "rounds": row.samples.len(),
            });
            if let Some((name, ratio)) = self.ratio(row) {
                line["ratio_to"] = json!({ name: ratio });
            }
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}

/// All rows once in each round, in an order in which none always follows the same.
pub(crate) fn turns(rounds: usize, rows: usize) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(move |round| (0..rows).map(move |i| (i + round) % rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_turns_and_are_compared_round_by_round() {
        let mut order = Vec::new();
        let figures = Figures::new("w", "", "ns").row("a", None).row("b", Some(0));
        let figures = figures
            .interleave(3, |at| {
                order.push(at);
                // b/a: 4, 1 and 2 by round; the medians, 5 and 5, would give 1.
                Ok([[1.0, 5.0, 10.0], [4.0, 5.0, 20.0]][at][(order.len() - 1) / 2])
            })
            .unwrap();
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        let mut out = Vec::new();
        figures.print_json("sharing", &mut out).unwrap();
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((&lines[0]["value"], &lines[0]["ratio_to"]), (&json!(5.0), &json!(null)));
        assert_eq!(lines[1]["ratio_to"]["a"], 2.0);
    }
}
