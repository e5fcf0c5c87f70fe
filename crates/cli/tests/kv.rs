//! `heapfile kv`: what goes in comes out, whatever the bytes; imports are whole, or go on.

mod common;

use common::{Place, Run, command, run, text};
use heapfile::store::Store;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

/// Runs the command with this on stdin.
fn feed(args: &[&str], input: &[u8]) -> Output {
    let mut child = command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // It may end before it has read all.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input);
    child.wait_with_output().expect("the command ends")
}

#[test]
fn values_go_through_as_they_are() {
    let place = Place::new();
    run(&["kv", "put", place.arg(), "colour", "green"]).ok();
    assert_eq!(run(&["kv", "get", place.arg(), "colour"]).ok(), "green");
    for value in [&b""[..], b"\0\xFF\n", &vec![b'x'; 3 << 20]] {
        assert!(feed(&["kv", "put", place.arg(), "bytes"], value).status.success());
        let got = command().args(["kv", "get", place.arg(), "bytes"]).output().unwrap();
        assert!(got.status.success() && got.stdout == value && got.stderr.is_empty());
    }
    let from = place.dir.path().join("value");
    std::fs::write(&from, "of a file").unwrap();
    run(&["kv", "put", place.arg(), "--from", text(&from), "file", "--table", "t"]).ok();
    assert_eq!(run(&["kv", "get", "-t", "t", place.arg(), "file"]).ok(), "of a file");
    let json = run(&["kv", "get", place.arg(), "colour", "--json"]);
    assert_eq!(json.json()["value"], "green");
}

#[test]
fn files_that_do_not_say_how_long_they_are_are_read_to_their_end() {
    let place = Place::new();
    assert!(feed(&["kv", "put", place.arg(), "--from", "/dev/stdin", "pipe"], b"of a pipe").status.success());
    assert_eq!(run(&["kv", "get", place.arg(), "pipe"]).ok(), "of a pipe");
    let proc = "/proc/sys/kernel/ostype";
    run(&["kv", "put", place.arg(), "--from", proc, "proc"]).ok();
    assert_eq!(run(&["kv", "get", place.arg(), "proc"]).ok(), std::fs::read_to_string(proc).unwrap());
    // Says that it has a page.
    let sys = "/sys/kernel/mm/transparent_hugepage/enabled";
    if let Ok(read) = std::fs::read_to_string(sys) {
        assert!(std::fs::metadata(sys).unwrap().len() > read.len() as u64);
        run(&["kv", "put", place.arg(), "--from", sys, "sys"]).ok();
        assert_eq!(run(&["kv", "get", place.arg(), "sys"]).ok(), read);
    }
    let long = place.dir.path().join("long");
    for len in [(64 << 10) - 1, 64 << 10, 3 << 20] {
        let bytes: String = ('a'..='z').cycle().take(len).collect();
        std::fs::write(&long, &bytes).unwrap();
        run(&["kv", "put", place.arg(), "--from", text(&long), "long"]).ok();
        assert!(run(&["kv", "get", place.arg(), "long"]).ok() == bytes);
        assert!(
            feed(&["kv", "put", place.arg(), "--from", "/dev/stdin", "pipe"], bytes.as_bytes())
                .status
                .success()
        );
        assert!(run(&["kv", "get", place.arg(), "pipe"]).ok() == bytes);
    }
    let empty = place.dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    run(&["kv", "put", place.arg(), "--from", text(&empty), "empty"]).ok();
    assert_eq!(run(&["kv", "get", place.arg(), "empty"]).ok(), "");
    let directory = text(place.dir.path());
    run(&["kv", "put", place.arg(), "--from", directory, "none"]).fails(2, directory);
}

#[test]
fn keys_may_be_any_bytes() {
    let place = Place::new();
    run(&["kv", "put", place.arg(), "--hex", "00ff0a", "value"]).ok();
    assert_eq!(run(&["kv", "get", place.arg(), "--hex", "00FF0a"]).ok(), "value");
    assert_eq!(run(&["kv", "list", place.arg()]).ok(), "\\x00\\xff\\n\tvalue\n");
    assert_eq!(run(&["kv", "list", "--hex", "--keys", place.arg()]).ok(), "00ff0a\n");
    let raw = command().args(["kv", "list", "-0", place.arg()]).output().unwrap();
    assert_eq!(raw.stdout, b"\0\xFF\n\0value\0");
    let key = std::ffi::OsStr::from_bytes(b"\xFE");
    assert!(command().args(["kv", "put", place.arg()]).arg(key).arg("v").status().unwrap().success());
    assert!(
        command().args(["kv", "get", place.arg()]).arg(key).stdout(Stdio::null()).status().unwrap().success()
    );
    run(&["kv", "get", place.arg(), "--hex", "0g"]).fails(2, "digits 0-9 and a-f");
    run(&["kv", "get", place.arg(), "--hex", "0"]).fails(2, "two digits");
}

#[test]
fn what_is_not_there_is_exit_code_1() {
    let place = Place::new();
    run(&["kv", "get", place.arg(), "k"]).fails(2, "cannot open");
    run(&["kv", "put", place.arg(), "k", "v"]).ok();
    for args in [["kv", "get", "none"], ["kv", "delete", "none"]] {
        let run = run(&[args[0], args[1], place.arg(), args[2]]);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (1, "", ""));
    }
    assert_eq!(run(&["kv", "delete", "--table", "none", place.arg(), "k"]).code, 1);
    for what in ["list", "export"] {
        run(&["kv", what, "-t", "none", place.arg()]).fails(1, "no table \"none\"");
    }
}

#[test]
fn a_table_that_nobody_named_may_be_missing() {
    let place = Place::with(|_| {});
    for what in ["list", "export"] {
        assert_eq!(run(&["kv", what, place.arg()]).ok(), "");
        run(&["kv", what, "-t", "main", place.arg()]).fails(1, "no table \"main\"");
    }
}

#[test]
fn lists_keep_to_what_is_asked_for() {
    let place = Place::new();
    for key in ["a", "b1", "b2", "c"] {
        run(&["kv", "put", place.arg(), key, "v"]).ok();
    }
    let list = |more: &[&str]| run(&[&["kv", "list", "--keys", place.arg()], more].concat()).ok();
    assert_eq!(list(&[]), "a\nb1\nb2\nc\n");
    assert_eq!(list(&["--prefix", "b"]), "b1\nb2\n");
    assert_eq!(list(&["--from", "b1", "--to", "c"]), "b1\nb2\n");
    assert_eq!(list(&["--limit", "1"]), "a\n");
    run(&["kv", "delete", place.arg(), "--prefix", "b"]).ok();
    assert_eq!(list(&[]), "a\nc\n");
    run(&["kv", "delete", place.arg(), "a", "c", "--shrink"]).ok();
    for key in ["a", "b1", "b2", "c"] {
        run(&["kv", "put", "--hashed", place.arg(), "-t", "h", key, "v"]).ok();
    }
    run(&["kv", "delete", place.arg(), "-t", "h", "--prefix", "b"]).ok();
    let mut left: Vec<_> = list(&["-t", "h"]).lines().map(str::to_owned).collect();
    left.sort();
    assert_eq!(left, ["a", "c"]);
    run(&["kv", "delete", place.arg(), "-t", "h", "--all"]).ok();
    assert_eq!(list(&[]), "");
    run(&["kv", "delete", place.arg(), "--all"]).ok();
    assert_eq!(run(&["kv", "stat", "--json", place.arg()]).json()["entries"], 0);
}

#[test]
fn names_of_tables_are_shown_without_control_characters() {
    let place = Place::new();
    let name = "a\u{1b}[31m\"b\"\n\u{7}";
    run(&["kv", "put", place.arg(), "k", "v", "--table", name]).ok();
    let shown = run(&["kv", "stat", place.arg()]).ok();
    assert!(shown.contains("\n  a\\u{1b}[31m\\\"b\\\"\\n\\u{7}  1 entry, ordered\n"), "{shown}");
    let json = run(&["kv", "stat", "--json", place.arg()]);
    assert_eq!(json.json()["tables"][0]["name"], name);
    assert!(!json.stdout.contains(['\u{1b}', '\u{7}']), "{json:?}");
    run(&["kv", "list", place.arg(), "--table", "\u{7}"]).fails(1, "no table \"\\u{7}\"");
}

#[test]
fn a_store_is_not_made_of_another_root() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let root = tx.alloc(&7u64).unwrap();
        tx.create_root("store", root).unwrap();
        tx.commit().unwrap();
    });
    for args in [&["put", place.arg(), "k", "v"][..], &["get", place.arg(), "k"], &["stat", place.arg()]] {
        run(&[&["kv"], args].concat()).fails(2, "this arena holds no store: its root \"store\" is u64");
    }
}

#[test]
fn pack_makes_the_file_of_what_is_left_small() {
    let place = Place::new();
    let lines = |from: usize| {
        let line = |n| format!("{{\"key\":\"{n:05}\",\"value\":\"{}\"}}\n", "x".repeat(100));
        (from..20_000).map(line).collect::<String>().into_bytes()
    };
    for (table, hashed) in [("a", None), ("b", None), ("c", Some("--hashed"))] {
        let args = [&["kv", "import", place.arg(), "-t", table][..], hashed.as_slice()].concat();
        assert!(feed(&args, &lines(0)).status.success());
        let keys: Vec<_> = (0..20_000).filter(|n| n % 4 != 0).map(|n| format!("{n:05}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        run(&[&["kv", "delete", place.arg(), "-t", table][..], &keys].concat()).ok();
    }
    run(&["shrink", place.arg()]).ok();
    let used = || run(&["stats", "--json", place.arg()]).json()["used_bytes"].as_u64().unwrap();
    let before = used();
    let all = run(&["kv", "export", place.arg()]).ok();
    run(&["kv", "pack", place.arg(), "-t", "none"]).fails(1, "no table \"none\"");
    assert!(run(&["kv", "pack", place.arg(), "--table", "a"]).ok().contains("bytes less"));
    let one = used();
    let json = run(&["kv", "pack", "--json", place.arg()]).json();
    assert_eq!(json["file_bytes"], place.path.metadata().unwrap().len());
    assert!(used() < one && one < before, "{before}, {one}, {} bytes in use", used());
    assert!(run(&["kv", "export", place.arg()]).ok() == all);
    run(&["kv", "stat", "--check", place.arg()]).ok();
}

#[test]
fn what_is_exported_is_imported_the_same() {
    let (place, other) = (Place::new(), Place::new());
    for n in 0..40u8 {
        let key = format!("{:02x}", n.wrapping_mul(37));
        let value = vec![n; n as usize * 30];
        let table = if n % 2 == 0 { "even" } else { "odd" };
        assert!(feed(&["kv", "put", place.arg(), "--hex", &key, "-t", table], &value).status.success());
    }
    let all = run(&["kv", "export", place.arg()]).ok();
    assert_eq!(all.lines().count(), 40);
    assert!(feed(&["kv", "import", other.arg()], all.as_bytes()).status.success());
    assert_eq!(run(&["kv", "export", other.arg()]).ok(), all);
    let stat = run(&["kv", "stat", "--check", "--json", other.arg()]).json();
    assert_eq!((&stat["entries"], &stat["tables"][1]["name"]), (&40.into(), &"odd".into()));
    let even = run(&["kv", "export", "-t", "even", place.arg()]).ok();
    assert_eq!(even.lines().count(), 20);
}

fn lines(count: u32) -> String {
    (0..count).map(|n| format!("{{\"key\":\"{n}\",\"value\":\"v\"}}\n")).collect()
}

#[test]
fn an_import_is_whole() {
    let place = Place::new();
    let bad = lines(10) + "{\"key\":\"10\"}\n" + &lines(3);
    let output = feed(&["kv", "import", place.arg()], bad.as_bytes());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("line 11 of -: neither \"value\" nor \"value64\"; nothing from line 1 on"),
        "{said}"
    );
    assert_eq!(run(&["kv", "list", place.arg()]).ok(), "");
}

#[test]
fn an_import_in_batches_goes_on_where_it_ended() {
    let place = Place::new();
    let input = place.dir.path().join("in.jsonl");
    let import = |content: &str| {
        std::fs::write(&input, content).unwrap();
        run(&["kv", "import", place.arg(), text(&input), "--batch", "4"])
    };
    let run_one = import(&(lines(10) + "broken\n"));
    assert_eq!(run_one.code, 2);
    assert!(
        run_one.stderr.contains("line 11") && run_one.stderr.contains("nothing from line 9 on"),
        "{run_one:?}"
    );
    assert_eq!(run(&["kv", "list", "--keys", place.arg()]).ok().lines().count(), 8);
    // What is done is not done again.
    run(&["kv", "delete", place.arg(), "0"]).ok();
    let run_two = import(&lines(12));
    assert_eq!((run_two.code, run_two.stderr.as_str()), (0, "heapfile: going on behind line 8\n"));
    assert_eq!(run(&["kv", "list", "--keys", place.arg()]).ok().lines().count(), 11);
    assert_eq!(run(&["kv", "stat", "--json", place.arg()]).json()["tables"].as_array().unwrap().len(), 1);
    // It is complete, so the next one begins anew.
    assert_eq!(import(&lines(1)).ok(), "");
}

#[test]
fn an_import_goes_on_with_the_same_lines_only() {
    let place = Place::new();
    let import = |more: &[&str], input: &str| -> Run {
        feed(&[&["kv", "import", place.arg()], more].concat(), input.as_bytes()).into()
    };
    let keys = || run(&["kv", "list", "--keys", place.arg()]).ok().lines().count();
    let fail = || assert_eq!(import(&["--batch", "2"], &(lines(4) + "broken\n")).code, 2);
    fail();
    let others = lines(10).replace("key\":\"", "key\":\"other");
    for (input, table) in [(&others, "main"), (&lines(3), "main"), (&lines(10), "t")] {
        import(&["--batch", "2", "-t", table], input).fails(2, "begin anew with --restart");
    }
    assert_eq!(keys(), 4);
    assert_eq!(import(&["--batch", "2", "--restart"], &others).ok(), "");
    assert_eq!(keys(), 14);
    // Another kind of note is none of these lines.
    Store::open(&place.path).unwrap().put(".imports", b"-", b"\x04").unwrap();
    import(&["--batch", "2"], &lines(10)).fails(2, "begin anew with --restart");
    // It is forgotten too when these lines, and more, are stored without batches.
    assert_eq!(import(&["--batch", "2", "--restart"], "").ok(), "");
    fail();
    assert_eq!(import(&[], &lines(5)).ok(), "");
    assert_eq!(import(&["--batch", "2"], &others).ok(), "");
}

/// The table in which imports are noted is the command's own: it is looked at, not written, and exported only by its name.
#[test]
fn the_table_of_imports_is_nobody_elses() {
    let place = Place::new();
    for args in [&["put", place.arg(), "k", "v"][..], &["import", place.arg()], &["delete", place.arg(), "k"]]
    {
        run(&[&["kv", args[0], "-t", ".imports"], &args[1..]].concat()).fails(2, "name another");
    }
    let line = "{\"table\":\".imports\",\"key\":\"k\",\"value\":\"v\"}\n";
    let said: Run = feed(&["kv", "import", place.arg()], line.as_bytes()).into();
    said.fails(2, "line 1 of -: the table \".imports\" is where");
    let unfinished: Run =
        feed(&["kv", "import", "--batch", "2", place.arg()], (lines(2) + "broken\n").as_bytes()).into();
    assert_eq!(unfinished.code, 2);
    assert_eq!(run(&["kv", "export", place.arg()]).ok(), lines(2).replace("{", "{\"table\":\"main\","));
    let notes = run(&["kv", "export", "-t", ".imports", place.arg()]).ok();
    assert!(notes.starts_with("{\"table\":\".imports\",\"key\":\"-\",\"value") && notes.lines().count() == 1);
}

/// An import that waits for lines has stored the batches before them, whose last line may be blank, and keeps nobody out.
#[test]
fn an_import_that_waits_for_lines_holds_no_lock() {
    let place = Place::new();
    let mut import = command()
        .args(["kv", "import", place.arg(), "--batch", "2"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut input = import.stdin.take().unwrap();
    input.write_all(b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\",\"value\":\"2\"}\n").unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while run(&["kv", "get", place.arg(), "a"]).code != 0 {
        assert!(Instant::now() < until, "the first batch is not stored");
    }
    run(&["kv", "put", place.arg(), "c", "3"]).ok();
    drop(input);
    assert!(import.wait().unwrap().success());
    assert_eq!(run(&["kv", "list", "--keys", place.arg()]).ok(), "a\nb\nc\n");
}

#[test]
fn put_makes_a_hashed_table_if_told() {
    let place = Place::new();
    run(&["kv", "put", "--hashed", "-t", "h", place.arg(), "k", "v"]).ok();
    run(&["kv", "put", "-t", "h", place.arg(), "l", "w"]).ok();
    let stat = run(&["kv", "stat", place.arg()]).ok();
    assert!(stat.contains("2 entries, hashed"), "{stat}");
    let mut listed: Vec<_> =
        run(&["kv", "list", "-t", "h", place.arg()]).ok().lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed, ["k\tv", "l\tw"]);
}

#[test]
fn import_makes_hashed_tables_if_told() {
    let place = Place::new();
    run(&["kv", "put", "-t", "there", place.arg(), "k", "v"]).ok();
    let input = "{\"table\":\"there\",\"key\":\"l\",\"value\":\"w\"}\n".to_owned() + &lines(5);
    for more in [&[][..], &["--batch", "2"]] {
        run(&["kv", "delete", place.arg(), "--all"]);
        let import = [&["kv", "import", "--hashed", place.arg()], more].concat();
        assert!(feed(&import, input.as_bytes()).status.success());
        let stat = run(&["kv", "stat", place.arg()]).ok();
        assert!(stat.contains("5 entries, hashed") && stat.contains("2 entries, ordered"), "{stat}");
    }
}
