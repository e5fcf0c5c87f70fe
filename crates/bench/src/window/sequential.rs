//! Reading and writing in order.

use super::clock::seconds;
use super::files::{Files, LIMIT, open, populated, read_pieces, sum};
use super::report::Report;
use heapfile::window::Backend;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::Path;

pub(super) fn sum_row(report: &mut Report, files: &Files) {
    let gib = files.len as f64 / 1e9;
    let ours = |backend| {
        let file = open(&files.data, backend, LIMIT);
        let (mut chunks, mut total) = (file.chunks(..).expect("in the file"), 0u64);
        while let Some(chunk) = chunks.next_chunk().expect("reads") {
            total = total.wrapping_add(sum(chunk.bytes));
        }
        black_box(total);
    };
    #[allow(clippy::type_complexity, reason = "named, it would be no simpler")]
    let pieces = |over: &dyn Fn(&mut dyn FnMut(&[u8]))| {
        let mut total = 0u64;
        over(&mut |bytes| total = total.wrapping_add(sum(bytes)));
        black_box(total);
    };
    let whole = || {
        black_box(sum(&files.map()));
    };
    report.row(
        "sequential sum",
        "GB/s",
        "whole map",
        vec![
            ("whole map", Box::new(|| gib / seconds(whole))),
            ("4 MiB populated windows", Box::new(|| gib / seconds(|| pieces(&|on| populated(files, 0, on))))),
            ("pread 256 KiB", Box::new(|| gib / seconds(|| pieces(&|on| read_pieces(files, 0, on))))),
            ("heapfile, safe default", Box::new(|| gib / seconds(|| ours(Backend::Auto)))),
            ("heapfile, Backend::Mmap", Box::new(|| gib / seconds(|| ours(Backend::Mmap)))),
        ],
    );
}

/// Is a sequential log faster through a map? 100-byte records.
pub(super) fn log_row(report: &mut Report, dir: &Path, count: usize) {
    let record = [b'r'; 100];
    let path = dir.join("window-log");
    let each = |time: f64| time * 1e9 / count as f64;
    let create = || File::create(&path).expect("creates");
    let plain = || {
        let mut file = create();
        each(seconds(|| (0..count).for_each(|_| file.write_all(black_box(&record)).expect("writes"))))
    };
    let buffered = || {
        let mut file = BufWriter::with_capacity(64 * 1024, create());
        each(seconds(|| {
            (0..count).for_each(|_| file.write_all(black_box(&record)).expect("writes"));
            file.flush().expect("writes");
        }))
    };
    let mapped = || {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("creates");
        file.set_len((count * 100) as u64).expect("grows");
        each(seconds(|| {
            // SAFETY: the file is the bench's own, and nobody else has it open.
            let mut map = unsafe { memmap2::MmapMut::map_mut(&file) }.expect("maps");
            for to in map.chunks_exact_mut(100) {
                to.copy_from_slice(black_box(&record));
            }
        }))
    };
    report.row(
        "sequential log, 100-byte records",
        "ns",
        "buffered writes",
        vec![
            ("buffered writes", Box::new(buffered)),
            ("preallocated map", Box::new(mapped)),
            ("plain write", Box::new(plain)),
        ],
    );
    let _ = std::fs::remove_file(&path);
}
