//! Power cuts during recovery, and after it: two levels of images.

use crate::budget::Budget;
use crate::model::Kind;
use crate::oracle::{Bench, find};
use crate::recording::{Recorder, Recording, Step, mixed, options};
use heapfile::Durability;
use heapfile::testing::SplitMix64;

/// What happens after each first power cut.
const AFTERWARDS: [Kind; 4] = [Kind::Small, Kind::InPlace, Kind::Spill, Kind::Small];

/// Recovers from one random image of the recording and goes on; the history of that.
fn second(bench: &mut Bench, first: &Recording, rng: &mut SplitMix64, budget: &Budget) -> Recording {
    let points = first.acks[0].done..first.history.points();
    let point = points.start + rng.below(points.len() as u64) as usize;
    let crash = first.history.at(point);
    let recipes = crash.recipes(&budget.plan(rng.next()));
    let recipe = recipes[rng.below(recipes.len() as u64) as usize];
    let mut image = Vec::new();
    crash.build(recipe, &mut image);
    bench.boot();
    let allowed = first.allowed(point);
    let mut recorder = Recorder::open(first.seed, &image, &bench.options, allowed[0].clone()).unwrap();
    // Once it was seen, it has to stay.
    let found = find(recorder.arena(), &allowed);
    let found = found.unwrap_or_else(|what| panic!("seed {}, point {point}, {recipe:?}: {what}", first.seed));
    recorder.acks[0].state = allowed[found].clone();
    recorder.steps(AFTERWARDS.map(Step::Commit)).finish()
}

#[test]
fn cuts_during_recovery() {
    let budget = Budget::of(150);
    let mut bench = Bench::new(options(Durability::Power));
    budget.spend("cuts_during_recovery", |seed| {
        let first = Recorder::create(seed, Durability::Power).steps(mixed(seed, 12)).finish();
        let mut rng = SplitMix64(seed);
        let mut images = 0;
        for _ in 0..3 {
            let second = second(&mut bench, &first, &mut rng, &budget);
            images += bench
                .sweep(&second, &budget)
                .unwrap_or_else(|violation| violation.report("cuts_during_recovery", &second));
        }
        images
    });
}
