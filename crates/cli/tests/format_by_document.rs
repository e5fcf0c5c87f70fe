//! A reader in another language, written from `docs/FORMAT.md` alone (`examples/python`), finds in a file what this library and the command find there.
//!
//! Without `python3` nothing is tried, and that is said; with `HEAPFILE_NEED_PYTHON` set it is a failure.

mod common;

use common::{Place, Run, command, run, text};
use heapfile::collections::{BTreeMap, HashMap, List, Text, Vector};
use heapfile::store::{Kind, Store, Table};
use heapfile::{Arena, Durability, Locking, Options};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether there is a Python for the reader.
fn python() -> bool {
    let there = Command::new("python3")
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"])
        .status()
        .is_ok_and(|status| status.success());
    assert!(there || std::env::var_os("HEAPFILE_NEED_PYTHON").is_none(), "python3 (3.9 or later) is missing");
    if !there {
        eprintln!("skipped: no python3 (3.9 or later) is here to run examples/python");
    }
    there
}

fn reader(path: &Path, what: &[&str]) -> Run {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/python/heapfile_reader.py");
    Command::new("python3").arg("-B").arg(program).arg(path).args(what).output().unwrap().into()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn read(path: &Path, what: &[&str]) -> Vec<Value> {
    lines(&reader(path, what).ok())
}

/// Both find the same blocks, roots and entries. The reader is first: what a killed process left is for it to complete. How much that was.
#[track_caller]
fn compare(path: &Path) -> u64 {
    let (mut info, mut blocks, mut roots, mut entries) = (vec![], vec![], vec![], vec![]);
    for line in read(path, &["all"]) {
        let Value::Object(line) = line else { panic!("{line}") };
        for (kind, line) in line {
            match kind.as_str() {
                "info" => info.push(line),
                "blocks" => blocks.push(line),
                "roots" => roots.push(line),
                "entries" => entries.push(line),
                _ => panic!("{kind}: {line}"),
            }
        }
    }
    let [info] = info.try_into().unwrap();
    let dump = run(&["dump", "--json", text(path)]).json();
    let told = dump["blocks"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|b| json!({"offset": b["offset"], "len_bytes": b["len_bytes"]})).collect();
    assert!(blocks == told, "{} blocks, the library has {}", blocks.len(), told.len());
    assert_eq!(Value::from(roots), dump["roots"]);
    let mut exported = lines(&run(&["kv", "export", text(path)]).ok());
    // Those of hashed tables are in no order.
    for entries in [&mut entries, &mut exported] {
        entries.sort_by_cached_key(Value::to_string);
    }
    assert!(entries == exported, "{} entries, the library has {}", entries.len(), exported.len());
    let said = run(&["info", "--json", text(path)]).json();
    for same in ["id", "durability", "file_bytes", "heap_offset", "heap_bytes", "free_bytes", "extents"] {
        assert_eq!(info[same], said[same], "{same}");
    }
    run(&["check", text(path)]).ok();
    info["unfinished"].as_u64().unwrap()
}

/// Numbers that follow from the first one.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 33) % end
    }
}

/// One of 5000 keys; some are long.
fn key(random: &mut Random) -> String {
    let number = random.below(5000);
    let long = if number.is_multiple_of(47) { number as usize % 3000 } else { 0 };
    format!("key/{number:06}{}", "K".repeat(long))
}

#[test]
fn stores() {
    if !python() {
        return;
    }
    for durability in [Durability::Power, Durability::Process] {
        let place = Place::new();
        drop(Options::new().durability(durability).create(&place.path).unwrap());
        assert_eq!(compare(&place.path), 0);
        let mut random = Random(1);
        let input = place.dir.path().join("in");
        let mut file = std::fs::File::create(&input).unwrap();
        for number in 0..6000 {
            let len = if number % 100 == 0 { random.below(20_000) } else { random.below(200) };
            let (table, key, value) = (["a", "b"][number % 2], key(&mut random), "v".repeat(len as usize));
            writeln!(file, "{}", json!({"table": table, "key": key, "value": value})).unwrap();
        }
        run(&["kv", "put", "-t", "b", "--hashed", place.arg(), "first", ""]).ok();
        run(&["kv", "import", place.arg(), text(&input)]).ok();
        for len in [1, 1023, 1024, 3 << 20] {
            let value: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            std::fs::write(&input, value).unwrap();
            for table in ["a", "b"] {
                run(&["kv", "put", "-t", table, place.arg(), "--hex", "ff00", "--from", text(&input)]).ok();
            }
            compare(&place.path);
        }
        for table in ["a", "b"] {
            run(&["kv", "delete", "-t", table, place.arg(), "first", "key/000100", "key/000200"]);
        }
        run(&["kv", "delete", "-t", "a", place.arg(), "--prefix", "key/000"]).ok();
        compare(&place.path);
        run(&["kv", "delete", "-t", "a", place.arg(), "--hex", "ff00", "--shrink"]).ok();
        compare(&place.path);
        run(&["kv", "delete", "-t", "b", place.arg(), "--all", "--shrink"]).ok();
        compare(&place.path);
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn collections() {
    if !python() {
        return;
    }
    let place = Place::with(|arena| {
        let mut tx = arena.write().unwrap();
        macro_rules! root {
            ($name:literal, $collection:expr) => {{
                let collection = $collection;
                let handle = tx.alloc(&collection).unwrap();
                tx.create_root($name, handle).unwrap();
            }};
        }
        root!("text", Text::from_str(&mut tx, "Grüße").unwrap());
        root!("nothing", Vector::<u64>::new_in(&mut tx).unwrap());
        let vector = Vector::<[u16; 3]>::new_in(&mut tx).unwrap();
        let list = List::<u64>::new_in(&mut tx).unwrap();
        let plain = HashMap::<u64, u32>::new_in(&mut tx).unwrap();
        let any = HashMap::<str, [u64]>::new_in(&mut tx).unwrap();
        let ordered = BTreeMap::<i64, u16>::new_in(&mut tx).unwrap();
        let long = BTreeMap::<str, [u64]>::new_in(&mut tx).unwrap();
        for n in 0..500u16 {
            vector.push(&mut tx, [n, n + 1, n + 2]).unwrap();
            list.push_front(&mut tx, u64::from(n)).unwrap();
            plain.insert(&mut tx, &u64::from(n), &(u32::from(n) * 3)).unwrap();
            let (key, value) = ("x".repeat(n.into()), vec![u64::from(n); usize::from(n % 150)]);
            any.insert(&mut tx, &key, &value).unwrap();
            ordered.insert(&mut tx, &(i64::from(n) - 250), &n).unwrap();
            long.insert(&mut tx, &(key.clone() + &key), &value).unwrap();
        }
        root!("vector", vector);
        root!("list", list);
        root!("plain", plain);
        root!("any", any);
        root!("ordered", ordered);
        root!("long", long);
        tx.commit().unwrap();
    });
    compare(&place.path);
    let values = |name: &str| -> Vec<String> {
        let lines = read(&place.path, &["collection", name]);
        lines.iter().map(|line| line["value"].as_str().unwrap().to_owned()).collect()
    };
    let entries = |name: &str, align: &str| -> Vec<(String, String)> {
        let mut lines = read(&place.path, &["collection", name, "--align", align]);
        // Those of hash maps are in no order.
        if ["plain", "any"].contains(&name) {
            lines.sort_by_cached_key(|line| (line["key"].as_str().unwrap().len(), line["key"].to_string()));
        }
        let field = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
        lines.iter().map(|line| (field(line, "key"), field(line, "value"))).collect()
    };
    assert_eq!(values("text").concat(), hex("Grüße"));
    assert_eq!(values("nothing"), [""; 0]);
    assert_eq!(
        values("vector"),
        (0..500u16).map(|n| hex(bytemuck::bytes_of(&[n, n + 1, n + 2]))).collect::<Vec<_>>()
    );
    assert_eq!(values("list"), (0..500u64).rev().map(|n| hex(n.to_le_bytes())).collect::<Vec<_>>());
    let plain: Vec<_> =
        (0..500u32).map(|n| (hex(u64::from(n).to_be_bytes()), hex((n * 3).to_le_bytes()))).collect();
    assert_eq!(entries("plain", "4"), plain);
    let value = |n: u64| hex(bytemuck::cast_slice(&vec![n; n as usize % 150]));
    let any: Vec<_> = (0..500).map(|n| (hex("x".repeat(n)), value(n as u64))).collect();
    assert_eq!(entries("any", "8"), any);
    let ordered: Vec<_> = (0..500u16)
        .map(|n| (hex((i64::from(n) - 250).wrapping_add(i64::MIN).to_be_bytes()), hex(n.to_le_bytes())))
        .collect();
    assert_eq!(entries("ordered", "1"), ordered);
    let long: Vec<_> = (0..500).map(|n| (hex("x".repeat(2 * n)), value(n as u64))).collect();
    assert_eq!(entries("long", "1"), long);
}

const WRITER: &str = "HEAPFILE_TEST_WRITER";

/// Where writers are killed, beside any moment; not all are on the way of every commit.
const POINTS: [&str; 6] = [
    "commit: record durable",
    "commit: intent valid",
    "commit: half applied",
    "commit: spill written",
    "commit: applied",
    "log: a slot names its new place",
];

/// Changes tables until it is killed; tells its first commit.
fn write_on(path: &Path) {
    let store = Store::with(Arena::open(path).unwrap());
    let mut random = Random(store.arena().stats().unwrap().sequence);
    for number in 0.. {
        let mut tx = store.write().unwrap();
        let ordered = Table::open_or_create(&mut tx, "ordered").unwrap();
        let hashed = match Table::open(&tx, "hashed").unwrap() {
            Some(table) => table,
            None => Table::create(&mut tx, "hashed", Kind::Hashed).unwrap(),
        };
        for _ in 0..[3, 3, 50, 2000][random.below(4) as usize] {
            let (table, key) = (if random.below(2) == 0 { &ordered } else { &hashed }, key(&mut random));
            let len = if random.below(300) == 0 { random.below(200_000) } else { random.below(300) };
            if random.below(3) == 0 {
                table.delete(&mut tx, key.as_bytes()).unwrap();
            } else {
                table.put(&mut tx, key.as_bytes(), &vec![number as u8; len as usize]).unwrap();
            }
        }
        tx.commit().unwrap();
        if number == 0 {
            println!("begun");
        }
    }
}

#[test]
fn killed_in_the_middle_of_commits() {
    if let Some(path) = std::env::var_os(WRITER) {
        return write_on(Path::new(&path));
    }
    if !python() {
        return;
    }
    let mut random = Random(std::process::id().into());
    for durability in [Durability::Power, Durability::Process] {
        let place = Place::new();
        drop(Options::new().durability(durability).log_size(1 << 16).create(&place.path).unwrap());
        let mut unfinished = 0;
        for point in POINTS.into_iter().flat_map(|point| [point, ""]) {
            let mut writer = Command::new(std::env::current_exe().unwrap())
                .args(["killed_in_the_middle_of_commits", "--exact", "--nocapture"])
                .env(WRITER, &place.path)
                .env("HEAPFILE_FAILPOINT", format!("{point}#{}", 1 + random.below(9)))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // Until it has made a commit, or died.
            let mut from = BufReader::new(writer.stdout.take().unwrap()).lines();
            let begun = from.any(|line| line.unwrap().ends_with("begun"));
            let patience = if point.is_empty() { random.below(30_000) } else { 300_000 };
            let until = Instant::now() + Duration::from_micros(patience);
            while begun && Instant::now() < until && writer.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            writer.kill().unwrap();
            writer.wait().unwrap();
            unfinished += compare(&place.path);
        }
        assert!(unfinished > 0, "{durability:?}: no kill left anything to be done");
    }
}

/// Whoever has it open for writing, busy or not.
#[test]
fn an_arena_that_is_open_is_refused() {
    if !python() {
        return;
    }
    for locking in [Locking::Shared, Locking::File] {
        let place = Place::new();
        let arena = Options::new().locking(locking).create(&place.path).unwrap();
        let refused = reader(&place.path, &["info"]);
        assert_eq!(refused.code, 2, "{locking:?}: {refused:?}");
        assert!(refused.stderr.contains("somebody has it open"), "{refused:?}");
        drop(arena);
        read(&place.path, &["info"]);
    }
}

/// What is damaged is told in one line, or not looked at.
#[test]
fn damaged_files() {
    if !python() {
        return;
    }
    let place = Place::new();
    let mut input = command().args(["kv", "import", place.arg()]).stdin(Stdio::piped()).spawn().unwrap();
    let lines: String =
        (0..300).map(|n| format!("{{\"table\":\"t{}\",\"key\":\"{n}\",\"value\":\"v\"}}\n", n % 3)).collect();
    input.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(input.wait().unwrap().success());
    let sound = std::fs::read(&place.path).unwrap();
    let mut random = Random(7);
    let heap = u32::from_le_bytes(sound[64..68].try_into().unwrap()) as usize * 4096;
    let pages: Vec<usize> =
        (heap..sound.len()).step_by(4096).filter(|&at| sound[at..at + 4096] != [0; 4096]).collect();
    let mut refused = 0;
    for number in 0..40 {
        let mut bytes = sound.clone();
        match number {
            0..8 => bytes[[0, 8, 12, 20, 4096 + 8, 8192 + 8, heap, heap + 8][number]] ^= 0xFF,
            8..12 => bytes.truncate([0, 50, 5000, heap + 8192][number - 8]),
            _ => {
                let page = pages[random.below(pages.len() as u64) as usize];
                let at = page + 8 * random.below(30) as usize;
                bytes[at..at + 8].fill(random.below(256) as u8);
            }
        }
        std::fs::write(&place.path, bytes).unwrap();
        let run = reader(&place.path, &[["blocks", "entries", "roots", "all"][number % 4]]);
        if run.code != 0 {
            let line = run.stderr.starts_with("heapfile_reader: ") && run.stderr.lines().count() == 1;
            assert!(run.code == 2 && line, "{run:?}");
            refused += 1;
        }
    }
    assert!(refused > 15, "{refused} of 40 files were refused");
}
