//! The write set against a plain overlay of bytes: stores, views side by side, fills, nested save points.

use super::*;
use crate::media::Writable;
use crate::media::sim::SimDisk;
use proptest::prelude::*;

/// Bytes of the simulated file; a few lines of it are worked on.
const LEN: u64 = 64 << 10;
const START: u64 = 40 << 10;
const WORKED: u64 = 40 * LINE;

#[derive(Debug, Clone)]
enum Act {
    Store(u64, u64),
    Write(u64, u64, u8),
    View(u64, u64, u8),
    /// Written to the file and to the shadows, as fresh space is filled.
    Fill(u64, u64, u8),
    SavePoint,
    RollBack(usize),
    Release(usize),
    Clear,
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    (0..WORKED, 0u64..700).prop_map(|(at, len)| (at, len.min(WORKED - at)))
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..WORKED / 8, any::<u64>()).prop_map(|(word, value)| Act::Store(word * 8, value)),
        4 => (range(), any::<u8>()).prop_map(|((at, len), value)| Act::Write(at, len, value)),
        5 => (range(), any::<u8>()).prop_map(|((at, len), value)| Act::View(at, len, value)),
        3 => Just(Act::SavePoint),
        3 => any::<usize>().prop_map(Act::RollBack),
        2 => any::<usize>().prop_map(Act::Release),
        1 => (range(), any::<u8>()).prop_map(|((at, len), value)| Act::Fill(at, len, value)),
        1 => Just(Act::Clear),
    ]
}

/// What the transaction should see, and which bytes it should have changed.
#[derive(Debug, Clone)]
struct Model {
    bytes: Vec<u8>,
    changed: Vec<bool>,
}

impl Model {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let range = at as usize..at as usize + bytes.len();
        self.bytes[range.clone()].copy_from_slice(bytes);
        self.changed[range].fill(true);
    }
}

/// The file's bytes, and a set of changes over them.
struct Bench {
    media: Media,
    set: WriteSet,
}

impl Bench {
    fn committed(&self) -> Vec<u8> {
        let mut bytes = vec![0; WORKED as usize];
        self.media.copy_to(START, &mut bytes).unwrap();
        bytes
    }

    fn fresh_model(&self) -> Model {
        Model { bytes: self.committed(), changed: vec![false; WORKED as usize] }
    }

    /// A range as a transaction reads it.
    fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.media.copy_to(START + at, &mut bytes).unwrap();
        match self.set.seen(START + at, len) {
            Seen::Committed => {}
            Seen::Shadowed(seen) => bytes.copy_from_slice(seen),
            Seen::Mixed => self.set.overlay(START + at, &mut bytes),
        }
        bytes
    }

    fn assert_is(&self, model: &Model) {
        assert!(self.read(0, WORKED) == model.bytes, "the whole is seen differently");
        for at in (0..WORKED - 8).step_by(88) {
            assert!(self.read(at, 8) == model.bytes[at as usize..at as usize + 8]);
            let word = START + at / 8 * 8;
            let expected = u64::from_le_bytes(model.bytes[(at / 8 * 8) as usize..][..8].try_into().unwrap());
            assert!(self.set.load(word).is_none_or(|word| word == expected));
            assert!(self.read(at, 130.min(WORKED - at))[..8] == model.bytes[at as usize..at as usize + 8]);
        }
        // What a commit would write, over the committed bytes, gives the model; no more than the touched words.
        let mut applied = self.committed();
        let mut last = 0;
        let mut count = 0;
        for (offset, words) in self.set.sorted_changes() {
            assert!(offset >= last && offset % LINE + words.len() as u64 * 8 <= LINE);
            last = offset + words.len() as u64 * 8;
            count += words.len();
            let at = (offset - START) as usize;
            applied[at..at + words.len() * 8].copy_from_slice(bytemuck::cast_slice(words));
            for word in model.changed[at..at + words.len() * 8].chunks(8) {
                assert!(word.contains(&true), "a word that was not touched is written");
            }
        }
        assert!(applied == model.bytes, "the changes do not add up");
        assert_eq!(count, self.set.changes().map(|(_, words)| words.len()).sum::<usize>());
    }
}

fn run(acts: &[Act]) {
    let image: Vec<u8> = (0..LEN).map(|at| (at / 7) as u8).collect();
    let disk = SimDisk::from_image(&image).unwrap();
    disk.record(false).unwrap();
    let media = disk.open_media(LEN, Writable::Runtime).unwrap();
    let mut bench = Bench { media, set: WriteSet::default() };
    let mut model = bench.fresh_model();
    let mut points: Vec<(Mark, Model)> = Vec::new();
    for act in acts {
        let Bench { media, set } = &mut bench;
        match *act {
            Act::Store(at, value) => {
                set.write(START + at, &value.to_le_bytes(), media).unwrap();
                model.put(at, &value.to_le_bytes());
            }
            Act::Write(at, len, value) => {
                let bytes: Vec<u8> = (0..len).map(|i| value.wrapping_add(i as u8)).collect();
                set.write(START + at, &bytes, media).unwrap();
                model.put(at, &bytes);
            }
            Act::View(at, len, value) => {
                let view = set.view_mut(START + at, len, media).unwrap();
                assert!(*view == model.bytes[at as usize..(at + len) as usize]);
                assert!(len == 0 || view.as_ptr() as u64 % LINE == (START + at) % LINE);
                for byte in view.iter_mut().step_by(3) {
                    *byte = value;
                }
                let bytes = view.to_vec();
                model.put(at, &bytes);
            }
            // Only into space that no save point brings back.
            Act::Fill(at, len, value) if points.is_empty() => {
                let bytes = vec![value; len as usize];
                media.write(START + at, &bytes).unwrap();
                set.overwrite_shadows(START + at, &bytes);
                model.bytes[at as usize..(at + len) as usize].copy_from_slice(&bytes);
            }
            Act::SavePoint => points.push((set.mark(), model.clone())),
            Act::RollBack(n) if !points.is_empty() => {
                let keep = n % points.len() + 1;
                while points.len() > keep {
                    points.pop();
                    set.release();
                }
                let (mark, before) = &points[keep - 1];
                set.roll_back(*mark);
                model = before.clone();
            }
            Act::Release(n) if !points.is_empty() => {
                let keep = n % points.len();
                while points.len() > keep {
                    points.pop();
                    set.release();
                }
            }
            Act::Clear => {
                set.clear();
                points.clear();
                model = bench.fresh_model();
            }
            _ => {}
        }
        bench.assert_is(&model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_write_set_is_an_overlay_with_history(acts in prop::collection::vec(acts(), 1..80)) {
        run(&acts);
    }
}

/// Far more lines than the table has at first, with save points across its growth.
#[test]
fn save_points_survive_the_growth_of_the_table() {
    let image = vec![1u8; 1 << 20];
    let disk = SimDisk::from_image(&image).unwrap();
    disk.record(false).unwrap();
    let media = disk.open_media(1 << 20, Writable::Runtime).unwrap();
    let mut set = WriteSet::default();
    for round in 0..3u64 {
        set.write(0, &[round as u8; 1000], &media).unwrap();
        let mark = set.mark();
        for line in 0..(1 << 20) / LINE {
            set.write(line * LINE + 8, &(line + round).to_le_bytes(), &media).unwrap();
        }
        set.view_mut(100, 5000, &media).unwrap().fill(7);
        set.roll_back(mark);
        assert!(matches!(set.seen(8, 8), Seen::Shadowed(bytes) if bytes == [round as u8; 8]));
        assert!(matches!(set.seen(2000, 8), Seen::Committed));
        assert_eq!(set.changes().map(|(_, words)| words.len()).sum::<usize>(), 125);
        set.release();
        set.clear();
        assert!(set.is_empty() && matches!(set.seen(8, 8), Seen::Committed));
    }
}

#[test]
fn what_lies_past_the_file_is_refused() {
    let disk = SimDisk::from_image(&[0; 4096]).unwrap();
    let media = disk.open_media(1 << 20, Writable::Private).unwrap();
    let mut set = WriteSet::default();
    assert!(set.view_mut(4000, 200, &media).is_err());
    assert!(set.view_mut(u64::MAX - 10, 5, &media).is_err());
    assert!(set.write(4096, &[1; 8], &media).is_err());
    assert!(set.is_empty());
}

#[test]
fn a_few_lines_leave_nothing_behind() {
    let disk = SimDisk::from_image(&[0; LEN as usize]).unwrap();
    let media = disk.open_media(LEN, Writable::Runtime).unwrap();
    let mut set = WriteSet::default();
    for first in 0..40 {
        for second in 0..40 {
            for line in [first, second, 17, 39] {
                set.write(START + line * LINE, &[1; 8], &media).unwrap();
            }
            set.clear();
            let is_empty = set.slots.iter().all(|slot| slot.line == EMPTY);
            assert!(is_empty && !set.pages.may_have(START / PAGE), "lines {first} and {second}");
        }
    }
}
