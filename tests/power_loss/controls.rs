//! Negative controls: with a rule of the log left out, the same images show violations. Were one of these tests to
//! fail, the others would prove nothing about that rule.

use crate::harness::budget::Budget;
use crate::harness::model::Kind;
use crate::harness::oracle::Bench;
use crate::harness::recording::{Recorder, Recording, Step, mixed, options};
use crate::harness::whole::rounds;
use crate::harness::{groups, mended, store};
use heapfile::Durability;
use heapfile::testing::{Break, sabotage};

/// Seeds that are tried before the control counts as failed.
const SEEDS: u64 = 20;

/// Leaves out the rule while `work` runs.
pub(crate) fn without<T>(rule: Break, work: impl FnOnce() -> T) -> T {
    struct Mended;
    impl Drop for Mended {
        fn drop(&mut self) {
            sabotage(None);
        }
    }
    sabotage(Some(rule));
    let _mended = Mended;
    work()
}

/// Records histories without the rule, and opens their images with and without it, until a violation shows.
pub(crate) fn must_be_found(rule: Break, record: impl Fn(u64) -> Recording) {
    let budget = Budget::of(0);
    let mut bench = Bench::new(options(Durability::Power));
    for seed in 1..=SEEDS {
        let found = without(rule, || {
            let recording = record(seed);
            bench.sweep(&recording, &budget)
        });
        if let Err(violation) = found {
            println!("{rule:?}: found after {} images, seed {seed}: {}", bench.images, violation.what);
            return;
        }
    }
    panic!("{rule:?} was not found in {} images of {SEEDS} histories", bench.images);
}

fn power(seed: u64, steps: impl IntoIterator<Item = Step>) -> Recording {
    Recorder::create(seed, Durability::Power).steps(steps).finish()
}

#[test]
fn no_rule_left_out_is_no_violation() {
    let budget = Budget::of(0);
    let mut bench = Bench::new(options(Durability::Power));
    let recording = power(1, rounds(&[Kind::Pages, Kind::FreeLarge, Kind::InPlace, Kind::Spill], 8));
    bench.sweep(&recording, &budget).unwrap();
}

#[test]
fn rule_1_records_after_what_they_list() {
    must_be_found(Break::NoSyncFirst, |seed| power(seed, rounds(&[Kind::InPlace], 2)));
    must_be_found(Break::NoSyncFirst, |seed| power(seed, rounds(&[Kind::InPlace, Kind::Spill], 4)));
}

#[test]
fn rule_2_a_chain_of_records() {
    must_be_found(Break::Unchained, |seed| power(seed, rounds(&[Kind::Even], 100)));
}

#[test]
fn rule_5_the_tail_moves_after_a_sync() {
    must_be_found(Break::CheckpointWithoutSync, |seed| power(seed, rounds(&[Kind::Even], 100)));
}

#[test]
fn rule_5_the_slot_is_flushed() {
    must_be_found(Break::SlotNotFlushed, |seed| power(seed, rounds(&[Kind::Even], 100)));
}

#[test]
fn rule_7_the_tail_passes_before_the_cut() {
    must_be_found(Break::CutBeforeCheckpoint, |seed| power(seed, rounds(&[Kind::Spill], 4)));
    must_be_found(Break::CutBeforeCheckpoint, |seed| {
        let kinds = [Kind::InPlace, Kind::Patch, Kind::Patch, Kind::FreeLarge];
        power(seed, kinds.map(Step::Commit).into_iter().chain([Step::Shrink]))
    });
}

#[test]
fn the_revoke_rule() {
    must_be_found(Break::NoRevoke, |seed| {
        power(seed, rounds(&[Kind::InPlace, Kind::Patch, Kind::FreeLarge], 5))
    });
}

/// In a batch, and with tables.
#[test]
fn flush_then_apply_elsewhere() {
    let rule = Some(Break::ApplyBeforeFlush);
    must_be_found(Break::ApplyBeforeFlush, |seed| groups::record(seed, rule));
    let mut bench = Bench::new(options(Durability::Power));
    let found = (1..=SEEDS).find_map(|seed| {
        let recorded = without(Break::ApplyBeforeFlush, || store::record(seed, &bench.options));
        store::sweep(&mut bench, &recorded, &Budget::of(0)).err()
    });
    println!("{}", found.expect("a store that is changed before its record is durable is torn"));
}

/// Only a recovery that is cut off shows what these do.
#[test]
fn no_word_twice_and_none_over_a_body() {
    for rule in [Break::ReplayOldValues, Break::ReplayOverSpilled] {
        let mut bench = Bench::new(options(Durability::Power));
        let found = (1..=200).find_map(|seed| {
            let swept = without(rule, || mended::sweep(&mut bench, seed, &Budget::of(0), Some(rule)));
            swept.err()
        });
        println!("{rule:?}: found after {} images: {}", bench.images, found.expect("it was not found"));
    }
}

#[test]
fn words_of_an_earlier_boot_mean_nothing() {
    must_be_found(Break::WordsOutliveBoots, |seed| power(seed, rounds(&[Kind::Even], 20)));
}

#[test]
fn flush_then_apply() {
    must_be_found(Break::ApplyBeforeFlush, |seed| power(seed, mixed(seed, 5)));
}
