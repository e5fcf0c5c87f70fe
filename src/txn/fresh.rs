//! The runs of pages that a transaction took from free space.
//!
//! Fresh space is free in the committed state: nobody else reaches it, so it may be filled in place, without the log,
//! and what is taken and given up again within one transaction may be reused at once. Both hold only for
//! runs taken since the innermost save point: rolling back to that must find older runs as they were.
//!
//! Whether a run is filled in place is decided when it is taken and kept for the transaction's life: its
//! changed lines go straight to the file at commit, and the record lists its range instead.

use crate::layout::{PAGE, Page};
use std::collections::BTreeMap;

/// From this many fresh bytes on, a `Power` transaction fills in place: one more flush, but half the bytes.
const IN_PLACE_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Copy)]
struct Run {
    pages: u32,
    /// Number of the taking within the transaction; compared with a save point's.
    taken: u64,
    in_place: bool,
}

/// Fresh runs by first page. They never overlap.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    runs: BTreeMap<Page, Run>,
    taken: u64,
    /// `taken` at the innermost save point.
    floor: u64,
    logged_bytes: u64,
    in_place: u32,
}

impl Fresh {
    pub(crate) fn clear(&mut self) {
        if self.taken > 0 {
            *self = Self::default();
        }
    }

    /// A run was taken. `cheap_in_place`: filling in place costs no flush here.
    pub(crate) fn take(&mut self, page: Page, pages: u32, cheap_in_place: bool) {
        let bytes = u64::from(pages) * PAGE;
        let in_place = cheap_in_place || self.logged_bytes + bytes >= IN_PLACE_BYTES;
        if in_place {
            self.in_place += 1;
        } else {
            self.logged_bytes += bytes;
        }
        self.taken += 1;
        self.runs.insert(page, Run { pages, taken: self.taken, in_place });
    }

    /// Whether all of `[page, page + pages)` was taken since the innermost save point.
    pub(crate) fn covers(&self, page: Page, pages: u32) -> bool {
        self.covers_if(page, pages, |run| run.taken > self.floor)
    }

    /// Whether bytes may be written straight to the file: fresh since the innermost save point, in place.
    pub(crate) fn may_fill(&self, offset: u64, len: u64) -> bool {
        self.in_place > 0
            && self.covers_if((offset / PAGE) as Page, pages_touched(offset, len), |run| {
                run.in_place && run.taken > self.floor
            })
    }

    /// Whether the byte at `offset`, and so its line, belongs to a run that is filled in place.
    #[cfg(test)]
    fn is_in_place(&self, offset: u64) -> bool {
        self.in_place_finder()(offset)
    }

    /// Tells of one offset after the other whether it, and so its line, belongs to a run that is filled in place. Looks once where many follow in one page.
    pub(crate) fn in_place_finder(&self) -> impl FnMut(u64) -> bool {
        let mut last = (u64::MAX, false);
        move |offset| {
            let page = offset / PAGE;
            if last.0 != page && self.in_place > 0 {
                last = (page, self.covers_if(page as Page, 1, |run| run.in_place));
            }
            last.1
        }
    }

    fn covers_if(&self, page: Page, pages: u32, good: impl Fn(&Run) -> bool) -> bool {
        if self.runs.is_empty() {
            return false;
        }
        let (mut at, end) = (u64::from(page), u64::from(page) + u64::from(pages));
        while at < end {
            match self.runs.range(..=at as Page).next_back() {
                Some((&start, run)) if at < u64::from(start) + u64::from(run.pages) && good(run) => {
                    at = u64::from(start) + u64::from(run.pages);
                }
                _ => return false,
            }
        }
        true
    }

    /// `[page, page + pages)`, which lies inside fresh runs, is free again.
    pub(crate) fn drop_run(&mut self, page: Page, pages: u32) {
        let end = u64::from(page) + u64::from(pages);
        while let Some((&start, &run)) = self.runs.range(..end as Page).next_back() {
            let run_end = u64::from(start) + u64::from(run.pages);
            if run_end <= u64::from(page) {
                break;
            }
            self.runs.remove(&start);
            if start < page {
                self.runs.insert(start, Run { pages: page - start, ..run });
            }
            if run_end > end {
                self.runs.insert(end as Page, Run { pages: (run_end - end) as u32, ..run });
            }
            if start <= page {
                break;
            }
        }
    }

    /// Begins a save point; returns what `roll_back` and `release` need.
    pub(crate) fn mark(&mut self) -> (u64, u64) {
        let outer = self.floor;
        self.floor = self.taken;
        (self.taken, outer)
    }

    /// Forgets the runs taken since the save point, which stays.
    pub(crate) fn roll_back(&mut self, (taken, _): (u64, u64)) {
        self.runs.retain(|_, run| run.taken <= taken);
        self.floor = taken;
    }

    /// Ends the save point.
    pub(crate) fn release(&mut self, (_, outer): (u64, u64)) {
        self.floor = outer;
    }

    /// The ranges that the record has to list: runs filled in place, neighbours joined.
    pub(crate) fn in_place_runs(&self) -> Vec<(Page, u32)> {
        let mut joined: Vec<(Page, u32)> = Vec::new();
        if self.in_place == 0 {
            return joined;
        }
        for (&page, run) in self.runs.iter().filter(|(_, run)| run.in_place) {
            match joined.last_mut() {
                Some((start, pages)) if *start + *pages == page => *pages += run.pages,
                _ => joined.push((page, run.pages)),
            }
        }
        joined
    }
}

fn pages_touched(offset: u64, len: u64) -> u32 {
    ((offset % PAGE + len).div_ceil(PAGE)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_split_and_joined() {
        let mut fresh = Fresh::default();
        fresh.take(10, 4, true);
        fresh.take(14, 2, true);
        assert!(fresh.covers(10, 6) && fresh.covers(11, 4) && !fresh.covers(9, 2) && !fresh.covers(15, 2));
        assert_eq!(fresh.in_place_runs(), [(10, 6)]);
        fresh.drop_run(12, 3);
        assert!(fresh.covers(10, 2) && fresh.covers(15, 1) && !fresh.covers(12, 1) && !fresh.covers(14, 1));
    }

    #[test]
    fn a_save_point_ages_what_was_taken_before() {
        let mut fresh = Fresh::default();
        fresh.take(10, 4, true);
        let outer = fresh.mark();
        assert!(!fresh.covers(10, 4) && fresh.is_in_place(10 * PAGE) && !fresh.may_fill(10 * PAGE, 8));
        fresh.take(20, 1, true);
        let inner = fresh.mark();
        fresh.take(30, 1, true);
        fresh.roll_back(inner);
        assert!(!fresh.covers(30, 1) && !fresh.covers(20, 1));
        fresh.release(inner);
        assert!(fresh.covers(20, 1));
        fresh.roll_back(outer);
        assert!(!fresh.covers(20, 1));
        fresh.release(outer);
        assert!(fresh.covers(10, 4));
    }

    #[test]
    fn small_transactions_are_logged_large_ones_filled_in_place() {
        let mut fresh = Fresh::default();
        fresh.take(10, 4, false);
        assert!(!fresh.is_in_place(10 * PAGE));
        fresh.take(20, 12, false);
        assert!(fresh.is_in_place(20 * PAGE) && fresh.is_in_place(32 * PAGE - 8));
        assert!(!fresh.may_fill(20 * PAGE, 13 * PAGE));
    }
}
