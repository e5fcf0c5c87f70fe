//! Power cuts during creation.

use crate::budget::Budget;
use crate::model::State;
use crate::oracle::{Bench, guarded, is_exactly, work};
use crate::recording::{Recorder, Recording, options};
use heapfile::testing::{self, Recipe};
use heapfile::{Durability, Error};

/// What the image of a creation is: an empty arena, or something that creation can start on again.
fn judge(bench: &mut Bench, image: &[u8], finished: bool) -> Result<(), String> {
    bench.boot();
    bench.images += 1;
    bench.disk.reset(image).map_err(|e| e.to_string())?;
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

fn sweep(bench: &mut Bench, recording: &Recording, budget: &Budget) -> Result<u64, (usize, Recipe, String)> {
    let (plan, before) = (budget.plan(recording.seed), bench.images);
    let done = recording.acks[0].done;
    let points = budget.point.map_or(0..done + 1, |point| point..point + 1);
    let mut crash = recording.history.at(points.start);
    let mut image = Vec::new();
    for point in points {
        crash.advance_to(point);
        for recipe in crash.recipes(&plan) {
            crash.build(recipe, &mut image);
            judge(bench, &image, point >= done).map_err(|what| (point, recipe, what))?;
        }
    }
    Ok(bench.images - before)
}

fn creation(test: &str, durability: Durability) {
    let budget = Budget::of(25);
    let mut bench = Bench::new(options(durability));
    budget.spend(test, |seed| {
        let recording = Recorder::create(seed, durability).finish();
        sweep(&mut bench, &recording, &budget).unwrap_or_else(|(point, recipe, what)| {
            panic!("{test}: seed {seed}, point {point}, {recipe:?}: {what}\n{}", recording.around(point))
        })
    });
}

#[test]
fn creation_of_a_power_arena() {
    creation("creation_of_a_power_arena", Durability::Power);
}

#[test]
fn creation_of_a_process_arena() {
    creation("creation_of_a_process_arena", Durability::Process);
}
