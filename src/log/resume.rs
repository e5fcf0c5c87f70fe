//! What the runtime words spare recovery after a kill, and when they may be believed.
//!
//! A process that is killed leaves the page cache as it was: what the runtime words say is applied is there, and only a record
//! in doubt is left to do, however long the log is. After a power cut the same words are whatever reached the disk.
//! [`goes_on`] tells one from the other. The words are believed only if all of this holds:
//!
//! - They were written in this boot of the machine, in this mount of the file system, to this very file: the system numbers mounts and never gives a
//!   number twice in one boot, so the page cache was not lost in between. An unmounted disk, a copy, a snapshot and a file restored under the same name
//!   have other numbers.
//! - The file system is one that keeps what was written until it is unmounted.
//! - Nobody wrote the file after its last writer: who copies an older state over it changes it later than that one did.
//! - Their writer was at work after the boot and before now: in a container the boot's number may be another one's, or never change.
//! - No sync failed.
//! - Slot, log and words agree (`left_undone`): the newest slot is the one the words know of; the last record is where they say, carries the number of
//!   the last commit and the seed of the next one, ends at the head, and is no void.
//!
//! If anything is missing, everything since the tail is read and compared with the file, which is always right and takes longer.

#![forbid(unsafe_code)]

use super::power::{Found, PowerLog};
use super::record::KIND_VOID;
use super::slots;
use crate::error::Result;
use crate::media::Media;
use crate::runtime::{Runtime, Seen, boot_id};
use crate::sabotage::{Break, broken};
use std::time::{SystemTime, UNIX_EPOCH};

/// A write of the last writer's may be so much later than its last word about it: in nanoseconds.
pub(super) const LATE: u64 = 10_000_000;

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// When the machine was booted, as far as the clock can be trusted that was set since.
fn booted() -> u64 {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds = up.tv_sec.saturating_mul(1_000_000_000).saturating_add(up.tv_nsec);
    now().saturating_sub(u64::try_from(nanoseconds).unwrap_or(0))
}

/// Whether the page cache has what the runtime words say: nothing but processes ended since they were written. The caller is alone with the file, and
/// saw it so before its own first change.
pub(crate) fn goes_on(runtime: Runtime<'_>, seen: Seen) -> bool {
    let boot = boot_id();
    let same_boot = boot != [0; 16] && boot == runtime.boot() || broken(Break::WordsOutliveBoots);
    let active = runtime.active();
    same_boot
        && seen.home == runtime.home()
        && seen.changed <= active.saturating_add(LATE)
        && (booted()..=now()).contains(&active)
}

impl PowerLog {
    /// The last applied record, if there is one since the tail and it is not in doubt itself, and all behind it; nothing if words and log contradict each other.
    pub(super) fn left_undone(&self, media: &Media, runtime: Runtime<'_>) -> Result<Option<Found>> {
        let slot = slots::newest(media, self)?;
        let (log, last, applied) = (runtime.log(), runtime.last_record(), runtime.sequence());
        let ring = self.ring_at(slot.log)?;
        let inside = log.head.checked_sub(log.tail).is_some_and(|used| used <= ring.len());
        let same_slot = (slot.generation, slot.tail, slot.log) == (log.generation, log.tail, log.place);
        if !same_slot || !inside || applied >= 1 << 62 {
            return Ok(None);
        }
        let mut records = Vec::new();
        if last < log.head && log.head > log.tail {
            let follows = |next| last >= log.tail && next == self.head(runtime);
            match ring.read_alone(media, last, applied, log.tail)? {
                // What a void takes back may have a spilled body, which asks for a checkpoint: only the record itself tells.
                Some((record, next)) if follows(next) && record.header.kind != KIND_VOID => {
                    records.push(record);
                }
                _ => return Ok(None),
            }
        } else if log.head == log.tail && self.head(runtime) != slots::cursor(&slot) {
            return Ok(None);
        }
        let done = records.len();
        let head = ring.read_on(media, self.head(runtime), log.tail, &mut records)?;
        // A record that nobody has in doubt, or a doubt about nothing: somebody does not know of something.
        let as_told = runtime.in_doubt() == (records.len() > done) || runtime.in_doubt() && done == 1;
        Ok(as_told.then_some(Found { slot, records, head, done }))
    }
}
