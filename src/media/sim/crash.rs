//! What the disk may hold if the power fails at one point of a [`History`].
//!
//! The model, chosen to allow at least what Linux file systems and disks do:
//! - The disk writes whole 512-byte sectors. Every write to a sector makes a new *version* of it, and a sector
//!   holds one version, never a mix of two: any from the last one known to be durable up to the newest, each
//!   sector for itself.
//! - A sync that returned without error makes durable what was in the page cache when it began. A durable write
//!   that returned makes durable the sectors it wrote, and as much of the file's length as reading them needs.
//! - A punched range is one more write, of zeros.
//! - A sync or flush that failed makes nothing durable, and its pages count as clean: a later sync writes
//!   them only if they were changed since.
//! - The file has any length it had since the last durable one, or one between two of these; bytes past it
//!   are lost. The history of the length is kept in order: bytes written after a cut are there only with a
//!   length that came after the cut, and no bytes from before the cut are there then.
//! - Runtime pages hold their newest version, older ones, zeros or garbage.
//!
//! Invariant: `durable` holds each sector's oldest possible version, `dirty` the younger ones, oldest first.

use super::history::{Entry, History};
use crate::layout::PAGE;
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) const SECTOR: usize = 512;
const PAGE_SECTORS: usize = PAGE as usize / SECTOR;

/// What happens to a range of bytes.
#[derive(Debug, Clone, Copy)]
enum Change<'b> {
    Bytes(&'b [u8]),
    /// Gone with the end of the file.
    Cut,
    /// Given back inside the file.
    Punch,
}

/// One version of a sector.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) place: usize,
    is_cut: bool,
    bytes: [u8; SECTOR],
}

/// A page with sectors of more than one possible version.
#[derive(Debug, Default)]
struct Dirty {
    sectors: [Vec<Version>; PAGE_SECTORS],
    /// Places of the writes that no completed sync covers.
    writes: Vec<usize>,
    /// Writes up to this place were given up by a failed sync.
    clean_until: usize,
}

/// A length of the file, since a place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    pub(super) place: usize,
    pub(super) len: u64,
}

/// The disk at one crash point of a [`History`].
#[derive(Debug)]
pub struct Crash<'h> {
    pub(super) history: &'h History,
    pub(super) point: usize,
    /// Entries of the history that have been taken in.
    pub(super) taken: usize,
    pub(super) durable: Vec<u8>,
    dirty: BTreeMap<u64, Dirty>,
    /// The durable length and all since.
    pub(super) lengths: Vec<Length>,
}

impl History {
    /// The disk as it may be if the power fails at this point.
    ///
    /// # Panics
    /// If there is no such point.
    pub fn at(&self, point: usize) -> Crash<'_> {
        let mut crash = Crash {
            history: self,
            point: 0,
            taken: 0,
            durable: self.base.to_vec(),
            dirty: BTreeMap::new(),
            lengths: vec![Length { place: 0, len: self.base.len() as u64 }],
        };
        crash.advance_to(point);
        crash
    }
}

impl Crash<'_> {
    /// Goes on to a later point: cheaper than [`History::at`].
    ///
    /// # Panics
    /// If the point is an earlier one, or none of the history.
    pub fn advance_to(&mut self, point: usize) {
        assert!((self.point..self.history.points()).contains(&point), "no later point {point}");
        self.point = point;
        for at in self.taken..self.history.entries_before(point) {
            self.taken = at + 1;
            self.take(at + 1, &self.history.log[at]);
        }
    }

    fn take(&mut self, place: usize, entry: &Entry) {
        match entry {
            Entry::Write { offset, bytes } | Entry::Seen { offset, bytes } => {
                let bytes = self.history.data(bytes);
                self.put(place, *offset..*offset + bytes.len() as u64, Change::Bytes(bytes));
            }
            Entry::Cut { start, end } => self.put(place, *start..*end, Change::Cut),
            Entry::Punch { start, end } => self.put(place, *start..*end, Change::Punch),
            Entry::Length { len } => self.lengths.push(Length { place, len: *len }),
            Entry::WriteDone { place, ok } => {
                if let Entry::Write { offset, bytes } = &self.history.log[*place - 1] {
                    self.write_done(*place, *offset..*offset + bytes.len() as u64, *ok);
                }
            }
            Entry::SyncBegun => {}
            Entry::SyncDone { place, ok } => self.sync_done(*place, *ok),
        }
    }

    /// Makes a new version of each sector in `range`.
    fn put(&mut self, place: usize, range: Range<u64>, change: Change<'_>) {
        let covered = page_up(range.end);
        if covered > self.durable.len() as u64 {
            self.durable.resize(covered as usize, 0);
        }
        for (page, index, part) in pieces(&range) {
            let dirty = self.dirty.entry(page).or_default();
            if dirty.writes.last() != Some(&place) {
                dirty.writes.push(place);
            }
            let start = page as usize * PAGE as usize + index * SECTOR;
            let versions = &mut dirty.sectors[index];
            let mut now = match versions.last() {
                Some(newest) => newest.bytes,
                None => sector_of(&self.durable[start..start + SECTOR]),
            };
            let before = now;
            let target = &mut now[part.start as usize - start..part.end as usize - start];
            match change {
                Change::Bytes(bytes) => target.copy_from_slice(
                    &bytes[(part.start - range.start) as usize..(part.end - range.start) as usize],
                ),
                Change::Cut | Change::Punch => target.fill(0),
            }
            // The same bytes again are no version of their own; a cut still divides older from younger.
            let is_cut = matches!(change, Change::Cut);
            if is_cut || now != before {
                versions.push(Version { place, is_cut, bytes: now });
            }
        }
    }

    fn write_done(&mut self, place: usize, range: Range<u64>, ok: bool) {
        for (page, index, _) in pieces(&range) {
            let Some(dirty) = self.dirty.get_mut(&page) else { continue };
            if ok {
                dirty.flush_sector(index, place, page_of(&mut self.durable, page));
            } else {
                dirty.clean_until = dirty.clean_until.max(place);
            }
        }
        if ok {
            self.length_needed(range.end, place);
        }
    }

    /// Makes as much of the growth up to `place` durable as reading the bytes below `end` needs.
    fn length_needed(&mut self, end: u64, place: usize) {
        let known = self.lengths.partition_point(|length| length.place <= place);
        let short = self.lengths[..known].iter().rposition(|length| length.len < end);
        let Some(short) = short else { return };
        self.lengths.drain(..short);
        // Space is reserved by pages; a write past the end lengthens the file by bytes.
        match self.lengths.get(1).map(|next| next.len) {
            Some(next) if page_up(end) < next => self.lengths[0].len = page_up(end),
            _ => drop(self.lengths.remove(0)),
        }
    }

    fn sync_done(&mut self, place: usize, ok: bool) {
        if ok {
            let known = self.lengths.partition_point(|length| length.place <= place);
            self.lengths.drain(..known.saturating_sub(1));
        }
        let durable = &mut self.durable;
        self.dirty.retain(|&page, dirty| {
            if !ok {
                dirty.clean_until = dirty.clean_until.max(place);
            } else if dirty.writes.iter().any(|&w| w > dirty.clean_until && w <= place) {
                for index in 0..PAGE_SECTORS {
                    dirty.flush_sector(index, place, page_of(durable, page));
                }
                dirty.writes.retain(|&w| w > place);
            }
            !dirty.writes.is_empty()
        });
    }

    /// Shows all sectors of more than one version below this length: those of the runtime pages, or the others.
    pub(super) fn each_sector(&self, length: Length, in_runtime: bool, mut show: impl FnMut(Sector<'_>)) {
        let runtime = self.history.runtime();
        for (&page, dirty) in self.dirty.range(..length.len.div_ceil(PAGE)) {
            if runtime.contains(&page) != in_runtime {
                continue;
            }
            for (index, versions) in dirty.sectors.iter().enumerate() {
                if !versions.is_empty() {
                    show(Sector::new(page, index, versions, length.place));
                }
            }
        }
    }

    /// Numbers of the pages, runtime pages left aside, of which more than one version may be there.
    pub fn dirty_pages(&self) -> impl Iterator<Item = u64> + '_ {
        let runtime = self.history.runtime();
        let open = |dirty: &Dirty| dirty.sectors.iter().any(|versions| !versions.is_empty());
        self.dirty
            .iter()
            .filter(move |(page, dirty)| !runtime.contains(page) && open(dirty))
            .map(|(&page, _)| page)
    }
}

impl Dirty {
    /// Makes the newest version up to `place` of a sector the durable one.
    fn flush_sector(&mut self, index: usize, place: usize, page: &mut [u8]) {
        let versions = &mut self.sectors[index];
        let count = versions.partition_point(|version| version.place <= place);
        if let Some(version) = versions[..count].last() {
            page[index * SECTOR..(index + 1) * SECTOR].copy_from_slice(&version.bytes);
        }
        versions.drain(..count);
    }
}

/// A sector with a choice: versions `low..=high`, where 0 is the durable one and `n` is `versions[n - 1]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sector<'c> {
    pub(super) page: u64,
    index: usize,
    pub(super) versions: &'c [Version],
    pub(super) low: usize,
    pub(super) high: usize,
}

impl<'c> Sector<'c> {
    /// The choice under a length of the file that was reached at `place`: nothing from before the last cut
    /// up to there, nothing from after the next.
    fn new(page: u64, index: usize, versions: &'c [Version], place: usize) -> Self {
        let cuts = || versions.iter().enumerate().filter(|(_, version)| version.is_cut);
        let low = cuts().take_while(|(_, cut)| cut.place <= place).last().map_or(0, |(i, _)| i + 1);
        let high = cuts().find(|(_, cut)| cut.place > place).map_or(versions.len(), |(i, _)| i);
        Self { page, index, versions, low, high }
    }

    pub(super) fn choices(&self) -> u64 {
        (self.high - self.low + 1) as u64
    }

    pub(super) fn copy_version(&self, number: usize, image: &mut [u8]) {
        if number > 0 {
            let start = self.page as usize * PAGE as usize + self.index * SECTOR;
            let end = (start + SECTOR).min(image.len());
            if start < end {
                image[start..end].copy_from_slice(&self.versions[number - 1].bytes[..end - start]);
            }
        }
    }
}

/// The sectors that a range of bytes touches: page, index in the page, bytes of the range in the sector.
fn pieces(range: &Range<u64>) -> impl Iterator<Item = (u64, usize, Range<u64>)> + use<> {
    let Range { start, end } = *range;
    let sector = SECTOR as u64;
    let sectors = if start < end { start / sector..end.div_ceil(sector) } else { 0..0 };
    sectors.map(move |n| {
        let part = start.max(n * sector)..end.min((n + 1) * sector);
        (n * sector / PAGE, (n % PAGE_SECTORS as u64) as usize, part)
    })
}

fn sector_of(bytes: &[u8]) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector.copy_from_slice(bytes);
    sector
}

fn page_of(disk: &mut [u8], page: u64) -> &mut [u8] {
    &mut disk[(page * PAGE) as usize..][..PAGE as usize]
}

/// Rounds up to whole pages.
fn page_up(len: u64) -> u64 {
    len.div_ceil(PAGE) * PAGE
}
