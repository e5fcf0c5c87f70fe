//! What is explored: the shared words, the processes, and the rules that must hold in every state.

pub(super) const AGENTS: usize = 4;
pub(super) const SLOTS: usize = 5;
pub(super) const NOBODY: u8 = 0xFF;

/// Ways to get it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A reader looks at the gate, and counts itself then.
    LooksBeforeCounting,
    /// A take-over does not notice that the slot has another owner by now.
    TakesOverAnyGeneration,
    /// A dead owner counts as alive once its slot is taken again.
    JudgesByTheByteAlone,
    /// Who attaches does not lock its slot's byte.
    AttachesWithoutByteLock,
    /// The drain before a completion opens the gate between attempts.
    OpensBetweenAttemptsToComplete,
    /// A completion that failed opens the gate.
    OpensAfterAFailedCompletion,
    /// A take-over forgets that the gate was shut.
    TakeOverOpensTheGate,
    /// The gate opens before what is in doubt is applied.
    OpensBeforeRecovery,
    /// The apply does not wait for readers.
    DoesNotDrain,
    /// A commit that failed in its apply gives the lock back as if it were complete.
    UnlocksHalfACommit,
    /// Counts are cleaned without asking whether their owner lives.
    BuriesTheLiving,
    /// A nested read passes a shut gate through another handle than the one it is nested in.
    NestsAcrossHandles,
    /// Opening resets the word although others have the file open.
    ResetsUnderOthers,
    /// Nobody is woken at the end of a transaction.
    ForgetsToWake,
    /// Who goes to sleep does not say so in the word.
    SleepsUnseen,
    /// Sleepers never ask whether the owner lives.
    NeverProbes,
    /// An abandoned lock, nobody's with the gate shut, is waited for.
    WaitsForNobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nested {
    No,
    SameHandle,
    OtherHandle,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    pub(super) writers: usize,
    pub(super) readers: usize,
    pub(super) deaths: u8,
    /// New processes take the places of dead ones.
    pub(super) reborn: bool,
    /// How often an apply or a completion may fail.
    pub(super) failures: u8,
    /// The record counts before the readers are drained, and is taken back if they do not go.
    pub(super) power: bool,
    pub(super) probes: bool,
    pub(super) nested: Nested,
    pub(super) flaw: Option<Flaw>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Word {
    /// Slot of the owner + 1.
    pub(super) owner: u8,
    pub(super) generation: u8,
    pub(super) shut: bool,
    pub(super) sleepers: bool,
}

impl Word {
    /// The half that the futex compares.
    pub(super) fn low(self) -> (u8, bool, bool) {
        (self.owner, self.shut, self.sleepers)
    }

    pub(super) fn is_free(self) -> bool {
        self.owner == 0 && !self.shut
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) generation: u8,
    pub(super) count: u8,
    pub(super) locked_by: u8,
}

/// Where a process stands: the step that it takes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    // Attaching, with the whole-file lock.
    OpenFile,
    ResetWord,
    LockByte,
    CleanSlot,
    NewGeneration,
    RecoverAlone,
    OpenAlone,
    CloseFile,
    // Getting the lock, or past the gate.
    FastLock,
    Look,
    SlowLock,
    JudgeGeneration,
    JudgeByte,
    TakeOver,
    AnnounceSleep,
    EnterSleep,
    Asleep,
    // Owning it.
    Begin,
    ShutToComplete,
    ReapplyFirst,
    ReapplyRest,
    EndDoubt,
    OpenToBegin,
    MakeRecord,
    ShutToCommit,
    Scan,
    Found,
    BuryClean,
    BuryUnlock,
    ShutAgain,
    Void,
    MakeValid,
    ApplyFirst,
    ApplyRest,
    ClearRecord,
    Unlock,
    UnlockUnseen,
    Abandon,
    Wake,
    // Reading.
    Count,
    LookAtGate,
    TakeBack,
    Reading,
    CountNested,
    LookNested,
    TakeBackNested,
    ReadingTwice,
    ReadingInner,
    EndRead,
    Done,
    Dead,
}

/// One process with one handle (a reader that nests across handles has a second slot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Agent {
    pub(super) at: At,
    /// Where it goes after waking others.
    pub(super) then: At,
    pub(super) writes: bool,
    pub(super) slot: u8,
    pub(super) generation: u8,
    /// The word as last looked at.
    pub(super) seen: Word,
    /// Slot that the drain looks at.
    pub(super) scan: u8,
    /// The drain is for a completion.
    pub(super) completes: bool,
    /// The gate was shut at the take-over: a part may be applied.
    pub(super) begun: bool,
    /// Nobody else had the file open.
    pub(super) alone: bool,
    pub(super) nested_done: bool,
    /// It sleeps, and who should have woken it did not see it: its sleep ends by itself.
    pub(super) overslept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) word: Word,
    pub(super) slots: [Slot; SLOTS],
    pub(super) agents: [Agent; AGENTS],
    pub(super) file_locked_by: u8,
    /// A record counts that is not known to be applied.
    pub(super) doubt: bool,
    /// A part of it is applied.
    pub(super) half: bool,
    pub(super) deaths: u8,
    pub(super) failures: u8,
}

impl Agent {
    pub(super) fn owns(&self) -> bool {
        use At::*;
        matches!(
            self.at,
            Begin
                | ShutToComplete
                | ReapplyFirst
                | ReapplyRest
                | EndDoubt
                | OpenToBegin
                | MakeRecord
                | ShutToCommit
                | Scan
                | Found
                | BuryClean
                | BuryUnlock
                | ShutAgain
                | Void
                | MakeValid
                | ApplyFirst
                | ApplyRest
                | ClearRecord
                | Unlock
                | UnlockUnseen
                | Abandon
        )
    }

    pub(super) fn reads(&self) -> bool {
        use At::*;
        matches!(
            self.at,
            Reading | CountNested | LookNested | TakeBackNested | ReadingTwice | ReadingInner | EndRead
        )
    }

    /// Where it goes after giving the lock back.
    pub(super) fn after_unlock(&self) -> At {
        if self.writes { At::Done } else { At::Count }
    }

    /// The same place without what is no longer needed, so that equal states are seen as equal.
    pub(super) fn go(&mut self, at: At) {
        use At::*;
        self.at = at;
        if matches!(at, Done | Dead | Count | FastLock | MakeRecord | ShutToCommit | Reading | ReadingInner) {
            self.seen = Word::default();
            self.scan = 0;
            self.begun = false;
            self.completes = false;
            self.alone = false;
        }
        if at != Wake {
            self.then = Done;
        }
    }
}

/// A state that follows, and whether the process came there by its own doing.
pub(super) type Next = (State, bool);

impl Model {
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Slots that were ever attached.
    pub(super) fn slots(&self) -> usize {
        self.writers + self.readers + usize::from(self.nested == Nested::OtherHandle)
    }

    pub(super) fn start(&self) -> State {
        let agent = |i: usize| {
            let writes = i < self.writers;
            let at = match i {
                _ if i >= self.writers + self.readers => At::Done,
                _ if writes => At::FastLock,
                _ => At::Count,
            };
            Agent {
                at,
                then: At::Done,
                writes,
                slot: i as u8,
                generation: 1,
                seen: Word::default(),
                scan: 0,
                completes: false,
                begun: false,
                alone: false,
                nested_done: false,
                overslept: false,
            }
        };
        let slot = |i: usize| Slot {
            generation: 1,
            count: 0,
            locked_by: if i < self.writers + self.readers { i as u8 } else { NOBODY },
        };
        let mut state = State {
            word: Word::default(),
            slots: std::array::from_fn(slot),
            agents: std::array::from_fn(agent),
            file_locked_by: NOBODY,
            doubt: false,
            half: false,
            deaths: 0,
            failures: 0,
        };
        if self.nested == Nested::OtherHandle {
            // The first reader has two handles: its inner one is seen by a scan before its outer one.
            let reader = self.writers;
            state.agents[reader].slot = self.slots() as u8 - 1;
            state.slots[self.slots() - 1].locked_by = reader as u8;
        }
        state
    }

    /// Which rule the state breaks.
    pub(super) fn broken(&self, s: &State) -> Option<&'static str> {
        for a in s.agents.iter().filter(|a| a.owns()) {
            if (s.word.owner, s.word.generation) != (a.slot + 1, a.generation) {
                return Some("a process owns a lock that does not name it");
            }
        }
        if s.half && !s.word.shut {
            return Some("the gate is open over half a commit");
        }
        if s.half && s.agents.iter().any(Agent::reads) {
            return Some("a reader sees half a commit");
        }
        None
    }

    pub(super) fn is_final(s: &State) -> bool {
        s.agents.iter().all(|a| matches!(a.at, At::Done | At::Dead))
    }
}
