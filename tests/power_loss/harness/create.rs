//! Power cuts during creation.

use super::budget::Budget;
use super::model::State;
use super::oracle::{Bench, guarded, is_exactly, work};
use super::recording::{Recorder, Recording};
use super::{Outcome, recording};
use heapfile::testing::{self, Recipe, SplitMix64};
use heapfile::{Durability, Error};

/// What the image of a creation is: an empty arena, or something that creation can start on again.
fn judge(bench: &mut Bench, image: &[u8], finished: bool) -> Result<(), String> {
    bench.put(image)?;
    bench.images += 1;
    let empty = State::default();
    guarded(|| {
        let arena = match testing::open(&bench.disk, &bench.options) {
            Ok(arena) => arena,
            Err(Error::Unfinished { .. }) if !finished => {
                testing::create(&bench.disk, &bench.options).map_err(|e| format!("creating it again: {e}"))?
            }
            Err(e) => return Err(format!("it neither opens nor counts as unfinished: {e}")),
        };
        is_exactly(&arena, &empty)?;
        work(&arena, &empty, bench.images, 3).map(drop)
    })
}

fn sweep(bench: &mut Bench, recording: &Recording, budget: &Budget) -> Outcome {
    let (plan, before) = (budget.plan(recording.seed), bench.images);
    let done = recording.acks[0].done;
    let wrong = |point, recipe: Recipe, what| {
        format!("seed {}, point {point}, {recipe:?}: {what}\n{}", recording.seed, recording.around(point))
    };
    let points = budget.point.map_or(0..done + 1, |point| point..point + 1);
    let mut crash = recording.history.at(points.start);
    let mut image = Vec::new();
    for point in points {
        crash.advance_to(point);
        for (nth, recipe) in crash.recipes(&plan).into_iter().enumerate() {
            crash.build(recipe, &mut image);
            bench.draw(recording.seed, point, nth);
            judge(bench, &image, point >= done).map_err(|what| wrong(point, recipe, what))?;
        }
    }
    Ok(bench.images - before)
}

pub(crate) fn creation(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let recording = Recorder::create_with(seed, bench.options.clone()).finish();
    sweep(bench, &recording, budget)
}

/// The power goes during a creation, comes back, and goes again while the arena is created once more.
pub(crate) fn creation_again(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let mut rng = SplitMix64(seed);
    bench.options = recording::options([Durability::Power, Durability::Process][rng.below(2) as usize]);
    let first = Recorder::create_with(seed, bench.options.clone()).finish();
    let mut image = Vec::new();
    for _ in 0..20 {
        let crash = first.history.at(rng.below(first.acks[0].done as u64) as usize);
        let recipes = crash.recipes(&budget.plan(rng.next()));
        crash.build(recipes[rng.below(recipes.len() as u64) as usize], &mut image);
        bench.boot();
        bench.disk.reset(&image).map_err(|e| e.to_string())?;
        let begun = testing::open(&bench.disk, &bench.options).map(drop);
        if matches!(begun, Err(Error::Unfinished { .. })) {
            let second = Recorder::create_on(seed, &image, bench.options.clone()).finish();
            return sweep(bench, &second, budget);
        }
    }
    Ok(0)
}
