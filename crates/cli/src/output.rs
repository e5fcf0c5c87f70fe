//! What the commands write to stdout: colours for people only, JSON for programs, rows of names and values.

use crate::Failure;
use serde_json::Value;
use std::io::{BufWriter, Error, IsTerminal, Result, StdoutLock, Write, stdout};

/// Stdout; its errors say that they are its own, not those of a file that is worked with.
#[derive(Debug)]
pub(crate) struct Out(StdoutLock<'static>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.write(bytes).map_err(told)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush().map_err(told)
    }
}

/// Of the same kind: callers try an interrupted call again, and are silent about a closed pipe.
fn told(e: Error) -> Error {
    Error::new(e.kind(), format!("cannot write to stdout: {e}"))
}

/// Buffered stdout. To be flushed at the end, so that a failure to write is seen.
pub(crate) fn buffered() -> BufWriter<Out> {
    BufWriter::with_capacity(1 << 16, Out(stdout().lock()))
}

/// Writes a JSON value on lines of its own.
pub(crate) fn json(value: &Value) -> std::result::Result<(), Failure> {
    let mut out = buffered();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Whether stdout is a terminal that knows escape sequences.
pub(crate) fn is_screen() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Columns and rows of the terminal; where it does not tell, those that most have at least.
pub(crate) fn screen_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// How text is emphasised: not at all unless a person reads it and did not ask for plain text (`NO_COLOR`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    pub(crate) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && is_screen() }
    }

    /// Whether a person sees colours.
    pub(crate) fn is_coloured(self) -> bool {
        self.colour
    }

    /// In the colour of a parameter of the terminal's SGR sequence.
    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn title(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }
}

/// A line with a name in a column of its own, which a long one leaves, and a value.
pub(crate) fn row(out: &mut impl Write, name: &str, value: &str) -> Result<()> {
    writeln!(out, "  {name:<12}  {value}")
}
