//! Replays a damaged log. Where only the log was damaged, and no checksum was made right again, what is replayed is the beginning of
//! what was committed, whole.
#![no_main]

use arbitrary::Arbitrary;
use heapfile::View;
use heapfile_fuzz::image::{COMMITS, Edit, Image, Part};
use heapfile_fuzz::{MemoryFile, exercise};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    edits: Vec<Change>,
    seal: bool,
    seed: u8,
}

#[derive(Debug, Arbitrary)]
enum Change {
    Byte { at: u16, value: u8 },
    Word { at: u16, value: u64 },
    Copy { from: u16, to: u16, words: u8 },
    Zero { at: u16, words: u8 },
    Slot { at: u16, value: u8 },
}

impl Change {
    fn edit(&self) -> Edit {
        let part = Part::Log;
        match *self {
            Self::Byte { at, value } => Edit::Byte { part, at, value },
            Self::Word { at, value } => Edit::Word { part, at, value },
            Self::Copy { from, to, words } => {
                Edit::Copy { from: part, from_at: from, to: part, to_at: to, words }
            }
            Self::Zero { at, words } => Edit::Zero { part, at, words },
            Self::Slot { at, value } => Edit::Byte { part: Part::Slots, at, value },
        }
    }
}

fuzz_target!(|input: Input| {
    let mut image = Image::log().clone();
    for change in input.edits.iter().take(16) {
        change.edit().apply(&mut image);
    }
    if input.seal {
        image.seal();
        image.seal_log();
    }
    let file = MemoryFile::new(&image.bytes);
    let Ok(arena) = file.open() else { return };
    if !input.seal {
        let report = arena.check().expect("a log that was replayed leaves an arena that can be checked");
        let findings: Vec<_> = report.findings.iter().filter(|f| f.offset >= 4 * 4096).collect();
        assert!(findings.is_empty(), "{findings:?}");
        let tx = arena.read().expect("nobody else reads");
        let counter =
            tx.root::<u64>().expect("the root is sound").expect("the root was there before the log");
        let reached = *tx.get(counter).expect("the root leads to its block");
        assert!(reached <= COMMITS, "{reached}");
        assert!(!input.edits.is_empty() || reached == COMMITS, "{reached}");
    }
    exercise::all(&arena, input.seed);
});
