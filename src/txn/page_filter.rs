//! Which pages of the heap a transaction may have changed: an answer of one load, and "no" for most of those that it has not.
//!
//! A byte for each of [`PLACES`] places; a page's is the one that its number leads to. The byte of a page that was added is the number of the
//! transaction, counted to 255, so that to begin anew is to count on, and only after 255 transactions the bytes are cleared.
//!
//! Invariant: a page that was added since the last `clear`, and not removed, is found. Of pages that were not, one in `PLACES / added` is found too.

#![forbid(unsafe_code)]

/// As many pages as several thousand scattered changes have, ten times over.
const PLACES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct PageFilter {
    places: Box<[u8; PLACES]>,
    /// What a place holds whose page was added. Never 0.
    number: u8,
}

impl Default for PageFilter {
    fn default() -> Self {
        let zeros = vec![0; PLACES].into_boxed_slice();
        Self { places: zeros.try_into().expect("as many places as the type has"), number: 1 }
    }
}

impl PageFilter {
    #[inline(always)]
    pub(super) fn add(&mut self, page: u64) {
        self.places[page as usize % PLACES] = self.number;
    }

    #[inline(always)]
    pub(super) fn may_have(&self, page: u64) -> bool {
        self.places[page as usize % PLACES] == self.number
    }

    /// Forgets a page, and all others that its place is for.
    #[inline(always)]
    pub(super) fn remove(&mut self, page: u64) {
        self.places[page as usize % PLACES] = 0;
    }

    /// Forgets all pages.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.number = self.number.wrapping_add(1);
        if self.number == 0 {
            self.places.fill(0);
            self.number = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_until_they_are_forgotten() {
        let mut filter = PageFilter::default();
        for round in 0..600 {
            let page = round % 7;
            assert!((0..10).all(|page| !filter.may_have(page)), "{round}");
            filter.add(page);
            assert!(filter.may_have(page) && filter.may_have(page + PLACES as u64));
            assert!(!filter.may_have(page + 1));
            if round % 3 == 0 {
                filter.remove(page);
            } else {
                filter.clear();
            }
        }
    }
}
