//! When the runtime words spare a replay, and when they do not.

use super::*;
use crate::log::resume::{LATE, goes_on};
use crate::runtime::Seen;

impl Bench {
    fn recover_after_a_kill(&self) {
        self.log.recover(&self.media, self.runtime(), Extent::SinceApplied, Apply::Write).unwrap();
    }

    /// Three records that the words call applied, although the heap has nothing of them.
    fn claimed() -> Self {
        let bench = bench();
        for value in 1..=3 {
            bench.append(body(&bench, value as u32, 20, value));
        }
        bench
    }

    fn pages(&self) -> [u64; 3] {
        [self.word(1), self.word(2), self.word(3)]
    }
}

#[test]
fn what_the_words_call_applied_is_left_alone() {
    let bench = Bench::claimed();
    bench.recover_after_a_kill();
    assert_eq!(bench.pages(), [0; 3]);
    bench.recover().unwrap();
    assert_eq!(bench.pages(), [1, 2, 3]);
}

#[test]
fn words_that_contradict_the_log_are_not_believed() {
    type Damage = fn(Runtime<'_>);
    let damages: [(&str, Damage); 12] = [
        ("head after", |r| r.set_log(LogState { head: r.log().head + 64, ..r.log() })),
        ("head before", |r| r.set_log(LogState { head: r.log().head - 64, ..r.log() })),
        ("head nowhere", |r| r.set_log(LogState { head: u64::MAX, ..r.log() })),
        ("seed", |r| r.set_log(LogState { seed: !r.log().seed, ..r.log() })),
        ("tail", |r| r.set_log(LogState { tail: 64, ..r.log() })),
        ("empty", |r| r.set_log(LogState { tail: r.log().head, ..r.log() })),
        ("generation", |r| r.set_log(LogState { generation: 1, ..r.log() })),
        ("last record", |r| r.set_last_record(64)),
        ("sequence after", |r| r.set_sequence(4)),
        ("sequence before", |r| r.set_sequence(2)),
        ("sequence nowhere", |r| r.set_sequence(u64::MAX)),
        ("a doubt about nothing", |r| {
            r.set_last_record(r.log().head);
            r.set_in_doubt(true);
        }),
    ];
    for (what, damage) in damages {
        let bench = Bench::claimed();
        damage(bench.runtime());
        bench.recover_after_a_kill();
        assert_eq!(bench.pages(), [1, 2, 3], "{what}");
        assert_eq!(bench.runtime().sequence(), 3, "{what}");
        assert!(!bench.runtime().in_doubt(), "{what}");
    }
}

#[test]
fn a_record_that_the_words_do_not_know_of_is_a_contradiction() {
    let bench = Bench::claimed();
    let (log, sequence, last) =
        (bench.runtime().log(), bench.runtime().sequence(), bench.runtime().last_record());
    bench.append(body(&bench, 1, 20, 4));
    bench.runtime().set_log(log);
    bench.runtime().set_sequence(sequence);
    bench.runtime().set_last_record(last);
    bench.recover_after_a_kill();
    assert_eq!(bench.pages(), [4, 2, 3]);
}

#[test]
fn only_what_is_in_doubt_is_written_again_and_applied() {
    let bench = Bench::claimed();
    let (log, sequence) = (bench.runtime().log(), bench.runtime().sequence());
    bench.append(body(&bench, 1, 20, 4));
    bench.runtime().set_log(log);
    bench.runtime().set_sequence(sequence);
    bench.runtime().set_in_doubt(true);
    assert_eq!(steps_of_recovery(&bench), "rsh");
    assert_eq!(bench.pages(), [4, 0, 0]);
    assert_eq!(bench.scan(), [1, 2, 3, 4]);
    assert_eq!((bench.runtime().sequence(), bench.runtime().in_doubt()), (4, false));
}

/// Its extent is about to be reused.
#[test]
fn a_spilled_record_that_is_applied_but_in_doubt_is_followed_by_a_checkpoint() {
    let bench = Bench::claimed();
    bench.append_spilled(body(&bench, 1, 20, 4));
    bench.runtime().set_in_doubt(true);
    bench.recover_after_a_kill();
    assert_eq!(bench.runtime().log().tail, bench.runtime().log().head);
}

#[test]
fn words_are_believed_in_their_boot_for_their_file_as_their_writer_left_it() {
    let bench = bench();
    bench.recover().unwrap();
    let (runtime, seen) = (bench.runtime(), bench.media.home().unwrap());
    assert!(goes_on(runtime, seen));
    let (home, active) = (seen.home, runtime.active());
    assert!(goes_on(runtime, Seen { changed: active + LATE, ..seen }));
    assert!(!goes_on(runtime, Seen { changed: active + LATE + 1, ..seen }), "written by somebody else");
    let others = [
        Home { mount: 7, ..home },
        Home { device: 7, ..home },
        Home { inode: 7, ..home },
        Home { born: 7, ..home },
    ];
    for home in others {
        assert!(!goes_on(runtime, Seen { home, ..seen }), "{home:?}");
    }
    // A clock that was set back would make every change look old.
    runtime.set_active(u64::MAX);
    assert!(!goes_on(runtime, seen));
    runtime.set_active(1_000_000_000);
    assert!(!goes_on(runtime, seen), "written before the machine was booted");
    runtime.set_active(active);
    runtime.set_boot([1; 16]);
    assert!(!goes_on(runtime, seen), "another boot");
}
