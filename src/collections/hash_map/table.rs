//! The table of a hash map: buckets of words, grown and shrunk one bucket at a time (linear hashing, Litwin 1980).
//!
//! A bucket is 64 bytes, one cache line: seven words, each of which names an entry, and a link to an overflow block of the same make.
//! Buckets lie in segments that double, which the header lists: segment 0 has the buckets 0 to 3, segment `k` those from `4 << (k - 1)`
//! to `4 << k`. So a table of any size grows by one more bucket and never moves those it has.
//!
//! With `n` buckets and `l = floor(log2(n))` an entry of hash `h` is in bucket `h mod 2^(l+1)` if there is one, else in `h mod 2^l`. To
//! grow, bucket `n - 2^l` is split: the entries whose hash has bit `l` go to the new bucket `n`.
//!
//! ```text
//! word     bits 0..41   offset of the entry / 8
//!          bits 41..64  bits 8..31 of its hash
//!          0            none
//! bucket   bytes 0..56  seven words
//!          bytes 56..64 offset of the overflow block; 0: none
//! header   0 shape · 8 entries · 16 buckets · 24 hash key (16 bytes) · 40 zeros · 64 offsets of 32 segments; 0: none
//! ```
//!
//! Invariants: words of a chain (a bucket and its overflow blocks) are in any order, with holes; no overflow block is without words.
#![forbid(unsafe_code)]

use crate::collections::shape;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use bytemuck::{Pod, Zeroable};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) type Link = Offset<[u8]>;

/// Of a hash map; see [`shape::own`].
#[inline]
pub(super) fn own<T>(result: Result<T>, offset: u64) -> Result<T> {
    shape::own(result, offset, "a hash map leads to something that is no part of it")
}

/// Frees a block that a map's own words lead to.
pub(super) fn free_own(tx: &mut WriteTxn<'_>, block: Link) -> Result<()> {
    own(tx.free(block), block.raw())
}

/// The first line of the header block.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Head {
    pub(super) shape: u64,
    pub(super) len: u64,
    pub(super) buckets: u64,
    pub(super) key: [u64; 2],
    pub(super) zeros: [u64; 3],
}

pub(super) const LEN_AT: u64 = 8;
const BUCKETS_AT: u64 = 16;
const SEGMENTS_AT: u64 = 64;
const SEGMENTS: u64 = 32;
/// Bytes of the header block.
pub(super) const HEADER_LEN: u64 = SEGMENTS_AT + 8 * SEGMENTS;

/// Buckets of the smallest table, which is segment 0.
pub(super) const FIRST: u64 = 4;
const MOST: u64 = FIRST << (SEGMENTS - 1);
pub(super) const BUCKET: u64 = 64;
const WORDS: usize = 7;

/// Entries for each bucket up to which a table does not grow, and, in thirds, from which on it does not shrink.
pub(super) const FULL: u64 = 4;

const ADDRESS_BITS: u32 = 41;
const TAG_FROM: u32 = 8;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Bucket {
    words: [u64; WORDS],
    overflow: Link,
}

impl Bucket {
    /// Up to [`WORDS`] words.
    fn of(words: &[Word], overflow: Link) -> Self {
        let mut bucket = Self { words: [0; WORDS], overflow };
        for (to, word) in bucket.words.iter_mut().zip(words) {
            *to = word.0;
        }
        bucket
    }

    /// Writes it to a new block.
    fn alloc(&self, tx: &mut WriteTxn<'_>) -> Result<Link> {
        tx.alloc_copy(bytemuck::bytes_of(self), BUCKET as usize)
    }
}

/// An entry's place and part of its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) fn new(hash: u64, entry: Link) -> Result<Self> {
        let address = entry.raw() / 8;
        if !entry.raw().is_multiple_of(8) || address == 0 || address >> ADDRESS_BITS != 0 {
            return Err(Error::corrupt(entry.raw(), "an entry of a hash map lies where none can"));
        }
        Ok(Self(Self::tag(hash) | address))
    }

    #[inline]
    const fn tag(hash: u64) -> u64 {
        (hash >> TAG_FROM) << ADDRESS_BITS
    }

    #[inline]
    pub(super) const fn entry(self) -> Link {
        Link::from_raw((self.0 & ((1 << ADDRESS_BITS) - 1)) * 8)
    }

    #[inline]
    pub(super) const fn may_be(self, hash: u64) -> bool {
        (self.0 ^ Self::tag(hash)) >> ADDRESS_BITS == 0
    }

    /// Whether both have the same of their hashes.
    pub(super) const fn looks_like(self, other: Self) -> bool {
        (self.0 ^ other.0) >> ADDRESS_BITS == 0
    }

    /// Bit `bit` of the hash, where the word has it.
    const fn hash_bit(self, bit: u32) -> Option<bool> {
        if bit >= TAG_FROM && bit < TAG_FROM + 64 - ADDRESS_BITS {
            Some(self.0 >> (ADDRESS_BITS + bit - TAG_FROM) & 1 == 1)
        } else {
            None
        }
    }
}

/// Where eight words lie: a bucket or an overflow block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    block: Link,
    at: u64,
}

impl Place {
    #[inline]
    fn offset(self) -> u64 {
        self.block.raw().wrapping_add(self.at)
    }

    /// One of the eight words, copied.
    #[inline]
    fn word(self, tx: &impl View, index: usize) -> Result<u64> {
        let at = self.offset().wrapping_add(8 * index as u64);
        own(tx.word_in_block(at), at)
    }

    /// All of them, where the transaction has them side by side.
    #[inline]
    fn words(self, tx: &impl View) -> Option<&[AtomicU64; WORDS + 1]> {
        let words = tx.words(self.offset(), WORDS as u64 + 1);
        words.try_into().ok()
    }

    #[inline]
    fn overflow(self, tx: &impl View) -> Result<Link> {
        self.word(tx, WORDS).map(Link::from_raw)
    }

    fn write(self, tx: &mut WriteTxn<'_>, index: usize, word: u64) -> Result<()> {
        own(tx.write_at(self.block, self.at + 8 * index as u64, &word.to_le_bytes()), self.offset())
    }
}

/// A word and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) word: Word,
    place: Place,
    index: usize,
}

/// A table, by its header block.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) header: Link,
    pub(super) buckets: u64,
}

/// The number of the bucket that has the entries of this hash.
#[inline]
pub(super) const fn bucket_of(hash: u64, buckets: u64) -> u64 {
    let level = buckets.ilog2();
    let wide = hash & ((2 << level) - 1);
    if wide < buckets { wide } else { hash & ((1 << level) - 1) }
}

/// How many low bits of their hashes all entries of a bucket have in common: those of its number.
pub(super) const fn depth_of(bucket: u64, buckets: u64) -> u32 {
    let level = buckets.ilog2();
    let split = bucket >= 1 << level || bucket + (1 << level) < buckets;
    if split { level + 1 } else { level }
}

/// Segment of a bucket and its index there.
#[inline]
pub(super) const fn segment_of(bucket: u64) -> (u64, u64) {
    if bucket < FIRST {
        return (0, bucket);
    }
    let level = bucket.ilog2();
    (level as u64 - 1, bucket - (1 << level))
}

/// Buckets of a segment.
pub(super) const fn segment_len(segment: u64) -> u64 {
    if segment == 0 { FIRST } else { FIRST << (segment - 1) }
}

impl Table {
    /// Takes a header's number of buckets, if there can be so many.
    #[inline]
    pub(super) fn of(header: Link, head: &Head) -> Result<Self> {
        if head.buckets < FIRST || head.buckets > MOST {
            return Err(Error::corrupt(header.raw(), "a hash map has an impossible number of buckets"));
        }
        Ok(Self { header, buckets: head.buckets })
    }

    /// Allocates segment 0, without entries.
    pub(super) fn first_segment(tx: &mut WriteTxn<'_>) -> Result<Link> {
        tx.alloc_zeroed(FIRST * BUCKET, BUCKET as usize)
    }

    /// The block of a segment. The header was looked up in this transaction; it is longer than any of these words lies in it.
    #[inline]
    pub(super) fn segment(self, tx: &impl View, segment: u64) -> Result<Link> {
        tx.word_in_block(self.header.raw() + SEGMENTS_AT + 8 * (segment % SEGMENTS)).map(Link::from_raw)
    }

    pub(super) fn set_segment(self, tx: &mut WriteTxn<'_>, segment: u64, link: Link) -> Result<()> {
        tx.write_at(self.header, SEGMENTS_AT + 8 * segment, bytemuck::bytes_of(&link))
    }

    pub(super) fn set_buckets(&mut self, tx: &mut WriteTxn<'_>, buckets: u64) -> Result<()> {
        self.buckets = buckets;
        tx.write_at(self.header, BUCKETS_AT, &buckets.to_le_bytes())
    }

    #[inline]
    fn place(self, tx: &impl View, bucket: u64) -> Result<Place> {
        let (segment, index) = segment_of(bucket);
        let block = self.segment(tx, segment)?;
        if block.is_null() {
            return Err(self.without_segment());
        }
        Ok(Place { block, at: index * BUCKET })
    }

    #[cold]
    fn without_segment(self) -> Error {
        Error::corrupt(self.header.raw(), "a hash map lacks a segment of its table")
    }

    /// The words of a bucket and its overflow blocks.
    #[inline]
    pub(super) fn chain(self, tx: &impl View, bucket: u64) -> Result<Chain> {
        Ok(Chain { place: self.place(tx, bucket)?, index: 0, steps: 0, anchor: Link::null() })
    }

    /// All words of a bucket.
    pub(super) fn words(self, tx: &impl View, bucket: u64) -> Result<Vec<Found>> {
        let (mut chain, mut all) = (self.chain(tx, bucket)?, Vec::new());
        while let Some(found) = chain.next(tx)? {
            all.push(found);
        }
        Ok(all)
    }

    /// Adds a word to a bucket. If it fails for want of space nothing is changed.
    pub(super) fn add(self, tx: &mut WriteTxn<'_>, bucket: u64, word: Word) -> Result<()> {
        let first = self.place(tx, bucket)?;
        let mut chain = self.chain(tx, bucket)?;
        loop {
            for hole in 0..WORDS {
                if chain.place.word(tx, hole)? == 0 {
                    return chain.place.write(tx, hole, word.0);
                }
            }
            if !chain.step(tx)? {
                break;
            }
        }
        let overflow = first.overflow(tx)?;
        let block = Bucket::of(&[word], overflow).alloc(tx)?;
        first.write(tx, WORDS, block.raw())
    }

    /// A bucket of these words, with as many new overflow blocks as it needs.
    pub(super) fn bucket_with(tx: &mut WriteTxn<'_>, words: &[Word]) -> Result<Bucket> {
        let (first, more) = words.split_at(words.len().min(WORDS));
        let mut overflow = Link::null();
        for words in more.chunks(WORDS) {
            overflow = Bucket::of(words, overflow).alloc(tx)?;
        }
        Ok(Bucket::of(first, overflow))
    }

    /// Makes a word name another entry.
    pub(super) fn replace(tx: &mut WriteTxn<'_>, found: Found, word: Word) -> Result<()> {
        found.place.write(tx, found.index, word.0)
    }

    /// Takes a word out of its bucket; an overflow block without words goes too.
    pub(super) fn take(self, tx: &mut WriteTxn<'_>, bucket: u64, found: Found) -> Result<()> {
        found.place.write(tx, found.index, 0)?;
        let first = self.place(tx, bucket)?;
        if found.place == first {
            return Ok(());
        }
        for index in 0..WORDS {
            if found.place.word(tx, index)? != 0 {
                return Ok(());
            }
        }
        let mut chain = self.chain(tx, bucket)?;
        let mut before = first;
        while chain.step(tx)? {
            if chain.place == found.place {
                let after = chain.place.overflow(tx)?;
                before.write(tx, WORDS, after.raw())?;
                return free_own(tx, chain.place.block);
            }
            before = chain.place;
        }
        Err(Error::corrupt(found.place.block.raw(), "an overflow block of a hash map is in no chain"))
    }

    /// Whether so many entries want another bucket.
    pub(super) fn wants_growth(self, len: u64) -> bool {
        len > self.buckets * FULL && self.buckets < MOST
    }

    /// Whether so few entries want a bucket less.
    pub(super) fn wants_shrinking(self, len: u64) -> bool {
        self.buckets > FIRST && len.saturating_mul(3) < self.buckets * FULL
    }

    /// Splits one bucket. `hash_of` computes an entry's hash. Changes nothing if there is no space for it.
    pub(super) fn grow(
        &mut self,
        tx: &mut WriteTxn<'_>,
        hash_of: impl Fn(&WriteTxn<'_>, Link) -> Result<u64>,
    ) -> Result<()> {
        let (new, level) = (self.buckets, self.buckets.ilog2());
        let old = new - (1 << level);
        let (segment, index) = segment_of(new);
        let mut moved = Vec::new();
        for found in self.words(tx, old)? {
            let goes = match found.word.hash_bit(level) {
                Some(bit) => bit,
                None => hash_of(tx, found.word.entry())? >> level & 1 == 1,
            };
            if goes {
                moved.push(found);
            }
        }
        // It may be there from an attempt for which there was no space.
        if index == 0 && self.segment(tx, segment)?.is_null() {
            let bytes = segment_len(segment) * BUCKET;
            let link = tx.alloc_unset(bytes, BUCKET as usize)?;
            self.set_segment(tx, segment, link)?;
        }
        let place = self.place(tx, new)?;
        let words: Vec<Word> = moved.iter().map(|found| found.word).take(WORDS).collect();
        let bucket = Bucket::of(&words, Link::null());
        own(tx.write_at(place.block, place.at, bytemuck::bytes_of(&bucket)), place.offset())?;
        for found in moved.iter().skip(WORDS) {
            if let Err(e) = self.add(tx, new, found.word) {
                self.free_overflow(tx, new)?;
                return Err(e);
            }
        }
        for found in moved {
            self.take(tx, old, found)?;
        }
        self.set_buckets(tx, new + 1)
    }

    /// Joins the last bucket with the one that it was split from. Changes nothing if there is no space for it.
    pub(super) fn shrink(&mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        let (point, before) = (tx.save_point(), self.buckets);
        let outcome = self.join_last(tx);
        if outcome.is_err() {
            tx.roll_back_to(&point)?;
            self.buckets = before;
        }
        tx.release(point)?;
        outcome
    }

    fn join_last(&mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        let last = self.buckets - 1;
        let (segment, index) = segment_of(last);
        let target = last - (1 << last.ilog2());
        for found in self.words(tx, last)? {
            self.add(tx, target, found.word)?;
        }
        self.free_overflow(tx, last)?;
        self.set_buckets(tx, last)?;
        if index == 0 {
            self.free_segment(tx, segment)?;
        }
        Ok(())
    }

    /// Frees the overflow blocks of a bucket; its link to them is left.
    pub(super) fn free_overflow(self, tx: &mut WriteTxn<'_>, bucket: u64) -> Result<()> {
        let mut next = self.place(tx, bucket)?.overflow(tx)?;
        // A cycle ends at a block that is freed already.
        while !next.is_null() {
            let block = next;
            next = own(tx.part::<Bucket>(block, 0), block.raw())?.overflow;
            free_own(tx, block)?;
        }
        Ok(())
    }

    fn free_segment(self, tx: &mut WriteTxn<'_>, segment: u64) -> Result<()> {
        let link = self.segment(tx, segment)?;
        self.set_segment(tx, segment, Link::null())?;
        free_own(tx, link)
    }

    /// Makes it a table of [`FIRST`] empty buckets, whose words and overflow blocks are freed already.
    pub(super) fn reset(&mut self, tx: &mut WriteTxn<'_>) -> Result<()> {
        for segment in 1..SEGMENTS {
            if !self.segment(tx, segment)?.is_null() {
                self.free_segment(tx, segment)?;
            }
        }
        let first = self.segment(tx, 0)?;
        own(tx.write_at(first, 0, &[0; (FIRST * BUCKET) as usize]), first.raw())?;
        self.set_buckets(tx, FIRST)
    }

    /// The blocks of all segments.
    pub(super) fn segments(self, tx: &impl View) -> Result<Vec<Link>> {
        let mut all = Vec::new();
        for segment in 0..SEGMENTS {
            let link = self.segment(tx, segment)?;
            if !link.is_null() {
                all.push(link);
            }
        }
        Ok(all)
    }

    /// Verifies that the segments are there that are needed, each with the length that it needs to have.
    pub(super) fn check(self, tx: &impl View) -> Result<()> {
        let last = segment_of(self.buckets - 1).0;
        for segment in 0..SEGMENTS {
            let link = self.segment(tx, segment)?;
            if link.is_null() && segment > last {
                continue;
            }
            if own(tx.len_of(link), link.raw())? != segment_len(segment) * BUCKET {
                return Err(Error::corrupt(link.raw(), "a segment of a hash map has another length"));
            }
        }
        Ok(())
    }
}

/// The way through a chain.
pub(super) struct Chain {
    place: Place,
    index: usize,
    /// Overflow blocks passed, and one of them: who comes there again goes round in a circle (Brent 1980).
    steps: u64,
    anchor: Link,
}

impl Chain {
    /// Where its words lie from now on.
    pub(super) fn offset(&self) -> u64 {
        self.place.offset()
    }

    /// The next word.
    #[inline]
    pub(super) fn next(&mut self, tx: &impl View) -> Result<Option<Found>> {
        loop {
            while self.index < WORDS {
                let index = self.index;
                self.index += 1;
                let word = self.place.word(tx, index)?;
                if word != 0 {
                    return Ok(Some(Found { word: Word(word), place: self.place, index }));
                }
            }
            if !self.step(tx)? {
                return Ok(None);
            }
        }
    }

    /// The next word that may be of an entry with this hash.
    #[inline]
    pub(super) fn find(&mut self, tx: &impl View, hash: u64) -> Result<Option<Found>> {
        loop {
            let Some(words) = self.place.words(tx) else { return self.find_one_by_one(tx, hash) };
            while self.index < WORDS {
                let (index, word) = (self.index, Word(words[self.index].load(Ordering::Relaxed)));
                self.index += 1;
                if word.may_be(hash) && word.0 != 0 {
                    return Ok(Some(Found { word, place: self.place, index }));
                }
            }
            if !self.step(tx)? {
                return Ok(None);
            }
        }
    }

    fn find_one_by_one(&mut self, tx: &impl View, hash: u64) -> Result<Option<Found>> {
        while let Some(found) = self.next(tx)? {
            if found.word.may_be(hash) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Goes on to the next overflow block, if there is one.
    #[inline]
    fn step(&mut self, tx: &impl View) -> Result<bool> {
        let block = self.place.overflow(tx)?;
        if block.is_null() {
            return Ok(false);
        }
        self.follow(tx, block)?;
        Ok(true)
    }

    #[cold]
    fn follow(&mut self, tx: &impl View, block: Link) -> Result<()> {
        if block == self.anchor {
            return Err(Error::corrupt(block.raw(), "overflow blocks of a hash map lead in a circle"));
        }
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.anchor = block;
        }
        // What is copied out word by word needs no block around it; that a link leads to one is asked here, where it costs little.
        own(tx.part::<Bucket>(block, 0), block.raw())?;
        self.place = Place { block, at: 0 };
        self.index = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other_without_gap() {
        let (mut segment, mut index) = (0, 0);
        for bucket in 0..5000 {
            assert_eq!(segment_of(bucket), (segment, index));
            index += 1;
            if index == segment_len(segment) {
                (segment, index) = (segment + 1, 0);
            }
        }
        let (last, index) = segment_of(MOST - 1);
        assert!(last == SEGMENTS - 1 && index == segment_len(last) - 1);
    }

    #[test]
    fn a_bucket_is_found_by_the_low_bits_that_its_depth_says() {
        for buckets in FIRST..200 {
            for hash in 0..1024 {
                let bucket = bucket_of(hash, buckets);
                let depth = depth_of(bucket, buckets);
                assert!(bucket < buckets);
                assert_eq!(hash & ((1 << depth) - 1), bucket, "{hash} of {buckets}");
                assert_eq!(bucket_of(hash | 1 << depth, buckets), bucket);
            }
        }
    }

    #[test]
    fn a_word_keeps_offset_and_hash_bits() {
        let (hash, entry) = (0x0123_4567_89AB_CDEF, Link::from_raw((1 << 44) - 8));
        let word = Word::new(hash, entry).unwrap();
        assert_eq!(word.entry(), entry);
        assert!(word.may_be(hash) && !word.may_be(hash ^ 1 << 8) && !word.may_be(hash ^ 1 << 30));
        for bit in 8..31 {
            assert_eq!(word.hash_bit(bit), Some(hash >> bit & 1 == 1));
        }
        assert_eq!((word.hash_bit(7), word.hash_bit(31)), (None, None));
        assert!(Word::new(hash, Link::from_raw(1 << 44)).is_err());
        assert!(Word::new(hash, Link::null()).is_err());
    }
}
