//! A call on the file fails in whatever one handle does; another does everything it can then, and the first goes on, or is closed where it is out
//! of use. What was committed is there, what failed is not, and nobody needs more than another handle.

use crate::common::{FAILURES, cause};
use crate::side::Op::*;
use crate::side::*;
use heapfile::testing::{Call, SimDisk};
use heapfile::{Durability, Error, Locking, Result};
use std::time::Duration;

/// What came of a call that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    /// The handle is out of use; it may be done.
    Unknown,
}

impl Outcome {
    fn of(outcome: &Result<()>) -> Self {
        match outcome.as_ref().map_err(cause) {
            Ok(()) => Self::Done,
            Err(Error::Io { .. } | Error::NoSpace { .. } | Error::SyncFailed) => Self::Failed,
            Err(Error::Poisoned { .. }) => Self::Unknown,
            Err(e) => panic!("{e}: {e:?}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    op: Op,
    other: Op,
    call: Call,
    errno: i32,
    nth: u64,
    lasting: bool,
}

impl Case {
    /// Whether so many calls were made, if one of them was to fail.
    fn run(self, image: &[u8]) -> bool {
        let disk = SimDisk::from_image(image).expect("memory");
        disk.record(false).expect("it is new");
        let (home, options) =
            (Home::Sim(disk.clone()), options(Locking::Shared).lock_timeout(Duration::from_secs(5)));
        let (mut first, mut second) = (Side::open("a", &home, &options), Side::open("b", &home, &options));
        match self.lasting {
            true => disk.fail_from(self.call, self.nth, self.errno),
            false => disk.fail(self.call, self.nth, self.errno),
        }
        let outcome = first.run(self.op);
        // One that struck once is none any more.
        let came = disk.clear_faults() == 0 || self.lasting;
        let before = State::first();
        let mut possible = match Outcome::of(&outcome) {
            Outcome::Done => vec![before.after(self.op, "a")],
            Outcome::Failed => vec![before],
            Outcome::Unknown => vec![before.after(self.op, "a"), before],
        };
        second.run(self.other).expect("the disk is well again");
        if first.arena.as_ref().is_some_and(|arena| matches!(arena.read(), Err(Error::Poisoned { .. }))) {
            first.arena = None;
        }
        if first.arena.is_none() {
            first = Side::open("a", &home, &options);
        }
        first.run(Commit).expect("the disk is well again");
        for state in &mut possible {
            *state = state.after(self.other, "b").after(Commit, "a");
        }
        judge(&home, &options, &possible, Some(first));
        came
    }
}

fn all_cases(durability: Durability, moved: bool) {
    let image = template_image(durability, moved);
    let mut cases = 0;
    for &op in OPS {
        for (call, errno) in FAILURES.into_iter().chain([(Call::Punch, libc::EIO)]) {
            for &other in OPS {
                let mut run = |nth, lasting| {
                    let case = Case { op, other, call, errno, nth, lasting };
                    cases += 1;
                    naming((durability, moved, case), || case.run(&image))
                };
                for nth in 0.. {
                    if !run(nth, false) {
                        break;
                    }
                    run(nth, true);
                }
            }
        }
    }
    println!("{cases} cases");
    assert!(cases > 2000, "{cases}");
}

#[test]
fn calls_fail_beside_others_with_power_durability() {
    all_cases(Durability::Power, false);
}

#[test]
fn calls_fail_beside_others_with_a_log_that_has_moved() {
    all_cases(Durability::Power, true);
}

#[test]
fn calls_fail_beside_others_in_a_process_arena() {
    all_cases(Durability::Process, false);
}
