//! Rules of the log left out on purpose, one at a time, so that the tests can show that they would notice.
//!
//! Each rule that matters has one place where it is kept; that place asks [`broken`]. Without the feature `testing`
//! the answer is a constant. With it a thread may break one rule for itself; nothing else is touched.

/// A rule of the log that can be left out.
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "tests alone see it"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Break {
    /// Rule 1: a record is written before what it lists (in-place ranges, grown space, spill) was synced.
    NoSyncFirst,
    /// Rule 2: any record that is whole by itself counts, whatever its position, number or predecessor.
    Unchained,
    /// Rule 3: a record in doubt that can be read is taken for durable.
    TrustReadable,
    /// Rule 4: after a failed sync the next successful one is believed.
    ForgetFailedSync,
    /// Rule 5: the tail moves although nothing was synced.
    CheckpointWithoutSync,
    /// Rule 5: the ring counts as free before the slot is on the disk.
    SlotNotFlushed,
    /// Rule 5: while the log moves into another ring nobody is told that it may have.
    MoveWithoutDoubt,
    /// Rule 7: space is cut off or punched before the tail has passed the records that touch it.
    CutBeforeCheckpoint,
    /// The revoke rule: old writes are replayed over what was filled in place later.
    NoRevoke,
    /// Replay writes older values of a word before its last one.
    ReplayOldValues,
    /// Old writes are replayed over a spilled body that lies where the heap once was.
    ReplayOverSpilled,
    /// After a boot the runtime words are believed as after a kill.
    WordsOutliveBoots,
    /// The order "flush, then apply".
    ApplyBeforeFlush,
    /// `Process`: the heap changes before the mark is on the disk.
    MarkNotFlushed,
    /// `Process`: the mark is cleared although nothing was synced.
    ClearWithoutSync,
}

/// Whether this thread leaves out the rule.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn broken(_rule: Break) -> bool {
    false
}

#[cfg(feature = "testing")]
pub(crate) use enabled::broken;
#[cfg(feature = "testing")]
pub use enabled::sabotage;

#[cfg(feature = "testing")]
mod enabled {
    use super::Break;
    use std::cell::Cell;

    thread_local! {
        static BROKEN: Cell<Option<Break>> = const { Cell::new(None) };
    }

    /// Makes this thread leave out a rule, or none, from now on.
    pub fn sabotage(rule: Option<Break>) {
        BROKEN.set(rule);
    }

    #[inline]
    pub(crate) fn broken(rule: Break) -> bool {
        BROKEN.get() == Some(rule)
    }
}
