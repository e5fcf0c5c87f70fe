//! How much to load when a read is not in the reader's view: what [`Access::Auto`] means.
//!
//! Loading more than was asked for pays if later reads find it, and costs if they do not. So the state keeps
//! what loading brought lately:
//! - a *visit* is a run of reads near one place. Loading around a place at its first read pays if visits of new
//!   places are long; at its second read, if past loads were read from several times; else reads are single.
//! - reads that come back to one wide place again and again, with excursions between, get all of it loaded.
//! - reads that go on just behind the view are a scan: each load doubles.
//!
//! A single read leaves the view as it is, so an excursion costs no reload. A pure state machine: no file, no clock.
#![forbid(unsafe_code)]

use super::Access;
use std::ops::Range;

/// Reads within this distance of a visit's last miss belong to it.
const REACH: u64 = 8 * 1024;
/// Loaded around a place that is visited.
const AROUND: usize = 16 * 1024;
/// Loaded around a place that is visited all the time.
const WIDE: usize = 64 * 1024;
/// The most that is loaded at once: fits the second-level cache together with what uses it.
pub(super) const MOST: usize = 256 * 1024;
/// A scan may leave out this many bytes at the end of a view.
const GAP: u64 = 512;
/// Reads of a wide place that pay for loading it.
const OFTEN: u32 = 32;
/// Reads elsewhere, one after the other, that end a wide place.
const STRIKES: u32 = 4;
/// Fixed-point one of the averages.
const ONE: u32 = 8;
/// Averages from which on loading pays: a load of 16 KiB costs about as much as three single reads.
const PAYS: u32 = 3 * ONE;
/// While loading does not pay it is tried once in so many chances, to see whether it does again.
const TRY: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Only what was asked for; the view stays.
    Exact,
    /// This many bytes with the read in their middle.
    Around(usize),
    /// This many bytes from the read on.
    Ahead(usize),
}

#[derive(Debug)]
pub(super) struct Pace {
    last: Load,
    place: u64,
    /// The place of the visit before.
    before: u64,
    /// This visit is of a place that was visited just before.
    is_return: bool,
    visit: u32,
    /// Average length of visits of new places.
    usual: u32,
    /// Average reads from what was loaded around a place.
    gain: u32,
    chances: u32,
    ahead: usize,
    wide: u64,
    wide_reads: u32,
    strikes: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            last: Load::Exact,
            place: u64::MAX,
            before: u64::MAX,
            is_return: false,
            visit: 0,
            usual: 0,
            gain: 2 * PAYS,
            chances: 0,
            ahead: 0,
            wide: u64::MAX,
            wide_reads: 0,
            strikes: 0,
        }
    }
}

fn average(now: u32, next: u32) -> u32 {
    (now * 7 + next.min(16) * ONE) / 8
}

impl Pace {
    /// What to load for a read at `offset` that is not inside `view`; `hits` reads were since the last call.
    pub(super) fn miss(&mut self, access: Access, offset: u64, view: &Range<u64>, hits: u32) -> Load {
        self.last = self.choose(access, offset, view, hits);
        self.last
    }

    fn choose(&mut self, access: Access, offset: u64, view: &Range<u64>, hits: u32) -> Load {
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
        if self.last != Load::Exact {
            // After a single read, hits were elsewhere: in the view that it left as it was.
            self.visit = self.visit.saturating_add(hits);
        }
        if let Load::Around(_) = self.last {
            self.gain = average(self.gain, hits);
        }
        if self.is_wide(offset, hits) {
            self.wide_reads = 0;
            return Load::Around(WIDE);
        }
        if self.visit > 0 && offset.abs_diff(self.place) <= REACH {
            self.visit = self.visit.saturating_add(1);
            self.place = offset;
            return self.around();
        }
        self.go_to(offset);
        if self.is_return || self.usual >= PAYS { self.around() } else { Load::Exact }
    }

    /// Ends a visit and begins another.
    fn go_to(&mut self, offset: u64) {
        if !self.is_return {
            self.usual = average(self.usual, self.visit);
        }
        self.is_return = offset.abs_diff(self.before) <= REACH;
        self.before = std::mem::replace(&mut self.place, offset);
        self.visit = 1;
    }

    fn around(&mut self) -> Load {
        if self.gain < PAYS {
            self.chances = self.chances.wrapping_add(1);
            if !self.chances.is_multiple_of(TRY) {
                return Load::Exact;
            }
        }
        Load::Around(AROUND)
    }

    /// Whether the wide place around `offset` is read so often that all of it is worth loading.
    fn is_wide(&mut self, offset: u64, hits: u32) -> bool {
        if offset.abs_diff(self.wide) <= WIDE as u64 / 2 {
            self.strikes = 0;
            self.wide_reads = self.wide_reads.saturating_add(hits).saturating_add(1);
            return self.wide_reads >= OFTEN;
        }
        self.strikes += 1;
        if self.strikes >= STRIKES {
            (self.wide, self.wide_reads, self.strikes) = (offset, 0, 0);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads at places one after the other through a view as a reader keeps it; returns how many were misses
    /// and how many bytes were loaded for them.
    fn play(access: Access, reads: impl IntoIterator<Item = u64>) -> (usize, usize) {
        let (mut pace, mut view, mut hits) = (Pace::default(), 0..0, 0);
        let (mut misses, mut bytes) = (0, 0);
        for at in reads {
            if view.contains(&at) {
                hits += 1;
                continue;
            }
            misses += 1;
            match pace.miss(access, at, &view, std::mem::take(&mut hits)) {
                Load::Exact => {}
                Load::Around(len) => {
                    let start = at.saturating_sub(len as u64 / 2);
                    view = start..start + len as u64;
                    bytes += len;
                }
                Load::Ahead(len) => {
                    view = at..at + len as u64;
                    bytes += len;
                }
            }
        }
        (misses, bytes)
    }

    fn random(seed: u64) -> impl Iterator<Item = u64> {
        let mut x = seed;
        std::iter::repeat_with(move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        })
    }

    #[test]
    fn scattered_reads_load_nothing_more() {
        assert_eq!(play(Access::Auto, (1..1000).map(|i| i * 1_000_000)), (999, 0));
        let (misses, bytes) = play(Access::Auto, random(7).map(|x| x % (2 << 30)).take(10_000));
        assert!(misses > 9_900 && bytes < 20 * AROUND, "{misses} {bytes}");
    }

    #[test]
    fn a_scan_doubles_up_to_the_most() {
        let mut pace = Pace::default();
        assert_eq!(pace.miss(Access::Auto, 0, &(0..0), 0), Load::Exact);
        assert_eq!(pace.miss(Access::Auto, 1, &(0..0), 0), Load::Around(AROUND));
        let mut end = AROUND as u64;
        for expect in [32u64, 64, 128, 256, 256] {
            let load = pace.miss(Access::Auto, end, &(0..end), 9);
            assert_eq!(load, Load::Ahead(expect as usize * 1024));
            end += expect * 1024;
        }
    }

    /// Visits of ten reads within `span`, at places far from each other.
    fn visits(span: u64) -> impl Iterator<Item = u64> {
        (0..1000u64).flat_map(move |i| random(i + 1).map(move |x| (i << 24) + x % span).take(10))
    }

    #[test]
    fn close_visits_are_one_load_each_and_wide_ones_none() {
        let (misses, bytes) = play(Access::Auto, visits(4096));
        assert!(misses < 1100 && bytes < 1100 * AROUND, "{misses} {bytes}");
        let (misses, bytes) = play(Access::Auto, visits(64 * 1024));
        assert!(misses > 8_000 && bytes < 500 * AROUND, "{misses} {bytes}");
    }

    #[test]
    fn excursions_from_a_busy_place_do_not_reload_it() {
        let reads = random(3)
            .enumerate()
            .map(|(i, x)| if i % 10 == 0 { x % (2 << 30) } else { (1 << 30) + x % (48 * 1024) });
        let (misses, bytes) = play(Access::Auto, reads.take(10_000));
        assert!(misses < 1_500 && bytes < 20 * WIDE, "{misses} {bytes}");
    }

    #[test]
    fn advice_is_followed() {
        let mut pace = Pace::default();
        assert_eq!(pace.miss(Access::Sequential, 1 << 30, &(0..0), 0), Load::Ahead(MOST));
        let mut pace = Pace::default();
        assert_eq!(pace.miss(Access::Random, 4096, &(0..4096), 0), Load::Exact);
    }
}
