//! A script that kept its data with Python's `shelve`, ported.
//!
//! ```python
//! import shelve, sys
//!
//! with shelve.open("scores") as db:            # pickles, one process at a time, torn by a kill
//!     for line in sys.stdin:
//!         name, points = line.split()
//!         scores = db.get(name, [])            # unpickled: a copy
//!         scores.append(int(points))
//!         db[name] = scores                    # all of it pickled and written again
//!     for name in sorted(db):
//!         print(name, sum(db[name]), db[name])
//! ```
//!
//! Here the scores of a player are a vector in the file. A new one writes eight bytes, nothing is unpickled to be read, other processes may have the
//! file open, and the lines of one run are there all or not at all, whatever happens to the process or the power.
//!
//!     printf 'ada 3\ngrace 5\nada 4\n' | cargo run --example shelve_port -- scores.heap

use heapfile::collections::{HashMap, Vector};
use heapfile::{Arena, View};
use std::io::BufRead;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Scores = HashMap<str, Vector<i64>>;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("usage: shelve_port FILE < lines of a name and points")?;
    for line in run(Path::new(&path), std::io::stdin().lock())? {
        println!("{line}");
    }
    Ok(())
}

/// Takes the lines in and returns what is to be printed.
pub fn run(path: &Path, lines: impl BufRead) -> Result<Vec<String>> {
    let arena = Arena::open_or_create(path)?;

    let mut tx = arena.write()?;
    let db: Scores = match tx.root::<Scores>()? {
        Some(root) => *tx.get(root)?,
        None => {
            let db = Scores::new_in(&mut tx)?;
            let root = tx.alloc(&db)?;
            tx.set_root(root)?;
            db
        }
    };
    for line in lines.lines() {
        let line = line?;
        let (name, points) = line.split_once(' ').ok_or("a name and points were expected")?;
        let scores = match db.get(&tx, name)? {
            Some(scores) => *scores,
            None => {
                let scores = Vector::new_in(&mut tx)?;
                db.insert(&mut tx, name, &scores)?;
                scores
            }
        };
        scores.push(&mut tx, points.trim().parse()?)?;
    }
    tx.commit()?; // without this, nothing of it happened

    let tx = arena.read()?;
    let mut found = Vec::new();
    for entry in db.iter(&tx)? {
        let (name, scores) = entry?;
        let scores = scores.as_slice(&tx)?; // straight from the file
        found.push(format!("{name} {} {scores:?}", scores.iter().sum::<i64>()));
    }
    found.sort();
    Ok(found)
}
