//! `completions` and `man`: each command is there, and what the command runs for itself is not.

mod common;

use common::{Place, run, text};

#[test]
fn completions_know_each_command_of_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).ok();
        for word in ["snapshot", "hexdump", "salvage", "restart"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
        assert!(!script.contains("demo-editor"), "{shell}");
    }
    assert_eq!(run(&["completions", "nosh"]).code, 2);
}

#[test]
fn each_command_has_a_page() {
    let page = run(&["man"]).ok();
    assert!(page.contains(".TH heapfile 1") && page.contains("did not hold"), "{page}");
    let place = Place::new();
    let dir = text(place.dir.path());
    assert_eq!(run(&["man", dir]).ok(), "");
    let page = |name: &str| std::fs::read_to_string(place.dir.path().join(name)).unwrap();
    assert!(page("heapfile.1").contains("heapfile\\-snapshot(1)"), "{}", page("heapfile.1"));
    assert!(page("heapfile-kv-import.1").contains("\\-\\-restart"));
    assert!(!place.dir.path().join("heapfile-demo-editor.1").exists());
    run(&["man", "/no/such"]).fails(2, "cannot write pages to /no/such: No such file");
}
