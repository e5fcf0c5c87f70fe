//! Following the log while others write it.

use super::super::follow::follow;
use super::super::ring::Cursor;
use super::*;

/// What following from the log's start up to its head touches, and where it ends.
fn followed(bench: &Bench) -> Option<(Vec<(u64, u64)>, u64)> {
    let start = Cursor { position: 0, sequence: 1, seed: SALT };
    let mut touched = Vec::new();
    let head = bench.runtime().log().head;
    let end =
        follow(&bench.media, &bench.ring, start, head, bench.heap, |a, b| touched.push((a, b))).unwrap();
    end.map(|end| (touched, end.position))
}

#[test]
fn all_that_records_write_or_list_is_touched_and_nothing_else() {
    let bench = bench();
    let page = |n: u32| page_offset(bench.heap + n);
    bench.append(body(&bench, 1, 20, 1));
    let mut filled = Body::default();
    filled.range(bench.heap + 5, 3);
    filled.write(page(2) + 64, &[1; 7]);
    filled.write(page(3), &[1]);
    bench.append(filled);
    // Given up: its writes never were.
    let mut given_up = body(&bench, 9, 20, 1);
    let next = bench.log.append(&bench.media, bench.runtime(), &mut given_up, bench.end, None).unwrap().next;
    bench.log.void(&bench.media, bench.runtime(), next, bench.end).unwrap();
    bench.append(body(&bench, 4, 2, 1));
    let (touched, end) = followed(&bench).unwrap();
    let last = (page(4), page(4) + 16);
    let expected = [(page(1), page(1) + 160), (page(5), page(8)), (page(2) + 64, page(2) + 120)];
    assert_eq!(touched[..3], expected);
    assert_eq!((touched[3], touched.last()), ((page(3), page(3) + 8), Some(&last)));
    assert_eq!(end, bench.runtime().log().head);
}

/// Its extent may be cut off, or taken for something else, before the follower comes there.
#[test]
fn a_spilled_record_is_not_looked_for() {
    let bench = bench();
    bench.append(body(&bench, 1, 20, 1));
    assert!(followed(&bench).is_some());
    bench.append_spilled(body(&bench, 2, 20, 2));
    assert_eq!(bench.scan(), [1, 2]);
    assert_eq!(followed(&bench), None);
}

#[test]
fn what_was_written_over_is_lost() {
    let bench = bench();
    for n in 0..RING / 256 + 10 {
        bench.append(body(&bench, 1, words_of(4), n));
    }
    assert_eq!(followed(&bench), None);
}
