//! Offsets: how blocks are named, in memory and in the file.

use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::{align_of, size_of};

/// Place of a block in an arena, in bytes from the start of the file: 8 bytes that can be stored in blocks.
///
/// An offset is a number, not a promise: each use looks up whether a block begins there and whether its length fits the type.
/// `T` is a plain type, or a slice of one. Zero is null.
///
/// ```
/// use heapfile::Offset;
/// # #[derive(Clone, Copy)] #[repr(C)]
/// struct Node { next: Offset<Node>, text: Offset<[u8]>, value: u64 }
/// # unsafe impl bytemuck::Zeroable for Node {}
/// # unsafe impl bytemuck::Pod for Node {}
/// let end: Offset<Node> = Offset::null();
/// assert!(end.is_null());
/// assert_eq!(size_of::<Offset<Node>>(), 8);
/// ```
#[repr(transparent)]
pub struct Offset<T: ?Sized> {
    raw: u64,
    of: PhantomData<fn(&T)>,
}

// SAFETY: a transparent wrapper of a u64; every bit pattern, zero included, is a valid value.
unsafe impl<T: ?Sized + 'static> Zeroable for Offset<T> {}
// SAFETY: as above: no padding, no pointers, `Copy`, and any eight bytes are an offset, if perhaps a useless one.
unsafe impl<T: ?Sized + 'static> Pod for Offset<T> {}

const _: () = assert!(size_of::<Offset<[u8]>>() == 8 && align_of::<Offset<u128>>() == 8);

impl<T: ?Sized> Offset<T> {
    /// The offset that names no block.
    ///
    /// ```
    /// assert_eq!(heapfile::Offset::<u32>::null().raw(), 0);
    /// ```
    pub const fn null() -> Self {
        Self::from_raw(0)
    }

    /// An offset from its number, for instance one that came from a command line. It is checked where it is used.
    ///
    /// ```
    /// let offset = heapfile::Offset::<[u8]>::from_raw(0x40_5000);
    /// assert_eq!(offset.to_string(), "0x405000");
    /// ```
    pub const fn from_raw(raw: u64) -> Self {
        Self { raw, of: PhantomData }
    }

    /// The number: bytes from the start of the file.
    ///
    /// ```
    /// assert_eq!(heapfile::Offset::<u8>::from_raw(64).raw(), 64);
    /// ```
    pub const fn raw(self) -> u64 {
        self.raw
    }

    /// Whether this is the null offset.
    ///
    /// ```
    /// assert!(!heapfile::Offset::<u8>::from_raw(64).is_null());
    /// ```
    pub const fn is_null(self) -> bool {
        self.raw == 0
    }

    /// The same place seen as another type. Whether the block's length fits is checked where it is used.
    ///
    /// ```
    /// use heapfile::Offset;
    /// let text: Offset<[u8]> = Offset::<u64>::from_raw(64).cast();
    /// assert_eq!(text.raw(), 64);
    /// ```
    pub const fn cast<U: ?Sized>(self) -> Offset<U> {
        Offset::from_raw(self.raw)
    }
}

impl<T: ?Sized> Clone for Offset<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: ?Sized> Copy for Offset<T> {}
impl<T: ?Sized> Default for Offset<T> {
    fn default() -> Self {
        Self::null()
    }
}
impl<T: ?Sized> PartialEq for Offset<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<T: ?Sized> Eq for Offset<T> {}
impl<T: ?Sized> PartialOrd for Offset<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T: ?Sized> Ord for Offset<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<T: ?Sized> Hash for Offset<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}
impl<T: ?Sized> fmt::Debug for Offset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({:#x})", self.raw)
    }
}
impl<T: ?Sized> fmt::Display for Offset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.raw)
    }
}

/// What a root remembers of its type: plain types and slices of them.
///
/// Implemented for every [`Pod`] type and for slices of them; nothing to do for users.
///
/// ```
/// use heapfile::Shape;
/// assert_eq!(<[u32] as Shape>::SIZE, 4);
/// assert!(<[u32] as Shape>::SLICE && !<u32 as Shape>::SLICE);
/// ```
pub trait Shape: 'static {
    /// Size of the type, or of one element of the slice, in bytes.
    const SIZE: usize;
    /// Alignment of the type or element, in bytes.
    const ALIGN: usize;
    /// Whether it is a slice.
    const SLICE: bool;
    /// The compiler's name of the type. It changes when the type is renamed or moved to another module.
    fn type_name() -> &'static str;
}

impl<T: Pod> Shape for T {
    const SIZE: usize = size_of::<T>();
    const ALIGN: usize = align_of::<T>();
    const SLICE: bool = false;
    fn type_name() -> &'static str {
        std::any::type_name::<T>()
    }
}

impl<T: Pod> Shape for [T] {
    const SIZE: usize = size_of::<T>();
    const ALIGN: usize = align_of::<T>();
    const SLICE: bool = true;
    fn type_name() -> &'static str {
        std::any::type_name::<[T]>()
    }
}
