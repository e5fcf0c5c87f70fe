//! Where one more or one less makes the difference.

use super::super::intent;
use super::super::ring::Cursor;
use super::*;
use crate::layout::DURABILITY_PROCESS;
use crate::layout::LogPlace;

fn body_of(words: usize) -> Body {
    let mut body = Body::default();
    // A head, and the rest.
    body.write(page_offset(64), &vec![1; words - 1]);
    assert_eq!(body.words().len(), words);
    body
}

#[test]
fn creation_writes_the_whole_ring() {
    let len = 2 << 20;
    let superblock = Superblock::new([7; 16], DURABILITY_POWER, (len / PAGE) as u32, 64);
    let end = page_offset(superblock.heap_page);
    let disk = SimDisk::from_image(&vec![0xEE; end as usize]).unwrap();
    let media = disk.open_media(end, Writable::Runtime).unwrap();
    PowerLog::new(&superblock).format(&media, SALT).unwrap();
    let mut bytes = vec![1; len as usize];
    media.copy_to(page_offset(superblock.log_page), &mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 0));
}

#[test]
fn a_record_of_a_quarter_of_the_ring_is_not_spilled() {
    let bench = bench();
    let most = ((RING / 4 - 64) / 8) as usize;
    assert!(!bench.log.must_spill(bench.runtime(), &body_of(most)));
    assert!(bench.log.must_spill(bench.runtime(), &body_of(most + 1)));
    bench.append(body_of(most));
    assert_eq!(bench.log.used(bench.runtime()), RING / 4);
    assert_eq!(bench.log.capacity(bench.runtime()), RING);
}

#[test]
fn the_intent_area_is_used_to_its_last_word() {
    let superblock = Superblock::new([7; 16], DURABILITY_PROCESS, (RING / PAGE) as u32, 64);
    let most = (u64::from(superblock.intent_pages) * PAGE / 8) as usize - intent::HEAD_WORDS;
    assert!(intent::fits(&superblock, &body_of(most)));
    assert!(!intent::fits(&superblock, &body_of(most + 1)));
    for pages in [1, 7] {
        let fits = pages * PAGE as usize / 8 - intent::HEAD_WORDS;
        assert_eq!(intent::spill_len(&body_of(fits)), pages as u64);
        assert_eq!(intent::spill_len(&body_of(fits + 1)), pages as u64 + 1);
    }
}

#[test]
fn a_spilled_body_may_end_where_the_file_ends() {
    let bench = bench();
    let body = body_of(10 * PAGE as usize / 8);
    bench.append_spilled(body);
    assert_eq!(bench.media.len(), page_offset(bench.end + 10));
    assert_eq!(bench.scan(), [1]);
}

#[test]
fn a_length_that_no_memory_has_is_no_reason_to_ask_for_it() {
    let bench = bench();
    bench.append_spilled(body(&bench, 1, 20, 1));
    assert_eq!(bench.scan(), [1]);
    bench.media.write(bench.ring.offset(24), &(1u64 << 50).to_le_bytes()).unwrap();
    assert_eq!(bench.scan(), []);
}

/// Its checksum would be right.
#[test]
fn a_record_that_reaches_past_the_ring_is_none() {
    let bench = bench();
    let room = |bench: &Bench| RING - bench.runtime().log().head;
    while room(&bench) > 256 {
        bench.checkpoint();
        bench.append(body(&bench, 1, words_of((room(&bench) / 64 - 4).min(60) as usize), 1));
    }
    assert_eq!(room(&bench), 256);
    bench.checkpoint();
    for (lines, is_one) in [(4, true), (5, false)] {
        let mut words = vec![5; words_of(lines) + 1];
        words[0] = (page_offset(bench.heap) / 8) << 16 | words_of(lines) as u64;
        bench.forge(bench.next_header(&words), &words);
        assert_eq!(bench.scan().len(), usize::from(is_one), "{lines} lines");
    }
}

#[test]
fn what_a_slot_cannot_say_makes_it_none() {
    let bench = bench();
    let limit = 1 << 62;
    let good = Cursor { position: 64, sequence: 9, seed: 1 };
    let is_one = |generation: u64, cursor: Cursor| {
        slots::write(&bench.media, &slots::slot(generation, cursor, LogPlace::FIRST)).unwrap();
        slots::read(&bench.media, (generation % 2) as usize).unwrap().is_some()
    };
    assert!(is_one(4, good));
    assert!(!is_one(4, Cursor { position: limit, ..good }));
    assert!(!is_one(4, Cursor { sequence: 0, ..good }));
    assert!(!is_one(4, Cursor { sequence: limit, ..good }));
    assert!(!is_one(limit, good));
    assert!(is_one(limit - 2, Cursor { position: limit - 1, sequence: limit - 1, ..good }));
}

#[test]
fn a_file_that_ends_in_its_log_says_how_long_it_should_be() {
    let bench = bench();
    let needed = |outcome: Result<()>| match outcome {
        Err(Error::Truncated { needed, .. }) => needed,
        other => panic!("{other:?}"),
    };
    let cut = |pages: u64| {
        let disk = SimDisk::from_image(&vec![0; (pages * PAGE) as usize]).unwrap();
        disk.open_media(pages * PAGE, Writable::Runtime).unwrap()
    };
    let slot = slots::read(&cut(u64::from(SLOT_PAGES[0])), 0);
    assert_eq!(needed(slot.map(drop)), page_offset(SLOT_PAGES[0]) + 64);
    let start = bench.ring.offset(0);
    let first = Cursor { position: 0, sequence: 1, seed: SALT };
    let read = bench.ring.read(&cut(start / PAGE), first, 0);
    assert_eq!(needed(read.map(drop)), start + RING);
}

/// With one slot damaged, the other counts only if the log behind it is all there was.
mod with_a_damaged_slot {
    use super::*;

    /// A header for the ring's line `line`, of a record that would be the last.
    fn later(bench: &Bench, line: u64) -> RecordHeader {
        let header = bench.next_header(&[0]);
        RecordHeader { sequence: 50, position: RING * 3 + line * 64, seed: 1, crc: 1, ..header }
    }

    fn recovers_beside(header: impl FnOnce(&Bench) -> RecordHeader) -> bool {
        let bench = bench();
        bench.append(body(&bench, 1, 20, 1));
        let header = header(&bench);
        bench.media.write(bench.ring.offset(64 * 40), bytemuck::bytes_of(&header)).unwrap();
        bench.damage_newest_slot();
        let outcome = bench.recover();
        assert!(outcome.is_ok() || is_damaged(outcome));
        bench.word(1) == 1
    }

    #[test]
    fn a_later_record_anywhere_is_noticed() {
        assert!(!recovers_beside(|bench| later(bench, 40)));
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        assert!(recovers_beside(|bench| RecordHeader { magic: 0, ..later(bench, 40) }));
        assert!(recovers_beside(|bench| RecordHeader { sequence: 1, ..later(bench, 40) }));
        // The content of a block may well be a header that lay elsewhere.
        assert!(recovers_beside(|bench| later(bench, 41)));
        assert!(recovers_beside(|bench| RecordHeader { position: 64, ..later(bench, 40) }));
    }

    #[test]
    fn a_torn_record_at_the_head_is_none() {
        let bench = bench();
        bench.append(body(&bench, 1, 20, 1));
        let head = bench.runtime().log().head;
        bench.append(body(&bench, 2, 20, 2));
        bench.media.write(bench.ring.offset(head + 70), &[0xEE]).unwrap();
        bench.damage_newest_slot();
        bench.recover().unwrap();
        assert_eq!([bench.word(1), bench.word(2)], [1, 0]);
    }

    /// Its body was on the disk before it.
    #[test]
    fn a_spilled_record_whose_body_is_gone_is_a_loss() {
        let bench = bench();
        bench.append(body(&bench, 1, 20, 1));
        bench.append_spilled(body(&bench, 2, 5000, 2));
        bench.media.write(page_offset(bench.end) + 20_000, &[0xEE]).unwrap();
        assert_eq!(bench.scan(), [1]);
        bench.damage_newest_slot();
        assert!(is_damaged(bench.recover()));
    }
}
