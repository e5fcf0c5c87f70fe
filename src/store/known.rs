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

/// Tables that can be remembered; a power of two.
const PLACES: usize = 64;
/// Places, one behind the other, in which a table can be.
const WAYS: usize = 4;
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

    /// The first of the places in which it can be.
    #[inline]
    fn first_place(&self) -> usize {
        let mixed = self.used().iter().fold(self.len as u64, |sum, word| sum.rotate_left(5) ^ word);
        // Every bit of a name has its part in the highest bits of the product.
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - PLACES.ilog2())) as usize
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

impl Remembered {
    /// Whether the name is this one, as far as can be told without a look at the version.
    #[inline]
    fn is(&self, name: &Name) -> bool {
        self.len.load(Relaxed) == name.len as u64
            && name.used().iter().zip(&self.name).all(|(word, there)| there.load(Relaxed) == *word)
    }

    /// What is remembered here, if that is of this name.
    #[inline]
    fn get(&self, name: &Name) -> Option<(Table, u64, u64)> {
        let version = self.version.load(Acquire);
        let is_it = self.is(name);
        let info = TableInfo { kind: self.kind.load(Relaxed), map: self.map.load(Relaxed) };
        let (directory, changes) = (self.directory.load(Relaxed), self.changes.load(Relaxed));
        fence(Acquire);
        let is_whole = version != 0 && version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        if !(is_it && is_whole) {
            return None;
        }
        Some((Table::from_info(info).ok()?, directory, changes))
    }

    /// Remembers a table here. Where another thread is about to do so it is not remembered now.
    fn set(&self, name: &Name, info: &TableInfo, directory: u64, changes: u64) {
        let version = self.version.load(Relaxed);
        if !version.is_multiple_of(2)
            || self.version.compare_exchange(version, version + 1, Acquire, Relaxed).is_err()
        {
            return;
        }
        // Whoever sees one of the stores below sees the odd version too.
        fence(Release);
        for (word, value) in [
            (&self.len, name.len as u64),
            (&self.kind, info.kind),
            (&self.map, info.map),
            (&self.directory, directory),
            (&self.changes, changes),
        ] {
            word.store(value, Relaxed);
        }
        for (word, value) in self.name.iter().zip(name.words) {
            word.store(value, Relaxed);
        }
        self.version.store(version + 2, Release);
    }
}

/// The tables that were looked up.
#[derive(Debug)]
pub(super) struct Known([Remembered; PLACES]);

impl Default for Known {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Remembered::default()))
    }
}

impl Known {
    #[inline]
    fn places(&self, name: &Name) -> impl Iterator<Item = &Remembered> + Clone {
        let first = name.first_place();
        (first..first + WAYS).map(|place| &self.0[place % PLACES])
    }

    /// The table of that name, where the directory was when it was found there, and its count then.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<(Table, u64, u64)> {
        let name = Name::new(name)?;
        self.places(&name).find_map(|place| place.get(&name))
    }

    /// Remembers a table: where it was remembered before, else where nothing is, else in place of another one.
    pub(super) fn set(&self, name: &str, table: Table, directory: u64, changes: u64) {
        let Some(name) = Name::new(name) else { return };
        let mut places = self.places(&name);
        let place = places.clone().find(|place| place.is(&name));
        let place = place.or_else(|| places.clone().find(|place| place.version.load(Relaxed) == 0));
        if let Some(place) = place.or_else(|| places.next()) {
            place.set(&name, &table.info(), directory, changes);
        }
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
        for n in 0..24 {
            known.set(&format!("table {n}"), table(8 * n), 64, n);
        }
        let found = (0..24).filter(|n| known.get(&format!("table {n}")) == Some((table(8 * n), 64, *n)));
        assert!(found.count() > 20, "few names drive each other out");
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
