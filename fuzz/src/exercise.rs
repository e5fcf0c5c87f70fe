//! What is done with an arena of unknown soundness: everything that a user may do.

use heapfile::{Arena, Error, Offset, Result, View};

/// Blocks looked at, at most: a damaged arena may list very many.
const MOST_BLOCKS: usize = 2_000;

/// Checks, reads and changes the arena. Any error is fine, unless the check had found nothing: then nothing may be
/// found damaged later either. (Roots excepted: their records are blocks like others, and what is damaged may lead us to free one.)
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
        ("shrink", arena.shrink().map(drop)),
    ] {
        match outcome {
            Err(Error::Corrupt { offset, what }) if clean && !what.contains("root") => {
                panic!("check found nothing, then {name} found at {offset:#x}: {what}")
            }
            _ => {}
        }
    }
    if clean && let Ok(report) = arena.check() {
        let findings: Vec<_> = report.findings.iter().filter(|f| !f.what.contains("root")).collect();
        assert!(findings.is_empty(), "use damaged a sound arena: {findings:?}");
    }
}

fn read(arena: &Arena) -> Result<()> {
    let tx = arena.read()?;
    for block in tx.blocks().take(MOST_BLOCKS) {
        std::hint::black_box(crc32fast::hash(tx.bytes(block?.offset)?));
    }
    for root in tx.roots()? {
        // The block may be gone: that is a finding, not a fault.
        let _ = tx.bytes(root.offset);
    }
    let _ = tx.root::<u64>();
    Ok(())
}

/// The blocks that the root "kept" names, as far as they are any.
fn kept(arena: &Arena) -> Result<Vec<(Offset<[u8]>, u64)>> {
    let tx = arena.read()?;
    let Some(kept) = tx.named_root::<[Offset<[u8]>]>("kept")? else { return Ok(Vec::new()) };
    Ok(tx.slice(kept)?.iter().filter_map(|&block| Some((block, tx.len_of(block).ok()?))).collect())
}

fn change(arena: &Arena, seed: u8) -> Result<()> {
    let blocks = kept(arena)?;
    let mut tx = arena.write()?;
    let point = tx.save_point();
    for (i, &(block, len)) in blocks.iter().enumerate() {
        match (i + usize::from(seed)) % 7 {
            0 => tx.free(block)?,
            1 => drop(tx.resize(block, len.min(1 << 20) + 9)?),
            2 => drop(tx.resize(block, len / 3)?),
            3 if len > 0 => tx.write_at(block, len - 1, &[seed])?,
            4 if len < 1 << 20 => tx.bytes_mut(block)?.fill(seed),
            _ => {}
        }
        // What is no block has to be refused, whatever the arena holds.
        let _ = tx.free(Offset::<[u8]>::from_raw(block.raw() + 1));
    }
    if seed.is_multiple_of(3) {
        tx.roll_back_to(&point)?;
    }
    for len in [0, 1, 8, 100, 300, 5_000, 17_000, 70_000] {
        let new = tx.alloc_zeroed(len, 1 << (seed % 13))?;
        assert_eq!(tx.len_of(new)?, len);
        tx.set_named_root("new", new)?;
    }
    tx.commit()
}
