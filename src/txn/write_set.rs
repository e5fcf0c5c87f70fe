//! The write set of a transaction: shadows of the 64-byte lines that it changes.
//!
//! A write transaction changes no byte that anybody else can reach. The first store to a line copies the
//! committed line into a shadow; all later loads and stores of this transaction go to the shadow. At commit the
//! changed words of all shadows become the log record.
//!
//! Shadows lie in one vector in the order of their first use; a small open-addressing hash finds them by line
//! number. A view of several lines needs them side by side: where they are not, they are copied to the end of the
//! vector and the hash is pointed there; the old shadows are dead.
//!
//! Save points: a stamp on each shadow tells whether the innermost save point already knows its old content; if
//! not, the first store after the save point saves it in the undo list. Rolling back replays that list backwards
//! and drops the shadows made since, in reverse order, which leaves a linear-probing table as it was before.
//!
//! Invariants: each live shadow's line is in the hash, pointing to it; `shadows` and `lines` have the same
//! length; a dead shadow is in the hash only after the undo entry that revives it was replayed.

use super::page_filter::PageFilter;
use super::probing::{self, FEW};
use crate::error::{Error, Result};
use crate::layout::{LINE, PAGE};
use crate::media::Media;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Words of a line.
pub(crate) const WORDS: usize = (LINE / 8) as usize;
const LINES_PER_PAGE: u64 = PAGE / LINE;
const EMPTY: u64 = u64::MAX;
const FIRST_SLOTS: usize = 64;

/// 64 bytes, aligned so that a view keeps the alignment that its offset has in the file.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; WORDS]);

#[derive(Debug, Clone, Copy)]
struct Shadow {
    /// Line number: file offset / 64.
    line: u64,
    stamp: u32,
    /// One bit for each changed word.
    dirty: u8,
    dead: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    line: u64,
    index: u32,
}

impl Slot {
    const NONE: Self = Self { line: EMPTY, index: 0 };
}

#[derive(Debug)]
enum Undo {
    /// The shadow at `index` was as given.
    Content { index: u32, shadow: Shadow, content: Line },
    /// The hash pointed `line` to `index`.
    Moved { line: u64, index: u32 },
}

/// Where a save point stands in the write set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    shadows: usize,
    undo: usize,
}

/// How a range of the file looks to the transaction.
pub(crate) enum Seen<'a> {
    /// No line of it was changed: the committed bytes are right.
    Committed,
    /// All of it lies in shadows, side by side.
    Shadowed(&'a [u8]),
    /// Some of both.
    Mixed,
}

/// The changes of one transaction. Reused from one to the next.
#[derive(Debug)]
pub(crate) struct WriteSet {
    slots: Vec<Slot>,
    shift: u32,
    shadows: Vec<Shadow>,
    lines: Vec<Line>,
    undo: Vec<Undo>,
    save_points: u32,
    stamp: u32,
    /// Pages that have shadows: most ranges have none, and need no look for each line.
    pages: PageFilter,
}

impl Default for WriteSet {
    fn default() -> Self {
        let mut set = Self {
            slots: Vec::new(),
            shift: 0,
            shadows: Vec::new(),
            lines: Vec::new(),
            undo: Vec::new(),
            save_points: 0,
            stamp: 0,
            pages: PageFilter::default(),
        };
        set.rehash(FIRST_SLOTS);
        set
    }
}

fn truncated(media: &Media, offset: u64) -> Error {
    Error::Truncated { needed: offset.saturating_add(LINE), found: media.len() }
}

impl WriteSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.shadows.is_empty()
    }

    /// Bytes of all changed lines.
    pub(crate) fn changed_bytes(&self) -> u64 {
        self.lines.len() as u64 * LINE
    }

    /// Forgets everything. Costs a step per shadow; memory of an unusually large transaction is given back.
    pub(crate) fn clear(&mut self) {
        if self.slots.len() > 1 << 16 {
            *self = Self::default();
            return;
        }
        // Where save points were rolled back the filter may have pages that no shadow names.
        if self.slots.len() == FIRST_SLOTS && self.shadows.len() <= FEW && self.stamp == 0 {
            self.take_out();
        } else {
            self.pages.clear();
            // What comes next finds as many slots as these shadows needed.
            self.shift = probing::clear(&mut self.slots, Slot::NONE, self.shadows.len() * 2, FIRST_SLOTS);
        }
        self.shadows.clear();
        self.lines.clear();
        self.undo.clear();
        self.save_points = 0;
        self.stamp = 0;
    }

    /// Empties the slots of the shadows, which are few. All are found before the first one is emptied: what lies behind it is looked for past it.
    fn take_out(&mut self) {
        let mut taken = [0; FEW];
        for (at, shadow) in taken.iter_mut().zip(&self.shadows) {
            *at = self.probe(shadow.line);
        }
        for (at, shadow) in taken.iter().zip(&self.shadows) {
            self.slots[*at] = Slot::NONE;
            self.pages.remove(shadow.line / LINES_PER_PAGE);
        }
    }

    #[inline(always)]
    fn home(&self, line: u64) -> usize {
        probing::home(line, self.shift)
    }

    /// Index of the slot that holds `line`, or of the empty one where it belongs.
    #[inline(always)]
    fn probe(&self, line: u64) -> usize {
        let slots = &self.slots[..];
        let mask = slots.len() - 1;
        let mut at = self.home(line) & mask;
        while slots[at].line != line && slots[at].line != EMPTY {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline(always)]
    fn find(&self, line: u64) -> Option<usize> {
        let slot = self.slots[self.probe(line)];
        (slot.line == line).then_some(slot.index as usize)
    }

    #[cold]
    fn rehash(&mut self, slots: usize) {
        self.slots = vec![Slot::NONE; slots];
        self.shift = probing::shift_for(slots);
        // In order of first use, so that removal in reverse order stays right.
        for i in 0..self.shadows.len() {
            let line = self.shadows[i].line;
            let at = self.probe(line);
            if self.slots[at].line == EMPTY || !self.shadows[i].dead {
                self.slots[at] = Slot { line, index: i as u32 };
            }
        }
    }

    /// Adds a shadow with the given content; `line` may be in the hash already (then it is pointed here).
    #[inline]
    fn push(&mut self, line: u64, content: Line) -> usize {
        if (self.shadows.len() + 1) * 2 > self.slots.len() {
            self.rehash(self.slots.len() * 2);
        }
        let index = self.shadows.len();
        let at = self.probe(line);
        self.slots[at] = Slot { line, index: index as u32 };
        self.pages.add(line / LINES_PER_PAGE);
        self.shadows.push(Shadow { line, stamp: self.stamp, dirty: 0, dead: false });
        self.lines.push(content);
        index
    }

    #[inline]
    fn committed(line: u64, media: &Media) -> Result<Line> {
        let mut content = Line::zeroed();
        let offset = line * LINE;
        media
            .copy_to(offset, bytemuck::bytes_of_mut(&mut content))
            .ok_or_else(|| truncated(media, offset))?;
        Ok(content)
    }

    /// The shadow of `line`, ready to be changed.
    #[inline]
    fn shadow(&mut self, line: u64, media: &Media) -> Result<usize> {
        match self.find(line) {
            Some(index) => {
                self.save_old(index);
                Ok(index)
            }
            None => Ok(self.push(line, Self::committed(line, media)?)),
        }
    }

    #[inline]
    fn save_old(&mut self, index: usize) {
        if self.shadows[index].stamp != self.stamp {
            let (shadow, content) = (self.shadows[index], self.lines[index]);
            self.undo.push(Undo::Content { index: index as u32, shadow, content });
            self.shadows[index].stamp = self.stamp;
        }
    }

    /// The word at `offset`, a multiple of 8, if its line was changed.
    #[inline(always)]
    pub(crate) fn load(&self, offset: u64) -> Option<u64> {
        if self.shadows.is_empty() {
            return None;
        }
        let index = self.find(offset / LINE)?;
        Some(self.lines[index].0[(offset % LINE / 8) as usize])
    }

    /// Changes bytes at `offset`.
    pub(crate) fn write(&mut self, offset: u64, mut bytes: &[u8], media: &Media) -> Result<()> {
        let mut at = offset;
        while !bytes.is_empty() {
            let start = (at % LINE) as usize;
            let n = bytes.len().min(LINE as usize - start);
            let line = at / LINE;
            let index = if n == LINE as usize && self.find(line).is_none() {
                self.push(line, Line::zeroed())
            } else {
                self.shadow(line, media)?
            };
            bytemuck::bytes_of_mut(&mut self.lines[index])[start..start + n].copy_from_slice(&bytes[..n]);
            self.shadows[index].dirty |= dirty_words(start, n);
            at += n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Copies what was changed of `[offset, offset + to.len())` over `to`.
    pub(crate) fn overlay(&self, offset: u64, to: &mut [u8]) {
        self.for_shadows_in(offset, to.len() as u64, |shadow_offset, content| {
            let start = shadow_offset.max(offset);
            let end = (shadow_offset + LINE).min(offset + to.len() as u64);
            let from = &content[(start - shadow_offset) as usize..(end - shadow_offset) as usize];
            to[(start - offset) as usize..(end - offset) as usize].copy_from_slice(from);
        });
    }

    /// Brings shadows in line with bytes that were written to the file directly, into free space. They do not count as changed by that.
    #[inline]
    pub(crate) fn overwrite_shadows(&mut self, offset: u64, bytes: &[u8]) {
        if !bytes.is_empty() && !self.shadows.is_empty() {
            self.overwrite_some(offset, bytes);
        }
    }

    fn overwrite_some(&mut self, offset: u64, bytes: &[u8]) {
        let (first, last) = (offset / LINE, (offset + bytes.len() as u64 - 1) / LINE);
        for page in first / LINES_PER_PAGE..=last / LINES_PER_PAGE {
            if !self.pages.may_have(page) {
                continue;
            }
            let start = first.max(page * LINES_PER_PAGE);
            for line in start..=last.min(page * LINES_PER_PAGE + LINES_PER_PAGE - 1) {
                if let Some(index) = self.find(line) {
                    self.overwrite_line(index, offset, bytes);
                }
            }
        }
    }

    fn overwrite_line(&mut self, index: usize, offset: u64, bytes: &[u8]) {
        let line_start = self.shadows[index].line * LINE;
        let start = line_start.max(offset);
        let end = (line_start + LINE).min(offset + bytes.len() as u64);
        let to = (start - line_start) as usize..(end - line_start) as usize;
        let from = (start - offset) as usize..(end - offset) as usize;
        bytemuck::bytes_of_mut(&mut self.lines[index])[to].copy_from_slice(&bytes[from]);
    }

    /// Calls `f` with offset and content of every live shadow that touches the range.
    fn for_shadows_in(&self, offset: u64, len: u64, mut f: impl FnMut(u64, &[u8])) {
        if len == 0 || self.shadows.is_empty() {
            return;
        }
        let (first, last) = (offset / LINE, (offset + len - 1) / LINE);
        if last - first < self.shadows.len() as u64 {
            for line in first..=last {
                if let Some(i) = self.find(line) {
                    f(line * LINE, bytemuck::bytes_of(&self.lines[i]));
                }
            }
        } else {
            for (shadow, content) in self.shadows.iter().zip(&self.lines) {
                if !shadow.dead && (first..=last).contains(&shadow.line) {
                    f(shadow.line * LINE, bytemuck::bytes_of(content));
                }
            }
        }
    }

    /// Whether any line of `[offset, offset + len)` may have a shadow. Answered by pages, without a look for each line: of a range on many pages, yes.
    #[inline]
    pub(crate) fn may_touch(&self, offset: u64, len: u64) -> bool {
        if self.shadows.is_empty() || len == 0 {
            return false;
        }
        let (first, last) = (offset / PAGE, offset.saturating_add(len - 1) / PAGE);
        last - first > 1 || self.pages.may_have(first) || self.pages.may_have(last)
    }

    /// How `[offset, offset + len)` looks.
    #[inline]
    pub(crate) fn seen(&self, offset: u64, len: u64) -> Seen<'_> {
        if !self.may_touch(offset, len) {
            return Seen::Committed;
        }
        let (first, last) = (offset / LINE, (offset + len - 1) / LINE);
        let count = last - first + 1;
        if let Some(index) = self.find(first) {
            if self.is_side_by_side(index, first, count) {
                return Seen::Shadowed(self.bytes(index, offset, len));
            }
            return Seen::Mixed;
        }
        let mut any = false;
        if count > 1 {
            self.for_shadows_in(offset, len, |_, _| any = true);
        }
        if any { Seen::Mixed } else { Seen::Committed }
    }

    fn is_side_by_side(&self, index: usize, first: u64, count: u64) -> bool {
        (0..count).all(|i| {
            self.shadows
                .get(index + i as usize)
                .is_some_and(|shadow| shadow.line == first + i && !shadow.dead)
        })
    }

    fn bytes(&self, index: usize, offset: u64, len: u64) -> &[u8] {
        let count = ((offset % LINE + len).div_ceil(LINE)) as usize;
        let all: &[u8] = bytemuck::cast_slice(&self.lines[index..index + count]);
        &all[(offset % LINE) as usize..][..len as usize]
    }

    /// Shadows of `[offset, offset + len)`, side by side, all of it counted as changed.
    pub(crate) fn view_mut(&mut self, offset: u64, len: u64, media: &Media) -> Result<&mut [u8]> {
        if len == 0 {
            // Of lines, so that an empty view is aligned as well.
            return Ok(bytemuck::cast_slice_mut::<Line, u8>(&mut []));
        }
        let first = offset / LINE;
        let count = (offset % LINE + len).div_ceil(LINE);
        let index = match self.find(first) {
            Some(index) if self.is_side_by_side(index, first, count) => {
                for i in 0..count as usize {
                    self.save_old(index + i);
                }
                index
            }
            _ => self.gather(first, count, media)?,
        };
        let (mut at, mut left) = ((offset % LINE) as usize, len as usize);
        for shadow in &mut self.shadows[index..index + count as usize] {
            let n = left.min(LINE as usize - at);
            shadow.dirty |= dirty_words(at, n);
            left -= n;
            at = 0;
        }
        let all: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines[index..index + count as usize]);
        Ok(&mut all[(offset % LINE) as usize..][..len as usize])
    }

    /// Copies the lines to the end of the vector, side by side.
    fn gather(&mut self, first: u64, count: u64, media: &Media) -> Result<usize> {
        let start = self.shadows.len();
        // What can fail comes first: all of the range must be inside the file.
        let offset = first * LINE;
        if offset.checked_add(count * LINE).is_none_or(|end| end > media.len()) {
            return Err(truncated(media, offset));
        }
        for line in first..first + count {
            match self.find(line) {
                None => {
                    self.push(line, Self::committed(line, media)?);
                }
                Some(old) => {
                    if self.save_points > 0 {
                        self.undo.push(Undo::Moved { line, index: old as u32 });
                    }
                    let new = self.push(line, self.lines[old]);
                    self.shadows[new].dirty = self.shadows[old].dirty;
                    self.shadows[old].dead = true;
                }
            }
        }
        Ok(start)
    }

    /// Whether a save point may still be rolled back to.
    #[inline]
    pub(crate) fn has_save_points(&self) -> bool {
        self.save_points > 0
    }

    /// Begins a save point.
    pub(crate) fn mark(&mut self) -> Mark {
        self.save_points += 1;
        self.stamp += 1;
        Mark { shadows: self.shadows.len(), undo: self.undo.len() }
    }

    /// Puts everything back as it was at `mark`, which stays valid.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        while self.undo.len() > mark.undo {
            match self.undo.pop() {
                Some(Undo::Content { index, shadow, content }) => {
                    let dead = self.shadows[index as usize].dead;
                    self.shadows[index as usize] = Shadow { dead, ..shadow };
                    self.lines[index as usize] = content;
                }
                Some(Undo::Moved { line, index }) => {
                    let at = self.probe(line);
                    self.slots[at] = Slot { line, index };
                    self.shadows[index as usize].dead = false;
                }
                None => break,
            }
        }
        while self.shadows.len() > mark.shadows {
            let index = self.shadows.len() - 1;
            let line = self.shadows[index].line;
            let at = self.probe(line);
            if self.slots[at].line == line && self.slots[at].index as usize == index {
                self.slots[at].line = EMPTY;
            }
            self.shadows.pop();
            self.lines.pop();
        }
        self.stamp += 1;
    }

    /// Ends a save point, keeping what was done since.
    pub(crate) fn release(&mut self) {
        self.save_points -= 1;
        if self.save_points == 0 {
            self.undo.clear();
        }
    }

    /// File offset and words of each changed run, in the order in which lines were first changed. Runs do not cross lines.
    #[inline]
    pub(crate) fn changes(&self) -> impl Iterator<Item = (u64, &[u64])> {
        self.shadows
            .iter()
            .zip(&self.lines)
            .filter(|(shadow, _)| !shadow.dead)
            .flat_map(|(shadow, line)| runs(shadow, line))
    }

    /// The same in ascending order of offsets.
    pub(crate) fn sorted_changes(&self) -> impl Iterator<Item = (u64, &[u64])> {
        // Lines that were changed one behind the other, as those of most blocks are, need one place in the order.
        let mut order: Vec<(u64, Range<usize>)> = Vec::new();
        for (i, shadow) in self.shadows.iter().enumerate().filter(|(_, shadow)| !shadow.dead) {
            match order.last_mut() {
                Some((line, last)) if last.end == i && *line + last.len() as u64 == shadow.line => {
                    last.end += 1;
                }
                _ => order.push((shadow.line, i..i + 1)),
            }
        }
        order.sort_unstable_by_key(|(line, _)| *line);
        let shadows = order.into_iter().flat_map(|(_, shadows)| shadows);
        shadows.flat_map(|i| runs(&self.shadows[i], &self.lines[i]))
    }
}

/// The changed runs of one line.
#[inline]
fn runs<'a>(shadow: &Shadow, line: &'a Line) -> impl Iterator<Item = (u64, &'a [u64])> + use<'a> {
    let offset = shadow.line * LINE;
    let mut dirty = u32::from(shadow.dirty);
    std::iter::from_fn(move || {
        if dirty == 0 {
            return None;
        }
        let start = dirty.trailing_zeros();
        let n = (dirty >> start).trailing_ones();
        dirty &= !(((1u32 << n) - 1) << start);
        Some((offset + u64::from(start) * 8, &line.0[start as usize..(start + n) as usize]))
    })
}

/// Bits of the words that `[start, start + n)` of a line touches; `n` may be 0.
#[inline]
fn dirty_words(start: usize, n: usize) -> u8 {
    if n == 0 {
        return 0;
    }
    let (first, last) = (start / 8, (start + n - 1) / 8);
    ((0xFFu32 << first) & (0xFFu32 >> (7 - last))) as u8
}

#[cfg(all(test, feature = "testing"))]
mod tests;
