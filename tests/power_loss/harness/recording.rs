//! Histories of an arena on a simulated disk, with the state that each commit acknowledged.

use super::model::{Kind, State, transact};
use heapfile::testing::{self, History, SimDisk, SplitMix64};
use heapfile::{Arena, Durability, Options};
use std::sync::Arc;

/// A commit: the step at which it began, the step by which it was acknowledged, and what it committed.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) begun: usize,
    pub(crate) done: usize,
    pub(crate) state: Arc<State>,
    /// What it would have committed, if it was taken back.
    pub(crate) taken_back: Option<Arc<State>>,
}

impl Ack {
    pub(crate) fn new(begun: usize, done: usize, state: Arc<State>) -> Self {
        Self { begun, done, state, taken_back: None }
    }
}

/// One thing that a history does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Commit(Kind),
    RollBack(Kind),
    Checkpoint,
    Shrink,
    MoveLog(u32),
    Reopen,
}

/// A whole history and what was acknowledged in it.
pub(crate) struct Recording {
    pub(crate) seed: u64,
    pub(crate) history: History,
    pub(crate) acks: Vec<Ack>,
}

impl Recording {
    /// The states that a power cut at this point may leave: the last that was acknowledged, or one in flight.
    pub(crate) fn allowed(&self, point: usize) -> Vec<Arc<State>> {
        let known = self.acks.partition_point(|ack| ack.done <= point);
        let mut states = vec![self.acks[known.saturating_sub(1)].state.clone()];
        for next in self.acks[known..].iter().take_while(|next| next.begun < point) {
            states.extend(next.taken_back.clone());
            states.push(next.state.clone());
        }
        states
    }

    /// A few steps before and after the point, for a report.
    pub(crate) fn around(&self, point: usize) -> String {
        let steps = point.saturating_sub(6)..(point + 3).min(self.history.points());
        let lines = steps.map(|step| {
            let mark = if step == point { " <- power cut before this" } else { "" };
            format!("    step {step}: {}{mark}", self.history.describe(step))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Options of small arenas, so that everything happens soon: growth, a full ring, spills.
pub(crate) fn options(durability: Durability) -> Options {
    Options::new().durability(durability).log_size(64 << 10).max_size(64 << 20)
}

/// Boots the simulated machine anew, for this thread.
pub(crate) fn boot(number: u64) {
    let mut id = [0xB0; 16];
    id[..8].copy_from_slice(&(number + 1).to_le_bytes());
    testing::set_boot(Some(id));
}

/// Performs steps on an arena and takes down what is acknowledged.
pub(crate) struct Recorder {
    pub(crate) disk: SimDisk,
    pub(crate) options: Options,
    pub(crate) rng: SplitMix64,
    pub(crate) acks: Vec<Ack>,
    pub(crate) seed: u64,
    arena: Option<Arena>,
}

impl Recorder {
    /// Creates an arena. Its creation is part of the history; the empty arena is the first state acknowledged.
    pub(crate) fn create(seed: u64, durability: Durability) -> Self {
        Self::create_with(seed, options(durability))
    }

    /// The same with other options.
    pub(crate) fn create_with(seed: u64, options: Options) -> Self {
        boot(0);
        Self::create_in(seed, SimDisk::new().unwrap(), options)
    }

    /// The same on what an earlier creation left.
    pub(crate) fn create_on(seed: u64, image: &[u8], options: Options) -> Self {
        Self::create_in(seed, SimDisk::from_image(image).unwrap(), options)
    }

    fn create_in(seed: u64, disk: SimDisk, options: Options) -> Self {
        let arena = testing::create(&disk, &options).unwrap();
        let acks = vec![Ack::new(0, disk.steps(), Arc::default())];
        Self { disk, options, rng: SplitMix64(seed), acks, seed, arena: Some(arena) }
    }

    /// Goes on from an arena that holds `state`; opening it is part of the history.
    pub(crate) fn open(
        seed: u64,
        image: &[u8],
        options: &Options,
        state: Arc<State>,
    ) -> heapfile::Result<Self> {
        let disk = SimDisk::from_image(image)?;
        let arena = testing::open(&disk, options)?;
        let acks = vec![Ack::new(0, 0, state)];
        Ok(Self { disk, options: options.clone(), rng: SplitMix64(seed), acks, seed, arena: Some(arena) })
    }

    pub(crate) fn arena(&self) -> &Arena {
        self.arena.as_ref().expect("open")
    }

    pub(crate) fn take_arena(&mut self) -> Arena {
        self.arena.take().expect("open")
    }

    /// Opens the arena again.
    pub(crate) fn put_arena(&mut self, arena: Arena) {
        self.arena = Some(arena);
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.acks[self.acks.len() - 1].state.clone()
    }

    pub(crate) fn commit(&mut self, kind: Kind) {
        let state = self.state();
        let begun = self.disk.steps();
        let arena = self.arena.take().expect("open");
        let next = transact(&arena, &state, kind, &mut self.rng).and_then(|pending| pending.commit());
        self.arena = Some(arena);
        self.acks.push(Ack::new(begun, self.disk.steps(), Arc::new(next.unwrap())));
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Commit(kind) => self.commit(kind),
            Step::RollBack(kind) => {
                let state = self.state();
                let arena = self.arena.as_ref().expect("open");
                drop(transact(arena, &state, kind, &mut self.rng).unwrap());
            }
            Step::Checkpoint => self.arena().checkpoint().unwrap(),
            Step::Shrink => drop(self.arena().shrink().unwrap()),
            Step::MoveLog(pages) => testing::move_log(self.arena(), pages).unwrap(),
            Step::Reopen => {
                drop(self.take_arena());
                self.arena = Some(testing::open(&self.disk, &self.options).unwrap());
            }
        }
    }

    pub(crate) fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        steps.into_iter().for_each(|step| self.step(step));
        self
    }

    /// Closes the arena, which ends the history.
    pub(crate) fn finish(mut self) -> Recording {
        drop(self.arena.take());
        assert_eq!(self.disk.unrecorded().unwrap(), None, "a write went past the seam");
        Recording { seed: self.seed, history: self.disk.history(), acks: self.acks }
    }
}

/// Pages of a ring that the log moves into; 0: back.
pub(crate) fn moved_log(rng: &mut SplitMix64) -> u32 {
    [0, 17, 20, 21, 40][rng.below(5) as usize]
}

/// `count` steps of all kinds.
pub(crate) fn mixed(seed: u64, count: u64) -> Vec<Step> {
    let mut rng = SplitMix64(seed ^ 0x5EED);
    let step = |_| match rng.below(27) {
        0..=7 => Step::Commit(Kind::Small),
        8..=9 => Step::Commit(Kind::Pages),
        10 => Step::Commit(Kind::Patch),
        11..=13 => Step::Commit(Kind::InPlace),
        14..=16 => Step::Commit(Kind::Spill),
        17 => Step::Commit(Kind::FreeLarge),
        18..=19 => Step::Commit(Kind::SavePoints),
        20 => Step::RollBack(Kind::InPlace),
        21 => Step::RollBack(Kind::SavePoints),
        22 => Step::Checkpoint,
        23 => Step::Shrink,
        24..=25 => Step::MoveLog(moved_log(&mut rng)),
        _ => Step::Reopen,
    };
    (0..count).map(step).collect()
}
