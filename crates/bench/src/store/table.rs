//! Tables of the bench `store`: for each row a median, and its ratio to the best peer and to those that the aims name.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::kv::StoreId;
use crate::report::{bounds, figure, median, ratio_by_round};

/// Peers that ratios are given to besides the best one.
const NAMED: [StoreId; 2] = [StoreId::Gdbm, StoreId::Lmdb];

struct Row {
    store: StoreId,
    samples: Vec<f64>,
    failure: Option<String>,
}

/// All stores in one measure. Smaller is better.
pub(super) struct Table {
    work: String,
    title: &'static str,
    unit: &'static str,
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn new(work: String, title: &'static str, unit: &'static str) -> Self {
        Self { work, title, unit, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, store: StoreId, sample: f64) {
        self.row(store).samples.push(sample);
    }

    pub(super) fn fail(&mut self, store: StoreId, why: String) {
        self.row(store).failure = Some(why);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn row(&mut self, store: StoreId) -> &mut Row {
        let at = self.rows.iter().position(|r| r.store == store).unwrap_or_else(|| {
            self.rows.push(Row { store, samples: Vec::new(), failure: None });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// The peer with the least median.
    fn best(&self) -> Option<&Row> {
        let peers = self.rows.iter().filter(|row| !row.store.is_ours());
        let measured = peers.filter_map(|row| Some((median(&row.samples)?, row)));
        measured.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, row)| row)
    }

    fn named(&self, store: StoreId) -> Option<&Row> {
        self.rows.iter().find(|row| row.store == store && !row.samples.is_empty())
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let best = self.best();
        writeln!(out, "\n{}: {} [{}]", self.work, self.title, self.unit)?;
        write!(out, "  {:<18} {:>10} {:>10} {:>10}", "store", "median", "min", "max")?;
        if let Some(best) = best {
            write!(out, " {:>24}", format!("/best ({})", best.store.name()))?;
        }
        for peer in NAMED.iter().filter_map(|&peer| self.named(peer)) {
            write!(out, " {:>8}", format!("/{}", peer.store.name()))?;
        }
        writeln!(out)?;
        for row in &self.rows {
            write!(out, "  {:<18}", row.store.name())?;
            if let Some(middle) = median(&row.samples) {
                let (min, max) = bounds(&row.samples);
                write!(out, " {:>10} {:>10} {:>10}", figure(middle), figure(min), figure(max))?;
                let ratio = |peer: &Row| {
                    ratio_by_round(&row.samples, &peer.samples).map_or(String::new(), |r| format!("{r:.3}"))
                };
                if let Some(best) = best {
                    write!(out, " {:>24}", ratio(best))?;
                }
                for peer in NAMED.iter().filter_map(|&peer| self.named(peer)) {
                    write!(out, " {:>8}", ratio(peer))?;
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
    pub(super) fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        for row in &self.rows {
            let mut line = json!({
                "bench": "store", "work": self.work, "system": row.store.name(), "unit": self.unit,
            });
            if let Some(middle) = median(&row.samples) {
                let (min, max) = bounds(&row.samples);
                let ratio = |peer: &Row| {
                    Some((peer.store.name().to_owned(), json!(ratio_by_round(&row.samples, &peer.samples)?)))
                };
                let mut ratios: Map<String, Value> =
                    NAMED.iter().filter_map(|&peer| self.named(peer)).filter_map(ratio).collect();
                ratios.extend(self.best().and_then(ratio));
                line["value"] = json!(middle);
                line["min"] = json!(min);
                line["max"] = json!(max);
                line["rounds"] = json!(row.samples.len());
                line["best_peer"] = json!(self.best().map(|best| best.store.name()));
                line["ratio_to"] = Value::Object(ratios);
            }
            if let Some(why) = &row.failure {
                line["failed"] = json!(why);
            }
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_compared_with_the_best_peer_and_not_with_ours() {
        let mut table = Table::new("w".to_owned(), "", "ns");
        for (store, samples) in [
            (StoreId::HeapfileHashed, [1.0, 2.0, 3.0]),
            (StoreId::HeapfileOrdered, [0.5, 0.5, 0.5]),
            (StoreId::Lmdb, [2.0, 4.0, 12.0]),
            (StoreId::Sqlite, [8.0, 9.0, 9.0]),
        ] {
            samples.into_iter().for_each(|sample| table.add(store, sample));
        }
        let mut out = Vec::new();
        table.print_json(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(|line| line["best_peer"] == "lmdb"));
        assert_eq!(lines[0]["ratio_to"]["lmdb"], 0.5);
        assert!(lines[0]["ratio_to"].get("sqlite").is_none());
    }
}
