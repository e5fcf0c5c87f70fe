//! Progress on stderr: only for people, and only once something has taken a second.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long something may take before progress is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar for work whose amount is known. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    what: &'static str,
    total: u64,
    begun: Instant,
    shown: Option<ProgressBar>,
    allowed: bool,
}

impl Bar {
    /// `total` in whatever unit `set` is told.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, begun: Instant::now(), shown: None, allowed: stderr().is_terminal() }
    }

    /// A bar that never shows, for when something else is written to the same terminal.
    pub(crate) fn hidden() -> Self {
        let mut bar = Self::new("", 0);
        bar.allowed = false;
        bar
    }

    /// How much is done.
    pub(crate) fn set(&mut self, done: u64) {
        if self.shown.is_none() && self.allowed && self.begun.elapsed() >= PATIENCE {
            let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr())
                .with_elapsed(self.begun.elapsed())
                .with_message(self.what);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %  {eta} left") {
                bar.set_style(style);
            }
            self.shown = Some(bar);
        }
        if let Some(bar) = &self.shown {
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// A sign of life for work that does not say how far it is. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Spinner {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Spinner {
    pub(crate) fn new(what: &'static str) -> Self {
        if !stderr().is_terminal() {
            return Self { running: None };
        }
        let (done, ended) = channel();
        let thread = std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
                    .with_elapsed(PATIENCE)
                    .with_message(what);
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
                    spinner.set_style(style);
                }
                spinner.enable_steady_tick(Duration::from_millis(100));
                let _ = ended.recv();
                spinner.finish_and_clear();
            }
        });
        Self { running: Some((done, thread)) }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.running.take() {
            drop(done);
            // A spinner that panicked is not worth an error.
            let _ = thread.join();
        }
    }
}
