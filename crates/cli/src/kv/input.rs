//! What values and imports are read from. An error names the input: it is none of the arena's.

use crate::Failure;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Error, ErrorKind, Read, Result, Seek, Write, stdin};
use std::path::Path;

/// An input by its name.
#[derive(Debug)]
pub(super) struct Named<R> {
    name: String,
    input: R,
    /// Bytes that it said it still has: fewer are an error.
    owed: u64,
}

impl<R> Named<R> {
    pub(super) fn new(name: impl Into<String>, input: R) -> Self {
        Self { name: name.into(), input, owed: 0 }
    }
}

fn told(name: &str, e: &Error) -> Error {
    Error::new(e.kind(), format!("cannot read {name}: {e}"))
}

impl Named<BufReader<File>> {
    /// A file, and how long it says it is.
    pub(super) fn open(path: &Path) -> std::result::Result<(u64, Self), Failure> {
        let file = opened(path)?;
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        Ok((len, Self::new(path.display().to_string(), BufReader::with_capacity(1 << 20, file))))
    }
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let read = self.input.read(into).map_err(|e| told(&self.name, &e))?;
        if read == 0 && self.owed > 0 && !into.is_empty() {
            let why = format!("{} became {} bytes shorter while it was read", self.name, self.owed);
            return Err(Error::new(ErrorKind::UnexpectedEof, why));
        }
        self.owed = self.owed.saturating_sub(read as u64);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Named<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        self.input.fill_buf().map_err(|e| told(&self.name, &e))
    }

    fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
    }
}

fn opened(path: &Path) -> std::result::Result<File, Failure> {
    File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()).into())
}

/// Lines of a file, or of stdin if there is none, and how many bytes they say they are: 0 if they do not. Waits for the first: what cannot be read is refused before
/// anything is done with an arena.
pub(super) fn lines(path: Option<&Path>) -> std::result::Result<(u64, Box<dyn BufRead>), Failure> {
    let (len, mut lines): (u64, Box<dyn BufRead>) = match path {
        Some(path) => {
            let (len, file) = Named::open(path)?;
            (len, Box::new(file))
        }
        None => (0, Box::new(Named::new("stdin", stdin().lock()))),
    };
    while let Err(e) = lines.fill_buf() {
        if e.kind() != ErrorKind::Interrupted {
            return Err(e.into());
        }
    }
    Ok((len, lines))
}

/// What a file holds, and how much. Pipes, devices and files of /proc do not say how long they are, those of /sys say what is not so: what is short is read, whatever
/// it says.
pub(super) fn content(path: &Path) -> std::result::Result<(u64, Box<dyn Read>), Failure> {
    const SHORT: u64 = 64 << 10;
    let file = opened(path)?;
    let metadata = file.metadata().map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut file = Named::new(path.display().to_string(), file);
    let mut head = Vec::new();
    (&mut file).take(SHORT).read_to_end(&mut head)?;
    let read = head.len() as u64;
    let begun = Cursor::new(head);
    if read < SHORT {
        return Ok((read, Box::new(begun)));
    }
    if metadata.is_file() && metadata.len() >= read {
        file.owed = metadata.len() - read;
        return Ok((metadata.len(), Box::new(begun.chain(file))));
    }
    let (len, file) = spooled(begun.chain(file))?;
    Ok((len, Box::new(file)))
}

/// All that comes, in a temporary file, and how much it is.
pub(super) fn spooled(mut input: impl Read) -> std::result::Result<(u64, File), Failure> {
    let failed = |e: Error| format!("cannot keep the value in a temporary file: {e}");
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut piece = vec![0; 1 << 20];
    let mut len = 0;
    loop {
        match input.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                file.write_all(&piece[..read]).map_err(failed)?;
                len += read as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    file.rewind().map_err(failed)?;
    Ok((len, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails at its end.
    struct Broken<'a>(&'a [u8]);

    impl Read for Broken<'_> {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            match self.0.read(into)? {
                0 => Err(Error::from_raw_os_error(5)),
                read => Ok(read),
            }
        }
    }

    #[test]
    fn an_error_in_the_middle_names_the_input() {
        let broken = || Named::new("the disk", Broken(b"one\ntwo"));
        let told = "cannot read the disk: Input/output error (os error 5)";
        assert_eq!(spooled(broken()).unwrap_err().to_string(), told);
        let mut lines = Named::new("the disk", BufReader::new(Broken(b"one\ntwo"))).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "one");
        assert_eq!(lines.next().unwrap().unwrap_err().to_string(), told);
    }

    #[test]
    fn an_input_that_became_shorter_is_told() {
        let mut input = Named::new("the log", &b"half"[..]);
        input.owed = 6;
        let e = input.read_exact(&mut [0; 6]).unwrap_err();
        assert_eq!(e.to_string(), "the log became 2 bytes shorter while it was read");
    }
}
