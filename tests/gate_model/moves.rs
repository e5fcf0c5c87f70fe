//! The steps: what each process may do next. One access to shared memory, or one system call, is one step.

use super::model::{Agent, At, Flaw, Model, NOBODY, Nested, Next, Slot, State, Word};

impl Model {
    pub(super) fn next(&self, s: &State, out: &mut Vec<Next>) {
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
