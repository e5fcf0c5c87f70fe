//! The parent's side of a cell.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use super::cell::CellSpec;
use super::kv::StoreId;
use super::peers;
use crate::system::{Failure, Result};
use crate::worker::PATIENCE;

/// A running cell. Dropping it kills the process and waits for its end.
pub(super) struct Cell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Cell {
    /// Starts a cell and waits until its store is open; also its first line.
    pub(super) fn start(spec: &CellSpec) -> Result<(Self, Value)> {
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
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a cell without pipes"));
        };
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(std::io::Result::ok);
            lines.into_iter().try_for_each(|line| send.send(line))
        });
        let mut cell = Self { child, input, lines };
        let ready = cell.answer(PATIENCE)?;
        Ok((cell, ready))
    }

    fn answer(&mut self, patience: Duration) -> Result<Value> {
        let line = match self.lines.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err(Failure::new(format!("no answer within {} s", patience.as_secs())));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(format!("the process ended: {}", self.child.wait()?)));
            }
        };
        let value: Value = serde_json::from_str(&line)?;
        match value["error"].as_str() {
            Some(error) => Err(Failure::new(error)),
            None => Ok(value),
        }
    }

    pub(super) fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.input, "{command}").or_else(|_| self.answer(PATIENCE).map(drop))
    }

    /// The figures that a command answers with.
    pub(super) fn values(&mut self) -> Result<Vec<(String, f64)>> {
        let answer = self.answer(PATIENCE)?;
        let Some(values) = answer["values"].as_object() else { return Err(Failure::new("no figures")) };
        Ok(values.iter().filter_map(|(name, v)| Some((name.clone(), v.as_f64()?))).collect())
    }

    /// Tells the cell to measure, and waits for it.
    pub(super) fn measure(&mut self, command: &str) -> Result<Vec<(String, f64)>> {
        self.tell(command)?;
        self.values()
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
