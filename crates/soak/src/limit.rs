//! How long a run goes on.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

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
