//! A dead owner's slot has a new owner: the word that names the dead one does not come to name the living.

mod sharing;

use heapfile::{Arena, Options};
use sharing::*;
use std::path::Path;

fn open(file: &Path) -> Arena {
    Options::new().lock_timeout(PATIENCE).open(file).expect("it opens")
}

#[test]
fn the_next_owner_of_a_slot_is_not_taken_for_the_last() {
    const TEST: &str = "the_next_owner_of_a_slot_is_not_taken_for_the_last";
    if let Some((_, file)) = role() {
        let arena = open(&file);
        say("holds the lock");
        let _tx = arena.write().expect("a writer");
        say("still");
        wait_for_death();
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena = create(&file, &options(durability));
        let mut child = start(TEST, "hold", &file);
        child.expect("holds the lock");
        child.expect("still");
        let dead = until_handle(&arena, "the child holds the lock", |handle| handle.holds_lock);
        child.kill();
        let next = open(&file);
        let slots: Vec<_> = arena.handles().expect("handles").into_iter().map(|handle| handle.slot).collect();
        assert!(slots.contains(&dead.slot), "its slot is taken again");
        assert_eq!(commit_next(&arena).expect("the dead one's lock is taken over"), 1);
        assert_eq!(commit_next(&next).expect("a commit"), 2);
        assert_clean(&arena);
    }
}
