//! The way down through inner nodes, made of copied words.
//!
//! Nothing of an inner node is borrowed here, so its block need not be looked up, which would cost more than the search in it. What words do
//! not tell (keys that are equal as far as heads go, a long common prefix, anything that looks wrong) is left to [`Node`](super::node::Node), which
//! asks for the block and compares keys.

#![forbid(unsafe_code)]

use super::node::{FRONT, MARK, NODE_MAX, Slot, head_of};
use crate::txn::View;
use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicU64};

/// Lines of a node that are asked for before they are needed, so that they come together and not one after the other.
const AHEAD: [usize; 4] = [0, 8, 16, 24];

/// Index of the first word in `low..count` that is not less than `least`. Without branches that depend on the words: they could not be foreseen.
#[inline(always)]
pub(super) fn lower_bound(
    mut low: usize,
    count: usize,
    least: u64,
    word: impl Fn(usize) -> Option<u64>,
) -> Option<usize> {
    let mut left = count.saturating_sub(low);
    while left > 1 {
        let half = left / 2;
        low = std::hint::select_unpredictable(word(low + half - 1)? < least, low + half, low);
        left -= half;
    }
    if left == 1 && word(low)? < least {
        low += 1;
    }
    Some(low)
}

/// Copies one of these words, if there is one of that number.
#[inline(always)]
fn copy_from(words: &[AtomicU64]) -> impl Fn(usize) -> Option<u64> {
    move |i| words.get(i).map(|word| word.load(atomic::Ordering::Relaxed))
}

/// From the inner node at `at` to the child under which `key` belongs: index of the entry, and the child.
#[inline]
pub(super) fn route<S: View + ?Sized>(tx: &S, at: u64, level: u8, key: &[u8]) -> Option<(usize, u64)> {
    let words = tx.words(at, (NODE_MAX / 8) as u64);
    if words.is_empty() {
        return child(level, key, |i| tx.word_in_block(at.wrapping_add(8 * i as u64)).ok());
    }
    child(level, key, copy_from(words))
}

/// Offset of the word in the inner node at `at` that has the child under which `key` belongs, if the transaction has not changed the node. Who looks for
/// several children has all their words fetched before it needs one.
#[inline]
pub(super) fn child_at<S: View + ?Sized>(tx: &S, at: u64, level: u8, key: &[u8]) -> Option<u64> {
    let words = tx.words(at, (NODE_MAX / 8) as u64);
    let (_, child) = search(level, key, copy_from(words))?;
    (child < words.len()).then(|| at.wrapping_add(8 * child as u64))
}

/// Has the first lines of a node fetched.
#[inline]
pub(super) fn fetch<S: View + ?Sized>(tx: &S, at: u64) {
    let words = tx.words(at, (NODE_MAX / 8) as u64);
    let sum = AHEAD
        .iter()
        .filter_map(|&i| words.get(i))
        .fold(0, |sum, word| sum | word.load(atomic::Ordering::Relaxed));
    std::hint::black_box(sum);
}

/// Where in the leaf at `at` the entry starts that may have `key`, as far as heads tell and the transaction has not changed it. A hint: nothing of what it
/// is told by is checked.
#[inline]
pub(super) fn entry_in<S: View + ?Sized>(tx: &S, at: u64, key: &[u8]) -> Option<u64> {
    let words = tx.words(at, (NODE_MAX / 8) as u64);
    let word = copy_from(words);
    let (front, prefix) = (word(0)?, (word(1)? & 0xFFFF) as usize);
    let (count, least) = ((front >> 16 & 0xFFFF) as usize, u64::from(head_of(key, prefix)) << 32);
    let slot = |i: usize| word(FRONT / 8 + i);
    let i = lower_bound(0, count, least, slot)?;
    (i < count).then_some(at.wrapping_add(Slot(slot(i)?).at() as u64))
}

/// As [`route`], in the node whose `i`th word `word` copies.
#[inline(always)]
fn child(level: u8, key: &[u8], word: impl Fn(usize) -> Option<u64>) -> Option<(usize, u64)> {
    let (i, child) = search(level, key, &word)?;
    Some((i, word(child)?))
}

/// As [`child`], but which word has the child.
#[inline(always)]
fn search(level: u8, key: &[u8], word: impl Fn(usize) -> Option<u64>) -> Option<(usize, usize)> {
    let (front, prefix) = (word(0)?, (word(1)? & 0xFFFF) as usize);
    let (count, low) = ((front >> 16 & 0xFFFF) as usize, (front >> 32 & 0xFFFF) as usize);
    let is_node = front & 0xFFFF == u64::from(level) << 8 | u64::from(MARK);
    if !is_node || count < 2 || low > NODE_MAX || FRONT + 8 * count > low || prefix > key.len().min(8) {
        return None;
    }
    let slot = |i: usize| word(FRONT / 8 + i);
    // The word in which an entry with an offset as its value starts.
    let entry = |slot: Slot| (slot.value_len() == 8 && slot.at().is_multiple_of(8)).then(|| slot.at() / 8);
    let child = |i: usize| Some((i, entry(Slot(slot(i)?))?));
    if prefix > 0 {
        let last = Slot(slot(count - 1)?);
        if last.has_long_key() || last.key_len() < prefix {
            return None;
        }
        let have = word(entry(last)? + 1)?.swap_bytes() >> (64 - 8 * prefix);
        let mut first = [0; 8];
        first[8 - prefix..].copy_from_slice(&key[..prefix]);
        match u64::from_be_bytes(first).cmp(&have) {
            Ordering::Less => return child(0),
            Ordering::Greater => return child(count - 1),
            Ordering::Equal => {}
        }
    }
    let head = head_of(key, prefix);
    let i = lower_bound(1, count, u64::from(head) << 32, slot)?;
    let is_tie = i < count && (slot(i)? >> 32) as u32 == head;
    if is_tie { None } else { child(i - 1) }
}
