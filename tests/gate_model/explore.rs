//! The search: all states in the order of their distance from the start, and from each a way to the end.

use super::model::{Model, State};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// Fast enough for millions of small states; nobody attacks it.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u8(byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u8(value as u8);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u8(value as u8);
    }
}

/// Explores everything; the number of states, or what is broken and the way there.
pub(super) fn explore(model: Model) -> Result<usize, (String, Vec<State>)> {
    let mut known: HashMap<State, u32, BuildHasherDefault<Mix>> = HashMap::default();
    let mut states = vec![model.start()];
    let mut parents = vec![0u32];
    // From, to; only the steps that processes take by themselves.
    let mut steps: Vec<(u32, u32)> = Vec::new();
    known.insert(states[0], 0);
    let mut next = Vec::new();
    let mut at = 0;
    while at < states.len() {
        let state = states[at];
        if let Some(rule) = model.broken(&state) {
            return Err((rule.to_owned(), way(&states, &parents, at)));
        }
        next.clear();
        model.next(&state, &mut next);
        for &(to, own) in &next {
            let index = match known.entry(to) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    let index = states.len() as u32;
                    entry.insert(index);
                    states.push(to);
                    parents.push(at as u32);
                    index
                }
            };
            if own {
                steps.push((at as u32, index));
            }
        }
        at += 1;
    }
    match stuck(&states, steps) {
        Some(at) => Err(("somebody never comes to an end".to_owned(), way(&states, &parents, at))),
        None => Ok(states.len()),
    }
}

/// A state from which no end can be reached.
pub(super) fn stuck(states: &[State], mut steps: Vec<(u32, u32)>) -> Option<usize> {
    steps.sort_unstable_by_key(|&(_, to)| to);
    let mut reaches = vec![false; states.len()];
    let mut open: Vec<u32> = Vec::new();
    for (i, state) in states.iter().enumerate() {
        if Model::is_final(state) {
            reaches[i] = true;
            open.push(i as u32);
        }
    }
    while let Some(to) = open.pop() {
        let first = steps.partition_point(|&(_, t)| t < to);
        for &(from, _) in steps[first..].iter().take_while(|&&(_, t)| t == to) {
            if !std::mem::replace(&mut reaches[from as usize], true) {
                open.push(from);
            }
        }
    }
    reaches.iter().position(|&r| !r)
}

pub(super) fn way(states: &[State], parents: &[u32], mut at: usize) -> Vec<State> {
    let mut way = vec![states[at]];
    while at != 0 {
        at = parents[at] as usize;
        way.push(states[at]);
    }
    way.reverse();
    way
}

/// The way to a broken rule, one line a step.
pub(super) fn told(way: &[State]) -> String {
    let line = |s: &State| {
        let agents: Vec<String> = s.agents.iter().map(|a| format!("{:?}", a.at)).collect();
        let counts: Vec<u8> = s.slots.iter().map(|slot| slot.count).collect();
        format!("{} word {:?} counts {counts:?} doubt {} half {}", agents.join(" "), s.word, s.doubt, s.half)
    };
    way.iter().map(line).collect::<Vec<_>>().join("\n")
}
