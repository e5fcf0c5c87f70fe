//! `heapfile kv import`: what is told about input that cannot be read or stored, and names to go on under.

mod common;

use common::{Place, Run, command, run, text};
use heapfile::{Arena, Options};
use std::fs::{File, write};
use std::io::Write;
use std::process::Stdio;

/// An import of these lines from stdin.
fn import(place: &Place, more: &[&str], input: &str) -> Run {
    let mut child = command()
        .args(["kv", "import", place.arg()])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // It may end before it has read all.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the command ends").into()
}

fn lines(keys: std::ops::Range<u32>) -> String {
    keys.map(|n| format!("{{\"key\":\"{n}\",\"value\":\"v\"}}\n")).collect()
}

fn keys(place: &Place) -> usize {
    run(&["kv", "list", "--keys", place.arg()]).ok().lines().count()
}

#[test]
fn input_that_cannot_be_read_is_an_error_of_its_own_and_makes_no_arena() {
    let place = Place::new();
    let directory = text(place.dir.path()).to_owned();
    run(&["kv", "import", place.arg(), &directory])
        .fails(2, &format!("cannot read {directory}: Is a directory"));
    run(&["kv", "import", place.arg(), "/no/such"]).fails(2, "cannot open /no/such: No such file");
    run(&["kv", "put", place.arg(), "k", "--from", &directory])
        .fails(2, &format!("cannot read {directory}: Is"));
    for args in [["import", place.arg(), "-"], ["put", place.arg(), "k"]] {
        let from = File::open(place.dir.path()).unwrap();
        let run: Run = command().arg("kv").args(args).stdin(from).output().unwrap().into();
        run.fails(2, "cannot read stdin: Is a directory");
    }
    assert!(!place.path.exists());
}

#[test]
fn every_error_in_a_line_names_it() {
    let place = Place::new();
    let long = format!("{{\"table\":\"{}\",\"key\":\"\",\"value\":\"\"}}", "x".repeat(256));
    for (line, said) in [
        ("broken", "not an object of JSON: expected value at column 1"),
        ("{\"key\":", "not an object of JSON: EOF while parsing a value at column 7"),
        ("[]", "not an object of JSON: invalid type: sequence, expected a map"),
        ("{\"value\":\"\"}", "neither \"key\" nor \"key64\""),
        ("{\"key\":1,\"value\":\"\"}", "\"key\" is no text"),
        ("{\"key64\":\"?\",\"value\":\"\"}", "\"key64\": "),
        ("{\"table\":1,\"key\":\"\",\"value\":\"\"}", "\"table\" is no text"),
        (
            "{\"table\":\"\",\"key\":\"\",\"value\":\"\"}",
            "length of a table's name of 0 is refused: 1 to 255 bytes",
        ),
        (&long, "a table's name of 256 is over the limit of 255"),
    ] {
        let input = lines(0..2) + line + "\n" + &lines(2..4);
        let told = import(&place, &[], &input);
        told.fails(2, &format!("line 3 of -: {said}"));
        told.fails(2, "; nothing from line 1 on is stored");
        assert!(!told.stderr.contains(" at line "), "{told:?}");
    }
    assert_eq!(keys(&place), 0);
}

#[test]
fn what_cannot_be_stored_names_the_lines_that_it_was_among() {
    let place = Place::new();
    drop(Options::new().log_size(1 << 16).create(&place.path).unwrap());
    // A limit of the file's length stands for a full disk.
    let limited = |more: &[&str], input: &str| -> Run {
        let from = place.dir.path().join("in");
        write(&from, input).unwrap();
        let output = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_heapfile")])
            .args(["kv", "import", place.arg(), "--table", "t", "-"])
            .args(more)
            .stdin(File::open(from).unwrap())
            .output();
        output.unwrap().into()
    };
    let long = format!("{{\"key\":\"long\",\"value\":\"{}\"}}\n", "x".repeat(4 << 20));
    let other = "{\"table\":\"other\",\"key\":\"k\",\"value\":\"v\"}\n";
    let input = other.to_owned() + &lines(0..1) + &long + other;
    limited(&[], &input).fails(2, "lines 2 to 3 of -: ");
    let told = limited(&["--batch", "2"], &input);
    told.fails(2, "line 3 of -: ");
    told.fails(2, "; nothing from line 3 on is stored");
    assert_eq!(Arena::open(&place.path).unwrap().check().unwrap().findings, []);
}

#[test]
fn an_import_from_stdin_goes_on_under_its_name() {
    let place = Place::new();
    let one = |name: &str, input: &str| import(&place, &["--batch", "2", "--name", name], input);
    assert_eq!(one("a", &(lines(0..4) + "broken\n")).code, 2);
    assert_eq!(one("b", &(lines(10..16) + "broken\n")).code, 2);
    // Neither is the rest of an import without a name.
    assert_eq!(import(&place, &["--batch", "2"], &lines(20..21)).ok(), "");
    assert_eq!(keys(&place), 4 + 6 + 1);
    let notes = run(&["kv", "list", "--keys", "-t", ".imports", place.arg()]).ok();
    assert_eq!(notes, "a\nb\n");
    one("a", &lines(10..20)).fails(2, "or give this import a --name");
    for (name, input, behind) in [("a", lines(0..6), 4), ("b", lines(10..18), 6)] {
        let told = one(name, &input);
        assert_eq!((told.code, told.stderr), (0, format!("heapfile: going on behind line {behind}\n")));
    }
    assert_eq!(keys(&place), 6 + 8 + 1);
    run(&["kv", "list", "-t", ".imports", place.arg()]).fails(1, "no table");
}

#[test]
fn a_file_that_is_given_by_another_path_goes_on_under_its_name() {
    let place = Place::new();
    let (input, moved) = (place.dir.path().join("in"), place.dir.path().join("moved"));
    write(&input, lines(0..3) + "broken\n").unwrap();
    let name = ["--batch", "2", "--name", "n"];
    assert_eq!(run(&[&["kv", "import", place.arg(), text(&input)], &name[..]].concat()).code, 2);
    write(&moved, lines(0..4)).unwrap();
    let told = run(&[&["kv", "import", place.arg(), text(&moved)], &name[..]].concat());
    assert_eq!((told.code, told.stderr.as_str()), (0, "heapfile: going on behind line 2\n"));
    let refused = run(&["kv", "import", place.arg(), text(&moved), "--name", "n"]);
    assert!(refused.code == 2 && refused.stderr.contains("--batch"), "{refused:?}");
}

/// An import that is one transaction has nothing to do with another that ended in the middle, and may be of the same name.
#[test]
fn an_import_without_batches_forgets_no_other() {
    let place = Place::new();
    let batch = |input: &str| import(&place, &["--batch", "2"], input);
    batch(&format!("{}broken\n", lines(0..5))).fails(2, "nothing from line 5 on is stored");
    assert_eq!(keys(&place), 4);
    import(&place, &[], &lines(10..11)).ok();
    let rest = batch(&lines(0..7));
    assert!(rest.code == 0 && rest.stderr.contains("going on behind line 4"), "{rest:?}");
    assert_eq!(keys(&place), 8);
}
