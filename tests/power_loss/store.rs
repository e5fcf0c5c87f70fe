//! The store, with ordered and hashed tables, under power cuts: what is there afterwards is what was acknowledged last, or what was in flight.

use crate::harness::budget::Budget;
use crate::harness::oracle::{Bench, guarded};
use crate::harness::recording::{Ack, Recording, boot, options};
use crate::objects::{self, Model};
use heapfile::store::Store;
use heapfile::testing::{self, SimDisk};
use heapfile::{Arena, Durability};

const TRANSACTIONS: u64 = 30;

/// A history, and the states that it acknowledged.
fn record(seed: u64) -> (Recording, Vec<Model>) {
    boot(0);
    let disk = SimDisk::new().unwrap();
    let store = Store::with(testing::create(&disk, &options(Durability::Power)).unwrap());
    let mut acks = vec![Ack::new(0, disk.steps(), Default::default())];
    let mut states = vec![Model::new()];
    for n in seed * 1000..seed * 1000 + TRANSACTIONS {
        let begun = disk.steps();
        objects::play(&store, n).unwrap();
        acks.push(Ack::new(begun, disk.steps(), Default::default()));
        let mut state = states[states.len() - 1].clone();
        objects::step(&mut state, n);
        states.push(state);
        if n % 10 == 9 {
            store.shrink().unwrap();
        }
    }
    drop(store);
    (Recording { seed, history: disk.history(), acks }, states)
}

fn judge(arena: Arena, allowed: &[Model]) -> Result<(), String> {
    let differences: Vec<_> = allowed.iter().map(|state| objects::difference(&arena, state)).collect();
    if !differences.iter().any(Option::is_none) {
        return Err(format!("none of the states allowed: {differences:?}"));
    }
    objects::play(&Store::with(arena.clone()), 77_777).map_err(|e| format!("it cannot go on: {e}"))?;
    Store::with(arena).check().map_err(|e| format!("after going on: {e}"))
}

#[test]
fn tables() {
    let budget = Budget::of(100).sparse(3);
    let mut bench = Bench::new(options(Durability::Power));
    budget.spend("tables", |seed| {
        let (recording, states) = record(seed);
        let outcome = bench.sweep_points(&recording, &budget, |bench, point, image| {
            let known = recording.acks.partition_point(|ack| ack.done <= point);
            let in_flight = recording.acks.get(known).is_some_and(|next| next.begun < point);
            let allowed = &states[known.saturating_sub(1)..known + usize::from(in_flight)];
            bench.boot();
            bench.images += 1;
            bench.disk.reset(image).map_err(|e| e.to_string())?;
            guarded(|| {
                let arena = testing::open(&bench.disk, &bench.options)
                    .map_err(|e| format!("it does not open: {e}"))?;
                judge(arena, allowed)
            })
        });
        outcome.unwrap_or_else(|violation| panic!("tables: {}", violation.describe(&recording)))
    });
}
