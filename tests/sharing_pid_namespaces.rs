//! Processes in separate PID namespaces: each sees numbers that mean nothing to the other, and they share an arena as well
//! as if they were neighbours.

mod sharing;

use heapfile::Options;
use sharing::*;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const TEST: &str = "namespaces_do_not_matter";

/// Whether this machine lets us make a PID namespace.
fn allowed() -> bool {
    Command::new("unshare")
        .args(["-p", "-f", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A child in a PID namespace of its own; when the wrapper is killed the child is.
fn start_in_namespace(role: &str, file: &Path) -> Child {
    let inner = command(TEST, role, file);
    let mut outer = Command::new("unshare");
    outer.args(["-p", "-f", "--kill-child", "--"]).arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        if let Some(value) = value {
            outer.env(key, value);
        }
    }
    Child::start(&mut outer)
}

fn own(file: &Path) {
    let arena = Options::new().lock_timeout(PATIENCE).open(file).expect("it opens");
    let mut tx = arena.write().expect("a writer");
    let next = number(&tx) + 1;
    set_number(&mut tx, next).expect("a change");
    say(&format!("owns as {}", std::process::id()));
    listen();
    tx.commit().expect("a commit");
}

/// Reports how its attempts to get the lock end.
fn try_hard(file: &Path) {
    let arena = Options::new().lock_timeout(Duration::from_millis(200)).open(file).expect("it opens");
    for _ in 0..3 {
        let (slot, pid) = busy(arena.write());
        say(&format!("busy {} {}", slot.expect("a slot"), pid.expect("a process")));
    }
    listen();
    say(&format!("committed {}", commit_next(&arena).expect("the owner is dead")));
}

#[test]
fn namespaces_do_not_matter() {
    if let Some((role, file)) = role() {
        return if role == "own" { own(&file) } else { try_hard(&file) };
    }
    if !allowed() {
        println!("skipped: this machine does not let us make PID namespaces (unshare -p -f)");
        return;
    }
    let dir = dir();
    for durability in BOTH {
        let file = dir.path().join(format!("{durability:?}.heap"));
        drop(create(&file, &options(durability)));
        let arena = Options::new().lock_timeout(Duration::from_millis(200)).open(&file).expect("it opens");

        // The owner inside is process 1 as it sees itself; process 1 here lives too, and is not it.
        let mut inside = start_in_namespace("own", &file);
        inside.expect("owns as 1");
        for _ in 0..3 {
            assert_eq!(busy(arena.write()), (Some(1), Some(1)));
        }
        inside.kill();
        eventually("the namespace ends", || arena.handles().expect("handles").len() == 1);
        assert_eq!(commit_next(&arena).expect("the owner is dead"), 1);

        // The owner outside is a process that those inside cannot see at all.
        let mut outside = start("namespaces_do_not_matter", "own", &file);
        outside.expect(&format!("owns as {}", outside.pid()));
        let mut inside = start_in_namespace("try", &file);
        for _ in 0..3 {
            inside.expect(&format!("busy 1 {}", outside.pid()));
        }
        outside.kill();
        inside.tell("again");
        inside.expect("committed 2");
        inside.finish();
        assert_eq!(read_number(&arena), 2);
        assert_clean(&arena);
    }
}
