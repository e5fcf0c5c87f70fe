//! Handles of collections: eight bytes that lead to a collection's header block.
//!
//! A handle is plain data, so it can be a field of a block, an item of another collection, or lie in a block that a root leads to. Like an
//! offset it is a number and not a promise: the header is looked up and checked at each use.

use std::marker::PhantomData;

/// What a handle's offset leads to, for the compiler only.
pub(super) struct Header<T: ?Sized>(PhantomData<T>);

/// Defines a handle: `Copy`, [`Pod`](bytemuck::Pod), equal if it leads to the same header.
macro_rules! handle {
    ($(#[$meta:meta])* $name:ident<$($param:ident),+>) => {
        $(#[$meta])*
        #[repr(transparent)]
        pub struct $name<$($param: ?Sized + 'static),+> {
            at: $crate::offset::Offset<$crate::collections::handle::Header<($(std::marker::PhantomData<$param>,)+)>>,
        }

        impl<$($param: ?Sized + 'static),+> $name<$($param),+> {
            /// The handle that leads nowhere, for fields that are filled later. Using it is [`Error::BadOffset`](crate::Error::BadOffset).
            pub const fn none() -> Self {
                Self { at: $crate::offset::Offset::null() }
            }

            /// Whether this leads nowhere.
            pub const fn is_none(self) -> bool {
                self.at.is_null()
            }

            /// The handle of the collection whose header lies there, for instance from a root. Checked where it is used.
            pub const fn from_offset(header: $crate::offset::Offset<[u8]>) -> Self {
                Self { at: header.cast() }
            }

            /// Where the header lies.
            pub const fn offset(self) -> $crate::offset::Offset<[u8]> {
                self.at.cast()
            }
        }

        // SAFETY: a transparent wrapper of an offset, for which every eight bytes, zeros included, are a valid value.
        #[allow(unsafe_code)]
        unsafe impl<$($param: ?Sized + 'static),+> bytemuck::Zeroable for $name<$($param),+> {}
        // SAFETY: as above: no padding, no pointers, `Copy`.
        #[allow(unsafe_code)]
        unsafe impl<$($param: ?Sized + 'static),+> bytemuck::Pod for $name<$($param),+> {}

        impl<$($param: ?Sized + 'static),+> Clone for $name<$($param),+> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<$($param: ?Sized + 'static),+> Copy for $name<$($param),+> {}
        impl<$($param: ?Sized + 'static),+> Default for $name<$($param),+> {
            fn default() -> Self {
                Self::none()
            }
        }
        impl<$($param: ?Sized + 'static),+> PartialEq for $name<$($param),+> {
            fn eq(&self, other: &Self) -> bool {
                self.at == other.at
            }
        }
        impl<$($param: ?Sized + 'static),+> Eq for $name<$($param),+> {}
        impl<$($param: ?Sized + 'static),+> std::fmt::Debug for $name<$($param),+> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.at.raw())
            }
        }
    };
}
