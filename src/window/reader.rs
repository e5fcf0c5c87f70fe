//! One reader's view of a file: what a cursor and a buffer read through.
//!
//! A reader shows the bytes of its *view*: a pinned window of the pool (mapped files) or a private buffer that
//! it loads (copied ones, and mapped ones whose windows would miss). Inside the view a read costs a
//! comparison; no lock, no atomic write, so readers of several threads do not meet.
#![forbid(unsafe_code)]

use super::file::{FileInner, WindowFile};
use super::pace::{Load, MOST, Pace};
use super::pool::Shape;
use super::region::Window;
use super::scratch::Scratch;
use super::{Access, Backend};
use crate::Result;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;

/// Reads up to this length may go past the view and its buffer. Longer ones always load.
const SMALL: usize = 256;
/// The least that a stream loads.
const STREAM: usize = 16 * 1024;
/// Cells of the grid that a reader remembers having visited.
const CELLS: usize = 8;

pub(super) struct Reader {
    file: Arc<FileInner>,
    by: &'static Location<'static>,
    /// The view: where it starts in the file, and its bytes.
    start: u64,
    len: usize,
    shows: Shows,
    /// Of the file, when the view was loaded.
    generation: u64,
    hits: u32,
    pace: Pace,
    windows: Windows,
}

enum Shows {
    Buffer(Scratch),
    Window(Window),
}

/// Whether windows serve this reader: the last 32 requests, one bit each, set for a miss.
struct Windows {
    serve: bool,
    /// Whether one window of the whole file may be tried.
    whole: bool,
    misses: u32,
    cells: [u64; CELLS],
    next: usize,
}

impl Windows {
    fn note(&mut self, miss: bool) {
        self.misses = self.misses << 1 | u32::from(miss);
    }

    /// Whether the cell was visited lately; it is now.
    fn visit(&mut self, cell: u64) -> bool {
        let seen = self.cells.contains(&cell);
        if !seen {
            self.cells[self.next] = cell;
            self.next = (self.next + 1) % CELLS;
        }
        seen
    }

    fn turn(&mut self, serve: bool) {
        self.serve = serve;
        // Off: as if all had missed. On: as if none had.
        self.misses = if serve { 0 } else { u32::MAX };
    }
}

impl Reader {
    pub(super) fn new(file: &WindowFile, by: &'static Location<'static>) -> Self {
        let file = Arc::clone(file.inner());
        let serve = file.backend() == Backend::Mmap;
        Self {
            by,
            start: 0,
            len: 0,
            shows: Shows::Buffer(Scratch::default()),
            generation: file.generation(),
            hits: 0,
            pace: Pace::default(),
            windows: Windows { serve, whole: true, misses: 0, cells: [u64::MAX; CELLS], next: 0 },
            file,
        }
    }

    #[inline]
    fn holds(&self, offset: u64, len: usize) -> bool {
        let at = offset.wrapping_sub(self.start);
        at <= self.len as u64
            && len as u64 <= self.len as u64 - at
            && self.generation == self.file.generation()
    }

    #[inline]
    fn held(&self, offset: u64, len: usize) -> &[u8] {
        let at = (offset - self.start) as usize;
        let view = match &self.shows {
            Shows::Buffer(scratch) => scratch.bytes(),
            Shows::Window(window) => window,
        };
        &view[at..at + len]
    }

    /// As many bytes from `offset`, if the view has them; whether they are inside the file is known then.
    #[inline]
    pub(super) fn in_view(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        if !self.holds(offset, len) {
            return None;
        }
        self.hits = self.hits.wrapping_add(1);
        Some(self.held(offset, len))
    }

    /// Fills `into` from bytes inside the file.
    #[inline]
    pub(super) fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        if let Some(bytes) = self.in_view(offset, into.len()) {
            into.copy_from_slice(bytes);
            return Ok(());
        }
        self.read_missed(offset, into)
    }

    #[cold]
    #[inline(never)]
    fn read_missed(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.file.check(offset, into.len())?;
        if into.len() > MOST {
            return self.file.read_all(offset, into);
        }
        let exact = if into.len() <= SMALL { 0 } else { into.len() };
        if self.load(offset, into.len(), exact)? {
            into.copy_from_slice(self.held(offset, into.len()));
            return Ok(());
        }
        self.file.read_all(offset, into)
    }

    /// Brings bytes inside the file into the view, if they fit one; `false` if they must be read elsewhere.
    pub(super) fn can_show(&mut self, offset: u64, len: usize) -> Result<bool> {
        if self.holds(offset, len) {
            self.hits = self.hits.wrapping_add(1);
            return Ok(true);
        }
        self.file.check(offset, len)?;
        if len > MOST && self.file.backend() == Backend::Pread {
            return Ok(false);
        }
        self.load(offset, len, len)
    }

    /// Bytes that [`can_show`](Self::can_show) said are in the view.
    pub(super) fn shown(&self, offset: u64, len: usize) -> &[u8] {
        self.held(offset, len)
    }

    /// Shows what is at hand from `offset` on: at least one byte, unless the file ends there.
    pub(super) fn show_some(&mut self, offset: u64) -> Result<&[u8]> {
        if !self.holds(offset, 1) {
            if offset >= self.file.len() {
                return Ok(&[]);
            }
            self.load(offset, 1, STREAM)?;
        }
        Ok(self.held(offset, self.len - (offset - self.start) as usize))
    }

    /// Whether the view has bytes at `offset`.
    pub(super) fn has(&self, offset: u64) -> bool {
        self.holds(offset, 1)
    }

    fn view(&self) -> Range<u64> {
        self.start..self.start + self.len as u64
    }

    /// Brings the bytes into the view, and with them what the pace says; if it says nothing more than the bytes,
    /// then `exact`. `false`: they are better read alone (`exact` is 0), or too long for a buffer.
    fn load(&mut self, offset: u64, len: usize, exact: usize) -> Result<bool> {
        if self.generation != self.file.generation() {
            self.generation = self.file.generation();
            self.len = 0;
        }
        if self.file.backend() == Backend::Mmap && self.load_window(offset, len) {
            return Ok(true);
        }
        if len > MOST {
            return Ok(false);
        }
        let access = self.file.access();
        let load = self.pace.miss(access, offset, &self.view(), std::mem::take(&mut self.hits));
        let (before, bytes) = match load {
            Load::Exact if exact == 0 => return Ok(false),
            Load::Exact => (0, exact),
            Load::Around(bytes) => ((bytes / 2) as u64, bytes),
            Load::Ahead(bytes) => (0, bytes),
        };
        self.load_buffer(offset, len, before, bytes)?;
        Ok(true)
    }

    fn load_buffer(&mut self, offset: u64, len: usize, before: u64, bytes: usize) -> Result<()> {
        // The file may have been seen shorter since the caller looked.
        let file_len = self.file.len();
        FileInner::check_in(file_len, offset, len)?;
        // Whole pages: the kernel copies them faster.
        let mut start = if before == 0 { offset } else { offset.saturating_sub(before) / 4096 * 4096 };
        let end = (offset + len as u64).max(start + bytes as u64).min(file_len);
        // Long bytes leave less room for those before them.
        start = start.max(end.saturating_sub(MOST as u64));
        let mut want = (end - start) as usize;
        self.len = 0;
        if matches!(self.shows, Shows::Window(_)) {
            self.shows = Shows::Buffer(Scratch::default());
        }
        let Shows::Buffer(scratch) = &mut self.shows else { unreachable!("set just now") };
        let room = scratch.reserve(self.file.pool(), want, len)?;
        if room < want {
            (start, want) = (offset, room.min((file_len - offset) as usize));
        }
        let found = self.file.read_up_to(start, scratch.fill(want))?;
        if start + (found as u64) < offset + len as u64 {
            return Err(self.file.truncated(offset + len as u64));
        }
        (self.start, self.len) = (start, found);
        Ok(())
    }

    /// Moves to the window that shows the bytes, if windows serve.
    fn load_window(&mut self, offset: u64, len: usize) -> bool {
        let size = self.file.pool().config.window_size.unwrap_or(u64::MAX);
        let cell = offset / size;
        let access = self.file.access();
        if !self.windows.serve {
            // Windows would serve again if cells are visited again and again.
            let seen = self.windows.visit(cell);
            self.windows.note(!seen);
            if self.windows.misses.count_ones() > 4 {
                return false;
            }
            self.windows.turn(true);
        }
        if let Some(region) = self.file.pool().resident(&self.file, offset, len, self.by) {
            self.windows.note(false);
            return self.show_region(region);
        }
        let goes_on = access != Access::Random && self.len > 0 && offset == self.start + self.len as u64;
        let forward = access == Access::Sequential || goes_on;
        let mut shape = Shape::Grid;
        if !forward {
            self.windows.note(true);
            let misses = self.windows.misses.count_ones();
            if misses > 2 && self.windows.whole && self.file.len() <= self.file.pool().config.memory_limit {
                shape = Shape::Whole;
            } else if misses > 8 {
                self.windows.turn(false);
                return false;
            }
        }
        // Gives up the window that it holds first: it may have to make room.
        self.shows = Shows::Buffer(Scratch::default());
        self.len = 0;
        let mut obtained = self.file.obtain(offset, len, shape, self.by);
        if shape == Shape::Whole && obtained.is_err() {
            self.windows.whole = false;
            obtained = self.file.obtain(offset, len, Shape::Grid, self.by);
        }
        match obtained {
            Ok((region, _)) => {
                if !forward {
                    region.scattered();
                }
                self.show_region(region)
            }
            // No room, or the system refuses: positioned reads need neither.
            Err(_) => {
                self.windows.turn(false);
                false
            }
        }
    }

    fn show_region(&mut self, region: Arc<super::region::Region>) -> bool {
        let (start, len) = (region.begin(), region.len());
        match Window::new(&self.file, region, start, len) {
            Ok(window) => {
                (self.start, self.len) = (start, len);
                self.shows = Shows::Window(window);
                true
            }
            Err(_) => false,
        }
    }
}
