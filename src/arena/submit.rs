//! Group commit: changes of several threads in one commit, for one flush of the disk.
//!
//! Threads that call [`Arena::submit`] queue up. The first opens a write transaction; each makes its change in it, in turn, on its
//! own thread and in a save point of its own, and leaves it open for the next. Whoever finds that nobody waits any more, or that
//! the batch is large or old enough, commits for all, and tells them. While a commit is being flushed the next batch queues up, so batches are as
//! large as the disk is slow. Threads that were in the last batch are likely to come again: for half the time that its commit took, the next one is
//! kept open for them. One member watches over that; the others go to sleep once, until the commit is done, for to wake a thread costs a good part
//! of what a flush does.
//!
//! Invariants: whoever leaves the batch open has seen, under the mutex, a thread that will take the mutex after it and is
//! responsible then, or a member that watches and comes back, or does so itself; so a batch never waits for somebody who does not come. Between two members the writer lock belongs to the batch,
//! not to a thread; the mutex keeps all others of this handle away from the transaction's state. A change that fails or panics is rolled back alone.

use super::Inner;
use crate::error::{Error, Result};
use crate::txn::WriteTxn;
use crate::txn::commit::Outcome;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A batch is committed when it is so old, though others wait.
const LONGEST: Duration = Duration::from_millis(1);

/// The queue of one handle.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Threads that are about to take the mutex.
    waiting: AtomicUsize,
    batches: Mutex<Batches>,
    /// The batch that a member watched over is committed.
    gathered: Condvar,
}

#[derive(Debug, Default)]
struct Batches {
    open: Option<Batch>,
    /// Members of the one before, and how long its commit took.
    last_members: usize,
    last_took: Duration,
}

impl Group {
    /// Waits for members of the batch before, if they may yet come and nobody else does.
    fn watch<'g>(
        &'g self,
        mut batches: MutexGuard<'g, Batches>,
        ending: &Arc<Ending>,
    ) -> MutexGuard<'g, Batches> {
        let pause = (batches.last_took / 2).min(LONGEST);
        let somebody_comes = self.waiting.load(Ordering::SeqCst) > 0;
        if somebody_comes || !batches.is_gathering() || !batches.watch(ending) {
            return batches;
        }
        (batches, _) = self
            .gathered
            .wait_timeout_while(batches, pause, |batches| batches.has_open(ending) && batches.is_gathering())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = batches.open_with(ending) {
            batch.is_watched = false;
        }
        batches
    }

    /// Whether a member that has made its change is to commit the batch: if it has been open for long enough, or nobody waits who would be responsible
    /// from now on, nor watches.
    fn is_to_commit(&self, batches: &Batches, ending: &Arc<Ending>) -> bool {
        let is_watched =
            batches.is_gathering() && batches.open.as_ref().is_some_and(|batch| batch.is_watched);
        let is_left = !is_watched && self.waiting.load(Ordering::SeqCst) == 0;
        batches.has_open(ending) && (batches.is_due() || is_left)
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batches {
    /// Whether the open batch has to be committed whoever waits.
    fn is_due(&self) -> bool {
        self.open.as_ref().is_some_and(|batch| batch.is_large || batch.since.elapsed() >= LONGEST)
    }

    /// Whether the batch that ends so is the open one.
    fn has_open(&self, ending: &Arc<Ending>) -> bool {
        self.open.as_ref().is_some_and(|batch| Arc::ptr_eq(&batch.ending, ending))
    }

    /// The open batch, if that is the one that ends so.
    fn open_with(&mut self, ending: &Arc<Ending>) -> Option<&mut Batch> {
        self.open.as_mut().filter(|batch| Arc::ptr_eq(&batch.ending, ending))
    }

    /// Has a member watch over the open batch, if that is the one that ends so and nobody does.
    fn watch(&mut self, ending: &Arc<Ending>) -> bool {
        self.open_with(ending).is_some_and(|batch| !std::mem::replace(&mut batch.is_watched, true))
    }

    /// Whether members of the batch before may yet come.
    fn is_gathering(&self) -> bool {
        !self.is_due() && self.open.as_ref().is_some_and(|batch| batch.members < self.last_members)
    }
}

/// A transaction in which members have made their changes, not yet committed. The writer lock is held for it.
#[derive(Debug)]
struct Batch {
    since: Instant,
    members: usize,
    is_large: bool,
    /// A member waits for others to come, and will commit if they do not.
    is_watched: bool,
    ending: Arc<Ending>,
}

/// How a batch ended, once it has.
#[derive(Debug, Default)]
struct Ending(OnceLock<Result<(), Arc<Error>>>);

impl Ending {
    fn tell(&self, outcome: Result<(), Arc<Error>>) {
        // Told twice only by a commit that unwinds after its end; the first outcome holds.
        let _ = self.0.set(outcome);
    }

    fn wait(&self) -> Result<()> {
        match self.0.wait() {
            Err(cause) => Err(Error::Group { cause: Arc::clone(cause) }),
            Ok(()) => Ok(()),
        }
    }
}

/// Tells the members that their batch is lost, if its commit unwinds.
struct Lost<'a>(&'a Inner, &'a Ending);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.1.tell(Err(Arc::new(self.0.poison("the commit of a group was cut off by a panic"))));
    }
}

/// Makes a change in the batch that is open, or a new one, and returns when it is committed.
pub(super) fn run<T, E: From<Error>>(
    arena: &Inner,
    change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E>,
) -> Result<T, E> {
    arena.may_begin_write()?;
    let group = &arena.group;
    // Who waits for the mutex waits for somebody who waits for the lock.
    let begun = Instant::now();
    group.waiting.fetch_add(1, Ordering::SeqCst);
    let mut batches = group.lock();
    group.waiting.fetch_sub(1, Ordering::SeqCst);
    if batches.open.is_none() {
        arena.open_batch(begun)?;
    }
    let batch = batches.open.get_or_insert_with(|| Batch {
        since: Instant::now(),
        members: 0,
        is_large: false,
        is_watched: false,
        ending: Arc::default(),
    });
    let ending = Arc::clone(&batch.ending);
    let (outcome, is_large) = take_part(arena, change);
    if arena.is_forked() {
        // The batch is the parent's, and nobody here ends it.
        return outcome.unwrap_or_else(|panic| resume_unwind(panic)).and(Err(Error::Forked.into()));
    }
    (batch.members, batch.is_large) = (batch.members + 1, is_large);
    batches = group.watch(batches, &ending);
    let mut due = Outcome::Done;
    if group.is_to_commit(&batches, &ending) {
        batches.last_members = batches.open.take().map_or(0, |batch| batch.members);
        let begun = Instant::now();
        due = commit(arena, &ending);
        batches.last_took = begun.elapsed();
        group.gathered.notify_all();
    }
    drop(batches);
    let committed = ending.wait();
    arena.follow_up(due);
    match outcome {
        Ok(done) => {
            let value = done?;
            committed?;
            Ok(value)
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// Commits the batch and tells its members.
fn commit(arena: &Inner, ending: &Ending) -> Outcome {
    let lost = Lost(arena, ending);
    let committed = arena.commit_batch();
    std::mem::forget(lost);
    match committed {
        Ok(due) => {
            ending.tell(Ok(()));
            due
        }
        Err(error) => {
            ending.tell(Err(Arc::new(error)));
            Outcome::Done
        }
    }
}

/// Makes one member's change; what fails leaves nothing behind. Also returns whether the batch is large now.
fn take_part<T, E: From<Error>>(
    arena: &Inner,
    change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E>,
) -> (std::thread::Result<Result<T, E>>, bool) {
    let mut tx = WriteTxn::join(arena);
    let before = tx.save_point();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let value = change(&mut tx)?;
        tx.may_commit()?;
        // Whoever commits would wait for it.
        arena.may_wait_for_readers()?;
        Ok(value)
    }));
    let kept = if matches!(outcome, Ok(Ok(_))) { Ok(()) } else { tx.roll_back_to(&before) };
    if kept.and_then(|()| tx.release(before)).is_err() {
        // Only a transaction that was exchanged for another does not know its save point.
        let error = arena.poison("the transaction of a group was exchanged for another one");
        return (Ok(Err(error.into())), true);
    }
    (outcome, tx.changed_bytes() >= arena.batch_bytes())
}
