//! `handles` tells who has the file open, who owns the lock, who keeps readers out, and who waits for what.

mod sharing;

use heapfile::{Arena, Durability, Options};
use sharing::*;

#[test]
fn who_owns_and_who_waits() {
    const TEST: &str = "who_owns_and_who_waits";
    if let Some((role, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        match role.as_str() {
            "own" => {
                let mut tx = arena.write().expect("a writer");
                set_number(&mut tx, 1).expect("a change");
                say("owns");
                listen();
                tx.commit().expect("a commit");
            }
            "write" => drop(commit_next(&arena).expect("a commit")),
            _ => {
                let (first, second) =
                    (arena.read().expect("a reader"), arena.read().expect("a nested reader"));
                say("reads");
                listen();
                assert_eq!(number(&first), number(&second));
            }
        }
        say("done");
        listen();
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        let arena = create(&file, &options(durability));
        let of = |child: &Child| until_handle(&arena, "it is listed", |h| h.pid == child.pid());

        let mut owner = start_stopped_at(TEST, "own", &file, "commit: half applied#2");
        owner.expect("owns");
        let owns = of(&owner);
        assert!(owns.holds_lock && !owns.shuts_gate && owns.readers == 0);

        let writer = start(TEST, "write", &file);
        let waits = until_handle(&arena, "the writer waits", |h| h.waiting_writers == 1);
        assert!(waits.pid == writer.pid() && !waits.holds_lock && waits.waiting_readers == 0);

        let mut reader = start(TEST, "read", &file);
        reader.expect("reads");
        assert_eq!(of(&reader).readers, 2);
        reader.tell("end");
        reader.expect("done");
        assert_eq!(of(&reader).readers, 0);

        owner.tell("commit");
        owner.wait_stopped();
        let shuts = of(&owner);
        assert!(shuts.holds_lock && shuts.shuts_gate);
        let mut late = start(TEST, "read", &file);
        let at_gate = until_handle(&arena, "the reader waits", |h| h.waiting_readers == 1);
        assert_eq!(at_gate.pid, late.pid());

        let all = arena.handles().expect("handles");
        assert_eq!(all.len(), 5);
        assert_eq!(all[0].pid, std::process::id());
        assert_eq!(all.iter().filter(|h| h.holds_lock).count(), 1);

        // The dead are not listed, and what they owned is nobody's, also when another one has their slot.
        owner.kill();
        assert!(arena.handles().expect("handles").iter().all(|h| h.pid != owner.pid()));
        late.expect("reads");
        late.tell("end");
        late.expect("done");
        writer.expect("done");
        drop((writer, reader, late));
        assert_eq!(arena.handles().expect("handles").len(), 1);
        assert_eq!(read_number(&arena), 2);
    }
}

#[test]
fn a_dead_owners_slot_does_not_make_the_next_one_the_owner() {
    const TEST: &str = "a_dead_owners_slot_does_not_make_the_next_one_the_owner";
    if let Some((_, file)) = role() {
        let arena = Arena::open(&file).expect("it opens");
        let _tx = arena.write().expect("a writer");
        say("owns");
        listen();
        return;
    }
    let dir = dir();
    let file = dir.path().join("a.heap");
    let arena = create(&file, &options(Durability::Process));
    let mut owner = start(TEST, "own", &file);
    owner.expect("owns");
    let slot = until_handle(&arena, "it owns", |h| h.holds_lock).slot;
    owner.kill();
    let next = Arena::open(&file).expect("it opens");
    let handles = next.handles().expect("handles");
    assert!(handles.iter().any(|h| h.slot == slot), "{handles:?}");
    assert!(handles.iter().all(|h| !h.holds_lock && !h.shuts_gate), "{handles:?}");
    assert_eq!(commit_next(&arena).expect("a commit"), 1);
}
