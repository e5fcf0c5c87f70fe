//! Opens a damaged arena and does with it whatever can be done. Errors are fine; a panic, an endless loop or a bad access is not.
#![no_main]

use arbitrary::Arbitrary;
use heapfile_fuzz::image::{Edit, Image};
use heapfile_fuzz::{MemoryFile, exercise};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    image: u8,
    edits: Vec<Edit>,
    /// Without right checksums most edits would be found at once.
    seal: bool,
    seal_log: bool,
    seed: u8,
}

fuzz_target!(|input: Input| {
    let mut image = match input.image % 6 {
        0 => Image::power(),
        1 => Image::power_left(),
        2 => Image::process(),
        3 => Image::process_left(),
        4 => Image::power_moved_left(),
        _ => Image::power_spilled_left(),
    }
    .clone();
    for edit in input.edits.iter().take(16) {
        edit.apply(&mut image);
    }
    if input.seal {
        image.seal();
    }
    if input.seal_log {
        image.seal_log();
    }
    let file = MemoryFile::new(&image.bytes);
    if let Ok(arena) = file.open() {
        exercise::all(&arena, input.seed);
    }
});
