//! Workloads of `sharing`: one process and two on one heap, beside Boost. What has no peer is in `scenes`.

use crate::contender::{Contender, Mode, Place, SystemId};
use crate::run::{Plan, Work};
use crate::work::Kind;

/// The workloads, in the order in which they run.
pub(crate) fn works(quick: bool) -> Vec<Work> {
    let (rounds, millis) = if quick { (3, 200) } else { (7, 1000) };
    let churn = |plan: Plan| Work {
        name: if plan == Plan::Together { "churn_small_2_processes" } else { "churn_small_1_process" }
            .to_owned(),
        title: "replace one of 100000 blocks of 16 to 512 bytes in each process, touch both ends".to_owned(),
        kind: Kind::Churn,
        plan,
        live: 100_000,
        sizes: (16, 512),
        threads: 1,
        rounds,
        millis,
        contenders: [
            (SystemId::Heapfile, Mode::Each),
            (SystemId::Heapfile, Mode::Tx(1)),
            (SystemId::Boost, Mode::Each),
            (SystemId::BoostOneLock, Mode::Tx(1)),
        ]
        .map(|(system, mode)| Contender { system, place: Place::Shm, mode })
        .to_vec(),
    };
    vec![churn(Plan::Fresh), churn(Plan::Together)]
}
