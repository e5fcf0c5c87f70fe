//! What the demo shows: to people as it goes along, to programs as one JSON object at the end.

use super::crash::Kill;
use super::replacement::{Cost, Replacement};
use super::tree::Outline;
use crate::info::durability_name;
use crate::output::{self, Style, row};
use crate::units::{count, duration, size};
use crate::{Failure, output::json as write_json, unless_unread};
use heapfile::{Durability, Stats};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Collects and shows.
#[derive(Debug)]
pub(crate) struct Report {
    as_json: bool,
    style: Style,
    collected: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(as_json: bool) -> Self {
        Self { as_json, style: Style::of_stdout(), collected: Map::new() }
    }

    /// Writes for people; nothing if JSON is wanted. What holds is found out though nobody reads on.
    fn show(&self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Failure> {
        if self.as_json {
            return Ok(());
        }
        let mut out = output::buffered();
        let told = write(&mut out).and_then(|()| out.flush());
        unless_unread(told.map_err(Failure::from))
    }

    fn yes(&self, text: &str) -> String {
        format!("{} {text}", self.style.good("✓"))
    }

    pub(crate) fn loaded(
        &mut self,
        name: &str,
        document: &str,
        outline: &Outline,
        stats: &Stats,
        blocks: u64,
        time: Duration,
    ) -> Result<(), Failure> {
        let bytes = document.len() as u64;
        let texts = outline.texts.len() as u64;
        self.collected.insert(
            "document".to_owned(),
            json!({
                "name": name, "bytes": bytes, "elements": outline.elements, "attributes": outline.attributes,
                "texts": texts, "other_parts": outline.others, "blocks": blocks, "arena_bytes": stats.file_bytes,
                "load_seconds": time.as_secs_f64(), "identical": true,
            }),
        );
        self.show(|mut out| {
            writeln!(out, "{}", self.style.title("A document becomes a tree of blocks in a file"))?;
            row(&mut out, "document", &format!("{name}, {} bytes", count(bytes)))?;
            let parts =
                [(outline.elements, "elements"), (outline.attributes, "attributes"), (texts, "texts")];
            let parts: Vec<String> = parts.iter().map(|(n, what)| format!("{} {what}", count(*n))).collect();
            row(&mut out, "tree", &parts.join(", "))?;
            let arena = format!(
                "{} blocks in {}, loaded in {}",
                count(blocks),
                size(stats.file_bytes),
                duration(time)
            );
            row(&mut out, "arena", &arena)?;
            row(&mut out, "written back", &self.yes("identical, byte for byte"))
        })
    }

    pub(crate) fn replaced(
        &mut self,
        replacement: &Replacement,
        [power, process, rewriting]: &[Cost; 3],
        in_memory: bool,
    ) -> Result<(), Failure> {
        let of = |cost: &Cost| {
            json!({
                "bytes_passed_to_write_calls": cost.bytes, "median_seconds": cost.time.as_secs_f64(), "runs": cost.runs,
            })
        };
        self.collected.insert(
            "edit".to_owned(),
            json!({
                "at_byte": replacement.range.start, "old": replacement.old, "new": replacement.new,
                "blocks_freed": 1, "blocks_allocated": 1, "offsets_stored": 1,
                "arena_power": of(power), "arena_process": of(process), "rewriting": of(rewriting),
                "in_memory": in_memory, "identical": true,
            }),
        );
        self.show(|mut out| {
            writeln!(
                out,
                "\n{}",
                self.style.title("A text near its start becomes longer, in one transaction")
            )?;
            let at = format!("at byte {}: ", count(replacement.range.start as u64));
            row(&mut out, "text", &format!("{at}{:?}", shortened(replacement.old.trim())))?;
            row(
                &mut out,
                "",
                &format!("{}-> {:?}", " ".repeat(at.len() - 3), shortened(replacement.new.trim())),
            )?;
            row(&mut out, "blocks", "1 freed, 1 allocated, its offset stored in 1 other")?;
            writeln!(out)?;
            let head = format!("{:<20}{:>16}{:>12}", "", "bytes written", "time");
            writeln!(out, "  {}", self.style.faint(&head))?;
            let line = |out: &mut dyn Write, name: &str, cost: &Cost, how: &str| {
                let (bytes, time) = (cost.bytes.map_or("?".to_owned(), count), duration(cost.time));
                writeln!(out, "  {name:<20}{bytes:>16}{time:>12}   {}", self.style.faint(how))
            };
            line(&mut out, "arena, power-safe", power, "one flush of the disk")?;
            line(&mut out, "arena, kill-safe", process, "stores into the mapping, no system call")?;
            line(&mut out, "rewriting the file", rewriting, "write, fsync, rename, fsync")?;
            let runs = power.runs;
            let note = format!(
                "bytes: passed to write calls (a disk writes whole pages); time: median of {runs} runs"
            );
            writeln!(out, "  {}", self.style.faint(&note))?;
            if in_memory {
                let note =
                    "this directory is in memory: there is no disk to wait for; --keep DIR names another one";
                writeln!(out, "  {}", self.style.faint(note))?;
            }
            writeln!(out)?;
            let factor = rewriting.time.as_secs_f64() / power.time.as_secs_f64();
            let fewer = power.bytes.zip(rewriting.bytes).filter(|(a, _)| *a > 0).map(|(a, b)| b / a);
            let fewer = fewer.map_or(String::new(), |n| format!("1/{} of the bytes, ", count(n)));
            let faster = if factor < 10.0 { format!("{factor:.1}") } else { format!("{factor:.0}") };
            row(&mut out, "power-safe", &format!("{fewer}{faster} times as fast as rewriting"))?;
            row(&mut out, "written back", &self.yes("identical to the file with the longer text"))
        })
    }

    pub(crate) fn kills_begin(&mut self, seed: u64) -> Result<(), Failure> {
        self.collected.insert("seed".to_owned(), json!(seed));
        self.collected.insert("kills".to_owned(), json!([]));
        self.show(|out| {
            writeln!(
                out,
                "\n{}",
                self.style.title("A process that edits the document is killed (SIGKILL), again and again")
            )?;
            let head = format!(
                "{:<10} {:>12}   {:<13} {:>10}   after that",
                "arena", "told edits", "one in flight", "reopened"
            );
            writeln!(out, "  {}", self.style.faint(&head))
        })
    }

    pub(crate) fn killed(&mut self, kill: &Kill) -> Result<(), Failure> {
        if let Some(Value::Array(kills)) = self.collected.get_mut("kills") {
            kills.push(json!({
                "durability": durability_name(kill.durability), "acknowledged": kill.acknowledged,
                "in_flight_kept": kill.in_flight_kept, "reopen_seconds": kill.reopened_in.as_secs_f64(),
                "blocks": kill.blocks, "document_bytes": kill.document_bytes, "sound": true, "identical": true,
            }));
        }
        self.show(|out| {
            let name = if kill.durability == Durability::Power { "power-safe" } else { "kill-safe" };
            let (told, reopened) = (count(kill.acknowledged), duration(kill.reopened_in));
            let in_flight = if kill.in_flight_kept { "there, whole" } else { "not there" };
            let found = self.yes(&format!(
                "{} blocks sound, {} bytes identical",
                count(kill.blocks),
                count(kill.document_bytes)
            ));
            writeln!(out, "  {name:<10} {told:>12}   {in_flight:<13} {reopened:>10}   {found}")
        })
    }

    /// All held.
    pub(crate) fn held(mut self, time: Duration, kept: Option<&Path>, arena: &str) -> Result<(), Failure> {
        self.collected.insert("seconds".to_owned(), json!(time.as_secs_f64()));
        self.collected.insert("directory".to_owned(), json!(kept.map(Path::to_string_lossy)));
        self.show(|out| {
            writeln!(out, "\n{} in {}.", self.style.good("All of that held"), duration(time))?;
            let Some(kept) = kept else {
                return writeln!(
                    out,
                    "{}",
                    self.style.faint("With --keep DIR the arenas stay, for heapfile info, check and dump.")
                );
            };
            let path = kept.join(arena);
            writeln!(
                out,
                "Kept: heapfile info {0}\n      heapfile check {0}\n      heapfile dump {0} --root document",
                path.display()
            )
        })?;
        self.end(None)
    }

    /// Something did not hold.
    pub(crate) fn fault(self, fault: &str, kept: &Path) -> Result<(), Failure> {
        self.show(|out| {
            writeln!(out, "\n{}: {fault}", self.style.bad("This did not hold"))?;
            writeln!(out, "The files are left in {}: please report it with them.", kept.display())
        })?;
        self.end(Some(fault))
    }

    fn end(mut self, fault: Option<&str>) -> Result<(), Failure> {
        if self.as_json {
            self.collected.insert("held".to_owned(), json!(fault.is_none()));
            self.collected.insert("fault".to_owned(), json!(fault));
            unless_unread(write_json(&Value::Object(self.collected)))?;
        }
        Ok(())
    }
}

/// A text that fits a line.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let half = MOST / 2 - 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(text.chars().count() - half).collect();
    format!("{start} … {end}")
}
