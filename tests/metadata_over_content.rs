//! A run that a transaction filled and freed may become metadata in the same transaction: then the metadata counts, however both reach the file.

mod common;

use common::assert_clean;
use heapfile::Arena;

const PAGE: u64 = 4096;
/// First page of a stretch of 2 MiB that nothing is in yet.
const STRETCH: u64 = 2048;

/// The content is copied, with most of what its stretch has; the longer page map that comes to lie there and in the next stretch is written.
#[test]
fn a_page_map_over_given_up_content_in_a_dense_stretch() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create(dir.path().join("a.heap")).unwrap();
    let mut blocks = Vec::new();
    let mut tx = arena.write().unwrap();
    loop {
        let block = tx.alloc_unset(PAGE, 4096).unwrap();
        let page = block.raw() / PAGE;
        assert!(page < STRETCH - 1, "page {page}: another layout, to which the test has to be fitted");
        if page >= STRETCH - 512 {
            blocks.push(block);
        }
        if page == STRETCH - 2 {
            break;
        }
    }
    tx.commit().unwrap();
    let mut tx = arena.write().unwrap();
    for block in &blocks {
        tx.write_at(*block, 8, &[1; 8]).unwrap();
    }
    let given_up = tx.alloc_unset(2 * PAGE, 4096).unwrap();
    assert_eq!(given_up.raw() / PAGE, STRETCH - 1);
    tx.write_at(given_up, 0, &[0xAB; 4000]).unwrap();
    tx.free(given_up).unwrap();
    tx.alloc_unset(1200 * PAGE, 4096).unwrap();
    tx.commit().unwrap();
    assert_clean(&arena);
}
