//! `heapfile hexdump`.

use std::path::Path;
use std::process::{Command, Output};

fn hexdump(file: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heapfile")).arg("hexdump").arg(file).args(args).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

#[test]
fn rows_are_those_of_hexdump_c() {
    let content: Vec<u8> = (b'A'..=b'Z').chain(0..9).collect();
    assert_eq!(
        lines(&hexdump(file(&content).path(), &[])),
        [
            "00000000  41 42 43 44 45 46 47 48  49 4a 4b 4c 4d 4e 4f 50  |ABCDEFGHIJKLMNOP|",
            "00000010  51 52 53 54 55 56 57 58  59 5a 00 01 02 03 04 05  |QRSTUVWXYZ......|",
            "00000020  06 07 08                                          |...|",
            "00000023",
        ]
    );
    assert!(lines(&hexdump(file(b"").path(), &[])).is_empty());
}

#[test]
fn ranges_are_written_in_several_ways() {
    let content: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let file = file(&content);
    let expect = lines(&hexdump(file.path(), &["16..32"]));
    assert_eq!(expect.len(), 2);
    assert!(expect[0].starts_with("00000010  10 11 12"));
    for same in ["0x10..0x20", "16+16", "0x10+16"] {
        assert_eq!(lines(&hexdump(file.path(), &[same])), expect, "{same}");
    }
    assert_eq!(lines(&hexdump(file.path(), &["..16"])).len(), 2);
    assert_eq!(lines(&hexdump(file.path(), &["9990.."])).last().unwrap(), "00002710");
    assert_eq!(lines(&hexdump(file.path(), &["9K..1T"])).last().unwrap(), "00002710");
    for bad in ["", "5", "x..y", "20..10", "20000..", "1+", "99999999999T.."] {
        assert_eq!(hexdump(file.path(), &[bad]).status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn rows_that_repeat_are_squeezed_unless_all_are_wanted() {
    let mut content = vec![7; 16 * 10];
    content.push(8);
    let file = file(&content);
    let squeezed = lines(&hexdump(file.path(), &[]));
    assert_eq!(squeezed.len(), 4);
    assert_eq!(squeezed[1], "*");
    assert!(squeezed[2].starts_with("000000a0  08 "));
    assert_eq!(lines(&hexdump(file.path(), &["-v"])).len(), 12);
}

#[test]
fn holes_of_a_hundred_gigabytes_are_passed_over() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let len = 100u64 << 30;
    file.as_file().set_len(len).unwrap();
    use std::os::unix::fs::FileExt as _;
    file.as_file().write_all_at(b"data in the midst", 50 << 30).unwrap();
    let shown = lines(&hexdump(file.path(), &[]));
    let zeros = "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|";
    assert_eq!(shown[0], format!("{:016x}  {zeros}", 0));
    assert_eq!(shown[1], "*");
    assert!(shown[2].starts_with("0000000c80000000  64 61 74 61"));
    assert!(shown[3].starts_with("0000000c80000010  74 00"));
    assert!(shown[4].starts_with("0000000c80000020  00 00"));
    assert_eq!(shown[5], "*");
    assert_eq!(shown[6], format!("{len:016x}"));
    assert_eq!(shown.len(), 7);
}

#[test]
fn a_directory_is_refused() {
    let output = hexdump(Path::new("/"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("directory"));
}
