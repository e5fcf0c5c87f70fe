//! Each rule of the log that shows in the log alone, on a simulated disk of a few pages.

mod edges;
mod follow;
mod replay;
mod resume;

use super::power::{Extent, PowerLog};
use super::record::*;
use super::replay::Apply;
use super::ring::{Cursor, Ring, largest};
use super::slots;
use crate::error::{Error, Result};
use crate::layout::{DURABILITY_POWER, LogPlace, PAGE, Page, SLOT_PAGES, Superblock, page_offset};
use crate::media::sim::{Call, SimDisk};
use crate::media::{Media, Writable};
use crate::runtime::{Home, LogState, Runtime};

const RING: u64 = 64 << 10;
const HEAP_PAGES: u32 = 16;
const SALT: u32 = 77;

/// A log of 64 KiB in front of a heap of zeros.
struct Bench {
    disk: SimDisk,
    media: Media,
    log: PowerLog,
    ring: Ring,
    heap: Page,
    end: Page,
}

fn bench() -> Bench {
    let superblock = Superblock::new([7; 16], DURABILITY_POWER, (RING / PAGE) as u32, 64);
    let (heap, end) = (superblock.heap_page, superblock.heap_page + HEAP_PAGES);
    let disk = SimDisk::from_image(&vec![0; page_offset(end) as usize]).unwrap();
    let media = disk.open_media(page_offset(end) * 2, Writable::Runtime).unwrap();
    let log = PowerLog::new(&superblock);
    log.format(&media, SALT).unwrap();
    media.sync().unwrap();
    let bench = Bench { disk, media, log, ring: Ring::new(&superblock), heap, end };
    bench.runtime().set_log(LogState { head: 0, seed: SALT, tail: 0, generation: 2, place: LogPlace::FIRST });
    bench
}

/// A body of `words` words, all `value`, for the start of the heap's page `page`.
fn body(bench: &Bench, page: u32, words: usize, value: u64) -> Body {
    let mut body = Body::default();
    body.write(page_offset(bench.heap + page), &vec![value; words]);
    body
}

impl Bench {
    fn runtime(&self) -> Runtime<'_> {
        self.media.runtime()
    }

    /// Writes a record; it is not applied.
    fn append(&self, mut body: Body) {
        let next = self.log.append(&self.media, self.runtime(), &mut body, self.end, None).unwrap().next;
        self.log.applied(self.runtime(), next);
        self.runtime().set_in_doubt(false);
    }

    /// The header of a record of one write that would be the next one.
    fn next_header(&self, words: &[u64]) -> RecordHeader {
        let log = self.runtime().log();
        RecordHeader {
            magic: RECORD_MAGIC,
            kind: KIND_COMMIT,
            sequence: self.runtime().sequence() + 1,
            position: log.head,
            body_words: words.len() as u64,
            ranges: 0,
            writes: 1,
            end_page: self.end,
            spill_page: 0,
            reserved: [0; 2],
            seed: log.seed,
            crc: 0,
        }
    }

    /// Puts a record where the next one would be, its checksum made right.
    fn forge(&self, header: RecordHeader, words: &[u64]) {
        let header = RecordHeader { crc: header.computed_crc(words), ..header };
        let at = self.ring.offset(self.runtime().log().head);
        self.media.write(at, bytemuck::bytes_of(&header)).unwrap();
        self.media.write(at + 64, bytemuck::cast_slice(words)).unwrap();
    }

    /// Writes a record whose body lies at the heap's end. Returns where the log goes on.
    fn append_spilled(&self, mut body: Body) -> Cursor {
        let at = page_offset(self.end);
        self.media.grow(at + page_offset(spill_pages(body.words().len() as u64) as Page)).unwrap();
        self.media.write(at, bytemuck::cast_slice(body.words())).unwrap();
        self.media.sync().unwrap();
        let next =
            self.log.append(&self.media, self.runtime(), &mut body, self.end, Some(self.end)).unwrap().next;
        self.log.applied(self.runtime(), next);
        self.runtime().set_in_doubt(false);
        next
    }

    fn checkpoint(&self) {
        self.log.checkpoint_now(&self.media, self.runtime()).unwrap();
    }

    fn recover(&self) -> Result<()> {
        self.log.recover(&self.media, self.runtime(), Extent::All, Apply::Write)
    }

    /// First word of the heap's page.
    fn word(&self, page: u32) -> u64 {
        self.media.load(page_offset(self.heap + page)).unwrap()
    }

    /// Sequence numbers of the records that a scan finds.
    fn scan(&self) -> Vec<u64> {
        let (_, records, _) = self.log.read(&self.media).unwrap();
        records.iter().map(|record| record.header.sequence).collect()
    }

    /// Damages the newest slot.
    fn damage_newest_slot(&self) {
        let index = (self.runtime().log().generation % 2) as usize;
        assert_eq!(
            slots::read(&self.media, index).unwrap().unwrap().generation,
            self.runtime().log().generation
        );
        self.media.write(page_offset(SLOT_PAGES[index]) + 30, &[0xEE]).unwrap();
        assert!(slots::read(&self.media, index).unwrap().is_none());
    }
}

/// Words of a body so that its record takes `lines` lines of 64 bytes.
fn words_of(lines: usize) -> usize {
    (lines - 1) * 8 - 1
}

#[test]
fn records_are_found_in_order_and_applied() {
    let bench = bench();
    for value in 1..=3 {
        bench.append(body(&bench, value as u32, 20, value));
    }
    assert_eq!(bench.scan(), [1, 2, 3]);
    bench.recover().unwrap();
    assert_eq!([bench.word(1), bench.word(2), bench.word(3), bench.word(4)], [1, 2, 3, 0]);
    assert_eq!(bench.runtime().sequence(), 3);
}

/// Rule 6: a commit whose readers would not go is taken back by a record of its own, for which there is always room.
#[test]
fn rule_6_a_void_never_overwrites_the_tail() {
    let ring = bench().ring;
    let mut tight = 0;
    for tail in [0, 64, RING - 64, 5 * RING, 5 * RING + 640] {
        for head in (tail..=tail + RING).step_by(64) {
            for bytes in (64..=largest(ring.len())).step_by(448) {
                let record = ring.place(head, bytes);
                let next = ring.after(record, bytes);
                let end = ring.after(ring.place(next, 64), 64);
                assert_eq!(
                    ring.fits_with_void(head, tail, bytes),
                    end <= tail + RING,
                    "{head} {tail} {bytes}"
                );
                tight += u64::from(next <= tail + RING && end > tail + RING);
            }
        }
    }
    assert!(tight > 0, "the room for the void made the difference");
}

#[test]
fn rule_2_a_record_of_an_earlier_lap_never_matches() {
    let bench = bench();
    // Records of the same shape, so that after a lap old ones lie exactly where new ones would.
    let lap = RING / 256;
    for n in 1..=lap * 3 {
        if n % 100 == 0 {
            bench.checkpoint();
            assert_eq!(bench.scan(), []);
        }
        bench.append(body(&bench, 0, words_of(4), 5));
        let since = n / 100 * 100;
        let expected: Vec<u64> = (since.max(1)..=n).collect();
        assert_eq!(bench.scan(), expected);
    }
}

#[test]
fn rule_2_the_successor_of_a_record_that_was_given_up_never_matches() {
    let bench = bench();
    bench.append(body(&bench, 0, words_of(4), 1));
    let (before, sequence) = (bench.runtime().log(), bench.runtime().sequence());
    bench.append(body(&bench, 1, words_of(4), 2));
    bench.append(body(&bench, 2, words_of(4), 3));
    // The second was never durable; what follows it is of a history that did not happen.
    bench.runtime().set_log(before);
    bench.runtime().set_sequence(sequence);
    bench.append(body(&bench, 1, words_of(4), 4));
    assert_eq!(bench.scan(), [1, 2]);
    bench.recover().unwrap();
    assert_eq!([bench.word(0), bench.word(1), bench.word(2)], [1, 4, 0]);
}

/// Even one whose seed and checksum fit by chance.
#[test]
fn rule_2_a_record_counts_only_at_its_own_position_and_number() {
    let bench = bench();
    bench.append(body(&bench, 0, words_of(2), 1));
    let (log, words) = (bench.runtime().log(), vec![(page_offset(bench.heap) / 8) << 16 | 1, 5]);
    let good = bench.next_header(&words);
    let found = |header: RecordHeader| {
        bench.forge(header, &words);
        bench.scan().len() == 2
    };
    assert!(found(good));
    assert!(!found(RecordHeader { position: log.head + RING, ..good }));
    assert!(!found(RecordHeader { sequence: 3, ..good }));
    assert!(!found(RecordHeader { sequence: 1, ..good }));
    assert!(!found(RecordHeader { seed: good.seed ^ 1, ..good }));
    assert!(!found(RecordHeader { kind: 4, ..good }));
    assert!(!found(RecordHeader { kind: 0, ..good }));
    assert!(!found(RecordHeader { magic: 0, ..good }));
}

#[test]
fn rule_2_a_changed_byte_ends_the_log() {
    let bench = bench();
    for value in 1..=3 {
        bench.append(body(&bench, value as u32, words_of(2), value));
    }
    // Of the second record: every byte of header and body.
    for at in 128..256 {
        let mut byte = [0];
        bench.media.copy_to(bench.ring.offset(at), &mut byte).unwrap();
        bench.media.write(bench.ring.offset(at), &[byte[0] ^ 0x10]).unwrap();
        assert_eq!(bench.scan(), [1], "byte {at}");
        bench.media.write(bench.ring.offset(at), &byte).unwrap();
    }
    assert_eq!(bench.scan(), [1, 2, 3]);
}

/// What recovery does, in order: a letter for each write to the ring, each write to the heap, each completed sync or durable write.
fn steps_of_recovery(bench: &Bench) -> String {
    bench.disk.record(true).unwrap();
    bench.log.recover(&bench.media, bench.runtime(), Extent::SinceApplied, Apply::Write).unwrap();
    let history = bench.disk.history();
    let mut steps = String::new();
    for step in (0..history.points() - 1).map(|step| history.describe(step)) {
        let at = step.split("at 0x").nth(1).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        steps.push(match at {
            Some(at) if step.starts_with("write") && at >= page_offset(bench.heap) => 'h',
            Some(at) if step.starts_with("write") && at >= bench.ring.offset(0) => 'r',
            _ if step.starts_with("sync done") || step == "durable write done: true" => 's',
            _ => continue,
        });
    }
    steps
}

#[test]
fn rule_3_what_is_in_doubt_is_written_again_before_it_is_applied() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    assert_eq!(steps_of_recovery(&bench), "");
    // Another process died after it had written the second one.
    bench.append(body(&bench, 2, 20, 1));
    bench.runtime().set_sequence(1);
    bench.runtime().set_in_doubt(true);
    let steps = steps_of_recovery(&bench);
    assert!(steps.contains("rsh") && !steps[..steps.find('s').unwrap()].contains('h'), "{steps}");
    assert!(!bench.runtime().in_doubt());
}

#[test]
fn rule_3_a_write_that_failed_stays_in_doubt() {
    for call in [Call::WriteDurable, Call::Flush] {
        let bench = bench();
        bench.disk.fail(call, 0, libc::EIO);
        let outcome =
            bench.log.append(&bench.media, bench.runtime(), &mut body(&bench, 1, 20, 1), bench.end, None);
        assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
        assert!(bench.runtime().in_doubt() && bench.runtime().failed_syncs() > 0);
        bench.recover().unwrap();
        assert!(!bench.runtime().in_doubt() && bench.runtime().failed_syncs() == 0);
        // Whatever can be read is on the disk now, the record too.
        let history = bench.disk.history();
        let dirty: Vec<u64> = history.at(history.points() - 1).dirty_pages().collect();
        assert_eq!(dirty, [], "after a failed {call:?}");
        let there = u64::from(call == Call::Flush);
        assert_eq!((bench.runtime().sequence(), bench.word(1)), (there, there));
        bench.append(body(&bench, 2, 20, 9));
        bench.recover().unwrap();
        assert_eq!(bench.word(2), 9);
    }
}

/// A call that fails may have been told of other pages as well, and is the only one that is.
#[test]
fn rule_4_a_recovery_that_cannot_write_a_slot_has_all_written_again() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    let log = bench.runtime().log();
    bench.log.checkpoint_now(&bench.media, bench.runtime()).unwrap();
    // Who wrote the slot died before the words knew of it.
    bench.runtime().set_log(log);
    bench.disk.fail(Call::Flush, 0, libc::EIO);
    bench.recover().unwrap_err();
    assert!(bench.runtime().failed_syncs() > 0);
    bench.recover().unwrap();
    assert!(bench.runtime().failed_syncs() == 0 && !bench.runtime().in_doubt());
}

/// The words may know of a slot that the disk does not have.
#[test]
fn rule_4_after_a_failed_sync_the_slot_is_written_again_too() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    bench.checkpoint();
    bench.runtime().count_failed_sync();
    let slot_at = page_offset(SLOT_PAGES[slots::index(bench.runtime().log().generation)]);
    bench.disk.record(true).unwrap();
    bench.recover().unwrap();
    let history = bench.disk.history();
    let steps: Vec<_> = (0..history.points() - 1).map(|step| history.describe(step)).collect();
    let is_of_slot = |step: &String| step.starts_with("write") && step.contains(&format!("at 0x{slot_at:x}"));
    let (written, synced) =
        (steps.iter().position(is_of_slot), steps.iter().position(|s| s.starts_with("sync done")));
    assert!(written.is_some() && written < synced, "{steps:?}");
    assert_eq!(bench.runtime().failed_syncs(), 0);
}

/// Who syncs without the lock may be told alone that what is written durably under it is lost.
#[test]
fn rule_4_a_durable_write_notices_the_sync_that_failed_beside_it() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    let beside = |point| {
        let other = bench.disk.open_media(page_offset(bench.end) * 2, Writable::Runtime).unwrap();
        crate::failpoint::at_failpoint(point, move || other.runtime().count_failed_sync());
    };
    beside("commit: record durable");
    let appended =
        bench.log.append(&bench.media, bench.runtime(), &mut body(&bench, 1, 20, 2), bench.end, None);
    assert!(matches!(appended, Err(Error::SyncFailed)));
    assert!(bench.runtime().in_doubt(), "the next owner finds out");
    bench.recover().unwrap();
    let (log, head) = (bench.runtime().log(), bench.log.checkpoint_begin(bench.runtime()));
    beside("checkpoint: slot durable");
    let ended = bench.log.checkpoint_end(&bench.media, bench.runtime(), head);
    assert!(matches!(ended, Err(Error::SyncFailed)));
    assert_eq!(bench.runtime().log(), log, "the tail stays where it is");
    bench.recover().unwrap();
    assert_eq!(bench.word(1), 2);
}

/// Who began to sync before the recovery did is told alone, and late, of what both should have written.
#[test]
fn rule_4_a_sync_that_fails_beside_a_recovery_is_not_forgotten_with_what_that_mends() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    bench.runtime().count_failed_sync();
    let other = bench.disk.open_media(page_offset(bench.end) * 2, Writable::Runtime).unwrap();
    crate::failpoint::at_failpoint("recover: replayed", move || other.runtime().count_failed_sync());
    let outcome = bench.recover();
    assert!(matches!(outcome, Err(Error::SyncFailed)), "{outcome:?}");
    assert!(bench.runtime().failed_syncs() > 0 && bench.runtime().in_doubt());
    bench.recover().unwrap();
    assert!(bench.runtime().failed_syncs() == 0 && !bench.runtime().in_doubt());
}

#[test]
fn rule_4_after_a_failed_sync_the_tail_stays_until_all_is_written_again() {
    let bench = bench();
    for value in 1..=3 {
        bench.append(body(&bench, value as u32, 20, value));
    }
    bench.disk.fail(Call::Sync, 0, libc::EIO);
    assert!(bench.log.checkpoint_now(&bench.media, bench.runtime()).is_err());
    for _ in 0..2 {
        // The next sync would succeed, and says nothing about the pages of the one that failed.
        let outcome = bench.log.checkpoint_now(&bench.media, bench.runtime());
        assert!(matches!(outcome, Err(Error::SyncFailed)), "{outcome:?}");
        assert_eq!(bench.runtime().log().tail, 0);
    }
    let steps = steps_of_recovery(&bench);
    assert!(steps.contains("rsh") && steps.ends_with('s'), "{steps}");
    // Nothing that was acknowledged depends on what the failed sync left.
    let history = bench.disk.history();
    let crash = history.at(history.points() - 1);
    assert_eq!(crash.dirty_pages().collect::<Vec<_>>(), []);
    bench.checkpoint();
    assert_eq!(bench.scan(), []);
}

/// Who syncs beside it may have been told alone that what both were to write is lost.
#[test]
fn rule_5_a_move_notices_the_sync_that_failed_beside_its_own() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    let before = bench.runtime().log();
    let other = bench.disk.open_media(page_offset(bench.end) * 2, Writable::Runtime).unwrap();
    crate::failpoint::at_failpoint("checkpoint: after sync", move || other.runtime().count_failed_sync());
    let moved = bench.log.move_to(&bench.media, bench.runtime(), LogPlace::FIRST);
    assert!(matches!(moved, Err(Error::SyncFailed)), "{moved:?}");
    assert_eq!((bench.runtime().log(), bench.runtime().in_doubt()), (before, false));
}

#[test]
fn rule_5_the_tail_never_moves_back() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    let slow = bench.log.checkpoint_begin(bench.runtime());
    bench.append(body(&bench, 1, 20, 2));
    bench.checkpoint();
    let (tail, generation) = (bench.runtime().log().tail, bench.runtime().log().generation);
    bench.log.checkpoint_end(&bench.media, bench.runtime(), slow).unwrap();
    assert_eq!((bench.runtime().log().tail, bench.runtime().log().generation), (tail, generation));
    assert_eq!(slots::newest(&bench.media, &bench.log).unwrap().tail, tail);
}

#[test]
fn rule_5_checkpoints_write_the_two_slots_in_turn() {
    let bench = bench();
    let mut newest = slots::newest(&bench.media, &bench.log).unwrap();
    for _ in 0..5 {
        bench.append(body(&bench, 1, 20, 1));
        bench.checkpoint();
        let older = newest;
        newest = slots::newest(&bench.media, &bench.log).unwrap();
        assert_eq!(newest.generation, older.generation + 1);
        let pages: Vec<_> = (0..2).map(|i| slots::read(&bench.media, i).unwrap().unwrap()).collect();
        assert!(pages.contains(&older) && pages.contains(&newest), "the newest slot was written over");
    }
}

#[test]
fn rule_5_a_torn_slot_leaves_the_other_and_the_whole_log() {
    let bench = bench();
    for value in 1..=3 {
        bench.append(body(&bench, value as u32, 20, value));
    }
    bench.checkpoint();
    bench.append(body(&bench, 4, 20, 4));
    bench.damage_newest_slot();
    assert_eq!(bench.scan(), [1, 2, 3, 4]);
    bench.recover().unwrap();
    assert_eq!([1, 2, 3, 4].map(|page| bench.word(page)), [1, 2, 3, 4]);
}

fn is_damaged(outcome: Result<()>) -> bool {
    matches!(outcome, Err(Error::Corrupt { offset, .. }) if offset < page_offset(3))
}

#[test]
fn rule_5_a_damaged_slot_and_an_overwritten_log_are_damage_not_an_older_state() {
    let bench = bench();
    bench.append(body(&bench, 1, words_of(4), 1));
    bench.checkpoint();
    for n in 0..RING / 256 - 2 {
        bench.append(body(&bench, 1, words_of(4), n));
    }
    bench.checkpoint();
    for n in 0..3 {
        bench.append(body(&bench, 1, words_of(4), n));
    }
    bench.damage_newest_slot();
    assert!(is_damaged(bench.recover()));
    for index in [0, 1] {
        bench.media.write(page_offset(SLOT_PAGES[index]), &[0; 64]).unwrap();
    }
    assert!(is_damaged(bench.recover()));
}

/// The record at the tail of the older slot may be there still when those after it are gone: it lies at the ring's end, where the next
/// lap's record found no room.
#[test]
fn rule_5_one_record_that_was_spared_is_no_whole_log() {
    let bench = bench();
    // Up to the last line before `end`.
    let fill = |end: u64, checkpoints: bool| {
        while bench.runtime().log().head < end - 64 {
            if checkpoints && bench.runtime().log().head.is_multiple_of(8192) {
                bench.checkpoint();
            }
            let left = (end - 64 - bench.runtime().log().head) / 64;
            bench.append(body(&bench, 1, words_of(if left < 6 { left } else { 4 } as usize), 1));
        }
    };
    fill(RING, true);
    bench.checkpoint();
    // 64 bytes, in the last line of the ring.
    bench.append_spilled(body(&bench, 2, 20, 2));
    assert_eq!(bench.runtime().log().head, RING);
    for n in 0..RING / 256 - 10 {
        bench.append(body(&bench, 3, words_of(4), n));
    }
    bench.checkpoint();
    let generation = bench.runtime().log().generation;
    fill(RING * 2, false);
    bench.append(body(&bench, 3, words_of(40), 4));
    assert_eq!(bench.runtime().log().generation, generation, "there was a checkpoint in between");
    bench.damage_newest_slot();
    let outcome = bench.recover();
    assert!(is_damaged(outcome), "an older state was passed off as the current one");
}

/// No more is the log whole where the records of the older slot are, and the last one is not among them: it lies beyond what that slot's ring can have, but only
/// over the ring's end, where the first of them found no room.
#[test]
fn rule_5_a_record_over_the_gap_at_the_ring_s_end_is_not_overlooked() {
    let bench = bench();
    let head = || bench.runtime().log().head;
    let fill =
        |end: u64| (head()..end).step_by(256).for_each(|_| bench.append(body(&bench, 1, words_of(4), 1)));
    fill(RING - 256);
    bench.checkpoint();
    let older = bench.runtime().log().tail;
    bench.append(body(&bench, 2, words_of(8), 2));
    assert_eq!(head(), RING + 512, "it found no room at the ring's end");
    bench.checkpoint();
    fill(RING * 2 - 512);
    bench.append(body(&bench, 3, words_of(6), 3));
    assert!(head() > older + RING && head() < RING * 2);
    bench.damage_newest_slot();
    assert!(is_damaged(bench.recover()), "an older state was passed off as the current one");
}

#[test]
fn the_revoke_rule() {
    let bench = bench();
    let filled = |page: u32, pages: u32| {
        let mut body = Body::default();
        body.range(bench.heap + page, pages);
        body.write(page_offset(bench.heap), &[1]);
        body
    };
    bench.append(body(&bench, 2, 20, 2));
    bench.append(body(&bench, 3, 20, 3));
    // Page 2 was freed, taken again, and filled in place; then a word of it was changed through the log.
    bench.media.write(page_offset(bench.heap + 2), &[0xAA; PAGE as usize]).unwrap();
    bench.append(filled(2, 1));
    let mut later = Body::default();
    later.write(page_offset(bench.heap + 2) + 8, &[7]);
    bench.append(later);
    bench.recover().unwrap();
    let word = |at: u64| bench.media.load(page_offset(bench.heap + 2) + at).unwrap();
    assert_eq!([word(0), word(8), word(16)], [0xAAAA_AAAA_AAAA_AAAA, 7, 0xAAAA_AAAA_AAAA_AAAA]);
    assert_eq!(bench.word(3), 3);
}

#[test]
fn a_void_record_takes_back_writes_and_lists() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    let mut given_up = Body::default();
    given_up.range(bench.heap + 1, 1);
    given_up.write(page_offset(bench.heap + 2), &[2; 20]);
    let next = bench.log.append(&bench.media, bench.runtime(), &mut given_up, bench.end, None).unwrap().next;
    bench.log.void(&bench.media, bench.runtime(), next, bench.end).unwrap();
    bench.runtime().set_in_doubt(false);
    bench.append(body(&bench, 3, 20, 3));
    assert_eq!(bench.scan(), [1, 2, 3, 4]);
    bench.recover().unwrap();
    assert_eq!([1, 2, 3].map(|page| bench.word(page)), [1, 0, 3]);
    assert_eq!(bench.runtime().sequence(), 4);
}

#[test]
fn a_spilled_record_is_replayed_from_its_extent() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    bench.append_spilled(body(&bench, 2, 5000, 2));
    assert_eq!(bench.scan(), [1, 2]);
    bench.recover().unwrap();
    assert_eq!([1, 2, 3].map(|page| bench.word(page)), [1, 2, 2]);
    // Recovery leaves no log that leads to the extent.
    assert_eq!(bench.scan(), []);
}

/// A small ring could name the same bytes of a long file again and again.
#[test]
fn many_spilled_records_are_damage_before_they_are_all_read() {
    let bench = bench();
    for _ in 0..8 {
        bench.append_spilled(body(&bench, 2, 5000, 7));
    }
    assert!(matches!(bench.recover(), Err(Error::Corrupt { .. })));
    assert!(matches!(bench.log.read(&bench.media), Err(Error::Corrupt { .. })));
}

#[test]
fn a_spilled_record_without_its_body_is_none() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    bench.append_spilled(body(&bench, 2, 5000, 2));
    bench.media.write(page_offset(bench.end) + 20_000, &[0xEE]).unwrap();
    assert_eq!(bench.scan(), [1]);
    // Nor one whose length leads past the file, or past all numbers.
    let header_at = bench.ring.offset(64 + 64 + 128);
    for words in [1 << 20, 1 << 61, (1 << 61) + 5001, u64::MAX] {
        bench.media.write(header_at + 24, &u64::to_le_bytes(words)).unwrap();
        assert_eq!(bench.scan(), [1]);
    }
}

#[test]
fn a_record_that_needs_a_longer_file_is_no_reason_to_guess() {
    let bench = bench();
    let mut grown = body(&bench, 1, 20, 1);
    let next = bench.log.append(&bench.media, bench.runtime(), &mut grown, bench.end + 1, None).unwrap().next;
    bench.log.applied(bench.runtime(), next);
    let outcome = bench.recover();
    assert!(matches!(outcome, Err(Error::Truncated { .. })), "{outcome:?}");
    assert_eq!(bench.word(1), 0);
}

#[test]
fn the_ring_never_overtakes_its_tail() {
    let bench = bench();
    let mut checkpoints = 0;
    for n in 0..2000u64 {
        let before = bench.runtime().log().generation;
        bench.append(body(&bench, 1, words_of(2 + (n * 7 % 60) as usize), n));
        let log = bench.runtime().log();
        checkpoints += log.generation - before;
        assert!(log.tail <= log.head && log.head <= log.tail + RING);
        let found = bench.scan();
        assert_eq!(found.last(), Some(&(n + 1)));
    }
    assert!(checkpoints > 20);
}
