//! Open addressing with linear probing, as far as the two sets of changes share it: a power of two of slots, found by the highest bits of a product.

#![forbid(unsafe_code)]

/// What [`home`] needs to know of so many slots.
pub(super) const fn shift_for(slots: usize) -> u32 {
    64 - slots.trailing_zeros()
}

/// The slot in which to look for a key first.
#[inline(always)]
pub(super) const fn home(key: u64, shift: u32) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> shift) as usize
}

/// So many entries are taken out of their slots one by one: to empty all slots takes longer.
pub(super) const FEW: usize = 4;

/// Empties the slots, of which no more stay than `needed`, at least `least`: a table that one large transaction has left so sparse would be in no cache.
/// Returns what [`home`] needs to know of those that are left.
pub(super) fn clear<T: Copy>(slots: &mut Vec<T>, empty: T, needed: usize, least: usize) -> u32 {
    slots.truncate(needed.next_power_of_two().max(least));
    slots.fill(empty);
    shift_for(slots.len())
}
