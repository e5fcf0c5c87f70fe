//! Taking a part of a transaction back: save points, and changes of several steps, of which none may stay by half.
#![forbid(unsafe_code)]

use super::WriteTxn;
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// A point inside a write transaction to which it can go back. See [`WriteTxn::save_point`].
///
/// ```
/// # use heapfile::{Arena, View};
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = Arena::create(dir.path().join("a.heap"))?;
/// let mut tx = arena.write()?;
/// let x = tx.alloc(&1u32)?;
/// let before = tx.save_point();
/// *tx.get_mut(x)? = 2;
/// tx.roll_back_to(&before)?;
/// assert_eq!(tx.get(x)?, &1);
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Debug)]
pub struct SavePoint(u64);

impl WriteTxn<'_> {
    /// Marks a point to which [`roll_back_to`](Self::roll_back_to) can go back. Save points nest. Costs nothing by itself;
    /// each 64-byte line that is changed after it, and was before, is kept twice.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let point = tx.save_point();
    /// let x = tx.alloc(&1u32)?;
    /// tx.roll_back_to(&point)?;
    /// assert!(tx.get(x).is_err());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn save_point(&mut self) -> SavePoint {
        self.scratch.clear();
        let mark = self.state.changes.mark();
        // Unlike all others of this process, so that one of another transaction is known for what it is.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.save_points.push((number, mark, self.is_half));
        SavePoint(number)
    }

    /// Takes back everything since the save point, which stays valid; those made after it are gone.
    ///
    /// ```
    /// # use heapfile::{Arena, Error, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let outer = tx.save_point();
    /// let inner = tx.save_point();
    /// tx.roll_back_to(&outer)?;
    /// assert!(matches!(tx.roll_back_to(&inner), Err(Error::BadSavePoint)));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn roll_back_to(&mut self, point: &SavePoint) -> Result<()> {
        let at = self.find_save_point(point)?;
        self.drop_save_points(at + 1);
        let (_, mark, was_half) = self.save_points[at];
        self.is_half = was_half;
        self.rolled_back_to = self.rolled_back_to.min(at);
        self.state.changes.roll_back(mark);
        self.state.heap.forget_hints();
        Ok(())
    }

    /// Ends a save point, and those made after it; what was done since stays.
    ///
    /// ```
    /// # use heapfile::{Arena, View};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// let mut tx = arena.write()?;
    /// let point = tx.save_point();
    /// let x = tx.alloc(&1u32)?;
    /// tx.release(point)?;
    /// assert_eq!(tx.get(x)?, &1);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn release(&mut self, point: SavePoint) -> Result<()> {
        let at = self.find_save_point(&point)?;
        self.drop_save_points(at);
        Ok(())
    }

    fn find_save_point(&mut self, point: &SavePoint) -> Result<usize> {
        self.scratch.clear();
        self.save_points.iter().position(|(id, ..)| *id == point.0).ok_or(Error::BadSavePoint)
    }

    pub(super) fn drop_save_points(&mut self, keep: usize) {
        while self.save_points.len() > keep {
            if let Some((_, mark, _)) = self.save_points.pop() {
                self.state.changes.release(mark);
            }
        }
    }

    /// Runs a change that consists of several; if it fails, nothing of it stays.
    pub(crate) fn whole<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let (point, before) = (self.save_point(), self.calls);
        let outcome = change(self);
        if outcome.is_err() {
            self.roll_back_to(&point)?;
            self.calls = before;
        }
        self.release(point)?;
        outcome
    }

    /// Says that a change is under way that is no whole even before its next call.
    pub(crate) fn has_begun(&mut self) {
        self.calls += 1;
    }

    /// Runs a change that consists of several; if one of them, or the caller's part in it, fails or panics after others were done, or rolls back to before them, the
    /// transaction cannot be committed any more. Other than [`whole`](Self::whole) this costs nothing, and blocks go on being filled in place.
    #[inline]
    pub(crate) fn in_steps<T, E>(
        &mut self,
        change: impl FnOnce(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let (before, points) = (self.calls, self.save_points.len());
        let around = std::mem::replace(&mut self.rolled_back_to, usize::MAX);
        let mut steps = Steps { tx: self, around, is_over: false };
        let outcome = change(steps.tx);
        steps.is_over = true;
        let failed = outcome.is_err() && steps.tx.calls > before;
        steps.tx.is_half |= failed || steps.tx.rolled_back_to < points;
        outcome
    }

    /// Whether what was done so far is whole.
    pub(crate) fn may_commit(&self) -> Result<()> {
        if self.is_half || self.state.changes.torn { Err(Error::HalfChanged) } else { Ok(()) }
    }
}

/// A change of several steps under way.
struct Steps<'s, 'a> {
    tx: &'s mut WriteTxn<'a>,
    /// Which save point was rolled back to in the change around it.
    around: usize,
    is_over: bool,
}

impl Drop for Steps<'_, '_> {
    fn drop(&mut self) {
        self.tx.is_half |= !self.is_over;
        self.tx.rolled_back_to = self.tx.rolled_back_to.min(self.around);
    }
}
