//! What the other processes of a scene do: cells that attend, own the lock, read by spells, or never rest.
//!
//! Each says `{"ready":true}` when it is what it is to be.

use std::time::{Duration, Instant};

use heapfile::Arena;

use crate::cell::{Spec, Values, converse, say_ready};
use crate::system::{Failure, Result};
use crate::work::Kind;

/// How long a reader holds its transaction, and how long it pauses after it.
pub(crate) const SPELL: Duration = Duration::from_millis(10);
/// How long each transaction of the writer takes that never rests.
const WORK: Duration = Duration::from_millis(5);

/// Opens the arena of the scene and plays the part until told to finish, or killed.
pub(crate) fn play(spec: &Spec) -> Result<()> {
    let arena = Arena::open(&spec.file)?;
    match spec.kind {
        Kind::Attend => converse(spec, |_| Ok(Values::new())).map(drop),
        Kind::Own => {
            let _owned = arena.write()?;
            say_ready()?;
            loop {
                std::thread::park();
            }
        }
        Kind::Spells => converse(spec, |time| spells(&arena, time)).map(drop),
        Kind::Busy => converse(spec, |time| busy(&arena, time)).map(drop),
        _ => Err(Failure::new("not a part in a scene")),
    }
}

/// Reads for a spell, pauses for a spell, until `time` is over.
fn spells(arena: &Arena, time: Duration) -> Result<Values> {
    let start = Instant::now();
    let mut count = 0.0;
    while start.elapsed() < time {
        let reading = arena.read()?;
        std::thread::sleep(SPELL);
        drop(reading);
        count += 1.0;
        std::thread::sleep(SPELL);
    }
    Ok(Values::from([("spells", count)]))
}

/// Writes, transaction after transaction, until `time` is over.
fn busy(arena: &Arena, time: Duration) -> Result<Values> {
    let block = arena.alloc(&0u64)?;
    let start = Instant::now();
    let mut count = 0.0;
    while start.elapsed() < time {
        let mut writing = arena.write()?;
        let begun = Instant::now();
        while begun.elapsed() < WORK {
            std::hint::spin_loop();
        }
        *writing.get_mut(block)? += 1;
        writing.commit()?;
        count += 1.0;
    }
    Ok(Values::from([("transactions", count)]))
}
