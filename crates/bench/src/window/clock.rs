//! Time of processor and clock, memory, and which processor a thread runs on.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Processor time of this thread so far.
pub(super) fn processor() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

pub(super) fn seconds(work: impl FnOnce()) -> f64 {
    let start = processor();
    work();
    processor() - start
}

/// MiB that the peak of resident memory rises during `work`.
pub(super) fn rise(work: impl FnOnce()) -> f64 {
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
pub(super) fn pin(thread: Option<Pid>, processor: usize) {
    let Ok(all) = sched_getaffinity(None) else { return };
    let Some(ours) = (0..CpuSet::MAX_CPU).filter(|&n| all.is_set(n)).cycle().nth(processor) else { return };
    let mut only = CpuSet::new();
    only.set(ours);
    let _ = sched_setaffinity(thread, &only);
}

/// Runs `work` while threads that the library starts for a search are put on the second processor, where an idle
/// machine has them anyway. On a busy one a new thread may stay on its parent's processor for longer than the search takes.
pub(super) fn spread(work: impl FnOnce()) {
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

pub(super) fn by_clock(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// How often this thread has gone to sleep, as it does for a lock that another has.
pub(super) fn sleeps() -> i64 {
    // SAFETY: a struct of numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one rusage.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    usage.ru_nvcsw
}
