//! The picture before it is shown: cells of equal length, and how much of each is of which kind.

use crate::usage::{Kind, Usage};

const PAGE: u64 = 4096;
const KINDS: usize = Kind::ALL.len();

/// What there is to show.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) file_bytes: u64,
    pub(super) heap_offset: u64,
    pub(super) columns: u64,
    pub(super) cells: Cells,
    pub(super) usage: Usage,
}

impl Picture {
    pub(super) fn new(file_bytes: u64, heap_offset: u64, columns: u64, rows: u64) -> Self {
        // A power of two of pages, so that offsets stay round numbers.
        let bytes = file_bytes.div_ceil(columns * rows).div_ceil(PAGE).max(1).next_power_of_two() * PAGE;
        let cells = Cells { bytes, shares: Vec::new() };
        Self { file_bytes, heap_offset, columns, cells, usage: Usage::default() }
    }
}

/// Bytes of each kind, cell by cell.
#[derive(Debug)]
pub(super) struct Cells {
    /// Length of a cell.
    pub(super) bytes: u64,
    shares: Vec<[u64; KINDS]>,
}

/// One cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    shares: [u64; KINDS],
}

impl Cells {
    /// Adds a range that has these many bytes of these kinds, evenly mixed.
    pub(super) fn add(&mut self, start: u64, end: u64, parts: &[(Kind, u64)]) {
        let whole = (end - start).max(1);
        self.split(start, end, |share, bytes| {
            for &(kind, part) in parts {
                share[kind as usize] += (u128::from(part) * u128::from(bytes) / u128::from(whole)) as u64;
            }
        });
    }

    /// Free bytes without room on the disk; they were added as free.
    pub(super) fn punched(&mut self, start: u64, end: u64) {
        self.split(start, end, |share, bytes| {
            let free = &mut share[Kind::Free as usize];
            let moved = bytes.min(*free);
            *free -= moved;
            share[Kind::Punched as usize] += moved;
        });
    }

    fn split(&mut self, start: u64, end: u64, mut add: impl FnMut(&mut [u64; KINDS], u64)) {
        let mut at = start;
        while at < end {
            let index = (at / self.bytes) as usize;
            let to = ((index as u64 + 1) * self.bytes).min(end);
            if index >= self.shares.len() {
                self.shares.resize(index + 1, [0; KINDS]);
            }
            add(&mut self.shares[index], to - at);
            at = to;
        }
    }

    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = Cell> {
        self.shares.iter().map(|&shares| Cell { shares })
    }
}

impl Cell {
    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.shares[kind as usize]
    }

    /// The kind that stands for the cell: of what is in use the largest, or if nothing is, of what is free.
    pub(super) fn leading(&self) -> Kind {
        let largest = |free: bool| {
            let kinds = Kind::ALL.into_iter().filter(move |kind| kind.is_free() == free);
            kinds.max_by_key(|&kind| (self.of(kind), std::cmp::Reverse(kind as usize)))
        };
        largest(false).filter(|&kind| self.of(kind) > 0).or(largest(true)).unwrap_or(Kind::Free)
    }

    /// How much of the cell is in use, in parts of `most`, rounded up.
    pub(super) fn fill(&self, most: u64) -> u64 {
        let all: u64 = self.shares.iter().sum();
        let used: u64 = Kind::ALL.into_iter().filter(|kind| !kind.is_free()).map(|kind| self.of(kind)).sum();
        (used * most).div_ceil(all.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_shared_out_to_cells() {
        let mut picture = Picture::new(64 * PAGE, 0, 8, 4);
        assert_eq!(picture.cells.bytes, 2 * PAGE);
        picture.cells.add(PAGE, 5 * PAGE, &[(Kind::Blocks, PAGE), (Kind::Slack, 3 * PAGE)]);
        picture.cells.add(5 * PAGE, 8 * PAGE, &[(Kind::Free, 3 * PAGE)]);
        picture.cells.punched(6 * PAGE, 8 * PAGE);
        let cells: Vec<_> = picture.cells.all().collect();
        assert_eq!(cells.len(), 4);
        assert_eq!((cells[0].of(Kind::Blocks), cells[0].of(Kind::Slack)), (PAGE / 4, PAGE * 3 / 4));
        assert_eq!((cells[2].of(Kind::Free), cells[2].fill(8)), (PAGE, 4));
        assert_eq!((cells[3].leading(), cells[3].fill(8)), (Kind::Punched, 0));
        assert_eq!(cells[1].leading(), Kind::Slack);
    }
}
