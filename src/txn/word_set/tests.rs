//! The set of words against a map, with save points and pages that become free again.

use super::*;
use crate::layout::page_offset;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<u64, u64>;

/// Pages that are worked on, with few words each, so that they meet.
const PAGES: u64 = 12;

#[derive(Debug, Clone)]
enum Act {
    Store(u64, u64),
    /// A look as at a word of states.
    Look(u64),
    /// What the last look, or the last change, made possible to do again; not always.
    Again(u64, u64),
    /// So many words at once: the table grows.
    Many(u64),
    Forget(u32, u32),
    SavePoint,
    RollBack(usize),
    Release(usize),
    Clear,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..PAGES, 0u64..6, any::<u64>()).prop_map(|(page, word, value)| Act::Store(page * 512 + word, value)),
        6 => (0..PAGES, 0u64..6).prop_map(|(page, word)| Act::Look(page * 512 + word)),
        6 => (0..PAGES, 0u64..6, any::<u64>()).prop_map(|(page, word, value)| Act::Again(page * 512 + word, value)),
        1 => (1u64..3000).prop_map(Act::Many),
        3 => (0..PAGES as u32, 1u32..3).prop_map(|(page, pages)| Act::Forget(page, pages)),
        3 => Just(Act::SavePoint),
        3 => any::<usize>().prop_map(Act::RollBack),
        2 => any::<usize>().prop_map(Act::Release),
        1 => Just(Act::Clear),
    ]
}

fn assert_is(set: &WordSet, model: &Model) {
    for word in (0..PAGES).flat_map(|page| (0..8).map(move |word| page * 512 + word)) {
        assert_eq!(set.load(word * 8), model.get(&word).copied(), "word {word}");
    }
    let mut applied = Model::new();
    for &[head, word] in set.runs().flatten() {
        applied.insert(offset_of_write(head) / 8, word);
    }
    assert!(applied == *model, "applied in order the entries are something else");
    let sorted = set.sorted();
    assert!(sorted.is_sorted_by_key(|&(offset, _)| offset));
    assert!(sorted.iter().map(|&(offset, word)| (offset / 8, word)).collect::<Model>() == *model);
}

fn run(acts: &[Act]) {
    let mut set = WordSet::default();
    let mut model = Model::new();
    let mut points: Vec<(Mark, Model)> = Vec::new();
    let mut looked = None;
    for act in acts {
        match *act {
            Act::Store(word, value) => {
                set.store(word * 8, value);
                model.insert(word, value);
            }
            Act::Look(word) => {
                let found = set.load_again(word * 8).map_err(|vacant| set.keep_vacant(vacant));
                assert_eq!(found.ok(), model.get(&word).copied());
                looked = Some(word);
            }
            Act::Again(word, value) => {
                // Mostly the word that was looked at.
                let word = if value % 4 == 0 { word } else { looked.unwrap_or(word) };
                if set.store_again(word * 8, value) {
                    model.insert(word, value);
                }
            }
            Act::Many(count) => (0..count).for_each(|i| {
                set.store((PAGES * 512 + i * 7) * 8, count);
                model.insert(PAGES * 512 + i * 7, count);
            }),
            Act::Forget(page, pages) => {
                // Only pages that were taken since the save point are given back.
                let words = u64::from(page) * 512..u64::from(page + pages) * 512;
                let is_fresh =
                    points.last().is_none_or(|(_, before)| before.range(words.clone()).next().is_none());
                if is_fresh {
                    set.forget(page_offset(page), page_offset(pages));
                    model.retain(|word, _| !words.contains(word));
                }
            }
            Act::SavePoint => points.push((set.mark(), model.clone())),
            Act::RollBack(n) if !points.is_empty() => {
                let keep = n % points.len() + 1;
                points.drain(keep..).rev().for_each(|(mark, _)| set.release(mark));
                let (mark, before) = &points[keep - 1];
                set.roll_back(*mark);
                model = before.clone();
            }
            Act::Release(n) if !points.is_empty() => {
                points.drain(n % points.len()..).rev().for_each(|(mark, _)| set.release(mark));
            }
            Act::Clear => {
                set.clear();
                points.clear();
                model.clear();
            }
            _ => {}
        }
        assert_is(&set, &model);
    }
    set.clear();
    assert!(set.is_empty() && set.slots.iter().all(|&slot| slot == 0), "cleared, the table is not empty");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_of_words_is_a_map_with_history(acts in prop::collection::vec(acts(), 1..120)) {
        run(&acts);
    }
}

#[test]
fn a_few_words_leave_nothing_behind() {
    let mut set = WordSet::default();
    for first in 0..40 {
        for second in 0..40 {
            for word in [first, second, 17, 99] {
                set.store(word * 8, word);
            }
            set.clear();
            assert!(set.slots.iter().all(|&slot| slot == 0), "words {first} and {second}");
        }
    }
}

#[test]
fn an_unusually_large_set_gives_its_memory_back() {
    let mut set = WordSet::default();
    (0..MOST_KEPT as u64).for_each(|word| set.store(word * 8, word));
    assert_eq!(set.load(4096 * 8), Some(4096));
    set.clear();
    assert!(set.is_empty() && set.slots.len() == FIRST_SLOTS);
}
