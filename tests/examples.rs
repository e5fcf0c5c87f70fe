//! The examples hold what they claim: they assert it themselves.
#![allow(dead_code, unreachable_pub, reason = "examples are programs: their `main` is not called here")]

#[path = "../examples/object_graph.rs"]
mod object_graph;
#[path = "../examples/persistence.rs"]
mod persistence;
#[path = "../examples/shelve_port.rs"]
mod shelve_port;
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

#[test]
fn object_graph() {
    // This test is also the process that crashes.
    object_graph::crash_if_asked().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    object_graph::run(&dir.path().join("board.heap"), &program, &["object_graph", "--exact"]).unwrap();
}

#[test]
fn shelve_port() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.heap");
    let first = shelve_port::run(&path, &b"ada 3\ngrace 5\nada 4\n"[..]).unwrap();
    assert_eq!(first, ["ada 7 [3, 4]", "grace 5 [5]"]);
    // A line that is not right: nothing of this run stays.
    assert!(shelve_port::run(&path, &b"ada 9\nada\n"[..]).is_err());
    let second = shelve_port::run(&path, &b"grace 1\n"[..]).unwrap();
    assert_eq!(second, ["ada 7 [3, 4]", "grace 6 [5, 1]"]);
}
