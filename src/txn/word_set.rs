//! The words that a transaction changed one by one: the heap's metadata.
//!
//! Each is kept as the log has it, a head and the word, in the order of the first change: so the set is the piece of the record
//! that it becomes. An open-addressing hash of indices finds a word by its head; it is kept so sparse that one look
//! tells that a word was not changed, which is what most looks find.
//!
//! Words and shadows (see `write_set`) never stand for the same bytes: metadata is never content, and a run that was one and becomes the other
//! within a transaction has its words [forgotten](WordSet::forget) in between. (Shadows of a run that becomes metadata may stay:
//! words are applied after them.)
//!
//! Save points: an entry that was there at the innermost one is not overwritten; a newer one takes its place in the hash, and counts because
//! it is applied later. Rolling back drops entries in reverse order, which leaves a linear-probing table as it was before.
//!
//! Invariants: each entry that is neither forgotten nor replaced is where the hash leads to; a forgotten one has no count in its head, so
//! that no head equals it, and goes on holding its place in the hash.

use super::probing;
use crate::log::record::{head_of_word, offset_of_write};
use std::cell::Cell;

const FIRST_SLOTS: usize = 256;
/// Slots for an entry, at least.
const SPARSE: usize = 4;
/// A set with more slots than this gives its memory back.
const MOST_KEPT: usize = 1 << 17;
/// The part of a head that says how many words follow.
const COUNT: u64 = 0xFFFF;

/// Where a save point stands in the set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    entries: usize,
    /// `floor` of the save point around it.
    outer: usize,
}

/// The empty slot for an entry with a head; of no word where that is 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Vacant {
    head: u64,
    slot: usize,
}

/// The changed words of one transaction. Reused from one to the next.
#[derive(Debug)]
pub(crate) struct WordSet {
    /// Head and word.
    entries: Vec<[u64; 2]>,
    /// One more than the index of an entry; 0: empty.
    slots: Vec<u32>,
    shift: u32,
    /// Index of an entry that counts, or one that is not there: where to look first for the word that was used last.
    last: Cell<usize>,
    /// Where an entry belongs for the word that was looked for last and not found.
    vacant: Cell<Vacant>,
    /// Entries from here on were made since the innermost save point.
    floor: usize,
    /// Indices of entries that took the place of an older one, and of that.
    replaced: Vec<(u32, u32)>,
}

impl Default for WordSet {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            slots: vec![0; FIRST_SLOTS],
            shift: probing::shift_for(FIRST_SLOTS),
            last: Cell::new(0),
            vacant: Cell::default(),
            floor: 0,
            replaced: Vec::new(),
        }
    }
}

impl WordSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the record that they become, at most.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.entries.len() as u64 * 16
    }

    /// Forgets everything. What comes next finds as many slots as these entries needed.
    pub(crate) fn clear(&mut self) {
        if self.slots.len() > MOST_KEPT {
            *self = Self::default();
            return;
        }
        if self.slots.len() == FIRST_SLOTS && self.entries.len() <= probing::FEW {
            self.truncate(0);
        } else {
            self.shift = probing::clear(&mut self.slots, 0, self.entries.len() * SPARSE, FIRST_SLOTS);
        }
        self.entries.clear();
        self.vacant.take();
        self.replaced.clear();
        self.floor = 0;
    }

    /// The slot that leads to the entry with this head, or the empty one where it belongs, and the entry's index.
    #[inline(always)]
    fn probe(&self, head: u64) -> (usize, Option<usize>) {
        let slots = &self.slots[..];
        let mask = slots.len() - 1;
        let mut at = self.home(head) & mask;
        while let Some(index) = (slots[at] as usize).checked_sub(1) {
            if self.entries[index][0] == head {
                return (at, Some(index));
            }
            at = (at + 1) & mask;
        }
        (at, None)
    }

    #[inline(always)]
    fn home(&self, head: u64) -> usize {
        probing::home(head, self.shift)
    }

    /// The word at `offset`, if it was changed.
    #[inline(always)]
    pub(crate) fn load(&self, offset: u64) -> Option<u64> {
        Some(self.entries[self.probe(head_of_word(offset)).1?][1])
    }

    /// The same, where it is likely to be the word that was asked for in this way, or stored, last; else where it belongs.
    #[inline(always)]
    pub(crate) fn load_again(&self, offset: u64) -> Result<u64, Vacant> {
        let head = head_of_word(offset);
        if let Some(entry) = self.entries.get(self.last.get())
            && entry[0] == head
        {
            return Ok(entry[1]);
        }
        let (slot, index) = self.probe(head);
        let index = index.ok_or(Vacant { head, slot })?;
        self.last.set(index);
        Ok(self.entries[index][1])
    }

    /// The word at `offset`, a multiple of 8, to be changed, if it is the one that was used last.
    #[inline(always)]
    pub(crate) fn last_at(&mut self, offset: u64) -> Option<&mut u64> {
        let last = self.last.get();
        if last < self.floor {
            return None;
        }
        let [head, word] = self.entries.get_mut(last)?;
        (*head == head_of_word(offset)).then_some(word)
    }

    /// The word that belongs there is inside the file, and may be changed next.
    #[inline(always)]
    pub(crate) fn keep_vacant(&self, vacant: Vacant) {
        self.vacant.set(vacant);
    }

    /// Changes the word at `offset` if it is the one that was used last, or of which a place is kept; else nothing.
    #[inline(always)]
    pub(crate) fn store_again(&mut self, offset: u64, word: u64) -> bool {
        if let Some(last) = self.last_at(offset) {
            *last = word;
            return true;
        }
        let head = head_of_word(offset);
        let vacant = self.vacant.get();
        if vacant.head == head {
            self.add(vacant.slot, None, [head, word]);
            return true;
        }
        false
    }

    /// Changes the word at `offset`, a multiple of 8 inside the file.
    #[inline(always)]
    pub(crate) fn store(&mut self, offset: u64, word: u64) {
        debug_assert!(offset.is_multiple_of(8));
        let head = head_of_word(offset);
        match self.probe(head) {
            (_, Some(index)) if index >= self.floor => self.entries[index][1] = word,
            (slot, old) => self.add(slot, old, [head, word]),
        }
    }

    #[inline(always)]
    fn add(&mut self, slot: usize, old: Option<usize>, entry: [u64; 2]) {
        let new = self.entries.len() as u32;
        self.last.set(self.entries.len());
        self.vacant.take();
        self.entries.push(entry);
        self.slots[slot] = new + 1;
        if let Some(old) = old {
            self.replaced.push((new, old as u32));
        }
        if self.entries.len() * SPARSE > self.slots.len() {
            self.rehash();
        }
    }

    /// Twice as many slots, filled in the order of the entries, so that dropping them in reverse order stays right.
    #[cold]
    fn rehash(&mut self) {
        let slots = self.slots.len() * 2;
        self.slots = vec![0; slots];
        self.shift = probing::shift_for(slots);
        let mask = slots - 1;
        let mut replaced = self.replaced.iter().peekable();
        for (index, entry) in self.entries.iter().enumerate() {
            // The slot of the entry whose place this one took, else an empty one.
            let before = replaced.next_if(|(new, _)| *new as usize == index).map_or(0, |(_, old)| old + 1);
            let mut at = self.home(entry[0] | 1) & mask;
            while self.slots[at] != before {
                at = (at + 1) & mask;
            }
            self.slots[at] = index as u32 + 1;
        }
    }

    /// Forgets the words of `[offset, offset + len)`, which were changed since the innermost save point: they are in free space again.
    pub(crate) fn forget(&mut self, offset: u64, len: u64) {
        let bytes = offset..offset + len;
        if len / 8 < self.entries.len() as u64 {
            for word in bytes.step_by(8) {
                if let (_, Some(index)) = self.probe(head_of_word(word)) {
                    self.forget_entry(index);
                }
            }
        } else {
            for index in self.floor..self.entries.len() {
                if bytes.contains(&offset_of_write(self.entries[index][0])) {
                    self.forget_entry(index);
                }
            }
        }
    }

    fn forget_entry(&mut self, index: usize) {
        debug_assert!(index >= self.floor, "a run that was taken since a save point had words before it");
        self.entries[index][0] &= !COUNT;
    }

    /// Begins a save point.
    pub(crate) fn mark(&mut self) -> Mark {
        let outer = std::mem::replace(&mut self.floor, self.entries.len());
        Mark { entries: self.entries.len(), outer }
    }

    /// Puts everything back as it was at `mark`, which stays valid.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        self.truncate(mark.entries);
        self.floor = mark.entries;
    }

    /// Ends a save point, keeping what was done since.
    pub(crate) fn release(&mut self, mark: Mark) {
        self.floor = mark.outer;
        // What only this save point could bring back counts no more.
        for at in (0..self.replaced.len()).rev() {
            let (new, old) = self.replaced[at];
            if (new as usize) < mark.entries {
                break;
            }
            if old as usize >= self.floor {
                self.forget_entry(old as usize);
            }
        }
    }

    /// Drops the entries from `count` on.
    fn truncate(&mut self, count: usize) {
        let mask = self.slots.len() - 1;
        self.vacant.take();
        while self.entries.len() > count
            && let Some([head, _]) = self.entries.pop()
        {
            let index = self.entries.len() as u32;
            let mut at = self.home(head | 1) & mask;
            while self.slots[at] != index + 1 {
                at = (at + 1) & mask;
            }
            let before = self.replaced.pop_if(|(new, _)| *new == index);
            self.slots[at] = before.map_or(0, |(_, old)| old + 1);
        }
    }

    /// Runs of entries, in the order in which they have to be applied: each is a piece of the record.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &[[u64; 2]]> {
        self.entries.split(|entry| entry[0] & COUNT == 0)
    }

    /// Offset and content of each word in ascending order of offsets; of several of one offset the last counts.
    pub(crate) fn sorted(&self) -> Vec<(u64, u64)> {
        let mut words: Vec<_> =
            self.runs().flatten().map(|&[head, word]| (offset_of_write(head), word)).collect();
        words.sort_by_key(|&(offset, _)| offset);
        words
    }
}

#[cfg(test)]
mod tests;
