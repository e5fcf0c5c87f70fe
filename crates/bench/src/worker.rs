//! The parent's side of a cell: starts one, talks to it, never waits for it without end, and leaves none behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::cell::Spec;
use crate::contender::SystemId;
use crate::system::{Failure, Result};

/// For whatever a cell has to prepare or measure; a cell that takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A running cell. Dropping it kills the process and waits for its end.
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts a cell; `preload` is the library that becomes its malloc.
    pub(crate) fn start(spec: &Spec, preload: Option<&str>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(spec.args());
        if spec.system == SystemId::Pmdk {
            command.env("PMEM_IS_PMEM_FORCE", "1");
        }
        if let Some(library) = preload {
            command.env("LD_PRELOAD", library);
        }
        let quiet = spec.kind == crate::work::Kind::Probe;
        Self::spawn(command.stderr(if quiet { Stdio::null() } else { Stdio::inherit() }))
    }

    /// Starts a process that reads commands and answers each with a line of JSON.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a cell without pipes"));
        };
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(std::io::Result::ok);
            lines.into_iter().try_for_each(|line| send.send(line))
        });
        Ok(Self { child, input, lines })
    }

    /// The next line, as JSON; what the cell calls an error is one.
    pub(crate) fn answer(&mut self, patience: Duration) -> Result<Value> {
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

    /// Tells the cell what to do next.
    pub(crate) fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.input, "{command}").or_else(|_| self.answer(PATIENCE).map(drop))
    }

    /// Kills the process and does not wait for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }

    /// One measurement: figures by name.
    pub(crate) fn round(&mut self) -> Result<Vec<(String, f64)>> {
        self.tell("round")?;
        self.values()
    }

    /// The figures that a command is answered with.
    pub(crate) fn values(&mut self) -> Result<Vec<(String, f64)>> {
        Ok(values(&self.answer(PATIENCE)?))
    }

    /// Lets the cell check its blocks, close and end; the figures it gives at the end.
    pub(crate) fn finish(mut self) -> Result<Vec<(String, f64)>> {
        self.tell("finish")?;
        let mut last = Vec::new();
        loop {
            match self.answer(PATIENCE) {
                Ok(answer) => last.append(&mut values(&answer)),
                Err(failure) => {
                    let status = self.child.wait()?;
                    return if status.success() { Ok(last) } else { Err(failure) };
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn values(answer: &Value) -> Vec<(String, f64)> {
    let Some(values) = answer["values"].as_object() else { return Vec::new() };
    values.iter().filter_map(|(name, v)| Some((name.clone(), v.as_f64()?))).collect()
}
