//! Windows step by step: a pool with limits, cursors and their regions, buffers, and what the pool tells.
//!
//! ```text
//! cargo run --example windows_tutorial
//! ```

use heapfile::window::WindowPool;
use std::io::{BufRead as _, Read as _, Seek as _, SeekFrom};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("numbers");
    let text: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(&path, &text)?;

    // A pool bounds what all its files take together. Make one for the program.
    let pool = WindowPool::builder().window_size(64 * 1024).memory_limit(512 * 1024).build()?;
    let file = pool.open(&path)?;
    println!("{file:?}");

    // A cursor's region is a view of a part of the file. Ask for a part, look at what you got.
    let mut cursor = file.cursor();
    assert!(!cursor.is_valid());
    assert!(cursor.use_region(10, 20)?);
    assert_eq!((cursor.offset(), cursor.size()), (10, 20));
    assert_eq!(cursor.view(), &text.as_bytes()[10..30]);
    assert!(cursor.includes(29) && !cursor.includes(30));

    // 0 is as much as one window has from there.
    assert!(cursor.use_region(60 * 1024, 0)?);
    assert_eq!(cursor.size(), 4 * 1024);

    // Cursors of one file share windows; the last one to go unpins.
    let other = cursor.clone();
    if let Some(region) = cursor.region() {
        println!("{region:?} has {} clients", region.clients());
        assert_eq!(region.clients(), 2);
    }
    drop(other);

    // Out of bounds is no error: the region is invalid.
    assert!(!cursor.use_region(file.len(), 1)?);
    assert!(!cursor.is_valid() && cursor.view().is_empty());

    // A cursor is a stream too.
    cursor.seek(SeekFrom::End(-7))?;
    let mut line = String::new();
    cursor.read_line(&mut line)?;
    assert_eq!(line, "199999\n");
    cursor.seek(SeekFrom::Start(0))?;
    let mut all = String::new();
    cursor.read_to_string(&mut all)?;
    assert_eq!(all, text);

    // A buffer is the whole file as one sequence of bytes; it slides by itself.
    let mut buffer = file.buffer();
    let middle = buffer.len() / 2;
    assert_eq!(buffer.get(middle)?, Some(text.as_bytes()[middle as usize]));
    assert_eq!(buffer.get(buffer.len())?, None);
    assert_eq!(&buffer.slice(5..15)?[..], &text.as_bytes()[5..15]);
    let mut part = buffer.part(100..200)?;
    assert_eq!(part.get(0)?, Some(text.as_bytes()[100]));

    // A guard pins a window for as long as it lives, whatever else the pool has to do.
    let pinned = file.window(0, 100)?;
    for offset in (0..file.len()).step_by(64 * 1024) {
        file.window(offset, 1)?;
    }
    assert_eq!(&pinned[..], &text.as_bytes()[..100]);

    // Finding needs no window at all.
    println!("\"123456\" is at {:?}", file.find("\n123456\n", ..)?.map(|at| at + 1));
    println!("{} lines", file.count("\n", ..)?);

    // The pool tells what it did, and who still pins when a file is to be let go.
    println!("{:#?}", pool.stats());
    assert!(pool.stats().peak_bytes <= pool.memory_limit());
    let release = pool.release(&path)?;
    assert_eq!(release.pinned.len(), 1);
    println!("still pinned by {}", release.pinned[0].last_pinned_by);
    drop(pinned);
    println!("collected {:?}", pool.collect());
    Ok(())
}
