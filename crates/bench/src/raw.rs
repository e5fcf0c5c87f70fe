//! What no heap can beat: the disk's own rate of small durable writes.

use std::fs::File;
use std::io::IoSlice;
use std::path::Path;
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
