//! Group commits: several threads, each with a change of its own, in one commit for all of them.
//!
//! Each thread lets the next one begin when its own change has begun. So the order of the changes, and what is in the arena after each, follows from the
//! seed. Where one batch ends and the next begins is up to the machine: a batch that is a millisecond old is committed without those that come late.
//!
//! What was acknowledged to any member is durable, with all that came before it; and no batch is there by half. (Two members count as of one
//! batch if nothing at all was done to the disk between their changes, so it may happen that two batches are taken for more, never for one.)

use super::Outcome;
use super::budget::Budget;
use super::model::{Kind, State, change};
use super::oracle::Bench;
use super::recording::{Ack, Recorder, Recording, Step, boot};
use heapfile::testing::{self, Break, SplitMix64, sabotage};
use heapfile::{Arena, Durability};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Between the beginning of a commit and its record.
const PAUSE: Duration = Duration::from_millis(2);

const KINDS: [Kind; 8] = [
    Kind::Small,
    Kind::Small,
    Kind::Even,
    Kind::Patch,
    Kind::Pages,
    Kind::InPlace,
    Kind::Spill,
    Kind::SavePoints,
];

/// How a member's change ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kept,
    Error,
    Panic,
}

/// A change that was kept: the steps of the disk before and after it, and when it was acknowledged.
struct Member {
    number: u64,
    begun: usize,
    ended: usize,
    done: usize,
    state: Arc<State>,
}

/// Threads that make a change each, one after the other, and what came of it.
struct Group<'a> {
    recorder: &'a Recorder,
    arena: &'a Arena,
    rule: Option<Break>,
    /// The state that the next one sees, and the members so far.
    so_far: Mutex<(Arc<State>, Vec<Member>)>,
}

impl Group<'_> {
    /// A thread's life.
    fn member(&self, number: u64, seed: u64, turn: Receiver<()>, next: Sender<()>) {
        boot(0);
        sabotage(self.rule);
        // Who commits for others takes its time, so that one of them that is told too early is noticed.
        testing::at_failpoint("commit: in doubt set", || thread::sleep(PAUSE));
        // Its turn comes too if the one before it is dead.
        let _ = turn.recv();
        let mut rng = SplitMix64(seed);
        let end = [End::Kept, End::Kept, End::Kept, End::Kept, End::Error, End::Panic][rng.below(6) as usize];
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.arena
                .submit(|tx| {
                    let _ = next.send(());
                    // Others hold this only when they are told of their commit.
                    let before = self.so_far.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
                    let begun = self.recorder.disk.steps();
                    let state = change(tx, &before, KINDS[rng.below(8) as usize], &mut rng)?;
                    let ended = self.recorder.disk.steps();
                    match end {
                        End::Error => return Err("as the test wants it".into()),
                        End::Panic => resume_unwind(Box::new("as the test wants it")),
                        // Where nothing was changed there is nothing to be found.
                        End::Kept if state != *before => {
                            let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
                            so_far.0 = Arc::new(state);
                            let state = so_far.0.clone();
                            so_far.1.push(Member { number, begun, ended, done: usize::MAX, state });
                        }
                        End::Kept => {}
                    }
                    Ok::<(), Box<dyn Error>>(())
                })
                .map_err(|e| e.to_string())
        }));
        assert_eq!(matches!(outcome, Ok(Ok(()))), end == End::Kept, "{outcome:?}");
        assert_eq!(outcome.is_err(), end == End::Panic, "{outcome:?}");
        let (mut so_far, done) = (self.so_far.lock().unwrap(), self.recorder.disk.steps());
        so_far.1.iter_mut().filter(|member| member.number == number).for_each(|member| member.done = done);
    }
}

/// So many threads submit; what was acknowledged.
fn together(recorder: &Recorder, count: u64, rng: &mut SplitMix64, rule: Option<Break>) -> Vec<Ack> {
    let so_far = Mutex::new((recorder.state(), Vec::new()));
    let group = Group { recorder, arena: recorder.arena(), rule, so_far };
    thread::scope(|scope| {
        let (first, mut turn) = channel();
        for number in 0..count {
            let (next, turns) = channel();
            let (mine, seed, group) = (std::mem::replace(&mut turn, turns), rng.next(), &group);
            scope.spawn(move || group.member(number, seed, mine, next));
        }
        first.send(()).expect("the first one waits");
    });
    acks(group.so_far.into_inner().expect("no member panicked").1)
}

/// One acknowledgement for each batch: the first that any member of it, or of a later one, got.
fn acks(members: Vec<Member>) -> Vec<Ack> {
    let mut acks: Vec<Ack> = Vec::new();
    let (mut done, mut after) = (usize::MAX, None);
    for member in members.into_iter().rev() {
        done = done.min(member.done);
        match acks.last_mut() {
            Some(batch) if after == Some(member.ended) => batch.done = done,
            _ => acks.push(Ack::new(member.begun, done, member.state)),
        }
        after = Some(member.begun);
    }
    acks.reverse();
    acks
}

/// A history of rounds in which several threads submit, with all that happens beside them. `rule` is left out in the threads.
pub(crate) fn record(seed: u64, rule: Option<Break>) -> Recording {
    let mut recorder = Recorder::create(seed, Durability::Power);
    let mut rng = SplitMix64(seed);
    for _ in 0..5 {
        let count = 2 + rng.below(5);
        let acks = together(&recorder, count, &mut rng, rule);
        recorder.acks.extend(acks);
        recorder.step(match rng.below(6) {
            0 => Step::Checkpoint,
            1 => Step::Shrink,
            2 => Step::Reopen,
            3 => Step::Commit(Kind::FreeLarge),
            4 => Step::RollBack(Kind::InPlace),
            _ => Step::Commit(Kind::Small),
        });
    }
    recorder.finish()
}

pub(crate) fn group_commits(bench: &mut Bench, seed: u64, budget: &Budget) -> Outcome {
    let recording = record(seed, None);
    bench.sweep(&recording, budget).map_err(|violation| violation.describe(&recording))
}
