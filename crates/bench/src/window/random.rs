//! Eight bytes here, eight bytes there; by one thread and by two.

use super::clock::{pin, seconds, sleeps};
use super::files::{Files, Random, open, pread_word, sum, word};
use super::report::Report;
use heapfile::window::{Backend, Buffer, WindowFile};
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

/// Where to read next.
pub(super) type Walk = fn(&mut Random, u64, u64) -> u64;

/// Nine of ten within 4 KiB of the last one, one anywhere.
pub(super) fn local(random: &mut Random, last: u64, len: u64) -> u64 {
    near(random, last, len, 8 * 1024)
}

/// Nine of ten within 32 KiB of the last one, one anywhere.
pub(super) fn wide(random: &mut Random, last: u64, len: u64) -> u64 {
    near(random, last, len, 64 * 1024)
}

/// Nine of ten in one place of 64 KiB, one anywhere.
pub(super) fn busy(random: &mut Random, _last: u64, len: u64) -> u64 {
    let x = random.next();
    if x.is_multiple_of(10) { scattered(random, 0, len) } else { len / 4 + (x >> 8) % 65_536 / 8 * 8 }
}

pub(super) fn near(random: &mut Random, last: u64, len: u64, span: u64) -> u64 {
    let x = random.next();
    if x.is_multiple_of(10) {
        return scattered(random, last, len);
    }
    ((last + (x >> 8) % span).saturating_sub(span / 2)).min(len - 64) / 8 * 8
}

pub(super) fn scattered(random: &mut Random, _last: u64, len: u64) -> u64 {
    random.next() % (len - 64) / 8 * 8
}

/// ns for a read of 8 bytes. The words are checked by their sum.
pub(super) fn reads(walk: Walk, len: u64, count: u64, seed: u64, mut get: impl FnMut(u64) -> u64) -> f64 {
    let (mut random, mut at, mut wrong) = (Random(seed), len / 2, 0u64);
    let time = seconds(|| {
        for _ in 0..count {
            at = walk(&mut random, at, len);
            wrong |= get(at) ^ word(at);
        }
    });
    assert_eq!(wrong, 0, "wrong bytes");
    time * 1e9 / count as f64
}

pub(super) fn random_row(report: &mut Report, files: &Files, work: &str, walk: Walk, limit: u64, count: u64) {
    let (file, map, mut turn) = (files.file(), files.map(), 0);
    let mut seed = || {
        turn += 1;
        turn * 0x1234_5678_9abd
    };
    let raw = |at: u64| u64::from_ne_bytes(map[at as usize..at as usize + 8].try_into().expect("8 bytes"));
    // Readers live through all rounds, as the map does.
    let buffer = |backend| open(&files.data, backend, limit).buffer();
    let (mut safe, mut mapped) = (buffer(Backend::Auto), buffer(Backend::Mmap));
    let handle = open(&files.data, Backend::Auto, limit);
    let get = |buffer: &mut Buffer, at| buffer.get_as::<u64>(at).expect("reads");
    let (mut page, mut page_at) = (vec![0; 64 * 1024], u64::MAX);
    let mut paged = |at: u64| {
        if at / 65_536 != page_at || at % 65_536 > 65_528 {
            page_at = at / 65_536;
            file.read_at(&mut page, page_at * 65_536).expect("reads");
        }
        u64::from_ne_bytes(page[at as usize % 65_536..][..8].try_into().expect("8 bytes"))
    };
    // Round by round the same places for all: seeds are drawn per contender in the same order.
    let seeds: Vec<u64> = (0..report.rounds as u64 + 1).map(|_| seed()).collect();
    let next = |turn: &mut usize| {
        *turn += 1;
        seeds[(*turn - 1) % seeds.len()]
    };
    let (mut a, mut b, mut c, mut d, mut e, mut f) = (0, 0, 0, 0, 0, 0);
    let len = files.len;
    reads(walk, len, count, seeds[report.rounds], raw);
    reads(walk, len, count, seeds[report.rounds], |at| get(&mut mapped, at));
    report.row(
        work,
        "ns",
        "pread",
        vec![
            ("raw map", Box::new(|| reads(walk, len, count, next(&mut a), raw))),
            ("pread", Box::new(|| reads(walk, len, count, next(&mut b), |at| pread_word(&file, at)))),
            ("one 64 KiB page", Box::new(|| reads(walk, len, count / 8, next(&mut c), &mut paged))),
            (
                "heapfile, safe: file.get",
                Box::new(|| reads(walk, len, count, next(&mut d), |at| handle.get(at).expect("reads"))),
            ),
            (
                "heapfile, safe: buffer",
                Box::new(|| reads(walk, len, count, next(&mut e), |at| get(&mut safe, at))),
            ),
            (
                "heapfile, Backend::Mmap: buffer",
                Box::new(|| reads(walk, len, count, next(&mut f), |at| get(&mut mapped, at))),
            ),
        ],
    );
}

/// Random reads by one thread and by two, in one pool: million reads a second. The slower thread counts: its processor
/// time, which is what the clock shows on an idle machine; the clock if it went to sleep, for another or for the disk.
pub(super) fn thread_rows(report: &mut Report, files: &Files, count: u64) {
    let rate = |threads: u64, work: &(dyn Fn(u64) + Sync)| {
        let timed = |seed: u64| {
            pin(None, seed as usize);
            let (before, start) = (sleeps(), Instant::now());
            let time = seconds(|| work(seed * 987_654_321));
            if sleeps() - before < 100 { time } else { start.elapsed().as_secs_f64() }
        };
        let time = std::thread::scope(|scope| {
            let timed = &timed;
            let all: Vec<_> = (1..=threads).map(|seed| scope.spawn(move || timed(seed))).collect();
            all.into_iter().map(|thread| thread.join().expect("reads")).fold(0.0, f64::max)
        });
        (threads * count) as f64 / time / 1e6
    };
    let (raw, map) = (files.file(), files.map());
    black_box(sum(&map));
    let (safe, mapped) =
        [Backend::Auto, Backend::Mmap].map(|backend| open(&files.data, backend, 4 * files.len)).into();
    let len = files.len;
    let by_pread = |seed| {
        reads(scattered, len, count, seed, |at| pread_word(&raw, at));
    };
    let by_map = |seed| {
        let word =
            |at: u64| u64::from_ne_bytes(map[at as usize..at as usize + 8].try_into().expect("8 bytes"));
        reads(scattered, len, count, seed, word);
    };
    let by_get = |seed| {
        reads(scattered, len, count, seed, |at| safe.get(at).expect("reads"));
    };
    let by_buffer = |file: &WindowFile, seed| {
        let mut buffer = file.buffer();
        reads(scattered, len, count, seed, |at| buffer.get_as(at).expect("reads"));
    };
    let by_safe = |seed| by_buffer(&safe, seed);
    let by_mapped = |seed| by_buffer(&mapped, seed);
    let works: [(&str, &(dyn Fn(u64) + Sync)); 5] = [
        ("threads, random reads: pread of one descriptor", &by_pread),
        ("threads, random reads: raw map", &by_map),
        ("threads, random reads, safe: file.get", &by_get),
        ("threads, random reads, safe: buffers", &by_safe),
        ("threads, random reads, Backend::Mmap: buffers", &by_mapped),
    ];
    for (name, work) in works {
        report.row(
            name,
            "M reads/s",
            "1 thread",
            vec![("1 thread", Box::new(|| rate(1, work))), ("2 threads", Box::new(|| rate(2, work)))],
        );
    }
}
