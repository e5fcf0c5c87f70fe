//! Four processes count in one file, and every second one of them is killed and started anew: the counts stay exact.
//!
//! Run it with `cargo run --release --example shared_counter`. Each process adds one to a counter of its own and to a common one, both in
//! one transaction. Whoever is killed in the middle of one leaves the lock and perhaps a half-applied commit; the next process that wants
//! the lock completes or drops it. So the own counters always add up to the common one.

use heapfile::{Arena, Durability, Offset, Options, Result, View};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const WORKER: &str = "SHARED_COUNTER_WORKER";
const FILE: &str = "SHARED_COUNTER_FILE";

/// What the root leads to.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Counters {
    all: u64,
    own: [u64; WORKERS],
    /// Not 0: time to end.
    end: u64,
}

/// The number of this worker, if this process is one.
pub(crate) fn worker() -> Option<usize> {
    std::env::var(WORKER).ok()?.parse().ok()
}

/// A worker: counts until told to end.
pub(crate) fn count(worker: usize) -> Result<()> {
    let arena = Arena::open(std::env::var(FILE).expect("the parent names the file"))?;
    loop {
        let mut tx = arena.write()?;
        let at: Offset<Counters> = tx.root()?.expect("the parent made it");
        let counters = tx.get_mut(at)?;
        if counters.end != 0 {
            return Ok(());
        }
        counters.all += 1;
        counters.own[worker] += 1;
        tx.commit()?;
    }
}

fn start(worker: usize, file: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .args(std::env::args_os().skip(1))
        .env(WORKER, worker.to_string())
        .env(FILE, file)
        .spawn()
        .expect("this program can be started again")
}

/// Lets the workers count for `time`, kills one after each `pause`, prints the table; whether all counts are exact.
pub(crate) fn run(time: Duration, pause: Duration) -> Result<bool> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("counters.heap");
    let arena = Options::new().durability(Durability::Process).create(&file)?;
    let mut tx = arena.write()?;
    let at = tx.alloc(&Counters { all: 0, own: [0; WORKERS], end: 0 })?;
    tx.set_root(at)?;
    tx.commit()?;

    let mut workers: Vec<Child> = (0..WORKERS).map(|worker| start(worker, &file)).collect();
    let mut killed = [0u32; WORKERS];
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::thread::sleep(pause);
        let worker = killed.iter().sum::<u32>() as usize % WORKERS;
        workers[worker].kill().and_then(|()| workers[worker].wait()).expect("a child can be killed");
        killed[worker] += 1;
        workers[worker] = start(worker, &file);
    }
    let mut tx = arena.write()?;
    tx.get_mut(at)?.end = 1;
    tx.commit()?;
    for worker in &mut workers {
        assert!(worker.wait().expect("a child can be waited for").success());
    }

    let counters = *arena.read()?.get(at)?;
    let sum: u64 = counters.own.iter().sum();
    println!("process   killed       counted");
    for (worker, (own, killed)) in counters.own.iter().zip(killed).enumerate() {
        println!("{:>7} {killed:>8} {own:>13}", worker + 1);
    }
    println!("    sum {:>8} {sum:>13}", killed.iter().sum::<u32>());
    println!(" common          {:>13}", counters.all);
    Ok(sum == counters.all && arena.check()?.is_clean())
}

fn main() -> Result<()> {
    if let Some(worker) = worker() {
        return count(worker);
    }
    let exact = run(Duration::from_millis(3500), Duration::from_secs(1))?;
    println!("{}", if exact { "exact" } else { "WRONG" });
    Ok(())
}
