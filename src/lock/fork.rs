//! What `fork` must not do: let a child hold its parent's locks.
//!
//! File locks belong to the open file description, which a child inherits; as long as it has the descriptor open its parent looks alive after
//! death. A handler that runs in the child of every `fork` therefore puts `/dev/null` in the place of each registered descriptor
//! (so that numbers are not reused under a `File` that closes them later), and counts. Handles compare that count with
//! the one they were opened under: another one is [`Error::Forked`](crate::Error::Forked), and their drops touch nothing shared.
//!
//! Limits: children made by the bare system call `clone` do not run such handlers; `vfork` and `posix_spawn` children `exec`
//! at once, which closes the descriptors.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Descriptors that a child has to give up: fixed places, so that the handler takes no lock and allocates nothing.
static DESCRIPTORS: [AtomicI32; 4096] = [const { AtomicI32::new(-1) }; 4096];
static FORKS: AtomicU64 = AtomicU64::new(0);
static REGISTER: Mutex<()> = Mutex::new(());

/// How many forks lie between the first process and this one.
#[inline]
pub(crate) fn count() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `open`, `dup3` and `close` are async-signal-safe, as a fork handler needs; the path is a C string; the
    // descriptors are this library's own, still open in the child, and refer to /dev/null from now on.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        for entry in &DESCRIPTORS {
            let fd = entry.swap(-1, Ordering::Relaxed);
            if fd < 0 {
                continue;
            }
            if null < 0 || libc::dup3(null, fd, libc::O_CLOEXEC) < 0 {
                libc::close(fd);
            }
        }
        if null >= 0 {
            libc::close(null);
        }
    }
}

/// A descriptor that children give up; until dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    place: usize,
    forks: u64,
}

/// Registers a descriptor. `None` when 4,096 are.
pub(crate) fn register(fd: RawFd) -> Option<Registered> {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // SAFETY: the handler is a plain function that stays in the program, and keeps to what a child of fork may do.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    let _one_at_a_time = REGISTER.lock().unwrap_or_else(PoisonError::into_inner);
    let place = DESCRIPTORS.iter().position(|entry| entry.load(Ordering::Relaxed) < 0)?;
    DESCRIPTORS[place].store(fd, Ordering::Relaxed);
    Some(Registered { place, forks: count() })
}

impl Registered {
    /// Whether this process inherited the descriptor through `fork`, and lost it.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.forks != count()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if !self.is_lost() {
            DESCRIPTORS[self.place].store(-1, Ordering::Relaxed);
        }
    }
}
