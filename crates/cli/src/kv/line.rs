//! Entries as lines of JSON: `{"table":"main","key":"a","value":"b"}`. What is not UTF-8 goes as base64, into `key64` and `value64`.

use crate::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::io::Write;

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// `None`: the table that the command names.
    pub(super) table: Option<String>,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

pub(super) fn write(out: &mut impl Write, table: &str, key: &[u8], value: &[u8]) -> Result<(), Failure> {
    write!(out, "{{\"table\":{},", Value::from(table))?;
    field(out, "key", key)?;
    out.write_all(b",")?;
    field(out, "value", value)?;
    Ok(out.write_all(b"}\n")?)
}

fn field(out: &mut impl Write, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            write!(out, "\"{name}\":")?;
            serde_json::to_writer(out, text)?;
        }
        Err(_) => write!(out, "\"{name}64\":\"{}\"", STANDARD.encode(bytes))?,
    }
    Ok(())
}

/// The entry of a line, or what is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<Line, String> {
    let object: Map<String, Value> = serde_json::from_slice(line.trim_ascii())
        .map_err(|e| format!("not an object of JSON: {}", told(&e)))?;
    let table = match object.get("table") {
        None => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err("\"table\" is no text".to_owned()),
    };
    Ok(Line { table, key: bytes(&object, "key")?, value: bytes(&object, "value")? })
}

/// What serde says, without its count of lines: it has seen one.
fn told(e: &serde_json::Error) -> String {
    let said = e.to_string();
    match said.split_once(" at line ") {
        Some((what, _)) if e.column() > 0 => format!("{what} at column {}", e.column()),
        Some((what, _)) => what.to_owned(),
        None => said,
    }
}

fn bytes(object: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let in_base64 = format!("{name}64");
    match (object.get(name), object.get(&in_base64)) {
        (Some(Value::String(text)), None) => Ok(text.clone().into_bytes()),
        (None, Some(Value::String(text))) => {
            STANDARD.decode(text).map_err(|e| format!("\"{in_base64}\": {e}"))
        }
        (None, None) => Err(format!("neither \"{name}\" nor \"{in_base64}\"")),
        (Some(_), Some(_)) => Err(format!("both \"{name}\" and \"{in_base64}\"")),
        _ => Err(format!("\"{name}\" is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_whatever_the_bytes() {
        for (key, value) in
            [(&b"a"[..], &b"b\n\"\\"[..]), (b"", b""), (b"\xFF\0", b"\xC3"), ("ä".as_bytes(), &[0; 9])]
        {
            let mut text = Vec::new();
            write(&mut text, "t", key, value).unwrap();
            assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let line = Line { table: Some("t".to_owned()), key: key.to_vec(), value: value.to_vec() };
            assert_eq!(parse(&text), Ok(line));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for line in [
            "",
            "7",
            "{}",
            r#"{"key":"a"}"#,
            r#"{"key":1,"value":""}"#,
            r#"{"key":"","key64":"","value":""}"#,
            r#"{"key64":"?","value":""}"#,
            r#"{"table":1,"key":"","value":""}"#,
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
