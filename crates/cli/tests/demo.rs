//! `demo`: on a document with everything that XML has, on the one that comes with the program, on what is no document.

mod common;

use common::{Run, command, run, text};
use heapfile::{Arena, View};
use std::fs::{read_dir, write};
use std::path::Path;
use tempfile::tempdir;

/// All sorts of parts, in spellings that a parser may well forget.
const DOCUMENT: &str = "\u{feff}<?xml version='1.0' encoding=\"UTF-8\" ?>\r\n\
    <!DOCTYPE a [<!ENTITY e \"E>\"> <!-- in it -->]>\n<!-- before - all --><?pi  any ?thing?>\n\
    <a  x = '1 > \"0\"'\n\ty=\"&amp;\" ><b/><c ></c ><d   />\n<b>Foo</b\n> &e; &#x20; ]] <![CDATA[ <no> & ]] > ]]>\
    <ns:b xmlns:ns=''>\u{e4}\u{1f980}</ns:b><b><b><b>deep</b></b></b><?pi?><!----></a>\n<!-- after -->\r\n";

/// Runs the demo with its temporary directory in `dir`.
fn demo(dir: &Path, args: &[&str]) -> Run {
    command().arg("demo").args(args).env("TMPDIR", dir).output().unwrap().into()
}

#[test]
fn any_document_survives_edits_and_kills() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("a.xml");
    write(&file, DOCUMENT).unwrap();
    let keep = dir.path().join("keep/here");
    let run =
        demo(dir.path(), &["--json", "--kills", "4", "--seed", "7", "--keep", text(&keep), text(&file)]);
    let json = run.json();
    run.ok();
    assert_eq!((json["held"].as_bool(), json["seed"].as_u64()), (Some(true), Some(7)));
    let document = &json["document"];
    let counts = ["bytes", "elements", "attributes", "texts"].map(|name| document[name].as_u64().unwrap());
    assert_eq!(counts, [DOCUMENT.len() as u64, 9, 3, 5]);
    let edit = &json["edit"];
    assert_eq!(
        (edit["old"].as_str(), edit["new"].as_str()),
        (Some("Foo"), Some("Foo (made longer in place)"))
    );
    let written = |way: &str| edit[way]["bytes_passed_to_write_calls"].as_u64().unwrap();
    assert!((1..1024).contains(&written("arena_power")), "{edit}");
    assert_eq!((written("arena_process"), written("rewriting")), (0, DOCUMENT.len() as u64 + 23));
    let kills = json["kills"].as_array().unwrap();
    let names: Vec<_> = kills.iter().map(|kill| kill["durability"].as_str().unwrap()).collect();
    assert_eq!(names, [["power"; 4], ["process"; 4]].concat());
    for kill in kills {
        assert!(kill["acknowledged"].as_u64().unwrap() >= 100, "{kill}");
    }

    // What was kept is what the last kill of each left.
    for (name, last) in [("power.heap", &kills[3]), ("process.heap", &kills[7])] {
        let arena = keep.join(name);
        let check = common::run(&["check", "--json", text(&arena)]);
        assert_eq!(check.json()["counts"]["blocks"], last["blocks"]);
        check.ok();
        let arena = Arena::open(&arena).unwrap();
        let tx = arena.read().unwrap();
        let edits = *tx.get(tx.named_root::<u64>("edits").unwrap().unwrap()).unwrap();
        let told: u64 = kills
            .iter()
            .filter(|kill| kill["durability"] == last["durability"])
            .map(|kill| kill["acknowledged"].as_u64().unwrap() + u64::from(kill["in_flight_kept"] == true))
            .sum();
        assert_eq!(edits, told);
    }
    demo(dir.path(), &["--keep", text(&keep), text(&file)]).fails(2, "exists already");
}

#[test]
fn a_demo_that_nobody_reads_goes_on_to_its_end() {
    let dir = tempdir().unwrap();
    let (file, keep) = (dir.path().join("a.xml"), dir.path().join("keep"));
    write(&file, DOCUMENT).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let args = ["demo", "--kills", "1", "--keep", text(&keep), text(&file)];
    Run::from(command().args(args).stdout(writer).output().unwrap()).ok();
    let arena = Arena::open(keep.join("process.heap")).unwrap();
    let tx = arena.read().unwrap();
    assert!(*tx.get(tx.named_root::<u64>("edits").unwrap().unwrap()).unwrap() > 0);
}

#[test]
fn the_bundled_document_needs_no_arguments() {
    let dir = tempdir().unwrap();
    let shown = demo(dir.path(), &["--kills", "1"]).ok();
    for part in [
        "vk.xml",
        "2,125,952 bytes",
        "35,275 elements",
        "identical",
        "rewriting the file",
        "All of that held in",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    assert!(!shown.contains('\x1b'), "{shown:?}");
    assert_eq!(read_dir(dir.path()).unwrap().count(), 0, "the directory is gone");
}

#[test]
fn what_is_no_document_is_refused() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("a.xml");
    let path = text(&file);
    run(&["demo", path]).fails(2, "cannot read");
    let cases: [(&[u8], &str); 6] = [
        (b"", "there is no element in it"),
        (b"just text", "there is no element in it"),
        (b"<a>Foo</b>", "not well formed at byte 6"),
        (b"<a>Foo", "the element at byte 0 is not closed"),
        (b"<a b='c'/>", "has no text inside an element"),
        (b"<a>\xff</a>", "is not UTF-8 from byte 3 on"),
    ];
    for (bytes, message) in cases {
        write(&file, bytes).unwrap();
        demo(dir.path(), &[path]).fails(2, message);
    }
    run(&["demo", "--keep", "/proc/nothing", path]).fails(2, "");
    assert_eq!(read_dir(dir.path()).unwrap().count(), 1, "only the document is there");
}

#[test]
fn an_editor_without_a_demo_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.heap");
    drop(Arena::create(&path).unwrap());
    run(&["demo-editor", "--seed", "1", text(&path)]).fails(2, "not one of the demo's");
}
