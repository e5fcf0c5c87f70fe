//! The machinery of the power-loss tests, and the families of histories that they cut.
//!
//! A [`Family`] makes a history from a seed, builds images of what a power cut may leave of it, and judges each. The tests run a few
//! seeds of every family; `heapfile-soak power`, which includes this module by its path, runs seed after seed for as long as it is told to.

#![allow(dead_code, reason = "the tests and the soak each use a part of it")]

pub(crate) mod budget;
mod create;
mod crowded;
pub(crate) mod groups;
pub(crate) mod handles;
pub(crate) mod killed;
pub(crate) mod mended;
pub(crate) mod model;
pub(crate) mod oracle;
pub(crate) mod process;
pub(crate) mod recording;
mod recovery;
pub(crate) mod store;
pub(crate) mod whole;

pub(crate) use budget::Budget;
pub(crate) use oracle::Bench;

use heapfile::Durability;
use heapfile::Durability::{Power, Process};

/// How many images of a history were judged; or what was wrong with one, and how to see it again.
pub(crate) type Outcome = Result<u64, String>;

/// A kind of history and the cuts of it.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
    /// Its part of all images, in thousandths, or nearly.
    pub(crate) share: u64,
    run: fn(&mut Bench, u64, &Budget) -> Outcome,
}

const fn family(
    name: &'static str,
    durability: Durability,
    share: u64,
    run: fn(&mut Bench, u64, &Budget) -> Outcome,
) -> Family {
    Family { name, durability, share, run }
}

pub(crate) const FAMILIES: &[Family] = &[
    family("mixed_histories", Power, 140, whole::mixed_histories),
    family("refilled_space", Power, 50, whole::refilled_space),
    family("ring_wraps", Power, 50, whole::ring_wraps),
    family("spills_and_growth", Power, 80, whole::spills_and_growth),
    family("shrinking", Power, 50, whole::shrinking),
    family("checkpoints_and_reopening", Power, 50, whole::checkpoints_and_reopening),
    family("other_logs", Power, 50, whole::other_logs),
    family("a_damaged_slot_never_shows_an_older_state", Power, 30, whole::damaged_slots),
    family("creation_of_a_power_arena", Power, 20, create::creation),
    family("creation_of_a_process_arena", Process, 20, create::creation),
    family("creation_again", Power, 20, create::creation_again),
    family("cuts_during_recovery", Power, 100, recovery::cuts_during_recovery),
    family("recoveries_cut_off", Power, 60, mended::recoveries_cut_off),
    family(
        "recoveries_cut_off_in_a_process_arena",
        Process,
        10,
        mended::recoveries_cut_off_in_a_process_arena,
    ),
    family("cuts_under_several_handles", Power, 50, handles::cuts_under_several_handles),
    family("cuts_around_commits_taken_back", Power, 30, handles::cuts_around_commits_taken_back),
    family("cuts_after_deaths", Power, 60, killed::cuts_after_deaths),
    family("cuts_after_deaths_among_others", Power, 60, crowded::cuts_after_deaths_among_others),
    family("group_commits", Power, 60, groups::group_commits),
    family("tables_of_a_store", Power, 60, store::tables_of_a_store),
    family("cuts_of_syncs_among_others", Process, 30, process::cuts_of_syncs_among_others),
    family("cuts_of_a_process_arena", Process, 70, process::cuts_of_a_process_arena),
    family(
        "cuts_after_deaths_in_a_process_arena",
        Process,
        40,
        process::cuts_after_deaths_in_a_process_arena,
    ),
];

impl Family {
    /// The family of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }

    /// Judges the images of the history with this seed, on a machine of its own, so that the seed alone says all. What the images turned out
    /// to be is added to `found`.
    pub(crate) fn run(&self, seed: u64, budget: &Budget, found: &mut oracle::Found) -> Outcome {
        let mut bench = Bench::new(recording::options(self.durability));
        let outcome = (self.run)(&mut bench, seed, budget);
        *found += bench.found;
        outcome.map_err(|what| format!("{}: {what}", self.name))
    }
}
