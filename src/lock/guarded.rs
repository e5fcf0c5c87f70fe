//! A value that belongs to whoever has the writer lock.
//!
//! The writer lock keeps apart threads of one handle as well as processes, so a mutex beside it would only cost: two more locked
//! instructions in each transaction.
//!
//! Invariant: from [`Guarded::own`] to the last use of what that returns, the caller has the writer lock of the handle that the
//! value belongs to, and has called `own` once. The lock word lies in the file: like everything about an open arena this relies on
//! the file being changed through the library only.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A value under the writer lock.
#[derive(Debug)]
pub(crate) struct Guarded<T>(UnsafeCell<T>);

// SAFETY: the value is reached only through `own`, whose callers hold a lock that at most one thread has at a time.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value, for the owner of the writer lock.
    ///
    /// # Safety
    /// The caller has the writer lock until the last use of what this returns, and no other that came from here.
    #[inline]
    pub(crate) unsafe fn own(&self) -> Owned<'_, T> {
        // SAFETY: the address of a cell that lives as long as `self` is not null.
        Owned(unsafe { NonNull::new_unchecked(self.0.get()) }, PhantomData)
    }
}

/// The value, as the owner of the writer lock has it. Not a plain reference: it may be left over, unused, for a moment after the
/// lock was given back.
#[derive(Debug)]
pub(crate) struct Owned<'a, T>(NonNull<T>, PhantomData<&'a mut T>);

impl<T> Deref for Owned<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: by the contract of `own`: alive for the lifetime, and nobody else uses it until this value's last use.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Owned<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; `&mut self` makes it the only reference that came from this value.
        unsafe { self.0.as_mut() }
    }
}
