//! All that was done to a simulated disk, in order, and the recorder that collects it.
//!
//! Invariants: entries are in the order in which the page cache changed; a *step* is a run of entries that
//! belong to one call; words changed past all calls are noticed when the next step begins, and stand before it.

use crate::layout::{PAGE, RUNTIME_PAGE, RUNTIME_PAGES};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Unit in which changes of the runtime pages are noticed, in bytes.
const LINE: usize = 64;

/// One thing that happened. Its *place* is its position in the list plus one; place 0 is the start.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// Bytes written by a call or stored through a mapping.
    Write { offset: u64, bytes: Range<usize> },
    /// Bytes that words changed through the mapping were found to have. Not a step.
    Seen { offset: u64, bytes: Range<usize> },
    /// The file was cut: these bytes are gone, and zeros if the file grows again.
    Cut { start: u64, end: u64 },
    /// This range was given back, and reads as zeros.
    Punch { start: u64, end: u64 },
    /// The file got this length.
    Length { len: u64 },
    /// The durable write at this place has returned.
    WriteDone { place: usize, ok: bool },
    /// A sync has begun.
    SyncBegun,
    /// The sync that began at this place has returned.
    SyncDone { place: usize, ok: bool },
}

/// All that was done to a [`SimDisk`](super::SimDisk) since its recording began.
///
/// Crash points lie between steps: point `n` is after step `n - 1` and before step `n`.
#[derive(Debug, Clone)]
pub struct History {
    pub(super) base: Arc<Vec<u8>>,
    pub(super) log: Vec<Entry>,
    bytes: Vec<u8>,
    /// Where in `log` each step begins.
    steps: Vec<usize>,
    runtime: Range<u64>,
}

impl History {
    /// How many crash points there are: one more than steps.
    pub fn points(&self) -> usize {
        self.steps.len() + 1
    }

    /// What step `step` did, for reports.
    pub fn describe(&self, step: usize) -> String {
        let Some(&start) = self.steps.get(step) else { return "the end".to_owned() };
        let end = self.entries_before(step + 1);
        let parts = self.log[start..end].iter().filter_map(|entry| {
            Some(match entry {
                Entry::Write { offset, bytes } => format!("write of {} at {offset:#x}", bytes.len()),
                Entry::Seen { .. } => return None,
                Entry::Cut { start, .. } => format!("cut at {start:#x}"),
                Entry::Punch { start, .. } => format!("punch at {start:#x}"),
                Entry::Length { len } => format!("length {len:#x}"),
                Entry::WriteDone { ok, .. } => format!("durable write done: {ok}"),
                Entry::SyncBegun => "sync begun".to_owned(),
                Entry::SyncDone { ok, .. } => format!("sync done: {ok}"),
            })
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Numbers of the pages that words change in.
    pub(super) fn runtime(&self) -> Range<u64> {
        self.runtime.clone()
    }

    /// The entries that have happened at a crash point. The words seen by the next step belong to it.
    pub(super) fn entries_before(&self, point: usize) -> usize {
        let seen = |start: usize| {
            let words = self.log[start..].iter().take_while(|e| matches!(e, Entry::Seen { .. }));
            start + words.count()
        };
        self.steps.get(point).map_or(self.log.len(), |&start| seen(start))
    }

    pub(super) fn data(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Appends an entry and returns its place.
    fn push(&mut self, entry: Entry) -> usize {
        self.log.push(entry);
        self.log.len()
    }
}

/// Collects a [`History`].
#[derive(Debug)]
pub(super) struct Recorder {
    history: History,
    /// The runtime pages as last looked at.
    known: Vec<u8>,
    /// Buffer to read the runtime pages into.
    found: Vec<u8>,
    on: bool,
}

impl Recorder {
    pub(super) fn new() -> Self {
        let runtime = RUNTIME_PAGE as u64..RUNTIME_PAGE as u64 + RUNTIME_PAGES as u64;
        let history =
            History { base: Arc::default(), log: Vec::new(), bytes: Vec::new(), steps: Vec::new(), runtime };
        let mut recorder = Self { history, known: Vec::new(), found: Vec::new(), on: true };
        recorder.restart(&[]);
        recorder
    }

    /// Forgets everything: the file is `image` now, all of it durable.
    pub(super) fn restart(&mut self, image: &[u8]) {
        // A disk that does not record keeps no second copy.
        let image = if self.on { image } else { &[] };
        match Arc::get_mut(&mut self.history.base) {
            Some(base) => {
                base.clear();
                base.extend_from_slice(image);
            }
            None => self.history.base = Arc::new(image.to_vec()),
        }
        self.history.log.clear();
        self.history.bytes.clear();
        self.history.steps.clear();
        self.known.clear();
        let runtime = self.runtime_bytes();
        let end = (runtime.end as usize).min(image.len());
        self.known.extend_from_slice(image.get(runtime.start as usize..end).unwrap_or_default());
        self.known.resize((runtime.end - runtime.start) as usize, 0);
    }

    pub(super) fn set_on(&mut self, on: bool) {
        self.on = on;
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    pub(super) fn set_runtime(&mut self, pages: Range<u64>) {
        self.history.runtime = pages;
    }

    pub(super) fn steps(&self) -> usize {
        self.history.steps.len()
    }

    pub(super) fn history(&mut self, cache: &File) -> History {
        self.look(cache);
        self.history.clone()
    }

    fn runtime_bytes(&self) -> Range<u64> {
        self.history.runtime.start * PAGE..self.history.runtime.end * PAGE
    }

    /// Begins a step.
    pub(super) fn step(&mut self, cache: &File) {
        if self.on {
            self.history.steps.push(self.history.log.len());
            self.look(cache);
        }
    }

    /// Takes down what changed in the runtime pages since the last look: past all calls, or once more what a
    /// call wrote there, which makes no new version.
    fn look(&mut self, cache: &File) {
        if !self.on {
            return;
        }
        let runtime = self.runtime_bytes();
        self.found.resize(self.known.len(), 0);
        let mut filled = 0;
        // A file that does not reach to the end of these pages is read as far as it goes.
        while let Ok(n @ 1..) = cache.read_at(&mut self.found[filled..], runtime.start + filled as u64) {
            filled += n;
        }
        let mut at = 0;
        while at < filled {
            let start = at;
            let line = |at: usize| at..(at + LINE).min(filled);
            while at < filled && self.found[line(at)] != self.known[line(at)] {
                at = line(at).end;
            }
            if at > start {
                let bytes = self.history.keep(&self.found[start..at]);
                self.history.push(Entry::Seen { offset: runtime.start + start as u64, bytes });
                self.known[start..at].copy_from_slice(&self.found[start..at]);
            } else {
                at = line(at).end;
            }
        }
    }

    fn push(&mut self, entry: Entry) -> usize {
        if self.on { self.history.push(entry) } else { 0 }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> usize {
        if !self.on {
            return 0;
        }
        let bytes = self.history.keep(bytes);
        self.push(Entry::Write { offset, bytes })
    }

    pub(super) fn cut(&mut self, start: u64, end: u64) {
        self.push(Entry::Cut { start, end });
    }

    pub(super) fn punch(&mut self, start: u64, end: u64) {
        self.push(Entry::Punch { start, end });
    }

    pub(super) fn length(&mut self, len: u64) {
        self.push(Entry::Length { len });
    }

    pub(super) fn write_done(&mut self, place: usize, ok: bool) {
        self.push(Entry::WriteDone { place, ok });
    }

    pub(super) fn sync_begun(&mut self) -> usize {
        self.push(Entry::SyncBegun)
    }

    pub(super) fn sync_done(&mut self, place: usize, ok: bool) {
        self.push(Entry::SyncDone { place, ok });
    }
}
