//! The two checkpoint slots: from where the log has to be replayed after a power cut.
//!
//! A checkpoint writes the slot that is not the newest, so that a torn write leaves the other. Rule 5 of the log:
//! where one slot is damaged, the other counts only if the records from its tail on are all that the ring has seen; otherwise some
//! that it needs were overwritten, and an older state would be passed off as the current one.

use super::power::PowerLog;
use super::ring::Cursor;
use crate::error::{Error, Result};
use crate::layout::{CheckpointSlot, LogPlace, SLOT_MAGIC, SLOT_PAGES, Sealed, page_offset};
use crate::media::Media;
use crate::sabotage::{Break, broken};

/// Positions, sequences and generations stay far below this; a slot that says otherwise is damaged.
const LIMIT: u64 = 1 << 62;

/// The slot for a tail at `cursor` of a ring at `log`.
pub(crate) fn slot(generation: u64, cursor: Cursor, log: LogPlace) -> CheckpointSlot {
    CheckpointSlot {
        magic: SLOT_MAGIC,
        generation,
        tail: cursor.position,
        sequence: cursor.sequence,
        seed: cursor.seed,
        log,
        reserved: [0; 4],
        crc: 0,
    }
    .sealed()
}

/// Reads slot `index`; nothing if it is damaged.
pub(crate) fn read(media: &Media, index: usize) -> Result<Option<CheckpointSlot>> {
    let at = page_offset(SLOT_PAGES[index]);
    let mut bytes = [0u8; 64];
    media.copy_to(at, &mut bytes).ok_or(Error::Truncated { needed: at + 64, found: media.len() })?;
    let slot: CheckpointSlot = bytemuck::cast(bytes);
    let sane = slot.tail < LIMIT && (1..LIMIT).contains(&slot.sequence) && slot.generation < LIMIT;
    Ok((slot.is_sound() && slot.magic == SLOT_MAGIC && sane).then_some(slot))
}

/// Which of the two slots is written for a generation.
pub(crate) fn index(generation: u64) -> usize {
    (generation % 2) as usize
}

/// Writes a slot once more, for a sync that follows.
pub(crate) fn write_again(media: &Media, slot: &CheckpointSlot) -> Result<()> {
    media.write(page_offset(SLOT_PAGES[index(slot.generation)]), bytemuck::bytes_of(slot))
}

/// Writes a slot, durably, over the one of the generation before the last.
pub(crate) fn write(media: &Media, slot: &CheckpointSlot) -> Result<()> {
    if broken(Break::SlotNotFlushed) {
        return write_again(media, slot);
    }
    media.write_durable(page_offset(SLOT_PAGES[index(slot.generation)]), bytemuck::bytes_of(slot))
}

/// The slot that counts.
pub(crate) fn newest(media: &Media, log: &PowerLog) -> Result<CheckpointSlot> {
    match (read(media, 0)?, read(media, 1)?) {
        (Some(a), Some(b)) => Ok(if a.generation > b.generation { a } else { b }),
        (None, None) => Err(Error::corrupt(page_offset(SLOT_PAGES[0]), "both checkpoint slots are damaged")),
        (Some(slot), None) | (None, Some(slot)) => {
            let ring = log.ring_at(slot.log)?;
            let (_, head) = ring.scan(media, cursor(&slot))?;
            if !ring.has_later(media, head)? {
                return Ok(slot);
            }
            let damaged = SLOT_PAGES[index(slot.generation + 1)];
            Err(Error::corrupt(
                page_offset(damaged),
                "the newest checkpoint slot is damaged and the log before it is overwritten",
            ))
        }
    }
}

/// Where the log of a slot begins.
pub(crate) fn cursor(slot: &CheckpointSlot) -> Cursor {
    Cursor { position: slot.tail, sequence: slot.sequence, seed: slot.seed }
}
