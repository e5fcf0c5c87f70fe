//! The protocol of lock and gate as a small model, every interleaving of it, with a death at every step.
//!
//! An explorer of explicit states, written for this one protocol, rather than loom or shuttle, which run real threads and so
//! cannot kill one between two steps, and rather than stateright, whose actors and network the model has no use for: what is
//! left of it is a breadth-first search. A state holds the lock word, the slots (generation, reader count, who has the byte
//! lock), what is applied, and where each process stands. Each access to shared memory, each system call is one step; a step of any
//! process may follow, or its death, or (after that) a new process that attaches to the first free slot.
//!
//! What must hold in every state:
//! - a process that thinks it owns the lock is named by the word (so there is never more than one);
//! - while a commit is half applied the gate is shut and no live process is in a read;
//! - from every state the living come to their end by their own steps, without further deaths, failures or time-outs. With deaths the
//!   probes of sleepers may help; without deaths the probes are switched off, and sleepers are woken: all but one that falls asleep while
//!   the owner, who saw nobody asleep, gives the lock back; that one's sleep ends by itself.
//!
//! That the model can tell right from wrong is shown by [`Flaw`]s: for each one the search finds a state that breaks a rule.
//!
//! Limits: memory is sequentially consistent, as the protocol's operations on word and counts are (`SeqCst`); a stopped process is one that
//! takes no step; a time-out of a waiter is no step of its own, for it changes nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

const AGENTS: usize = 4;
const SLOTS: usize = 5;
const NOBODY: u8 = 0xFF;

/// Ways to get it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
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
enum Nested {
    No,
    SameHandle,
    OtherHandle,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
struct Model {
    writers: usize,
    readers: usize,
    deaths: u8,
    /// New processes take the places of dead ones.
    reborn: bool,
    /// How often an apply or a completion may fail.
    failures: u8,
    /// The record counts before the readers are drained, and is taken back if they do not go.
    power: bool,
    probes: bool,
    nested: Nested,
    flaw: Option<Flaw>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Word {
    /// Slot of the owner + 1.
    owner: u8,
    generation: u8,
    shut: bool,
    sleepers: bool,
}

impl Word {
    /// The half that the futex compares.
    fn low(self) -> (u8, bool, bool) {
        (self.owner, self.shut, self.sleepers)
    }

    fn is_free(self) -> bool {
        self.owner == 0 && !self.shut
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Slot {
    generation: u8,
    count: u8,
    locked_by: u8,
}

/// Where a process stands: the step that it takes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
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
struct Agent {
    at: At,
    /// Where it goes after waking others.
    then: At,
    writes: bool,
    slot: u8,
    generation: u8,
    /// The word as last looked at.
    seen: Word,
    /// Slot that the drain looks at.
    scan: u8,
    /// The drain is for a completion.
    completes: bool,
    /// The gate was shut at the take-over: a part may be applied.
    begun: bool,
    /// Nobody else had the file open.
    alone: bool,
    nested_done: bool,
    /// It sleeps, and who should have woken it did not see it: its sleep ends by itself.
    overslept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    word: Word,
    slots: [Slot; SLOTS],
    agents: [Agent; AGENTS],
    file_locked_by: u8,
    /// A record counts that is not known to be applied.
    doubt: bool,
    /// A part of it is applied.
    half: bool,
    deaths: u8,
    failures: u8,
}

impl Agent {
    fn owns(&self) -> bool {
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

    fn reads(&self) -> bool {
        use At::*;
        matches!(
            self.at,
            Reading | CountNested | LookNested | TakeBackNested | ReadingTwice | ReadingInner | EndRead
        )
    }

    /// Where it goes after giving the lock back.
    fn after_unlock(&self) -> At {
        if self.writes { At::Done } else { At::Count }
    }

    /// The same place without what is no longer needed, so that equal states are seen as equal.
    fn go(&mut self, at: At) {
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
type Next = (State, bool);

impl Model {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Slots that were ever attached.
    fn slots(&self) -> usize {
        self.writers + self.readers + usize::from(self.nested == Nested::OtherHandle)
    }

    fn start(&self) -> State {
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
    fn broken(&self, s: &State) -> Option<&'static str> {
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

    fn is_final(s: &State) -> bool {
        s.agents.iter().all(|a| matches!(a.at, At::Done | At::Dead))
    }

    fn next(&self, s: &State, out: &mut Vec<Next>) {
        for i in 0..self.writers + self.readers {
            match s.agents[i].at {
                At::Done => continue,
                At::Dead if !self.reborn => continue,
                At::Dead => {
                    let mut n = *s;
                    n.agents[i].go(At::OpenFile);
                    out.push((n, true));
                    continue;
                }
                _ => self.step(s, i, out),
            }
            if s.deaths < self.deaths {
                out.push((Self::death(s, i), false));
            }
        }
    }

    /// The kernel drops its locks; all else stays as it is.
    fn death(s: &State, i: usize) -> State {
        let mut n = *s;
        n.deaths += 1;
        for slot in n.slots.iter_mut().filter(|slot| slot.locked_by == i as u8) {
            slot.locked_by = NOBODY;
        }
        if n.file_locked_by == i as u8 {
            n.file_locked_by = NOBODY;
        }
        // The next process here has one handle.
        n.agents[i].nested_done = true;
        n.agents[i].go(At::Dead);
        n
    }

    fn step(&self, s: &State, i: usize, out: &mut Vec<Next>) {
        use At::*;
        let me = s.agents[i];
        let slot = me.slot as usize;
        let mine = Word { owner: me.slot + 1, generation: me.generation, shut: false, sleepers: false };
        let mut n = *s;
        // Most steps have one outcome: change `n`, then name the next step.
        let at = match me.at {
            OpenFile => {
                if s.file_locked_by != NOBODY {
                    return;
                }
                n.file_locked_by = i as u8;
                let alone = s.slots.iter().all(|slot| slot.locked_by == NOBODY);
                n.agents[i].alone = alone;
                if alone || self.has(Flaw::ResetsUnderOthers) { ResetWord } else { LockByte }
            }
            ResetWord => {
                n.word = Word { shut: true, ..Word::default() };
                LockByte
            }
            LockByte => {
                let free = |slot: &Slot| slot.locked_by == NOBODY;
                let Some(slot) = s.slots[..self.slots()].iter().position(free) else { return };
                n.agents[i].slot = slot as u8;
                if !self.has(Flaw::AttachesWithoutByteLock) {
                    n.slots[slot].locked_by = i as u8;
                }
                CleanSlot
            }
            CleanSlot => {
                n.slots[slot].count = 0;
                NewGeneration
            }
            NewGeneration => {
                n.slots[slot].generation += 1;
                n.agents[i].generation = n.slots[slot].generation;
                if me.alone { RecoverAlone } else { CloseFile }
            }
            RecoverAlone => {
                (n.half, n.doubt) = (false, false);
                OpenAlone
            }
            OpenAlone => {
                n.word.shut = false;
                CloseFile
            }
            CloseFile => {
                n.file_locked_by = NOBODY;
                if me.writes { FastLock } else { Count }
            }

            FastLock if s.word == Word::default() => {
                n.word = mine;
                Begin
            }
            FastLock => Look,
            Look => {
                n.agents[i].seen = s.word;
                match me.writes {
                    true if s.word.is_free() => SlowLock,
                    false if !s.word.shut => Count,
                    _ => JudgeGeneration,
                }
            }
            SlowLock if s.word == me.seen => {
                n.word = Word { sleepers: s.word.sleepers, ..mine };
                Begin
            }
            JudgeGeneration => match me.seen.owner.checked_sub(1) {
                None if self.has(Flaw::WaitsForNobody) => AnnounceSleep,
                None => TakeOver,
                Some(owner) => {
                    let passed = s.slots[owner as usize].generation != me.seen.generation;
                    if passed && !self.has(Flaw::JudgesByTheByteAlone) { TakeOver } else { JudgeByte }
                }
            },
            JudgeByte => {
                let locked = s.slots[me.seen.owner as usize - 1].locked_by != NOBODY;
                if locked { AnnounceSleep } else { TakeOver }
            }
            TakeOver => {
                let same = if self.has(Flaw::TakesOverAnyGeneration) {
                    s.word.low() == me.seen.low()
                } else {
                    s.word == me.seen
                };
                if same {
                    let shut = me.seen.shut && !self.has(Flaw::TakeOverOpensTheGate);
                    n.word = Word { shut, sleepers: true, ..mine };
                    n.agents[i].begun = me.seen.shut;
                    Begin
                } else {
                    Look
                }
            }
            AnnounceSleep => {
                if s.word == me.seen {
                    if !self.has(Flaw::SleepsUnseen) {
                        n.word.sleepers = true;
                    }
                    n.agents[i].seen = n.word;
                    EnterSleep
                } else {
                    Look
                }
            }
            EnterSleep if s.word.low() == me.seen.low() => Asleep,
            SlowLock | EnterSleep => Look,
            Asleep => {
                if !(self.probes || me.overslept) || self.has(Flaw::NeverProbes) {
                    return;
                }
                n.agents[i].overslept = false;
                Look
            }

            Begin => {
                if s.failures < self.failures {
                    // The file was replaced, or cannot be read: nothing can be completed now.
                    let mut n = *s;
                    n.failures += 1;
                    let keep = s.doubt && !self.has(Flaw::OpensAfterAFailedCompletion);
                    n.agents[i].go(if keep { Abandon } else { Unlock });
                    out.push((n, false));
                }
                match (s.doubt, me.writes) {
                    (true, _) if self.has(Flaw::OpensBeforeRecovery) => {
                        n.word.shut = false;
                        ReapplyFirst
                    }
                    (true, _) => ShutToComplete,
                    (false, true) => OpenToBegin,
                    (false, false) => Unlock,
                }
            }
            ShutToComplete => {
                n.word.shut = true;
                n.agents[i].completes = true;
                n.agents[i].scan = 0;
                Scan
            }
            ReapplyFirst => {
                n.half = true;
                ReapplyRest
            }
            ReapplyRest => {
                n.half = false;
                EndDoubt
            }
            EndDoubt => {
                n.doubt = false;
                if me.writes { OpenToBegin } else { Unlock }
            }
            OpenToBegin => {
                let then = if self.power { MakeRecord } else { ShutToCommit };
                return self.open(n, i, then, true, out);
            }
            MakeRecord => {
                n.doubt = true;
                ShutToCommit
            }
            ShutToCommit => {
                n.word.shut = true;
                if self.has(Flaw::DoesNotDrain) { self.after_drain(false) } else { Scan }
            }
            Scan => {
                if s.slots[me.scan as usize].count > 0 {
                    Found
                } else if (me.scan as usize) < self.slots() - 1 {
                    n.agents[i].scan += 1;
                    Scan
                } else {
                    n.agents[i].scan = 0;
                    self.after_drain(me.completes)
                }
            }
            Found => return self.found(s, i, out),
            BuryClean => {
                n.slots[me.scan as usize].count = 0;
                BuryUnlock
            }
            BuryUnlock => {
                n.slots[me.scan as usize].locked_by = NOBODY;
                n.agents[i].scan = 0;
                Scan
            }
            ShutAgain => {
                n.word.shut = true;
                Scan
            }
            Void => {
                n.doubt = false;
                Unlock
            }
            MakeValid => {
                n.doubt = true;
                ApplyFirst
            }
            ApplyFirst => {
                n.half = true;
                ApplyRest
            }
            ApplyRest => {
                if s.failures < self.failures {
                    let mut n = *s;
                    n.failures += 1;
                    let wrong = self.has(Flaw::UnlocksHalfACommit);
                    n.agents[i].go(if wrong { Unlock } else { Abandon });
                    out.push((n, false));
                }
                n.half = false;
                ClearRecord
            }
            ClearRecord => {
                n.doubt = false;
                Unlock
            }
            Unlock if !s.word.sleepers => UnlockUnseen,
            Unlock => {
                n.word = Word::default();
                let wakes = !self.has(Flaw::ForgetsToWake);
                return self.wake_then(n, i, wakes, me.after_unlock(), true, out);
            }
            UnlockUnseen => {
                // Who fell asleep since is not woken: its own time-out does that.
                for agent in n.agents.iter_mut().filter(|agent| s.word.sleepers && agent.at == Asleep) {
                    agent.overslept = true;
                }
                n.word = Word::default();
                me.after_unlock()
            }
            Abandon => {
                n.word = Word { shut: true, ..Word::default() };
                return self.wake_then(n, i, true, Done, true, out);
            }
            Wake => {
                for agent in n.agents.iter_mut().filter(|agent| agent.at == Asleep) {
                    agent.overslept = false;
                    agent.go(Look);
                }
                me.then
            }

            Count if self.has(Flaw::LooksBeforeCounting) => {
                if s.word.shut {
                    Look
                } else {
                    LookAtGate
                }
            }
            LookAtGate if self.has(Flaw::LooksBeforeCounting) => {
                n.slots[slot].count += 1;
                Reading
            }
            Count => {
                n.slots[slot].count += 1;
                LookAtGate
            }
            LookAtGate if s.word.shut => TakeBack,
            LookAtGate => Reading,
            TakeBack => {
                n.slots[slot].count = s.slots[slot].count.saturating_sub(1);
                Look
            }
            Reading => {
                if self.nested != Nested::No && !me.nested_done && i == self.writers {
                    let mut n = *s;
                    n.agents[i].nested_done = true;
                    n.agents[i].go(CountNested);
                    out.push((n, true));
                }
                EndRead
            }
            CountNested => {
                n.slots[self.inner(&me)].count += 1;
                let passes = self.nested == Nested::SameHandle || self.has(Flaw::NestsAcrossHandles);
                if passes { ReadingTwice } else { LookNested }
            }
            LookNested => {
                if s.word.shut {
                    TakeBackNested
                } else {
                    ReadingTwice
                }
            }
            TakeBackNested => {
                n.slots[self.inner(&me)].count = s.slots[self.inner(&me)].count.saturating_sub(1);
                Reading
            }
            // The outer one ends first.
            ReadingTwice => {
                n.slots[slot].count = s.slots[slot].count.saturating_sub(1);
                ReadingInner
            }
            ReadingInner => {
                n.slots[self.inner(&me)].count = s.slots[self.inner(&me)].count.saturating_sub(1);
                Done
            }
            EndRead => {
                n.slots[slot].count = s.slots[slot].count.saturating_sub(1);
                Done
            }
            Done | Dead => return,
        };
        n.agents[i].go(at);
        out.push((n, true));
    }

    /// Slot in which a nested read counts.
    fn inner(&self, reader: &Agent) -> usize {
        if self.nested == Nested::OtherHandle { self.writers } else { reader.slot as usize }
    }

    fn after_drain(&self, completes: bool) -> At {
        match (completes, self.power) {
            (true, _) => At::ReapplyFirst,
            (false, true) => At::ApplyFirst,
            (false, false) => At::MakeValid,
        }
    }

    /// A slot with readers: bury it, let them go, or give up.
    fn found(&self, s: &State, i: usize, out: &mut Vec<Next>) {
        let me = s.agents[i];
        let found = me.scan as usize;
        let mut n = *s;
        if s.slots[found].locked_by == NOBODY {
            n.slots[found].locked_by = i as u8;
            n.agents[i].go(At::BuryClean);
            return out.push((n, true));
        }
        if self.has(Flaw::BuriesTheLiving) {
            n.slots[found].count = 0;
        }
        n.agents[i].scan = 0;
        let may_open = !(me.completes && me.begun) || self.has(Flaw::OpensBetweenAttemptsToComplete);
        if may_open {
            self.open(n, i, At::ShutAgain, true, out);
        } else {
            n.agents[i].go(At::Scan);
            out.push((n, true));
        }
        // Time is up.
        let mut n = *s;
        n.agents[i].scan = 0;
        match (me.completes, me.begun) {
            (true, true) => {
                n.agents[i].go(At::Abandon);
                out.push((n, false));
            }
            (true, false) => self.open(n, i, At::Unlock, false, out),
            (false, _) => self.open(n, i, if self.power { At::Void } else { At::Unlock }, false, out),
        }
    }

    /// Opens the gate; wakes who sleeps.
    fn open(&self, mut n: State, i: usize, then: At, own: bool, out: &mut Vec<Next>) {
        let wakes = n.word.sleepers;
        (n.word.shut, n.word.sleepers) = (false, false);
        self.wake_then(n, i, wakes, then, own, out);
    }

    fn wake_then(&self, mut n: State, i: usize, wakes: bool, then: At, own: bool, out: &mut Vec<Next>) {
        if wakes {
            n.agents[i].go(At::Wake);
            n.agents[i].then = then;
        } else {
            n.agents[i].go(then);
        }
        out.push((n, own));
    }
}

/// Fast enough for millions of small states; nobody attacks it.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u8(byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u8(value as u8);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u8(value as u8);
    }
}

/// Explores everything; the number of states, or what is broken and the way there.
fn explore(model: Model) -> Result<usize, (String, Vec<State>)> {
    let mut known: HashMap<State, u32, BuildHasherDefault<Mix>> = HashMap::default();
    let mut states = vec![model.start()];
    let mut parents = vec![0u32];
    // From, to; only the steps that processes take by themselves.
    let mut steps: Vec<(u32, u32)> = Vec::new();
    known.insert(states[0], 0);
    let mut next = Vec::new();
    let mut at = 0;
    while at < states.len() {
        let state = states[at];
        if let Some(rule) = model.broken(&state) {
            return Err((rule.to_owned(), way(&states, &parents, at)));
        }
        next.clear();
        model.next(&state, &mut next);
        for &(to, own) in &next {
            let index = match known.entry(to) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    let index = states.len() as u32;
                    entry.insert(index);
                    states.push(to);
                    parents.push(at as u32);
                    index
                }
            };
            if own {
                steps.push((at as u32, index));
            }
        }
        at += 1;
    }
    match stuck(&states, steps) {
        Some(at) => Err(("somebody never comes to an end".to_owned(), way(&states, &parents, at))),
        None => Ok(states.len()),
    }
}

/// A state from which no end can be reached.
fn stuck(states: &[State], mut steps: Vec<(u32, u32)>) -> Option<usize> {
    steps.sort_unstable_by_key(|&(_, to)| to);
    let mut reaches = vec![false; states.len()];
    let mut open: Vec<u32> = Vec::new();
    for (i, state) in states.iter().enumerate() {
        if Model::is_final(state) {
            reaches[i] = true;
            open.push(i as u32);
        }
    }
    while let Some(to) = open.pop() {
        let first = steps.partition_point(|&(_, t)| t < to);
        for &(from, _) in steps[first..].iter().take_while(|&&(_, t)| t == to) {
            if !std::mem::replace(&mut reaches[from as usize], true) {
                open.push(from);
            }
        }
    }
    reaches.iter().position(|&r| !r)
}

fn way(states: &[State], parents: &[u32], mut at: usize) -> Vec<State> {
    let mut way = vec![states[at]];
    while at != 0 {
        at = parents[at] as usize;
        way.push(states[at]);
    }
    way.reverse();
    way
}

/// The way to a broken rule, one line a step.
fn told(way: &[State]) -> String {
    let line = |s: &State| {
        let agents: Vec<String> = s.agents.iter().map(|a| format!("{:?}", a.at)).collect();
        let counts: Vec<u8> = s.slots.iter().map(|slot| slot.count).collect();
        format!("{} word {:?} counts {counts:?} doubt {} half {}", agents.join(" "), s.word, s.doubt, s.half)
    };
    way.iter().map(line).collect::<Vec<_>>().join("\n")
}

const SMALL: Model = Model {
    writers: 1,
    readers: 1,
    deaths: 0,
    reborn: true,
    failures: 0,
    power: false,
    probes: true,
    nested: Nested::No,
    flaw: None,
};

#[track_caller]
fn holds(model: Model) {
    match explore(model) {
        Ok(states) => println!("{states:>8} states: {model:?}"),
        Err((rule, way)) => panic!("{rule}: {model:?}\n{}", told(&way)),
    }
}

#[test]
fn without_deaths_sleepers_are_woken() {
    for power in [false, true] {
        holds(Model { writers: 2, readers: 1, power, probes: false, ..SMALL });
        holds(Model { writers: 1, readers: 2, power, probes: false, ..SMALL });
    }
}

#[test]
fn deaths_at_every_step() {
    for power in [false, true] {
        holds(Model { writers: 2, readers: 1, deaths: 1, power, ..SMALL });
        holds(Model { writers: 1, readers: 2, deaths: 1, power, ..SMALL });
        holds(Model { writers: 1, readers: 1, deaths: 3, failures: 1, power, ..SMALL });
        holds(Model { writers: 2, readers: 0, deaths: 2, failures: 1, power, ..SMALL });
    }
}

#[test]
fn two_writers_and_two_readers() {
    holds(Model { writers: 2, readers: 2, probes: false, ..SMALL });
    holds(Model { writers: 2, readers: 2, deaths: 1, reborn: false, ..SMALL });
}

#[test]
fn nested_reads() {
    for nested in [Nested::SameHandle, Nested::OtherHandle] {
        for power in [false, true] {
            holds(Model { deaths: 1, nested, power, ..SMALL });
            holds(Model { writers: 2, probes: false, nested, power, ..SMALL });
        }
    }
}

/// Each flaw is found in some model, and by the rule that it breaks.
#[test]
fn every_flaw_is_found() {
    use Flaw::*;
    let owned = "a process owns a lock that does not name it";
    let open = "the gate is open over half a commit";
    let seen = "a reader sees half a commit";
    let stuck = "somebody never comes to an end";
    let one_death = Model { deaths: 1, ..SMALL };
    let two_deaths = Model { writers: 2, deaths: 2, readers: 0, ..SMALL };
    let failing = Model { failures: 1, ..SMALL };
    let failing_twice = Model { failures: 2, ..SMALL };
    let no_probes = Model { writers: 2, probes: false, ..SMALL };
    let nesting = Model { nested: Nested::OtherHandle, ..SMALL };
    let cases = [
        (LooksBeforeCounting, SMALL, seen),
        (TakesOverAnyGeneration, two_deaths, owned),
        (JudgesByTheByteAlone, one_death, stuck),
        (AttachesWithoutByteLock, two_deaths, owned),
        (OpensBetweenAttemptsToComplete, Model { readers: 2, ..one_death }, open),
        (OpensAfterAFailedCompletion, failing_twice, open),
        (TakeOverOpensTheGate, one_death, open),
        (OpensBeforeRecovery, one_death, open),
        (DoesNotDrain, SMALL, seen),
        (UnlocksHalfACommit, failing, open),
        (BuriesTheLiving, SMALL, seen),
        (NestsAcrossHandles, nesting, seen),
        (ResetsUnderOthers, Model { writers: 2, readers: 0, ..one_death }, owned),
        (ForgetsToWake, no_probes, stuck),
        (SleepsUnseen, no_probes, stuck),
        (NeverProbes, one_death, stuck),
        (WaitsForNobody, failing, stuck),
    ];
    for (flaw, model, rule) in cases {
        match explore(Model { flaw: Some(flaw), ..model }) {
            Err((broken, way)) => {
                assert_eq!(broken, rule, "{flaw:?}\n{}", told(&way));
                println!("{flaw:?}: {broken}, {} steps", way.len() - 1);
            }
            Ok(states) => panic!("{flaw:?} was not found in {states} states"),
        }
        // The same model without the flaw is sound, so that it is the flaw that was found.
        holds(model);
    }
}
