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
#![allow(dropping_copy_types, reason = "what is measured returns nothing")]

use heapfile::window::{Access, Backend, Buffer, WindowFile, WindowPool};
use memmap2::{Advice, Mmap, MmapOptions};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const NEEDLE: &[u8] = b"the very last words of this file";
const SPARSE: u64 = 100 << 30;
const LIMIT: u64 = 256 << 20;

/// The word at an offset: a file is its own check.
fn word(at: u64) -> u64 {
    let mut z = (at / 8).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ z >> 27
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// One measurement: what it is called, and what runs once and returns the figure.
type Contender<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

struct Report {
    rounds: usize,
    json: bool,
    /// Only rows whose name has this.
    only: String,
    lines: Vec<String>,
}

impl Report {
    /// Runs the contenders in turns; prints medians and their ratio to `reference`.
    fn row(&mut self, work: &str, unit: &str, reference: &str, mut contenders: Vec<Contender<'_>>) {
        if !work.contains(&self.only) {
            return;
        }
        let mut figures = vec![Vec::new(); contenders.len()];
        for _ in 0..self.rounds {
            for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
                figures.push(contender.1());
            }
        }
        let median = |figures: &mut Vec<f64>| {
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        let medians: Vec<f64> = figures.iter_mut().map(median).collect();
        let base = contenders.iter().position(|c| c.0 == reference).map(|at| medians[at]);
        println!("{work} [{unit}]");
        for ((name, _), value) in contenders.iter().zip(&medians) {
            let ratio = base.map(|base| format!("{:8.2} x {reference}", value / base)).unwrap_or_default();
            println!("    {name:34} {value:12.2} {ratio}");
            self.lines.push(format!(
                r#"{{"bench":"window","work":"{work}","name":"{name}","unit":"{unit}","median":{value}}}"#
            ));
        }
        if self.json {
            for line in self.lines.drain(..) {
                println!("{line}");
            }
        }
    }
}

/// Processor time of this thread so far.
fn processor() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = processor();
    work();
    processor() - start
}

/// MiB that the peak of resident memory rises during `work`.
fn rise(work: impl FnOnce()) -> f64 {
    let status = |name: &str| {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = status("VmRSS");
    work();
    (status("VmHWM") - before) / 1024.0
}

/// Keeps a thread of this program (`None`: this one) on one processor. Threads that share one for a while, because
/// another program runs on the other, say nothing about what is measured.
fn pin(thread: Option<Pid>, processor: usize) {
    let Ok(all) = sched_getaffinity(None) else { return };
    let Some(ours) = (0..CpuSet::MAX_CPU).filter(|&n| all.is_set(n)).cycle().nth(processor) else { return };
    let mut only = CpuSet::new();
    only.set(ours);
    let _ = sched_setaffinity(thread, &only);
}

/// Runs `work` while threads that the library starts for a search are put on the second processor, where an idle
/// machine has them anyway. On a busy one a new thread may stay on its parent's processor for longer than the search takes.
fn spread(work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let is_search = |thread: &Path| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("window search"))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
                    let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
                    if is_search(&thread.path()) {
                        pin(id.and_then(Pid::from_raw), 1);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        work();
        done.store(true, Relaxed);
    });
}

struct Files {
    data: PathBuf,
    sparse: PathBuf,
    len: u64,
}

impl Files {
    fn create(dir: &Path, len: u64) -> std::io::Result<Self> {
        let files = Self { data: dir.join("window-data"), sparse: dir.join("window-sparse"), len };
        let small = std::env::var_os("HEAPFILE_BENCH_SMALL_WRITES").is_some();
        let writes = if small { 4096 } else { 1 << 20 };
        let mut to = BufWriter::with_capacity(writes, File::create(&files.data)?);
        for at in (0..len - NEEDLE.len() as u64).step_by(8) {
            to.write_all(&word(at).to_ne_bytes())?;
        }
        to.write_all(NEEDLE)?;
        to.into_inner()?.sync_all()?;
        File::create(&files.sparse)?.set_len(SPARSE)?;
        Ok(files)
    }

    fn file(&self) -> File {
        File::open(&self.data).expect("created")
    }

    fn map(&self) -> Mmap {
        // SAFETY: the file is the bench's own, and not changed.
        unsafe { Mmap::map(&self.file()) }.expect("maps")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.data);
        let _ = std::fs::remove_file(&self.sparse);
    }
}

fn by_clock(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Threads that search; `None`: as a pool has them if nobody asks.
type Threads = Option<usize>;

fn open(path: &Path, backend: Backend, limit: u64) -> WindowFile {
    open_for(path, backend, limit, None)
}

fn open_for(path: &Path, backend: Backend, limit: u64, threads: Threads) -> WindowFile {
    let builder = WindowPool::builder().memory_limit(limit).backend(backend);
    let builder = if let Some(threads) = threads { builder.search_threads(threads) } else { builder };
    let builder = if backend == Backend::Mmap {
        // SAFETY: the files are the bench's own, and not changed.
        unsafe { builder.trust_files() }
    } else {
        builder
    };
    builder.build().expect("sound settings").open(path).expect("opens")
}

/// Runs `on` with pieces of a file mapped, populated and unmapped one after the other.
fn populated(files: &Files, keep: u64, mut on: impl FnMut(&[u8])) {
    let file = files.file();
    let mut at = 0;
    while at < files.len {
        let start = u64::saturating_sub(at, keep) / 4096 * 4096;
        let len = (files.len - start).min(4 << 20);
        // SAFETY: the file is the bench's own, and not changed.
        let map = unsafe { MmapOptions::new().offset(start).len(len as usize).map(&file) }.expect("maps");
        let _ = map.advise(Advice::PopulateRead);
        on(&map);
        at = start + len;
    }
}

/// Runs `on` with pieces of a file read into one buffer.
fn read_pieces(files: &Files, keep: usize, mut on: impl FnMut(&[u8])) {
    let file = files.file();
    let mut buffer = vec![0; keep + 256 * 1024];
    let (mut at, mut kept) = (0, 0);
    loop {
        let n = file.read_at(&mut buffer[kept..], at).expect("reads");
        if n == 0 {
            break;
        }
        on(&buffer[..kept + n]);
        at += n as u64;
        buffer.copy_within(kept + n - keep.min(kept + n)..kept + n, 0);
        kept = keep.min(kept + n);
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("8 bytes")));
    words.fold(0, u64::wrapping_add)
}

fn find_rows(report: &mut Report, files: &Files) {
    let gib = files.len as f64 / 1e9;
    let end = Some(files.len - NEEDLE.len() as u64);
    let finder = memchr::memmem::Finder::new(NEEDLE);
    let whole = || assert!(finder.find(&files.map()).is_some());
    let halves = || {
        let map = files.map();
        let (first, second) = map.split_at(map.len() / 2);
        let found = std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                pin(None, 1);
                finder.find(second)
            });
            finder.find(first).or_else(|| second.join().expect("searches"))
        });
        assert!(found.is_some());
    };
    let windows = || {
        let mut found = 0;
        populated(files, NEEDLE.len() as u64, |bytes| found += usize::from(finder.find(bytes).is_some()));
        assert!(found > 0);
    };
    let pread = || {
        let mut found = 0;
        read_pieces(files, NEEDLE.len() - 1, |bytes| found += usize::from(finder.find(bytes).is_some()));
        assert_eq!(found, 1);
    };
    let ours = |backend, threads| {
        let file = open_for(&files.data, backend, LIMIT, threads);
        assert_eq!(file.find(NEEDLE, ..).expect("reads"), end);
    };
    let alone = Some(1);
    report.row(
        "find at the end, one thread each",
        "GB/s",
        "whole map",
        vec![
            ("whole map", Box::new(|| gib / seconds(whole))),
            ("4 MiB populated windows", Box::new(|| gib / seconds(windows))),
            ("pread 256 KiB", Box::new(|| gib / seconds(pread))),
            ("heapfile, safe, one thread", Box::new(|| gib / seconds(|| ours(Backend::Auto, alone)))),
            (
                "heapfile, Backend::Mmap, one thread",
                Box::new(|| gib / seconds(|| ours(Backend::Mmap, alone))),
            ),
        ],
    );
    spread(|| {
        report.row(
            "find at the end, by the clock",
            "GB/s",
            "whole map",
            vec![
                ("whole map", Box::new(|| gib / by_clock(whole))),
                ("whole map, by hand in two threads", Box::new(|| gib / by_clock(halves))),
                ("heapfile, safe default", Box::new(|| gib / by_clock(|| ours(Backend::Auto, None)))),
                ("heapfile, Backend::Mmap", Box::new(|| gib / by_clock(|| ours(Backend::Mmap, None)))),
            ],
        );
    });
    report.row(
        "find at the end: memory",
        "MiB",
        "",
        vec![
            ("whole map", Box::new(|| rise(whole))),
            ("4 MiB populated windows", Box::new(|| rise(windows))),
            ("pread 256 KiB", Box::new(|| rise(pread))),
            ("heapfile, safe default", Box::new(|| rise(|| ours(Backend::Auto, None)))),
            ("heapfile, Backend::Mmap", Box::new(|| rise(|| ours(Backend::Mmap, None)))),
        ],
    );
    python_rows(report, files);
}

fn python_rows(report: &mut Report, files: &Files) {
    let needle = std::str::from_utf8(NEEDLE).expect("text");
    let plain = format!(
        "import mmap,time,sys\nt=time.perf_counter()\nf=open(sys.argv[1],'rb')\n\
         m=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_READ)\nassert m.find(b'{needle}')>0\n\
         print(len(m)/1e9/(time.perf_counter()-t))"
    );
    let smmap = format!(
        "import smmap,os,time,sys\np=sys.argv[1]\nn=os.path.getsize(p)\nt=time.perf_counter()\n\
         c=smmap.SlidingWindowMapManager(4<<20,256<<20).make_cursor(p)\nat=0\nhit=-1\n\
         while at<n and hit<0:\n c.use_region(at,4<<20)\n hit=c.map().find(b'{needle}')\n \
         at=c.ofs_end() if at==0 else max(at+1,c.ofs_end()-{})\n\
         assert hit>=0\nprint(n/1e9/(time.perf_counter()-t))",
        NEEDLE.len()
    );
    let python = std::env::var("HEAPFILE_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |script: &str| {
        let output =
            std::process::Command::new(&python).args(["-c", script]).arg(&files.data).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<f64>().ok()
    };
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for (name, script) in [("Python mmap.find", &plain), ("smmap, 4 MiB windows", &smmap)] {
        match run(script) {
            Some(_) => contenders.push((name, Box::new(|| run(script).unwrap_or(f64::NAN)))),
            None => println!("{name}: not present"),
        }
    }
    if !contenders.is_empty() {
        report.row("find at the end, in Python", "GB/s", "", contenders);
    }
}

fn sum_row(report: &mut Report, files: &Files) {
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
    report.row(
        "sequential sum",
        "GB/s",
        "whole map",
        vec![
            ("whole map", Box::new(|| gib / seconds(|| drop(black_box(sum(&files.map())))))),
            ("4 MiB populated windows", Box::new(|| gib / seconds(|| pieces(&|on| populated(files, 0, on))))),
            ("pread 256 KiB", Box::new(|| gib / seconds(|| pieces(&|on| read_pieces(files, 0, on))))),
            ("heapfile, safe default", Box::new(|| gib / seconds(|| ours(Backend::Auto)))),
            ("heapfile, Backend::Mmap", Box::new(|| gib / seconds(|| ours(Backend::Mmap)))),
        ],
    );
}

/// Where to read next.
type Walk = fn(&mut Random, u64, u64) -> u64;

/// Nine of ten within 4 KiB of the last one, one anywhere.
fn local(random: &mut Random, last: u64, len: u64) -> u64 {
    near(random, last, len, 8 * 1024)
}

/// Nine of ten within 32 KiB of the last one, one anywhere.
fn wide(random: &mut Random, last: u64, len: u64) -> u64 {
    near(random, last, len, 64 * 1024)
}

/// Nine of ten in one place of 64 KiB, one anywhere.
fn busy(random: &mut Random, _last: u64, len: u64) -> u64 {
    let x = random.next();
    if x.is_multiple_of(10) { scattered(random, 0, len) } else { len / 4 + (x >> 8) % 65_536 / 8 * 8 }
}

fn near(random: &mut Random, last: u64, len: u64, span: u64) -> u64 {
    let x = random.next();
    if x.is_multiple_of(10) {
        return scattered(random, last, len);
    }
    ((last + (x >> 8) % span).saturating_sub(span / 2)).min(len - 64) / 8 * 8
}

fn scattered(random: &mut Random, _last: u64, len: u64) -> u64 {
    random.next() % (len - 64) / 8 * 8
}

/// ns for a read of 8 bytes. The words are checked by their sum.
fn reads(walk: Walk, len: u64, count: u64, seed: u64, mut get: impl FnMut(u64) -> u64) -> f64 {
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

fn pread_word(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).expect("reads");
    u64::from_ne_bytes(word)
}

fn random_row(report: &mut Report, files: &Files, work: &str, walk: Walk, limit: u64, count: u64) {
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

/// MiB of the file in the page cache, by the system call `cachestat`.
fn cached(file: &File) -> f64 {
    let (range, mut stat) = ([0u64, 0], [0u64; 5]);
    // SAFETY: cachestat reads a range of two words and writes five words.
    let done = unsafe { libc::syscall(451, file.as_raw_fd(), range.as_ptr(), stat.as_mut_ptr(), 0) };
    if done == 0 { stat[0] as f64 * 4096.0 / 1048576.0 } else { f64::NAN }
}

fn cold_rows(report: &mut Report, files: &Files) {
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

fn huge_rows(report: &mut Report, files: &Files) {
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
        // SAFETY: advice about a descriptor changes nothing in memory.
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

/// How often this thread has gone to sleep, as it does for a lock that another has.
fn sleeps() -> i64 {
    // SAFETY: a struct of numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one rusage.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    usage.ru_nvcsw
}

/// Random reads by one thread and by two, in one pool: million reads a second. The slower thread counts: its processor
/// time, which is what the clock shows on an idle machine; the clock if it went to sleep, for another or for the disk.
fn thread_rows(report: &mut Report, files: &Files, count: u64) {
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
    let by_pread = |seed| drop(reads(scattered, len, count, seed, |at| pread_word(&raw, at)));
    let by_map = |seed| {
        let word =
            |at: u64| u64::from_ne_bytes(map[at as usize..at as usize + 8].try_into().expect("8 bytes"));
        reads(scattered, len, count, seed, word);
    };
    let by_get = |seed| drop(reads(scattered, len, count, seed, |at| safe.get(at).expect("reads")));
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

/// Is a sequential log faster through a map? 100-byte records.
fn log_row(report: &mut Report, dir: &Path, count: usize) {
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

/// Runs all rows. `quick`: a small file and few rounds, to see that it works.
pub(crate) fn run(quick: bool, json: bool) {
    let dir = std::env::var_os("HEAPFILE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let len = if quick { 128 << 20 } else { 2 << 30 };
    let files = Files::create(&dir, len).expect("the directory has room for the files");
    let only = std::env::var("HEAPFILE_BENCH_ONLY").unwrap_or_default();
    let mut report = Report { rounds: if quick { 3 } else { 9 }, json, only, lines: Vec::new() };
    let count = if quick { 100_000 } else { 1_000_000 };
    find_rows(&mut report, &files);
    sum_row(&mut report, &files);
    let fits = 2 * len;
    random_row(&mut report, &files, "random 8 B, 90 % within 4 KiB, limit fits", local, fits, count);
    random_row(&mut report, &files, "random 8 B, 90 % within 32 KiB, limit fits", wide, fits, count);
    random_row(&mut report, &files, "random 8 B, 90 % in one place of 64 KiB, limit fits", busy, fits, count);
    random_row(&mut report, &files, "random 8 B, limit fits", scattered, fits, count);
    random_row(&mut report, &files, "random 8 B, limit an eighth", scattered, len / 8, count);
    cold_rows(&mut report, &files);
    huge_rows(&mut report, &files);
    thread_rows(&mut report, &files, 2 * count);
    log_row(&mut report, &dir, count as usize);
}
