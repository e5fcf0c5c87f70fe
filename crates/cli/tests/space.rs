//! `shrink`, `stats`, `map` and `snapshot`: figures that agree with the library's, pictures that can be read, a watch that ends.

mod common;

use common::{Place, command, run, text};
use heapfile::{Arena, Offset};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

/// Small blocks, long ones, and holes between them.
fn filled() -> Place {
    Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let small: Vec<_> = (0..4000).map(|i| tx.alloc_bytes(&vec![1; 8 + i % 300]).unwrap()).collect();
        let large: Vec<Offset<[u8]>> = (0..12).map(|_| tx.alloc_bytes(&vec![2; 200_000]).unwrap()).collect();
        tx.commit().unwrap();
        let mut tx = arena.write().unwrap();
        small.iter().step_by(3).for_each(|&block| tx.free(block).unwrap());
        [1, 2, 3, 7, 10, 11].iter().for_each(|&i| tx.free(large[i]).unwrap());
        tx.commit().unwrap();
    })
}

fn sum(json: &Value) -> u64 {
    json.as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum()
}

#[test]
fn shrink_tells_what_it_gave_back() {
    let place = filled();
    let before = place.path.metadata().unwrap().len();
    let json = run(&["shrink", "--json", place.arg()]);
    let now = place.path.metadata().unwrap().len();
    assert_eq!(json.json()["file_bytes_before"], before);
    assert_eq!(json.json()["file_bytes"], now);
    assert!(now < before && json.json()["punched_bytes"].as_u64().unwrap() >= 600_000, "{json:?}");
    assert!(json.json()["disk_bytes"].as_u64() < json.json()["disk_bytes_before"].as_u64());
    json.ok();
    assert!(Arena::open(&place.path).unwrap().check().unwrap().is_clean());
    let again = run(&["shrink", place.arg()]).ok();
    assert!(again.contains("(0 bytes less)") && again.contains("in free extents inside"), "{again}");
}

#[test]
fn stats_counts_what_check_counts() {
    let place = filled();
    let counts = Arena::open(&place.path).unwrap().check().unwrap().counts;
    let stats = run(&["stats", "--json", place.arg()]);
    let json = stats.json();
    assert_eq!(json["blocks"], counts.blocks);
    assert_eq!(json["free_bytes"], counts.free_bytes);
    assert_eq!(json["heap_bytes"], counts.heap_bytes);
    let (used, slack) = (json["used_bytes"].as_u64().unwrap(), json["slack_bytes"].as_u64().unwrap());
    assert!(used >= counts.block_bytes && used + slack + counts.free_bytes <= counts.heap_bytes, "{json}");
    assert_eq!((json["commits_per_second"].is_null(), json["sequence"].as_u64()), (true, Some(2)));
    stats.ok();
    let shown = run(&["stats", place.arg()]).ok();
    assert!(shown.contains("2,672 in ") && shown.contains("open in"), "{shown}");
    for bad in ["0", "-1", "x", "1e9"] {
        assert_eq!(run(&["stats", &format!("--watch={bad}"), place.arg()]).code, 2);
    }
}

/// Behind the heap's end there may be room that no extent has: all commands tell it apart, and `kv stat` adds it to what is free of the file.
#[test]
fn what_is_free_behind_the_heap_is_told_apart() {
    let place = filled();
    let arena = Arena::open(&place.path).unwrap();
    let mut tx = arena.write().unwrap();
    tx.alloc_bytes(&vec![3; 20 << 20]).unwrap();
    drop(tx);
    let stats = arena.stats().unwrap();
    let tail = stats.file_bytes - stats.heap_offset - stats.heap_bytes;
    assert!(tail > 0);
    for args in [&["info"][..], &["stats"], &["kv", "stat"]] {
        let json = run(&[args, &["--json", place.arg()]].concat()).json();
        assert_eq!(
            (&json["free_bytes"], &json["tail_bytes"]),
            (&stats.free_bytes.into(), &tail.into()),
            "{args:?}"
        );
    }
    let map = run(&["map", "--json", place.arg()]).json();
    let totals = &map["totals"];
    assert_eq!((&totals["free_bytes"], &totals["tail_bytes"]), (&stats.free_bytes.into(), &tail.into()));
    assert_eq!(sum(totals), stats.file_bytes);
    for name in ["info", "stats"] {
        let shown = run(&[name, place.arg()]).ok();
        assert!(
            shown.contains("  tail          ") && shown.contains(" behind the heap, free besides\n"),
            "{shown}"
        );
    }
    assert!(run(&["map", place.arg()]).ok().contains("  ,  tail, behind the heap"));
    let free = run(&["kv", "stat", place.arg()]).ok().replace(',', "");
    assert!(free.contains(&format!(" {} of them free\n", stats.free_bytes + tail)), "{free}");
    drop(arena);
    let shrunk = filled();
    Arena::open(&shrunk.path).unwrap().shrink().unwrap();
    assert!(!run(&["info", shrunk.arg()]).ok().contains("behind the heap"));
}

#[test]
fn a_watch_shows_commits_and_ends_when_asked_or_when_nobody_reads() {
    let place = filled();
    let watch = |json: &[&str]| {
        let mut watch = command();
        watch.args(["stats", "--watch=0.05"]).args(json).arg(&place.path);
        watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = watch(&["--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    let arena = Arena::open(&place.path).unwrap();
    arena.alloc(&1u64).unwrap();
    let seen = std::iter::repeat_with(&mut next).find(|json| json["sequence"] == 3).unwrap();
    assert!(first["commits_per_second"].is_null() && seen["commits_per_second"].as_f64().unwrap() > 0.0);
    assert!(std::iter::repeat_with(&mut next).take(1000).any(|json| {
        json["commits_per_second"] == 0.0 && json["other_handles"][0]["pid"] == std::process::id()
    }));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let mut child = watch(&[]);
    let mut out = child.stdout.take().unwrap();
    assert!(out.read(&mut [0; 64]).unwrap() > 0);
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn map_accounts_for_every_byte() {
    let place = filled();
    Arena::open(&place.path).unwrap().shrink().unwrap();
    let map = run(&["map", "--json", "--width", "16", place.arg()]);
    let json = map.json();
    let file_bytes = place.path.metadata().unwrap().len();
    assert_eq!(sum(&json["totals"]), file_bytes, "{json}");
    assert_eq!(json["totals"]["unknown_bytes"], 0);
    assert!(json["totals"]["punched_bytes"].as_u64().unwrap() > 600_000, "{json}");
    assert_eq!(json["large_blocks"], 6);
    let cells = json["cells"].as_array().unwrap();
    assert_eq!(cells.len() as u64, file_bytes.div_ceil(json["cell_bytes"].as_u64().unwrap()));
    let used: u64 =
        json["classes"].as_array().unwrap().iter().map(|c| c["used_slots"].as_u64().unwrap()).sum();
    assert_eq!(used, 2666);
    map.ok();
}

#[test]
fn map_draws_plainly_where_no_person_looks() {
    let place = filled();
    let shown = run(&["map", "--width", "32", place.arg()]).ok();
    assert!(shown.is_ascii() && !shown.contains('\x1b'), "{shown}");
    let first = shown.lines().find(|line| line.starts_with("0x00000000000")).unwrap();
    assert!(first.contains('S') && shown.lines().any(|line| line.contains("##")), "{shown}");
    assert!(shown.contains("  #  blocks") && shown.contains("6 blocks with pages of their own"), "{shown}");
    run(&["map", "--width", "1", place.arg()]);
    assert_eq!(run(&["map", "--width", "7", place.arg()]).code, 2);
}

/// What a watch shows on a terminal of 30 columns and 4 rows, up to its third page.
fn watched_on_a_terminal(place: &Place, term: &str) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = rustix::termios::Winsize { ws_row: 4, ws_col: 30, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let screen = std::fs::File::options().read(true).write(true).open(name).unwrap();
    let mut watch = command();
    watch.args(["stats", "--watch=0.05", place.arg()]).env("TERM", term).stdout(screen);
    let mut child = watch.spawn().unwrap();
    let (mut terminal, mut shown) = (std::fs::File::from(terminal), Vec::new());
    while String::from_utf8_lossy(&shown).matches("\n  file  ").count() < 3 {
        let mut piece = [0; 4096];
        let read = terminal.read(&mut piece).unwrap();
        shown.extend_from_slice(&piece[..read]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    String::from_utf8(shown).unwrap()
}

#[test]
fn a_watch_redraws_no_more_than_the_terminal_has_room_for() {
    let shown = watched_on_a_terminal(&filled(), "xterm");
    let pages: Vec<_> = shown.split("\x1b[3F\x1b[J").collect();
    assert_eq!(pages.len(), 3, "{shown:?}");
    for page in &pages[..2] {
        let lines: Vec<_> = page.lines().collect();
        assert!(lines.len() == 3 && page.ends_with('\n'), "{page:?}");
        // The title is in bold, which takes no room.
        assert!(lines[1..].iter().all(|line| line.trim_end().chars().count() <= 30), "{page:?}");
    }
}

#[test]
fn a_watch_sends_no_sequences_to_a_dumb_terminal() {
    let shown = watched_on_a_terminal(&filled(), "dumb");
    assert!(!shown.contains('\x1b') && shown.contains("\n  synced  "), "{shown:?}");
}

#[test]
fn map_writes_svg_that_is_xml() {
    let place = filled();
    let svg = place.dir.path().join("a <&> b.svg");
    assert_eq!(run(&["map", "--svg", text(&svg), place.arg()]).ok(), "");
    let picture = std::fs::read_to_string(&svg).unwrap();
    let mut reader = quick_xml::Reader::from_str(&picture);
    let mut cells = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(tag) if tag.name().as_ref() == "g" => cells += 1,
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    let json = run(&["map", "--json", "--width", "64", place.arg()]).json();
    assert_eq!(cells, json["cells"].as_array().unwrap().len());
    assert_eq!(run(&["map", "--svg", "-", place.arg()]).ok(), picture);
    run(&["map", "--svg", "/no/such/dir/a.svg", place.arg()]).fails(2, "cannot write /no/such/dir/a.svg");
}

#[test]
fn map_does_not_write_over_the_arena() {
    let place = filled();
    let before = run(&["check", place.arg()]).ok();
    let (link, other) = (place.dir.path().join("link.svg"), place.dir.path().join("other.svg"));
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    std::fs::hard_link(&place.path, &other).unwrap();
    for name in [place.arg(), text(&link), text(&other)] {
        run(&["map", "--svg", name, place.arg()]).fails(2, "is the arena itself: give another name");
    }
    assert_eq!(run(&["check", place.arg()]).ok(), before);
}

/// The names in a directory.
fn names(dir: &std::path::Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_picture_that_cannot_be_written_whole_leaves_the_one_that_is_there() {
    let place = filled();
    let svg = place.dir.path().join("a.svg");
    std::fs::write(&svg, "good").unwrap();
    // Files end after a KiB at most; the signal about that is ignored, so that the call fails.
    let limited = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_heapfile"), "map", "--svg", text(&svg), place.arg()])
        .output()
        .unwrap();
    common::Run::from(output).fails(2, "cannot write ");
    assert_eq!(std::fs::read(&svg).unwrap(), b"good");
    assert_eq!(names(place.dir.path()), ["a.heap", "a.svg"]);
}

#[test]
fn a_picture_has_the_permissions_of_the_one_before() {
    use std::os::unix::fs::PermissionsExt;
    let place = filled();
    let svg = place.dir.path().join("a.svg");
    std::fs::write(&svg, "old").unwrap();
    std::fs::set_permissions(&svg, PermissionsExt::from_mode(0o624)).unwrap();
    run(&["map", "--svg", text(&svg), place.arg()]).ok();
    assert_eq!(svg.metadata().unwrap().permissions().mode() & 0o777, 0o624);
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
}

#[test]
fn a_picture_goes_to_what_is_no_regular_file_as_it_is() {
    let place = filled();
    let picture = run(&["map", "--svg", "-", place.arg()]).ok();
    assert_eq!(run(&["map", "--svg", "/dev/stdout", place.arg()]).ok(), picture);
    run(&["map", "--svg", "/dev/null", place.arg()]).ok();
}

#[test]
fn snapshot_makes_an_arena_and_overwrites_nothing_unasked() {
    let place = filled();
    let to = place.dir.path().join("b.heap");
    let made = run(&["snapshot", "--json", place.arg(), text(&to)]);
    assert_eq!(made.json()["sequence"], 2);
    assert_eq!(made.json()["file_bytes"], to.metadata().unwrap().len());
    made.ok();
    assert!(run(&["check", text(&to)]).ok().contains(": sound"));
    run(&["snapshot", place.arg(), text(&to)]).fails(2, "exists already: --force replaces it");
    assert!(run(&["snapshot", "--force", place.arg(), text(&to)]).ok().contains("after commit 2"));
}

#[test]
fn an_arena_is_no_target_of_its_own() {
    let place = filled();
    let link = place.dir.path().join("link.heap");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    for (name, command) in [place.arg(), text(&link)].iter().flat_map(|name| {
        [&["snapshot"][..], &["snapshot", "--force"], &["check", "--salvage"]].map(|command| (*name, command))
    }) {
        let targets = if command[0] == "check" { [name, place.arg()] } else { [place.arg(), name] };
        run(&[command, &targets].concat()).fails(2, "is the arena itself: give another name");
    }
    run(&["check", place.arg()]).ok();
}

#[test]
fn force_is_advised_only_where_it_replaces() {
    let place = filled();
    let (other, link) = (place.dir.path().join("other.heap"), place.dir.path().join("link.heap"));
    std::fs::write(&other, "other").unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    for (target, what) in [(&link, "a symbolic link"), (&place.dir.path().to_owned(), "a directory")] {
        for force in [&[][..], &["--force"]] {
            let snapshot = run(&[&["snapshot"], force, &[place.arg(), text(target)]].concat());
            snapshot.fails(2, &format!("is {what}, which a snapshot does not replace: give another name"));
        }
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"other");
}

#[test]
fn check_repairs_what_it_can_and_lists_what_it_could_not() {
    let place = filled();
    let unhurt = run(&["check", "--repair", place.arg()]).ok();
    assert!(unhurt.contains(": sound") && unhurt.contains("0 words"), "{unhurt}");
    let heap = run(&["info", "--json", place.arg()]).json()["heap_offset"].as_u64().unwrap();
    let hurt = |offset: u64| {
        use std::os::unix::fs::FileExt;
        std::fs::File::options()
            .write(true)
            .open(&place.path)
            .unwrap()
            .write_all_at(&[0x55; 8], offset)
            .unwrap();
    };
    // The counts, then the root of the free tree: nothing is lost with them.
    hurt(heap + 16);
    hurt(heap + 24);
    assert_eq!(run(&["check", place.arg()]).code, 1);
    let repaired = run(&["check", "--repair", "--json", place.arg()]);
    let json = repaired.json();
    assert_eq!(
        (json["sound"].as_bool(), json["losses"].as_array().map(Vec::len)),
        (Some(true), Some(0)),
        "{json}"
    );
    assert!(std::fs::metadata(json["backup"].as_str().unwrap()).unwrap().len() >= 4104);
    repaired.ok();
    run(&["check", place.arg()]).ok();
    // The word of the last long block.
    let map = heap + 4096;
    let mut last = 0;
    let bytes = std::fs::read(&place.path).unwrap();
    for word in 0..512 {
        let at = (map + word * 8) as usize;
        if bytes[at] & 15 == 1 {
            last = at as u64;
        }
    }
    hurt(last);
    let lost = run(&["check", "--repair", place.arg()]);
    assert_eq!(lost.code, 1, "{lost:?}");
    assert!(lost.stdout.contains("damaged: ") && lost.stdout.contains("kept as a block"), "{lost:?}");
    run(&["check", place.arg()]).ok();
    let to = place.dir.path().join("new.heap");
    let salvaged = run(&["check", "--salvage", text(&to), place.arg()]).ok();
    let sound = run(&["check", place.arg()]).ok();
    assert_eq!(salvaged.replace(text(&to), place.arg()), sound);
    run(&["check", text(&to)]).ok();
    run(&["check", "--salvage", text(&to), place.arg()]).fails(2, "exists already");
    let open = Arena::open(&place.path).unwrap();
    run(&["check", "--repair", place.arg()]).fails(2, "open elsewhere: close it there first");
    drop(open);
}
