//! Who may read and who may write.
//!
//! `gate` is the lock of processes that share memory, over the process slots of `slots`; `file` is the one that needs
//! nothing but a lock on the whole file. `tenure` says for how long a writer goes on while others wait. `guarded` is what the writer lock guards inside a handle. `held` knows what this thread holds, `fork` keeps children from holding
//! their parents' locks.

pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod gate;
pub(crate) mod guarded;
pub(crate) mod held;
pub(crate) mod slots;
pub(crate) mod tenure;

use crate::error::Result;
use crate::media::Media;
use file::FileLock;
use gate::{Gate, Taken};
use std::time::Duration;

/// The lock of one handle, in one of its two modes.
#[derive(Debug)]
pub(crate) enum Lock {
    File(FileLock),
    Shared(Gate),
}

impl Lock {
    /// Shared access. `nested`: this thread has it already through this handle; `reading`: through this or another one. [`Taken::Over`]: this call got the *writer* lock of an owner that
    /// is gone instead; what that left has to be completed first.
    #[inline]
    pub(crate) fn read(
        &self,
        media: &Media,
        timeout: Duration,
        nested: bool,
        reading: bool,
    ) -> Result<Taken> {
        match self {
            Self::Shared(gate) => gate.read(media, timeout, nested),
            Self::File(lock) => lock.read(media, timeout, nested, reading).map(|()| Taken::Free),
        }
    }

    #[inline]
    pub(crate) fn read_end(&self, media: &Media) {
        match self {
            Self::Shared(gate) => gate.read_end(media),
            Self::File(lock) => lock.read_end(media),
        }
    }

    /// The writer lock; with `shut` the gate in the same step.
    #[inline]
    pub(crate) fn write(&self, media: &Media, timeout: Duration, shut: bool) -> Result<Taken> {
        match self {
            Self::Shared(gate) => gate.lock(media, timeout, shut),
            Self::File(lock) => lock.write(media, timeout).map(|()| Taken::Free),
        }
    }

    /// Waits until no reader is left, and lets none in. The owner of the writer lock calls it before it changes committed bytes.
    /// `may_open`: nothing is changed yet, so others may be let in while this waits.
    #[inline]
    pub(crate) fn shut(&self, media: &Media, timeout: Duration, may_open: bool) -> Result<()> {
        match self {
            Self::Shared(gate) => gate.shut(media, timeout, may_open),
            // Writing is exclusive from the start.
            Self::File(_) => Ok(()),
        }
    }

    /// Claims the checkpoint that has become due, until [`Lock::end_checkpoint`]; `false` where another handle is at it. Where handles do not know each other
    /// each may.
    pub(crate) fn claim_checkpoint(&self, media: &Media) -> bool {
        match self {
            Self::Shared(gate) => gate.claim_checkpoint(media),
            Self::File(_) => true,
        }
    }

    pub(crate) fn end_checkpoint(&self, media: &Media) {
        if let Self::Shared(gate) = self {
            gate.end_checkpoint(media);
        }
    }

    /// Lets readers in again, the writer lock kept.
    pub(crate) fn open(&self, media: &Media) {
        if let Self::Shared(gate) = self {
            gate.open(media);
        }
    }

    /// Whether readers are kept out at the moment.
    pub(crate) fn is_shut(&self, media: &Media) -> bool {
        matches!(self, Self::Shared(_)) && Gate::word(media).is_shut
    }

    /// Ends `write`, and opens the gate.
    #[inline(always)]
    pub(crate) fn write_end(&self, media: &Media) {
        match self {
            Self::Shared(gate) => gate.unlock(media),
            Self::File(lock) => lock.write_end(media),
        }
    }

    /// Ends `write` with something left to complete by the next owner, before any reader gets in.
    pub(crate) fn abandon(&self, media: &Media) {
        match self {
            Self::Shared(gate) => gate.abandon(media),
            Self::File(lock) => lock.write_end(media),
        }
    }

    /// Whether writing keeps readers out for the whole transaction.
    #[inline]
    pub(crate) fn is_exclusive(&self) -> bool {
        matches!(self, Self::File(_))
    }
}
