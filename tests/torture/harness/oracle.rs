//! What the processes said, and what has to be in the file because of it.

use super::Tally;
use std::collections::{BTreeMap, BTreeSet};

/// Knows what was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Commits that were acknowledged, and by whom.
    acknowledged: BTreeMap<u64, String>,
    /// What each process had begun and not heard the end of.
    under_way: BTreeMap<String, u64>,
    /// The latest that a reader saw.
    seen: u64,
    /// What was said beside the protocol: panics.
    pub(super) noise: String,
}

impl Oracle {
    /// The last acknowledged commit.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.last_key_value().map_or(0, |(&n, _)| n)
    }

    /// Hears a line: `begin ID N`, `ack ID N WAIT`, `back ID N` (taken back), `saw ID N`, `did WHAT`, `bad TEXT`.
    pub(super) fn hear(&mut self, line: &str, tally: &mut Tally) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut count = |what: &str| *tally.entry(what.to_owned()).or_default() += 1;
        match words[..] {
            ["begin", id, n] => {
                self.under_way.insert(id.to_owned(), number(n)?);
            }
            ["ack", id, n, wait] => {
                let (n, wait) = (number(n)?, number(wait)?);
                if self.under_way.remove(id) != Some(n) {
                    return Err(format!("{n} is acknowledged by {id}, who did not begin it"));
                }
                if let Some(other) = self.acknowledged.insert(n, id.to_owned()) {
                    return Err(format!("{n} was acknowledged by {other}, then by {id}"));
                }
                count("commits");
                let longest = tally.entry("longest wait, ms".to_owned()).or_default();
                *longest = wait.max(*longest);
            }
            ["back", id, n] => {
                if self.under_way.remove(id) != Some(number(n)?) {
                    return Err(format!("{n} is taken back by {id}, who did not begin it"));
                }
                count("commits taken back");
            }
            ["saw", _, n] => {
                self.seen = self.seen.max(number(n)?);
                count("states read whole");
            }
            ["did", "fork"] => count("forks"),
            ["did", "exec"] => count("execs"),
            ["did", "open"] => count("opens"),
            ["did", "group"] => count("transactions of several threads"),
            ["did", "snapshot"] => count("snapshots"),
            ["did", "maintain"] => count("syncs, checkpoints, shrinks"),
            ["bad", ..] => return Err(format!("{line}\n{}", self.noise)),
            _ => {
                if self.noise.len() < 4_000 {
                    self.noise += line;
                    self.noise.push('\n');
                }
            }
        }
        Ok(())
    }

    /// The file holds the first `count` commits, and everybody is dead.
    pub(super) fn judge(&self, count: u64) -> Result<(), String> {
        let last = self.acknowledged();
        if last > count {
            return Err(format!("LOST: {last} was acknowledged, {count} are there"));
        }
        if self.seen > count {
            return Err(format!("LOST: a reader saw {}, {count} are there", self.seen));
        }
        let begun: BTreeSet<u64> = self.under_way.values().copied().collect();
        match (1..=count).find(|n| !self.acknowledged.contains_key(n) && !begun.contains(n)) {
            Some(n) => Err(format!("{n} is there, and nobody who may have done it died")),
            None => Ok(()),
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("no number: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str], count: u64) -> Result<(), String> {
        let mut oracle = Oracle::default();
        let mut tally = Tally::new();
        lines.iter().try_for_each(|line| oracle.hear(line, &mut tally)).and_then(|()| oracle.judge(count))
    }

    #[test]
    fn a_lost_doubled_or_invented_commit_is_noticed() {
        let good = ["begin a 1", "ack a 1 0", "begin b 2", "begin c 2", "ack c 2 0", "begin a 3"];
        after(&good, 2).unwrap();
        after(&good, 3).unwrap();
        assert!(after(&good, 1).unwrap_err().contains("LOST"));
        assert!(after(&good, 4).unwrap_err().contains("nobody"));
        assert!(after(&["begin a 1", "ack a 1 0", "begin b 1", "ack b 1 0"], 1).is_err());
        assert!(after(&["begin a 1", "back a 1"], 1).is_err());
        assert!(after(&["begin a 1", "saw b 1"], 0).unwrap_err().contains("LOST"));
        assert!(after(&["begin a 1", "saw b 1"], 1).is_ok());
        assert!(after(&["bad thing"], 0).is_err());
    }
}
