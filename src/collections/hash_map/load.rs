//! Filling an empty map: entries are written side by side as they come; the table is built once, of the size that it needs.
//!
//! Until then 16 bytes are kept for each entry. Growing bucket by bucket would move each of them, and look for its place in
//! ever other lines of the file.

#![forbid(unsafe_code)]

use super::entry::{Content, Layout};
use super::table::{BUCKET, FIRST, FULL, Link, Table, Word, bucket_of, segment_len, segment_of};
use super::{HashMap, Head, hash};
use crate::collections::blocks::{Blocks, PIECE};
use crate::collections::{Item, Key, KeyBuffer};
use crate::error::Result;
use crate::txn::WriteTxn;
use std::borrow::Borrow;

/// Entries that are taken: 128 MiB are kept of them.
const MOST: usize = 8 << 20;
/// Longer entries are written one by one.
const SHORT: u64 = 4096;

/// Entries on their way into a map without entries.
pub(super) struct Loader<K: ?Sized + 'static, V: ?Sized + 'static> {
    map: HashMap<K, V>,
    head: Head,
    /// Of each entry its hash and its offset.
    entries: Vec<[u64; 2]>,
    blocks: Blocks,
}

impl<K: Key + ?Sized, V: Item + ?Sized> Loader<K, V> {
    /// Fills a map, which is empty, with these entries; whether with all of them.
    pub(super) fn fill<Q: Borrow<K>, W: Borrow<V>>(
        map: HashMap<K, V>,
        tx: &mut WriteTxn<'_>,
        head: Head,
        entries: &mut impl Iterator<Item = (Q, W)>,
    ) -> Result<bool> {
        let mut loader = Self { map, head, entries: Vec::new(), blocks: Blocks::default() };
        let mut buffer = KeyBuffer::new();
        while loader.entries.len() < MOST {
            let Some((key, value)) = entries.next() else { return loader.finish(tx).map(|()| true) };
            loader.add(tx, key.borrow().ordered(&mut buffer), value.borrow().as_bytes())?;
        }
        loader.finish(tx).map(|()| false)
    }

    /// Takes an entry.
    fn add(&mut self, tx: &mut WriteTxn<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        let room = Layout::<K, V>::room(key.len() as u64, value.len() as u64)?;
        let entry = if room.len > SHORT {
            Layout::<K, V>::alloc(tx, key, Content::Bytes(value))?
        } else {
            let (entry, block) = self.blocks.alloc(tx, room.len, room.align)?;
            let start = block.len();
            block.resize(start + room.len as usize, 0);
            Layout::<K, V>::write(&mut block[start..], &room, key, value);
            entry
        };
        self.entries.push([hash(&self.head, key), entry.raw()]);
        Ok(())
    }

    /// Makes them the map's.
    fn finish(mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        self.blocks.write(tx)?;
        // What else an empty map may have is left over from fuller times.
        self.map.clear(tx)?;
        let buckets = (self.entries.len() as u64).div_ceil(FULL).max(FIRST);
        let mut table = Table { header: self.map.offset(), buckets };
        for (i, entry) in self.entries.iter_mut().enumerate() {
            let [hash, offset] = *entry;
            *entry = [bucket_of(hash, buckets) << 32 | i as u64, Word::new(hash, Link::from_raw(offset))?.0];
        }
        self.entries.sort_unstable();
        let (mut len, mut rest, mut words) = (0, &self.entries[..], Vec::new());
        for segment in 0..=segment_of(buckets - 1).0 {
            let link = match segment {
                0 => table.segment(tx, 0)?,
                _ => tx.alloc_unset(segment_len(segment) * BUCKET, BUCKET as usize)?,
            };
            table.set_segment(tx, segment, link)?;
            let first = if segment == 0 { 0 } else { segment_len(segment) };
            let count = segment_len(segment).min(buckets - first);
            let mut piece = Vec::with_capacity(PIECE.min((count * BUCKET) as usize));
            let mut written = 0;
            for bucket in first..first + count {
                let here = rest.iter().take_while(|[at, _]| at >> 32 == bucket).count();
                let (now, later) = rest.split_at(here);
                rest = later;
                Self::unique(tx, now, &mut words)?;
                len += words.len() as u64;
                piece.extend_from_slice(bytemuck::bytes_of(&Table::bucket_with(tx, &words)?));
                if piece.len() >= PIECE || bucket + 1 == first + count {
                    tx.write_at(link, written, &piece)?;
                    written += piece.len() as u64;
                    piece.clear();
                }
            }
        }
        table.set_buckets(tx, buckets)?;
        self.map.set_len(tx, len)?;
        self.map.shrink_while_sparse(tx, table, len)
    }

    /// The words of a bucket; of several entries with one key the last one's, the others are freed.
    fn unique(tx: &mut WriteTxn<'_>, entries: &[[u64; 2]], words: &mut Vec<Word>) -> Result<()> {
        words.clear();
        for &[_, word] in entries {
            let word = Word(word);
            let mut same = None;
            for (i, before) in words.iter().enumerate() {
                if before.looks_like(word)
                    && Layout::<K, V>::key(tx, before.entry())? == Layout::<K, V>::key(tx, word.entry())?
                {
                    same = Some(i);
                }
            }
            match same {
                Some(i) => {
                    tx.free(words[i].entry())?;
                    words[i] = word;
                }
                None => words.push(word),
            }
        }
        Ok(())
    }
}
