//! Deaths of processes, and what the next one finds; with power cuts after them where one kind of death is tried at every point.

use crate::common::mortal;
use crate::harness::budget::Budget;
use crate::harness::killed::history;
use crate::harness::model::{Kind, State, transact};
use crate::harness::oracle::{Bench, find, is_exactly};
use crate::harness::recording::{Ack, Recorder, Recording, boot, options};
use crate::harness::whole::without_a_slot;
use heapfile::testing::{self, Break, SplitMix64};
use heapfile::{Arena, Durability};
use std::sync::Arc;

/// Rule 3's control: a record that can be read, but was never flushed, is taken for durable.
#[test]
fn rule_3_readable_is_not_durable() {
    crate::controls::must_be_found(Break::TrustReadable, |seed| history(seed, Durability::Power));
}

/// The log moves, at a death it has moved or not, and a handle that was open all the while goes on.
fn moves(seed: u64) -> Recording {
    let mut recorder = Recorder::create(seed, Durability::Power);
    for round in 0..4 {
        recorder.commit(Kind::Even);
        let bystander = testing::open(&recorder.disk, &recorder.options).unwrap();
        let mover = recorder.take_arena();
        let pages = if round == 3 { 0 } else { 20 + 4 * round };
        let survived = mortal(seed * 4 % 80 + u64::from(round), || testing::move_log(&mover, pages).unwrap());
        drop(mover);
        if survived.is_none() {
            testing::die_after(None);
        }
        recorder.put_arena(bystander);
        [Kind::Even, Kind::Small].into_iter().for_each(|kind| recorder.commit(kind));
    }
    recorder.finish()
}

#[test]
fn deaths_while_the_log_moves() {
    let mut bench = Bench::new(options(Durability::Power));
    for seed in 0..20 {
        let recording = moves(seed);
        bench
            .sweep(&recording, &Budget::of(0).sparse(3))
            .unwrap_or_else(|violation| panic!("{}", violation.describe(&recording)));
        without_a_slot(&mut bench, &recording, &Budget::of(0)).unwrap_or_else(|what| panic!("{what}"));
    }
    println!("deaths_while_the_log_moves: {} images", bench.images);
}

/// Rule 5's control: nobody is told that the log may have moved.
#[test]
fn rule_5_a_log_that_moves_is_in_doubt() {
    crate::controls::must_be_found(Break::MoveWithoutDoubt, moves);
}

/// A `Process` arena survives deaths as well; power cuts are another matter.
#[test]
fn deaths_of_writers_of_a_process_arena() {
    for seed in 1..=10 {
        history(seed, Durability::Process);
    }
}

/// Deaths of all processes at once: what the page cache holds is opened under the same boot.
#[test]
fn all_processes_die() {
    for durability in [Durability::Power, Durability::Process] {
        let (disk, options) = (testing::SimDisk::new().unwrap(), options(durability));
        boot(0);
        let mut arena = testing::create(&disk, &options).unwrap();
        let mut rng = SplitMix64(3);
        let mut state = Arc::new(State::default());
        let mut deaths = 0;
        for points in 0..400 {
            let mut next = None;
            let kind = [Kind::Small, Kind::InPlace, Kind::Spill, Kind::Pages][points as usize % 4];
            let survived = mortal(points / 4, || {
                let pending = transact(&arena, &state, kind, &mut rng).unwrap();
                next = Some(Arc::new(pending.next.clone()));
                pending.commit().unwrap();
            });
            deaths += u64::from(survived.is_none());
            drop(arena);
            testing::die_after(None);
            arena = testing::open(&disk, &options).unwrap();
            let both = [Some(state.clone()).filter(|_| survived.is_none()), next];
            let allowed: Vec<_> = both.into_iter().flatten().collect();
            let found =
                find(&arena, &allowed).unwrap_or_else(|what| panic!("{durability:?}, {points}: {what}"));
            state = allowed[found].clone();
        }
        is_exactly(&arena, &state).unwrap();
        println!("{durability:?}: {deaths} deaths");
        drop::<Arena>(arena);
    }
}

/// Each commit dies at the same point of its way, if it goes that far: those late ones where it does a checkpoint in
/// passing. The ring goes round meanwhile.
#[test]
fn cuts_after_deaths_at_the_same_point() {
    let mut bench = Bench::new(options(Durability::Power));
    for points in 0..28 {
        let mut recorder = Recorder::create(points, Durability::Power);
        let mut deaths = 0;
        for _ in 0..60 {
            let (begun, before) = (recorder.disk.steps(), recorder.state());
            let arena = recorder.take_arena();
            let mut next = None;
            let survived = mortal(points, || {
                let pending = transact(&arena, &before, Kind::Even, &mut recorder.rng).unwrap();
                next = Some(Arc::new(pending.next.clone()));
                pending.commit().unwrap();
            });
            let mut allowed = vec![before];
            allowed.extend(next);
            let arena = if survived.is_some() {
                arena
            } else {
                deaths += 1;
                drop(arena);
                testing::die_after(None);
                testing::open(&recorder.disk, &recorder.options).unwrap()
            };
            let found = find(&arena, &allowed).unwrap_or_else(|what| panic!("{points}: {what}"));
            recorder.acks.push(Ack::new(begun, recorder.disk.steps(), allowed[found].clone()));
            recorder.put_arena(arena);
            if deaths > 3 {
                break;
            }
        }
        let recording = recorder.finish();
        bench
            .sweep(&recording, &Budget::of(0).sparse(5))
            .unwrap_or_else(|violation| panic!("{}", violation.describe(&recording)));
    }
    println!("cuts_after_deaths_at_the_same_point: {} images", bench.images);
}
