//! The workloads, and how their steps are timed.
//!
//! A round runs for a fixed time, not for a fixed number of steps: systems that differ by a factor of a thousand
//! get the same share of the machine, and the length of a run can be told beforehand. The clock is read
//! once per chunk of steps.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::contender::Mode;
use crate::rng::{Rng, Sizes};
use crate::system::{Block, Failure, Heap, Ops, Result};

/// What a cell does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Say whether the system is there, and its version.
    Probe,
    /// Allocate a block and free it.
    Pair,
    /// Keep a number of blocks alive, replace one at random, touch both its ends.
    Churn,
    /// Allocate many, touching both ends; free all in random order.
    Build,
    /// Build, then set the root: the file that `Open` opens.
    Make,
    /// Open an existing file and read its root block.
    Open,
    /// A small change to an existing block, in a commit of its own.
    Change,
    /// Have an arena open that another process is measured on.
    Attend,
    /// Own its writer lock until killed.
    Own,
    /// Read it for 10 ms, again and again.
    Spells,
    /// Write to it in transactions of 5 ms, without a pause.
    Busy,
}

/// How a heap is prepared, outside the measured time: fast, whatever the mode measured.
pub(crate) fn setup_mode<H: Heap>(heap: &H) -> Mode {
    if heap.transacts() { Mode::Tx(1000) } else { Mode::Each }
}

/// A workload in one thread.
pub(crate) trait Step: Send {
    /// What has to be there before the first step.
    fn prepare<H: Heap>(&mut self, _heap: &mut H) -> Result<()> {
        Ok(())
    }

    /// What is timed.
    fn step<O: Ops>(&mut self, ops: &mut O) -> Result<()>;

    /// Whether all is as it has to be after the last step.
    fn verify<H: Heap>(&self, _heap: &mut H) -> Result<()> {
        Ok(())
    }
}

/// Runs `count` steps as the mode says.
fn steps<H: Heap>(heap: &mut H, step: &mut impl Step, mode: Mode, count: usize) -> Result<()> {
    match mode {
        Mode::Each => (0..count).try_for_each(|_| step.step(heap)),
        Mode::Submit => (0..count).try_for_each(|_| heap.submit(|tx| step.step(tx))),
        Mode::Tx(batch) => {
            let mut left = count;
            while left > 0 {
                let now = left.min(batch);
                heap.transaction(|tx| (0..now).try_for_each(|_| step.step(tx)))?;
                left -= now;
            }
            Ok(())
        }
    }
}

/// How long steps took.
pub(crate) struct Timing {
    /// Nanoseconds per step.
    pub(crate) step: f64,
    pub(crate) steps: usize,
}

impl Timing {
    pub(crate) fn new(time: Duration, steps: usize) -> Self {
        Self { step: time.as_nanos() as f64 / steps as f64, steps }
    }
}

/// Runs chunks of steps until `time` is over.
pub(crate) fn run_for<H: Heap>(
    heap: &mut H,
    step: &mut impl Step,
    mode: Mode,
    chunk: usize,
    time: Duration,
) -> Result<Timing> {
    let start = Instant::now();
    let mut done = 0;
    loop {
        steps(heap, step, mode, chunk)?;
        done += chunk;
        let elapsed = start.elapsed();
        if elapsed >= time {
            return Ok(Timing::new(elapsed, done));
        }
    }
}

/// Allocates a block of 64 bytes and frees it, beside blocks that stay.
pub(crate) struct Pair<'s>(pub(crate) Churn<'s>);

impl Step for Pair<'_> {
    fn prepare<H: Heap>(&mut self, heap: &mut H) -> Result<()> {
        self.0.prepare(heap)
    }

    #[inline]
    fn step<O: Ops>(&mut self, ops: &mut O) -> Result<()> {
        let block = ops.alloc(64)?;
        ops.free(block)
    }

    fn verify<H: Heap>(&self, heap: &mut H) -> Result<()> {
        self.0.verify(heap)
    }
}

/// Live blocks, one of which is replaced by another at random.
pub(crate) struct Churn<'s> {
    live: Vec<Option<Block>>,
    sizes: &'s Sizes,
    rng: Rng,
}

impl<'s> Churn<'s> {
    /// No blocks yet; the table's memory is touched, so that it does not count as the heap's.
    pub(crate) fn new(live: usize, sizes: &'s Sizes, rng: Rng) -> Self {
        Self { live: (0..live).map(|_| None).collect(), sizes, rng }
    }

    /// Allocates all blocks.
    pub(crate) fn fill<H: Heap>(&mut self, heap: &mut H, mode: Mode) -> Result<()> {
        let count = self.live.len();
        steps(heap, &mut Fill { churn: self, next: 0 }, mode, count)
    }

    /// Frees all blocks, from the end of the table.
    pub(crate) fn free_all<H: Heap>(&mut self, heap: &mut H, mode: Mode) -> Result<()> {
        let count = self.live.len();
        steps(heap, &mut Drain(&mut self.live), mode, count)
    }

    /// Puts the blocks into random order.
    pub(crate) fn shuffle(&mut self) {
        let mut rng = self.rng.clone();
        rng.shuffle(&mut self.live);
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.live.iter().flatten()
    }
}

impl Step for Churn<'_> {
    /// Fills the table, then replaces as many blocks as it holds: the heap has holes like one in use.
    fn prepare<H: Heap>(&mut self, heap: &mut H) -> Result<()> {
        let mode = setup_mode(heap);
        self.fill(heap, mode)?;
        let count = self.live.len();
        steps(heap, self, mode, count)
    }

    #[inline]
    fn step<O: Ops>(&mut self, ops: &mut O) -> Result<()> {
        let place = self.rng.below(self.live.len());
        let len = self.sizes.draw(&mut self.rng);
        if let Some(old) = self.live[place].take() {
            ops.free(old)?;
        }
        self.live[place] = Some(ops.alloc_touched(len)?);
        Ok(())
    }

    /// Both ends of every block hold what was written: no two blocks overlap, none was lost.
    fn verify<H: Heap>(&self, heap: &mut H) -> Result<()> {
        for block in self.blocks() {
            let (found, tag) = (heap.ends(block)?, block.tag());
            if found != [tag; 2] {
                let (at, len) = (block.at(), block.len());
                return Err(Failure::new(format!(
                    "the block of {len} bytes at {at} holds {found:?} at its ends, {tag} was written: \
                     the heap is damaged, or the adapter wrong"
                )));
            }
        }
        Ok(())
    }
}

/// Fills a table from its beginning.
struct Fill<'c, 's> {
    churn: &'c mut Churn<'s>,
    next: usize,
}

impl Step for Fill<'_, '_> {
    #[inline]
    fn step<O: Ops>(&mut self, ops: &mut O) -> Result<()> {
        let len = self.churn.sizes.draw(&mut self.churn.rng);
        self.churn.live[self.next] = Some(ops.alloc_touched(len)?);
        self.next += 1;
        Ok(())
    }
}

/// Empties a table from its end.
struct Drain<'l>(&'l mut Vec<Option<Block>>);

impl Step for Drain<'_> {
    #[inline]
    fn step<O: Ops>(&mut self, ops: &mut O) -> Result<()> {
        match self.0.pop().flatten() {
            Some(block) => ops.free(block),
            None => Ok(()),
        }
    }
}

/// Changes both ends of one block of many, chosen at random.
pub(crate) struct Change<'s>(pub(crate) Churn<'s>);

impl Step for Change<'_> {
    fn prepare<H: Heap>(&mut self, heap: &mut H) -> Result<()> {
        self.0.prepare(heap)
    }

    #[inline]
    fn step<O: Ops>(&mut self, ops: &mut O) -> Result<()> {
        let place = self.0.rng.below(self.0.live.len());
        self.0.live[place].as_ref().map_or(Ok(()), |block| ops.touch(block))
    }

    fn verify<H: Heap>(&self, heap: &mut H) -> Result<()> {
        self.0.verify(heap)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A heap of a few lines: blocks one after the other, 16 bytes apart or, broken, 8.
    struct Toy {
        bytes: Vec<u8>,
        next: u64,
        live: BTreeMap<u64, u32>,
        broken: bool,
        commits: usize,
    }

    impl Toy {
        fn new(broken: bool) -> Self {
            Self { bytes: vec![0; 1 << 20], next: 16, live: BTreeMap::new(), broken, commits: 0 }
        }
    }

    impl Ops for Toy {
        fn alloc(&mut self, len: u32) -> Result<Block> {
            let at = self.next;
            self.next += if self.broken { 8 } else { u64::from(len).next_multiple_of(16) };
            self.live.insert(at, len);
            Block::new(at, len).ok_or_else(|| Failure::new("null"))
        }

        fn free(&mut self, block: Block) -> Result<()> {
            let len = self.live.remove(&block.at());
            if len == Some(block.len()) { Ok(()) } else { Err(Failure::new("freed what is not live")) }
        }

        fn touch(&mut self, block: &Block) -> Result<()> {
            let (at, len) = (block.at() as usize, block.len() as usize);
            self.bytes[at] = block.tag();
            self.bytes[at + len - 1] = block.tag();
            Ok(())
        }

        fn ends(&mut self, block: &Block) -> Result<[u8; 2]> {
            let (at, len) = (block.at() as usize, block.len() as usize);
            Ok([self.bytes[at], self.bytes[at + len - 1]])
        }
    }

    impl Heap for Toy {
        type Tx<'t> = Self;

        fn transacts(&self) -> bool {
            true
        }

        fn transaction<R>(&mut self, body: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
            self.commits += 1;
            body(self)
        }
    }

    #[test]
    fn churn_keeps_its_number_of_blocks_and_they_verify() {
        let sizes = Sizes::log_uniform(16, 64);
        let (mut toy, mut churn) = (Toy::new(false), Churn::new(100, &sizes, Rng::new(1)));
        churn.prepare(&mut toy).unwrap();
        steps(&mut toy, &mut churn, Mode::Each, 500).unwrap();
        assert_eq!(toy.live.len(), 100);
        churn.verify(&mut toy).unwrap();
        churn.shuffle();
        churn.free_all(&mut toy, Mode::Each).unwrap();
        assert!(toy.live.is_empty());
    }

    #[test]
    fn a_heap_whose_blocks_overlap_is_found_out() {
        let sizes = Sizes::log_uniform(16, 64);
        let (mut toy, mut churn) = (Toy::new(true), Churn::new(100, &sizes, Rng::new(1)));
        churn.prepare(&mut toy).unwrap();
        assert!(churn.verify(&mut toy).is_err());
    }

    #[test]
    fn a_transaction_holds_as_many_steps_as_asked_for() {
        let sizes = Sizes::log_uniform(16, 64);
        let (mut toy, mut churn) = (Toy::new(false), Churn::new(10, &sizes, Rng::new(1)));
        steps(&mut toy, &mut churn, Mode::Tx(100), 250).unwrap();
        assert_eq!(toy.commits, 3);
        steps(&mut toy, &mut churn, Mode::Each, 250).unwrap();
        assert_eq!(toy.commits, 3);
    }
}
