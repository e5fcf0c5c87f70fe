//! `heapfile find`.

use std::path::Path;
use std::process::{Command, Output};

fn find(file: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heapfile")).arg("find").arg(file).args(args).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn text(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

#[test]
fn matching_lines_are_printed_once() {
    let file = text(b"one fish\ntwo fish fish\nred\nblue fish");
    let output = find(file.path(), &["fish"]);
    assert_eq!(lines(&output), ["one fish", "two fish fish", "blue fish"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn exit_codes_are_those_of_grep() {
    let file = text(b"content");
    let nothing = find(file.path(), &["absent"]);
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(1), 0));
    let quiet = find(file.path(), &["-q", "tent"]);
    assert_eq!((quiet.status.code(), quiet.stdout.len()), (Some(0), 0));
    let missing = find(Path::new("/nonexistent/file"), &["x"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/file"));
    for bad in [&["--hex", "xyz"][..], &["--hex", "abc"], &[""], &["--count", "--offset", "x"]] {
        assert_eq!(find(file.path(), bad).status.code(), Some(2), "{bad:?}");
    }
    assert_eq!(find(text(b"").path(), &["x"]).status.code(), Some(1));
    assert_eq!(find(text(b"").path(), &[""]).status.code(), Some(2));
}

#[test]
fn exit_codes_are_those_of_the_search_though_nobody_reads() {
    let file = text(b"content");
    for (args, code) in [(&["--count", "absent"][..], 1), (&["--count", "tent"], 0), (&["tent"], 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_heapfile"));
        let output = command.arg("find").arg(file.path()).args(args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(code), &b""[..]), "{args:?}");
    }
}

#[test]
fn offsets_and_counts() {
    let file = text(b"abcabcabc");
    assert_eq!(lines(&find(file.path(), &["--offset", "bc"])), ["1", "4", "7"]);
    assert_eq!(lines(&find(file.path(), &["--count", "bc"])), ["3"]);
    assert_eq!(lines(&find(file.path(), &["--count", "-m", "2", "bc"])), ["2"]);
    let none = find(file.path(), &["--count", "x"]);
    assert_eq!((lines(&none), none.status.code()), (vec!["0".to_owned()], Some(1)));
}

#[test]
fn bytes_in_hexadecimal() {
    let file = text(&[0, 0xde, 0xad, 0xbe, 0xef, 0, 0xde, 0xad]);
    for pattern in ["dead", "DE AD", "0xdead", "de:ad"] {
        assert_eq!(lines(&find(file.path(), &["--hex", "--offset", pattern])), ["1", "6"], "{pattern}");
    }
}

#[test]
fn context_in_bytes_is_escaped() {
    let file = text(b"abc\x00needle\xffxyz");
    assert_eq!(lines(&find(file.path(), &["--bytes", "2", "needle"])), ["c\\x00needle\\xffx"]);
    assert_eq!(lines(&find(text("schön\x07 \\ 'x'\t".as_bytes()).path(), &["x"])), ["schön\\x07 \\ 'x'\t"]);
    assert_eq!(lines(&find(file.path(), &["-b", "--bytes", "100", "needle"])), ["4:abc\\x00needle\\xffxyz"]);
}

#[test]
fn context_in_bytes_that_overlaps_or_touches_is_shown_once() {
    let file = text(b"0 x 4 x 8 0 2 x 6 8");
    let shown = |around: &str| lines(&find(file.path(), &["-b", "--bytes", around, "x"]));
    assert_eq!(shown("1"), ["2: x ", "6: x ", "14: x "]);
    assert_eq!(shown("2"), ["2:0 x 4 x 8", "14:2 x 6"]);
    assert_eq!(shown("18446744073709551615"), ["2:0 x 4 x 8 0 2 x 6 8"]);
}

/// The output of a search that may have 64 MiB of memory.
fn find_in_little_memory(content: &[u8], args: &[&str]) -> Vec<u8> {
    let file = text(content);
    let output = Command::new("sh")
        .args(["-c", "ulimit -d 65536; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_heapfile"), "find"])
        .arg(file.path())
        .args(args)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// All around a match is written in pieces, which cut no character.
#[test]
fn context_of_any_length_takes_little_memory() {
    let content = "äx\u{1F600}".repeat(16 << 20);
    let args = ["--bytes", "18446744073709551615", "-m", "9", "x"];
    let shown = find_in_little_memory(content.as_bytes(), &args);
    assert!(shown.strip_suffix(b"\n") == Some(content.as_bytes()));
    let content = [&b"\n".repeat(4 << 20)[..], b"x\n\n"].concat();
    assert!(find_in_little_memory(&content, &["-C", "4294967295", "x"]) == content);
}

#[test]
fn nothing_is_lost_where_long_lines_are_cut() {
    let file = text(format!("a{}a{}", "x".repeat(4096), "y".repeat(10)).as_bytes());
    let shown = lines(&find(file.path(), &["-b", "--lines", "0", "a"]));
    assert_eq!(shown, [format!("0:a{}", "x".repeat(4096)), format!("4097:a{}", "y".repeat(10))]);
    let shown = lines(&find(file.path(), &["y"]));
    assert_eq!(shown, [format!("{}a{}", "x".repeat(4095), "y".repeat(10))]);
}

#[test]
fn a_match_that_ends_its_line_shows_no_other() {
    let file = text(b"a\r\nb\n\n\nc\n");
    assert_eq!(lines(&find(file.path(), &["--hex", "0d 0a"])), ["a\\r"]);
    assert_eq!(lines(&find(file.path(), &["-b", "--lines", "0", "--hex", "0a 0a"])), ["4:b\\n"]);
}

#[test]
fn context_in_lines_overlaps_once_and_is_parted() {
    let file = text(b"1\n2\n3 x\n4\n5 x\n6\n7\n8\n9\n10 x\n");
    let output = find(file.path(), &["--lines", "1", "x"]);
    assert_eq!(lines(&output), ["2", "3 x", "4", "5 x", "6", "--", "9", "10 x"]);
    let output = find(file.path(), &["--offset", "--lines", "1", "10 x"]);
    assert_eq!(lines(&output), ["20:9", "22:10 x"]);
    // Behind a match as far as asked for, though a line on the way matches; a group that touches the next is not parted from it.
    let file = text(b"1 x\n2 x\n3\n4\n5\n6\n7 x\n8\n9\n10\n11\n12");
    let output = find(file.path(), &["-C", "2", "x"]);
    assert_eq!(lines(&output), ["1 x", "2 x", "3", "4", "5", "6", "7 x", "8", "9"]);
    let output = find(file.path(), &["-C", "2", "-m", "2", "x"]);
    assert_eq!(lines(&output), ["1 x", "2 x", "3", "4"]);
    let output = find(file.path(), &["-C", "1", "x"]);
    assert_eq!(lines(&output), ["1 x", "2 x", "3", "--", "6", "7 x", "8"]);
}

#[test]
fn a_match_over_lines_that_begins_in_one_that_was_shown_is_shown_to_its_end() {
    let file = text(b"a1\nb a1\nb\nc\n");
    for context in [&[][..], &["-C", "0"]] {
        let output = find(file.path(), &[&["1\nb"][..], context].concat());
        assert_eq!(lines(&output), ["a1\\nb a1", "b"]);
    }
}

#[test]
fn a_line_without_end_is_shown_around_the_match() {
    let mut content = vec![b'.'; 1 << 20];
    content[500_000..500_006].copy_from_slice(b"needle");
    let shown = lines(&find(text(&content).path(), &["needle"]));
    assert_eq!(shown.len(), 1);
    assert!(shown[0].contains("needle") && shown[0].len() < 10_000);
}

#[test]
fn a_huge_sparse_file_is_searched_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let len = 100u64 << 30;
    file.as_file().set_len(len).unwrap();
    use std::os::unix::fs::FileExt as _;
    file.as_file().write_all_at(b"needle", len - 6).unwrap();
    let output = find(file.path(), &["--offset", "needle"]);
    assert_eq!(lines(&output), [(len - 6).to_string()]);
}

/// A hole of up to 1 PiB, with `content` at its end, on a file system that allows it; `None` where none does. A file of tmpfs may have almost 8 EiB, one of ext4 16 TiB.
fn vast(content: &[u8]) -> Option<(tempfile::NamedTempFile, u64)> {
    use std::os::unix::fs::FileExt as _;
    let file = tempfile::NamedTempFile::new_in("/dev/shm").ok()?;
    let len = 1 << 50;
    file.as_file().set_len(len).ok()?;
    file.as_file().write_all_at(content, len - content.len() as u64).ok()?;
    Some((file, len))
}

/// What a search prints that may take ten seconds; without a step over each hole at once, a vast file takes minutes.
fn find_soon(file: &Path, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("timeout");
    command.args(["10", env!("CARGO_BIN_EXE_heapfile"), "find"]).arg(file).args(args);
    let output = command.output().unwrap();
    assert_ne!(output.status.code(), Some(124), "it took too long");
    lines(&output)
}

#[test]
fn a_vast_hole_is_passed_at_once() {
    let Some((file, len)) = vast(b"x\nneedle\n") else { return };
    assert_eq!(find_soon(file.path(), &["--count", "absent"]), ["0"]);
    assert_eq!(find_soon(file.path(), &["--offset", "needle"]), [(len - 7).to_string()]);
    assert_eq!(find_soon(file.path(), &["needle"]), ["needle"]);
}

#[test]
fn a_match_that_begins_in_a_vast_hole_is_found() {
    let Some((file, len)) = vast(&[7; 4096]) else { return };
    let args = ["--offset", "--hex", "00 00 00 07 07", "--max-count", "1"];
    assert_eq!(find_soon(file.path(), &args), [(len - 4099).to_string()]);
}

#[test]
fn a_match_that_ends_in_a_vast_hole_is_found() {
    use std::os::unix::fs::FileExt as _;
    let Some((file, len)) = vast(b"") else { return };
    file.as_file().write_all_at(&[7; 4096], len / 2).unwrap();
    let args = ["--offset", "--hex", "07 00 00"];
    assert_eq!(find_soon(file.path(), &args), [(len / 2 + 4095).to_string()]);
}

#[test]
fn matches_across_the_steps_of_the_search_are_found_once() {
    let step = 64 << 20;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(2 * step + 10).unwrap();
    use std::os::unix::fs::FileExt as _;
    file.as_file().write_all_at(b"aaaa", step - 1).unwrap();
    file.as_file().write_all_at(b"aa", 2 * step - 2).unwrap();
    let output = find(file.path(), &["--offset", "aa"]);
    let expect = [step - 1, step + 1, 2 * step - 2].map(|at| at.to_string());
    assert_eq!(lines(&output), expect);
}
