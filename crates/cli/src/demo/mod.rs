//! `heapfile demo`: the main job on a real document, and a crash in the middle of it.
//!
//! A document is loaded as a tree of blocks (`xml`, `tree`); a text near its start is made longer, and what that costs is
//! measured (`replacement`); a process that edits it is killed, and what it left is checked (`crash`, `edits`). `report` shows it.

mod crash;
mod edits;
mod place;
mod replacement;
mod report;
mod tree;
mod xml;

pub(crate) use crash::{EDITOR, EditorArgs, run_editor};

use crate::units::parse_offset;
use crate::{FOUND, Failure, Outcome};
use crash::Victim;
use edits::{Model, Random};
use heapfile::{Arena, Durability, Options};
use place::Place;
use replacement::Replacement;
use report::Report;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};
use tree::Outline;

/// Edit a real XML document in an arena, and kill the process that does it
///
/// Loads the document as a tree of blocks, makes a text near its start longer in one transaction and measures that against rewriting
/// the file; then lets a process make edits, kills it with SIGKILL several times, and checks each time that the arena is sound and that
/// the document is, byte for byte, what the acknowledged edits say. Works in a temporary directory; needs a few seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all of it held, 1 something did not, 2 an error.\n\n\
    Examples:\n  heapfile demo\n  heapfile demo my.xml\n  heapfile demo --keep /tmp/demo && heapfile info /tmp/demo/power.heap")]
pub(crate) struct Args {
    /// An XML document (UTF-8, well formed); default: the registry of the Vulkan API, 2 MB, which comes with this program
    file: Option<PathBuf>,
    /// Work in this directory, which is made if it is missing, and leave the arenas there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Kills of each kind of arena
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// The stream of edits of an earlier run, again (the moments of the kills still differ)
    #[arg(long, value_name = "NUMBER", value_parser = parse_offset)]
    seed: Option<u64>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// The document that comes with the program. See `data/README.md` for where it is from.
const BUNDLED: &str = include_str!("../../data/vk.xml");
const BUNDLED_NAME: &str = "vk.xml, the registry of the Vulkan API";

/// The file names of the two arenas.
const POWER: &str = "power.heap";
const PROCESS: &str = "process.heap";

/// Something that the demo promises did not hold.
#[derive(Debug)]
struct Fault(String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

pub(crate) fn run(args: Args) -> Outcome {
    let begun = Instant::now();
    let (name, document) = match &args.file {
        Some(path) => (path.display().to_string(), Cow::Owned(read(path)?)),
        None => (BUNDLED_NAME.to_owned(), Cow::Borrowed(BUNDLED)),
    };
    let outline = Outline::of(&document).map_err(|e| format!("{name}: {e}"))?;
    let replacement = Replacement::choose(&document, &outline).map_err(|e| format!("{name}: {e}"))?;
    let seed = args.seed.unwrap_or_else(clock);
    let mut place = Place::new(args.keep)?;
    let mut report = Report::new(args.json);
    let demo = Demo {
        name: &name,
        document: &document,
        outline,
        replacement,
        place: &place,
        kills: args.kills,
        seed,
    };
    match demo.run(&mut report) {
        Ok(()) => {
            report.held(begun.elapsed(), place.is_kept().then(|| place.path()), POWER)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => match failure.downcast::<Fault>() {
            Ok(fault) => {
                place.keep();
                report.fault(&fault.0, place.path())?;
                Ok(ExitCode::from(FOUND))
            }
            Err(failure) => Err(failure),
        },
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        format!(
            "{} is not UTF-8 from byte {at} on: convert it first, for instance with iconv",
            path.display()
        )
        .into()
    })
}

/// A number that differs from run to run.
fn clock() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Random(now.as_nanos() as u64).next() >> 32
}

/// All that a run works with.
struct Demo<'a> {
    name: &'a str,
    document: &'a str,
    outline: Outline,
    replacement: Replacement,
    place: &'a Place,
    kills: u32,
    seed: u64,
}

impl Demo<'_> {
    fn run(&self, report: &mut Report) -> Result<(), Failure> {
        let power_path = self.place.path().join(POWER);
        let process_path = self.place.path().join(PROCESS);
        let start = Instant::now();
        let power = self.load(&power_path, Durability::Power)?;
        let load_time = start.elapsed();
        let blocks = power.check()?.counts.blocks;
        report.loaded(self.name, self.document, &self.outline, &power.stats()?, blocks, load_time)?;

        let process = self.load(&process_path, Durability::Process)?;
        let dir = self.place.path();
        let costs = replacement::compare([&power, &process], dir, self.document, &self.replacement)?;
        for arena in [&power, &process] {
            crash::check(arena, blocks)?;
            crash::compare(arena, &self.replacement.document)?;
        }
        let in_memory = self.place.is_in_memory();
        report.replaced(&self.replacement, &costs, in_memory)?;

        report.kills_begin(self.seed)?;
        for (arena, path) in [(power, &power_path), (process, &process_path)] {
            self.kill(arena, path, report)?;
        }
        Ok(())
    }

    /// A new arena with the document in it, which is then compared.
    fn load(&self, path: &Path, durability: Durability) -> Result<Arena, Failure> {
        let arena = Options::new().durability(durability).create(path)?;
        tree::load(&arena, self.document)?;
        crash::compare(&arena, self.document)?;
        Ok(arena)
    }

    fn kill(&self, arena: Arena, path: &Path, report: &mut Report) -> Result<(), Failure> {
        crash::prepare(&arena)?;
        let (durability, blocks) = (arena.durability(), arena.check()?.counts.blocks);
        drop(arena);
        let document = &self.replacement.document;
        let places = Outline::of(document)?.texts;
        let model = Model::new(document, &places, self.seed);
        let mut victim = Victim { path, durability, seed: self.seed, model, edits: 0, blocks };
        let mut random = Random(clock());
        for _ in 0..self.kills {
            report.killed(&victim.kill(&mut random)?)?;
        }
        Ok(())
    }
}
