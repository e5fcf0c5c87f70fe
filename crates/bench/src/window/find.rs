//! Searches from one end to the other.

use super::clock::{by_clock, pin, rise, seconds, spread};
use super::files::{Files, LIMIT, NEEDLE, open_for, populated, read_pieces};
use super::report::{Contender, Report};
use heapfile::window::Backend;

pub(super) fn find_rows(report: &mut Report, files: &Files) {
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

pub(super) fn python_rows(report: &mut Report, files: &Files) {
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
            None => report.missing(name),
        }
    }
    if !contenders.is_empty() {
        report.row("find at the end, in Python", "GB/s", "", contenders);
    }
}
