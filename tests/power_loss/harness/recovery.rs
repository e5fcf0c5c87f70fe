//! Power cuts during recovery, and after it: up to four levels of images.

use super::Outcome;
use super::budget::Budget;
use super::model::Kind;
use super::oracle::{Bench, find};
use super::recording::{Recorder, Recording, Step, mixed};
use heapfile::Durability;
use heapfile::testing::SplitMix64;

/// What happens after each power cut.
const AFTERWARDS: [Kind; 4] = [Kind::Small, Kind::InPlace, Kind::Spill, Kind::Small];

/// Recovers from one random image of the recording and does a little of that; the history of it.
fn recover_from(
    bench: &mut Bench,
    first: &Recording,
    rng: &mut SplitMix64,
    budget: &Budget,
    afterwards: &[Kind],
) -> Result<Recording, String> {
    let points = first.acks[0].done..first.history.points();
    let point = points.start + rng.below(points.len() as u64) as usize;
    let crash = first.history.at(point);
    let recipes = crash.recipes(&budget.plan(rng.next()));
    let recipe = recipes[rng.below(recipes.len() as u64) as usize];
    let mut image = Vec::new();
    crash.build(recipe, &mut image);
    bench.boot();
    let allowed = first.allowed(point);
    let wrong = |what: String| format!("seed {}, point {point}, {recipe:?}: {what}", first.seed);
    let mut recorder = Recorder::open(first.seed, &image, &bench.options, allowed[0].clone())
        .map_err(|e| wrong(e.to_string()))?;
    // Once it was seen, it has to stay.
    let found = find(recorder.arena(), &allowed).map_err(wrong)?;
    recorder.acks[0].state = allowed[found].clone();
    Ok(recorder.steps(afterwards.iter().map(|&kind| Step::Commit(kind))).finish())
}

pub(crate) fn cuts_during_recovery(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let first = Recorder::create(seed, Durability::Power).steps(mixed(seed, 12)).finish();
    let mut rng = SplitMix64(seed);
    let mut images = 0;
    for levels in 1..=3 {
        // Cuts before the last one often find nothing but a recovery to cut.
        let mut last = recover_from(bench, &first, &mut rng, budget, &AFTERWARDS)?;
        for _ in 1..levels {
            let some = rng.below(3) as usize;
            last = recover_from(bench, &last, &mut rng, budget, &AFTERWARDS[..some])?;
        }
        images += bench.sweep(&last, budget).map_err(|violation| violation.describe(&last))?;
    }
    Ok(images)
}
