//! The runtime words: state that the processes with the file open share through its mapping.
//!
//! They are always changed atomically and are never the truth about the heap: all of them can be computed anew from
//! the checkpoint slots and the log, which is what recovery does. Each group has a cache line of its own.

use crate::error::{Error, Result};
use crate::layout::{LogPlace, PAGE, PROCESS_SLOT_BYTES, PROCESS_SLOTS};
use crate::media::RuntimeWords;
use crate::sabotage::{Break, broken};
use std::sync::atomic::{AtomicU64, Ordering::*};

/// Writer lock and reader gate (`lock::gate`).
const LOCK: usize = 0;
/// Number of the last commit that is applied. This word and the next ones are what every transaction looks at: one line, and not the
/// lock's, which others may be waiting on.
const SEQUENCE: usize = 16;
/// `Process` arenas: 0, or what [`Intent`] packs.
const INTENT: usize = 17;
/// Number of the last commit that changed more than states of slots and content of blocks: who has seen that one still knows which
/// pages are slabs, and where the heap ends. Set before that commit counts.
const LAYOUT: usize = 18;
/// How many syncs have failed since all that they should have written was written anew.
const FAILED_SYNCS: usize = 19;
/// `Process` arenas: a [`MarkState`].
const MARKED: usize = 20;
/// How often the file was cut: who sees another number asks for its length again.
const CUTS: usize = 21;
/// Process slots that were ever attached are below this.
const SLOTS_USED: usize = 22;
/// Not 0 while a record may be in the ring that is not applied, or not known to be on the disk.
const IN_DOUBT: usize = 24;
/// Log position of the next record.
const HEAD: usize = 25;
/// CRC seed of the next record.
const SEED: usize = 26;
/// Log position of the oldest record that a power cut would need.
const TAIL: usize = 27;
/// Generation of the newest checkpoint slot.
const GENERATION: usize = 28;
/// Log position of the last record that was given to the ring.
const LAST: usize = 29;
/// When the file was last written by who keeps the log: nanoseconds since 1970.
const ACTIVE: usize = 30;
/// Where the log ring lies, as the newest checkpoint slot has it: a [`LogPlace`].
const PLACE: usize = 31;
/// The handle that makes the checkpoint that has become due, as in the lock word; 0: nobody.
const CHECKPOINTER: usize = 32;
/// Number of the commit that took the run of the heap into which the log is about to move; 0 once that is given up.
const LOG_TAKEN: usize = 33;
/// Boot of the machine under which these words were last computed: two words. Zeros of a `Process` arena: its state was not synced when the machine went
/// down, and no writer has accepted it.
const BOOT: usize = 40;
/// Which file in which mount these words are of ([`Home`]): four words.
const HOME: usize = 42;
/// Words of a process slot.
pub(crate) const SLOT_WORDS: usize = (PROCESS_SLOT_BYTES / 8) as usize;

/// What the disk's mark says of a `Process` arena, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum MarkState {
    /// The heap on the disk is what was synced last; nothing was changed since.
    Clear = 0,
    /// The heap was changed.
    Set = 1,
    /// Either: its last writer died or failed before the disk had it. What the page cache says of it means nothing.
    Unknown = 2,
}

/// A `Process` commit that is valid and may be half applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intent {
    /// First page of the body: the intent area, or a spill extent.
    pub(crate) page: u32,
    /// Whether it lies in a spill extent. The first words at `page` say the rest (see `log::intent`).
    pub(crate) spilled: bool,
}

/// Which file this is, in which mount: different after each mount and each creation of a file, the same for all that open it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    /// Number of the mount, which is not used again before the next boot.
    pub(crate) mount: u64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// When the file was created: numbers of inodes are used again.
    pub(crate) born: u64,
}

/// A file as it was seen at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) home: Home,
    /// When it had last been changed, by whoever and in whatever: nanoseconds since 1970.
    pub(crate) changed: u64,
}

/// Access to the runtime words of a mapped file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runtime<'a>(&'a RuntimeWords);

/// Where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) head: u64,
    pub(crate) seed: u32,
    pub(crate) tail: u64,
    pub(crate) generation: u64,
    pub(crate) place: LogPlace,
}

impl<'a> Runtime<'a> {
    #[inline]
    pub(crate) fn new(words: &'a RuntimeWords) -> Self {
        Self(words)
    }

    /// The words of one process slot; `slot` is below [`PROCESS_SLOTS`].
    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> &'a [AtomicU64] {
        let start = (PAGE / 8) as usize + slot as usize * SLOT_WORDS;
        &self.0[start..start + SLOT_WORDS]
    }

    #[inline]
    pub(crate) fn lock_word(&self) -> &'a AtomicU64 {
        &self.0[LOCK]
    }

    #[inline]
    pub(crate) fn slots_used(&self) -> u32 {
        (self.0[SLOTS_USED].load(SeqCst) as u32).min(PROCESS_SLOTS)
    }

    pub(crate) fn set_slots_used(&self, used: u32) {
        self.0[SLOTS_USED].store(u64::from(used), SeqCst);
    }

    #[inline]
    pub(crate) fn sequence(&self) -> u64 {
        self.0[SEQUENCE].load(Acquire)
    }

    #[inline]
    pub(crate) fn set_sequence(&self, sequence: u64) {
        self.0[SEQUENCE].store(sequence, Release);
    }

    #[inline]
    pub(crate) fn layout(&self) -> u64 {
        self.0[LAYOUT].load(Acquire)
    }

    pub(crate) fn set_layout(&self, sequence: u64) {
        self.0[LAYOUT].store(sequence, Release);
    }

    pub(crate) fn in_doubt(&self) -> bool {
        self.0[IN_DOUBT].load(Acquire) != 0
    }

    pub(crate) fn set_in_doubt(&self, doubt: bool) {
        self.0[IN_DOUBT].store(u64::from(doubt), SeqCst);
    }

    pub(crate) fn checkpointer(&self) -> &'a AtomicU64 {
        &self.0[CHECKPOINTER]
    }

    pub(crate) fn log_taken(&self) -> u64 {
        self.0[LOG_TAKEN].load(Acquire)
    }

    pub(crate) fn set_log_taken(&self, commit: u64) {
        self.0[LOG_TAKEN].store(commit, Release);
    }

    pub(crate) fn log(&self) -> LogState {
        LogState {
            head: self.0[HEAD].load(Acquire),
            seed: self.0[SEED].load(Acquire) as u32,
            tail: self.0[TAIL].load(Acquire),
            generation: self.0[GENERATION].load(Acquire),
            place: LogPlace::of_word(self.0[PLACE].load(Acquire)),
        }
    }

    pub(crate) fn set_log(&self, log: LogState) {
        self.0[HEAD].store(log.head, Release);
        self.0[SEED].store(u64::from(log.seed), Release);
        self.0[TAIL].store(log.tail, Release);
        self.0[GENERATION].store(log.generation, Release);
        self.0[PLACE].store(log.place.word(), Release);
    }

    pub(crate) fn set_generation(&self, generation: u64) {
        self.0[GENERATION].store(generation, Release);
    }

    #[inline]
    pub(crate) fn intent(&self) -> Option<Intent> {
        match self.0[INTENT].load(Acquire) {
            0 => None,
            word => Some(Intent { page: (word >> 8) as u32, spilled: word & 2 != 0 }),
        }
    }

    /// Makes the commit under way valid. Everything stored before is visible before.
    #[inline]
    pub(crate) fn set_intent(&self, intent: Intent) {
        let word = u64::from(intent.page) << 8 | u64::from(intent.spilled) << 1 | 1;
        self.0[INTENT].store(word, Release);
        // No store of the apply may become visible before the record is valid. Between stores a release fence is enough: nothing is
        // loaded here that could be loaded too early.
        std::sync::atomic::fence(Release);
    }

    #[inline]
    pub(crate) fn clear_intent(&self) {
        self.0[INTENT].store(0, Release);
    }

    #[inline]
    pub(crate) fn failed_syncs(&self) -> u64 {
        self.0[FAILED_SYNCS].load(Acquire)
    }

    /// Whoever syncs, or writes durably, under the lock asks after it: a thread that synced without the lock meanwhile may have been told alone of what both should
    /// have written.
    #[inline]
    pub(crate) fn no_failed_sync(&self) -> Result<()> {
        if self.failed_syncs() == 0 { Ok(()) } else { Err(Error::SyncFailed) }
    }

    /// The outcome of a sync, or of a write that is one; counted if it failed.
    #[inline]
    pub(crate) fn synced<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.count_failed_sync();
        }
        outcome
    }

    #[cold]
    pub(crate) fn count_failed_sync(&self) {
        if !broken(Break::ForgetFailedSync) {
            // A damaged file may have any number here, and must not come to none.
            let more = |count: u64| Some(count.saturating_add(1));
            let _ = self.0[FAILED_SYNCS].fetch_update(SeqCst, SeqCst, more);
        }
    }

    /// What the first `seen` failed syncs left is written anew, and synced. Another that failed meanwhile may have been told alone of what that sync should have written:
    /// then it is for the next one to write it anew.
    pub(crate) fn mended(&self, seen: u64) -> Result<()> {
        match self.0[FAILED_SYNCS].compare_exchange(seen, 0, SeqCst, SeqCst) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::SyncFailed),
        }
    }

    /// In a mapping of this handle's own, which nobody syncs.
    pub(crate) fn forget_failed_syncs(&self) {
        self.0[FAILED_SYNCS].store(0, SeqCst);
    }

    #[inline]
    pub(crate) fn mark(&self) -> MarkState {
        match self.0[MARKED].load(Acquire) {
            0 => MarkState::Clear,
            1 => MarkState::Set,
            _ => MarkState::Unknown,
        }
    }

    pub(crate) fn set_mark(&self, mark: MarkState) {
        self.0[MARKED].store(mark as u64, Release);
    }

    #[inline]
    pub(crate) fn cuts(&self) -> u64 {
        self.0[CUTS].load(Acquire)
    }

    pub(crate) fn count_cut(&self) {
        self.0[CUTS].fetch_add(1, AcqRel);
    }

    pub(crate) fn boot(&self) -> [u8; 16] {
        bytemuck::cast([self.0[BOOT].load(Acquire), self.0[BOOT + 1].load(Acquire)])
    }

    /// Position of the last record that was given to the ring. Applied, or in doubt.
    pub(crate) fn last_record(&self) -> u64 {
        self.0[LAST].load(Acquire)
    }

    pub(crate) fn set_last_record(&self, position: u64) {
        self.0[LAST].store(position, Release);
    }

    /// When the file was last written, as far as is known.
    pub(crate) fn active(&self) -> u64 {
        self.0[ACTIVE].load(Acquire)
    }

    pub(crate) fn set_active(&self, now: u64) {
        self.0[ACTIVE].store(now, Release);
    }

    pub(crate) fn home(&self) -> Home {
        let [mount, device, inode, born] = [0, 1, 2, 3].map(|i| self.0[HOME + i].load(Acquire));
        Home { mount, device, inode, born }
    }

    /// Nothing is never anybody's home.
    pub(crate) fn set_home(&self, home: Option<Home>) {
        let words = home.map_or([0; 4], |home| [home.mount, home.device, home.inode, home.born]);
        for (i, word) in words.into_iter().enumerate() {
            self.0[HOME + i].store(word, Release);
        }
    }

    pub(crate) fn set_boot(&self, boot: [u8; 16]) {
        let words: [u64; 2] = bytemuck::cast(boot);
        self.0[BOOT].store(words[0], Release);
        self.0[BOOT + 1].store(words[1], Release);
    }
}

#[cfg(feature = "testing")]
thread_local! {
    static PRETENDED_BOOT: std::cell::Cell<Option<[u8; 16]>> = const { std::cell::Cell::new(None) };
}

/// Lets this thread take the machine for booted anew, with this identity: after a simulated power cut.
#[cfg(feature = "testing")]
pub fn set_boot(boot: Option<[u8; 16]>) {
    PRETENDED_BOOT.set(boot);
}

/// Identity of this boot of the machine; zeros where the system does not tell.
pub(crate) fn boot_id() -> [u8; 16] {
    #[cfg(feature = "testing")]
    if let Some(boot) = PRETENDED_BOOT.get() {
        return boot;
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).take(32).collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    id
}
