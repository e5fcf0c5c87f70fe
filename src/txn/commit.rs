//! From a write transaction's changes to the committed state.
//!
//! The order, which is the promise (DESIGN of the log, `docs/ARCHITECTURE.md`, life of a commit):
//! freed runs join the free tree; fresh runs are filled in place; the record is built; `Power`: what was filled in place and the
//! file's new length are synced, the record becomes durable; `Process`: the record lies in the intent area and becomes
//! valid; only then is anything of it applied. Until the record counts, every error leaves the committed state untouched.

use super::apply::{apply_all, apply_record};
use super::gather::{Gather, Joins};
use super::work::{Changes, Work};
use super::write::State;
use crate::arena::Inner;
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::layout::{PAGE, Page, page_offset};
use crate::log::intent;
use crate::log::power::{Appended, PowerLog, fits_into};
use crate::log::record::{Body, offset_of_write, spill_pages};
use crate::log::replay::Apply;
use crate::log::ring::Cursor;
use crate::media::{Media, Ready};
use crate::runtime::{Intent, Runtime};
use crate::sabotage::{Break, broken};

/// How a commit went.
pub(crate) enum Outcome {
    Done,
    /// The log is more than three quarters full; a checkpoint up to this head should follow, without the lock. `scattered`: it writes more than twice what the log took.
    CheckpointDue {
        head: Cursor,
        scattered: bool,
    },
    /// The record had to be spilled, though the heap may have a log that would have held it.
    LogShort {
        scattered: bool,
    },
}

/// Commits `state`. The writer lock is held; on success the changes are applied. `Error::Poisoned`: the outcome is in doubt until the next owner of the lock
/// finds it out; see [`Inner::settled`].
pub(crate) fn run(arena: &Inner, state: &mut State) -> Result<Outcome> {
    failpoint("commit: begin");
    arena.may_wait_for_readers()?;
    let media = arena.media();
    let end = join_deferred(arena, state)?;
    let power = arena.power_log();
    let in_place = match power {
        Some(_) => build_power(arena, &state.changes, &mut state.body)?,
        None => build_process(arena, state)?,
    };
    if state.body.is_empty() {
        return Ok(Outcome::Done);
    }
    failpoint("commit: in place filled");
    let runtime = media.runtime();
    if state.changes.moved_runs || end != state.end {
        runtime.set_layout(runtime.sequence().wrapping_add(1));
    }
    let outcome = match power {
        Some(log) => {
            let sync_first = in_place || state.changes.grown;
            commit_power(arena, log, runtime, state, end, sync_first)?
        }
        None => {
            commit_process(arena, runtime, &state.body, end)?;
            Outcome::Done
        }
    };
    (state.sequence, state.end) = (runtime.sequence(), end);
    arena.saw_own_commit(state.sequence, end);
    state.changes.clear();
    state.heap.committed();
    failpoint("commit: done");
    Ok(outcome)
}

/// Committed runs that the transaction freed become free extents, last of all. Returns where the heap ends.
#[inline]
pub(super) fn join_deferred(arena: &Inner, state: &mut State) -> Result<Page> {
    // Where the heap ends is a word of its layout.
    if state.end != 0 && !state.changes.layout_changed && state.changes.deferred.is_empty() {
        return Ok(state.end);
    }
    let mut work = Work { media: arena.media(), changes: &mut state.changes, apply: arena.apply() };
    for (page, pages) in std::mem::take(&mut work.changes.deferred) {
        state.heap.join_free(&mut work, page, pages)?;
    }
    state.heap.open(&work)
}

/// Fills fresh runs in place and collects everything else as the record: content, then metadata, each in ascending order. Returns whether anything was filled in place.
fn build_power(arena: &Inner, changes: &Changes, body: &mut Body) -> Result<bool> {
    body.clear();
    let runs = changes.fresh.in_place_runs();
    for &(page, pages) in &runs {
        body.range(page, pages);
    }
    let mut fill = Gather::new(arena.media(), arena.apply(), Joins::Fresh);
    let mut in_place = changes.fresh.in_place_finder();
    changes.in_order(|offset, words| {
        if in_place(offset) {
            return fill.push(offset, words).map(drop);
        }
        body.write(offset, words);
        Ok(())
    })?;
    fill.flush()?;
    Ok(!runs.is_empty())
}

/// The same for a `Process` arena. Also makes the pages that the record changes ready for stores, so that none of its application can fail.
#[inline]
fn build_process(arena: &Inner, state: &mut State) -> Result<bool> {
    let State { changes, body, ready, .. } = state;
    let (media, apply) = (arena.media(), arena.apply());
    body.clear();
    let mut in_place = changes.fresh.in_place_finder();
    for (offset, words) in changes.set.changes() {
        if in_place(offset) {
            apply.words(media, offset, words)?;
            continue;
        }
        // A run lies in one line, thus in one page.
        if apply == Apply::Store {
            make_ready(media, ready, offset)?;
        }
        body.write(offset, words);
    }
    for entries in changes.words.runs() {
        if apply == Apply::Store {
            entries.iter().try_for_each(|entry| make_ready(media, ready, offset_of_write(entry[0])))?;
        }
        body.single_words(entries);
    }
    Ok(false)
}

/// Makes the page of `offset` ready for stores.
#[inline(always)]
pub(super) fn make_ready(media: &Media, ready: &mut Ready, offset: u64) -> Result<()> {
    let page = offset / PAGE;
    ready.ensure(page, || media.populate(page * PAGE, PAGE))
}

fn commit_power(
    arena: &Inner,
    log: &PowerLog,
    runtime: Runtime<'_>,
    state: &mut State,
    end: Page,
    mut sync_first: bool,
) -> Result<Outcome> {
    let State { body, dense, ready, .. } = state;
    let media = arena.media();
    let spill = log.must_spill(runtime, body);
    if spill {
        let pages = spill_pages(body.words().len() as u64);
        reserve_spill(media, end, pages)?;
        media.write(page_offset(end), bytemuck::cast_slice(body.words()))?;
        failpoint("commit: spill written");
        sync_first = true;
    }
    if sync_first && !broken(Break::NoSyncFirst) {
        // Rule 1: whoever can read the record can rely on what it lists.
        runtime.no_failed_sync()?;
        runtime.synced(media.sync())?;
        failpoint("commit: in place synced");
        runtime.no_failed_sync()?;
    }
    let spill_page = spill.then_some(end);
    if broken(Break::ApplyBeforeFlush) {
        apply_all(arena, body.parsed().writes())?;
    }
    let Appended { next, body_at } = match log.append(media, runtime, body, end, spill_page) {
        Ok(appended) => appended,
        // Before the ring was touched the outcome is known: nothing happened.
        Err(e) if !runtime.in_doubt() => return Err(e),
        Err(_) => return Err(Error::Poisoned { why: "its log record could not be written" }),
    };
    if let Err(busy) = arena.shut_gate() {
        return Err(match log.void(media, runtime, next, end) {
            Ok(()) => {
                if spill {
                    // The log must not lead to the extent any more when the heap grows into it. A failure is remembered as a
                    // failed sync, and keeps the next writer out until it is mended.
                    let _ = log.checkpoint_now(media, runtime);
                }
                runtime.set_in_doubt(false);
                busy
            }
            Err(_) => Error::Poisoned {
                why: "it is durable, but the readers would not go and it could not be taken back",
            },
        });
    }
    apply_record(arena, dense, ready, body, body_at)?;
    log.applied(runtime, next);
    let used = log.used(runtime);
    let took = used + if spill { size_of_val(body.words()) as u64 } else { 0 };
    let scattered = dense.changed_bytes(runtime.log().generation) > 2 * took;
    if spill {
        if broken(Break::CutBeforeCheckpoint) {
            cut(media, end);
        }
        // The record must not be needed any more when its extent goes. Whoever comes after a death in between has to see to that
        // first, for the heap may grow over the extent: so the doubt ends only now. A checkpoint that failed has set the
        // sync-failed word, which demands the same of the next writer.
        let checkpointed = log.checkpoint_now(media, runtime);
        runtime.set_in_doubt(false);
        if checkpointed.is_ok() {
            cut(media, end);
            if arena.longest_log(scattered).is_ok_and(|len| fits_into(len, body)) {
                return Ok(Outcome::LogShort { scattered });
            }
        }
        return Ok(Outcome::Done);
    }
    runtime.set_in_doubt(false);
    if used > log.capacity(runtime) / 4 * 3 {
        return Ok(Outcome::CheckpointDue { head: log.checkpoint_begin(runtime), scattered });
    }
    Ok(Outcome::Done)
}

fn commit_process(arena: &Inner, runtime: Runtime<'_>, body: &Body, end: Page) -> Result<()> {
    let media = arena.media();
    arena.mark_changed(runtime)?;
    let superblock = arena.superblock();
    let spilled = !intent::fits(superblock, body);
    let page = if spilled { end } else { superblock.intent_page };
    if spilled {
        reserve_spill(media, end, intent::spill_len(body))?;
    }
    let sequence = runtime.sequence().wrapping_add(1);
    intent::prepare(media, page, body, sequence, end, arena.apply())?;
    let apply = || apply_all(arena, body.parsed().writes());
    carry_out(arena, runtime, Intent { page, spilled }, sequence, apply)?;
    if spilled {
        cut(media, end);
    }
    Ok(())
}

/// Makes a prepared record of a `Process` arena count, and has it applied.
#[inline(always)]
pub(super) fn carry_out(
    arena: &Inner,
    runtime: Runtime<'_>,
    intent: Intent,
    sequence: u64,
    apply: impl FnOnce() -> Result<()>,
) -> Result<()> {
    failpoint("commit: intent prepared");
    arena.shut_gate()?;
    runtime.set_intent(intent);
    failpoint("commit: intent valid");
    apply()?;
    runtime.set_sequence(sequence);
    runtime.clear_intent();
    Ok(())
}

/// Makes room for a record's body past the heap's end.
fn reserve_spill(media: &Media, end: Page, pages: u64) -> Result<()> {
    let needed = page_offset(end) + pages * PAGE;
    if needed > media.capacity() {
        return Err(Error::MaxSize { needed, max: media.capacity() });
    }
    media.reserve_tail(page_offset(end))?;
    media.grow(needed)
}

/// Gives back the space past the heap's end.
fn cut(media: &Media, end: Page) {
    // The commit stands whether or not the space is given back.
    let _ = media.cut(page_offset(end));
}
