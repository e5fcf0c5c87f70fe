//! Power cuts anywhere in the life of a `Power` arena: what the histories do.

use super::model::Kind;
use super::oracle::Bench;
use super::recording::{Recorder, Recording, Step, mixed, moved_log};
use super::{Budget, Outcome};
use heapfile::Durability;
use heapfile::testing::{self, Recipe, SplitMix64};
use heapfile::{Error, Options};

/// Records the steps and judges all images.
fn survive(bench: &mut Bench, seed: u64, budget: &Budget, steps: Vec<Step>) -> Outcome {
    let recorder = Recorder::create_with(seed, bench.options.clone());
    let recording = recorder.steps(steps).finish();
    bench.sweep(&recording, budget).map_err(|violation| violation.describe(&recording))
}

/// So many commits of these kinds, in turn.
pub(crate) fn rounds(kinds: &[Kind], count: usize) -> Vec<Step> {
    kinds.iter().cycle().take(count).map(|&kind| Step::Commit(kind)).collect()
}

pub(crate) fn mixed_histories(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    survive(bench, seed, budget, mixed(seed, 25))
}

/// In-place fills over blocks whose older, logged content is still in the ring.
pub(crate) fn refilled_space(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let kinds = [Kind::InPlace, Kind::Patch, Kind::Patch, Kind::Small, Kind::FreeLarge];
    survive(bench, seed, budget, rounds(&kinds, 11))
}

/// The ring goes round more than twice; checkpoints happen by themselves.
pub(crate) fn ring_wraps(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let kinds: &[Kind] =
        if seed.is_multiple_of(2) { &[Kind::Even] } else { &[Kind::Even, Kind::Pages, Kind::Small] };
    survive(bench, seed, budget, rounds(kinds, 80))
}

/// Records too long for the ring, in a heap that grows over the place where they were.
pub(crate) fn spills_and_growth(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    survive(bench, seed, budget, rounds(&[Kind::Spill, Kind::InPlace, Kind::Spill, Kind::Small], 12))
}

/// The file is cut and punched, and grows again.
pub(crate) fn shrinking(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let kinds = [Kind::InPlace, Kind::Patch, Kind::InPlace, Kind::Small, Kind::FreeLarge];
    let mut steps = rounds(&kinds, 15);
    (0..3).for_each(|i| steps.insert(4 * i + 5 + (seed as usize + i) % 4, Step::Shrink));
    survive(bench, seed, budget, steps)
}

/// Checkpoints, and closing and opening, between commits of all kinds.
pub(crate) fn checkpoints_and_reopening(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let pause = |step| [step, Step::Checkpoint, step, Step::Reopen];
    survive(bench, seed, budget, mixed(seed, 8).into_iter().flat_map(pause).collect())
}

/// Logs of other lengths, whose records begin at sectors or pages.
pub(crate) fn other_logs(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let mut rng = SplitMix64(seed);
    let align = [512, 4096, 128][rng.below(3) as usize];
    let pages = 16 + rng.below(20);
    bench.options = other_log(&bench.options, align, pages);
    survive(bench, seed, budget, mixed(seed, 25))
}

fn other_log(options: &Options, align: u32, pages: u64) -> Options {
    options.clone().log_align(align).log_size(pages * 4096)
}

/// A checkpoint slot that is damaged, which no power cut does, is made up for or refused: an older state never passes for the last one.
/// The log tells which: where it has all that the newest state needs the arena opens, and shows that.
pub(crate) fn damaged_slots(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let kinds = [Kind::Even, Kind::Small, Kind::Patch, Kind::Pages, Kind::Spill, Kind::InPlace];
    let mut rng = SplitMix64(seed);
    let steps = (0..60).map(|_| match rng.below(12) {
        0 => Step::MoveLog(moved_log(&mut rng)),
        kind => Step::Commit(kinds[(kind as usize % 8).saturating_sub(2)]),
    });
    let recording = Recorder::create(seed, Durability::Power).steps(steps.collect::<Vec<_>>()).finish();
    without_a_slot(bench, &recording, budget)
}

/// Damages each slot after each commit.
pub(crate) fn without_a_slot(bench: &mut Bench, recording: &Recording, budget: &Budget) -> Outcome {
    let (mut image, before) = (Vec::new(), bench.images);
    for ack in recording.acks.iter().filter(|ack| budget.point.is_none_or(|point| point == ack.done)) {
        for slot in [1, 2] {
            recording.history.at(ack.done).build(Recipe::New, &mut image);
            image[slot * 4096 + 9] ^= 1;
            bench.boot();
            bench.images += 1;
            bench.disk.reset(&image).map_err(|e| e.to_string())?;
            let wrong = |what: String| {
                format!("seed {}, crash point {}, slot {slot}: {what}", recording.seed, ack.done)
            };
            match testing::open(&bench.disk, &bench.options) {
                Ok(arena) => match ack.state.difference(&arena) {
                    Ok(None) => bench.found.opened += 1,
                    Ok(Some(what)) => return Err(wrong(what)),
                    Err(e) => return Err(wrong(e.to_string())),
                },
                Err(Error::Corrupt { .. } | Error::Truncated { .. }) => bench.found.refused += 1,
                Err(e) => return Err(wrong(e.to_string())),
            }
        }
    }
    Ok(bench.images - before)
}
