//! Cells of the bench `store`: the bench's own program, or Python for shelve.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::cell::CellSpec;
use super::kv::StoreId;
use super::peers;
use crate::system::Result;
use crate::worker::{PATIENCE, Worker};

/// Starts a cell and waits until its store is open; also its first line.
pub(super) fn start(spec: &CellSpec) -> Result<(Worker, Value)> {
    let mut command = if spec.store == StoreId::Shelve {
        let python = std::env::var("HEAPFILE_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut command = Command::new(python);
        command.args(["-c", peers::SHELVE]).arg(&spec.dir).arg(spec.entries.to_string());
        command
    } else {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(spec.args());
        command
    };
    std::fs::create_dir_all(&spec.dir)?;
    let mut worker = Worker::spawn(command.stderr(Stdio::null()))?;
    let ready = worker.answer(PATIENCE)?;
    Ok((worker, ready))
}

/// Tells a cell to measure, and waits for it.
pub(super) fn measure(worker: &mut Worker, command: &str) -> Result<Vec<(String, f64)>> {
    worker.tell(command)?;
    worker.values()
}
