//! A heap whose metadata is built anew from its page map and its slabs.

use super::super::stretch::{Stretch, Use};
use super::super::survey::Loss;
use super::super::tree::{Extent, NODES_PER_PAGE};
use super::*;
use crate::layout::LogPlace;

/// A heap with a bit of everything: several arrays of the page map, slabs full and not, empty blocks, punched extents and others.
fn varied_heap() -> (Mock, Heap) {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 4000);
    let mut runs = Vec::new();
    for n in 0..40u64 {
        runs.push(heap.alloc(&mut mock, (1 + n % 7) * PAGE - n, PAGE).unwrap());
    }
    runs.push(heap.alloc_unlogged(&mut mock, 9 * PAGE).unwrap());
    let long = heap.alloc(&mut mock, 600 * PAGE, PAGE).unwrap();
    runs.push(heap.alloc(&mut mock, 3 * PAGE, PAGE).unwrap());
    for len in [0, 8, 8, 56, 56, 300, 5000, 9000] {
        heap.alloc(&mut mock, len, 8).unwrap();
    }
    // One slab to its last slot.
    while !is_full_slab(&heap, &mock, 3000) {
        heap.alloc(&mut mock, 3000, 8).unwrap();
    }
    mock.commit(&mut heap);
    for (n, &run) in runs.iter().enumerate() {
        if n % 3 == 1 {
            heap.free(&mut mock, run).unwrap();
        }
    }
    heap.free(&mut mock, long).unwrap();
    mock.commit(&mut heap);
    let mut page = 0;
    let mut nth = 0;
    while let Some(extent) = heap.next_extent(&mock, page).unwrap() {
        page = extent.end();
        nth += 1;
        if nth % 2 == 0 && extent.pages > 1 {
            heap.mark_punched(&mut mock, extent).unwrap();
        }
    }
    mock.commit(&mut heap);
    sound(&heap, &mock);
    (mock, heap)
}

fn is_full_slab(heap: &Heap, mock: &Mock, size: u32) -> bool {
    stretches(heap, mock).iter().any(
        |stretch| matches!(stretch.used, Use::Slab { size: s, slots, used } if s >= size && slots == used),
    )
}

fn stretches(heap: &Heap, mock: &Mock) -> Vec<Stretch> {
    let (mut all, mut page) = (Vec::new(), 0);
    while let Some(stretch) = heap.next_stretch(mock, page).unwrap() {
        page = stretch.end();
        all.push(stretch);
    }
    all
}

fn blocks(heap: &Heap, mock: &Mock) -> Vec<Block> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(block) = heap.next_block(mock, at).unwrap() {
        at = block.offset;
        all.push(block);
    }
    all
}

fn load(mock: &Mock, at: u64) -> u64 {
    mock.words[at as usize / 8]
}

fn set(mock: &mut Mock, at: u64, word: u64) {
    mock.words[at as usize / 8] = word;
}

/// Builds it anew; what was lost.
fn repair(heap: &mut Heap, mock: &mut Mock) -> Vec<Loss> {
    let rebuilt = heap.rebuild(mock, mock.pages(), LogPlace::FIRST).unwrap();
    for (&at, &word) in &rebuilt.words {
        assert_ne!(load(mock, at), word, "a word that does not change");
        set(mock, at, word);
    }
    heap.forget_hints();
    sound(heap, mock);
    rebuilt.losses
}

/// Everything can be done with it.
fn can_be_worked_with(heap: &mut Heap, mock: &mut Mock) {
    let all = blocks(heap, mock);
    for block in all.iter().step_by(2) {
        heap.free(mock, block.offset).unwrap();
    }
    mock.commit(heap);
    for len in [0, 8, 300, 5000, 40_000] {
        heap.alloc(mock, len, 8).unwrap();
    }
    mock.commit(heap);
    sound(heap, mock);
}

#[test]
fn a_sound_heap_is_built_as_it_was() {
    let (mut mock, mut heap) = varied_heap();
    let before = (stretches(&heap, &mock), blocks(&heap, &mock), heap.header.end_and_punched(&mock).unwrap());
    assert!(before.0.iter().any(|s| s.used == Use::Free { punched: true }));
    assert!(before.0.iter().any(|s| s.used == Use::Free { punched: false }));
    assert_eq!(repair(&mut heap, &mut mock), []);
    let after = (stretches(&heap, &mock), blocks(&heap, &mock), heap.header.end_and_punched(&mock).unwrap());
    assert_eq!(after, before);
    can_be_worked_with(&mut heap, &mut mock);
}

#[test]
fn what_was_punched_behind_the_end_stays_known() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 400);
    let run = heap.alloc(&mut mock, 200 * PAGE, PAGE).unwrap();
    mock.commit(&mut heap);
    heap.free(&mut mock, run).unwrap();
    mock.commit(&mut heap);
    let tail = Extent { punched: true, ..heap.next_extent(&mock, (run / PAGE) as Page).unwrap().unwrap() };
    heap.mark_punched(&mut mock, tail).unwrap();
    heap.cut_tail(&mut mock, 0).unwrap();
    mock.commit(&mut heap);
    let (end, punched) = heap.header.end_and_punched(&mock).unwrap();
    assert!(punched > end);
    // Reason enough to build something.
    set(&mut mock, heap.header.spare_at(), 8);
    repair(&mut heap, &mut mock);
    assert_eq!(heap.header.end_and_punched(&mock).unwrap(), (end, punched));
}

/// Makes the pages of nodes unknown.
fn lose_nodes(heap: &Heap, mock: &mut Mock) {
    for stretch in stretches(heap, mock).into_iter().filter(|stretch| stretch.used == Use::Nodes) {
        let at = heap.header.entry_at(mock, stretch.page).unwrap();
        set(mock, at, 0);
        for word in 0..PAGE / 8 {
            set(mock, page_offset(stretch.page) + word * 8, 0);
        }
    }
}

#[test]
fn nodes_that_are_lost_are_made_anew() {
    let (mut mock, mut heap) = varied_heap();
    let before = blocks(&heap, &mock);
    lose_nodes(&heap, &mut mock);
    repair(&mut heap, &mut mock);
    assert_eq!(blocks(&heap, &mock), before);
    // Which of them were punched is lost as well.
    assert!(stretches(&heap, &mock).iter().all(|stretch| stretch.used != Use::Free { punched: false }));
    can_be_worked_with(&mut heap, &mut mock);
}

/// As many pages of nodes as what is in use may ever need, and not one more.
#[test]
fn as_many_nodes_are_made_as_may_be_needed() {
    for count in 90..130 {
        let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 4000);
        let runs: Vec<_> = (0..2 * count).map(|_| heap.alloc(&mut mock, PAGE, PAGE).unwrap()).collect();
        mock.commit(&mut heap);
        for run in runs.into_iter().step_by(2) {
            heap.free(&mut mock, run).unwrap();
        }
        mock.commit(&mut heap);
        lose_nodes(&heap, &mut mock);
        repair(&mut heap, &mut mock);
        let (mut used, mut pages) = (0, 0);
        for stretch in stretches(&heap, &mock) {
            used += u32::from(!matches!(stretch.used, Use::Free { .. }));
            pages += if stretch.used == Use::Nodes { stretch.pages } else { 0 };
        }
        let needed = |used: u32| used + 1 + 2 + super::super::map::ARRAYS as u32 + 2;
        assert!(pages * NODES_PER_PAGE >= needed(used), "{used} runs, {pages} pages of nodes");
        assert!((pages - 1) * NODES_PER_PAGE < needed(used - 1), "{used} runs, {pages} pages of nodes");
    }
}

#[test]
fn words_of_slabs_and_arrays_are_found_again() {
    let (good, heap) = varied_heap();
    let before = blocks(&heap, &good);
    for stretch in stretches(&heap, &good) {
        let entry_at = heap.header.entry_at(&good, stretch.page).unwrap();
        let lies = match stretch.used {
            Use::Slab { .. } => vec![entry_at, page_offset(stretch.page), page_offset(stretch.page) + 8],
            Use::Map | Use::Header => vec![entry_at],
            _ => continue,
        };
        for at in lies {
            for lie in [0, 1, u64::MAX] {
                let (mut mock, mut heap) = (good.clone(), heap.clone());
                set(&mut mock, at, lie);
                repair(&mut heap, &mut mock);
                assert_eq!(blocks(&heap, &mock), before, "{stretch:?} {lie}");
            }
        }
    }
}

/// The header names another place of an array; the array's own word says where it is.
#[test]
fn an_array_that_the_header_lost_is_found_by_its_word() {
    let (good, heap) = varied_heap();
    let before = blocks(&heap, &good);
    let at = heap.header.array_at(1);
    assert_ne!(load(&good, at), 0, "there is a second array");
    for lie in [0, 1, load(&good, at) + 1, u64::from(FIRST), u64::from(u32::MAX)] {
        let (mut mock, mut heap) = (good.clone(), heap.clone());
        set(&mut mock, at, lie);
        assert!(!repair(&mut heap, &mut mock).is_empty());
        assert_eq!(load(&mock, at), load(&good, at), "{lie}");
        assert_eq!(blocks(&heap, &mock), before, "{lie}");
    }
}

#[test]
fn an_array_that_lost_its_word_is_where_the_header_says() {
    let (good, heap) = varied_heap();
    let before = blocks(&heap, &good);
    for array in 1.. {
        let page = load(&good, heap.header.array_at(array)) as Page;
        if page == 0 {
            assert!(array > 1);
            break;
        }
        let word = heap.header.entry_at(&good, page).unwrap();
        for lie in [0, 1, u64::MAX] {
            let (mut mock, mut heap) = (good.clone(), heap.clone());
            set(&mut mock, word, lie);
            let losses = repair(&mut heap, &mut mock);
            assert!(losses.len() == 1 && losses[0].offset == page_offset(page), "{losses:?}");
            assert_eq!(blocks(&heap, &mock), before, "{lie}");
        }
    }
}

/// Neither its word nor the header tells where it is: then all that it describes is lost, and nothing is cut off instead.
#[test]
fn a_heap_that_lost_an_array_is_not_repaired() {
    let (good, heap) = varied_heap();
    let at = heap.header.array_at(1);
    let array = load(&good, at) as Page;
    let block = stretches(&heap, &good).into_iter().find(|stretch| {
        matches!(stretch.used, Use::Block { .. }) && stretch.pages > 2 && stretch.end() < array
    });
    let block = block.unwrap().page;
    for named in [0, u64::MAX, u64::from(block), u64::from(block) + 1, u64::from(FIRST) + 1] {
        let mut mock = good.clone();
        let word = heap.header.entry_at(&mock, array).unwrap();
        set(&mut mock, word, 0);
        set(&mut mock, at, named);
        let outcome = heap.rebuild(&mock, mock.pages(), LogPlace::FIRST);
        let is_lost = matches!(outcome, Err(Error::Corrupt { what, .. }) if what.contains("array is lost"));
        assert!(is_lost, "{named}: {outcome:?}");
    }
}

/// The header names one that the heap is too short to have.
#[test]
fn an_array_that_nobody_needs_is_no_loss() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 400);
    heap.alloc(&mut mock, 5 * PAGE, PAGE).unwrap();
    mock.commit(&mut heap);
    let before = blocks(&heap, &mock);
    set(&mut mock, heap.header.array_at(1), u64::from(FIRST) + 20);
    repair(&mut heap, &mut mock);
    assert_eq!(blocks(&heap, &mock), before);
}

/// A heap of as many pages as one array can have, all of them in use, in a longer file; the word of the last block in the page map.
fn filled_heap() -> (Mock, Heap, u64) {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, FIRST + 511);
    while heap.alloc(&mut mock, PAGE, PAGE).is_ok() {}
    mock.commit(&mut heap);
    sound(&heap, &mock);
    let last = *stretches(&heap, &mock).last().unwrap();
    assert!(matches!(last.used, Use::Block { .. }) && last.end() == FIRST + 511);
    let at = heap.header.entry_at(&mock, last.page).unwrap();
    mock.words.resize((FIRST as usize + 600) * 512, 0);
    (mock, heap, at)
}

#[test]
fn the_last_block_of_a_full_heap_may_lose_its_word() {
    let (good, heap, at) = filled_heap();
    let before = blocks(&heap, &good);
    for lie in [0, 0x77, u64::MAX] {
        let (mut mock, mut heap) = (good.clone(), heap.clone());
        set(&mut mock, at, lie);
        assert_eq!(repair(&mut heap, &mut mock).len(), 1, "{lie:#x}");
        assert_eq!(blocks(&heap, &mock), before, "{lie:#x}");
    }
}

#[test]
fn a_last_block_that_is_too_long_for_the_arrays_is_cut_to_the_end() {
    let (mut mock, mut heap, at) = filled_heap();
    let before = blocks(&heap, &mock);
    let word = load(&mock, at);
    set(&mut mock, at, word + (2 << 32));
    let last = before.last().unwrap().offset;
    let losses = repair(&mut heap, &mut mock);
    assert!(!losses.is_empty() && losses.iter().all(|loss| loss.offset == last), "{losses:?}");
    assert_eq!(blocks(&heap, &mock), before);
}

/// A file that was cut to fewer pages than make a second array necessary, which lies before the cut.
#[test]
fn a_file_that_was_cut_needs_no_array_of_what_it_lost() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 1000);
    for pages in [100, 600].into_iter().chain([10; 20]) {
        heap.alloc(&mut mock, pages * PAGE, PAGE).unwrap();
    }
    mock.commit(&mut heap);
    let limit = load(&mock, heap.header.array_at(1)) as Page + 20;
    assert!((FIRST + 20..FIRST + 500).contains(&limit));
    let all = blocks(&heap, &mock);
    let (kept, lost): (Vec<Block>, Vec<Block>) =
        all.into_iter().partition(|block| block.offset + block.len <= page_offset(limit));
    mock.words.truncate(limit as usize * 512);
    let losses = repair(&mut heap, &mut mock);
    kept.iter().for_each(|block| assert_eq!(heap.block(&mock, block.offset).unwrap(), *block));
    let behind = lost.iter().filter(|block| block.offset >= page_offset(limit)).count();
    assert!(behind > 10);
    let told = losses.iter().find(|loss| loss.offset == page_offset(limit)).unwrap();
    assert!(told.what.contains(&format!("before {behind} blocks")), "{losses:?}");
    can_be_worked_with(&mut heap, &mut mock);
}

/// The end is damaged, not the last block: it stays as it is.
#[test]
fn an_end_inside_of_the_last_block_is_not_believed() {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 400);
    heap.alloc(&mut mock, 200 * PAGE, PAGE).unwrap();
    mock.commit(&mut heap);
    let before = blocks(&heap, &mock);
    let end = load(&mock, heap.header.end_at());
    set(&mut mock, heap.header.end_at(), end - 20);
    repair(&mut heap, &mut mock);
    assert_eq!(blocks(&heap, &mock), before);
}

/// A page of a slab whose word is the sound word of something else (nodes that nothing leads to are a block then); or is no word at all.
#[test]
fn what_starts_inside_of_a_slab_is_not_swallowed() {
    use super::super::map::{NODES_ENTRY, Run};

    let (good, heap) = varied_heap();
    let is_long = |stretch: &Stretch| stretch.pages > 2 && matches!(stretch.used, Use::Slab { .. });
    let slab = stretches(&heap, &good).into_iter().find(is_long).unwrap();
    let inside = heap.header.entry_at(&good, slab.page + 1).unwrap();
    let block = Run { pages: 1, slack: 9, unlogged: false };
    let at = |heap: &Heap, mock: &Mock, page| heap.next_stretch(mock, page).unwrap().unwrap().used;
    for (word, expected) in [
        (block.entry(), Use::Block { len: PAGE - 9, unlogged: false }),
        (NODES_ENTRY, Use::Block { len: PAGE, unlogged: false }),
    ] {
        let (mut mock, mut heap) = (good.clone(), heap.clone());
        set(&mut mock, inside, word);
        assert!(!repair(&mut heap, &mut mock).is_empty());
        assert_eq!(at(&heap, &mock, slab.page + 1), expected);
        assert!(!matches!(at(&heap, &mock, slab.page), Use::Slab { .. }));
    }
    for word in [0, 1, u64::MAX, NODES_ENTRY + (1 << 32)] {
        let (mut mock, mut heap) = (good.clone(), heap.clone());
        set(&mut mock, inside, word);
        repair(&mut heap, &mut mock);
        assert_eq!(at(&heap, &mock, slab.page), slab.used, "{word:#x}");
    }
}

/// A block that is said to be longer than what comes behind it allows keeps what is left, all of it.
#[test]
fn a_block_that_is_too_long_is_cut() {
    use super::super::map::Run;

    let (good, heap) = varied_heap();
    let all = stretches(&heap, &good);
    let place = all.windows(2).position(|pair| {
        pair.iter().all(|stretch| matches!(stretch.used, Use::Block { unlogged: false, .. }))
    });
    let stretch = all[place.unwrap()];
    let at = heap.header.entry_at(&good, stretch.page).unwrap();
    let (mut mock, mut heap) = (good.clone(), heap);
    set(&mut mock, at, Run { pages: stretch.pages + 2, slack: 5, unlogged: false }.entry());
    assert_eq!(repair(&mut heap, &mut mock).len(), 1);
    let block = heap.block(&mock, page_offset(stretch.page)).unwrap();
    assert_eq!(block.len, page_offset(stretch.pages));
    assert_eq!(stretches(&heap, &mock).len(), all.len());
}

/// A small heap with runs of each kind, but one array: for damage in many places.
fn small_heap() -> (Mock, Heap) {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 400);
    let mut all = Vec::new();
    for (n, len) in
        [8, 300, 3000, 9000, 1, 4096, 8192, 20_000, 17_000, 56].into_iter().cycle().enumerate().take(40)
    {
        all.push(heap.alloc(&mut mock, len, if n % 2 == 0 { 8 } else { PAGE }).unwrap());
    }
    all.push(heap.alloc_unlogged(&mut mock, 3 * PAGE).unwrap());
    mock.commit(&mut heap);
    for block in all.into_iter().skip(1).step_by(3) {
        heap.free(&mut mock, block).unwrap();
    }
    mock.commit(&mut heap);
    sound(&heap, &mock);
    (mock, heap)
}

/// Each bit of the page map: all blocks are there, but one whose own word it is, of which the bytes are.
#[test]
fn any_bit_of_the_page_map_may_be_wrong() {
    let (good, heap) = small_heap();
    let all = blocks(&heap, &good);
    for stretch in stretches(&heap, &good) {
        for page in stretch.page..stretch.end() {
            let at = heap.header.entry_at(&good, page).unwrap();
            for bit in 0..64 {
                let (mut mock, mut heap) = (good.clone(), heap.clone());
                let what = format!("bit {bit} of page {page} in {stretch:?}");
                set(&mut mock, at, load(&good, at) ^ 1 << bit);
                let is_hurt =
                    |offset: u64| offset == page_offset(page) && matches!(stretch.used, Use::Block { .. });
                let rebuilt = heap.rebuild(&mock, mock.pages(), LogPlace::FIRST);
                let rebuilt = rebuilt.unwrap_or_else(|e| panic!("{what}: {e}"));
                for block in &all {
                    let changed = rebuilt.words.range(block.offset..block.offset + block.len).next();
                    assert!(changed.is_none(), "{what}: {block:?}, {changed:?}");
                }
                repair(&mut heap, &mut mock);
                for block in &all {
                    match heap.block(&mock, block.offset) {
                        Ok(found) if is_hurt(block.offset) => {
                            assert_eq!(found.offset, block.offset, "{what}");
                        }
                        Ok(found) => assert_eq!(found, *block, "{what}"),
                        Err(e) => panic!("{what}: {block:?}: {e}"),
                    }
                }
            }
        }
    }
}
