//! Which systems are there, and why the others are not.

use std::path::PathBuf;

use crate::cell::Spec;
use crate::contender::{Mode, Place, SystemId};
use crate::system::{Failure, Result};
use crate::work::Kind;
use crate::worker::{PATIENCE, Worker};

/// A system that can be measured.
pub(crate) struct Present {
    pub(crate) system: SystemId,
    pub(crate) version: String,
    /// The library that becomes malloc in its cells.
    pub(crate) preload: Option<String>,
}

/// A system that cannot.
pub(crate) struct Missing {
    pub(crate) system: SystemId,
    pub(crate) why: String,
}

pub(crate) struct Peers {
    pub(crate) present: Vec<Present>,
    pub(crate) missing: Vec<Missing>,
}

impl Peers {
    /// Asks for each system, in a process of its own, whether it is there.
    pub(crate) fn look_for(systems: &[SystemId]) -> Self {
        let mut peers = Self { present: Vec::new(), missing: Vec::new() };
        for &system in systems {
            match probe(system) {
                Ok(present) => peers.present.push(present),
                Err(why) => peers.missing.push(Missing { system, why: why.to_string() }),
            }
        }
        peers
    }

    pub(crate) fn has(&self, system: SystemId) -> bool {
        self.present.iter().any(|p| p.system == system)
    }

    pub(crate) fn start(&self, spec: &Spec) -> Result<Worker> {
        let present = self.present.iter().find(|p| p.system == spec.system);
        Worker::start(spec, present.and_then(|p| p.preload.as_deref()))
    }
}

fn probe(system: SystemId) -> Result<Present> {
    let without = std::env::var("HEAPFILE_BENCH_WITHOUT").unwrap_or_default();
    if without.split(',').any(|w| w.trim() == system.name()) {
        return Err(Failure::new("left out by HEAPFILE_BENCH_WITHOUT"));
    }
    let chosen = std::env::var(format!("HEAPFILE_BENCH_{}", system.name().to_uppercase())).ok();
    let named = system.preload().iter().map(|&name| name.to_owned());
    let libraries: Vec<Option<String>> = match system.preload() {
        [] => vec![None],
        _ => chosen.into_iter().chain(named).map(Some).collect(),
    };
    let mut why = Failure::new("no library is known for it");
    for preload in libraries {
        match ask_version(system, preload.as_deref()) {
            Ok(version) => return Ok(Present { system, version, preload }),
            Err(failure) => why = failure,
        }
    }
    Err(why)
}

fn ask_version(system: SystemId, preload: Option<&str>) -> Result<String> {
    let spec = Spec {
        system,
        place: Place::Dram,
        mode: Mode::Each,
        kind: Kind::Probe,
        live: 0,
        min: 1,
        max: 1,
        threads: 1,
        processes: 1,
        millis: 0,
        seed: 0,
        file: PathBuf::from("none"),
        join: false,
    };
    let answer = Worker::start(&spec, preload)?.answer(PATIENCE)?;
    Ok(answer["version"].as_str().unwrap_or("?").to_owned())
}
