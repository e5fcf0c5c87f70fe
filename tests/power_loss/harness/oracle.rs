//! The oracle: what an image must recover to.

use super::budget::Budget;
use super::model::{Kind, State, transact};
use super::recording::{Recording, boot};
use heapfile::testing::{self, Recipe, SimDisk, SplitMix64};
use heapfile::{Arena, Options, Result};
use std::ops::AddAssign;
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
    /// All that is needed to see it again.
    pub(crate) fn describe(&self, recording: &Recording) -> String {
        let (seed, point) = (recording.seed, self.point);
        format!(
            "seed {seed}, crash point {point}, {:?}: {}\n{}\n  again: HEAPFILE_SEED={seed} HEAPFILE_POINT={point}, with \
             HEAPFILE_IMAGES as before, and this test",
            self.recipe,
            self.what,
            recording.around(point),
        )
    }
}

/// What images turned out to be, where more than one answer is right.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    /// `Process`: a synced state.
    pub(crate) synced: u64,
    /// `Process`: refused as unsynced, and sound.
    pub(crate) sound: u64,
    /// `Process`: refused as unsynced, and damaged.
    pub(crate) damaged: u64,
    /// A damaged slot: made up for.
    pub(crate) opened: u64,
    /// A damaged slot: refused.
    pub(crate) refused: u64,
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.synced += other.synced;
        self.sound += other.sound;
        self.damaged += other.damaged;
        self.opened += other.opened;
        self.refused += other.refused;
    }
}

/// A machine on which images are opened, each after a boot of its own.
pub(crate) struct Bench {
    pub(crate) disk: SimDisk,
    pub(crate) options: Options,
    pub(crate) images: u64,
    pub(crate) found: Found,
    /// See [`draw`](Self::draw).
    pub(crate) chance: SplitMix64,
    boots: u64,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let disk = SimDisk::new().unwrap();
        disk.record(false).unwrap();
        Self { disk, options, images: 0, found: Found::default(), chance: SplitMix64(0), boots: 1 }
    }

    /// The power comes back.
    pub(crate) fn boot(&mut self) {
        self.boots += 1;
        boot(self.boots);
    }

    /// Leaves to chance what happens to the image that comes next, the same whenever it is seen.
    pub(crate) fn draw(&mut self, seed: u64, point: usize, nth: usize) {
        self.chance = SplitMix64(seed << 32 ^ (point as u64) << 8 ^ nth as u64);
    }

    /// The power comes back, and the disk holds the image. The first recovery of every other one is cut off.
    pub(crate) fn put(&mut self, image: &[u8]) -> Result<(), String> {
        self.boot();
        self.disk.reset(image).map_err(|e| e.to_string())?;
        let mut chance = self.chance.clone();
        match chance.below(2) {
            0 => self.cut_recoveries_off(1, &mut chance),
            _ => Ok(()),
        }
    }

    /// Opens the image and judges what is there; the index of the state among those allowed.
    pub(crate) fn judge(
        &mut self,
        image: &[u8],
        allowed: &[Arc<State>],
        operations: u64,
    ) -> Result<usize, String> {
        self.put(image)?;
        self.judge_disk(allowed, operations)
    }

    /// The same of what the disk holds, in this boot.
    pub(crate) fn judge_disk(&mut self, allowed: &[Arc<State>], operations: u64) -> Result<usize, String> {
        self.images += 1;
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

    /// Shows the images of the budget's plan at each crash point since the recording's first acknowledgement to `judge`; how many there were.
    pub(crate) fn sweep_points(
        &mut self,
        recording: &Recording,
        budget: &Budget,
        mut judge: impl FnMut(&mut Self, usize, &[u8]) -> Result<(), String>,
    ) -> Result<u64, Violation> {
        let plan = budget.plan(recording.seed);
        let all = recording.acks[0].done..recording.history.points();
        let points = match budget.point {
            Some(point) => {
                assert!(
                    all.contains(&point),
                    "the history of seed {} is cut at {all:?}, not at {point}",
                    recording.seed
                );
                point..point + 1
            }
            None => all,
        };
        let first = points.start + recording.seed as usize % budget.stride.min(points.len().max(1));
        let (mut image, before) = (Vec::new(), self.images);
        let mut crash = recording.history.at(points.start);
        for point in (first..points.end).step_by(budget.stride) {
            crash.advance_to(point);
            for (nth, recipe) in crash.recipes(&plan).into_iter().enumerate() {
                crash.build(recipe, &mut image);
                self.draw(recording.seed, point, nth);
                judge(self, point, &image).map_err(|what| Violation { point, recipe, what })?;
            }
        }
        Ok(self.images - before)
    }

    /// Judges all images of the recording; how many there were.
    pub(crate) fn sweep(&mut self, recording: &Recording, budget: &Budget) -> Result<u64, Violation> {
        self.sweep_points(recording, budget, |bench, point, image| {
            bench.judge(image, &recording.allowed(point), budget.operations(bench.images)).map(drop)
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
