//! The oracle: what an image must recover to.

use crate::budget::Budget;
use crate::model::{Kind, State, transact};
use crate::recording::{Recording, boot};
use heapfile::testing::{self, Recipe, SimDisk, SplitMix64};
use heapfile::{Arena, Options, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// An image that recovers to what it must not.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) point: usize,
    pub(crate) recipe: Recipe,
    pub(crate) what: String,
}

impl Violation {
    /// Ends the test with all that is needed to see it again.
    pub(crate) fn report(&self, test: &str, recording: &Recording) -> ! {
        let (seed, point) = (recording.seed, self.point);
        panic!(
            "{test}: seed {seed}, crash point {point}, {:?}: {}\n{}\n  replay: HEAPFILE_SEED={seed} \
             HEAPFILE_POINT={point} cargo test --test power_loss {test}",
            self.recipe,
            self.what,
            recording.around(point),
        );
    }
}

/// A machine on which images are opened, each after a boot of its own.
pub(crate) struct Bench {
    pub(crate) disk: SimDisk,
    pub(crate) options: Options,
    pub(crate) images: u64,
    boots: u64,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let disk = SimDisk::new().unwrap();
        disk.record(false).unwrap();
        Self { disk, options, images: 0, boots: 1 }
    }

    /// The power comes back.
    pub(crate) fn boot(&mut self) {
        self.boots += 1;
        boot(self.boots);
    }

    /// Opens the image and judges what is there; the index of the state among those allowed.
    pub(crate) fn judge(&mut self, image: &[u8], allowed: &[Arc<State>], operations: u64) -> Result<usize, String> {
        self.boot();
        self.images += 1;
        self.disk.reset(image).map_err(|e| e.to_string())?;
        let seed = self.images;
        guarded(|| {
            let arena =
                testing::open(&self.disk, &self.options).map_err(|e| format!("it does not open: {e}"))?;
            let which = find(&arena, allowed)?;
            let state = work(&arena, &allowed[which], seed, operations)?;
            drop(arena);
            let arena = testing::open(&self.disk, &self.options).map_err(|e| format!("reopening: {e}"))?;
            is_exactly(&arena, &state).map_err(|what| format!("after closing and opening: {what}"))?;
            Ok(which)
        })
    }

    /// Shows every crash point of the recording since its first acknowledgement, with the images of the budget's plan, to `judge`.
    pub(crate) fn sweep_with(
        &mut self,
        recording: &Recording,
        budget: &Budget,
        mut judge: impl FnMut(&mut Self, &[u8], &[Arc<State>], u64) -> Result<(), String>,
    ) -> Result<u64, Violation> {
        let plan = budget.plan(recording.seed);
        let points = match budget.point {
            Some(point) => point..(point + 1).min(recording.history.points()),
            None => recording.acks[0].done..recording.history.points(),
        };
        let mut crash = recording.history.at(points.start);
        let (mut image, before) = (Vec::new(), self.images);
        for point in points {
            crash.advance_to(point);
            for recipe in crash.recipes(&plan) {
                crash.build(recipe, &mut image);
                let operations = budget.operations(self.images);
                judge(self, &image, &recording.allowed(point), operations).map_err(|what| Violation {
                    point,
                    recipe,
                    what,
                })?;
            }
        }
        Ok(self.images - before)
    }

    /// Judges all images of the recording; how many there were.
    pub(crate) fn sweep(&mut self, recording: &Recording, budget: &Budget) -> Result<u64, Violation> {
        self.sweep_with(recording, budget, |bench, image, allowed, operations| {
            bench.judge(image, allowed, operations).map(drop)
        })
    }
}

/// A panic of the library is a finding like any other.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("it panics: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

/// Which of the states the arena holds.
pub(crate) fn find(arena: &Arena, allowed: &[Arc<State>]) -> Result<usize, String> {
    let mut why = Vec::new();
    for (i, state) in allowed.iter().enumerate() {
        match state.difference(arena) {
            Ok(None) => return is_sound(arena).map(|()| i),
            Ok(Some(what)) => why.push(what),
            Err(e) => why.push(e.to_string()),
        }
    }
    Err(format!("none of the {} states allowed: {}", allowed.len(), why.join("; or: ")))
}

pub(crate) fn is_exactly(arena: &Arena, state: &State) -> Result<(), String> {
    match state.difference(arena) {
        Ok(None) => is_sound(arena),
        Ok(Some(what)) => Err(what),
        Err(e) => Err(e.to_string()),
    }
}

fn is_sound(arena: &Arena) -> Result<(), String> {
    let report = arena.check().map_err(|e| format!("check: {e}"))?;
    match report.findings.first() {
        None => Ok(()),
        Some(first) => Err(format!("check has {} findings, first {first}", report.findings.len())),
    }
}

/// Works on with the arena; what it holds then.
pub(crate) fn work(arena: &Arena, state: &State, seed: u64, operations: u64) -> Result<State, String> {
    let mut rng = SplitMix64(seed);
    let mut state = state.clone();
    for i in 0..operations {
        let kind = match rng.below(16) {
            0 => Kind::Pages,
            1 => Kind::InPlace,
            2 => Kind::Spill,
            3 => Kind::SavePoints,
            _ => Kind::Small,
        };
        let done = transact(arena, &state, kind, &mut rng).and_then(|pending| pending.commit());
        state = done.map_err(|e| format!("operation {i} ({kind:?}) after recovery: {e}"))?;
    }
    is_exactly(arena, &state).map_err(|what| format!("{operations} operations after recovery: {what}"))?;
    Ok(state)
}
