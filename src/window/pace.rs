//! How much to load when a read is not in the reader's view: what [`Access::Auto`] means.
//!
//! A *visit* is a run of reads near one place. Scattered reads make visits of one: loading more than was asked
//! for only costs. Longer visits pay for loading the surroundings at their first read; the usual length of past
//! visits tells which it will be. Reads that go on just behind the view are a scan: each load doubles.
//!
//! A pure state machine: no file, no clock.
#![forbid(unsafe_code)]

use super::Access;
use std::ops::Range;

/// Reads within this distance of a visit's first read belong to it.
const REACH: u64 = 8 * 1024;
/// Loaded around a place that is visited.
const AROUND: usize = 16 * 1024;
/// The most that is loaded at once: fits the second-level cache together with what uses it.
pub(super) const MOST: usize = 256 * 1024;
/// A scan may leave out this many bytes at the end of a view.
const GAP: u64 = 512;
/// Fixed-point one of the usual visit length.
const ONE: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Only what was asked for.
    Exact,
    /// This many bytes with the read in their middle.
    Around(usize),
    /// This many bytes from the read on.
    Ahead(usize),
}

#[derive(Debug, Default)]
pub(super) struct Pace {
    place: u64,
    visit: u32,
    usual: u32,
    ahead: usize,
}

impl Pace {
    /// What to load for a read at `offset` that is not inside `view`; `hits` reads were since the last call.
    pub(super) fn miss(&mut self, access: Access, offset: u64, view: &Range<u64>, hits: u32) -> Load {
        self.visit = self.visit.saturating_add(hits);
        if access == Access::Sequential {
            return Load::Ahead(MOST);
        }
        let goes_on = !view.is_empty() && offset >= view.end && offset - view.end <= GAP;
        if goes_on && access == Access::Auto {
            self.place = offset;
            self.ahead = (self.ahead * 2).clamp(2 * AROUND, MOST);
            return Load::Ahead(self.ahead);
        }
        self.ahead = 0;
        if self.visit > 0 && offset.abs_diff(self.place) <= REACH {
            self.visit = self.visit.saturating_add(1);
            self.place = offset;
            return Load::Around(AROUND);
        }
        let ended = self.visit.min(64) * ONE;
        self.usual = (self.usual * 7 + ended) / 8;
        self.place = offset;
        self.visit = 1;
        if self.usual >= 3 * ONE { Load::Around(AROUND) } else { Load::Exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_reads_load_nothing_more() {
        let mut pace = Pace::default();
        for i in 0..1000 {
            assert_eq!(pace.miss(Access::Auto, i * 1_000_000, &(0..0), 0), Load::Exact);
        }
    }

    #[test]
    fn a_scan_doubles_up_to_the_most() {
        let mut pace = Pace::default();
        assert_eq!(pace.miss(Access::Auto, 0, &(0..0), 0), Load::Exact);
        assert_eq!(pace.miss(Access::Auto, 1, &(0..0), 0), Load::Around(AROUND));
        let mut end = AROUND as u64;
        for expect in [32, 64, 128, 256, 256] {
            assert_eq!(pace.miss(Access::Auto, end, &(0..end), 9), Load::Ahead(expect * 1024));
            end += expect as u64 * 1024;
        }
    }

    #[test]
    fn long_visits_load_their_surroundings_at_once_and_short_ones_end_that() {
        let mut pace = Pace::default();
        for i in 1..20 {
            pace.miss(Access::Auto, i << 30, &(0..0), 9);
        }
        assert_eq!(pace.miss(Access::Auto, 1 << 20, &(0..0), 9), Load::Around(AROUND));
        let mut last = Load::Around(AROUND);
        for i in 1..20 {
            last = pace.miss(Access::Auto, i << 30, &(0..0), 0);
        }
        assert_eq!(last, Load::Exact);
    }

    #[test]
    fn advice_is_followed() {
        let mut pace = Pace::default();
        assert_eq!(pace.miss(Access::Sequential, 1 << 30, &(0..0), 0), Load::Ahead(MOST));
        let mut pace = Pace::default();
        assert_eq!(pace.miss(Access::Random, 4096, &(0..4096), 0), Load::Exact);
    }
}
