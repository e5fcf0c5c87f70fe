//! Which stretches of the heap change so densely that stores through the mapping cost the disk no more than writes do.
//!
//! A `Power` arena applies its commits by `pwrite`, page by page: about 1.8 us each where the pages are scattered, nearly all of it the file system's.
//! A store to a mapped page costs a tenth, once the page may be stored to; but the first one after each write-back makes a whole folio of the page cache
//! dirty, 2 MiB at most, which the next checkpoint writes. Where half of a folio's pages change between two checkpoints anyway, that is at most twice what is
//! written without it.
//!
//! So stretches as long as the longest folio are watched. One is *dense* if long records changed half of its pages or more in this period, or in the
//! one before. A period ends with a checkpoint, whoever makes it, and after some seconds, for the kernel writes pages back by itself. Short records
//! neither ask nor count: their flush costs a hundred times what they write.
//!
//! To be wrong here costs time or bytes, nothing else. Limits: 80 bytes of memory for each stretch up to the last one that was changed (40 MB in a heap of 1 TiB).

#![forbid(unsafe_code)]

use crate::layout::PAGE;
use crate::media::Media;
use std::time::{Duration, Instant};

/// Pages of the longest stretch.
const MOST_PAGES: u64 = 512;
/// A period is no longer than this; the kernel writes back what has been dirty for 30 seconds.
const LONGEST: Duration = Duration::from_secs(10);

/// From where on copies pay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Pages of a stretch, at most [`MOST_PAGES`].
    pages: u64,
    /// Writes of a long record.
    many: u32,
}

impl Scale {
    /// A stretch is as long as the longest folio of the page cache.
    const REAL: Self = Self { pages: MOST_PAGES, many: 64 };

    #[cfg(not(feature = "testing"))]
    pub(crate) fn of(_: &Media) -> Self {
        Self::REAL
    }

    /// On simulated disks, and where a test asks for it, so small that the tests' little heaps have dense stretches.
    #[cfg(feature = "testing")]
    pub(crate) fn of(media: &Media) -> Self {
        let small = media.is_simulated() || SMALL.load(std::sync::atomic::Ordering::Relaxed);
        if small { Self { pages: 4, many: 4 } } else { Self::REAL }
    }
}

#[cfg(feature = "testing")]
static SMALL: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Handles that this process opens from now on look for dense stretches in little heaps.
#[cfg(feature = "testing")]
pub fn small_stretches(on: bool) {
    SMALL.store(on, std::sync::atomic::Ordering::Relaxed);
}

/// What is known of the stretches of one heap, by one handle.
#[derive(Debug)]
pub(crate) struct Dense {
    scale: Scale,
    stretches: Vec<Stretch>,
    /// Pages changed in this period.
    changed: u64,
    /// Number of the period, from 1 on; when it began, and which checkpoint was the last then.
    period: u64,
    began: Option<(Instant, u64)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    /// Pages changed in `period`, one bit each, and how many they are.
    changed: [u64; (MOST_PAGES / 64) as usize],
    count: u64,
    period: u64,
    /// Whether it was dense in the period before.
    was_dense: bool,
}

impl Dense {
    pub(crate) fn new(scale: Scale) -> Self {
        debug_assert!((2..=MOST_PAGES).contains(&scale.pages));
        Self { scale, stretches: Vec::new(), changed: 0, period: 0, began: None }
    }

    /// Whether a record of so many writes is a long one.
    pub(super) fn concerns(&self, writes: u32) -> bool {
        writes >= self.scale.many
    }

    /// Begins a record. `checkpoint`: the number of the last one.
    pub(super) fn begin(&mut self, checkpoint: u64) {
        let now = Instant::now();
        if self.began.is_none_or(|(began, last)| last != checkpoint || now.duration_since(began) > LONGEST) {
            self.period += 1;
            self.changed = 0;
            self.began = Some((now, checkpoint));
        }
    }

    /// Bytes of all pages that long records changed in this period, if it began after the last checkpoint, which has this number: what the next one will write for them.
    pub(super) fn changed_bytes(&self, checkpoint: u64) -> u64 {
        let is_now = self.began.is_some_and(|(_, last)| last == checkpoint);
        if is_now { self.changed * PAGE } else { 0 }
    }

    /// Takes notice that `len` bytes at `offset`, at least one, are about to be changed. Whether they lie in dense stretches.
    pub(super) fn note(&mut self, offset: u64, len: u64) -> bool {
        let mut dense = true;
        for page in offset / PAGE..=(offset + len - 1) / PAGE {
            dense &= self.note_page(page);
        }
        dense
    }

    fn note_page(&mut self, page: u64) -> bool {
        let (index, within) = ((page / self.scale.pages) as usize, page % self.scale.pages);
        if index >= self.stretches.len() {
            self.stretches.resize(index + 1, Stretch::default());
        }
        let (half, period) = (self.scale.pages / 2, self.period);
        let stretch = &mut self.stretches[index];
        if stretch.period != period {
            let was_dense = stretch.period + 1 == period && stretch.count >= half;
            *stretch = Stretch { period, was_dense, ..Stretch::default() };
        }
        let (word, bit) = ((within / 64) as usize, 1 << (within % 64));
        let new = u64::from(stretch.changed[word] & bit == 0);
        stretch.count += new;
        self.changed += new;
        stretch.changed[word] |= bit;
        stretch.was_dense || stretch.count >= half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(pages: u64) -> Dense {
        Dense::new(Scale { pages, many: 1 })
    }

    /// Whether so many pages of the first stretch, changed one after the other, are found dense at last.
    fn change(dense: &mut Dense, pages: u64) -> bool {
        (0..pages).fold(false, |_, page| dense.note(page * PAGE, 8))
    }

    #[test]
    fn half_of_the_pages_make_a_stretch_dense_until_a_period_without() {
        let mut dense = new(16);
        dense.begin(1);
        assert!(!change(&mut dense, 7));
        assert!(!change(&mut dense, 7), "the same pages again are no more");
        assert!(change(&mut dense, 8));
        assert!(!dense.note(16 * PAGE, 8), "the next stretch is another");
        assert!(!dense.note(16 * PAGE - 8, 16), "what reaches into it is not dense");
        dense.begin(1);
        assert!(change(&mut dense, 1), "the period goes on");
        dense.begin(2);
        assert!(change(&mut dense, 1), "it was in the period before");
        dense.begin(3);
        assert!(!change(&mut dense, 1));
    }

    #[test]
    fn a_period_without_any_change_ends_it_too() {
        let mut dense = new(4);
        dense.begin(1);
        assert!(change(&mut dense, 2));
        dense.begin(2);
        dense.begin(3);
        assert!(!change(&mut dense, 1));
    }

    #[test]
    fn what_a_checkpoint_has_written_counts_no_more() {
        let mut dense = new(4);
        assert_eq!(dense.changed_bytes(1), 0);
        dense.begin(1);
        change(&mut dense, 6);
        change(&mut dense, 2);
        assert_eq!(dense.changed_bytes(1), 6 * PAGE);
        assert_eq!(dense.changed_bytes(2), 0, "no long record came since");
        dense.begin(2);
        change(&mut dense, 1);
        assert_eq!(dense.changed_bytes(2), PAGE);
    }

    #[test]
    fn a_period_ends_by_itself() {
        let mut dense = new(4);
        dense.begin(1);
        change(&mut dense, 2);
        let (began, last) = dense.began.unwrap();
        let Some(earlier) = began.checked_sub(LONGEST * 2) else { return };
        dense.began = Some((earlier, last));
        dense.begin(1);
        assert_eq!(dense.period, 2);
    }

    #[test]
    fn a_long_range_counts_all_of_its_pages() {
        let mut dense = new(MOST_PAGES);
        dense.begin(1);
        assert!(!dense.note(0, MOST_PAGES / 2 * PAGE), "the first of them came before the half");
        assert!(dense.note(8, 8));
    }
}
