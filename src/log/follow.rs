//! Following the log of a `Power` arena while others write it: what of the heap did the records change?
//!
//! The follower holds no lock, so the ring may be written over before it comes there. The chain of checksums tells: the follower
//! either reads every record up to a head that it saw, or learns that it lost some.

use super::record::{Bounds, KIND_SPILL, KIND_VOID, Parsed, RECORD_MAGIC, RecordHeader, range_of};
use super::ring::{Cursor, Ring};
use crate::error::Result;
use crate::layout::{Page, page_offset};
use crate::media::Media;

/// Calls `touch` with start and end of everything in the heap that the records from `from` up to log position `head` write, or list as
/// filled in place. Returns where to go on, or nothing if some of them cannot be read any more: they were written over, or lay in a spill
/// extent that is gone.
pub(crate) fn follow(
    media: &Media,
    ring: &Ring,
    from: Cursor,
    head: u64,
    heap_page: Page,
    mut touch: impl FnMut(u64, u64),
) -> Result<Option<Cursor>> {
    let mut cursor = from;
    while cursor.position < head {
        if is_spill(media, ring, cursor) {
            return Ok(None);
        }
        let Some((record, next)) = ring.read(media, cursor, cursor.position)? else { return Ok(None) };
        cursor = next;
        if record.header.kind == KIND_VOID {
            continue;
        }
        let bounds = Bounds { first: heap_page, end: record.header.end_page };
        let counts = (record.header.ranges, record.header.writes);
        let parsed = Parsed::new(&record.body, counts, bounds, ring.offset(record.header.position))?;
        for &range in parsed.ranges {
            let (page, pages) = range_of(range);
            touch(page_offset(page), page_offset(page) + page_offset(pages));
        }
        for write in parsed.writes() {
            touch(write.offset, write.offset + write.words.len() as u64 * 8);
        }
    }
    Ok(Some(cursor))
}

/// Whether the body of the record at `cursor` lies, or lay, behind the heap's end, where it must not be looked for.
fn is_spill(media: &Media, ring: &Ring, cursor: Cursor) -> bool {
    let places = [cursor.position, cursor.position.next_multiple_of(ring.len())];
    places.into_iter().any(|position| {
        let mut bytes = [0; size_of::<RecordHeader>()];
        let read = media.copy_to(ring.offset(position), &mut bytes);
        let header: RecordHeader = bytemuck::cast(bytes);
        read.is_some()
            && (header.magic, header.kind) == (RECORD_MAGIC, KIND_SPILL)
            && (header.position, header.sequence, header.seed) == (position, cursor.sequence, cursor.seed)
    })
}
