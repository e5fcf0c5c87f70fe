//! The crash model itself: what may be lost, what must not, and that a broken protocol is found out.

mod histories;

use super::history::Entry;
use super::*;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

const SECTOR: u64 = 512;
/// Heap pages in these tests: past the runtime pages, which hold anything after a crash.
const HEAP: u64 = 40;

/// A disk of 48 pages of zeros and a handle on it.
fn disk() -> (SimDisk, Media) {
    disk_of(48, Writable::All)
}

fn disk_of(pages: u64, writable: Writable) -> (SimDisk, Media) {
    let disk = SimDisk::from_image(&vec![0; (pages * PAGE) as usize]).unwrap();
    let media = disk.open_media(1 << 30, writable).unwrap();
    (disk, media)
}

fn at(page: u64) -> u64 {
    page * PAGE
}

/// All images at this point, each as the bytes at these offsets (`None` past the end of the file).
fn outcomes<const N: usize>(history: &History, point: usize, offsets: [u64; N]) -> BTreeSet<[Option<u8>; N]> {
    let plan = Plan { enumerate_up_to: 100_000, samples: 0, seed: 0 };
    let mut seen = BTreeSet::new();
    history.images(point..point + 1, &plan, |_, recipe, image| {
        assert!(matches!(recipe, Recipe::Nth(_)), "too many to enumerate");
        seen.insert(offsets.map(|offset| image.get(offset as usize).copied()));
    });
    seen
}

fn last(history: &History) -> usize {
    history.points() - 1
}

fn values<const N: usize, const M: usize>(rows: [[u8; N]; M]) -> BTreeSet<[Option<u8>; N]> {
    rows.into_iter().map(|row| row.map(Some)).collect()
}

#[test]
fn an_unsynced_write_is_lost_or_kept_sector_by_sector() {
    let (disk, media) = disk();
    media.write(at(HEAP) + 100, &[1; 1024]).unwrap();
    let history = disk.history();
    let offsets = [at(HEAP) + 100, at(HEAP) + SECTOR, at(HEAP) + 2 * SECTOR, at(HEAP) + 100 + 1024];
    let seen = outcomes(&history, last(&history), offsets);
    let every = (0..8).map(|bits: u8| [Some(bits & 1), Some(bits >> 1 & 1), Some(bits >> 2), Some(0)]);
    assert_eq!(seen, every.collect());
    assert_eq!(outcomes(&history, 0, offsets), values([[0; 4]]), "before the write there is one image");
}

#[test]
fn within_a_sector_the_order_of_writes_is_kept() {
    let (disk, media) = disk();
    media.write(at(HEAP), &[1]).unwrap();
    media.write(at(HEAP) + 1, &[2]).unwrap();
    media.write(at(HEAP) + SECTOR, &[3]).unwrap();
    let history = disk.history();
    let seen = outcomes(&history, last(&history), [at(HEAP), at(HEAP) + 1, at(HEAP) + SECTOR]);
    assert_eq!(seen, values([[0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 0, 3], [1, 0, 3], [1, 2, 3]]));
}

#[test]
fn a_sync_keeps_what_came_before_it_and_nothing_else() {
    let (disk, media) = disk();
    media.write(at(HEAP), &[1]).unwrap();
    media.sync().unwrap();
    media.write(at(HEAP), &[2]).unwrap();
    let history = disk.history();
    let seen = |point| outcomes(&history, point, [at(HEAP)]);
    assert_eq!(history.points(), 5);
    assert_eq!(seen(1), values([[0], [1]]));
    assert_eq!(seen(2), values([[0], [1]]), "inside the sync: not yet durable");
    assert_eq!(seen(3), values([[1]]));
    assert_eq!(seen(4), values([[1], [2]]));
}

#[test]
fn a_sync_does_not_keep_what_was_written_while_it_ran() {
    let (disk, media) = disk();
    media.write(at(HEAP) + SECTOR, &[1]).unwrap();
    let mut state = disk.state();
    state.recorder.step(&disk.shared.cache);
    let place = state.recorder.sync_begun();
    state.recorder.step(&disk.shared.cache);
    state.recorder.write(at(HEAP), &[1]);
    state.recorder.step(&disk.shared.cache);
    state.recorder.sync_done(place, true);
    drop(state);
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(HEAP)]), values([[0], [1]]));
    media.sync().unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(HEAP)]), values([[1]]), "the next one does");
}

#[test]
fn a_durable_write_keeps_its_own_sectors_only() {
    let (disk, media) = disk();
    media.write(at(HEAP), &[1]).unwrap();
    media.write(at(HEAP) + SECTOR, &[1]).unwrap();
    media.write_durable(at(HEAP) + 9, &[2]).unwrap();
    let history = disk.history();
    let seen = |point| outcomes(&history, point, [at(HEAP), at(HEAP) + 9, at(HEAP) + SECTOR]);
    let inside = values([[0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 0, 1], [1, 0, 1], [1, 2, 1]]);
    assert_eq!(seen(3), inside, "the write has not returned");
    assert_eq!(seen(4), values([[1, 2, 0], [1, 2, 1]]), "it has");
}

#[test]
fn growth_is_applied_in_part_and_independently_of_the_bytes() {
    let (disk, media) = disk();
    media.write(at(HEAP), &[1]).unwrap();
    media.grow(at(56)).unwrap();
    media.write(at(55), &[2]).unwrap();
    let history = disk.history();
    let point = last(&history);
    let seen = outcomes(&history, point, [at(HEAP), at(55)]);
    let expected = [0, 1].into_iter().flat_map(|x| [None, Some(0), Some(2)].map(|y| [Some(x), y]));
    assert_eq!(seen, expected.collect());
    let mut lengths = BTreeSet::new();
    let plan = Plan { enumerate_up_to: 0, samples: 2_000, seed: 3 };
    history.images(point..point + 1, &plan, |_, _, image| {
        lengths.insert(image.len() as u64 / PAGE);
    });
    assert_eq!(lengths, (48..=56).collect());
}

#[test]
fn a_sync_keeps_the_length_and_a_durable_write_what_it_needs_of_it() {
    let (disk, media) = disk();
    media.grow(at(56)).unwrap();
    media.write_durable(at(50), &[1]).unwrap();
    media.write_durable(at(56), &[2]).unwrap();
    media.grow(at(60)).unwrap();
    media.sync().unwrap();
    let history = disk.history();
    let lengths = |point: usize| {
        let mut image = Vec::new();
        let crash = history.at(point);
        let mut length = |n| {
            crash.build(Recipe::Nth(n), &mut image);
            image.len() as u64
        };
        let all: BTreeSet<_> = (0..crash.combinations()).map(&mut length).collect();
        (*all.first().unwrap(), *all.last().unwrap())
    };
    assert_eq!(lengths(2), (at(48), at(56)), "the first durable write has not returned");
    assert_eq!(lengths(3), (at(51), at(56)));
    assert_eq!(lengths(5), (at(56) + 1, at(56) + 1), "a write past the end makes the file that long");
    assert_eq!(lengths(6), (at(56) + 1, at(60)));
    assert_eq!(lengths(8), (at(60), at(60)));
}

#[test]
fn a_cut_file_that_grows_again_has_no_old_bytes() {
    let (disk, media) = disk();
    media.write(at(47), &[1]).unwrap();
    media.sync().unwrap();
    media.truncate(at(46)).unwrap();
    media.grow(at(48)).unwrap();
    media.write(at(47), &[2]).unwrap();
    let history = disk.history();
    let point = last(&history);
    // The last page: as before the cut, not there, zeros, or new.
    let seen = outcomes(&history, point, [at(47)]);
    assert_eq!(seen, [Some(1), None, Some(0), Some(2)].map(|x| [x]).into());
    media.sync().unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(47)]), values([[2]]));
}

#[test]
fn what_is_written_after_a_cut_is_not_there_without_the_cut() {
    for before in [0, 1] {
        let (disk, media) = disk();
        media.write_durable(at(46), &[before]).unwrap();
        media.truncate(at(46)).unwrap();
        media.grow(at(47)).unwrap();
        media.write(at(46), &[2]).unwrap();
        let history = disk.history();
        // The last page is there only while the file has not been cut.
        let seen = outcomes(&history, last(&history), [at(46), at(47)]);
        let cut = [None, Some(0), Some(2)].map(|byte| [byte, None]);
        assert_eq!(seen, cut.into_iter().chain([[Some(before), None], [Some(before), Some(0)]]).collect());
    }
}

#[test]
fn a_durable_write_after_cut_and_growth_brings_both_with_it() {
    let (disk, media) = disk();
    media.write_durable(at(46), &[1; 2 * PAGE as usize]).unwrap();
    media.truncate(at(46)).unwrap();
    media.grow(at(48)).unwrap();
    media.write_durable(at(47), &[2]).unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(46), at(47), at(47) + 1]), values([[0, 2, 0]]));
}

#[test]
fn a_punched_range_holds_old_bytes_or_zeros_until_the_sync() {
    let (disk, _) = disk();
    let file = SimFile::open(&disk, Writable::All).unwrap();
    file.write_durable(at(HEAP), &[1; 512]).unwrap();
    file.punch(at(HEAP), PAGE).unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(HEAP)]), values([[0], [1]]));
    let mut byte = [9];
    file.read_at(at(HEAP), &mut byte).unwrap();
    assert_eq!(byte, [0]);
    file.sync().unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(HEAP)]), values([[0]]));
}

#[test]
fn after_a_failed_sync_only_writing_again_helps() {
    let (disk, media) = disk();
    media.write(at(HEAP), &[1]).unwrap();
    media.write(at(HEAP + 1), &[1]).unwrap();
    disk.fail(Call::Sync, 0, libc::EIO);
    let error = media.sync().unwrap_err();
    assert!(
        matches!(error, Error::Io { op: "sync", source, .. } if source.raw_os_error() == Some(libc::EIO))
    );
    media.write(at(HEAP + 1), &[1]).unwrap();
    media.sync().unwrap();
    let history = disk.history();
    let seen = outcomes(&history, last(&history), [at(HEAP), at(HEAP + 1)]);
    assert_eq!(seen, values([[0, 1], [1, 1]]), "the later sync wrote only the page that was written again");
}

#[test]
fn a_failed_flush_leaves_the_bytes_readable_and_in_doubt() {
    let (disk, media) = disk();
    disk.fail(Call::Flush, 0, libc::EIO);
    media.write_durable(at(HEAP), &[1]).unwrap_err();
    assert_eq!(media.view(at(HEAP), 1), Some(&[1][..]));
    media.sync().unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(HEAP)]), values([[0], [1]]));
    media.write_durable(at(HEAP), &[1]).unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, last(&history), [at(HEAP)]), values([[1]]));
}

#[test]
fn faults_hit_the_call_they_were_set_for_and_change_nothing() {
    let (disk, media) = disk();
    disk.fail(Call::Write, 1, libc::EIO);
    media.write(at(HEAP), &[1]).unwrap();
    media.write_durable(at(HEAP), &[1]).unwrap();
    let steps = disk.steps();
    let error = media.write(at(HEAP), &[2]).unwrap_err();
    assert!(
        matches!(error, Error::Io { op: "write", source, .. } if source.raw_os_error() == Some(libc::EIO))
    );
    assert_eq!((media.view(at(HEAP), 1), disk.steps()), (Some(&[1][..]), steps));
    media.write(at(HEAP), &[3]).unwrap();

    disk.fail_from(Call::Reserve, 1, libc::ENOSPC);
    media.grow(at(49)).unwrap();
    for _ in 0..2 {
        assert!(matches!(media.grow(at(50)), Err(Error::NoSpace { needed: PAGE })));
    }
    assert_eq!(media.refresh_len().unwrap(), at(49));
    disk.clear_faults();
    media.grow(at(50)).unwrap();
    disk.fail(Call::Truncate, 0, libc::EIO);
    media.truncate(at(48)).unwrap_err();
    disk.fail(Call::WriteDurable, 0, libc::ENOSPC);
    assert!(matches!(media.write_durable(at(HEAP), &[4; 7]), Err(Error::NoSpace { needed: 7 })));
    assert_eq!(media.view(at(HEAP), 1), Some(&[3][..]));
}

#[test]
fn stores_are_steps_unless_they_are_private_or_refused() {
    let (disk, media) = disk();
    media.store(at(HEAP), &[1]).unwrap();
    media.store_words(at(HEAP) + SECTOR, &[u64::MAX]).unwrap();
    media.store(at(48), &[1]).unwrap_err();
    let history = disk.history();
    assert_eq!(history.points(), 3);
    let seen = outcomes(&history, last(&history), [at(HEAP), at(HEAP) + SECTOR]);
    assert_eq!(seen, values([[0, 0], [1, 0], [0, 255], [1, 255]]));

    let private = disk.open_media(1 << 30, Writable::Private).unwrap();
    private.store(at(HEAP), &[7]).unwrap();
    private.write(at(HEAP), &[7]).unwrap_err();
    let ranged = disk.open_media(1 << 30, Writable::Runtime).unwrap();
    ranged.store(at(HEAP), &[8]).unwrap_err();
    assert_eq!((disk.steps(), ranged.view(at(HEAP), 1)), (2, Some(&[1][..])));
    assert_eq!(disk.unrecorded().unwrap(), None);
}

#[test]
fn a_write_past_the_seam_is_found() {
    let (disk, media) = disk();
    media.write(at(HEAP), &[1]).unwrap();
    disk.shared.cache.write_all_at(&[1], at(HEAP) + 77).unwrap();
    assert_eq!(disk.unrecorded().unwrap(), Some(at(HEAP) + 77));
    media.write(at(HEAP) + 77, &[1]).unwrap();
    disk.shared.cache.set_len(at(50)).unwrap();
    assert_eq!(disk.unrecorded().unwrap(), Some(at(48)));
}

#[test]
fn runtime_words_hold_anything_after_a_crash_and_other_pages_do_not() {
    let (disk, media) = disk_of(48, Writable::Runtime);
    let word = media.runtime().lock_word();
    for value in [1, 2, 3] {
        word.store(value, Ordering::Relaxed);
        media.write(at(HEAP), &[value as u8]).unwrap();
    }
    media.write(at(HEAP), &[3]).unwrap();
    word.store(4, Ordering::Relaxed);
    let history = disk.history();
    let looks = history.log.iter().filter(|entry| matches!(entry, Entry::Seen { .. }));
    assert_eq!(looks.count(), 4, "words are taken down when they change");
    let plan = Plan { enumerate_up_to: 0, samples: 500, seed: 9 };
    let (mut words, mut garbage) = (BTreeSet::new(), 0);
    history.images(last(&history)..history.points(), &plan, |_, _, image| {
        let (before, rest) = image.split_at(at(4) as usize);
        let (runtime, heap) = rest.split_at(at(33) as usize);
        let word = u64::from_le_bytes(runtime[..8].try_into().unwrap());
        words.insert(word);
        garbage += u64::from(word > 4);
        assert!(before.iter().all(|&byte| byte == 0));
        assert!(heap.iter().enumerate().all(|(i, &byte)| i as u64 == at(3) || byte == 0));
    });
    assert!((0..=4).all(|value| words.contains(&value)) && garbage > 50, "{words:?}");
    // At the end of a step, the words stored after it have not been stored.
    let mut image = Vec::new();
    history.at(0).build(Recipe::New, &mut image);
    assert_eq!(image[at(4) as usize], 1);
    history.at(4).build(Recipe::New, &mut image);
    assert_eq!(image[at(4) as usize], 4);
}

#[test]
fn handles_lock_each_other_out_until_dropped() {
    let (disk, first) = disk();
    let second = disk.open_media(1 << 30, Writable::All).unwrap();
    assert!(first.try_lock(false).unwrap());
    assert!(second.try_lock(false).unwrap());
    assert!(!second.try_lock(true).unwrap());
    first.unlock();
    assert!(second.try_lock(true).unwrap());
    assert!(!first.try_lock(false).unwrap());
    drop(second);
    assert!(first.try_lock(true).unwrap());
    assert!(first.is_in_place());
}

#[test]
fn handles_see_each_other_and_a_reset_needs_them_gone() {
    let (disk, first) = disk();
    let second = disk.open_media(1 << 30, Writable::All).unwrap();
    first.grow(at(50)).unwrap();
    first.store(at(49), &[5]).unwrap();
    assert_eq!(second.refresh_len().unwrap(), at(50));
    assert_eq!(second.view(at(49), 1), Some(&[5][..]));
    let reset = std::panic::catch_unwind(|| disk.reset(&[]));
    assert!(reset.is_err());
    drop((first, second));
    disk.reset(&[1, 0, 2]).unwrap();
    assert_eq!((disk.read_cache().unwrap(), disk.steps()), (vec![1, 0, 2], 0));
    disk.record(false).unwrap();
    let media = disk.open_media(1 << 20, Writable::All).unwrap();
    media.write(1, &[9]).unwrap();
    assert_eq!((disk.steps(), disk.unrecorded().unwrap()), (0, None));
    disk.record(true).unwrap();
    let history = disk.history();
    assert_eq!(outcomes(&history, 0, [0, 1, 2]), values([[1, 9, 2]]), "all that is there counts as durable");
}

#[test]
fn the_special_images_have_each_page_alone() {
    let (disk, media) = disk();
    for page in [HEAP, HEAP + 1, HEAP + 2] {
        media.write(at(page), &[1; PAGE as usize]).unwrap();
    }
    let history = disk.history();
    let plan = Plan { enumerate_up_to: 10, samples: 6, seed: 4 };
    let mut seen = BTreeSet::new();
    let count = history.images(3..4, &plan, |_, recipe, image| {
        let page = |page| &image[at(page) as usize..at(page + 1) as usize];
        let pages = [HEAP, HEAP + 1, HEAP + 2].map(page);
        if !matches!(recipe, Recipe::Sampled(_)) {
            assert!(pages.iter().all(|page| page.iter().all(|byte| byte == &page[0])), "{recipe:?}");
            seen.insert(pages.map(|page| page[0]));
        }
    });
    assert_eq!((count, seen.len()), (2 + 6 + 6, 8));
    let few = Plan { enumerate_up_to: 10, samples: 4, seed: 4 };
    assert_eq!(history.at(3).recipes(&few).len(), 2 + 4 + 4);

    media.grow(at(50)).unwrap();
    media.write(at(49), &[1]).unwrap();
    let history = disk.history();
    let mut image = Vec::new();
    let mut pages = |recipe| {
        history.at(last(&history)).build(recipe, &mut image);
        image.len() as u64 / PAGE
    };
    assert_eq!(pages(Recipe::OnlyNew(HEAP)), 48, "a page alone needs no growth");
    assert_eq!(pages(Recipe::OnlyNew(49)), 50, "but where it lies in it");
}

#[test]
fn samples_reach_what_enumeration_finds() {
    let (disk, media) = disk();
    media.write(at(HEAP), &[1; 1024]).unwrap();
    media.write(at(HEAP + 2), &[1; 512]).unwrap();
    media.grow(at(49)).unwrap();
    media.write(at(HEAP), &[2; 512]).unwrap();
    let history = disk.history();
    let draw = |enumerate_up_to| {
        let plan = Plan { enumerate_up_to, samples: 3_000, seed: 1 };
        let mut images = BTreeSet::new();
        history.images(last(&history)..history.points(), &plan, |_, _, image| {
            let bytes = [at(HEAP), at(HEAP) + SECTOR, at(HEAP + 2)].map(|offset| image[offset as usize]);
            images.insert((bytes, image.len()));
        });
        images
    };
    assert_eq!(history.at(last(&history)).combinations(), 3 * 2 * 2 * 2);
    assert_eq!(draw(24).len(), 24);
    assert_eq!(draw(23), draw(24));
}
