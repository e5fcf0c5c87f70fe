//! Tables that a store has looked up: good as long as the directory counts the same number of changes.
//!
//! Every call by name looks here, in every thread, so looking changes nothing: a lock would cost two locked instructions, and would move its line from core to
//! core. Each place has a version, odd while it is being written; who reads copies words, and takes them if the version is the same before and after.
//!
//! Limit: names of up to 56 bytes are remembered; longer ones are looked up each time.

#![forbid(unsafe_code)]

use super::directory::TableInfo;
use super::table::Table;
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

/// Tables that can be remembered, each in one place only; a power of two.
const PLACES: usize = 16;
const NAME_WORDS: usize = 7;

/// A name in whole words, zeros behind it.
struct Name {
    len: usize,
    words: [u64; NAME_WORDS],
}

impl Name {
    #[inline]
    fn new(name: &str) -> Option<Self> {
        let mut bytes = [[0; 8]; NAME_WORDS];
        bytes.as_flattened_mut().get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { len: name.len(), words: bytes.map(u64::from_le_bytes) })
    }

    /// The words that are not all zeros.
    #[inline]
    fn used(&self) -> &[u64] {
        &self.words[..self.len.div_ceil(8)]
    }

    #[inline]
    fn place(&self) -> usize {
        let mixed = self.used().iter().fold(self.len as u64, |sum, word| sum.rotate_left(5) ^ word);
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % PLACES
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Remembered {
    /// Odd: being written. 0: nothing is here yet.
    version: AtomicU64,
    len: AtomicU64,
    kind: AtomicU64,
    map: AtomicU64,
    directory: AtomicU64,
    changes: AtomicU64,
    name: [AtomicU64; NAME_WORDS],
}

/// The tables that were looked up.
#[derive(Debug, Default)]
pub(super) struct Known([Remembered; PLACES]);

impl Known {
    /// The table of that name, where the directory was when it was found there, and its count then.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<(Table, u64, u64)> {
        let name = Name::new(name)?;
        let place = &self.0[name.place()];
        let version = place.version.load(Acquire);
        let is_it = place.len.load(Relaxed) == name.len as u64
            && name.used().iter().zip(&place.name).all(|(word, there)| there.load(Relaxed) == *word);
        let info = TableInfo { kind: place.kind.load(Relaxed), map: place.map.load(Relaxed) };
        let (directory, changes) = (place.directory.load(Relaxed), place.changes.load(Relaxed));
        fence(Acquire);
        let is_whole = version != 0 && version.is_multiple_of(2) && place.version.load(Relaxed) == version;
        if !(is_it && is_whole) {
            return None;
        }
        Some((Table::from_info(info).ok()?, directory, changes))
    }

    /// Remembers a table in place of the one that was there. Where another thread is about to do so it is not remembered now.
    pub(super) fn set(&self, name: &str, table: Table, directory: u64, changes: u64) {
        let Some(name) = Name::new(name) else { return };
        let place = &self.0[name.place()];
        let version = place.version.load(Relaxed);
        if !version.is_multiple_of(2)
            || place.version.compare_exchange(version, version + 1, Acquire, Relaxed).is_err()
        {
            return;
        }
        // Whoever sees one of the stores below sees the odd version too.
        fence(Release);
        let info = table.info();
        for (word, value) in [
            (&place.len, name.len as u64),
            (&place.kind, info.kind),
            (&place.map, info.map),
            (&place.directory, directory),
            (&place.changes, changes),
        ] {
            word.store(value, Relaxed);
        }
        for (word, value) in place.name.iter().zip(name.words) {
            word.store(value, Relaxed);
        }
        place.version.store(version + 2, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(map: u64) -> Table {
        Table::from_info(TableInfo { kind: 1, map }).unwrap()
    }

    #[test]
    fn what_was_remembered_is_found_by_its_whole_name() {
        let known = Known::default();
        let long = "x".repeat(8 * NAME_WORDS);
        for (i, name) in ["a", "entries", "12345678", "123456789", &long].into_iter().enumerate() {
            known.set(name, table(8 * i as u64), 64, i as u64);
            assert_eq!(known.get(name), Some((table(8 * i as u64), 64, i as u64)));
        }
        assert_eq!(known.get("12345679"), None);
        assert_eq!(known.get(&long[1..]), None);
        assert_eq!(known.get(&format!("{long}x")), None);
    }

    #[test]
    fn a_table_is_never_put_together_from_two() {
        let known = Known::default();
        std::thread::scope(|threads| {
            for from in 1..3u64 {
                let known = &known;
                threads.spawn(move || {
                    for n in (from..200_000).step_by(2) {
                        known.set("t", table(8 * n), 8 * n, n);
                    }
                });
            }
            for _ in 0..200_000 {
                if let Some((found, directory, changes)) = known.get("t") {
                    assert!(found == table(8 * changes) && directory == 8 * changes);
                }
            }
        });
    }
}
