//! At every step of whatever one handle does, another handle, or another thread with the same, does everything it can; the first then goes on, or dies
//! there. What was committed is there, nothing else is, and the check finds nothing.
//!
//! Each pair of what both do meets at every sixth point, from another one on than the pair before; with `HEAPFILE_TEST_THOROUGH` set, at every one.

use crate::common::{fast_dir, is_thorough, mortal};
use crate::side::Op::*;
use crate::side::*;
use heapfile::Locking::{File, Shared};
use heapfile::testing::{at_no_point, at_point, die_after};
use heapfile::{Arena, Durability, Locking, Result};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// More than one thing done by the other, each as if nothing had happened when the first looks again.
const SEQUENCES: [&[Op]; 6] = [
    &[StayReading],
    &[StayWriting],
    &[Lengthen, Shorten],
    &[Grow, Drop, Shrink],
    &[Lengthen, Commit, Close],
    &[Grow, Shrink, Close],
];

/// Ends a stay, and waits until it has ended.
type Stay = (Sender<()>, JoinHandle<()>);

/// What the other side does in a case, in a thread of its own, as another process would.
struct Other {
    side: Side,
    ops: &'static [Op],
    state: Arc<Mutex<State>>,
    stay: Arc<Mutex<Option<Stay>>>,
}

impl Other {
    /// Does it, or begins its stay.
    fn act(mut self) {
        if let [op @ (StayReading | StayWriting)] = *self.ops {
            let kept = self.stay.clone();
            let (begun, has_begun) = channel();
            let (end, ended) = channel();
            let thread = std::thread::spawn(move || self.stay(op, &begun, &ended));
            has_begun.recv().expect("it says so");
            *kept.lock().expect("nobody panicked") = Some((end, thread));
            return;
        }
        std::thread::spawn(move || {
            for &op in self.ops {
                if settled(self.side.run(op)) {
                    self.did(op);
                }
            }
        })
        .join()
        .expect("the other does not panic");
    }

    fn did(&self, op: Op) {
        let mut state = self.state.lock().expect("nobody panicked");
        *state = state.after(op, self.side.who);
    }

    fn stay(&self, op: Op, begun: &Sender<()>, ended: &Receiver<()>) {
        let wait = || {
            begun.send(()).expect("the case waits");
            ended.recv().expect("the case ends it");
        };
        let arena = self.side.arena();
        let outcome =
            if op == StayWriting { self.stay_writing(arena, wait) } else { stay_reading(arena, wait) };
        // Nobody waits any more if it had not begun.
        if !settled(outcome) {
            let _ = begun.send(());
        }
    }

    fn stay_writing(&self, arena: &Arena, wait: impl FnOnce()) -> Result<()> {
        let mut tx = arena.write()?;
        change(&mut tx, Grow, self.side.who)?;
        let made = State::read(&tx)?;
        wait();
        assert_eq!(State::read(&tx)?, made, "its own changes are gone");
        tx.commit()?;
        self.did(Grow);
        Ok(())
    }
}

fn stay_reading(arena: &Arena, wait: impl FnOnce()) -> Result<()> {
    let tx = arena.read()?;
    let first = State::read(&tx)?;
    wait();
    assert_eq!(State::read(&tx)?, first, "it changed under its reader");
    Ok(())
}

/// What becomes of the first when the other is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Dies,
    /// Goes on; the other was a thread with the same handle.
    IsOneHandle,
}

/// How a case goes: what the first handle does, and after how many points the other comes, with what.
#[derive(Debug, Clone, Copy)]
struct Case {
    locking: Locking,
    op: Op,
    points: u64,
    other: &'static [Op],
    then: Then,
}

impl Case {
    /// Whether the first handle came to the point.
    fn run(self, template: &Path) -> bool {
        let dir = fast_dir();
        let path = dir.path().join("a.heap");
        std::fs::copy(template, &path).expect("a copy");
        let (options, home) = (options(self.locking), Home::File(path.clone()));
        let first = Side::open("a", &home, &options);
        let second = match self.then {
            Then::IsOneHandle => {
                // What it knows of the file is old.
                let third = Side::open("c", &home, &options);
                third.arena().shrink().expect("it shrinks");
                Side { who: "b", ..first.clone() }
            }
            _ => Side::open("b", &home, &options),
        };
        let (state, stay) = (Arc::new(Mutex::new(State::first())), Arc::new(Mutex::new(None)));
        let other = Other { side: second, ops: self.other, state: state.clone(), stay: stay.clone() };
        // A thread that stands for a process, and is none any more once it died.
        let (came, lived) =
            std::thread::spawn(move || self.first(first, other)).join().expect("it says how it ended");
        if let Some((end, thread)) = stay.lock().expect("nobody panicked").take() {
            // It may not have begun.
            let _ = end.send(());
            thread.join().expect("it saw one state");
        }
        let known = state.lock().expect("nobody panicked").clone();
        let (possible, first) = match lived {
            Some((true, first)) => (vec![known.after(self.op, "a")], Some(first)),
            Some((false, first)) => (vec![known], Some(first)),
            None => (vec![known.after(self.op, "a"), known], None),
        };
        judge(&home, &options, &possible, first);
        came
    }

    /// The first handle's part: whether it came to the point, and, if it lives, whether it did what it should.
    fn first(self, mut side: Side, other: Other) -> (bool, Option<(bool, Side)>) {
        at_point(self.points, move || {
            other.act();
            if self.then == Then::Dies {
                die_after(Some(0));
            }
        });
        let lived = mortal(u64::MAX, move || (settled(side.run(self.op)), side));
        (!at_no_point(), lived)
    }
}

fn all_cases(locking: Locking, durability: Durability, moved: bool, then: Then) {
    let dir = fast_dir();
    let start = dir.path().join("template.heap");
    template(&start, durability, moved);
    let (mut cases, mut pairs) = (0, 0);
    let every = if is_thorough() { 1 } else { 6 };
    for &op in OPS {
        for other in OPS.chunks(1).chain(SEQUENCES) {
            if then == Then::IsOneHandle && op == Submit && other == [Submit] {
                // It waits for what becomes of the first, which goes on only afterwards.
                continue;
            }
            pairs += 1;
            for points in (pairs % every..).step_by(every as usize) {
                let case = Case { locking, op, points, other, then };
                if !naming((durability, moved, case), || case.run(&start)) {
                    break;
                }
                cases += 1;
            }
        }
    }
    println!("{cases} cases");
    assert!(cases > 300, "{cases}");
}

#[test]
fn with_power_durability() {
    all_cases(Shared, Durability::Power, false, Then::GoesOn);
}

#[test]
fn with_a_log_that_has_moved() {
    all_cases(Shared, Durability::Power, true, Then::GoesOn);
}

#[test]
fn in_a_process_arena() {
    all_cases(Shared, Durability::Process, false, Then::GoesOn);
}

#[test]
fn before_a_death_with_power_durability() {
    all_cases(Shared, Durability::Power, false, Then::Dies);
}

#[test]
fn before_a_death_with_a_log_that_has_moved() {
    all_cases(Shared, Durability::Power, true, Then::Dies);
}

#[test]
fn before_a_death_in_a_process_arena() {
    all_cases(Shared, Durability::Process, false, Then::Dies);
}

#[test]
fn by_threads_with_power_durability() {
    all_cases(Shared, Durability::Power, true, Then::IsOneHandle);
}

#[test]
fn by_threads_in_a_process_arena() {
    all_cases(Shared, Durability::Process, false, Then::IsOneHandle);
}

#[test]
fn under_the_lock_of_the_whole_file() {
    all_cases(File, Durability::Power, true, Then::GoesOn);
}

#[test]
fn before_a_death_under_the_lock_of_the_whole_file() {
    all_cases(File, Durability::Process, false, Then::Dies);
}
