//! Power cuts anywhere in the life of a `Power` arena.

use crate::budget::Budget;
use crate::model::Kind;
use crate::oracle::Bench;
use crate::recording::{Recorder, Step, mixed, options};
use heapfile::Durability;

/// Records the steps for seed after seed and judges all images.
fn survive(test: &str, share: u64, steps: impl Fn(u64) -> Vec<Step>) {
    let budget = Budget::of(share);
    let mut bench = Bench::new(options(Durability::Power));
    budget.spend(test, |seed| {
        let recording = Recorder::create(seed, Durability::Power).steps(steps(seed)).finish();
        bench.sweep(&recording, &budget).unwrap_or_else(|violation| violation.report(test, &recording))
    });
}

#[test]
fn mixed_histories() {
    survive("mixed_histories", 250, |seed| mixed(seed, 25));
}

/// In-place fills over blocks whose older, logged content is still in the ring.
#[test]
fn refilled_space() {
    let round = [Kind::Pages, Kind::Pages, Kind::Small, Kind::FreeLarge, Kind::InPlace];
    survive("refilled_space", 100, |_| {
        round.iter().cycle().take(10).map(|&kind| Step::Commit(kind)).collect()
    });
}
