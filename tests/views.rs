//! Typed views: sizes, alignments and ranges are checked; a write transaction sees its own changes in each of them.

mod common;

use bytemuck::{Pod, Zeroable};
use common::{BOTH, assert_clean, bytes, dir, small};
use heapfile::{Arena, Durability, Error, Offset, OffsetFault, View};

fn arena(dir: &tempfile::TempDir, durability: Durability) -> Arena {
    small(durability).create(dir.path().join(format!("{durability:?}"))).unwrap()
}

#[test]
fn a_type_that_does_not_fit() {
    let dir = dir();
    let arena = arena(&dir, Durability::Power);
    let mut tx = arena.write().unwrap();
    let x = tx.alloc_bytes(&[7; 12]).unwrap();
    let mismatch = |e: Error, wanted: u64| match e {
        Error::SizeMismatch { offset, len: 12, size, .. } => {
            assert_eq!((offset, size), (x.raw(), wanted));
        }
        other => panic!("{other}"),
    };
    mismatch(tx.get(x.cast::<u64>()).unwrap_err(), 8);
    mismatch(tx.get(x.cast::<[u8; 13]>()).unwrap_err(), 13);
    mismatch(tx.get_mut(x.cast::<u32>()).unwrap_err(), 4);
    mismatch(tx.slice(x.cast::<[u64]>()).unwrap_err(), 8);
    mismatch(tx.slice_mut(x.cast::<[[u8; 5]]>()).unwrap_err(), 5);
    mismatch(tx.slice(x.cast::<[()]>()).unwrap_err(), 0);
    mismatch(tx.resize(x.cast::<[u64]>(), 3).unwrap_err(), 8);
    assert_eq!(tx.slice(x.cast::<[u32]>()).unwrap(), [0x0707_0707; 3]);
    assert_eq!(tx.get(x.cast::<[u16; 6]>()).unwrap(), &[0x0707; 6]);
    tx.commit().unwrap();
    let tx = arena.read().unwrap();
    mismatch(tx.get(x.cast::<u64>()).unwrap_err(), 8);
    assert_eq!(tx.bytes(x).unwrap(), [7; 12]);
}

#[test]
fn ranges_outside_of_a_block() {
    let dir = dir();
    let arena = arena(&dir, Durability::Power);
    let mut tx = arena.write().unwrap();
    let x = tx.alloc_bytes(&bytes(1, 100)).unwrap();
    let y = tx.alloc_bytes(&bytes(2, 10)).unwrap();
    let outside = |outcome: heapfile::Result<usize>, range: (u64, u64)| match outcome {
        Err(Error::OutOfBounds { start, end, .. }) => assert_eq!((start, end), range),
        other => panic!("{other:?}"),
    };
    for (start, end) in [(0, 101), (100, 101), (101, 101), (50, 49), (u64::MAX - 1, u64::MAX), (0, u64::MAX)]
    {
        outside(tx.bytes_range(x, start..end).map(<[u8]>::len), (start, end));
    }
    outside(tx.part::<u64>(x, 93).map(|_| 0), (93, 101));
    outside(tx.part::<u64>(x, u64::MAX).map(|_| 0), (u64::MAX, u64::MAX));
    for (at, len) in [(100, 1), (101, 0), (0, 101), (u64::MAX, 1)] {
        outside(tx.write_at(x, at, &vec![9; len]).map(|()| 0), (at, at.saturating_add(len as u64)));
    }
    outside(tx.copy(x, 0..11, y, 0).map(|()| 0), (0, 11));
    outside(tx.copy(x, 95..101, y, 0).map(|()| 0), (95, 101));
    #[expect(clippy::reversed_empty_ranges, reason = "it has to be refused")]
    let backwards = 9..8;
    outside(tx.copy(x, backwards, y, 0).map(|()| 0), (9, 8));
    outside(tx.copy(x, 0..1, y, u64::MAX).map(|()| 0), (u64::MAX, u64::MAX));
    tx.write_at(x, 100, b"").unwrap();
    tx.copy(x, 100..100, y, 10).unwrap();
    tx.commit().unwrap();
    let tx = arena.read().unwrap();
    assert_eq!(tx.bytes(x).unwrap(), bytes(1, 100));
    assert_eq!(tx.bytes(y).unwrap(), bytes(2, 10));
}

#[test]
fn a_misaligned_view() {
    let dir = dir();
    let arena = arena(&dir, Durability::Power);
    let mut tx = arena.write().unwrap();
    // The third of these begins at no multiple of 16.
    let all: Vec<_> = (0..3).map(|_| tx.alloc_bytes(&[1; 24]).unwrap()).collect();
    let odd = all.into_iter().find(|x| x.raw() % 16 != 0).expect("24 is no multiple of 16");
    let misaligned = |outcome: heapfile::Result<u64>, raw| match outcome {
        Err(Error::BadOffset { offset, fault: OffsetFault::Misaligned }) => assert_eq!(offset, raw),
        other => panic!("{other:?}"),
    };
    #[derive(Debug, Clone, Copy, Pod, Zeroable)]
    #[repr(C, align(8))]
    struct Eight([u64; 3]);
    assert_eq!(tx.get(odd.cast::<Eight>()).unwrap().0, [0x0101_0101_0101_0101; 3]);
    misaligned(tx.part::<u64>(odd, 4).copied(), odd.raw() + 4);
    let tall = tx.alloc_bytes(&[1; 32]).unwrap();
    assert_eq!(tx.len_of(tall).unwrap(), 32);
    tx.commit().unwrap();
    let tx = arena.read().unwrap();
    misaligned(tx.part::<u32>(odd, 1).map(|x| u64::from(*x)), odd.raw() + 1);
}

#[test]
fn types_keep_their_alignment_in_every_view() {
    #[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
    #[repr(C, align(64))]
    struct Line([u8; 64]);
    let dir = dir();
    for durability in BOTH {
        let arena = arena(&dir, durability);
        let mut tx = arena.write().unwrap();
        let mut all = Vec::new();
        for i in 0..40u8 {
            tx.alloc(&i).unwrap();
            all.push((tx.alloc(&Line([i; 64])).unwrap(), tx.alloc(&u128::from(i)).unwrap()));
        }
        for (i, &(line, wide)) in (0..).zip(&all) {
            tx.get_mut(line).unwrap().0[1] = 99;
            *tx.get_mut(wide).unwrap() += 1;
            assert_eq!(tx.get(line).unwrap().0[..2], [i, 99]);
            assert_eq!(*tx.get(wide).unwrap(), u128::from(i) + 1);
        }
        let lines = tx.alloc_slice(&[Line([1; 64]); 100]).unwrap();
        tx.commit().unwrap();
        let mut tx = arena.write().unwrap();
        // Some lines of the slice changed, some not: the view is put together.
        tx.write_at(lines.cast(), 640, &[5; 100]).unwrap();
        assert_eq!(tx.slice(lines).unwrap()[10], Line([5; 64]));
        assert_eq!(tx.slice_mut(lines).unwrap()[99], Line([1; 64]));
        tx.commit().unwrap();
        let tx = arena.read().unwrap();
        for (i, (line, wide)) in (0..).zip(all) {
            assert_eq!(tx.get(line).unwrap().0[..2], [i, 99]);
            assert_eq!(*tx.get(wide).unwrap(), u128::from(i) + 1);
        }
        assert_eq!(tx.slice(lines).unwrap()[11].0[36..], [1; 28]);
    }
}

#[test]
fn empty_blocks_and_types() {
    let dir = dir();
    for durability in BOTH {
        let arena = arena(&dir, durability);
        let mut tx = arena.write().unwrap();
        let none = tx.alloc_slice::<u128>(&[]).unwrap();
        let unit = tx.alloc(&()).unwrap();
        let no_words = tx.alloc(&[0u64; 0]).unwrap();
        let zeroed = tx.alloc_zeroed(0, 4096).unwrap();
        assert!(tx.slice_mut(none).unwrap().is_empty() && tx.slice(none).unwrap().is_empty());
        assert!(tx.bytes_mut(zeroed).unwrap().is_empty());
        tx.get_mut(unit).unwrap();
        assert_eq!(tx.get_mut(no_words).unwrap(), &[0u64; 0]);
        assert_eq!(tx.slice_mut(unit.cast::<[u64]>()).unwrap(), []);
        tx.set_root(none).unwrap();
        tx.commit().unwrap();
        let tx = arena.read().unwrap();
        assert_eq!(tx.root::<[u128]>().unwrap(), Some(none));
        assert!(tx.slice(none).unwrap().is_empty());
        tx.get(unit).unwrap();
        // Each has a place of its own.
        let mut places = vec![none.raw(), unit.raw(), no_words.raw(), zeroed.raw()];
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 4);
        drop(tx);
        let mut tx = arena.write().unwrap();
        let grown = tx.resize(none, 3).unwrap();
        assert_eq!(tx.slice(grown).unwrap(), [0; 3]);
        tx.set_root(grown).unwrap();
        tx.free(unit).unwrap();
        assert!(tx.free(unit).is_err());
        tx.commit().unwrap();
        assert_clean(&arena);
    }
}

#[test]
fn offsets_are_stored_in_blocks() {
    #[derive(Debug, Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Node {
        next: Offset<Node>,
        text: Offset<[u8]>,
    }
    let dir = dir();
    for durability in BOTH {
        let path = dir.path().join(format!("{durability:?}"));
        let arena = small(durability).create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        let mut next = Offset::null();
        for i in 0..1000u32 {
            let text = tx.alloc_bytes(format!("number {i}").as_bytes()).unwrap();
            next = tx.alloc(&Node { next, text }).unwrap();
        }
        tx.set_root(next).unwrap();
        tx.commit().unwrap();
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        let tx = arena.read().unwrap();
        let mut at = tx.root::<Node>().unwrap().unwrap();
        for i in (0..1000).rev() {
            let node = tx.get(at).unwrap();
            assert_eq!(tx.bytes(node.text).unwrap(), format!("number {i}").as_bytes());
            at = node.next;
        }
        assert!(at.is_null());
        assert!(matches!(tx.get(at), Err(Error::BadOffset { fault: OffsetFault::Null, .. })));
    }
}

/// What a write transaction puts together of a block that it has changed in part, it puts together once between two changes.
#[test]
fn a_changed_block_is_put_together_once() {
    let dir = dir();
    let arena = small(Durability::Power).create(dir.path().join("a.heap")).unwrap();
    let block = arena.alloc_bytes(&[1; 100_000]).unwrap();
    let mut tx = arena.write().unwrap();
    tx.write_at(block, 5, &[2]).unwrap();
    let (first, again) = (tx.bytes(block).unwrap(), tx.bytes(block).unwrap());
    assert_eq!((first.as_ptr(), first[5]), (again.as_ptr(), 2));
    assert_eq!(tx.bytes_range(block, 4..7).unwrap(), [1, 2, 1]);
    tx.write_at(block, 6, &[3]).unwrap();
    assert_eq!(tx.bytes(block).unwrap()[4..8], [1, 2, 3, 1]);
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(128))]
struct Wide([u8; 128]);

/// Types that are aligned to more than a line are stored, and read as they were committed; in a transaction that changes them, the error says why not.
#[test]
fn types_aligned_to_more_than_a_line() {
    let dir = dir();
    let arena = small(Durability::Power).create(dir.path().join("a.heap")).unwrap();
    let blocks: Vec<_> = (0..50).map(|n| arena.alloc(&Wide([n; 128])).unwrap()).collect();
    let mut tx = arena.write().unwrap();
    for (n, &block) in blocks.iter().enumerate() {
        assert_eq!(tx.get(block).unwrap().0, [n as u8; 128]);
        tx.write_at(block.cast(), 0, &[7]).unwrap();
        let refused = OffsetFault::OverAligned;
        match tx.get(block) {
            Ok(value) => assert_eq!(value.0[..2], [7, n as u8]),
            Err(e) => assert!(matches!(e, Error::BadOffset { fault, .. } if fault == refused), "{e}"),
        }
    }
    tx.commit().unwrap();
    let tx = arena.read().unwrap();
    assert!(blocks.iter().all(|&block| tx.get(block).unwrap().0[0] == 7));
}
