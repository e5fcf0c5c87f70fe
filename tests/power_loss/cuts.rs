//! Every family of histories, cut at every point.

use crate::harness::oracle::Found;
use crate::harness::{Budget, FAMILIES, Family};

/// Runs seeds of the family until its part of the images is used up.
fn survive(name: &str) -> Found {
    let family = Family::named(name).expect("it is in the table");
    let budget = Budget::of(family.share);
    let mut found = Found::default();
    budget.spend(name, |seed| family.run(seed, &budget, &mut found).unwrap_or_else(|what| panic!("{what}")));
    found
}

macro_rules! families {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            survive(stringify!($name));
        })*

        #[test]
        fn every_family_has_its_test() {
            let tests = [$(stringify!($name),)* "cuts_of_a_process_arena", "a_damaged_slot_never_shows_an_older_state"];
            for family in FAMILIES {
                assert!(tests.contains(&family.name), "{} has no test", family.name);
            }
        }
    };
}

families! {
    mixed_histories
    refilled_space
    ring_wraps
    spills_and_growth
    shrinking
    checkpoints_and_reopening
    other_logs
    creation_of_a_power_arena
    creation_of_a_process_arena
    creation_again
    cuts_during_recovery
    recoveries_cut_off
    recoveries_cut_off_in_a_process_arena
    cuts_under_several_handles
    cuts_around_commits_taken_back
    cuts_after_deaths
    cuts_after_deaths_among_others
    group_commits
    tables_of_a_store
    cuts_of_syncs_among_others
    cuts_after_deaths_in_a_process_arena
}

/// Before the arena is made, and after the end, there is nothing to be judged.
#[test]
fn a_point_that_the_history_has_not_is_no_violation() {
    let family = Family::named("mixed_histories").expect("it is in the table");
    for point in [0, 1_000_000] {
        let run = || family.run(17, &Budget::endless(Some(point)), &mut Found::default());
        let told = *std::panic::catch_unwind(run).unwrap_err().downcast::<String>().expect("a text");
        assert!(told.contains("is cut at"), "{told}");
    }
}

#[test]
fn cuts_of_a_process_arena() {
    let found = survive("cuts_of_a_process_arena");
    assert!(found.synced > 0 && found.sound > 0 && found.damaged > 0, "each outcome was met: {found:?}");
}

#[test]
fn a_damaged_slot_never_shows_an_older_state() {
    let found = survive("a_damaged_slot_never_shows_an_older_state");
    assert!(found.opened > 0 && found.refused > 0, "both outcomes were met: {found:?}");
}
