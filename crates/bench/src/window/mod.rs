//! Windows beside a whole map (memmap2), positioned reads, hand-made windows, and, where Python is present, its
//! `mmap` and smmap.
//!
//! All contenders of a row run in one process, in turns, round by round; the medians are compared. Time is that of
//! the processor for this thread, in the program and the kernel, so that what else runs on the machine disturbs
//! little; only searches by several threads and Python are timed by the clock, which wants an idle machine. Each round maps or opens the
//! file anew, and gives it back, but for the random reads, whose maps and readers live through all rounds. Files go to
//! `HEAPFILE_BENCH_DIR` (default: the directory for temporary files): 2 GiB of data, and a sparse file of
//! 100 GB. `HEAPFILE_BENCH_ONLY` picks rows by a part of their name; `HEAPFILE_BENCH_PYTHON` names the Python to use (default
//! `python3`). `HEAPFILE_BENCH_SMALL_WRITES` writes the file by 4 KiB: the page cache then holds it in single
//! pages, not in large folios, which maps feel more than reads.

#![allow(unsafe_code, reason = "the peers are raw maps and system calls")]

mod clock;
mod files;
mod find;
mod random;
mod report;
mod sequential;
mod sparse;

use files::Files;
use random::{busy, local, random_row, scattered, thread_rows, wide};
use report::Report;
use std::path::PathBuf;

/// Runs all rows. `quick`: a small file and few rounds, to see that it works.
pub(crate) fn run(quick: bool, json: bool) {
    let dir = std::env::var_os("HEAPFILE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let len = if quick { 128 << 20 } else { 2 << 30 };
    let files = Files::create(&dir, len).expect("the directory has room for the files");
    let only = std::env::var("HEAPFILE_BENCH_ONLY").unwrap_or_default();
    let mut report = Report::new(if quick { 3 } else { 9 }, json, only);
    let count = if quick { 100_000 } else { 1_000_000 };
    find::find_rows(&mut report, &files);
    sequential::sum_row(&mut report, &files);
    let fits = 2 * len;
    random_row(&mut report, &files, "random 8 B, 90 % within 4 KiB, limit fits", local, fits, count);
    random_row(&mut report, &files, "random 8 B, 90 % within 32 KiB, limit fits", wide, fits, count);
    random_row(&mut report, &files, "random 8 B, 90 % in one place of 64 KiB, limit fits", busy, fits, count);
    random_row(&mut report, &files, "random 8 B, limit fits", scattered, fits, count);
    random_row(&mut report, &files, "random 8 B, limit an eighth", scattered, len / 8, count);
    sparse::cold_rows(&mut report, &files);
    sparse::huge_rows(&mut report, &files);
    thread_rows(&mut report, &files, 2 * count);
    sequential::log_row(&mut report, &dir, count as usize);
}
