//! What no heap can beat: the disk's own rate of small durable writes, and a lock that is nothing but a
//! compare-and-swap.

use std::fs::File;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::{ReadWriteFlags, pwritev2};

use crate::system::{Failure, Result};
use crate::work::Timing;

/// A file written once over its whole length, as a log ring is.
pub(crate) struct Log {
    file: File,
    next: u64,
}

impl Log {
    const LEN: u64 = 4 << 20;
    const RECORD: u64 = 256;

    pub(crate) fn create(path: &Path) -> Result<Self> {
        std::fs::write(path, vec![0u8; Self::LEN as usize])?;
        let file = File::options().write(true).open(path)?;
        file.sync_all()?;
        Ok(Self { file, next: 0 })
    }

    /// Writes records of 256 bytes with `RWF_DSYNC`, one after the other, until `time` is over.
    pub(crate) fn change_for(&mut self, time: Duration) -> Result<Timing> {
        let start = Instant::now();
        let mut done = 0;
        loop {
            let record = [done as u8; Self::RECORD as usize];
            let written = pwritev2(&self.file, &[IoSlice::new(&record)], self.next, ReadWriteFlags::DSYNC)?;
            if written as u64 != Self::RECORD {
                return Err(Failure::new(format!("only {written} bytes of a record were written")));
            }
            self.next = (self.next + Self::RECORD) % Self::LEN;
            done += 1;
            let elapsed = start.elapsed();
            if elapsed >= time {
                return Ok(Timing::new(elapsed, done));
            }
        }
    }
}

/// A word alone in its cache lines.
#[repr(align(128))]
struct Word(AtomicU64);

/// Takes and releases one lock in each of `threads` threads until `time` is over; nanoseconds per pair and thread.
pub(crate) fn lock_for(threads: usize, time: Duration) -> f64 {
    let word = Word(AtomicU64::new(0));
    let barrier = Barrier::new(threads);
    let timed = &|owner: u64| {
        barrier.wait();
        let start = Instant::now();
        let mut done = 0u64;
        loop {
            for _ in 0..1000 {
                while word.0.compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed).is_err() {
                    std::hint::spin_loop();
                }
                word.0.store(0, Ordering::Release);
            }
            done += 1000;
            let elapsed = start.elapsed();
            if elapsed >= time {
                return elapsed.as_nanos() as f64 / done as f64;
            }
        }
    };
    let sum: f64 = std::thread::scope(|scope| {
        let others: Vec<_> = (2..=threads as u64).map(|owner| scope.spawn(move || timed(owner))).collect();
        timed(1) + others.into_iter().map(|t| t.join().unwrap_or(f64::NAN)).sum::<f64>()
    });
    sum / threads as f64
}
