//! What collections hold: items, and keys with an order.
//!
//! An item is bytes of a known meaning: a plain value, a slice of plain values, a byte string, text. It is stored as its own bytes and borrowed
//! from the file; length, alignment and UTF-8 are checked at each borrowing, so that damaged bytes are an error and never a wrong value.
//!
//! A key has *ordered bytes* besides: byte strings whose lexicographic order is the order of the keys. Collections store and compare these and nothing
//! else, so that one code serves all types, and a hash of them is the same on every machine and for ever.
//!
//! ```text
//! u8 … u128              big-endian
//! i8 … i128              big-endian, sign bit flipped
//! f32, f64               big-endian; negative: all bits flipped; else: sign bit flipped (IEEE 754's total order)
//! Offset<T>              as u64
//! [T; N] of these        one after the other
//! [u8], str              the bytes themselves
//! ```
//!
//! Limit: a plain type's alignment is at most 16.

#![forbid(unsafe_code)]

use crate::offset::Offset;
use bytemuck::Pod;
use std::borrow::Borrow;
use std::fmt::Debug;

/// What can be stored in a collection: plain types ([`Pod`]), slices of them, `[u8]`, `str`.
///
/// Offsets and the handles of collections are plain, so collections nest. Nothing to implement for users.
///
/// ```
/// use heapfile::collections::Item;
/// assert_eq!("abc".as_bytes(), b"abc");
/// assert_eq!(Item::as_bytes(&0x0201u16), [1, 2]);
/// assert_eq!(<str as Item>::from_bytes(b"\xFF"), None);
/// ```
pub trait Item: 'static {
    /// Alignment that the bytes need to be borrowed as this type; at most 16.
    const ALIGN: usize;
    /// Length in bytes if all values have the same.
    const SIZE: Option<usize>;

    /// The bytes that are stored.
    ///
    /// ```
    /// assert_eq!(heapfile::collections::Item::as_bytes(&[1u8, 2]), [1, 2]);
    /// ```
    fn as_bytes(&self) -> &[u8];

    /// The value that the bytes are; `None` if their length, alignment or content is not right.
    ///
    /// ```
    /// use heapfile::collections::Item;
    /// assert_eq!(<[u8; 2]>::from_bytes(&[1, 2]), Some(&[1, 2]));
    /// assert_eq!(<[u8; 2]>::from_bytes(&[1, 2, 3]), None);
    /// ```
    fn from_bytes(bytes: &[u8]) -> Option<&Self>;
}

const fn checked_align<T>() -> usize {
    assert!(align_of::<T>() <= 16, "collections hold types of alignment 16 at most");
    align_of::<T>()
}

impl<T: Pod> Item for T {
    const ALIGN: usize = checked_align::<T>();
    const SIZE: Option<usize> = Some(size_of::<T>());

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> Option<&Self> {
        bytemuck::try_from_bytes(bytes).ok()
    }
}

impl<T: Pod> Item for [T] {
    const ALIGN: usize = checked_align::<T>();
    const SIZE: Option<usize> = None;

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> Option<&Self> {
        bytemuck::try_cast_slice(bytes).ok()
    }
}

impl Item for str {
    const ALIGN: usize = 1;
    const SIZE: Option<usize> = None;

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> Option<&Self> {
        std::str::from_utf8(bytes).ok()
    }
}

/// What can be a key: integers, floating-point numbers (in IEEE 754's total order), [`Offset`]s, arrays of these, `[u8]`, `str`.
///
/// ```
/// use heapfile::collections::{Key, KeyBuffer};
/// let (mut a, mut b) = (KeyBuffer::new(), KeyBuffer::new());
/// assert!((-1i32).ordered(&mut a) < 1i32.ordered(&mut b));
/// assert_eq!(i32::from_ordered((-1i32).ordered(&mut a)), Some(-1));
/// ```
pub trait Key: Item {
    /// What a collection returns for a stored key: numbers and arrays by value, text and bytes borrowed.
    type Ref<'a>: Borrow<Self> + Copy + Debug;

    /// The ordered bytes: of two keys the lesser one has the lesser bytes, and equal bytes mean equal keys. Either the key's own or written to
    /// `buffer`.
    ///
    /// ```
    /// use heapfile::collections::{Key, KeyBuffer};
    /// assert_eq!(258u32.ordered(&mut KeyBuffer::new()), [0, 0, 1, 2]);
    /// ```
    fn ordered<'a>(&'a self, buffer: &'a mut KeyBuffer) -> &'a [u8];

    /// The key that the ordered bytes belong to; `None` if there is no such key.
    ///
    /// ```
    /// use heapfile::collections::Key;
    /// assert_eq!(u32::from_ordered(&[0, 0, 1, 2]), Some(258));
    /// assert_eq!(u32::from_ordered(&[1, 2]), None);
    /// ```
    fn from_ordered(bytes: &[u8]) -> Option<Self::Ref<'_>>;
}

/// Room for the ordered bytes of a key.
///
/// ```
/// use heapfile::collections::KeyBuffer;
/// let mut buffer = KeyBuffer::new();
/// assert_eq!(buffer.take(3), [0, 0, 0]);
/// ```
#[derive(Debug, Default)]
pub struct KeyBuffer {
    short: [u8; 32],
    long: Vec<u8>,
}

impl KeyBuffer {
    /// An empty one.
    ///
    /// ```
    /// let buffer = heapfile::collections::KeyBuffer::new();
    /// ```
    pub const fn new() -> Self {
        Self { short: [0; 32], long: Vec::new() }
    }

    /// `len` bytes to be filled. Up to 32 cost no allocation.
    ///
    /// ```
    /// let mut buffer = heapfile::collections::KeyBuffer::new();
    /// buffer.take(2).copy_from_slice(b"ab");
    /// ```
    #[inline]
    pub fn take(&mut self, len: usize) -> &mut [u8] {
        if len <= self.short.len() {
            return &mut self.short[..len];
        }
        self.long.clear();
        self.long.resize(len, 0);
        &mut self.long
    }
}

/// A number with ordered bytes of a fixed length. Sealed.
pub trait Number: Pod + Debug {
    #[doc(hidden)]
    fn put(self, to: &mut [u8]);
    #[doc(hidden)]
    fn take(from: &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($name:ty, $flip:expr;)*) => {$(
        impl Number for $name {
            #[inline]
            fn put(self, to: &mut [u8]) {
                to.copy_from_slice(&(self ^ $flip).to_be_bytes());
            }

            #[inline]
            fn take(from: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(from.try_into().ok()?) ^ $flip)
            }
        }
    )*};
}

numbers! {
    u8, 0; u16, 0; u32, 0; u64, 0; u128, 0;
    i8, i8::MIN; i16, i16::MIN; i32, i32::MIN; i64, i64::MIN; i128, i128::MIN;
}

macro_rules! floats {
    ($($name:ty, $bits:ty, $signed:ty;)*) => {$(
        impl Number for $name {
            #[inline]
            fn put(self, to: &mut [u8]) {
                let bits = self.to_bits() as $signed;
                // Negative numbers order backwards: below the sign all their bits are turned round.
                let ordered = bits ^ (((bits >> (<$signed>::BITS - 1)) as $bits) >> 1) as $signed;
                Number::put(ordered, to);
            }

            #[inline]
            fn take(from: &[u8]) -> Option<Self> {
                let ordered: $signed = Number::take(from)?;
                let bits = ordered ^ (((ordered >> (<$signed>::BITS - 1)) as $bits) >> 1) as $signed;
                Some(Self::from_bits(bits as $bits))
            }
        }
    )*};
}

floats! { f32, u32, i32; f64, u64, i64; }

impl<T: ?Sized + 'static> Number for Offset<T> {
    #[inline]
    fn put(self, to: &mut [u8]) {
        Number::put(self.raw(), to);
    }

    #[inline]
    fn take(from: &[u8]) -> Option<Self> {
        Number::take(from).map(Self::from_raw)
    }
}

macro_rules! number_keys {
    ($([$($generic:tt)*] $name:ty;)*) => {$(
        impl<$($generic)*> Key for $name {
            type Ref<'a> = Self;

            #[inline]
            fn ordered<'a>(&'a self, buffer: &'a mut KeyBuffer) -> &'a [u8] {
                let to = buffer.take(size_of::<Self>());
                Number::put(*self, to);
                to
            }

            #[inline]
            fn from_ordered(bytes: &[u8]) -> Option<Self> {
                Number::take(bytes)
            }
        }
    )*};
}

number_keys! {
    [] u8; [] u16; [] u32; [] u64; [] u128; [] i8; [] i16; [] i32; [] i64; [] i128; [] f32; [] f64;
    [T: ?Sized + 'static] Offset<T>;
}

impl<T: Number, const N: usize> Key for [T; N] {
    type Ref<'a> = Self;

    #[inline]
    fn ordered<'a>(&'a self, buffer: &'a mut KeyBuffer) -> &'a [u8] {
        let to = buffer.take(size_of::<Self>());
        if size_of::<T>() > 0 {
            for (number, to) in self.iter().zip(to.chunks_exact_mut(size_of::<T>())) {
                number.put(to);
            }
        }
        to
    }

    #[inline]
    fn from_ordered(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() || size_of::<T>() == 0 {
            return (bytes.len() == size_of::<Self>()).then(bytemuck::Zeroable::zeroed);
        }
        let mut all: Self = bytemuck::Zeroable::zeroed();
        for (number, from) in all.iter_mut().zip(bytes.chunks_exact(size_of::<T>())) {
            *number = T::take(from)?;
        }
        Some(all)
    }
}

impl Key for [u8] {
    type Ref<'a> = &'a [u8];

    #[inline]
    fn ordered<'a>(&'a self, _: &'a mut KeyBuffer) -> &'a [u8] {
        self
    }

    #[inline]
    fn from_ordered(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }
}

impl Key for str {
    type Ref<'a> = &'a str;

    #[inline]
    fn ordered<'a>(&'a self, _: &'a mut KeyBuffer) -> &'a [u8] {
        self.as_bytes()
    }

    #[inline]
    fn from_ordered(bytes: &[u8]) -> Option<&str> {
        std::str::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<K: Key + Copy + PartialEq + for<'a> Key<Ref<'a> = K>>(keys: &[K]) {
        let bytes: Vec<Vec<u8>> = keys.iter().map(|k| k.ordered(&mut KeyBuffer::new()).to_vec()).collect();
        assert!(bytes.is_sorted_by(|a, b| a < b), "{bytes:?}");
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert!(K::from_ordered(bytes) == Some(*key));
            assert!(K::from_ordered(&bytes[1..]).is_none());
        }
    }

    #[test]
    fn ordered_bytes_have_the_order_of_the_keys() {
        in_order(&[0u8, 1, 127, 128, 255]);
        in_order(&[0u64, 1, 255, 256, u64::MAX]);
        in_order(&[i32::MIN, -256, -1, 0, 1, 256, i32::MAX]);
        in_order(&[f64::NEG_INFINITY, -2.5, -1.0, -0.5, 0.0, 1e-300, 1.0, f64::INFINITY]);
        in_order(&[f32::MIN, -1.0, 0.0, f32::MIN_POSITIVE, f32::MAX]);
        in_order(&[[0u16, 256], [1, 0], [1, 2], [256, 0]]);
        in_order(&[Offset::<u8>::null(), Offset::from_raw(8), Offset::from_raw(1 << 40)]);
        in_order(&[[0u64; 9], [1; 9]]);
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        assert_eq!(<str as Item>::from_bytes(b"\xC3"), None);
        assert_eq!(<str as Key>::from_ordered(b"\xC3"), None);
        assert_eq!(<u32 as Item>::from_bytes(&[0; 5]), None);
        assert_eq!(<[u32] as Item>::from_bytes(&[0; 5]), None);
        assert_eq!(<[u8; 0] as Key>::from_ordered(&[0]), None);
        assert_eq!(<[u8; 0] as Key>::from_ordered(&[]), Some([]));
    }
}
