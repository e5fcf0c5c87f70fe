//! Runs of the heap that the log's ring lies in.
//!
//! A log that became too short for its heap goes on in a run of this heap; see `arena::log_place`. There are two at most: the one
//! that the newest checkpoint slot names, and one that is about to take its place or has just lost it. The header names both, so that
//! whatever a death leaves behind is found again.
//!
//! Nothing is ever changed in such a run through a transaction: it is listed as filled in place, so that replay leaves it alone.

use super::Heap;
use super::map::{log_entry, log_pages};
use super::space::{Load, Space};
use crate::error::{Error, Result};
use crate::layout::LogPlace;

impl Heap {
    /// The runs that the log has, where there are any.
    pub(crate) fn log_runs<L: Load>(&self, l: &L) -> Result<[LogPlace; 2]> {
        let [a, b] = self.header.logs_at();
        Ok([LogPlace::of_word(l.load(a)?), LogPlace::of_word(l.load(b)?)])
    }

    /// Whether the page map has this run as the log's, so that no block lies in it.
    pub(crate) fn is_log_run<L: Load>(&self, l: &L, run: LogPlace) -> Result<bool> {
        let end = self.header.end(l)?;
        let inside =
            run.page > self.header.first && run.page.checked_add(run.pages).is_some_and(|to| to <= end);
        Ok(inside && log_pages(self.header.entry(l, run.page)?) == Some(run.pages))
    }

    /// Takes a run of `pages` pages, of undefined content, for the log; there must be one at most already.
    pub(crate) fn take_log_run<S: Space>(&mut self, s: &mut S, pages: u32) -> Result<LogPlace> {
        let run = LogPlace { page: self.take_run(s, pages)?, pages };
        self.header.set_entry(s, run.page, log_entry(pages))?;
        for at in self.header.logs_at() {
            if s.load(at)? == 0 {
                s.store(at, run.word())?;
                return Ok(run);
            }
        }
        Err(Error::corrupt(self.header.logs_at()[0], "the log has two runs of the heap already"))
    }

    /// Frees all runs that the log has, but `kept`.
    pub(crate) fn free_log_runs<S: Space>(&mut self, s: &mut S, kept: LogPlace) -> Result<()> {
        for at in self.header.logs_at() {
            let word = s.load(at)?;
            if word == 0 || word == kept.word() {
                continue;
            }
            let run = LogPlace::of_word(word);
            if !self.is_log_run(s, run)? {
                return Err(Error::corrupt(at, "the page map has no run of the log there"));
            }
            s.store(at, 0)?;
            self.header.set_entry(s, run.page, 0)?;
            self.give_run(s, run.page, run.pages, 0)?;
        }
        Ok(())
    }
}
