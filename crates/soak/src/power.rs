//! `heapfile-soak power`: seed after seed of every family of the power-loss tests, with the long plan of images.

#![forbid(unsafe_code)]

use crate::effort::{Done, Effort};
use crate::harness::oracle::Found;
use crate::harness::{Budget, FAMILIES, Family};
use crate::state::State;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

const SECTION: &str = "power";

/// Runs seed after seed. Whether all was well.
pub(crate) fn run(effort: &Effort) -> Result<bool, Box<dyn Error>> {
    let mut done = effort.run(one)?;
    print(&mut done)?;
    Ok(done.well)
}

/// Claims a seed of the family that is the furthest behind and runs it.
fn one(state: &Mutex<State>) -> std::io::Result<Result<u64, String>> {
    let (family, seed) = {
        let mut state = state.lock().expect("no thread panicked");
        let counts = state.section(SECTION)?;
        let behind = |f: &&Family| counts.get(&images_of(f)).copied().unwrap_or(0) / f.share;
        let family = FAMILIES.iter().min_by_key(behind).expect("there are families");
        (family, 1 + state.add(SECTION, &format!("{}: seeds", family.name), 1)?)
    };
    let outcome = judge(family, seed, &Budget::endless(None));
    if let Ok(images) = &outcome {
        let mut state = state.lock().expect("no thread panicked");
        // A history without an image counts as one, or it would be taken again and again.
        state.add(SECTION, &images_of(family), (*images).max(1))?;
    }
    Ok(outcome)
}

fn images_of(family: &Family) -> String {
    format!("{}: images", family.name)
}

/// A history that fails before it is cut is a finding like any other.
fn judge(family: &Family, seed: u64, budget: &Budget) -> Result<u64, String> {
    let run = AssertUnwindSafe(|| family.run(seed, budget, &mut Found::default()));
    catch_unwind(run)
        .unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
        })
        .map_err(|what| format!("{what}\n  again: heapfile-soak power --replay {}:{seed}", family.name))
}

/// Runs one history again: `family:seed`, or `family:seed:point`.
pub(crate) fn replay(what: &str) -> Result<bool, Box<dyn Error>> {
    let mut parts = what.split(':');
    let family = parts.next().and_then(Family::named).ok_or("what comes first is the name of a family")?;
    let seed = parts.next().ok_or("after the family comes the seed")?.parse()?;
    let point = parts.next().map(str::parse).transpose()?;
    let outcome = judge(family, seed, &Budget::endless(point));
    match &outcome {
        Ok(images) => println!("{}: seed {seed}: {images} images, all well", family.name),
        Err(what) => eprintln!("VIOLATION: {what}"),
    }
    Ok(outcome.is_ok())
}

fn print(done: &mut Done) -> std::io::Result<()> {
    let counts = done.state.section(SECTION)?;
    println!("{:<48} {:>9} {:>11}", "family", "seeds", "images");
    let mut all = (0, 0);
    for family in FAMILIES {
        let count = |name: String| counts.get(&name).copied().unwrap_or(0);
        let (seeds, images) = (count(format!("{}: seeds", family.name)), count(images_of(family)));
        println!("{:<48} {seeds:>9} {images:>11}", family.name);
        all = (all.0 + seeds, all.1 + images);
    }
    println!("{:<48} {:>9} {:>11}", "in all", all.0, all.1);
    println!("this run: {} images in {:.0} s", done.count, done.seconds);
    Ok(())
}
