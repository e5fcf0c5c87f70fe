//! Size classes of small blocks, and the shapes of the slabs that hold them.
//!
//! There are 72 classes: the multiples of 8 up to 128, then eight to each doubling up to 16 KiB, so that at
//! most 12.5 % of a block longer than 64 bytes is lost to rounding. The least is 8 bytes, not 16: a counter
//! or one stored offset is 8 bytes, and slots carry no header that would drown the difference.
//!
//! Slabs of one class come in four shapes, each a number of pages; a class starts with the smallest, so that
//! a small arena stays small, and goes on to larger ones as its slabs become more. Both the sizes and the
//! shapes are part of the file format. They are computed here at compile time:
//!
//! ```text
//! class c              size
//! 0 ..= 15             8 * (c + 1)
//! 16 ..= 71            (128 << d) + (i + 1) * (16 << d)    where d = (c - 16) / 8, i = (c - 16) % 8
//!
//! w, bytes of a state  1 where size <= 248, else 2
//! slots' alignment     the largest power of two that divides size, at most 256
//! start of the slots   16 + 8 * ceil(slots * w / 8), rounded up to the slots' alignment
//! slots of p pages     the most n <= 512 with start + n * size <= 4096 * p
//! m, most pages        size * 32 / 4096, but at least 16 and at most 64,
//!                      and not over (16 + 512 * (size + w)) / 4096 (both rounded down)
//! pages of shape s     0 ..= 3: let h = m >> (3 - s), or the fewest pages with two slots if that is more;
//!                      of the p in h / 2 + 1 ..= h with two slots or more, the one with the most slots
//!                      to a page, and of several such the least
//! ```

use crate::layout::PAGE;

/// Number of size classes.
pub(super) const CLASSES: usize = 72;
/// Length of the largest class; what is longer gets pages of its own.
pub(super) const LARGEST: u64 = 16 << 10;
/// Largest alignment that slots have.
pub(super) const SLOT_ALIGN: u64 = 256;
/// Bytes in front of a slab's state array.
pub(super) const SLAB_HEADER: u64 = 16;
/// Mark in the low byte of a slab's first word.
pub(super) const SLAB_MARK: u32 = 0xA5;
/// Kind of a slab's pages in the page map (see `map`).
pub(super) const SLAB_KIND: u32 = 2;

const SHAPES: usize = 4;
const MOST_SLOTS: u64 = 512;
const MOST_PAGES: u64 = 64;
/// Words of the longest state array.
pub(super) const MOST_WORDS: usize = MOST_SLOTS as usize * 2 / 8;

/// Length in bytes of the blocks of a class.
pub(super) const fn size_of_class(class: usize) -> u64 {
    if class < 16 {
        return 8 * (class as u64 + 1);
    }
    let (doubling, step) = ((class - 16) / 8, (class - 16) % 8);
    (128 << doubling) + (step as u64 + 1) * (16 << doubling)
}

/// The least length of the blocks of a class, and how many lengths there are.
pub(super) const fn lengths_of_class(class: usize) -> (u64, u64) {
    match class.checked_sub(1) {
        None => (0, size_of_class(class) + 1),
        Some(below) => (size_of_class(below) + 1, size_of_class(class) - size_of_class(below)),
    }
}

/// The smallest class for `len` bytes at a multiple of `align` (a power of two up to [`SLOT_ALIGN`]), if
/// there is one.
#[inline]
pub(super) fn class_of(len: u64, align: u64) -> Option<usize> {
    if len > LARGEST {
        return None;
    }
    if align <= 8 {
        return Some(class_of_len(len));
    }
    let mut class = class_of_len((len.max(1) + align - 1) & !(align - 1));
    while size_of_class(class) & (align - 1) != 0 {
        class += 1; // Ends at the last class, which is a multiple of every `align`.
    }
    Some(class)
}

#[inline]
fn class_of_len(len: u64) -> usize {
    let last = len.saturating_sub(1);
    // Up to 128 bytes as if they were the first doubling: lengths come in no order, and a branch here would be guessed wrong every other time.
    let doubling = (last | 64).ilog2() - 6;
    8 * doubling as usize + (last >> (3 + doubling)) as usize
}

/// How a slab of one class and number of pages is divided.
#[derive(Debug)]
pub(super) struct Shape {
    /// First word of such a slab with a used count of 0.
    pub(super) head: u64,
    /// Low half of its pages' entries in the page map.
    pub(super) entry: u32,
    /// Bytes of a slot.
    pub(super) size: u32,
    /// First slot, from the slab's start.
    pub(super) start: u32,
    pub(super) slots: u32,
    pub(super) pages: u32,
    /// Words of the state array.
    pub(super) words: u32,
    /// `2^32 / size`, rounded up: turns division into multiplication.
    inverse: u32,
    /// Binary logarithm of a state's bits: 3 or 4.
    pub(super) state_shift: u32,
    /// The bits of a state.
    pub(super) state_mask: u64,
    /// The lowest bits of all states in a word.
    pub(super) state_lows: u64,
    /// The highest.
    pub(super) state_highs: u64,
}

impl Shape {
    /// One of them, where it does not matter which.
    pub(super) const ANY: &'static Self = &SHAPE[0];

    /// The shape that the low half of a slab's first word, or of a slab page's entry, names in bits 8..24.
    #[inline(always)]
    pub(super) fn of(low: u64) -> Option<&'static Self> {
        SHAPE.get((low >> 8) as u16 as usize)
    }

    /// The shape for the next slab of a class that has `slabs` of them: the larger ones from 4, 16 and 64 slabs on, so that the last
    /// slab is a small part of its class.
    pub(super) fn next(class: usize, slabs: u32) -> &'static Self {
        &SHAPE[class * SHAPES + (slabs.max(1).ilog2() as usize / 2).min(SHAPES - 1)]
    }

    /// Bytes of header and states.
    pub(super) const fn header_bytes(&self) -> u64 {
        SLAB_HEADER + 8 * self.words as u64
    }

    #[inline(always)]
    pub(super) const fn state_bits(&self) -> u32 {
        1 << self.state_shift
    }

    /// Index in [`SHAPE`].
    #[inline(always)]
    pub(super) const fn index(&self) -> u16 {
        (self.entry >> 8) as u16
    }

    /// The size class.
    #[inline(always)]
    pub(super) const fn class(&self) -> usize {
        self.index() as usize / SHAPES
    }

    /// The slot that starts `from` bytes, less than a slab has, behind another one, counted from that.
    #[inline(always)]
    pub(super) fn slot_from(&self, from: u32) -> Option<u32> {
        let slot = self.times_in(from);
        (slot * self.size == from).then_some(slot)
    }

    /// How many whole slots so many bytes are.
    #[inline(always)]
    fn times_in(&self, bytes: u32) -> u32 {
        // Exact: `bytes < 2^18`, the error of `inverse * size` is below `size <= 2^14`, and their product below
        // 2^32.
        ((u64::from(bytes) * u64::from(self.inverse)) >> 32) as u32
    }

    /// The slot that starts `at` bytes from the slab's start.
    #[inline(always)]
    pub(super) fn slot_at(&self, at: u32) -> Option<u32> {
        let slot = self.slot_from(at.checked_sub(self.start)?)?;
        (slot < self.slots).then_some(slot)
    }

    /// The slot that the byte `at` bytes from the slab's start (less than its pages) belongs to.
    #[inline(always)]
    pub(super) fn slot_around(&self, at: u32) -> Option<u32> {
        let slot = self.times_in(at.checked_sub(self.start)?);
        (slot < self.slots).then_some(slot)
    }

    const fn new(class: usize, shape: usize) -> Self {
        let size = size_of_class(class);
        let pages = best_pages(size, shape);
        let (slots, start) = divide(size, pages);
        assert!(slots >= 2 && pages <= MOST_PAGES);
        let name = ((class * SHAPES + shape) as u32) << 8 | (pages as u32) << 24;
        let state_bits = 8 * state_bytes(size);
        let state_mask = (1 << state_bits) - 1;
        let state_lows = u64::MAX / state_mask;
        Self {
            head: (SLAB_MARK | name) as u64 | slots << 48,
            entry: SLAB_KIND | name,
            size: size as u32,
            start: start as u32,
            slots: slots as u32,
            pages: pages as u32,
            words: state_words(size, slots) as u32,
            inverse: (1u64 << 32).div_ceil(size) as u32,
            state_shift: 2 + state_bytes(size) as u32,
            state_mask,
            state_lows,
            state_highs: state_lows << (state_bits - 1),
        }
    }
}

/// Of each class, shapes 0 to 3.
pub(super) static SHAPE: [Shape; CLASSES * SHAPES] = {
    let mut shapes = [const { Shape::new(0, 0) }; CLASSES * SHAPES];
    let mut at = 0;
    while at < shapes.len() {
        shapes[at] = Shape::new(at / SHAPES, at % SHAPES);
        at += 1;
    }
    shapes
};

const fn state_bytes(size: u64) -> u64 {
    if size <= 248 { 1 } else { 2 }
}

const fn state_words(size: u64, slots: u64) -> u64 {
    (slots * state_bytes(size)).div_ceil(8)
}

/// Slots of a slab of `pages`, and where they start.
const fn divide(size: u64, pages: u64) -> (u64, u64) {
    let align = 1 << size.trailing_zeros();
    let align = if align < SLOT_ALIGN { align } else { SLOT_ALIGN };
    let mut slots = (pages * PAGE - SLAB_HEADER) / (size + state_bytes(size));
    if slots > MOST_SLOTS {
        slots = MOST_SLOTS;
    }
    loop {
        let start = (SLAB_HEADER + 8 * state_words(size, slots)).next_multiple_of(align);
        if start + slots * size <= pages * PAGE {
            return (slots, start);
        }
        slots -= 1;
    }
}

const fn best_pages(size: u64, shape: usize) -> u64 {
    let mut most = size * 32 / PAGE;
    most = if most < 16 { 16 } else { most };
    most = if most > MOST_PAGES { MOST_PAGES } else { most };
    let limit = (SLAB_HEADER + MOST_SLOTS * (size + state_bytes(size))) / PAGE;
    most = if most > limit { limit } else { most };
    let mut high = most >> (SHAPES - 1 - shape);
    while high == 0 || divide(size, high).0 < 2 {
        high += 1;
    }
    let mut best = high;
    let mut pages = high;
    while pages > high / 2 + 1 {
        pages -= 1;
        let (slots, _) = divide(size, pages);
        // Slots per page, cross-multiplied.
        if slots >= 2 && slots * best >= divide(size, best).0 * pages {
            best = pages;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_gets_the_smallest_class_that_fits() {
        for align in (0..=8).map(|shift| 1u64 << shift) {
            for len in 0..=LARGEST {
                let expected = (0..CLASSES)
                    .find(|&class| size_of_class(class) >= len && size_of_class(class).is_multiple_of(align));
                assert_eq!(class_of(len, align), expected, "len {len} align {align}");
            }
        }
        assert_eq!(class_of(LARGEST + 1, 1), None);
        assert_eq!(class_of(u64::MAX, 256), None);
    }

    #[test]
    fn each_length_is_of_one_class() {
        let mut next = 0;
        for class in 0..CLASSES {
            let (least, lengths) = lengths_of_class(class);
            assert_eq!(least, next);
            next += lengths;
            assert_eq!([least, next - 1].map(|len| class_of(len, 1)), [Some(class); 2]);
        }
        assert_eq!(next, LARGEST + 1);
    }

    #[test]
    fn rounding_loses_at_most_an_eighth() {
        for class in 8..CLASSES {
            let (size, below) = (size_of_class(class), size_of_class(class - 1));
            assert!((size - below - 1) * 8 <= size, "class {class}");
        }
    }

    #[test]
    fn slabs_are_divided_without_overlap_and_with_little_waste() {
        for shape in &SHAPE {
            let end = u64::from(shape.start) + u64::from(shape.slots) * u64::from(shape.size);
            let bytes = u64::from(shape.pages) * PAGE;
            assert!(end <= bytes, "{shape:?}");
            assert!(u64::from(shape.start) >= SLAB_HEADER + 8 * u64::from(shape.words), "{shape:?}");
            let align = (1 << shape.size.trailing_zeros()).min(SLOT_ALIGN as u32);
            assert!(shape.start.is_multiple_of(align), "{shape:?}");
            assert!(u64::from(shape.words * 8) >= u64::from(shape.slots) << (shape.state_shift - 3));
            assert!(1 + u64::from(shape.size) < shape.state_mask, "the state holds every slack");
            assert!(std::ptr::eq(Shape::of(shape.head).unwrap(), shape));
            assert!(std::ptr::eq(Shape::of(u64::from(shape.entry)).unwrap(), shape));
        }
        for class in 0..CLASSES {
            let shape = Shape::next(class, 64);
            let (used, bytes) = (shape.slots * shape.size, shape.pages * PAGE as u32);
            let states = (shape.slots << shape.state_shift) / 8;
            assert!((bytes - used - states) * 100 <= bytes * 5, "{shape:?}");
        }
    }

    #[test]
    fn slots_are_found_from_every_byte() {
        for shape in &SHAPE {
            for at in 0..shape.pages * PAGE as u32 {
                let inside = at.checked_sub(shape.start).filter(|x| x / shape.size < shape.slots);
                assert_eq!(shape.slot_around(at), inside.map(|x| x / shape.size));
                let start = inside.filter(|x| x.is_multiple_of(shape.size));
                assert_eq!(shape.slot_at(at), start.map(|x| x / shape.size));
            }
        }
    }
}
