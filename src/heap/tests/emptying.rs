//! Slabs that a class no longer needs.

use super::*;
use crate::media::sim::SplitMix64;

/// After its number of blocks has fallen, and others have come and gone, a class has few slabs more than it needs.
#[test]
fn a_class_gives_back_what_it_had_at_its_height() {
    for batch in [1, 50] {
        let (mut mock, mut heap) = Mock::with_heap(FIRST, FIRST + 4, 20_000);
        let mut rng = SplitMix64(batch);
        let mut blocks: Vec<u64> = (0..8000).map(|_| heap.alloc(&mut mock, 100, 8).unwrap()).collect();
        mock.commit(&mut heap);
        let pages = |heap: &Heap, mock: &Mock| {
            heap.open(mock).unwrap() - FIRST - heap.stats(mock).unwrap().free_pages
        };
        let most = pages(&heap, &mock);
        for _ in 0..1000 {
            let block = blocks.swap_remove(rng.below(blocks.len() as u64) as usize);
            heap.free(&mut mock, block).unwrap();
        }
        mock.commit(&mut heap);
        for _ in 0..160_000 / batch {
            for _ in 0..batch {
                let at = rng.below(blocks.len() as u64) as usize;
                heap.free(&mut mock, blocks[at]).unwrap();
                blocks[at] = heap.alloc(&mut mock, 100, 8).unwrap();
            }
            mock.commit(&mut heap);
        }
        let left = pages(&heap, &mock);
        // 7,000 blocks need 183.
        assert!((180..=202).contains(&left), "batch {batch}: {left} pages of {most}");
        sound(&heap, &mock);
    }
}
