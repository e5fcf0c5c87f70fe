//! `create`, `info`, `check` and `dump` on arenas that are in order, and `check` on one that is not.

mod common;

use common::{Place, command, run};
use heapfile::store::{Kind, Table};
use heapfile::{Arena, Offset, View};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Stdio;

#[test]
fn create_makes_what_was_asked_for() {
    let place = Place::new();
    let made = run(&["create", "--json", "--log-size", "128K", "--mode", "640", place.arg()]);
    let json = made.json();
    assert_eq!((json["durability"].as_str(), json["log_bytes"].as_u64()), (Some("power"), Some(128 << 10)));
    assert_eq!(place.path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    made.ok();

    let other = place.dir.path().join("b.heap");
    let text = run(&["create", "--durability", "process", common::text(&other)]).ok();
    assert!(text.contains("process: a commit survives the death of any process"), "{text}");
    assert_eq!(Arena::open(&other).unwrap().durability(), heapfile::Durability::Process);
}

#[test]
fn create_overwrites_nothing_and_refuses_bad_options() {
    let place = Place::with(|_| {});
    let before = std::fs::read(&place.path).unwrap();
    run(&["create", place.arg()]).fails(2, "exists already: open it, or remove it first");
    assert_eq!(std::fs::read(&place.path).unwrap(), before);

    let other = place.dir.path().join("b.heap");
    let other = common::text(&other);
    run(&["create", "--log-size", "5000", other]).fails(2, "--log-size of 5000 is refused");
    run(&["create", "--log-align", "100", other]).fails(2, "--log-align of 100 is refused");
    run(&["create", "--max-size", "1K", other]).fails(2, "--max-size of 1024 is refused");
    run(&["create", "--max-size", "1M", other]).fails(2, "give a larger one, or a smaller --log-size");
    for bad in [["--log-align", "4G"], ["--log-size", "4X"], ["--mode", "9"], ["--durability", "none"]] {
        let refused = run(&["create", bad[0], bad[1], other]);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
        assert!(refused.stderr.contains(bad[0]), "{refused:?}");
    }
    assert!(!std::fs::exists(other).unwrap());
}

#[test]
fn info_shows_stats_and_roots() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let list = tx.alloc_slice(&[2u32, 4, 6]).unwrap();
        tx.set_root(list).unwrap();
        let bell = tx.alloc(&7u64).unwrap();
        tx.create_root("bell\u{7}", bell).unwrap();
        tx.commit().unwrap();
    });
    let (stats, roots) = {
        let arena = Arena::open(&place.path).unwrap();
        (arena.stats().unwrap(), arena.read().unwrap().roots().unwrap())
    };
    let info = run(&["info", "--json", place.arg()]);
    let json = info.json();
    assert_eq!(json["path"], place.arg());
    assert_eq!(json["durability"], "power");
    assert_eq!(json["format_version"], stats.version);
    assert_eq!(json["file_bytes"], stats.file_bytes);
    assert_eq!(json["heap_offset"], stats.heap_offset);
    assert_eq!(json["free_bytes"], stats.free_bytes);
    assert_eq!(json["log_bytes"], 1 << 16);
    assert_eq!(json["sequence"], 1);
    assert_eq!(json["synced"], true);
    assert_eq!(json["slabs"].as_array().unwrap().len(), stats.slabs.len());
    let root = &json["roots"][0];
    assert_eq!((root["name"].as_str(), root["len_bytes"].as_u64()), (Some(""), Some(12)));
    assert_eq!(
        (root["offset"].as_u64(), root["type"].as_str()),
        (Some(roots[0].offset.raw()), Some("[u32]"))
    );

    let text = run(&["info", place.arg()]).ok();
    for part in
        [place.arg(), "power: a commit survives loss of power", "(unnamed)", "12 bytes, [u32]", "bell\\u{7}"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
}

#[test]
fn check_counts_what_is_there() {
    let place = Place::with(|arena| {
        for len in [0, 10, 100_000] {
            arena.alloc_bytes(&vec![1; len]).unwrap();
        }
    });
    let check = run(&["check", "--json", place.arg()]);
    let json = check.json();
    assert_eq!((json["sound"].as_bool(), json["findings"].as_array().map(Vec::len)), (Some(true), Some(0)));
    let counts = &json["counts"];
    assert_eq!((counts["blocks"].as_u64(), counts["block_bytes"].as_u64()), (Some(3), Some(100_010)));
    check.ok();
    let text = run(&["check", place.arg()]).ok();
    assert!(text.contains(": sound\n") && text.contains("3 with 97.7 KiB"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn check_finds_damage() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let block = tx.alloc(&7u64).unwrap();
        tx.set_root(block).unwrap();
        tx.commit().unwrap();
        arena.checkpoint().unwrap();
    });
    let heap = run(&["info", "--json", place.arg()]).json()["heap_offset"].as_u64().unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&place.path).unwrap();
    // Somewhere in the heap's first page there are words that matter; each of them has to be missed by nobody.
    let mut page = [0; 4096];
    file.read_exact_at(&mut page, heap).unwrap();
    let mut found = 0;
    for at in (0..4096).filter(|&at| page[at] != 0) {
        file.write_all_at(&[page[at] ^ 0x40], heap + at as u64).unwrap();
        let check = run(&["check", "--json", place.arg()]);
        file.write_all_at(&page[at..=at], heap + at as u64).unwrap();
        if check.code == 1 {
            let json = check.json();
            assert_eq!(json["sound"], false);
            assert!(
                json["findings"][0]["offset"].is_u64() && json["findings"][0]["what"].is_string(),
                "{json}"
            );
            found += 1;
        }
    }
    assert!(found > 3, "{found}");
    assert_eq!(run(&["check", place.arg()]).code, 0);

    file.set_len(heap + 100).unwrap();
    let cut = run(&["check", place.arg()]);
    assert_eq!(cut.code, 1, "{cut:?}");
    assert!(cut.stdout.contains("the file was cut short") && cut.stdout.contains("1 finding"), "{cut:?}");
}

#[test]
fn check_finds_damage_in_tables() {
    let mut counts = Vec::new();
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let ordered = Table::create(&mut tx, "ordered", Kind::Ordered).unwrap();
        let hashed = Table::create(&mut tx, "hashed", Kind::Hashed).unwrap();
        for table in [ordered, hashed] {
            table.extend(&mut tx, (0..50u8).map(|n| ([n], [n]))).unwrap();
        }
        tx.commit().unwrap();
        arena.checkpoint().unwrap();
        counts = vec![ordered.ordered().unwrap().offset().raw(), hashed.hashed().unwrap().offset().raw()];
    });
    run(&["check", place.arg()]).ok();
    let file = std::fs::File::options().read(true).write(true).open(&place.path).unwrap();
    for header in counts {
        // One of its words is the number of entries.
        let mut words = [[0; 8]; 4];
        file.read_exact_at(words.as_flattened_mut(), header).unwrap();
        let at = header + 8 * words.iter().position(|&word| word == 50u64.to_le_bytes()).unwrap() as u64;
        file.write_all_at(&[51], at).unwrap();
        for repair in [&[][..], &["--repair"]] {
            let check = run(&[&["check", "--json", place.arg()], repair].concat());
            let json = check.json();
            assert_eq!(
                (check.code, &json["sound"], json["findings"].as_array().unwrap().len()),
                (1, &false.into(), 1)
            );
            assert_eq!(json["findings"][0]["offset"], header, "{json}");
        }
        run(&["kv", "stat", "--check", place.arg()]).fails(1, "the file is damaged");
        file.write_all_at(&[50], at).unwrap();
    }
    run(&["check", place.arg()]).ok();
}

#[test]
fn check_finds_a_store_whose_root_has_another_type() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        Table::create(&mut tx, "t", Kind::Ordered).unwrap();
        tx.commit().unwrap();
        arena.checkpoint().unwrap();
    });
    let heap = run(&["info", "--json", place.arg()]).json()["heap_offset"].as_u64().unwrap();
    let bytes = std::fs::read(&place.path).unwrap();
    // The record of the root ends with its name and that of its type; two words before them is the type's size.
    let names = bytes[heap as usize..].windows(9).position(|window| window == b"store[u8]").unwrap();
    let file = std::fs::File::options().write(true).open(&place.path).unwrap();
    file.write_all_at(&[0x55], heap + names as u64 - 16).unwrap();
    let check = run(&["check", "--json", place.arg()]);
    let json = check.json();
    assert_eq!((check.code, json["findings"].as_array().unwrap().len()), (1, 1), "{json}");
    assert!(json["findings"][0]["what"].as_str().unwrap().contains("another type"), "{json}");
}

#[test]
fn a_root_called_store_may_be_something_else() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let block = tx.alloc(&7u64).unwrap();
        tx.create_root("store", block).unwrap();
        tx.commit().unwrap();
    });
    run(&["check", place.arg()]).ok();
}

/// An arena with a text at the root, `numbers` at a root of that name, and a large block; their offsets.
fn three_blocks() -> (Place, [u64; 3]) {
    let mut offsets = [0; 3];
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let text = tx.alloc_bytes(b"Foobar, and more than one line").unwrap();
        tx.set_root(text).unwrap();
        let numbers = tx.alloc(&[1u32, 2]).unwrap();
        tx.create_root("numbers", numbers).unwrap();
        let large = tx.alloc_zeroed(3 << 20, 8).unwrap();
        tx.write_at(large, 2 << 20, b"here").unwrap();
        tx.commit().unwrap();
        offsets = [text.raw(), numbers.raw(), large.raw()];
    });
    (place, offsets)
}

#[test]
fn dump_shows_a_block() {
    let (place, [text, numbers, large]) = three_blocks();
    let expected = "\
00000000  46 6f 6f 62 61 72 2c 20  61 6e 64 20 6d 6f 72 65  |Foobar, and more|
00000010  20 74 68 61 6e 20 6f 6e  65 20 6c 69 6e 65        | than one line|
";
    let shown = run(&["dump", place.arg(), &text.to_string()]).ok();
    assert_eq!(shown, format!("block {text:#x}: 30 bytes, room for 32\n{expected}"));
    assert_eq!(run(&["dump", place.arg(), &format!("{text:#x}")]).ok(), shown);
    assert_eq!(run(&["dump", place.arg(), "--root", ""]).ok(), shown);
    assert_eq!(run(&["dump", place.arg(), "--root", "", "--raw"]).ok(), "Foobar, and more than one line");
    assert_eq!(run(&["dump", place.arg(), "--root", "", "--raw", "--range", "3..6"]).ok(), "bar");

    let json = run(&["dump", place.arg(), "--root", "numbers", "--json"]).json();
    let expected = format!(
        "{{\"offset\": {numbers}, \"len_bytes\": 8, \"capacity_bytes\": 8, \"first\": 0, \"end\": 8, \
         \"hex\": \"0100000002000000\"}}"
    );
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(&expected).unwrap());

    // Three pieces, zeros but for one line.
    let shown = run(&["dump", place.arg(), &large.to_string()]).ok();
    let lines: Vec<&str> = shown.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(lines[1..], ["00000000", "*", "00200000", "00200010", "*"], "{shown}");
    let raw = run(&["dump", place.arg(), &large.to_string(), "--raw"]).ok();
    assert_eq!((raw.len(), raw.find("here")), (3 << 20, Some(2 << 20)));
}

#[test]
fn dump_lists_roots_and_blocks() {
    let (place, offsets) = three_blocks();
    let arena = Arena::open(&place.path).unwrap();
    let blocks: Vec<_> = arena.read().unwrap().blocks().map(Result::unwrap).collect();
    drop(arena);
    let json = run(&["dump", "--json", place.arg()]).json();
    let listed: Vec<_> =
        json["blocks"].as_array().unwrap().iter().map(|b| b["offset"].as_u64().unwrap()).collect();
    assert_eq!(listed, blocks.iter().map(|block| block.offset.raw()).collect::<Vec<_>>());
    assert!(offsets.iter().all(|offset| listed.contains(offset)));
    assert_eq!(json["roots"][1]["name"], "numbers");
    let text = run(&["dump", place.arg()]).ok();
    assert!(text.ends_with(&format!("    {} blocks\n", blocks.len())), "{text}");
    for block in blocks {
        assert!(text.contains(&format!("    {} ", block.offset)), "{text}");
    }
}

#[test]
fn what_is_not_there_is_exit_code_1() {
    let (place, [text, _, large]) = three_blocks();
    let at = |raw: u64| raw.to_string();
    run(&["dump", place.arg(), "--root", "nothing"]).fails(1, "no root \"nothing\": `heapfile info` lists");
    run(&["dump", place.arg(), "0"]).fails(1, "it is null");
    run(&["dump", place.arg(), "0x10000000000"]).fails(1, "it lies outside the heap");
    run(&["dump", place.arg(), &at(large + 4096)]).fails(1, "it points inside a block");
    run(&["dump", place.arg(), &at(text + 1)]).fails(1, "is refused");
    // A range that the block does not have is a mistake of the caller.
    run(&["dump", place.arg(), &at(text), "--range", "3..31"]).fails(2, "which has 30 bytes");
    Arena::open(&place.path).unwrap().free(Offset::<[u8]>::from_raw(large)).unwrap();
    run(&["dump", place.arg(), &at(large)]).fails(1, "no block is allocated there");
    Arena::open(&place.path).unwrap().free(Offset::<[u8]>::from_raw(text)).unwrap();
    run(&["dump", place.arg(), "--root", ""]).fails(1, "the root \"\" leads to no block: ");
    run(&["dump", place.arg(), "--raw"]).fails(2, "give its offset, or --root");
    for bad in ["-1", "0xg", "one"] {
        assert_eq!(run(&["dump", place.arg(), bad]).code, 2);
    }
}

#[test]
fn a_stdout_that_cannot_be_written_is_told_as_that() {
    let (place, _) = three_blocks();
    run(&["kv", "put", place.arg(), "k", "v"]).ok();
    for args in [
        &["info"][..],
        &["info", "--json"],
        &["stats"],
        &["map"],
        &["map", "--svg", "-"],
        &["check"],
        &["dump"],
        &["dump", "--json"],
        &["hexdump"],
        &["kv", "list"],
        &["kv", "stat"],
        &["kv", "export"],
        &["kv", "pack"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command().args(args).arg(&place.path).stdout(full).output().unwrap();
        common::Run::from(output).fails(2, "cannot write to stdout: No space left on device");
    }
    for args in [["find", place.arg(), "Foobar"], ["dump", place.arg(), "--root="], ["create", "--json", "x"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command().args(args).current_dir(&place.dir).stdout(full).output().unwrap();
        common::Run::from(output).fails(2, "cannot write to stdout: No space left on device");
    }
}

#[test]
fn a_process_arena_that_was_not_synced_is_brought_back_as_the_message_says() {
    let place = Place::new();
    let arena =
        heapfile::Options::new().durability(heapfile::Durability::Process).create(&place.path).unwrap();
    arena.alloc(&1u64).unwrap();
    let mut image = std::fs::read(&place.path).unwrap();
    drop(arena);
    // The boot in which the mark was set is another one, and so is that of the runtime words.
    let mark = image.windows(8).position(|bytes| bytes == b"HFMARK\0\0").unwrap();
    let boot: [u8; 16] = image[mark + 16..mark + 32].try_into().unwrap();
    let places: Vec<usize> = (0..image.len() - 16).filter(|&at| image[at..at + 16] == boot).collect();
    places.iter().for_each(|&at| image[at..at + 16].fill(0xEE));
    let crc = crc32fast::hash(&image[mark..mark + 60]);
    image[mark + 60..mark + 64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&place.path, image).unwrap();
    for args in [&["kv", "list", place.arg()][..], &["dump", place.arg()], &["shrink", place.arg()]] {
        run(args).fails(2, "before the machine went down: `heapfile check` tells what is sound, `heapfile check --repair` takes");
    }
    run(&["check", place.arg()]).ok();
    run(&["check", "--repair", place.arg()]).ok();
    run(&["shrink", place.arg()]).ok();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        for _ in 0..50_000 {
            tx.alloc(&0u64).unwrap();
        }
        tx.commit().unwrap();
    });
    for extra in [&[][..], &["--json"]] {
        let mut child = command()
            .args(["dump", place.arg()])
            .args(extra)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    }
}

/// The exit code of a command whose reader is gone before it begins.
fn code_unread(args: &[&str]) -> i32 {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = common::Run::from(command().args(args).stdout(writer).output().unwrap());
    assert_eq!(run.stderr, "", "{args:?}");
    run.code
}

#[test]
fn check_tells_damage_by_its_exit_code_though_nobody_reads() {
    let place = Place::with(|arena| {
        arena.alloc(&7u64).unwrap();
        arena.checkpoint().unwrap();
    });
    let heap = run(&["info", "--json", place.arg()]).json()["heap_offset"].as_u64().unwrap();
    for extra in [&[][..], &["--json"]] {
        assert_eq!(code_unread(&[&["check", place.arg()], extra].concat()), 0, "{extra:?}");
    }
    let file = std::fs::File::options().write(true).open(&place.path).unwrap();
    // A word of the page map, which says what a page is used for.
    file.write_all_at(&[0x55; 8], heap + 4096).unwrap();
    let to = place.dir.path().join("new.heap");
    for extra in [&[][..], &["--json"], &["--salvage", common::text(&to)], &["--repair"]] {
        assert_eq!(code_unread(&[&["check", place.arg()], extra].concat()), 1, "{extra:?}");
    }
}

#[test]
fn help_has_examples() {
    for name in [
        "create", "info", "stats", "map", "check", "shrink", "snapshot", "dump", "find", "hexdump", "kv",
        "demo",
    ] {
        let help = run(&[name, "--help"]).ok();
        assert!(help.contains(&format!("Usage: heapfile {name}")), "{help}");
        assert!(help.contains("Examples:\n") && help.contains(&format!("\n  heapfile {name} ")), "{help}");
    }
    let help = run(&["--help"]).ok();
    assert!(help.contains("Exit codes:") && !help.contains("demo-editor"), "{help}");
    assert_eq!(run(&[]).code, 2);
    assert_eq!(run(&["nonsense"]).code, 2);
}

/// What a slow reader of the output has from a block that is changed meanwhile ends with the reason, which is no damage.
#[test]
fn a_dump_of_what_is_changed_meanwhile_says_so() {
    for frees in [false, true] {
        let place = Place::new();
        let arena = Arena::create(&place.path).unwrap();
        let mut tx = arena.write().unwrap();
        let block = tx.alloc_zeroed(8 << 20, 8).unwrap();
        tx.create_root("doc", block).unwrap();
        tx.commit().unwrap();
        let mut dump = command()
            .args(["dump", place.arg(), "--root", "doc", "--raw"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        dump.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        let mut tx = arena.write().unwrap();
        if frees {
            tx.free(block).unwrap();
        } else {
            tx.resize(block, 5 << 20).unwrap();
        }
        tx.commit().unwrap();
        let out = dump.wait_with_output().unwrap();
        let told = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{told}");
        assert_eq!(told, "heapfile: the block was changed while it was read: try again\n");
        assert!(out.stdout.len() < 5 << 20);
    }
}

/// Where nothing can be opened any more that is damage, and the advice is what still helps.
#[test]
fn an_arena_that_cannot_be_opened_is_salvaged_as_advised() {
    let place = Place::new();
    run(&["kv", "put", place.arg(), "key", "value"]).ok();
    let file = std::fs::File::options().write(true).open(&place.path).unwrap();
    for slot in [4096, 8192] {
        file.write_all_at(&[1; 64], slot).unwrap();
    }
    let check = run(&["check", place.arg()]);
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.stdout.contains("try --repair, or --salvage NEW, or restore a copy"), "{check:?}");
    run(&["kv", "stat", "--check", place.arg()]).fails(1, "both checkpoint slots are damaged");
    run(&["kv", "get", place.arg(), "key"])
        .fails(2, "with `--repair` or `--salvage` it brings back what is sound");
    let new = place.dir.path().join("new.heap");
    run(&["check", "--salvage", common::text(&new), place.arg()]);
    assert_eq!(run(&["kv", "get", common::text(&new), "key"]).ok(), "value");
}

/// A program may call a root of its own `store`.
#[test]
fn a_root_called_store_is_no_damage() {
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        let own = tx.alloc_bytes(b"what the program keeps in store").unwrap();
        tx.create_root("store", own).unwrap();
        tx.commit().unwrap();
    });
    run(&["check", place.arg()]).ok();
    let said =
        "this arena holds no store: its root \"store\" is a block of 31 bytes, not a directory of tables";
    run(&["kv", "get", place.arg(), "key"]).fails(2, said);
}
