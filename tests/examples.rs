//! The examples hold what they claim: they assert it themselves.
#![allow(dead_code, unreachable_pub, reason = "examples are programs: their `main` is not called here")]

#[path = "../examples/persistence.rs"]
mod persistence;
#[path = "../examples/tree_edit.rs"]
mod tree_edit;

#[test]
fn tree_edit() {
    tree_edit::run(64 << 20).unwrap();
}

#[test]
fn persistence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.heap");
    // Stores, then finds and changes, then finds what was changed.
    for _ in 0..3 {
        persistence::run(&path).unwrap();
    }
}
