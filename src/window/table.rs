//! The windows that a pool lists: found by file and first byte, in order of their last request.
//!
//! Invariants: `by_key` and the list linked through `entries` hold the same regions; the list runs from the
//! most recently requested (`newest`) to the least (`oldest`). Every call is O(1) but for what walks over pinned
//! windows or over all.
#![forbid(unsafe_code)]

use super::region::Region;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

/// File and first byte of a region. The file is a number that no other one gets, so whoever has its inode later does not get its windows. Two regions of one file never begin at the same byte.
pub(super) type Key = (u64, u64);

const NONE: usize = usize::MAX;

pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) region: Arc<Region>,
    pub(super) last_pinned_by: &'static Location<'static>,
    newer: usize,
    older: usize,
}

pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    by_key: HashMap<Key, usize>,
    newest: usize,
    oldest: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), by_key: HashMap::new(), newest: NONE, oldest: NONE }
    }

    fn at(&mut self, index: usize) -> &mut Entry {
        self.entries[index].as_mut().expect("linked entries are there")
    }

    fn unlink(&mut self, index: usize) {
        let (newer, older) = (self.at(index).newer, self.at(index).older);
        match newer {
            NONE => self.newest = older,
            newer => self.at(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.at(older).newer = newer,
        }
    }

    fn link_newest(&mut self, index: usize) {
        let older = std::mem::replace(&mut self.newest, index);
        (self.at(index).newer, self.at(index).older) = (NONE, older);
        match older {
            NONE => self.oldest = index,
            older => self.at(older).newer = index,
        }
    }

    /// The region of that key if it covers the bytes; it becomes the most recently requested.
    pub(super) fn request(
        &mut self,
        key: Key,
        offset: u64,
        len: usize,
        by: &'static Location<'static>,
    ) -> Option<Arc<Region>> {
        let index = *self.by_key.get(&key)?;
        if !self.at(index).region.covers(offset, len) {
            return None;
        }
        if self.newest != index {
            self.unlink(index);
            self.link_newest(index);
        }
        let entry = self.at(index);
        entry.last_pinned_by = by;
        Some(Arc::clone(&entry.region))
    }

    /// Lists a region as the most recently requested. Returns the one that had its key, which is listed no longer.
    #[must_use]
    pub(super) fn insert(
        &mut self,
        key: Key,
        region: Arc<Region>,
        by: &'static Location<'static>,
    ) -> Option<Entry> {
        let before = self.by_key.get(&key).copied().map(|index| self.remove(index));
        region.set_listed(true);
        let entry = Some(Entry { key, region, last_pinned_by: by, newer: NONE, older: NONE });
        let index = if let Some(index) = self.free.pop() {
            self.entries[index] = entry;
            index
        } else {
            self.entries.push(entry);
            self.entries.len() - 1
        };
        self.by_key.insert(key, index);
        self.link_newest(index);
        before
    }

    fn remove(&mut self, index: usize) -> Entry {
        self.unlink(index);
        let entry = self.entries[index].take().expect("linked entries are there");
        self.by_key.remove(&entry.key);
        self.free.push(index);
        entry.region.set_listed(false);
        entry
    }

    /// Takes out the unpinned region whose last request is longest ago. The caller holds the pool's lock, so
    /// nobody pins it meanwhile.
    pub(super) fn evict(&mut self) -> Option<Region> {
        let mut index = self.oldest;
        while index != NONE {
            let entry = self.at(index);
            if entry.region.clients() == 0 {
                let region = self.remove(index).region;
                return Some(Arc::into_inner(region).expect("the table held the only reference"));
            }
            index = entry.newer;
        }
        None
    }

    /// Takes out those that `which` names; pinned ones only if `pinned` is set. Pinned ones live on until
    /// their guards go.
    pub(super) fn take(&mut self, pinned: bool, which: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let chosen = |entry: &Entry| which(entry) && (pinned || entry.region.clients() == 0);
        let indices: Vec<_> =
            (0..self.entries.len()).filter(|&i| self.entries[i].as_ref().is_some_and(chosen)).collect();
        indices.into_iter().map(|index| self.remove(index)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }
}
