//! Rows of figures: contenders in turns, medians, ratios.
//!
//! Unlike the tables of `crate::report`, contenders are named freely, larger may be better, and each has one reference.

use crate::report::median;

/// One measurement: what it is called, and what runs once and returns the figure.
pub(super) type Contender<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

pub(super) struct Report {
    pub(super) rounds: usize,
    json: bool,
    /// Only rows whose name has this.
    only: String,
    lines: Vec<String>,
}

impl Report {
    pub(super) fn new(rounds: usize, json: bool, only: String) -> Self {
        Self { rounds, json, only, lines: Vec::new() }
    }

    /// Runs the contenders in turns; prints medians and their ratio to `reference`.
    pub(super) fn row(
        &mut self,
        work: &str,
        unit: &str,
        reference: &str,
        mut contenders: Vec<Contender<'_>>,
    ) {
        if !work.contains(&self.only) {
            return;
        }
        let mut figures = vec![Vec::new(); contenders.len()];
        for _ in 0..self.rounds {
            for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
                figures.push(contender.1());
            }
        }
        let medians: Vec<f64> = figures.iter().map(|all| median(all).unwrap_or(f64::NAN)).collect();
        let base = contenders.iter().position(|c| c.0 == reference).map(|at| medians[at]);
        println!("{work} [{unit}]");
        for ((name, _), value) in contenders.iter().zip(&medians) {
            let ratio = base.map(|base| format!("{:8.2} x {reference}", value / base)).unwrap_or_default();
            println!("    {name:34} {value:12.2} {ratio}");
            self.lines.push(format!(
                r#"{{"bench":"window","work":"{work}","name":"{name}","unit":"{unit}","median":{value}}}"#
            ));
        }
        if self.json {
            for line in self.lines.drain(..) {
                println!("{line}");
            }
        }
    }
}
