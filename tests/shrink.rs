//! Free space goes back to the file system, and nothing else does.

use heapfile::{Arena, Durability, Offset, Options, View};
use std::os::unix::fs::MetadataExt;

fn disk_bytes(arena: &Arena) -> u64 {
    std::fs::metadata(arena.path()).unwrap().blocks() * 512
}

#[test]
fn what_is_free_is_given_back_and_what_is_not_stays() {
    for durability in [Durability::Power, Durability::Process] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.heap");
        let arena = Options::new().durability(durability).create(&path).unwrap();
        let mut blocks: Vec<Offset<[u8]>> = Vec::new();
        for i in 0..40u8 {
            blocks.push(arena.alloc_bytes(&vec![i; 300_000]).unwrap());
        }
        let full = disk_bytes(&arena);
        for i in (0..40).filter(|i| i % 8 != 0 || *i > 20) {
            arena.free(blocks[i]).unwrap();
        }
        let shrunk = arena.shrink().unwrap();
        assert!(shrunk.file_bytes < shrunk.file_bytes_before / 3 * 2, "{shrunk:?}");
        assert!(disk_bytes(&arena) < full / 2, "{} of {full}", disk_bytes(&arena));
        let again = |arena: &Arena| {
            assert_eq!(arena.check().unwrap().findings, []);
            let tx = arena.read().unwrap();
            for i in [0, 8, 16] {
                assert_eq!(tx.bytes(blocks[i]).unwrap(), vec![i as u8; 300_000]);
            }
        };
        again(&arena);
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        again(&arena);
        // Punched space is reserved and filled again.
        let mut more = Vec::new();
        for i in 0..60u8 {
            more.push(arena.alloc_bytes(&vec![100 + i; 200_000]).unwrap());
        }
        again(&arena);
        let tx = arena.read().unwrap();
        for (i, &offset) in more.iter().enumerate() {
            assert_eq!(tx.bytes(offset).unwrap(), vec![100 + i as u8; 200_000]);
        }
    }
}

/// Who asks for the file's length just before it is cut asks again: what it then does is no damage.
#[test]
fn a_length_from_just_before_a_cut_is_not_kept() {
    for durability in [Durability::Power, Durability::Process] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.heap");
        let arena = Options::new().durability(durability).create(&path).unwrap();
        let other = Arena::open(&path).unwrap();
        let block = arena.alloc_bytes(&vec![1; 3 << 20]).unwrap();
        arena.free(block).unwrap();
        let (told, reader) = (std::rc::Rc::new(std::cell::Cell::new(false)), other.clone());
        let tell = told.clone();
        heapfile::testing::at_failpoint("file: about to be cut", move || {
            drop(reader.read().unwrap());
            tell.set(true);
        });
        arena.shrink().unwrap();
        assert!(told.get());
        let block = other.alloc_bytes(&vec![2; 2 << 20]).unwrap();
        assert_eq!(other.read().unwrap().bytes(block).unwrap(), vec![2; 2 << 20]);
        assert_eq!(other.check().unwrap().findings, []);
    }
}
