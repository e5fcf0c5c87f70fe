//! A file of 100 GB that is all hole.

use super::clock::{rise, seconds};
use super::files::{Files, LIMIT, NEEDLE, Random, SPARSE, cached, open, pread_word};
use super::random::scattered;
use super::report::Report;
use heapfile::window::{Access, Backend};
use memmap2::{Advice, Mmap};
use std::fs::File;
use std::os::fd::AsRawFd as _;

pub(super) fn cold_rows(report: &mut Report, files: &Files) {
    let file = File::open(&files.sparse).expect("created");
    let mut seed = 77;
    let mut cold = |get: &mut dyn FnMut(u64) -> u64| {
        // SAFETY: advice about a descriptor changes nothing in memory.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        seed += 1;
        let mut random = Random(seed);
        let time = seconds(|| {
            for _ in 0..3000 {
                assert_eq!(get(scattered(&mut random, 0, SPARSE)), 0);
            }
        });
        (time * 1e3, cached(&file))
    };
    let whole = || {
        // SAFETY: the file is the bench's own, and not changed.
        let map = unsafe { Mmap::map(&File::open(&files.sparse).expect("created")) }.expect("maps");
        map.advise(Advice::Random).expect("a known advice");
        map
    };
    let buffer = |backend| open(&files.sparse, backend, LIMIT).buffer();
    let mut figures: Vec<(&str, Vec<(f64, f64)>)> =
        ["pread", "map, MADV_RANDOM", "heapfile, safe: buffer", "heapfile, Backend::Mmap: buffer"]
            .map(|name| (name, Vec::new()))
            .into();
    for _ in 0..report.rounds {
        figures[0].1.push(cold(&mut |at| pread_word(&file, at)));
        let map = whole();
        figures[1].1.push(cold(&mut |at| u64::from(map[at as usize])));
        drop(map);
        for (figures, backend) in figures[2..].iter_mut().zip([Backend::Auto, Backend::Mmap]) {
            let mut buffer = buffer(backend);
            figures.1.push(cold(&mut |at| buffer.get_as::<u64>(at).expect("reads")));
        }
    }
    for (work, unit, memory) in
        [("cold random over 100 GB, 3,000 reads", "ms", false), ("the same: page cache", "MiB", true)]
    {
        let contenders = figures.iter().map(|(name, figures)| {
            let mut figures =
                figures.iter().map(move |figure| if memory { figure.1 } else { figure.0 }).cycle();
            let next: Box<dyn FnMut() -> f64 + '_> = Box::new(move || figures.next().unwrap_or(f64::NAN));
            (*name, next)
        });
        report.row(work, unit, "pread", contenders.collect());
    }
}

pub(super) fn huge_rows(report: &mut Report, files: &Files) {
    let search = |backend| {
        let file = open(&files.sparse, backend, LIMIT);
        seconds(|| assert_eq!(file.find(NEEDLE, ..).expect("reads"), None)) * 1e3
    };
    report.row(
        "find over 100 GB that is all hole",
        "ms",
        "",
        vec![
            ("heapfile, safe default", Box::new(|| search(Backend::Auto))),
            ("heapfile, Backend::Mmap", Box::new(|| search(Backend::Mmap))),
        ],
    );
    let limit = 8 << 20;
    let page = |backend, access| {
        let file = open(&files.sparse, backend, limit);
        file.advise(access);
        let mut buffer = file.buffer();
        for at in (0..SPARSE).step_by(8 << 20) {
            assert_eq!(buffer.get(at).expect("reads"), Some(0));
        }
        let again = File::open(&files.sparse).expect("created");
        // SAFETY: advice on an open descriptor; it touches no memory.
        unsafe { libc::posix_fadvise(again.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    };
    report.row(
        "paging through 100 GB, limit 8 MiB: rise of memory",
        "MiB",
        "",
        vec![
            ("heapfile, safe default", Box::new(|| rise(|| page(Backend::Auto, Access::Auto)))),
            ("heapfile, Backend::Mmap", Box::new(|| rise(|| page(Backend::Mmap, Access::Random)))),
        ],
    );
}
