//! Damage in every word: all calls survive it, and the check finds it.

use proptest::prelude::*;

use super::*;

/// A small heap with a bit of everything, and the blocks in it.
fn small_heap() -> (Mock, Heap, Vec<u64>) {
    let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 60, 700);
    let mut blocks = Vec::new();
    for len in [8, 8, 100, 600, 600, 5000, 20_000, 9000, 40_000, 5000, 8, 30_000, 4096] {
        blocks.push(heap.alloc(&mut mock, len, 8).unwrap());
    }
    blocks.push(heap.alloc_unlogged(&mut mock, 5000).unwrap());
    for gap in [1, 6, 8, 10] {
        heap.free(&mut mock, blocks[gap]).unwrap();
    }
    mock.commit(&mut heap);
    sound(&heap, &mock);
    (mock, heap, blocks)
}

/// Offsets of all words of metadata, but for nodes never used.
fn metadata(mock: &Mock, heap: &Heap) -> Vec<u64> {
    let mut words: Vec<u64> = (0..110).map(|word| page_offset(FIRST) + word * 8).collect();
    let end = heap.open(mock).unwrap();
    for page in FIRST..end + 3 {
        words.push(heap.header.entry_at(mock, page).unwrap());
        let entry = heap.header.entry(mock, page).unwrap();
        if kind(entry) == SLAB && entry >> 32 == 0 {
            words.extend((0..20).map(|word| page_offset(page) + word * 8));
        } else if kind(entry) == map::NODES {
            words.extend((0..48).map(|word| page_offset(page) + word * 8));
        }
    }
    words
}

fn all_calls(heap: &Heap, mock: &Mock, blocks: &[u64]) {
    let mut mock = mock.clone();
    mock.lenient = true;
    let mut heap = heap.clone();
    let mut count = 0u64;
    let _ = heap.check(&mock, &[], &mut |_| count += 1).unwrap();
    assert!(count < 2000, "{count} findings");
    let _ = heap.stats(&mock);
    let mut at = 0;
    while let Ok(Some(block)) = heap.next_block(&mock, at) {
        assert!(block.offset > at);
        at = block.offset;
    }
    for round in 0..2 {
        for &block in blocks {
            let _ = heap.block(&mock, block);
            let _ = heap.block(&mock, block + 4096);
            let _ = heap.resize_in_place(&mut mock, block, 700 + 9000 * round, false);
        }
        let mut new = Vec::new();
        for len in [8, 8, 100, 600, 5000, 9000, 20_000, 100_000, 2_500_000] {
            new.extend(heap.alloc(&mut mock, len, 8));
        }
        for &block in blocks.iter().chain(&new).rev() {
            let _ = heap.free(&mut mock, block);
        }
        for (page, pages) in mock.pending() {
            let _ = heap.join_free(&mut mock, page, pages);
        }
        let _ = heap.cut_tail(&mut mock, 0);
        heap.forget_hints();
    }
    let _ = heap.next_extent(&mock, FIRST + 10);
    let _ = heap.check(&mock, &[], &mut |_| ()).unwrap();
}

#[test]
fn damage_in_any_word_is_survived_and_found() {
    let (mut mock, heap, blocks) = small_heap();
    let words = metadata(&mock, &heap);
    let mut missed = Vec::new();
    for &at in &words {
        let good = mock.load(at).unwrap();
        let (low, high) = header::halves(good);
        let bad = [
            0,
            1,
            u64::MAX,
            !good,
            good ^ 1,
            good ^ 1 << 32,
            good ^ 1 << 63,
            good << 8,
            good.swap_bytes(),
            good.wrapping_add(32),
            header::word_of(high, low),
            page_offset(FIRST + 2),
            page_offset(FIRST + 2) + 32,
            header::word_of(FIRST + 5, u32::MAX),
            header::word_of(u32::MAX, 1),
            2 << 32 | 1,
        ];
        for bad in bad.into_iter().filter(|&bad| bad != good) {
            mock.words[(at / 8) as usize] = bad;
            all_calls(&heap, &mock, &blocks);
            if findings(&heap, &mock).1.is_empty() {
                missed.push((at, good, bad));
            }
        }
        mock.words[(at / 8) as usize] = good;
    }
    // What cannot be told from a good heap: the word of the layer above, other lengths of blocks, other marks
    // of punched space, contents of spare nodes, and what only looks like metadata (nodes and states past the
    // last one).
    for (at, good, bad) in missed {
        let entry = heap.header.entry(&mock, (at / PAGE) as Page).unwrap();
        let free_to_differ = at == heap.roots_at()
            || at == heap.header.end_at() && good as u32 == bad as u32
            || kind(entry) == map::NODES
            || kind(entry) == SLAB
            || kind(good) == BLOCK && kind(bad) == BLOCK;
        assert!(free_to_differ, "{at:#x}: {good:#x} became {bad:#x}, and nothing was found");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn damage_in_many_words_is_survived(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4u32, any::<u64>()),
            1..8,
        ),
    ) {
        let (mut mock, heap, blocks) = small_heap();
        let words = metadata(&mock, &heap);
        for (target, source, how, random) in changes {
            let (target, source) = (target.get(&words) / 8, source.get(&words) / 8);
            let other = mock.words[source as usize];
            mock.words[target as usize] = match how {
                0 => other,
                1 => random,
                2 => mock.words[target as usize] ^ 1 << (random % 64),
                _ => other ^ 1 << (random % 64),
            };
        }
        all_calls(&heap, &mock, &blocks);
    }
}

/// A slab that says it is the first of its list, and is not, is not taken out of it: the list would lose the others.
#[test]
fn a_slab_whose_links_lie_is_not_unlinked() {
    let (mut mock, mut heap) = Mock::with_heap(1, 600, 600);
    mock.lenient = true;
    let blocks: Vec<u64> = (0..200).map(|_| heap.alloc(&mut mock, 3000, 8).unwrap()).collect();
    mock.commit(&mut heap);
    let class = class_of(3000, 8).unwrap();
    let class_at = heap.header.class_at(class);
    // Full slabs come into the list with the first block that is freed in them.
    for &block in blocks.iter().step_by(20) {
        heap.free(&mut mock, block).unwrap();
    }
    let (first, _) = header::halves(mock.load(class_at).unwrap());
    let links_at = slab::links_at;
    let (_, second) = header::halves(mock.load(links_at(first)).unwrap());
    let (before, after) = header::halves(mock.load(links_at(second)).unwrap());
    assert_eq!(before, first);
    mock.store(links_at(second), header::word_of(0, after)).unwrap();
    let end = page_offset(second) + 64 * PAGE;
    let mut live: Vec<u64> =
        blocks.iter().copied().filter(|block| (page_offset(second)..end).contains(block)).collect();
    live.retain(|&block| heap.block(&mock, block).is_ok());
    let outcome: Result<Vec<()>> = live.iter().map(|&block| heap.free(&mut mock, block)).collect();
    assert!(
        matches!(outcome, Err(Error::Corrupt { offset, .. }) if offset == links_at(second)),
        "{outcome:?}"
    );
}
