//! Figures, their medians and ratios; as a table for people and as JSON lines for programs.
//!
//! A ratio to a peer is the median of the ratios round by round, not the ratio of the medians: within one round
//! the two ran right after one another, on a machine in the same mood.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::contender::{Contender, Mode, Place, SystemId};
use crate::peers::Peers;

/// Peers that ratios are given to.
const REFERENCES: [SystemId; 4] = [SystemId::Boost, SystemId::Pmdk, SystemId::Mimalloc, SystemId::RawDsync];

/// One measure of one contender.
struct Row {
    contender: Contender,
    /// One figure per round; smaller is better in all units.
    samples: Vec<f64>,
    failure: Option<String>,
}

/// All contenders in one measure.
pub(crate) struct Table {
    work: String,
    title: String,
    unit: &'static str,
    threads: usize,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(
        work: impl Into<String>,
        title: impl Into<String>,
        unit: &'static str,
        threads: usize,
    ) -> Self {
        Self { work: work.into(), title: title.into(), unit, threads, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, contender: Contender, sample: f64) {
        self.row(contender).samples.push(sample);
    }

    /// The contender could not be measured, or broke down after some rounds.
    pub(crate) fn fail(&mut self, contender: Contender, why: String) {
        self.row(contender).failure = Some(why);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn row(&mut self, contender: Contender) -> &mut Row {
        let found = self.rows.iter().position(|r| r.contender == contender);
        let at = found.unwrap_or_else(|| {
            self.rows.push(Row { contender, samples: Vec::new(), failure: None });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// The row of `peer` that `row` is compared with: the same place and mode where there is one; the peer's
    /// shared-memory file for systems in memory; each operation on its own for a peer without transactions.
    fn reference(&self, peer: SystemId, row: &Row) -> Option<&Row> {
        let Contender { place, mode, .. } = row.contender;
        let places = [place, Place::Shm, Place::Dram];
        let modes = [mode, Mode::Each];
        let wanted =
            places.iter().flat_map(|&place| modes.map(|mode| Contender { system: peer, place, mode }));
        let measured = |wanted| self.rows.iter().find(|r| r.contender == wanted && !r.samples.is_empty());
        wanted.into_iter().find_map(measured)
    }

    fn ratio(&self, row: &Row, peer: SystemId) -> Option<f64> {
        let reference = self.reference(peer, row)?;
        ratio_by_round(&row.samples, &reference.samples)
    }

    /// The table for people.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n{}: {} [{}]", self.work, self.title, self.unit)?;
        let peers: Vec<SystemId> =
            REFERENCES.into_iter().filter(|&p| self.rows.iter().any(|r| r.contender.system == p)).collect();
        write!(
            out,
            "  {:<15} {:<5} {:<7} {:>10} {:>10} {:>10}",
            "system", "place", "mode", "median", "min", "max"
        )?;
        for peer in &peers {
            write!(out, " {:>11}", format!("/{}", peer.name()))?;
        }
        writeln!(out)?;
        for row in &self.rows {
            let Contender { system, place, mode } = row.contender;
            write!(out, "  {:<15} {:<5} {:<7}", system.name(), place.name(), mode)?;
            if let Some(middle) = median(&row.samples) {
                let (min, max) = bounds(&row.samples);
                write!(out, " {:>10} {:>10} {:>10}", figure(middle), figure(min), figure(max))?;
                for &peer in &peers {
                    let ratio = self.ratio(row, peer).map_or("-".to_owned(), |r| format!("{r:.3}"));
                    write!(out, " {ratio:>11}")?;
                }
            }
            if let Some(why) = &row.failure {
                write!(out, "  after {} rounds: {why}", row.samples.len())?;
            }
            writeln!(out)?;
        }
        out.flush()
    }

    /// One JSON object per row.
    pub(crate) fn print_json(&self, bench: &str, out: &mut impl Write) -> io::Result<()> {
        for row in &self.rows {
            let Contender { system, place, mode } = row.contender;
            let mut line = json!({
                "bench": bench, "work": self.work, "system": system.name(), "place": place.name(),
                "mode": mode.to_string(), "threads": self.threads, "unit": self.unit,
            });
            if let Some(middle) = median(&row.samples) {
                let (min, max) = bounds(&row.samples);
                let ratios = REFERENCES
                    .into_iter()
                    .filter_map(|p| Some((p.name().to_owned(), json!(self.ratio(row, p)?))));
                line["value"] = json!(middle);
                line["min"] = json!(min);
                line["max"] = json!(max);
                line["rounds"] = json!(row.samples.len());
                line["ratio_to"] = Value::Object(ratios.collect::<Map<_, _>>());
            }
            if let Some(why) = &row.failure {
                line["failed"] = json!(why);
            }
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}

/// Machine, systems found, systems missing.
pub(crate) fn print_head(machine: &Value, peers: &Peers, out: &mut impl Write) -> io::Result<()> {
    let text = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
    let (cpu, memory, kernel, load) = (text("cpu"), text("memory"), text("kernel"), text("load"));
    writeln!(out, "{cpu}, {} cores, {memory}, Linux {kernel}, load {load}", machine["cores"])?;
    writeln!(out, "shm is {}, disk is {}", text("shm"), text("disk"))?;
    for present in &peers.present {
        writeln!(out, "found    {:<15} {}", present.system.name(), present.version)?;
    }
    for missing in &peers.missing {
        writeln!(out, "MISSING  {:<15} {}", missing.system.name(), missing.why)?;
    }
    Ok(())
}

pub(crate) fn print_head_json(
    bench: &str,
    machine: &Value,
    peers: &Peers,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "{}", json!({ "bench": bench, "machine": machine }))?;
    for present in &peers.present {
        let (system, version) = (present.system.name(), &present.version);
        writeln!(out, "{}", json!({ "bench": bench, "system": system, "version": version }))?;
    }
    for missing in &peers.missing {
        let (system, why) = (missing.system.name(), &missing.why);
        writeln!(out, "{}", json!({ "bench": bench, "system": system, "missing": why }))?;
    }
    Ok(())
}

pub(crate) fn figure(x: f64) -> String {
    match x {
        _ if x < 0.1 => format!("{x:.4}"),
        _ if x < 10.0 => format!("{x:.2}"),
        _ if x < 1000.0 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

pub(crate) fn bounds(samples: &[f64]) -> (f64, f64) {
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    (least, samples.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// The median of the ratios round by round; of rows that had not the same rounds, the ratio of the medians. Nothing has a ratio to 0.
pub(crate) fn ratio_by_round(samples: &[f64], reference: &[f64]) -> Option<f64> {
    let ratio = |a: f64, b: f64| Some(a / b).filter(|ratio| ratio.is_finite());
    if samples.len() != reference.len() {
        return ratio(median(samples)?, median(reference)?);
    }
    median(&samples.iter().zip(reference).filter_map(|(&a, &b)| ratio(a, b)).collect::<Vec<f64>>())
}

pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn contender(system: SystemId, place: Place, mode: Mode) -> Contender {
        Contender { system, place, mode }
    }

    const BOOST: Contender = contender(SystemId::Boost, Place::Shm, Mode::Each);
    const PMDK: Contender = contender(SystemId::Pmdk, Place::Shm, Mode::Tx(1000));
    const MIMALLOC: Contender = contender(SystemId::Mimalloc, Place::Dram, Mode::Each);

    fn lines(table: &Table) -> Vec<Value> {
        let mut out = Vec::new();
        table.print_json("heap", &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let mut table = Table::new("w", "", "ns", 1);
        // Ratios 4, 1 and 2; the medians, 5 and 5, would give 1.
        for (a, b) in [(1.0, 4.0), (5.0, 5.0), (10.0, 20.0)] {
            table.add(BOOST, a);
            table.add(MIMALLOC, b);
        }
        let lines = lines(&table);
        assert_eq!(lines[1]["ratio_to"]["boost"], 2.0);
        assert_eq!(lines[1]["value"], 5.0);
        assert_eq!(lines[1]["rounds"], 3);
    }

    #[test]
    fn nothing_has_a_ratio_to_0() {
        assert_eq!(ratio_by_round(&[0.0, 6.0, 8.0], &[0.0, 3.0, 4.0]), Some(2.0));
        assert_eq!(ratio_by_round(&[0.0, 6.0], &[0.0, 0.0]), None);
        assert_eq!(ratio_by_round(&[6.0], &[0.0, 0.0]), None);
    }

    #[test]
    fn a_peer_without_transactions_or_file_is_still_compared() {
        let mut table = Table::new("w", "", "ns", 1);
        table.add(BOOST, 8.0);
        table.add(PMDK, 4.0);
        table.add(MIMALLOC, 2.0);
        let lines = lines(&table);
        assert_eq!(lines[1]["ratio_to"]["boost"], 0.5, "a transaction against Boost's single operations");
        assert_eq!(lines[2]["ratio_to"]["boost"], 0.25, "memory against Boost's file in memory");
        assert_eq!(lines[0]["ratio_to"]["mimalloc"], 4.0, "a file against memory");
        assert!(lines[0]["ratio_to"].get("pmdk").is_none(), "only transactions of PMDK were measured");
    }

    #[test]
    fn a_failure_is_named_in_both_forms() {
        let mut table = Table::new("w", "", "ns", 1);
        table.add(BOOST, 1.0);
        table.fail(BOOST, "no answer within 5 s".to_owned());
        assert_eq!(lines(&table)[0]["failed"], "no answer within 5 s");
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("after 1 rounds: no answer within 5 s"));
    }
}
