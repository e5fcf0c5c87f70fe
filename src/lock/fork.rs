//! What `fork` must not do: let a child hold its parent's locks.
//!
//! File locks belong to the open file description, which a child inherits; as long as it has the descriptor open its parent looks alive after
//! death. A handler that runs in the child of every `fork` therefore puts an event counter that nobody uses, which needs no path and no free number, in the
//! place of each registered descriptor (so that numbers are not reused under a `File` that closes them later), and counts. Handles compare that count with
//! the one they were opened under: another one is [`Error::Forked`](crate::Error::Forked), and their drops touch nothing shared.
//!
//! A mapping holds on to the description that it was made of, in children too; that is another one, without locks (`media`).
//!
//! Invariants: no fork falls between the opening of a descriptor and its registration ([`hold_off`]); a descriptor is
//! taken off the list before it is closed.
//!
//! Limits: a child gives up what it inherited when it first runs, not at the moment of the fork. Children made by the bare
//! system call `clone` do not run such handlers; `vfork` and `posix_spawn` children `exec` at once, which closes the descriptors. Of more than 4,096 open handles a child keeps the descriptors of the further ones until it
//! ends or calls `exec`; they are [`Error::Forked`](crate::Error::Forked) like the others.

use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// Descriptors that a child has to give up: fixed places, so that the handler allocates nothing.
static DESCRIPTORS: [AtomicI32; 4096] = [const { AtomicI32::new(-1) }; 4096];
static FORKS: AtomicU64 = AtomicU64::new(0);
/// Held while a descriptor is opened and registered, and across a fork. No `Mutex`: the handlers lock it in one call and release it
/// in another, in two processes.
static HELD: AtomicBool = AtomicBool::new(false);

/// How many forks lie between the first process and this one.
#[inline]
pub(crate) fn count() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn before() {
    while HELD.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn after() {
    HELD.store(false, Ordering::Release);
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let mut stand_in = -1;
    for entry in &DESCRIPTORS {
        let fd = entry.swap(-1, Ordering::Relaxed);
        if fd < 0 {
            continue;
        }
        // SAFETY: `dup3`, `close` and `eventfd` are system calls and nothing else, as a fork handler needs; the descriptor is this library's own, still open in
        // the child, where no other thread runs that could get its number in between.
        unsafe {
            if stand_in >= 0 && libc::dup3(stand_in, fd, libc::O_CLOEXEC) >= 0 {
                continue;
            }
            // The first one's own number is free then, if there is no other one left.
            libc::close(fd);
            let new = libc::eventfd(0, libc::EFD_CLOEXEC);
            stand_in = if new < 0 || new == fd { new } else { libc::dup3(new, fd, libc::O_CLOEXEC) };
            if new >= 0 && new != fd {
                libc::close(new);
            }
        }
    }
    after();
}

/// While this lives no fork of this process happens. For the moment from the opening of a descriptor to its registration.
#[derive(Debug)]
pub(crate) struct HoldOff(());

/// Keeps forks off; waits for one that is under way.
pub(crate) fn hold_off() -> HoldOff {
    static HANDLERS: Once = Once::new();
    HANDLERS.call_once(|| {
        // SAFETY: the handlers are plain functions that stay in the program, and keep to what may be done around a fork.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(in_child)) };
    });
    before();
    HoldOff(())
}

impl Drop for HoldOff {
    fn drop(&mut self) {
        after();
    }
}

/// A descriptor that children give up; until dropped, which has to be before it is closed.
#[derive(Debug)]
pub(crate) struct Registered {
    place: Option<usize>,
    forks: u64,
}

impl HoldOff {
    /// Registers a descriptor that was opened since.
    pub(crate) fn register(self, fd: RawFd) -> Registered {
        let place = DESCRIPTORS.iter().position(|entry| entry.load(Ordering::Relaxed) < 0);
        if let Some(place) = place {
            DESCRIPTORS[place].store(fd, Ordering::Relaxed);
        }
        Registered { place, forks: count() }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && self.forks == count()
        {
            DESCRIPTORS[place].store(-1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Forks a child that ends at once, and waits for it.
    fn fork() {
        // SAFETY: the child does nothing but end, beside the handlers of this module.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) }
        }
        // SAFETY: waits for the child of this process; its status is not asked for.
        assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
    }

    #[test]
    fn a_fork_waits_until_the_descriptor_is_registered() {
        let file = tempfile::tempfile().unwrap();
        let held = hold_off();
        std::thread::scope(|threads| {
            let forking = threads.spawn(fork);
            std::thread::sleep(Duration::from_millis(100));
            assert!(!forking.is_finished());
            let registered = held.register(std::os::fd::AsRawFd::as_raw_fd(&file));
            forking.join().unwrap();
            drop(registered);
        });
        let before = count();
        fork();
        assert_eq!(count(), before, "only children count");
    }
}
