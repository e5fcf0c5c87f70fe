//! How long a run goes on, on how many threads, and where its counts go.

#![forbid(unsafe_code)]

use crate::state::State;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What all runs can be told that go from one piece of work to the next.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Effort {
    #[command(flatten)]
    pub(crate) limit: Limit,
    /// File of seeds and counts, made if it is not there; runs add up in it
    #[arg(long)]
    state: Option<PathBuf>,
    /// Pieces of work at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) state: State,
    /// How much was done: images, kills or executions.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Nothing was found to be wrong.
    pub(crate) well: bool,
}

impl Effort {
    /// Goes from one piece of work to the next, until the limit or until something is wrong. `one` says how much it did, or what is wrong.
    pub(crate) fn run(
        &self,
        one: impl Fn(&Mutex<State>) -> io::Result<Result<u64, String>> + Sync,
    ) -> io::Result<Done> {
        let begun = Instant::now();
        let state = Mutex::new(State::new(self.state.clone()));
        let (count, well) = (AtomicU64::new(0), AtomicBool::new(true));
        let work = || {
            while well.load(Relaxed) && !self.limit.is_reached(begun, count.load(Relaxed)) {
                match one(&state)? {
                    Ok(n) => drop(count.fetch_add(n, Relaxed)),
                    Err(what) => {
                        well.store(false, Relaxed);
                        eprintln!("VIOLATION: {what}");
                    }
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
        })
        .map(|()| Done {
            state: state.into_inner().expect("no worker panicked"),
            count: count.into_inner(),
            seconds: begun.elapsed().as_secs_f64(),
            well: well.into_inner(),
        })
    }
}

/// So many seconds, or so much work, whichever comes first.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Limit {
    /// Stop after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Stop when so much has been done: images, kills or executions
    #[arg(long)]
    count: Option<u64>,
}

impl Limit {
    /// The count that was asked for, or `default`.
    pub(crate) fn count_or(&self, default: u64) -> u64 {
        self.count.unwrap_or(default)
    }

    /// Whether to stop, having begun then and done so much. Without any limit: after a minute.
    pub(crate) fn is_reached(&self, begun: Instant, done: u64) -> bool {
        let seconds = match (self.seconds, self.count) {
            (None, None) => Some(60),
            (seconds, _) => seconds,
        };
        seconds.is_some_and(|n| begun.elapsed() >= Duration::from_secs(n))
            || self.count.is_some_and(|n| done >= n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(count: u64, jobs: usize) -> Effort {
        Effort { limit: Limit { seconds: None, count: Some(count) }, state: None, jobs }
    }

    #[test]
    fn goes_on_until_enough_is_done() {
        let done = effort(100, 3).run(|_| Ok(Ok(7))).unwrap();
        assert!(done.well && (105..=119).contains(&done.count), "{done:?}");
    }

    #[test]
    fn ends_when_something_is_wrong() {
        let done = effort(100, 2).run(|_| Ok(Err("as the test wants it".to_owned()))).unwrap();
        assert!(!done.well && done.count == 0, "{done:?}");
        let told = effort(100, 1).run(|_| Err(io::Error::other("no state")));
        assert_eq!(told.unwrap_err().to_string(), "no state");
    }
}
