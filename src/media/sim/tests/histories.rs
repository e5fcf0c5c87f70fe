//! Whole histories: random ones against the plain rules, and a small log with and without its flushes.

use super::*;

/// A random history of all kinds of calls, growth and failures included.
fn random_history(seed: u64, calls: u64) -> History {
    let (disk, media) = disk();
    let mut rng = SplitMix64(seed);
    for i in 0..calls {
        let offset = at(HEAP) + rng.below(media.len() - at(HEAP) - 2000);
        let bytes = vec![1 + i as u8; 1 + rng.below(1500) as usize];
        match rng.below(12) {
            0 => drop(media.sync()),
            1 => disk.fail(Call::Sync, 0, libc::EIO),
            2 | 3 => media.write_durable(offset, &bytes).unwrap(),
            4 => media.grow(media.len() + PAGE).unwrap(),
            5 if media.len() > at(48) => media.truncate(media.len() - PAGE).unwrap(),
            6 | 7 => media.store(offset, &bytes).unwrap(),
            _ => media.write(offset, &bytes).unwrap(),
        }
    }
    disk.history()
}

#[test]
fn the_same_seed_gives_the_same_images() {
    let draw = |seed| {
        let history = random_history(5, 40);
        let plan = Plan { enumerate_up_to: 8, samples: 10, seed };
        let mut hashes = Vec::new();
        history.images(0..history.points(), &plan, |_, _, image| hashes.push(crc32fast::hash(image)));
        hashes
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

/// What a sector may hold at a point, by the plain rules, read off the history one entry at a time. Lengths are
/// left aside, which allows too much after a cut.
fn allowed(history: &History, point: usize, sector: Range<u64>) -> Vec<Vec<u8>> {
    let overlap = |from: u64, to: u64| from.max(sector.start)..to.min(sector.end);
    let page = sector.start / PAGE;
    let entries = &history.log[..history.entries_before(point)];
    let (mut states, mut floor, mut given_up) = (vec![vec![0; SECTOR as usize]], 0, 0);
    for entry in entries {
        let mut now = states[states.len() - 1].clone();
        match entry {
            Entry::Write { offset, bytes } => {
                for at in overlap(*offset, offset + bytes.len() as u64) {
                    now[(at - sector.start) as usize] = history.data(bytes)[(at - offset) as usize];
                }
            }
            Entry::Cut { start, end } => {
                overlap(*start, *end).for_each(|at| now[(at - sector.start) as usize] = 0);
            }
            Entry::WriteDone { place, ok: true } => {
                let Entry::Write { offset, bytes } = &entries[place - 1] else { unreachable!() };
                if !overlap(*offset, offset + bytes.len() as u64).is_empty() {
                    floor = floor.max(*place);
                }
            }
            Entry::SyncDone { place, ok: true } => {
                let dirtied = entries[given_up..*place].iter().any(|entry| match entry {
                    Entry::Write { offset, bytes } => {
                        (offset / PAGE..=(offset + bytes.len() as u64 - 1) / PAGE).contains(&page)
                    }
                    Entry::Cut { start, end } => (start / PAGE..end / PAGE).contains(&page),
                    _ => false,
                });
                if dirtied {
                    floor = floor.max(*place);
                }
            }
            Entry::SyncDone { place, ok: false } => given_up = *place,
            _ => {}
        }
        states.push(now);
    }
    states.split_off(floor)
}

#[test]
fn random_images_keep_the_rules() {
    for seed in 0..20 {
        let history = random_history(seed, 40);
        let plan = Plan { enumerate_up_to: 20, samples: 20, seed };
        for point in 0..history.points() {
            let sectors = (at(HEAP)..at(100)).step_by(SECTOR as usize);
            let mut may = sectors.map(|start| (start, None)).collect::<Vec<_>>();
            history.images(point..point + 1, &plan, |_, recipe, image| {
                for (start, may) in &mut may {
                    let Some(found) = image.get(*start as usize..(*start + SECTOR) as usize) else { break };
                    let may = may.get_or_insert_with(|| allowed(&history, point, *start..*start + SECTOR));
                    assert!(
                        may.iter().any(|state| state == found),
                        "seed {seed}, point {point}, {recipe:?}: sector {start:#x} holds what it must not"
                    );
                }
            });
        }
    }
}

/// Which of its flushes the log below does.
#[derive(Clone, Copy)]
struct Flushes {
    /// The record, before it is applied.
    record: bool,
    /// What was applied, before the record's place is used again.
    applied: bool,
}

/// A record of two sectors, sealed by its CRC, then applied in place: the smallest redo log.
fn commit(media: &Media, value: u8, flushes: Flushes) {
    let mut bytes = vec![value; 1020];
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    if flushes.record {
        media.write_durable(at(HEAP), &bytes).unwrap();
    } else {
        media.write(at(HEAP), &bytes).unwrap();
    }
    media.write(at(HEAP + 2), &[value; 1024]).unwrap();
    if flushes.applied {
        media.sync().unwrap();
    }
}

/// Replays the record, if it is whole. Returns the value that the heap holds, if it is one.
fn recover(image: &mut [u8]) -> Option<u8> {
    let (record, heap) = image[at(HEAP) as usize..].split_at_mut(2 * PAGE as usize);
    let whole = crc32fast::hash(&record[..1020]).to_le_bytes() == record[1020..1024];
    if whole && record[0] != 0 {
        heap[..1024].copy_from_slice(&record[..1].repeat(1024));
    }
    heap[..1024].iter().all(|byte| byte == &heap[0]).then_some(heap[0])
}

/// Runs three commits and counts the images that are torn or have lost an acknowledged commit.
fn violations(flushes: Flushes) -> u64 {
    let (disk, media) = disk();
    let mut acknowledged = vec![(disk.steps(), 0)];
    for value in 1..=3 {
        commit(&media, value, flushes);
        acknowledged.push((disk.steps(), value));
    }
    let history = disk.history();
    let plan = Plan { enumerate_up_to: 4_096, samples: 100, seed: 11 };
    let mut bad = 0;
    history.images(0..history.points(), &plan, |point, _, image| {
        let least = acknowledged.iter().rfind(|&&(step, _)| step <= point).unwrap().1;
        bad += u64::from(recover(&mut image.to_vec()).is_none_or(|value| value < least));
    });
    bad
}

#[test]
fn a_sound_log_survives_and_one_without_a_flush_is_found_out() {
    assert_eq!(violations(Flushes { record: true, applied: true }), 0);
    assert!(violations(Flushes { record: false, applied: true }) > 0);
    assert!(violations(Flushes { record: true, applied: false }) > 0);
}
