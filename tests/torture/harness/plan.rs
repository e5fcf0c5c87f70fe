//! What a round is like, and who takes part: all of it follows from the seed.

use super::alone::Single;
use heapfile::testing::{FAILPOINTS, LOCKPOINTS, SNAPSHOTPOINTS, SplitMix64};
use heapfile::{Durability, Locking, Options};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A round.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) durability: Durability,
    pub(super) locking: Locking,
    pub(super) processes: u64,
    /// The file is made by whoever comes first.
    pub(super) created_by_them: bool,
    /// Processes are stopped too.
    pub(super) stops: bool,
    /// The lock's timeout is so short that commits are taken back.
    pub(super) impatient: bool,
    /// They work on the tables of a store, not on blocks.
    pub(super) tables: bool,
    /// Longest time between two strikes.
    pub(super) pause_us: u64,
    /// Processes rest between steps of theirs.
    pub(super) rests: bool,
}

impl Plan {
    /// The plan of this seed. Durability, way of locking and what is worked on go round.
    pub fn of(seed: u64) -> Self {
        let mut rng = SplitMix64(seed);
        Self {
            durability: if seed.is_multiple_of(2) { Durability::Power } else { Durability::Process },
            locking: if seed / 2 % 4 == 3 { Locking::File } else { Locking::Shared },
            processes: 2 + rng.below(5),
            created_by_them: rng.below(4) == 0,
            stops: rng.below(2) == 0,
            impatient: rng.below(4) == 0,
            tables: seed / 8 % 4 == 3,
            pause_us: [5_000, 40_000, 150_000][rng.below(3) as usize],
            rests: rng.below(3) == 0,
        }
    }

    pub(super) fn options(&self) -> Options {
        let patience = if self.impatient { Duration::from_millis(15) } else { Duration::from_secs(25) };
        crate::common::small(self.durability).locking(self.locking).lock_timeout(patience)
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Writer,
    Reader,
    Opener,
}

/// A process: its part, its seed, and where it kills or stops itself.
pub(super) struct Person {
    part: Part,
    seed: u64,
    /// Its name; and which time it is passed.
    pub(super) failpoint: Option<String>,
    time: u64,
    stoppoint: Option<String>,
}

const PLAN: &str = "HEAPFILE_TORTURE";

impl Person {
    pub(super) fn draw(rng: &mut SplitMix64, plan: &Plan) -> Self {
        let part = match rng.below(10) {
            0..=5 => Part::Writer,
            6..=7 => Part::Reader,
            _ => Part::Opener,
        };
        let mut point = |chance| {
            let all: Vec<_> = [FAILPOINTS, LOCKPOINTS, SNAPSHOTPOINTS].concat();
            let name = all[rng.below(all.len() as u64) as usize];
            let most = [1, 3, 30][rng.below(3) as usize];
            let time = 1 + rng.below(most);
            ((rng.below(10) < chance).then(|| name.to_owned()), time)
        };
        let ((failpoint, time), (stoppoint, stop_time)) = (point(7), point(2));
        let stoppoint = stoppoint.filter(|_| plan.stops).map(|name| format!("{name}#{stop_time}"));
        Self { part, failpoint, time, stoppoint, seed: rng.next() }
    }

    /// What the process has to know; it gets the blocks `estate` of processes that are dead.
    pub(super) fn tell(
        &self,
        command: &mut Command,
        plan: &Plan,
        file: &Path,
        acknowledged: u64,
        estate: &[Single],
    ) {
        let part = match self.part {
            Part::Writer => 0,
            Part::Reader => 1,
            Part::Opener => 2,
        };
        let power = u64::from(plan.durability == Durability::Power);
        let whole_file = u64::from(plan.locking == Locking::File);
        let impatient = u64::from(plan.impatient);
        let (tables, rests) = (u64::from(plan.tables), u64::from(plan.rests));
        let text =
            format!("{part} {} {power} {whole_file} {impatient} {tables} {rests} {acknowledged}", self.seed);
        command.env(PLAN, text).env(FILE, file);
        bequeath(command, estate);
        let failpoint = self.failpoint.as_ref().map(|name| format!("{name}#{}", self.time));
        let points = [("HEAPFILE_FAILPOINT", &failpoint), ("HEAPFILE_STOPPOINT", &self.stoppoint)];
        for (name, value) in points {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }
}

const FILE: &str = "HEAPFILE_TORTURE_FILE";
const ESTATE: &str = "HEAPFILE_TORTURE_ESTATE";

/// The process will own these blocks.
pub(super) fn bequeath(command: &mut Command, estate: &[Single]) {
    let estate: Vec<_> = estate.iter().map(ToString::to_string).collect();
    command.env(ESTATE, estate.join(","));
}

/// What this process was told, if it is one of a round.
pub(super) struct Told {
    pub(super) part: Part,
    pub(super) seed: u64,
    pub(super) plan: Plan,
    pub(super) file: std::path::PathBuf,
    /// The last commit that was acknowledged before it began.
    pub(super) acknowledged: u64,
    /// Blocks that it owns.
    pub(super) estate: Vec<Single>,
}

pub(super) fn told() -> Option<Told> {
    let text = std::env::var(PLAN).ok()?;
    let mut numbers = text.split(' ').map(|n| n.parse::<u64>().expect("a number"));
    let mut next = || numbers.next().expect("eight numbers");
    let part = [Part::Writer, Part::Reader, Part::Opener][next() as usize];
    let seed = next();
    let durability = if next() == 1 { Durability::Power } else { Durability::Process };
    let locking = if next() == 1 { Locking::File } else { Locking::Shared };
    let impatient = next() == 1;
    let (tables, rests) = (next() == 1, next() == 1);
    let plan = Plan {
        durability,
        locking,
        impatient,
        tables,
        processes: 0,
        created_by_them: false,
        stops: false,
        pause_us: 0,
        rests,
    };
    let acknowledged = next();
    let estate = std::env::var(ESTATE).unwrap_or_default();
    let estate = estate.split(',').filter(|text| !text.is_empty());
    let estate = estate.map(|text| text.parse().expect("a block")).collect();
    Some(Told { part, seed, plan, file: std::env::var_os(FILE)?.into(), acknowledged, estate })
}
