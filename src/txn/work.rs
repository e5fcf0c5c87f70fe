//! A write transaction as the heap's code sees it: words over the write set, runs of pages, growth.

use super::fresh::Fresh;
use super::page_filter::PageFilter;
use super::word_set::{self, WordSet};
use super::write_set::{self, WriteSet};
use crate::error::{Error, Result};
use crate::failpoint::failpoint;
use crate::heap::{Heap, Load, Space};
use crate::layout::{LINE, MAX_PAGES, PAGE, Page, page_offset};
use crate::log::replay::Apply;
use crate::media::Media;

/// What a write transaction has collected. Reused from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The heap's metadata.
    pub(crate) words: WordSet,
    /// What is in blocks.
    pub(crate) set: WriteSet,
    pub(crate) fresh: Fresh,
    /// Committed runs that were freed; they join the free tree at commit.
    pub(crate) deferred: Vec<(Page, u32)>,
    /// The heap's end was moved: the file's length has to be durable before the record.
    pub(crate) grown: bool,
    /// Runs were taken or given back: other handles' hints no longer hold.
    pub(crate) moved_runs: bool,
    /// Words of metadata were changed that are no slots' states.
    pub(super) layout_changed: bool,
    /// The pages in which these are: most words of the layout that are looked at are in others, and need no look among those that were changed.
    layout: PageFilter,
    /// Bytes could not be written in place: some call did a part of what it should.
    pub(crate) torn: bool,
}

/// Where a save point stands in the changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChangesMark {
    words: word_set::Mark,
    set: write_set::Mark,
    fresh: (u64, u64),
    deferred: usize,
    torn: bool,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
            && self.set.is_empty()
            && !self.set.has_save_points()
            && self.deferred.is_empty()
            && !self.grown
            && !self.torn
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.set.clear();
        self.fresh.clear();
        self.deferred.clear();
        self.grown = false;
        self.moved_runs = false;
        if std::mem::take(&mut self.layout_changed) {
            self.layout.clear();
        }
        self.torn = false;
    }

    /// Calls `each` with offset and words of all that was changed: content, then metadata, which counts where both were; each in ascending order.
    pub(crate) fn in_order(&self, mut each: impl FnMut(u64, &[u64]) -> Result<()>) -> Result<()> {
        self.set.sorted_changes().try_for_each(|(offset, words)| each(offset, words))?;
        self.words.sorted().into_iter().try_for_each(|(offset, word)| each(offset, &[word]))
    }

    pub(crate) fn mark(&mut self) -> ChangesMark {
        ChangesMark {
            words: self.words.mark(),
            set: self.set.mark(),
            fresh: self.fresh.mark(),
            deferred: self.deferred.len(),
            torn: self.torn,
        }
    }

    pub(crate) fn roll_back(&mut self, mark: ChangesMark) {
        self.words.roll_back(mark.words);
        self.set.roll_back(mark.set);
        self.fresh.roll_back(mark.fresh);
        self.deferred.truncate(mark.deferred);
        self.torn = mark.torn;
    }

    pub(crate) fn release(&mut self, mark: ChangesMark) {
        self.words.release(mark.words);
        self.set.release();
        self.fresh.release(mark.fresh);
    }
}

/// The changes together with the file they are of.
pub(crate) struct Work<'a> {
    pub(crate) media: &'a Media,
    pub(crate) changes: &'a mut Changes,
    pub(crate) apply: Apply,
}

/// A word of the committed state.
#[inline]
pub(crate) fn load_committed(media: &Media, offset: u64) -> Result<u64> {
    media.load(offset).ok_or_else(|| no_word(offset))
}

/// Bytes of a block in the committed state.
#[inline]
pub(crate) fn view_committed(media: &Media, offset: u64, len: u64) -> Result<&[u8]> {
    // What keeps the bytes as they are is the parent's lock or count, which ends without this process.
    if media.is_forked() {
        return Err(Error::Forked);
    }
    let bytes = media.view(offset, len);
    bytes.ok_or_else(|| Error::corrupt(offset, "a block reaches past the end of the file"))
}

/// Has the first bytes of a block fetched into the cache.
#[inline]
pub(crate) fn prefetch_committed(media: &Media, offset: u64) {
    media.prefetch(offset, 2 * LINE);
}

/// Has the ends of a place fetched that is likely to be filled soon.
#[inline(always)]
pub(super) fn prefetch_place(media: &Media, offset: u64, len: u64) {
    // Where others allocate too the place may be theirs by then, and its lines would move from core to core for nothing.
    if media.runtime().slots_used() == 1 {
        media.prefetch(offset, len);
    }
}

#[cold]
fn no_word(offset: u64) -> Error {
    Error::corrupt(offset, "the heap's metadata leads outside the file or to no word")
}

impl Changes {
    /// A word of the heap's metadata.
    #[inline(always)]
    pub(crate) fn load(&self, media: &Media, offset: u64) -> Result<u64> {
        if offset.is_multiple_of(8)
            && let Some(word) = self.words.load(offset)
        {
            return Ok(word);
        }
        load_committed(media, offset)
    }
}

impl Load for Work<'_> {
    #[inline(always)]
    fn load(&self, offset: u64) -> Result<u64> {
        self.changes.load(self.media, offset)
    }

    #[inline(always)]
    fn load_layout(&self, offset: u64) -> Result<u64> {
        let changes = &self.changes;
        if changes.layout_changed && changes.layout.may_have(offset / PAGE) {
            return self.load(offset);
        }
        load_committed(self.media, offset)
    }

    #[inline(always)]
    fn load_states(&self, offset: u64) -> Result<u64> {
        if !offset.is_multiple_of(8) {
            return Err(no_word(offset));
        }
        match self.changes.words.load_again(offset) {
            Ok(word) => Ok(word),
            Err(vacant) => {
                let word = load_committed(self.media, offset)?;
                self.changes.words.keep_vacant(vacant);
                Ok(word)
            }
        }
    }
}

impl Work<'_> {
    /// Changes bytes of the heap: straight in the file where that is fresh space filled in place and the piece is large,
    /// otherwise in the write set.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let direct = self.apply == Apply::Store || bytes.len() as u64 >= PAGE;
        if direct && self.changes.fresh.may_fill(offset, bytes.len() as u64) {
            return self.fill(offset, bytes);
        }
        self.changes.set.write(offset, bytes, self.media)
    }

    /// Writes the first content of the block that was just allocated.
    #[inline]
    pub(crate) fn write_new(&mut self, heap: &Heap, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.may_fill_last(heap) {
            return self.fill(offset, bytes);
        }
        self.write(offset, bytes)
    }

    /// Whether the block that was just allocated may be written in place: where stores cost nothing, and the place is free in the
    /// committed state, that needs no log, for nobody else reaches it before the commit. Not under a save point: a block that
    /// was there when it was made may have filled the same place so, and rolling back has to find it as it was.
    #[inline]
    pub(crate) fn may_fill_last(&self, heap: &Heap) -> bool {
        self.apply == Apply::Store && !self.changes.set.has_save_points() && heap.is_in_free_place()
    }

    /// Has the content of such a block written by `fill`.
    #[inline]
    pub(crate) fn fill_with(&mut self, offset: u64, len: u64, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.media.store_with(offset, len, fill)?;
        if let Some(bytes) = self.media.view(offset, len) {
            self.changes.set.overwrite_shadows(offset, bytes);
        }
        Ok(())
    }

    /// Changes a word of the heap's metadata.
    #[inline(always)]
    fn change(&mut self, offset: u64, word: u64) -> Result<()> {
        // What cannot be applied must not get into a record.
        load_committed(self.media, offset)?;
        self.changes.words.store(offset, word);
        Ok(())
    }

    fn fill(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let filled = self.apply.bytes(self.media, offset, bytes);
        // A child of fork writes nothing, not even in part.
        self.changes.torn |= filled.as_ref().is_err_and(|e| !matches!(e, Error::Forked));
        filled?;
        self.changes.set.overwrite_shadows(offset, bytes);
        Ok(())
    }
}

impl Space for Work<'_> {
    #[inline(always)]
    fn store_states(&mut self, offset: u64, word: u64) -> Result<()> {
        if offset.is_multiple_of(8) && self.changes.words.store_again(offset, word) {
            return Ok(());
        }
        self.change(offset, word)
    }

    #[inline]
    fn store(&mut self, offset: u64, word: u64) -> Result<()> {
        self.changes.layout_changed = true;
        self.changes.layout.add(offset / PAGE);
        self.change(offset, word)
    }

    #[inline(always)]
    fn prefetch(&self, offset: u64, len: u64) {
        if self.apply == Apply::Store {
            prefetch_place(self.media, offset, len);
        }
    }

    fn fill_fresh(&mut self, offset: u64, words: &[u64]) -> Result<bool> {
        let may =
            self.apply == Apply::Store && self.changes.fresh.may_fill(offset, size_of_val(words) as u64);
        if may {
            self.fill(offset, bytemuck::cast_slice(words))?;
        }
        Ok(may)
    }

    #[inline]
    fn used_before(&self, offset: u64) -> u64 {
        match self.apply {
            Apply::Store => self.media.load(offset).unwrap_or(u64::MAX),
            Apply::Write => 0,
        }
    }

    fn grow(&mut self, from: Page, end: Page) -> Result<Page> {
        let limit = (self.media.capacity() / PAGE).min(MAX_PAGES);
        let needed = page_offset(end);
        if u64::from(end) > limit {
            return Err(Error::MaxSize { needed, max: limit * PAGE });
        }
        if !self.media.is_in_place() {
            return Err(Error::Replaced { path: self.media.path().to_owned() });
        }
        // Only the owner of the writer lock cuts the file, and not so short: then it was somebody else, and it lacks blocks.
        let (least, now) = (page_offset(from), self.media.refresh_len()?);
        if now < least {
            return Err(Error::Truncated { needed: least, found: now });
        }
        self.media.reserve_tail(least)?;
        let now = now / PAGE;
        if now < u64::from(end) {
            // What is left at the end of the address space is for records too long for the log, as long as blocks do not need it.
            let most = u64::from(end).max(limit - limit / 16);
            let generous = (self.media.good_len(now * PAGE, needed) / PAGE).min(most);
            match self.media.grow(generous * PAGE) {
                // Where a large step does not fit on the disk any more, or under the limit of a file's length, what is needed may.
                Err(e) if e.is_want_of_space() && generous > u64::from(end) => self.media.grow(needed)?,
                other => other?,
            }
        }
        failpoint("grow: file longer");
        self.changes.grown = true;
        Ok((self.media.len() / PAGE).min(limit) as Page)
    }

    fn run_taken(&mut self, page: Page, pages: u32, punched: bool) -> Result<()> {
        if punched {
            self.media.reserve(page_offset(page), page_offset(pages))?;
        }
        self.changes.moved_runs = true;
        self.changes.fresh.take(page, pages, self.apply == Apply::Store);
        Ok(())
    }

    fn run_is_fresh(&self, page: Page, pages: u32) -> bool {
        self.changes.fresh.covers(page, pages)
    }

    fn run_dropped(&mut self, page: Page, pages: u32, metadata: u64) {
        self.changes.moved_runs = true;
        self.changes.fresh.drop_run(page, pages);
        self.changes.words.forget(page_offset(page), metadata);
    }

    fn run_deferred(&mut self, page: Page, pages: u32) -> Result<()> {
        self.changes.moved_runs = true;
        self.changes.deferred.push((page, pages));
        Ok(())
    }

    fn zero_run(&mut self, page: Page, pages: u32) -> Result<()> {
        let (mut at, end) = (page_offset(page), page_offset(page) + page_offset(pages));
        if self.changes.fresh.may_fill(at, end - at) {
            let zeros = [0u8; PAGE as usize * 4];
            while at < end {
                let n = (end - at).min(zeros.len() as u64);
                // Whoever asks gives the run back if this fails: nothing is torn then.
                self.apply.bytes(self.media, at, &zeros[..n as usize])?;
                self.changes.set.overwrite_shadows(at, &zeros[..n as usize]);
                at += n;
            }
            return Ok(());
        }
        (at..end).step_by(8).try_for_each(|word| self.store(word, 0))
    }
}
