//! Arenas in memory grow in huge pages where the kernel can; nobody sees more of that than the time it saves.

mod common;

use common::{BOTH, assert_clean, bytes, fast_dir, small};
use heapfile::{Arena, Offset, Options, View};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

const MIB: u64 = 1 << 20;
const LEN: usize = 60_000;

fn fill(arena: &Arena, blocks: &mut Vec<Offset<[u8]>>, bytes_of_file: u64) {
    let length = |arena: &Arena| arena.stats().unwrap().file_bytes;
    while length(arena) < bytes_of_file {
        let block = arena.alloc_bytes(&bytes(blocks.len() as u64, LEN));
        blocks.push(block.unwrap_or_else(|e| panic!("{e}: {:?}", arena.stats())));
    }
}

/// Each `step`th block holds what was put into it.
fn assert_there(arena: &Arena, blocks: &[Offset<[u8]>], step: usize) {
    let tx = arena.read().unwrap();
    for (i, &block) in blocks.iter().enumerate().step_by(step) {
        assert!(tx.bytes(block).unwrap() == bytes(i as u64, LEN), "block {i}");
    }
}

/// KiB that are mapped in huge pages of the mapping in which a block lies.
fn in_huge_pages(arena: &Arena, block: Offset<[u8]>) -> u64 {
    let at = arena.read().unwrap().bytes(block).unwrap().as_ptr().addr();
    let told = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    let mut lines = told.lines().skip_while(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        !range.is_some_and(|(from, to)| number(from) <= Some(at) && Some(at) < number(to))
    });
    let line = lines.find_map(|line| line.strip_prefix("ShmemPmdMapped:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Whether this kernel puts a memory file into a huge page when it is asked to.
fn kernel_can() -> bool {
    use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
    const HUGE: usize = 2 << 20;
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let file = rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, HUGE as u64).unwrap();
    // SAFETY: takes the place of what was just reserved here, and only that; nobody else has addresses of it.
    unsafe {
        let room = mmap_anonymous(std::ptr::null_mut(), 2 * HUGE, both, MapFlags::PRIVATE).unwrap();
        let at = room.wrapping_byte_add(room.addr().next_multiple_of(HUGE) - room.addr());
        mmap(at, HUGE, both, MapFlags::SHARED | MapFlags::FIXED, &file, 0).unwrap();
        at.cast::<u8>().write(1);
        libc::madvise(at, HUGE, 25) == 0
    }
}

#[test]
fn memory_grows_in_huge_pages_where_the_kernel_can() {
    for wanted in [false, true] {
        let arena = Options::new().huge_pages(wanted).create_anonymous().unwrap();
        let mut blocks = Vec::new();
        fill(&arena, &mut blocks, 48 * MIB);
        assert_there(&arena, &blocks, 1);
        match in_huge_pages(&arena, blocks[0]) {
            0 => assert!(!wanted || !kernel_can()),
            found => assert!(wanted && found >= 32 << 10, "{found} KiB"),
        }
        assert_clean(&arena);
    }
}

/// Pages are put together under readers of other handles, also such as were filled before.
#[test]
fn readers_see_the_same_bytes_while_pages_become_huge() {
    let arena = Options::new().create_anonymous().unwrap();
    let mut blocks = Vec::new();
    fill(&arena, &mut blocks, 3 * MIB);
    let old = blocks.clone();
    let (done, seen) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reader = Options::new().open_descriptor(arena.share().unwrap()).unwrap();
            while !done.load(Ordering::Relaxed) {
                assert_there(&reader, &old, 1);
                seen.store(true, Ordering::Relaxed);
            }
        });
        fill(&arena, &mut blocks, 40 * MIB);
        while !seen.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_there(&arena, &blocks, 1);
    assert_clean(&arena);
}

/// What is in huge pages is cut, punched and grown again as any other space.
#[test]
fn space_in_huge_pages_is_given_back() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).max_size(1 << 30).create(&path).unwrap();
        let mut blocks = Vec::new();
        fill(&arena, &mut blocks, 40 * MIB);
        let used = || std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(used() >= 40 * MIB, "not reserved");
        assert_there(&arena, &blocks, 1);
        // Holes first: each eighth block stays, and the end of the file.
        for (i, &block) in blocks.iter().enumerate() {
            if i % 8 != 0 && i + 1 != blocks.len() {
                arena.free(block).unwrap();
            }
        }
        arena.shrink().unwrap();
        assert!(used() < 10 * MIB, "{}", used());
        let kept = |arena: &Arena| assert_there(arena, &blocks, 8);
        kept(&arena);
        let mut more = Vec::new();
        fill(&arena, &mut more, 60 * MIB);
        kept(&arena);
        assert_there(&arena, &more, 1);
        assert_clean(&arena);
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        kept(&arena);
        assert_there(&arena, &more, 1);
        assert_clean(&arena);
    }
}
