//! The mark of a `Process` arena: set before the first change since the last sync, cleared after the next one.

use crate::common::mortal;
use crate::harness::budget::Budget;
use crate::harness::model::{Kind, transact};
use crate::harness::oracle::{Bench, find};
use crate::harness::process::{Event, history, sweep};
use crate::harness::recording::{Ack, Recorder, Recording, boot, options};
use heapfile::testing::{self, Break};
use heapfile::{Durability, Error, View};
use std::sync::Arc;

/// A death at each point of a sync, or of the first commit after one; then commits through another handle.
fn death_around_the_mark(points: u64, in_sync: bool, bystander: bool) -> (Recording, Vec<Event>) {
    let mut recorder = Recorder::create(points, Durability::Process);
    let synced = |begun, done, state| Event::Synced { begun, done, state };
    let created = recorder.disk.steps();
    let mut events = vec![synced(0, created, recorder.state()), Event::Changed { begun: created }];
    recorder.commit(Kind::Even);
    if !in_sync {
        let begun = recorder.disk.steps();
        recorder.arena().sync().unwrap();
        events.push(synced(begun, recorder.disk.steps(), recorder.state()));
    }
    let open = || testing::open(&recorder.disk, &recorder.options).unwrap();
    let bystander = bystander.then(open);
    let (begun, before) = (recorder.disk.steps(), recorder.state());
    let (arena, mut next) = (recorder.take_arena(), None);
    let survived = mortal(points, || {
        if in_sync {
            return arena.sync().unwrap();
        }
        let pending = transact(&arena, &before, Kind::Even, &mut recorder.rng).unwrap();
        next = Some(Arc::new(pending.next.clone()));
        pending.commit().unwrap();
    });
    events.push(match in_sync {
        true if survived.is_some() => synced(begun, recorder.disk.steps(), before.clone()),
        true => synced(begun, usize::MAX, before.clone()),
        false => Event::Changed { begun },
    });
    // Without a close, which would sync.
    if survived.is_some() {
        assert!(mortal(0, || arena.sync()).is_none());
    }
    drop(arena);
    testing::die_after(None);
    let other = bystander.unwrap_or_else(|| testing::open(&recorder.disk, &recorder.options).unwrap());
    drop(other.write().unwrap());
    let allowed: Vec<_> = [before].into_iter().chain(next).collect();
    let found = find(&other, &allowed).unwrap_or_else(|what| panic!("{points}: {what}"));
    recorder.acks.push(Ack::new(begun, recorder.disk.steps(), allowed[found].clone()));
    recorder.put_arena(other);
    events.push(Event::Changed { begun: recorder.disk.steps() });
    for _ in 0..3 {
        recorder.commit(Kind::Even);
    }
    let (begun, state) = (recorder.disk.steps(), recorder.state());
    let recording = recorder.finish();
    events.push(synced(begun, recording.history.points() - 1, state));
    (recording, events)
}

#[test]
fn cuts_after_a_death_around_the_mark() {
    let budget = Budget::of(0).sparse(3);
    let mut bench = Bench::new(options(Durability::Process));
    for (in_sync, bystander) in [(false, false), (false, true), (true, false), (true, true)] {
        for points in 0..16 {
            let (recording, events) = death_around_the_mark(points, in_sync, bystander);
            sweep(&mut bench, &recording, &events, &budget).unwrap_or_else(|found| {
                panic!(
                    "in a sync: {in_sync}, bystander: {bystander}, {points} points: point {}, {:?}: {}\n{}",
                    found.point,
                    found.recipe,
                    found.what,
                    recording.around(found.point)
                )
            });
        }
    }
    println!("cuts_after_a_death_around_the_mark: {} images", bench.images);
}

/// Who accepts an unsynced arena accepts for itself; only a writer who found it sound, and synced it, settles the matter.
#[test]
fn unsynced_is_refused_until_a_writer_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let (live, path) = (dir.path().join("live.heap"), dir.path().join("a.heap"));
    let plain = options(Durability::Process);
    let accepting = plain.clone().accept_unsynced(true);
    boot(1);
    let arena = plain.create(&live).unwrap();
    let block = arena.alloc(&7u64).unwrap();
    std::fs::write(&path, std::fs::read(&live).unwrap()).unwrap();

    // Under the same boot it is a file whose processes were killed.
    assert_eq!(plain.open_read_only(&path).unwrap().read().unwrap().get(block).unwrap(), &7);
    std::fs::write(&path, std::fs::read(&live).unwrap()).unwrap();
    boot(2);
    let refused = || {
        assert!(matches!(plain.open(&path), Err(Error::Unsynced { .. })));
        assert!(matches!(plain.open_read_only(&path), Err(Error::Unsynced { .. })));
    };
    refused();
    let reader = accepting.open_read_only(&path).unwrap();
    assert_eq!(reader.read().unwrap().get(block).unwrap(), &7);
    refused();
    drop(reader);
    refused();
    let writer = accepting.open(&path).unwrap();
    assert!(plain.open(&path).is_ok() && plain.open_read_only(&path).is_ok());
    drop(writer);
    boot(3);
    assert_eq!(plain.open(&path).unwrap().read().unwrap().get(block).unwrap(), &7);
}

fn control(rule: Break) {
    let budget = Budget::of(0);
    let mut bench = Bench::new(options(Durability::Process));
    for seed in 1..=10 {
        let outcome = crate::controls::without(rule, || {
            let (recording, events) = history(seed);
            sweep(&mut bench, &recording, &events, &budget)
        });
        if let Err(violation) = outcome {
            println!("{rule:?}: found after {} images, seed {seed}: {}", bench.images, violation.what);
            return;
        }
    }
    panic!("{rule:?} was not found in {} images", bench.images);
}

#[test]
fn the_mark_is_set_before_a_change() {
    control(Break::MarkNotFlushed);
}

#[test]
fn the_mark_is_cleared_after_a_sync() {
    control(Break::ClearWithoutSync);
}
