//! Rows of figures: contenders in turns, medians, ratios.
//!
//! Unlike the tables of `crate::report`, contenders are named freely, larger may be better, and each has one reference.

use crate::report::median;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One measurement: what it is called, and what runs once and returns the figure; no number if it could not be measured.
pub(super) type Contender<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

pub(super) struct Report {
    pub(super) rounds: usize,
    json: bool,
    /// Only rows whose name has this.
    only: String,
}

/// Medians of what was measured.
struct Row<'a> {
    work: &'a str,
    unit: &'a str,
    reference: &'a str,
    medians: Vec<(&'static str, f64)>,
}

impl Report {
    pub(super) fn new(rounds: usize, json: bool, only: String) -> Self {
        Self { rounds, json, only }
    }

    /// Runs the contenders in turns; prints medians and their ratio to `reference`.
    pub(super) fn row(&mut self, work: &str, unit: &str, reference: &str, contenders: Vec<Contender<'_>>) {
        if !work.contains(&self.only) {
            return;
        }
        let row = Row { work, unit, reference, medians: medians(self.rounds, contenders) };
        if self.json {
            row.lines().for_each(|line| println!("{line}"));
        } else {
            print!("{}", row.text());
        }
    }

    /// A contender that is not there.
    pub(super) fn missing(&self, name: &str) {
        if self.json {
            println!("{}", json!({ "bench": "window", "name": name, "missing": "not present" }));
        } else {
            println!("{name}: not present");
        }
    }
}

/// Those that were measured at all, in their order.
fn medians(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Vec<(&'static str, f64)> {
    let mut figures = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
            figures.extend(Some(contender.1()).filter(|figure| figure.is_finite()));
        }
    }
    let named = contenders.iter().zip(&figures);
    named.filter_map(|((name, _), all)| Some((*name, median(all)?))).collect()
}

impl Row<'_> {
    fn text(&self) -> String {
        let Self { work, unit, reference, medians } = self;
        let base = medians.iter().find(|(name, _)| name == reference).map(|(_, value)| value);
        let mut text = format!("{work} [{unit}]\n");
        for (name, value) in medians {
            let ratio = base.map(|base| format!("{:8.2} x {reference}", value / base)).unwrap_or_default();
            let _ = writeln!(text, "    {name:34} {value:12.2} {ratio}");
        }
        text
    }

    fn lines(&self) -> impl Iterator<Item = Value> {
        let Self { work, unit, medians, .. } = self;
        medians.iter().map(move |(name, value)| {
            json!({ "bench": "window", "work": work, "name": name, "unit": unit, "median": value })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_has_no_line() {
        let mut turns = [1.0, f64::NAN, 3.0].into_iter();
        let contenders: Vec<Contender<'_>> = vec![
            ("never", Box::new(|| f64::NAN)),
            ("sometimes", Box::new(move || turns.next().unwrap())),
            ("\"always\"", Box::new(|| 4.0)),
        ];
        let medians = medians(3, contenders);
        let row = Row { work: "w", unit: "ns", reference: "sometimes", medians };
        let lines: Vec<Value> =
            row.lines().map(|line| serde_json::from_str(&line.to_string()).unwrap()).collect();
        let figures: Vec<_> = lines.iter().map(|line| (&line["name"], &line["median"])).collect();
        assert_eq!(figures, [(&json!("sometimes"), &json!(2.0)), (&json!("\"always\""), &json!(4.0))]);
        assert!(row.text().contains("2.00 x sometimes"), "{}", row.text());
        assert!(!row.text().contains("never"), "{}", row.text());
    }
}
