//! The tables of a store, ordered and hashed: what is there after a power cut is what was acknowledged last, or what was in flight, in all tables
//! alike.

use super::Outcome;
use super::budget::Budget;
use super::oracle::{Bench, guarded};
use super::recording::{Ack, Recording, boot};
use crate::common::objects::{self, Model};
use heapfile::store::Store;
use heapfile::testing::{self, SimDisk, SplitMix64};
use heapfile::{Arena, Options};

const TRANSACTIONS: u64 = 30;

/// A history, and the states that it acknowledged.
pub(crate) fn record(seed: u64, options: &Options) -> (Recording, Vec<Model>) {
    boot(0);
    let disk = SimDisk::new().unwrap();
    let mut rng = SplitMix64(seed);
    let mut store = Store::with(testing::create(&disk, options).unwrap());
    let mut acks = vec![Ack::new(0, disk.steps(), Default::default())];
    let mut states = vec![Model::new()];
    for n in seed * 1000..seed * 1000 + TRANSACTIONS {
        let begun = disk.steps();
        objects::play(&store, n).unwrap();
        acks.push(Ack::new(begun, disk.steps(), Default::default()));
        let mut state = states[states.len() - 1].clone();
        objects::step(&mut state, n);
        states.push(state);
        match rng.below(12) {
            0 | 1 => drop(store.shrink().unwrap()),
            2 => store.arena().checkpoint().unwrap(),
            3 => {
                drop(store);
                store = Store::with(testing::open(&disk, options).unwrap());
            }
            _ => {}
        }
    }
    drop(store);
    assert_eq!(disk.unrecorded().unwrap(), None, "a write went past the seam");
    (Recording { seed, history: disk.history(), acks }, states)
}

fn judge(arena: Arena, allowed: &[Model], operations: u64) -> Result<(), String> {
    let differences: Vec<_> = allowed.iter().map(|state| objects::difference(&arena, state)).collect();
    let Some(which) = differences.iter().position(Option::is_none) else {
        return Err(format!("none of the states allowed: {differences:?}"));
    };
    let (store, mut state) = (Store::with(arena), allowed[which].clone());
    for n in 77_777..77_777 + operations {
        objects::play(&store, n).map_err(|e| format!("it cannot go on: {e}"))?;
        objects::step(&mut state, n);
    }
    let after =
        objects::difference(store.arena(), &state).or_else(|| objects::left_over(store.arena(), &state));
    after.map_or(Ok(()), |what| Err(format!("after {operations} transactions more: {what}")))
}

/// Judges all images of the history.
pub(crate) fn sweep(
    bench: &mut Bench,
    (recording, states): &(Recording, Vec<Model>),
    budget: &Budget,
) -> Outcome {
    let swept = bench.sweep_points(recording, budget, |bench, point, image| {
        let known = recording.acks.partition_point(|ack| ack.done <= point);
        let in_flight = recording.acks.get(known).is_some_and(|next| next.begun < point);
        let allowed = &states[known.saturating_sub(1)..known + usize::from(in_flight)];
        let operations = budget.operations(bench.images);
        bench.put(image)?;
        bench.images += 1;
        guarded(|| {
            let arena =
                testing::open(&bench.disk, &bench.options).map_err(|e| format!("it does not open: {e}"))?;
            judge(arena, allowed, operations)
        })
    });
    swept.map_err(|violation| violation.describe(recording))
}

pub(crate) fn tables_of_a_store(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let recorded = record(seed, &bench.options);
    sweep(bench, &recorded, &budget.sparse(3))
}
