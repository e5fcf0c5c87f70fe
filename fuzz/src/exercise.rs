//! What is done with an arena of unknown soundness: everything that a user may do.

use heapfile::{Arena, BlockInfo, Error, Offset, Result, View};

/// Blocks looked at, at most: a damaged arena may list very many.
const MOST_BLOCKS: usize = 2_000;

/// Checks, reads and changes the arena. Any error is fine, unless the check had found nothing: then nothing may be
/// found damaged later either.
pub fn all(arena: &Arena, seed: u8) {
    let Ok(report) = arena.check() else { return };
    let clean = report.is_clean();
    for (name, outcome) in [
        ("read", read(arena).map(drop)),
        ("stats", arena.stats().map(drop)),
        ("handles", arena.handles().map(drop)),
        ("change", change(arena, seed)),
        ("sync", arena.sync()),
        ("checkpoint", arena.checkpoint()),
    ] {
        match outcome {
            Err(Error::Corrupt { offset, what }) if clean => {
                panic!("check found nothing, then {name} found at {offset:#x}: {what}")
            }
            _ => {}
        }
    }
    if clean && let Ok(report) = arena.check() {
        assert!(report.is_clean(), "use damaged a sound arena: {:?}", report.findings);
    }
}

fn read(arena: &Arena) -> Result<Vec<BlockInfo>> {
    let tx = arena.read()?;
    let mut found = Vec::new();
    for block in tx.blocks().take(MOST_BLOCKS) {
        let block = block?;
        std::hint::black_box(tx.bytes(block.offset)?.iter().fold(0u8, |sum, byte| sum ^ byte));
        found.push(block);
    }
    for root in tx.roots()? {
        // The block may be gone: that is a finding, not a fault.
        let _ = tx.bytes(root.offset);
    }
    let _ = tx.root::<u64>();
    Ok(found)
}

fn change(arena: &Arena, seed: u8) -> Result<()> {
    let blocks = read(arena)?;
    let mut tx = arena.write()?;
    let point = tx.save_point();
    for (i, block) in blocks.iter().enumerate() {
        match (i + usize::from(seed)) % 7 {
            0 => tx.free(block.offset)?,
            1 => drop(tx.resize(block.offset, block.len.min(1 << 20) + 9)?),
            2 => drop(tx.resize(block.offset, block.len / 3)?),
            3 if block.len > 0 => tx.write_at(block.offset, block.len - 1, &[seed])?,
            4 if block.len < 1 << 20 => tx.bytes_mut(block.offset)?.fill(seed),
            _ => {}
        }
        // What is no block has to be refused, whatever the arena holds.
        let _ = tx.free(Offset::<[u8]>::from_raw(block.offset.raw() + 1));
    }
    if seed % 3 == 0 {
        tx.roll_back_to(&point)?;
    }
    for len in [0, 1, 8, 100, 300, 5_000, 17_000, 70_000] {
        let new = tx.alloc_zeroed(len, 1 << (seed % 13))?;
        assert_eq!(tx.len_of(new)?, len);
        tx.set_named_root("new", new)?;
    }
    tx.commit()
}
