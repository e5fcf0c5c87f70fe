//! Bench `heap`: what an allocation, a free and a change cost, and how much space is lost.

use crate::contender::{Contender, Mode, Place, SystemId};
use crate::run::{Plan, Work};
use crate::work::Kind;

/// Operations per transaction, for systems that have them.
const BATCH: Mode = Mode::Tx(1000);

/// Heaps in files. A quick run leaves out PMDK on disk, where its figures are those on shared memory.
fn in_files(quick: bool) -> Vec<Contender> {
    let mut contenders = Vec::new();
    for place in [Place::Shm, Place::Disk] {
        let mut add = |system, mode| contenders.push(Contender { system, place, mode });
        add(SystemId::Heapfile, Mode::Each);
        add(SystemId::Heapfile, BATCH);
        if place == Place::Disk {
            add(SystemId::HeapfilePower, BATCH);
        }
        add(SystemId::Boost, Mode::Each);
        if place == Place::Shm || !quick {
            add(SystemId::Pmdk, Mode::Each);
            add(SystemId::Pmdk, BATCH);
        }
    }
    contenders
}

/// All heaps, those without a file too.
fn all(quick: bool) -> Vec<Contender> {
    let in_memory = |system| Contender { system, place: Place::Dram, mode: Mode::Each };
    let mut contenders = in_files(quick);
    contenders.extend([SystemId::Mimalloc, SystemId::Jemalloc, SystemId::Glibc].map(in_memory));
    contenders
}

/// For the workloads that take longest: all of them, in a quick run only what is most worth comparing.
fn few(quick: bool) -> Vec<Contender> {
    let mut contenders = all(quick);
    if quick {
        contenders.retain(|c| c.place != Place::Disk && !(c.system == SystemId::Pmdk && c.mode == BATCH));
    }
    contenders
}

/// Heaps that can be opened again; how they were filled makes no difference.
fn lasting(quick: bool) -> Vec<Contender> {
    let power = Contender { system: SystemId::HeapfilePower, place: Place::Disk, mode: Mode::Each };
    let mut contenders: Vec<Contender> =
        in_files(quick).into_iter().filter(|c| c.mode == Mode::Each).collect();
    contenders.push(power);
    contenders
}

/// The workloads, in the order in which they run.
pub(crate) fn works(quick: bool) -> Vec<Work> {
    let (rounds, millis) = if quick { (3, 25) } else { (15, 150) };
    let base = Work {
        name: String::new(),
        title: String::new(),
        kind: Kind::Churn,
        plan: Plan::Kept,
        live: 100_000,
        sizes: (16, 512),
        threads: 1,
        rounds,
        millis,
        contenders: all(quick),
    };
    let pair = |live: usize, threads: usize| Work {
        name: format!(
            "pair64{}{}",
            if live > threads { "_in_use" } else { "" },
            if threads == 1 { "" } else { "_2_threads" }
        ),
        title: format!("allocate 64 bytes and free them, in a heap that holds {live} other blocks"),
        kind: Kind::Pair,
        live,
        threads,
        contenders: if threads == 1 { all(quick) } else { few(quick) },
        ..base.clone()
    };
    let small = |live: usize, threads| Work {
        name: format!("churn_small_{}{}", short(live), if threads == 1 { "" } else { "_2_threads" }),
        title: format!("replace one of {live} blocks of 16 to 512 bytes, touch both ends"),
        live,
        threads,
        contenders: if threads == 1 && live <= 100_000 { all(quick) } else { few(quick) },
        ..base.clone()
    };
    // Of the whole size, the heaps of all contenders would not fit into the memory of a small machine at once.
    let (varied, plan) = if quick { (20_000, Plan::Kept) } else { (100_000, Plan::Fresh) };
    let mixed = Work {
        name: format!("churn_mixed_{}", short(varied)),
        title: format!("replace one of {varied} blocks of 16 bytes to 64 KiB, touch both ends"),
        plan,
        live: varied,
        sizes: (16, 65536),
        rounds: 5,
        contenders: few(quick),
        ..base.clone()
    };
    let many = if quick { 200_000 } else { 5_000_000 };
    let build = Work {
        name: format!("build_{}", short(many)),
        title: format!("{many} blocks of 16 to 256 bytes, then all freed in random order"),
        kind: Kind::Build,
        plan: Plan::Fresh,
        live: many,
        sizes: (16, 256),
        rounds: if quick { 2 } else { 3 },
        ..base.clone()
    };
    let open = |plan, how: &str| Work {
        name: format!("reopen_{}_{}", if plan == Plan::Killed { "killed" } else { "clean" }, short(many)),
        title: format!("open {many} blocks, to the first read through the root, {how}"),
        kind: Kind::Open,
        plan,
        live: many,
        sizes: (16, 256),
        rounds: if quick { 3 } else { 9 },
        contenders: lasting(quick),
        ..base.clone()
    };
    let disk = |system, mode| Contender { system, place: Place::Disk, mode };
    let shared = Work {
        name: "change_8_threads".to_owned(),
        title: "eight threads, each changing both ends of one of its blocks so that it survives a power cut"
            .to_owned(),
        kind: Kind::Change,
        live: 800,
        threads: 8,
        sizes: (64, 64),
        contenders: vec![
            disk(SystemId::HeapfilePower, Mode::Each),
            disk(SystemId::HeapfilePower, Mode::Submit),
        ],
        ..base.clone()
    };
    let change = |live: usize| Work {
        name: if live > 100 { "change_scattered" } else { "change_hot" }.to_owned(),
        title: format!("change both ends of one of {live} blocks so that it survives a power cut"),
        kind: Kind::Change,
        live,
        sizes: (64, 64),
        contenders: vec![
            disk(SystemId::RawDsync, Mode::Each),
            disk(SystemId::HeapfilePower, Mode::Each),
            disk(SystemId::HeapfilePower, BATCH),
        ],
        ..base.clone()
    };
    vec![
        pair(0, 1),
        pair(100_000, 1),
        small(100_000, 1),
        small(1_000_000, 1),
        pair(0, 2),
        small(100_000, 2),
        mixed,
        build,
        open(Plan::Reopened, "after a clean close"),
        open(Plan::Killed, "after a kill at work"),
        change(100),
        change(if quick { 50_000 } else { 1_000_000 }),
        shared,
    ]
}

/// 100000 as `1e5`, 500000 as `5e5`.
fn short(n: usize) -> String {
    let zeros = n.to_string().bytes().rev().take_while(|&b| b == b'0').count();
    format!("{}e{zeros}", n / 10usize.pow(zeros as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_names_differ() {
        assert_eq!(short(100_000), "1e5");
        assert_eq!(short(500_000), "5e5");
        for quick in [false, true] {
            let mut names: Vec<String> = works(quick).into_iter().map(|w| w.name).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }
}
