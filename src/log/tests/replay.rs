//! What replay writes, and what it leaves alone.

use super::*;
use crate::media::sim::Recipe;

/// A record writes 16 words across the border of pages 1 and 2, and a later one has filled one of these pages in place.
fn replayed_beside_a_filled_page(filled: u32) -> [u64; 16] {
    let bench = bench();
    let at = page_offset(bench.heap + 2) - 64;
    let mut across = Body::default();
    across.write(at, &std::array::from_fn::<u64, 16, _>(|i| i as u64 + 1));
    bench.append(across);
    let mut fills = Body::default();
    fills.range(bench.heap + filled, 1);
    fills.write(page_offset(bench.heap), &[1]);
    bench.append(fills);
    bench.recover().unwrap();
    std::array::from_fn(|i| bench.media.load(at + i as u64 * 8).unwrap())
}

#[test]
fn a_write_half_of_which_was_filled_later_is_replayed_by_half() {
    assert_eq!(replayed_beside_a_filled_page(1), [0, 0, 0, 0, 0, 0, 0, 0, 9, 10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(replayed_beside_a_filled_page(2), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(replayed_beside_a_filled_page(3), std::array::from_fn(|i| i as u64 + 1));
}

#[test]
fn what_the_file_shows_is_not_written_again() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    bench.append(body(&bench, 2, 20, 2));
    bench.recover().unwrap();
    bench.media.write(page_offset(bench.heap + 2), &[0xEE]).unwrap();
    bench.disk.record(true).unwrap();
    bench.recover().unwrap();
    let history = bench.disk.history();
    let writes: Vec<String> = (0..history.points() - 1)
        .map(|step| history.describe(step))
        .filter(|step| step.starts_with("write"))
        .collect();
    let place = |page: u32| format!("at {:#x}", page_offset(bench.heap + page));
    assert!(writes.iter().any(|step| step.contains(&place(2))), "{writes:?}");
    assert!(!writes.iter().any(|step| step.contains(&place(1))), "{writes:?}");
    assert_eq!([bench.word(1), bench.word(2)], [1, 2]);
}

#[test]
fn a_reader_without_permission_replays_too() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    bench.log.replay_only(&bench.media, Apply::Write).unwrap();
    assert_eq!(bench.word(1), 1);
}

/// Another process has made the file as long as the record says, and was killed.
#[test]
fn a_file_that_others_have_grown_is_long_enough() {
    let bench = bench();
    let mut grown = body(&bench, 1, 20, 1);
    bench
        .disk
        .open_media(page_offset(bench.end) * 2, Writable::Runtime)
        .unwrap()
        .grow(page_offset(bench.end + 1))
        .unwrap();
    let next = bench.log.append(&bench.media, bench.runtime(), &mut grown, bench.end + 1, None).unwrap().next;
    bench.log.applied(bench.runtime(), next);
    assert!(bench.media.len() < page_offset(bench.end + 1), "this handle does not know yet");
    bench.recover().unwrap();
    assert_eq!(bench.word(1), 1);
}

/// What the file shows of pages 1 and 2, at each point of a recovery.
fn seen_in_recovery(bench: &Bench) -> Vec<[u64; 2]> {
    bench.media.sync().unwrap();
    bench.disk.record(true).unwrap();
    bench.recover().unwrap();
    let history = bench.disk.history();
    let mut image = Vec::new();
    let at = |page: u32| page_offset(bench.heap + page) as usize;
    (0..history.points())
        .map(|point| {
            history.at(point).build(Recipe::New, &mut image);
            [1, 2].map(|page| u64::from_le_bytes(image[at(page)..][..8].try_into().unwrap()))
        })
        .collect()
}

#[test]
fn a_word_goes_to_its_last_value_at_once() {
    for found in [0, 1, 3] {
        let bench = bench();
        for value in 1..=3 {
            bench.append(body(&bench, 1, 20, value));
            bench.append(body(&bench, 2, 20, value));
        }
        bench.media.write(page_offset(bench.heap + 1), bytemuck::cast_slice(&[found; 20])).unwrap();
        let seen = seen_in_recovery(&bench);
        assert_eq!(seen.last(), Some(&[3, 3]));
        assert!(seen.iter().all(|[one, two]| [found, 3].contains(one) && [0, 3].contains(two)), "{seen:?}");
    }
}

/// The heap reached to where the body lies when the first record was written; it was cut off since.
#[test]
fn a_spilled_body_is_not_written_over() {
    for voided in [false, true] {
        let mut bench = bench();
        bench.end += 2;
        bench.media.grow(page_offset(bench.end)).unwrap();
        bench.append(body(&bench, HEAP_PAGES + 1, 20, 1));
        bench.end -= 2;
        let next = bench.append_spilled(body(&bench, 2, 5000, 2));
        if voided {
            bench.log.void(&bench.media, bench.runtime(), next, bench.end).unwrap();
        }
        let all = if voided { vec![1, 2, 3] } else { vec![1, 2] };
        assert_eq!(bench.scan(), all);
        // Cut off before its checkpoint.
        bench.disk.fail(Call::Sync, 0, 5);
        bench.recover().unwrap_err();
        assert_eq!(bench.scan(), all);
    }
}
