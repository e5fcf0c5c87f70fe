//! A set of pages of the file: one bit each.
#![forbid(unsafe_code)]

use crate::layout::{PAGE, Page};

/// Pages that have to be copied again.
#[derive(Debug, Default)]
pub(super) struct Pages {
    words: Vec<u64>,
    count: u64,
}

impl Pages {
    /// Adds the pages of a range of bytes.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        for page in start / PAGE..end.div_ceil(PAGE) {
            let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
            if word >= self.words.len() {
                self.words.resize(word + 1, 0);
            }
            self.count += u64::from(self.words[word] & bit == 0);
            self.words[word] |= bit;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    fn has(&self, page: u64) -> bool {
        self.words.get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// The first page from `from` on that is in the set, or is not.
    fn next(&self, mut from: u64, inside: bool) -> Option<u64> {
        while (from / 64) < self.words.len() as u64 {
            let same = if inside { 0 } else { u64::MAX };
            if from.is_multiple_of(64) && self.words[(from / 64) as usize] == same {
                from += 64;
            } else if self.has(from) == inside {
                return Some(from);
            } else {
                from += 1;
            }
        }
        (!inside).then_some(from)
    }

    /// Neighbouring pages together: first page and number, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Page, u32)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = self.next(at, true)?;
            at = self.next(first, false)?;
            Some((first as Page, (at - first) as u32))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_come_together() {
        let mut pages = Pages::default();
        for (start, end) in
            [(5 * PAGE + 8, 5 * PAGE + 16), (6 * PAGE - 1, 6 * PAGE + 1), (60 * PAGE, 300 * PAGE)]
        {
            pages.add(start, end);
        }
        pages.add(1000 * PAGE, 1000 * PAGE);
        pages.add(63 * PAGE, 65 * PAGE);
        assert_eq!(pages.runs().collect::<Vec<_>>(), [(5, 2), (60, 240)]);
        assert_eq!(pages.count(), 242);
        pages.add(319 * PAGE, 320 * PAGE);
        assert_eq!(pages.runs().last(), Some((319, 1)));
        assert_eq!(Pages::default().runs().count(), 0);
    }
}
