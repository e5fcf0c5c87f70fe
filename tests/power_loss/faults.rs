//! Calls that fail: each write, durable write, flush, sync and growth of a history in turn. What was acknowledged
//! stays, what failed did not happen or is settled by opening again, and a power cut afterwards changes nothing of that.

use crate::common::mortal;
use crate::harness::budget::Budget;
use crate::harness::model::{Kind, State, transact};
use crate::harness::oracle::{Bench, find, is_exactly};
use crate::harness::process::{self, Event};
use crate::harness::recording::{Ack, Recorder, Recording, Step, options};
use heapfile::testing::{self, Break, Call, SplitMix64};
use heapfile::{Arena, Durability, Error};
use std::sync::Arc;

const EIO: i32 = 5;
const EFAULT: i32 = 14;
const ENOSPC: i32 = 28;

/// What the history does: each kind of commit, checkpoints (or syncs) and shrinking between.
const SCRIPT: [Step; 18] = [
    Step::Commit(Kind::Small),
    Step::Commit(Kind::Pages),
    Step::Commit(Kind::InPlace),
    Step::Commit(Kind::Spill),
    Step::Checkpoint,
    Step::Commit(Kind::Even),
    Step::MoveLog(20),
    Step::Commit(Kind::FreeLarge),
    Step::Shrink,
    Step::Commit(Kind::InPlace),
    Step::Commit(Kind::Small),
    Step::Checkpoint,
    Step::Commit(Kind::Spill),
    Step::Commit(Kind::SavePoints),
    Step::MoveLog(24),
    Step::Shrink,
    Step::Commit(Kind::InPlace),
    Step::Commit(Kind::Small),
];

/// A failing call; the second one of a history counts from the first on.
#[derive(Debug, Clone, Copy)]
struct Fault {
    call: Call,
    nth: u64,
    errno: i32,
    lasting: bool,
}

/// How a history with a fault went.
#[derive(Debug, Default, Clone)]
struct Outcome {
    struck: bool,
    refused: u64,
    poisoned: u64,
    /// What a `Process` arena may be found as.
    events: Vec<Event>,
}

/// Whether a call that failed by one of these may say this.
fn is_expected(e: &Error, faults: &[Fault]) -> bool {
    faults.iter().any(|fault| match fault.errno {
        ENOSPC => matches!(e, Error::NoSpace { .. }),
        _ => matches!(e, Error::Io { .. } | Error::SyncFailed),
    })
}

/// Runs the script with the faults in it.
fn run(seed: u64, durability: Durability, faults: &[Fault]) -> (Recorder, Outcome) {
    let mut recorder = Recorder::create(seed, durability);
    let Fault { call, nth, errno, lasting } = faults[0];
    match lasting {
        true => recorder.disk.fail_from(call, nth, errno),
        false => recorder.disk.fail(call, nth, errno),
    }
    faults[1..].iter().for_each(|then| recorder.disk.fail_then(then.call, then.nth, then.errno));
    let created = Event::Synced { begun: 0, done: recorder.disk.steps(), state: recorder.state() };
    let mut outcome = Outcome { events: vec![created], ..Outcome::default() };
    for step in SCRIPT {
        let (begun, before) = (recorder.disk.steps(), recorder.state());
        let arena = recorder.take_arena();
        let mut next = None;
        let done = match step {
            Step::Checkpoint => arena.checkpoint().and_then(|()| arena.sync()),
            Step::Shrink => arena.shrink().map(drop),
            Step::MoveLog(pages) => testing::move_log(&arena, pages),
            Step::RollBack(_) | Step::Reopen => unreachable!("not in the script"),
            Step::Commit(kind) => transact(&arena, &before, kind, &mut recorder.rng).and_then(|pending| {
                next = Some(Arc::new(pending.next.clone()));
                pending.commit().map(drop)
            }),
        };
        let failed = done.is_err();
        let mut allowed = vec![before.clone()];
        let arena = match done {
            Ok(()) => {
                allowed = vec![next.unwrap_or(before)];
                arena
            }
            // In doubt: only opening again tells.
            Err(Error::Poisoned { .. }) => {
                outcome.poisoned += 1;
                allowed.extend(next);
                assert!(matches!(arena.read().map(drop), Err(Error::Poisoned { .. })));
                drop(arena);
                reopen(&mut recorder, faults)
            }
            // Nothing has changed, and the handle goes on.
            Err(e) => {
                outcome.refused += 1;
                assert!(is_expected(&e, faults), "{faults:?}: {e}");
                arena
            }
        };
        let arena = readable(&mut recorder, arena, faults);
        let found =
            find(&arena, &allowed).unwrap_or_else(|what| panic!("seed {seed}, {faults:?}, {step:?}: {what}"));
        let (done, state) = (recorder.disk.steps(), allowed[found].clone());
        outcome.events.push(match step {
            Step::Checkpoint if failed => Event::Synced { begun, done: usize::MAX, state: state.clone() },
            Step::Checkpoint => Event::Synced { begun, done, state: state.clone() },
            _ => Event::Changed { begun },
        });
        recorder.acks.push(Ack::new(begun, done, state));
        recorder.put_arena(arena);
    }
    outcome.struck = recorder.disk.clear_faults() == 0 || lasting;
    (recorder, outcome)
}

/// Opens the arena again: after the disk has recovered, or after the second fault.
fn reopen(recorder: &mut Recorder, faults: &[Fault]) -> Arena {
    match testing::open(&recorder.disk, &recorder.options) {
        Ok(arena) => arena,
        Err(e) if is_expected(&e, faults) && (faults[0].lasting || faults.len() > 1) => {
            if faults[0].lasting {
                recorder.disk.clear_faults();
            }
            testing::open(&recorder.disk, &recorder.options).unwrap()
        }
        Err(e) => panic!("{faults:?}: opening again: {e}"),
    }
}

/// The handle, as soon as it can be read from. A move of the log, after a commit, may wait to be completed until the disk has recovered.
fn readable(recorder: &mut Recorder, arena: Arena, faults: &[Fault]) -> Arena {
    let outcome = arena.read().map(drop);
    match outcome {
        Ok(()) => arena,
        Err(Error::Poisoned { .. }) if faults.len() > 1 => {
            drop(arena);
            reopen(recorder, faults)
        }
        Err(e) if is_expected(&e, faults) => {
            if faults[0].lasting {
                recorder.disk.clear_faults();
            }
            arena
        }
        Err(e) => panic!("{faults:?}: reading: {e}"),
    }
}

/// Works on after the fault, closes, opens: all is there. Then the whole history, for power cuts.
fn settle(mut recorder: Recorder, events: &mut Vec<Event>) -> Recording {
    events.push(Event::Changed { begun: recorder.disk.steps() });
    for kind in [Kind::Even, Kind::InPlace, Kind::Spill, Kind::Small] {
        recorder.commit(kind);
    }
    let begun = recorder.disk.steps();
    drop(recorder.take_arena());
    events.push(Event::Synced { begun, done: recorder.disk.steps(), state: recorder.state() });
    let arena = testing::open(&recorder.disk, &recorder.options).unwrap();
    is_exactly(&arena, &recorder.state()).unwrap();
    recorder.put_arena(arena);
    recorder.finish()
}

/// Every call of this kind fails in turn; the histories are then cut at some of their points.
fn each(test: &str, call: Call, errno: i32, lasting: bool, durability: Durability, stride: usize) {
    let budget = Budget::of(0).sparse(stride);
    let mut bench = Bench::new(options(durability));
    let (mut total, mut histories) = (Outcome::default(), 0);
    // Of writes there are hundreds: a quick run takes some of each part of the history.
    let step = if call == Call::Write && !budget.long { 7 } else { 1 };
    for nth in (0..).step_by(step) {
        let fault = Fault { call, nth, errno, lasting };
        let (recorder, mut outcome) = run(1 + nth % 3, durability, &[fault]);
        if !outcome.struck || lasting && outcome.refused + outcome.poisoned == 0 {
            break;
        }
        total.refused += outcome.refused;
        total.poisoned += outcome.poisoned;
        histories += 1;
        let recording = settle(recorder, &mut outcome.events);
        let cut = match durability {
            Durability::Process => process::sweep(&mut bench, &recording, &outcome.events, &budget),
            _ => bench.sweep(&recording, &budget),
        };
        cut.unwrap_or_else(|violation| {
            panic!("{fault:?}: {}\n{}", violation.what, recording.around(violation.point))
        });
    }
    println!(
        "{test}, {call:?}, {durability:?}: {histories} histories, {} calls refused, {} handles poisoned, {} images",
        total.refused, total.poisoned, bench.images
    );
    assert!(histories > 0, "the fault never struck");
}

#[test]
fn a_write_fails() {
    each("a_write_fails", Call::Write, EIO, false, Durability::Power, 23);
    each("a_write_fails", Call::Scatter, EFAULT, false, Durability::Power, 23);
}

#[test]
fn a_durable_write_fails() {
    each("a_durable_write_fails", Call::WriteDurable, EIO, false, Durability::Power, 11);
    each("a_durable_write_fails", Call::WriteDurable, EIO, false, Durability::Process, 5);
}

#[test]
fn a_flush_fails() {
    each("a_flush_fails", Call::Flush, EIO, false, Durability::Power, 11);
    each("a_flush_fails", Call::Flush, EIO, false, Durability::Process, 5);
}

#[test]
fn a_sync_fails() {
    each("a_sync_fails", Call::Sync, EIO, false, Durability::Power, 7);
    each("a_sync_fails", Call::Sync, EIO, false, Durability::Process, 5);
}

#[test]
fn growing_fails() {
    each("growing_fails", Call::Reserve, ENOSPC, false, Durability::Power, 11);
    each("growing_fails", Call::Reserve, ENOSPC, false, Durability::Process, 11);
}

#[test]
fn a_cut_fails() {
    each("a_cut_fails", Call::Truncate, EIO, false, Durability::Power, 11);
    each("a_cut_fails", Call::Punch, EIO, false, Durability::Power, 11);
    each("a_cut_fails", Call::Truncate, EIO, false, Durability::Process, 3);
}

#[test]
fn the_disk_stays_full_or_broken_for_a_while() {
    for durability in [Durability::Power, Durability::Process] {
        each("lasting", Call::Reserve, ENOSPC, true, durability, 17);
        each("lasting", Call::Sync, EIO, true, durability, 17);
        each("lasting", Call::Flush, EIO, true, durability, 17);
    }
}

/// A second call fails after a first one, often in what has to make up for that.
#[test]
fn two_calls_fail() {
    // Each with about as many calls as there are in the script.
    let kinds = [
        (Call::Sync, EIO, 24),
        (Call::Sync, EIO, 24),
        (Call::Sync, EIO, 6),
        (Call::Sync, EIO, 6),
        (Call::Flush, EIO, 33),
        (Call::WriteDurable, EIO, 33),
        (Call::WriteDurable, EIO, 5),
        (Call::Write, EIO, 40),
        (Call::Write, EIO, 10),
        (Call::Scatter, EFAULT, 10),
        (Call::Reserve, ENOSPC, 6),
        (Call::Truncate, EIO, 4),
        (Call::Punch, EIO, 2),
    ];
    let budget = Budget::of(60);
    let (mut total, mut both) = (Outcome::default(), 0);
    budget.spend("two_calls_fail", |seed| {
        let mut rng = SplitMix64(seed);
        let durability = [Durability::Power, Durability::Power, Durability::Process][rng.below(3) as usize];
        let mut fault = |most: Option<u64>| {
            let (call, errno, calls) = kinds[rng.below(13) as usize];
            Fault { call, nth: rng.below(most.unwrap_or(calls)), errno, lasting: false }
        };
        let faults = [fault(None), fault(Some(4))];
        let (recorder, mut outcome) = run(seed, durability, &faults);
        both += u64::from(outcome.struck);
        total.refused += outcome.refused;
        total.poisoned += outcome.poisoned;
        let recording = settle(recorder, &mut outcome.events);
        let mut bench = Bench::new(options(durability));
        let cut = match durability {
            Durability::Process => {
                process::sweep(&mut bench, &recording, &outcome.events, &budget.sparse(97))
            }
            _ => bench.sweep(&recording, &budget.sparse(97)),
        };
        cut.unwrap_or_else(|violation| panic!("{faults:?}: {}", violation.describe(&recording)))
    });
    let Outcome { refused, poisoned, .. } = total;
    println!("both struck in {both} histories; {refused} calls refused, {poisoned} handles poisoned");
    assert!(budget.once || both > 0 && poisoned > 0);
}

/// Deaths in the middle of commits; the recovery that follows fails once at each of its calls. The next one does not.
#[test]
fn a_recovery_fails() {
    let budget = Budget::of(0).sparse(13);
    let mut bench = Bench::new(options(Durability::Power));
    let (mut died, mut failed) = (0, 0);
    let deaths = [Kind::Small, Kind::InPlace, Kind::Spill]
        .into_iter()
        .flat_map(|kind| (2..26).map(move |n| (kind, n)));
    for (i, (kind, points)) in deaths.enumerate() {
        let call = [Call::Sync, Call::Flush, Call::WriteDurable, Call::Write][i % 4];
        for nth in 0..3 {
            let mut recorder = Recorder::create(i as u64, Durability::Power);
            recorder.commit(Kind::Spill);
            recorder.commit(Kind::Pages);
            let (begun, before) = (recorder.disk.steps(), recorder.state());
            let (arena, mut next) = (recorder.take_arena(), None);
            let survived = mortal(points, || {
                let pending = transact(&arena, &before, kind, &mut recorder.rng).unwrap();
                next = Some(Arc::new(pending.next.clone()));
                pending.commit().unwrap();
            });
            died += u64::from(survived.is_none());
            drop(arena);
            testing::die_after(None);
            recorder.disk.fail(call, nth, EIO);
            let arena = testing::open(&recorder.disk, &recorder.options).or_else(|e| {
                assert!(matches!(e, Error::Io { .. }), "{e}");
                failed += 1;
                testing::open(&recorder.disk, &recorder.options)
            });
            recorder.disk.clear_faults();
            let (arena, allowed) = (arena.unwrap(), [before].into_iter().chain(next).collect::<Vec<_>>());
            let found = find(&arena, &allowed).unwrap_or_else(|what| panic!("{kind:?}, {points}: {what}"));
            recorder.acks.push(Ack::new(begun, recorder.disk.steps(), allowed[found].clone()));
            recorder.put_arena(arena);
            recorder.arena().checkpoint().unwrap();
            let recording = settle(recorder, &mut Vec::new());
            bench.sweep(&recording, &budget).unwrap_or_else(|violation| {
                let around = recording.around(violation.point);
                panic!("{kind:?}, {points} points, {call:?} {nth}: {}\n{around}", violation.what)
            });
        }
    }
    println!("a_recovery_fails: {died} deaths, {failed} recoveries failed, {} images", bench.images);
}

/// Rule 4's control: what a failed sync has lost counts as written.
#[test]
fn rule_4_a_failed_sync_is_remembered() {
    let mut bench = Bench::new(options(Durability::Power));
    for nth in 0..20 {
        let fault = Fault { call: Call::Sync, nth, errno: EIO, lasting: false };
        let found = crate::controls::without(Break::ForgetFailedSync, || {
            let (recorder, mut outcome) = run(1, Durability::Power, &[fault]);
            bench.sweep(&settle(recorder, &mut outcome.events), &Budget::of(0))
        });
        if let Err(violation) = found {
            println!("ForgetFailedSync: found after {} images, {fault:?}: {}", bench.images, violation.what);
            return;
        }
    }
    panic!("ForgetFailedSync was not found in {} images", bench.images);
}

/// An empty arena's creation fails at each call: the file can be created again.
#[test]
fn creation_fails() {
    let kinds = [
        (Call::Write, EIO),
        (Call::WriteDurable, EIO),
        (Call::Flush, EIO),
        (Call::Sync, EIO),
        (Call::Reserve, ENOSPC),
    ];
    for durability in [Durability::Power, Durability::Process] {
        for (call, errno) in kinds {
            for nth in 0..200 {
                let disk = testing::SimDisk::new().unwrap();
                disk.fail(call, nth, errno);
                match testing::create(&disk, &options(durability)) {
                    Ok(arena) => is_exactly(&arena, &State::default()).unwrap(),
                    Err(Error::Io { .. } | Error::NoSpace { .. }) => {
                        let again = match testing::open(&disk, &options(durability)) {
                            Err(Error::Unfinished { .. }) => testing::create(&disk, &options(durability)),
                            other => other,
                        };
                        is_exactly(&again.unwrap(), &State::default()).unwrap();
                    }
                    Err(e) => panic!("{call:?} {nth}: {e}"),
                }
                if disk.clear_faults() > 0 {
                    break;
                }
            }
        }
    }
}
