//! What a pool can open.
#![forbid(unsafe_code)]

use super::sys::{self, Identity};
use crate::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A path, a [`File`], or (on Unix) a descriptor; made by `into()`.
///
/// A `File` or `OwnedFd` becomes the pool's: its file position may move. A `BorrowedFd` is opened anew where the
/// system allows it, else duplicated.
///
/// ```
/// use heapfile::window::{Source, WindowPool};
/// # fn main() -> Result<(), heapfile::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("a");
/// # std::fs::write(&path, b"0123456789").unwrap();
/// let source = Source::from(std::fs::File::open(&path).unwrap());
/// assert_eq!(WindowPool::new().open(source)?.len(), 10);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Source(Kind);

#[derive(Debug)]
enum Kind {
    Path(PathBuf),
    File(File, PathBuf),
    #[cfg(unix)]
    Failed(std::io::Error, PathBuf),
}

/// A file that is, or is about to be, open.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) len: u64,
}

/// A source whose identity is known.
pub(super) struct Looked {
    source: Source,
    identity: Identity,
}

impl Source {
    /// Finds out which file this is, without opening a path.
    pub(super) fn look(self) -> Result<Looked> {
        let (meta, path) = match &self.0 {
            Kind::Path(path) => (std::fs::metadata(path), Some(path)),
            Kind::File(file, path) => {
                let at = |e| Error::io("look at", path, e);
                let meta = file.metadata().map_err(at)?;
                refuse(&meta, path)?;
                return Ok(Looked { identity: sys::identity(&meta, None).map_err(at)?, source: self });
            }
            #[cfg(unix)]
            Kind::Failed(..) => {
                let Kind::Failed(e, path) = self.0 else { unreachable!("matched above") };
                return Err(Error::io("open", &path, e));
            }
        };
        let path = path.expect("paths only");
        let meta = meta.map_err(|e| Error::io("open", path, e))?;
        refuse(&meta, path)?;
        let identity = sys::identity(&meta, Some(path)).map_err(|e| Error::io("look at", path, e))?;
        Ok(Looked { identity, source: self })
    }
}

fn refuse(meta: &std::fs::Metadata, path: &Path) -> Result<()> {
    match sys::not_regular(meta) {
        Some(what) => Err(Error::NotAFile { path: path.to_owned(), what }),
        None => Ok(()),
    }
}

impl Looked {
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Opens it. What a path names may have changed since: what counts is what was opened.
    pub(super) fn open(self) -> Result<Opened> {
        let (file, path, by_path) = match self.source.0 {
            Kind::Path(path) => (sys::open(&path).map_err(|e| Error::io("open", &path, e))?, path, true),
            Kind::File(file, path) => (file, path, false),
            #[cfg(unix)]
            Kind::Failed(e, path) => return Err(Error::io("open", &path, e)),
        };
        let at = |e| Error::io("look at", &path, e);
        let mut meta = file.metadata().map_err(at)?;
        refuse(&meta, &path)?;
        let identity = if by_path { sys::identity(&meta, Some(&path)).map_err(at)? } else { self.identity };
        // Tells a descriptor that was opened for writing only, before anything depends on it.
        let first = sys::read_at(&file, &mut [0], 0).map_err(|e| Error::io("read", &path, e))?;
        if meta.len() == 0 && first > 0 {
            meta = file.metadata().map_err(at)?;
            if meta.len() == 0 {
                return Err(Error::NotAFile {
                    path,
                    what: "a file of which the system does not tell the length",
                });
            }
        }
        Ok(Opened { file, identity, len: meta.len(), path })
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Source {
    fn from(path: &P) -> Self {
        Self(Kind::Path(path.as_ref().to_owned()))
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self(Kind::Path(path))
    }
}

impl From<String> for Source {
    fn from(path: String) -> Self {
        Self(Kind::Path(path.into()))
    }
}

impl From<File> for Source {
    fn from(file: File) -> Self {
        #[cfg(unix)]
        let path = {
            use std::os::fd::AsRawFd as _;
            PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()))
        };
        #[cfg(not(unix))]
        let path = PathBuf::from("(an open file)");
        Self(Kind::File(file, path))
    }
}

#[cfg(unix)]
impl From<std::os::fd::OwnedFd> for Source {
    fn from(fd: std::os::fd::OwnedFd) -> Self {
        Self::from(File::from(fd))
    }
}

#[cfg(unix)]
impl From<std::os::fd::BorrowedFd<'_>> for Source {
    fn from(fd: std::os::fd::BorrowedFd<'_>) -> Self {
        use std::os::fd::AsRawFd as _;
        let path = PathBuf::from(format!("/dev/fd/{}", fd.as_raw_fd()));
        match sys::own(fd) {
            Ok(file) => Self(Kind::File(file, path)),
            Err(e) => Self(Kind::Failed(e, path)),
        }
    }
}
