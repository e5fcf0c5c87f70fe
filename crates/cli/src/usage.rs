//! How the bytes of an arena are used, added up: for `stats` and `map`.

use heapfile::{Run, RunKind, Stats};
use std::collections::BTreeMap;

/// Kinds of use that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Blocks; small ones with what is left of their slots.
    Blocks,
    /// Free slots of slabs, their heads, and what rounding up to pages leaves.
    Slack,
    /// Header, page map and free tree.
    Metadata,
    /// The log ring or the intent area.
    Log,
    /// Superblock, checkpoint slots, mark, runtime words.
    Fixed,
    /// Free, with room on the disk.
    Free,
    /// Free, without room on the disk.
    Punched,
    /// Behind the heap's end.
    Tail,
    /// Makes no sense, or changed while it was looked at.
    Unknown,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Blocks,
        Self::Slack,
        Self::Metadata,
        Self::Log,
        Self::Fixed,
        Self::Free,
        Self::Punched,
        Self::Tail,
        Self::Unknown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Slack => "slack",
            Self::Metadata => "metadata",
            Self::Log => "log",
            Self::Fixed => "superblock, slots, runtime",
            Self::Free => "free",
            Self::Punched => "punched",
            Self::Tail => "tail, behind the heap",
            Self::Unknown => "unknown",
        }
    }

    /// The name as a key of JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Tail => "tail",
            _ => self.name(),
        }
    }

    pub(crate) fn is_free(self) -> bool {
        matches!(self, Self::Free | Self::Punched | Self::Tail)
    }
}

/// Bytes of the file behind the heap's end: free, and in no extent; the heap grows into them.
pub(crate) fn tail_bytes(stats: &Stats) -> u64 {
    stats.file_bytes.saturating_sub(stats.heap_offset + stats.heap_bytes)
}

/// What there is of one size class.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Class {
    pub(crate) slabs: u64,
    pub(crate) slots: u64,
    pub(crate) used: u64,
    pub(crate) bytes: u64,
}

/// Everything added up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    pub(crate) bytes: [u64; Kind::ALL.len()],
    /// By length of the slots.
    pub(crate) classes: BTreeMap<u32, Class>,
    /// Blocks with pages of their own, and the bytes of these pages.
    pub(crate) large: (u64, u64),
}

impl Usage {
    /// Adds a run. Calls `piece` with the parts that it consists of: start, end, and how many bytes of it are of which kind.
    pub(crate) fn add(&mut self, run: &Run, mut piece: impl FnMut(u64, u64, &[(Kind, u64)])) {
        let (start, len) = (run.offset, run.len_bytes);
        let parts = match run.kind {
            RunKind::Block { len: used } => {
                self.large.0 += 1;
                self.large.1 += len;
                let used = used.min(len);
                // Slack is at the end: a picture should show it there.
                self.part(start, start + used, &[(Kind::Blocks, used)], &mut piece);
                return self.part(start + used, start + len, &[(Kind::Slack, len - used)], &mut piece);
            }
            RunKind::Slab { slot_bytes, slots, used } => {
                let class = self.classes.entry(slot_bytes).or_default();
                class.slabs += 1;
                class.slots += u64::from(slots);
                class.used += u64::from(used);
                class.bytes += len;
                let used = (u64::from(used) * u64::from(slot_bytes)).min(len);
                vec![(Kind::Blocks, used), (Kind::Slack, len - used)]
            }
            RunKind::HeapHeader | RunKind::PageMap | RunKind::FreeTree => vec![(Kind::Metadata, len)],
            RunKind::LogRing | RunKind::IntentArea => vec![(Kind::Log, len)],
            RunKind::Superblock | RunKind::CheckpointSlots | RunKind::Mark | RunKind::Runtime => {
                vec![(Kind::Fixed, len)]
            }
            RunKind::Free { .. } => vec![(Kind::Free, len)],
            RunKind::Tail => vec![(Kind::Tail, len)],
            _ => vec![(Kind::Unknown, len)],
        };
        self.part(start, start + len, &parts, &mut piece);
    }

    fn part(
        &mut self,
        start: u64,
        end: u64,
        parts: &[(Kind, u64)],
        piece: &mut impl FnMut(u64, u64, &[(Kind, u64)]),
    ) {
        for &(kind, bytes) in parts {
            self.bytes[kind as usize] += bytes;
        }
        if end > start {
            piece(start, end, parts);
        }
    }

    /// Moves bytes that were counted as free to those without room on the disk.
    pub(crate) fn punched(&mut self, bytes: u64) {
        self.bytes[Kind::Free as usize] -= bytes;
        self.bytes[Kind::Punched as usize] += bytes;
    }

    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.bytes[kind as usize]
    }

    /// Live blocks: those in slabs and those with pages of their own.
    pub(crate) fn blocks(&self) -> u64 {
        self.classes.values().map(|class| class.used).sum::<u64>() + self.large.0
    }
}
