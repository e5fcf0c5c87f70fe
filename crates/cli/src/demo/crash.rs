//! The crash: a process that edits the document is killed, and what it left is held against what it said.
//!
//! The editor is this program again, with a hidden subcommand. It commits one edit of the stream at a time, and only then writes
//! the edit's number to its stdout. The demo reads these numbers, kills it with SIGKILL at a moment it does not know, opens the arena
//! and asks for: every acknowledged edit, of the one in flight all or nothing, no block lost, no damage.

use super::edits::{self, Model, Random};
use super::{Fault, tree};
use crate::{Failure, Outcome};
use heapfile::{Arena, Durability, Offset, View};
use std::fs::File;
use std::io::{Read, Write, stdout};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Name of the hidden subcommand.
pub(crate) const EDITOR: &str = "demo-editor";

/// Name of the root that leads to the number of edits done, a `u64`.
const EDITS: &str = "edits";

/// Edit the document in an arena until killed, and tell each commit on stdout
#[derive(Debug, clap::Args)]
pub(crate) struct EditorArgs {
    arena: PathBuf,
    #[arg(long)]
    seed: u64,
}

/// The process that gets killed.
pub(crate) fn run_editor(args: EditorArgs) -> Outcome {
    let arena = Arena::open(&args.arena)?;
    let mut told = File::from(stdout().as_fd().try_clone_to_owned()?);
    let (texts, counter, mut number) = {
        let tx = arena.read()?;
        let counter = tx.named_root::<u64>(EDITS)?.ok_or("this arena is not one of the demo's")?;
        (tree::texts(&tx)?, counter, *tx.get(counter)?)
    };
    if texts.is_empty() {
        return Err("there is no text in the document to be edited".into());
    }
    loop {
        number += 1;
        let edit = edits::edit(args.seed, number, texts.len());
        let mut tx = arena.write()?;
        edits::apply(&mut tx, &texts, number, &edit)?;
        *tx.get_mut(counter)? = number;
        tx.commit()?;
        // Ends by a broken pipe when the demo itself is gone.
        told.write_all(&number.to_le_bytes())?;
    }
}

/// Gives an arena that holds the document its count of edits.
pub(crate) fn prepare(arena: &Arena) -> Result<(), Failure> {
    let mut tx = arena.write()?;
    let counter: Offset<u64> = tx.alloc(&0)?;
    tx.create_root(EDITS, counter)?;
    Ok(tx.commit()?)
}

/// A kill, and what was found after it.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) durability: Durability,
    /// Edits that this process told of before it died.
    pub(crate) acknowledged: u64,
    /// Whether the edit in flight was there, as a whole.
    pub(crate) in_flight_kept: bool,
    /// Time to open the arena again, recovery included.
    pub(crate) reopened_in: Duration,
    /// Live blocks that the check counted, as many as there have to be.
    pub(crate) blocks: u64,
    /// Length of the document, which was as it has to be byte for byte.
    pub(crate) document_bytes: u64,
}

/// An arena under attack.
#[derive(Debug)]
pub(crate) struct Victim<'a> {
    pub(crate) path: &'a Path,
    pub(crate) durability: Durability,
    pub(crate) seed: u64,
    pub(crate) model: Model<'a>,
    /// Edits done so far.
    pub(crate) edits: u64,
    /// Blocks before the first edit.
    pub(crate) blocks: u64,
}

impl Victim<'_> {
    /// One editor's life, death and inheritance. The arena must not be open in this process.
    pub(crate) fn kill(&mut self, random: &mut Random) -> Result<Kill, Failure> {
        let acknowledged = self.edit_until_killed(random)?;
        let start = Instant::now();
        let arena = Arena::open(self.path)
            .map_err(|e| Fault(format!("the arena does not open after a kill: {e}")))?;
        let reopened_in = start.elapsed();
        let edits = {
            let tx = arena.read()?;
            let counter =
                tx.named_root::<u64>(EDITS)?.ok_or_else(|| Fault("the count of edits is gone".to_owned()))?;
            *tx.get(counter)?
        };
        let told = self.edits + acknowledged;
        if edits != told && edits != told + 1 {
            return Err(Fault(format!("{told} edits were acknowledged, the arena has {edits}")).into());
        }
        self.edits = edits;
        self.model.advance_to(edits);
        let blocks = check(&arena, self.blocks + self.model.more_blocks())?;
        let expected = self.model.document();
        compare(&arena, &expected)?;
        Ok(Kill {
            durability: self.durability,
            acknowledged,
            in_flight_kept: edits > told,
            reopened_in,
            blocks,
            document_bytes: expected.len() as u64,
        })
    }

    /// Returns how many edits were acknowledged.
    fn edit_until_killed(&self, random: &mut Random) -> Result<u64, Failure> {
        let program = std::env::current_exe().map_err(|e| format!("cannot find this program itself: {e}"))?;
        let mut child = Command::new(program)
            .arg(EDITOR)
            .arg(self.path)
            .args(["--seed", &self.seed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start this program again: {e}"))?;
        let told = child.stdout.take().ok_or("the editing process has no stdout")?;
        let first = self.edits + 1;
        let enough = 200 + random.below(400);
        let patience = Duration::from_micros(random.below(4000));
        let (ready, is_ready) = channel();
        let listener = std::thread::spawn(move || listen(told, first, enough, ready));
        // Either way the editor is at work now, or has ended and said why on stderr. The moment of the kill has nothing to do with
        // what it is about.
        let _ = is_ready.recv();
        std::thread::sleep(patience);
        child.kill()?;
        let status = child.wait()?;
        let acknowledged = listener.join().map_err(|_| "the listener to the editing process panicked")??;
        match status.signal() {
            Some(_) => Ok(acknowledged),
            None => Err(format!("the editing process ended before it was killed: {status}").into()),
        }
    }
}

/// Counts the edits that the editor tells of until it is gone. `ready` hears of it when these are `enough`, or at least 100 in a time
/// that is long for a demo.
fn listen(mut told: impl Read, first: u64, enough: u64, ready: Sender<()>) -> Result<u64, Failure> {
    const LONG: Duration = Duration::from_millis(400);
    let begun = Instant::now();
    let mut ready = Some(ready);
    let mut acknowledged = 0;
    let mut number = [0; 8];
    // What it told before it died is in the pipe still.
    while told.read_exact(&mut number).is_ok() {
        if u64::from_le_bytes(number) != first + acknowledged {
            return Err("the editing process told of an edit out of order".into());
        }
        acknowledged += 1;
        if acknowledged >= enough || acknowledged >= 100 && begun.elapsed() > LONG {
            ready.take().map(|ready| ready.send(()));
        }
    }
    Ok(acknowledged)
}

/// Checks an arena that has to be sound and to have so many blocks.
pub(crate) fn check(arena: &Arena, blocks: u64) -> Result<u64, Failure> {
    let report = arena.check()?;
    if let Some(first) = report.findings.first() {
        return Err(
            Fault(format!("the check has {} findings, the first: {first}", report.findings.len())).into()
        );
    }
    if report.counts.blocks != blocks {
        return Err(
            Fault(format!("the arena has {} blocks, {blocks} were to be", report.counts.blocks)).into()
        );
    }
    Ok(blocks)
}

/// Exports the document, which has to be this one.
pub(crate) fn compare(arena: &Arena, expected: &str) -> Result<(), Failure> {
    match tree::difference(arena, expected.as_bytes())? {
        None => Ok(()),
        Some(at) => Err(Fault(format!("the exported document differs from byte {at} on")).into()),
    }
}
