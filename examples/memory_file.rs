//! A viewer's way into a file of any size: `file[i]` is the byte at `i`, an index outside is an error, and paging
//! through 100 GB takes one small buffer.
//!
//! ```text
//! cargo run --release --example memory_file [FILE]
//! ```

use heapfile::window::{Buffer, WindowPool};
use std::error::Error;
use std::path::Path;

/// The file as an array of bytes that is too long for memory.
struct MemoryFile {
    pool: WindowPool,
    bytes: Buffer,
}

/// An index that is not in the file.
#[derive(Debug)]
struct IndexError {
    index: u64,
    len: u64,
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "index {} is outside the file, which has {} bytes", self.index, self.len)
    }
}

impl Error for IndexError {}

impl MemoryFile {
    fn open(path: &Path, page_size: u64) -> Result<Self, heapfile::Error> {
        // All that the file may take of memory: one page.
        let pool = WindowPool::builder().window_size(page_size).memory_limit(page_size).build()?;
        let bytes = pool.open(path)?.buffer();
        Ok(Self { pool, bytes })
    }

    fn len(&self) -> u64 {
        self.bytes.len()
    }

    /// The byte at `index`; a page that is not at hand is read into the one buffer.
    fn at(&mut self, index: u64) -> Result<u8, Box<dyn Error>> {
        let len = self.len();
        Ok(self.bytes.get(index)?.ok_or(IndexError { index, len })?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = match std::env::args_os().nth(1) {
        Some(path) => path.into(),
        None => {
            // 100 GB that take no room on the disk, with a word at the end.
            use std::os::unix::fs::FileExt as _;
            let path = dir.path().join("file.dat");
            let file = std::fs::File::create(&path)?;
            file.set_len(100 << 30)?;
            file.write_all_at(b"end", (100 << 30) - 3)?;
            path
        }
    };

    let mut file = MemoryFile::open(&path, 64 * 1024)?;
    let len = file.len();
    println!("{}: {len} bytes", path.display());
    if len > 0 {
        println!("the last byte is {:#04x}", file.at(len - 1)?);
    }
    match file.at(len) {
        Err(e) if e.is::<IndexError>() => println!("{e}"),
        other => return Err(format!("an index error was expected, not {other:?}").into()),
    }

    // A viewer that jumps through the file, and shows a screen at each stop.
    let start = std::time::Instant::now();
    let (mut seen, mut sum) = (0u64, 0u64);
    for stop in (0..len).step_by(usize::try_from(len / 1000 + 1)?) {
        for index in stop..len.min(stop + 2000) {
            sum += u64::from(file.at(index)?);
            seen += 1;
        }
    }
    println!("saw {seen} bytes (sum {sum}) at 1,000 stops in {:?}", start.elapsed());
    let stats = file.pool.stats();
    println!("it took at most {} bytes of memory", stats.peak_bytes);
    assert!(stats.peak_bytes <= 64 * 1024);
    Ok(())
}
