//! What the processes said, and what has to be in the file because of it.

use super::Tally;
use super::alone::Single;
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
    /// Blocks allocated alone and acknowledged, by name, with the pipe of their owner. (The place of one that was freed may be another's before this is heard of.)
    singles: BTreeMap<u64, (Single, u32)>,
    /// What each had begun to do alone.
    calls: BTreeMap<String, Call>,
    /// What was said beside the protocol: panics.
    pub(super) noise: String,
}

/// A call that is a transaction of its own: what there is no more after it, and what there is instead.
#[derive(Debug, Default, Clone, Copy)]
struct Call {
    old: Option<Single>,
    new: Option<Single>,
}

impl Oracle {
    /// The last acknowledged commit.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.last_key_value().map_or(0, |(&n, _)| n)
    }

    /// Hears a line from a pipe: `begin ID N`, `ack ID N WAIT`, `back ID N` (taken back), `saw ID N`, `did WHAT`, `bad TEXT`; of calls alone `free ID BLOCK`, `alloc ID BLOCK`
    /// (its place is not known yet), then `done ID` or `done ID BLOCK`, or `kept ID` if nothing has changed.
    pub(super) fn hear(&mut self, pipe: u32, line: &str, tally: &mut Tally) -> Result<(), String> {
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
            ["free", id, ..] => self.calls.entry(id.to_owned()).or_default().old = Some(block(line)?),
            ["alloc", id, ..] => self.calls.entry(id.to_owned()).or_default().new = Some(block(line)?),
            ["done", id, ..] => {
                let call = self.calls.remove(id).ok_or_else(|| format!("{line}: it was not begun"))?;
                if let Some(old) = call.old {
                    self.singles.remove(&old.name).ok_or_else(|| format!("{old} is freed twice"))?;
                }
                if call.new.is_some() {
                    let new = block(line)?;
                    self.singles.insert(new.name, (new, pipe));
                }
                count("calls alone");
            }
            ["kept", id] => {
                self.calls.remove(id).ok_or_else(|| format!("{line}: it was not begun"))?;
                count("calls alone taken back");
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
            ["did", "maintain"] => count("syncs, checkpoints, moves of the log, shrinks"),
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

    /// Nobody speaks any more over these pipes: some of the blocks that were acknowledged over them and are not in doubt.
    pub(super) fn estate(&self, is_open: impl Fn(u32) -> bool) -> Vec<Single> {
        let in_doubt = |single| self.calls.values().any(|call| call.old == Some(single));
        let left = self.singles.values().filter(|(_, pipe)| !is_open(*pipe)).map(|(single, _)| *single);
        left.filter(|&single| !in_doubt(single)).take(ESTATE).collect()
    }

    /// Who speaks over this pipe owns these blocks from now on.
    pub(super) fn bequeath(&mut self, estate: &[Single], pipe: u32) {
        for single in estate {
            self.singles.insert(single.name, (*single, pipe));
        }
    }

    /// The file holds these blocks that were allocated alone, and everybody is dead.
    pub(super) fn judge_singles(&self, found: &[Single]) -> Result<(), String> {
        let mut expected = self.singles.clone();
        let mut found: BTreeMap<u64, Single> = found.iter().map(|single| (single.name, *single)).collect();
        for Call { old, new } in self.calls.values() {
            let old_is_there = old.is_some_and(|old| found.get(&old.name) == Some(&old));
            let new_is_there =
                new.is_some_and(|new| found.get(&new.name).is_some_and(|there| there.len == new.len));
            if old.is_some() && new.is_some() && old_is_there == new_is_there {
                return Err(format!(
                    "TORN: {old:?} was to be replaced by {new:?}: both or neither are there"
                ));
            }
            for (single, is_there) in [(old, old_is_there), (new, new_is_there)] {
                if let Some(single) = single {
                    expected.remove(&single.name);
                    if is_there {
                        found.remove(&single.name);
                    }
                }
            }
        }
        for (name, (single, _)) in &expected {
            if found.remove(name) != Some(*single) {
                return Err(format!("LOST: the block {single} was acknowledged"));
            }
        }
        match found.values().next() {
            Some(single) => Err(format!("the block {single} is there, and was freed, or never allocated")),
            None => Ok(()),
        }
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

/// Blocks that are passed on at once.
const ESTATE: usize = 20;

/// The block at the end of a line.
fn block(line: &str) -> Result<Single, String> {
    line.splitn(3, ' ').nth(2).unwrap_or_default().parse()
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
        lines.iter().try_for_each(|line| oracle.hear(1, line, &mut tally)).and_then(|()| oracle.judge(count))
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

    /// What is wrong if these blocks, each a name of length 32 at a place, are there.
    fn with(lines: &[&str], there: &[(u64, u64)]) -> Option<String> {
        let mut oracle = Oracle::default();
        for line in lines {
            oracle.hear(1, line, &mut Tally::new()).unwrap();
        }
        let found: Vec<_> = there.iter().map(|&(offset, name)| Single { offset, name, len: 32 }).collect();
        oracle.judge_singles(&found).err()
    }

    #[test]
    fn a_lost_revived_or_invented_block_is_noticed() {
        let one = ["alloc a 0 7 32", "done a 64 7 32"];
        assert_eq!(with(&one, &[(64, 7)]), None);
        assert!(with(&one, &[]).unwrap().contains("LOST"));
        assert!(with(&one, &[(96, 7)]).unwrap().contains("LOST"));
        assert!(with(&one, &[(64, 7), (96, 8)]).unwrap().contains("never"));
        // In doubt, or taken back.
        assert_eq!(with(&one[..1], &[(64, 7)]), None);
        assert_eq!(with(&one[..1], &[]), None);
        assert!(with(&["alloc a 0 7 32", "kept a"], &[(64, 7)]).is_some());
        let freeing = [one[0], one[1], "free a 64 7 32", "done a"];
        assert!(with(&freeing, &[(64, 7)]).unwrap().contains("freed"));
        assert_eq!(with(&freeing, &[]), None);
        assert_eq!(with(&freeing[..3], &[]), None);
        assert_eq!(with(&freeing[..3], &[(64, 7)]), None);
        let replacing = [one[0], one[1], "free a 64 7 32", "alloc a 0 8 32", "done a 64 8 32"];
        assert_eq!(with(&replacing, &[(64, 8)]), None);
        assert!(with(&replacing, &[(64, 7)]).is_some());
        assert_eq!(with(&replacing[..4], &[(64, 7)]), None);
        assert_eq!(with(&replacing[..4], &[(96, 8)]), None);
        assert!(with(&replacing[..4], &[(64, 7), (96, 8)]).unwrap().contains("TORN"));
        assert!(with(&replacing[..4], &[]).unwrap().contains("TORN"));
    }

    #[test]
    fn blocks_of_the_dead_are_passed_on_unless_they_are_in_doubt() {
        let mut oracle = Oracle::default();
        for line in ["alloc a 0 7 32", "done a 64 7 32", "alloc a 0 8 32", "done a 96 8 32", "free a 96 8 32"]
        {
            oracle.hear(1, line, &mut Tally::new()).unwrap();
        }
        let block = Single { offset: 64, name: 7, len: 32 };
        assert_eq!(oracle.estate(|_| true), []);
        assert_eq!(oracle.estate(|pipe| pipe != 1), [block]);
        oracle.bequeath(&[block], 2);
        assert_eq!(oracle.estate(|pipe| pipe != 1), []);
    }
}
