//! The protocol of lock and gate as a small model, every interleaving of it, with a death at every step.
//!
//! An explorer of explicit states, written for this one protocol, rather than loom or shuttle, which run real threads and so
//! cannot kill one between two steps, and rather than stateright, whose actors and network the model has no use for: what is
//! left of it is a breadth-first search. A state holds the lock word, the slots (generation, reader count, who has the byte
//! lock), what is applied, and where each process stands. Each access to shared memory, each system call is one step; a step of any
//! process may follow, or its death, or (after that) a new process that attaches to the first free slot.
//!
//! What must hold in every state:
//! - a process that thinks it owns the lock is named by the word (so there is never more than one);
//! - while a commit is half applied the gate is shut and no live process is in a read;
//! - from every state the living come to their end by their own steps, without further deaths, failures or time-outs. With deaths the
//!   probes of sleepers may help; without deaths the probes are switched off, and sleepers are woken: all but one that falls asleep while
//!   the owner, who saw nobody asleep, gives the lock back; that one's sleep ends by itself.
//!
//! That the model can tell right from wrong is shown by [`Flaw`]s: for each one the search finds a state that breaks a rule.
//!
//! Limits: memory is sequentially consistent, as the protocol's operations on word and counts are (`SeqCst`); a stopped process is one that
//! takes no step; a time-out of a waiter is no step of its own, for it changes nothing.

mod explore;
mod model;
mod moves;

use explore::{explore, told};
use model::{Flaw, Model, Nested};

const SMALL: Model = Model {
    writers: 1,
    readers: 1,
    deaths: 0,
    reborn: true,
    failures: 0,
    power: false,
    probes: true,
    nested: Nested::No,
    flaw: None,
};

#[track_caller]
fn holds(model: Model) {
    match explore(model) {
        Ok(states) => println!("{states:>8} states: {model:?}"),
        Err((rule, way)) => panic!("{rule}: {model:?}\n{}", told(&way)),
    }
}

#[test]
fn without_deaths_sleepers_are_woken() {
    for power in [false, true] {
        holds(Model { writers: 2, readers: 1, power, probes: false, ..SMALL });
        holds(Model { writers: 1, readers: 2, power, probes: false, ..SMALL });
    }
}

#[test]
fn deaths_at_every_step() {
    for power in [false, true] {
        holds(Model { writers: 2, readers: 1, deaths: 1, power, ..SMALL });
        holds(Model { writers: 1, readers: 2, deaths: 1, power, ..SMALL });
        holds(Model { writers: 1, readers: 1, deaths: 3, failures: 1, power, ..SMALL });
        holds(Model { writers: 2, readers: 0, deaths: 2, failures: 1, power, ..SMALL });
    }
}

#[test]
fn two_writers_and_two_readers() {
    holds(Model { writers: 2, readers: 2, probes: false, ..SMALL });
    holds(Model { writers: 2, readers: 2, deaths: 1, reborn: false, ..SMALL });
}

#[test]
fn nested_reads() {
    for nested in [Nested::SameHandle, Nested::OtherHandle] {
        for power in [false, true] {
            holds(Model { deaths: 1, nested, power, ..SMALL });
            holds(Model { writers: 2, probes: false, nested, power, ..SMALL });
        }
    }
}

/// Each flaw is found in some model, and by the rule that it breaks.
#[test]
fn every_flaw_is_found() {
    use Flaw::*;
    let owned = "a process owns a lock that does not name it";
    let open = "the gate is open over half a commit";
    let seen = "a reader sees half a commit";
    let stuck = "somebody never comes to an end";
    let one_death = Model { deaths: 1, ..SMALL };
    let two_deaths = Model { writers: 2, deaths: 2, readers: 0, ..SMALL };
    let failing = Model { failures: 1, ..SMALL };
    let failing_twice = Model { failures: 2, ..SMALL };
    let no_probes = Model { writers: 2, probes: false, ..SMALL };
    let nesting = Model { nested: Nested::OtherHandle, ..SMALL };
    let cases = [
        (LooksBeforeCounting, SMALL, seen),
        (TakesOverAnyGeneration, two_deaths, owned),
        (JudgesByTheByteAlone, one_death, stuck),
        (AttachesWithoutByteLock, two_deaths, owned),
        (OpensBetweenAttemptsToComplete, Model { readers: 2, ..one_death }, open),
        (OpensAfterAFailedCompletion, failing_twice, open),
        (TakeOverOpensTheGate, one_death, open),
        (OpensBeforeRecovery, one_death, open),
        (DoesNotDrain, SMALL, seen),
        (UnlocksHalfACommit, failing, open),
        (BuriesTheLiving, SMALL, seen),
        (NestsAcrossHandles, nesting, seen),
        (ResetsUnderOthers, Model { writers: 2, readers: 0, ..one_death }, owned),
        (ForgetsToWake, no_probes, stuck),
        (SleepsUnseen, no_probes, stuck),
        (NeverProbes, one_death, stuck),
        (WaitsForNobody, failing, stuck),
    ];
    for (flaw, model, rule) in cases {
        match explore(Model { flaw: Some(flaw), ..model }) {
            Err((broken, way)) => {
                assert_eq!(broken, rule, "{flaw:?}\n{}", told(&way));
                println!("{flaw:?}: {broken}, {} steps", way.len() - 1);
            }
            Ok(states) => panic!("{flaw:?} was not found in {states} states"),
        }
        // The same model without the flaw is sound, so that it is the flaw that was found.
        holds(model);
    }
}
