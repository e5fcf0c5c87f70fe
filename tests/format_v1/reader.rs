//! A reader of arenas written from `docs/FORMAT.md` alone: it shares no code with the library, and recovers the log by itself.

use std::collections::BTreeMap;

/// The common CRC-32, bit by bit, continued from `seed`.
fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = !seed;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}

/// A root as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) offset: u64,
    pub(crate) size: u32,
    pub(crate) align: u32,
    pub(crate) type_name: String,
    pub(crate) content: Vec<u8>,
}

/// A file in memory; what the log still has to change is applied when it is opened.
pub(crate) struct Reader {
    bytes: Vec<u8>,
    heap: u64,
}

impl Reader {
    pub(crate) fn open(bytes: Vec<u8>) -> Result<Self, String> {
        let mut reader = Self { bytes, heap: 0 };
        if &reader.bytes[..8] != b"HEAPFILE" {
            return Err("no arena".into());
        }
        if reader.u32(8) != 0x0A0B_0C0D || reader.u32(12) != 1 {
            return Err("another byte order or version".into());
        }
        if crc32(0, &reader.bytes[..92]) != reader.u32(92) {
            return Err("superblock".into());
        }
        reader.heap = u64::from(reader.u32(64));
        let regions = [(40, 4), (48, reader.end_of(40)), (56, reader.end_of(48)), (64, reader.end_of(56))];
        if regions.iter().any(|&(at, page)| reader.u32(at) != page) {
            return Err("regions".into());
        }
        match reader.u32(32) {
            1 => reader.replay_log()?,
            2 => reader.replay_intent()?,
            _ => return Err("durability".into()),
        }
        if &reader.bytes[reader.heap_at(0)..][..8] != b"heapfil1" {
            return Err("heap".into());
        }
        Ok(reader)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    /// The page behind the region whose first page stands at `at`.
    fn end_of(&self, at: usize) -> u32 {
        self.u32(at) + self.u32(at + 4)
    }

    /// Byte of a word of the heap's header.
    fn heap_at(&self, word: u64) -> usize {
        (self.heap * 4096 + word * 8) as usize
    }

    /// Tail, sequence and seed of the slot that counts, and where its ring is: first byte and length.
    fn slot(&self) -> Result<(u64, u64, u32, (usize, u64)), String> {
        let valid = |page: usize| {
            let at = page * 4096;
            let sound = &self.bytes[at..at + 8] == b"HFCHKPNT"
                && crc32(0, &self.bytes[at..at + 60]) == self.u32(at + 60)
                && [8, 16, 24].iter().all(|field| self.u64(at + field) < 1 << 62);
            let ring = match (self.u32(at + 36), self.u32(at + 40)) {
                (0, 0) => (self.u32(56) as usize * 4096, u64::from(self.u32(60)) * 4096),
                (page, pages) => (page as usize * 4096, u64::from(pages) * 4096),
            };
            sound.then(|| (self.u64(at + 8), self.u64(at + 16), self.u64(at + 24), self.u32(at + 32), ring))
        };
        let (_, tail, sequence, seed, ring) = match (valid(1), valid(2)) {
            (Some(a), Some(b)) => a.max(b),
            (Some(one), None) | (None, Some(one)) => {
                let (ring, len) = one.4;
                let came_round = &self.bytes[ring..ring + 4] == b"HFRC" && self.u64(ring + 16) >= one.1 + len;
                if came_round || self.record(ring, len, one.1, one.1, one.2, one.3).is_none() {
                    return Err("slot".into());
                }
                one
            }
            (None, None) => return Err("slots".into()),
        };
        Ok((tail, sequence, seed, ring))
    }

    /// The record expected at position `at`: its own position, the position behind it, and its CRC.
    fn record(&self, ring: usize, len: u64, tail: u64, at: u64, sequence: u64, seed: u32) -> Option<Record> {
        let align = u64::from(self.u32(36));
        for at in [at, at.next_multiple_of(len)] {
            let place = ring + (at % len) as usize;
            let (kind, words) = (self.u32(place + 4), self.u64(place + 24));
            let expected = &self.bytes[place..place + 4] == b"HFRC"
                && (1..=3).contains(&kind)
                && self.u64(place + 8) == sequence
                && self.u64(place + 16) == at
                && self.u32(place + 56) == seed;
            let takes = if kind == 3 { 64 } else { words.saturating_mul(8).saturating_add(64) };
            if !expected || takes > len - at % len || (at + takes).next_multiple_of(align) > tail + len {
                continue;
            }
            let body_at = if kind == 3 { self.u32(place + 44) as usize * 4096 } else { place + 64 };
            let Some(body) = self.bytes.get(body_at..body_at.checked_add(words as usize * 8)?) else {
                continue;
            };
            let crc = crc32(crc32(seed, &self.bytes[place..place + 60]), body);
            if crc != self.u32(place + 60) {
                continue;
            }
            let words =
                body.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
            let next = (at + takes).next_multiple_of(align);
            return Some(Record { kind, ranges: self.u32(place + 32) as usize, words, next, crc });
        }
        None
    }

    fn replay_log(&mut self) -> Result<(), String> {
        let (tail, mut sequence, mut seed, (ring, len)) = self.slot()?;
        let (mut at, mut records) = (tail, Vec::new());
        while let Some(record) = self.record(ring, len, tail, at, sequence, seed) {
            (at, seed, sequence) = (record.next, record.crc, sequence + 1);
            if record.kind == 2 {
                records.pop();
            } else {
                records.push(record);
            }
        }
        // Words that the log changes, with what it makes of them: from the last record to the first, so that later ranges are known.
        let mut filled: Vec<(u64, u64)> = Vec::new();
        let mut changes: BTreeMap<u64, u64> = BTreeMap::new();
        for record in records.iter().rev() {
            let (ranges, writes) = record.words.split_at(record.ranges);
            for (offset, word) in writes_of(writes)? {
                let revoked = filled.iter().any(|&(start, end)| (start..end).contains(&offset));
                if !revoked {
                    changes.entry(offset).or_insert(word);
                }
            }
            for range in ranges {
                let (page, pages) = (range & 0xFFFF_FFFF, range >> 32);
                filled.push((page * 4096, (page + pages) * 4096));
            }
        }
        self.apply(changes)
    }

    fn replay_intent(&mut self) -> Result<(), String> {
        if &self.bytes[3 * 4096..][..8] != b"HFMARK\0\0"
            || crc32(0, &self.bytes[3 * 4096..][..60]) != self.u32(3 * 4096 + 60)
        {
            return Err("mark".into());
        }
        let intent = self.u64(4 * 4096 + 136);
        if intent & 1 == 0 {
            return Ok(());
        }
        let at = (intent >> 8 & 0xFFFF_FFFF) as usize * 4096;
        let (words, ranges) = (self.u64(at + 8) as usize, self.u32(at + 16) as usize);
        let body: Vec<u64> = (0..words).map(|i| self.u64(at + 32 + 8 * i)).collect();
        let mut changes = BTreeMap::new();
        for (offset, word) in writes_of(&body[ranges..])? {
            changes.insert(offset, word);
        }
        self.apply(changes)
    }

    fn apply(&mut self, changes: BTreeMap<u64, u64>) -> Result<(), String> {
        for (offset, word) in changes {
            let at = offset as usize;
            let target = self.bytes.get_mut(at..at + 8).ok_or("a write past the end of the file")?;
            target.copy_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }

    /// The page map's word of a page.
    fn entry(&self, page: u64) -> u64 {
        let i = page - self.heap;
        let k = if i < 512 { 0 } else { u64::from((i / 512).ilog2()) + 1 };
        let first = if k == 0 { 0 } else { 512 << (k - 1) };
        let array = self.u64(self.heap_at(8 + k)) * 4096;
        self.u64((array + 8 * (i - first)) as usize)
    }

    /// The content of the block at an offset, if there is one.
    pub(crate) fn block(&self, offset: u64) -> Option<&[u8]> {
        let end = u64::from(self.u32(self.heap_at(1)));
        let page = offset / 4096;
        if page <= self.heap || page >= end {
            return None;
        }
        let word = self.entry(page);
        let len = match word & 15 {
            1 if offset.is_multiple_of(4096) => 4096 * (word >> 32) - (word >> 16 & 0xFFFF),
            2 => {
                let (class, shape) = (word >> 10 & 0x3FFF, word >> 8 & 3);
                let slab = (page - (word >> 32)) * 4096;
                let Shape { size, wide, pages, slots, start } = shape_of(class, shape);
                assert_eq!(pages, word >> 24 & 0xFF, "pages of a slab, by the page map");
                let head = self.u64(slab as usize);
                let expected = 0xA5 | shape << 8 | class << 10 | pages << 24 | slots << 48;
                assert_eq!(head & !0x0000_FFFF_0000_0000, expected, "first word of a slab");
                let slot = offset.checked_sub(slab + start)? / size;
                if slot >= slots || slab + start + slot * size != offset {
                    return None;
                }
                let at = (slab + 16 + slot * wide) as usize;
                let state = if wide == 1 { u64::from(self.bytes[at]) } else { self.u64(at) & 0xFFFF };
                if state == 0 {
                    return None;
                }
                1 + size - state
            }
            _ => return None,
        };
        self.bytes.get(offset as usize..(offset + len) as usize)
    }

    /// All blocks by their offsets.
    pub(crate) fn blocks(&self) -> BTreeMap<u64, Vec<u8>> {
        let end = u64::from(self.u32(self.heap_at(1)));
        let starts = (self.heap * 4096..end * 4096).step_by(8);
        starts.filter_map(|at| Some((at, self.block(at)?.to_vec()))).collect()
    }

    /// All roots by their names.
    pub(crate) fn roots(&self) -> BTreeMap<String, Root> {
        let mut roots = BTreeMap::new();
        let directory = self.u64(self.heap_at(6));
        if directory == 0 {
            return roots;
        }
        for entry in self.block(directory).expect("the directory is a block").chunks_exact(8) {
            let at = u64::from_le_bytes(entry.try_into().unwrap());
            let record = self.block(at).expect("a root record is a block");
            let field = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
            let offset = u64::from_le_bytes(record[..8].try_into().unwrap());
            let (name, type_name) = record[24..].split_at(field(16) as usize);
            assert_eq!(type_name.len(), field(20) as usize);
            let root = Root {
                offset,
                size: field(8),
                align: field(12),
                type_name: String::from_utf8(type_name.to_vec()).unwrap(),
                content: self.block(offset).expect("a root leads to a block").to_vec(),
            };
            roots.insert(String::from_utf8(name.to_vec()).unwrap(), root);
        }
        roots
    }
}

struct Record {
    kind: u32,
    ranges: usize,
    words: Vec<u64>,
    next: u64,
    crc: u32,
}

/// Offset and content of each word that a body's writes change.
fn writes_of(mut writes: &[u64]) -> Result<Vec<(u64, u64)>, String> {
    let mut all = Vec::new();
    while let Some((&head, rest)) = writes.split_first() {
        let (offset, count) = ((head >> 16) * 8, (head & 0xFFFF) as usize);
        let (words, rest) = rest.split_at_checked(count).ok_or("a write that is too long")?;
        all.extend(words.iter().enumerate().map(|(i, &word)| (offset + 8 * i as u64, word)));
        writes = rest;
    }
    // Of one record no word comes twice.
    Ok(all)
}

struct Shape {
    size: u64,
    wide: u64,
    pages: u64,
    slots: u64,
    start: u64,
}

/// Size and shape of the slabs of a class, as the page computes them.
fn shape_of(class: u64, shape: u64) -> Shape {
    let size = if class < 16 {
        8 * (class + 1)
    } else {
        let (d, i) = ((class - 16) / 8, (class - 16) % 8);
        (128 << d) + (i + 1) * (16 << d)
    };
    let wide = if size <= 248 { 1 } else { 2 };
    let align = (size & size.wrapping_neg()).min(256);
    let divide = |pages: u64| {
        let mut slots = ((4096 * pages - 16) / (size + wide)).min(512);
        loop {
            let start = (16 + 8 * (slots * wide).div_ceil(8)).next_multiple_of(align);
            if start + slots * size <= 4096 * pages {
                return (slots, start);
            }
            slots -= 1;
        }
    };
    let m = (size * 32 / 4096).clamp(16, 64).min((16 + 512 * (size + wide)) / 4096);
    let mut h = (m >> (3 - shape)).max(1);
    while divide(h).0 < 2 {
        h += 1;
    }
    // The most slots per page; of equals the fewest pages.
    let pages = (h / 2 + 1..=h)
        .filter(|&pages| divide(pages).0 >= 2)
        .max_by(|&a, &b| (divide(a).0 * b).cmp(&(divide(b).0 * a)).then(b.cmp(&a)))
        .unwrap();
    let (slots, start) = divide(pages);
    Shape { size, wide, pages, slots, start }
}
