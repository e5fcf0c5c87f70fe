//! One text near the start of a document becomes longer: in an arena, and by rewriting the file.
//!
//! Both sides do what makes the change safe from loss of power, and nothing else: the arena one transaction; the rewriting a
//! new file written, synced, renamed over the old one, and the directory synced, its content ready in memory.

use super::tree::{self, Node, Outline, replace_text};
use crate::Failure;
use heapfile::{Arena, Offset};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the change is made and taken back: the median of all these times counts.
const ROUNDS: usize = 10;
/// No further rounds once they took so long together.
const LONG_ENOUGH: Duration = Duration::from_millis(700);

/// Which text, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// Index of the text in [`Outline::texts`].
    pub(crate) place: usize,
    /// Where it stands in the document.
    pub(crate) range: Range<usize>,
    pub(crate) old: String,
    pub(crate) new: String,
    /// The whole document with the new text.
    pub(crate) document: String,
}

impl Replacement {
    /// The first short text of one line; if there is none the first that is not all white space; if there is none the first.
    pub(crate) fn choose(document: &str, outline: &Outline) -> Result<Self, Failure> {
        let find = |wanted: fn(&str) -> bool| {
            outline.texts.iter().position(|range| wanted(document[range.clone()].trim()))
        };
        let place = find(|text| (1..=60).contains(&text.len()) && !text.contains('\n'))
            .or_else(|| find(|text| !text.is_empty()))
            .or_else(|| find(|_| true))
            .ok_or(
                "the document has no text inside an element, which the demo could change: give another one",
            )?;
        let range = outline.texts[place].clone();
        let old = document[range.clone()].to_owned();
        let (body, tail) = old.split_at(old.trim_end().len());
        let new = format!("{body} (made longer in place){tail}");
        let document = [&document[..range.start], &new, &document[range.end..]].concat();
        Ok(Self { place, range, old, new, document })
    }
}

/// Bytes that this process ever passed to write calls, where the system tells. Stores into a mapping are not among them, and a disk writes
/// more: whole pages, and what its file system adds.
fn written_so_far() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()
}

/// What one way of making the change costs.
#[derive(Debug)]
pub(crate) struct Cost {
    /// Bytes passed to write calls, if the system tells.
    pub(crate) bytes: Option<u64>,
    /// Median time.
    pub(crate) time: Duration,
    /// Over so many runs.
    pub(crate) runs: usize,
}

/// A way of making the change: to the new state, or back to the old.
type Change<'a> = &'a mut dyn FnMut(bool) -> Result<(), Failure>;

/// What each way costs. They take turns, so that whatever else the machine does hits all of them; all end in the new state.
fn measure<const N: usize>(mut ways: [Change<'_>; N]) -> Result<[Cost; N], Failure> {
    let mut bytes = Vec::new();
    for change in &mut ways {
        // Once to warm up: files and caches are there, the first commit after a sync is done.
        change(true)?;
        change(false)?;
        let before = written_so_far();
        change(true)?;
        bytes.push(written_so_far().zip(before).map(|(after, before)| after - before));
    }
    let begun = Instant::now();
    let mut times = [const { Vec::new() }; N];
    let mut rounds = 0;
    while rounds == 0 || (rounds < ROUNDS && begun.elapsed() < LONG_ENOUGH) {
        for to_new in [false, true] {
            for (change, times) in ways.iter_mut().zip(&mut times) {
                let start = Instant::now();
                change(to_new)?;
                times.push(start.elapsed());
            }
        }
        rounds += 1;
    }
    let mut bytes = bytes.into_iter();
    Ok(times.map(|mut times| {
        times.sort_unstable();
        Cost { bytes: bytes.next().flatten(), time: times[times.len() / 2], runs: times.len() }
    }))
}

/// Makes the change in two arenas and by rewriting a file in `dir`, and leaves it made. `old` is the document before it.
pub(crate) fn compare(
    arenas: [&Arena; 2],
    dir: &Path,
    old: &str,
    replacement: &Replacement,
) -> Result<[Cost; 3], Failure> {
    let path = dir.join("document.xml");
    let [mut first, mut second] = [in_arena(arenas[0], replacement)?, in_arena(arenas[1], replacement)?];
    let mut rewriting = |to_new| Ok(rewrite(dir, &path, if to_new { &replacement.document } else { old })?);
    measure([&mut first, &mut second, &mut rewriting])
}

/// The change in an arena.
fn in_arena<'a>(
    arena: &'a Arena,
    replacement: &'a Replacement,
) -> Result<impl FnMut(bool) -> Result<(), Failure> + 'a, Failure> {
    let node: Offset<Node> = tree::texts(&arena.read()?)?[replacement.place];
    // What loading the document left to be done is not part of the change.
    arena.checkpoint()?;
    Ok(move |to_new| {
        let mut tx = arena.write()?;
        replace_text(&mut tx, node, if to_new { &replacement.new } else { &replacement.old })?;
        Ok(tx.commit()?)
    })
}

fn rewrite(dir: &Path, path: &Path, document: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(document.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}
