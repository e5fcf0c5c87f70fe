//! Texts behave as `String`; a change writes no more than it changes.

mod common;

use common::{fast_dir, small};
use heapfile::collections::Text;
use heapfile::{Durability, Error, Options, View};
use proptest::prelude::*;

/// The nearest place between characters.
fn place(text: &str, at: usize) -> usize {
    let mut at = at % (text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_text_is_a_string(
        edits in proptest::collection::vec((any::<usize>(), any::<usize>(), "\\PC{0,30}", 0..9u8), 0..40),
        power in any::<bool>(),
    ) {
        let dir = fast_dir();
        let durability = if power { Durability::Power } else { Durability::Process };
        let arena = small(durability).create(dir.path().join("a.heap")).unwrap();
        let mut tx = arena.write().unwrap();
        let text = Text::new_in(&mut tx).unwrap();
        let mut model = String::new();
        for (a, b, with, what) in edits {
            let (a, b) = (place(&model, a), place(&model, b));
            let (a, b) = (a.min(b), a.max(b));
            match what {
                0 => {
                    text.push_str(&mut tx, &with).unwrap();
                    model.push_str(&with);
                }
                1 => {
                    text.insert_str(&mut tx, a as u64, &with).unwrap();
                    model.insert_str(a, &with);
                }
                2 => {
                    let removed = text.drain(&mut tx, a as u64..b as u64).unwrap();
                    prop_assert_eq!(removed, model.drain(a..b).collect::<String>());
                }
                3 => prop_assert_eq!(text.pop(&mut tx).unwrap(), model.pop()),
                4 => {
                    text.truncate(&mut tx, b as u64).unwrap();
                    model.truncate(b);
                }
                5 => {
                    tx.commit().unwrap();
                    assert_eq!(text.as_str(&arena.read().unwrap()).unwrap(), model);
                    tx = arena.write().unwrap();
                }
                6 => {
                    let rest = text.split_off(&mut tx, b as u64).unwrap();
                    prop_assert_eq!(rest.as_str(&tx).unwrap(), model.split_off(b));
                    rest.free(&mut tx).unwrap();
                }
                _ => {
                    text.replace_range(&mut tx, a as u64..b as u64, &with).unwrap();
                    model.replace_range(a..b, &with);
                }
            }
            prop_assert_eq!(text.as_str(&tx).unwrap(), &model);
            prop_assert_eq!(text.len(&tx).unwrap(), model.len() as u64);
            text.check(&tx).unwrap();
        }
        let middle = place(&model, model.len() / 2);
        prop_assert_eq!(text.slice(&tx, middle as u64..).unwrap(), &model[middle..]);
        text.free(&mut tx).unwrap();
        prop_assert_eq!(tx.blocks().count(), 0);
    }
}

#[test]
fn places_inside_a_character_are_refused() {
    let arena = Options::new().durability(Durability::Process).create_anonymous().unwrap();
    let mut tx = arena.write().unwrap();
    let text = Text::from_str(&mut tx, "aé€😀").unwrap();
    let inside: Vec<u64> = (0..=10).filter(|&at| !"aé€😀".is_char_boundary(at as usize)).collect();
    assert_eq!(inside, [2, 4, 5, 7, 8, 9]);
    for at in inside {
        assert!(matches!(text.insert_str(&mut tx, at, "x"), Err(Error::BadOption { .. })));
        assert!(matches!(text.replace_range(&mut tx, 0..at, "x"), Err(Error::BadOption { .. })));
        assert!(matches!(text.truncate(&mut tx, at), Err(Error::BadOption { .. })));
        assert!(matches!(text.slice(&tx, at..), Err(Error::BadOption { .. })));
        assert!(matches!(text.split_off(&mut tx, at), Err(Error::BadOption { .. })));
    }
    assert!(matches!(text.drain(&mut tx, 3..11), Err(Error::OutOfBounds { .. })));
    assert!(matches!(text.split_off(&mut tx, 11), Err(Error::OutOfBounds { .. })));
    assert_eq!(text.as_str(&tx).unwrap(), "aé€😀");
}

#[test]
fn bytes_that_are_no_text_are_damage() {
    let arena = Options::new().durability(Durability::Process).create_anonymous().unwrap();
    let mut tx = arena.write().unwrap();
    for bytes in [&b"\xC3"[..], b"ab\xFF", b"\x80\x80\x80\x80\x80"] {
        let text = Text::from_str(&mut tx, "").unwrap();
        text.bytes().extend_from_slice(&mut tx, bytes).unwrap();
        assert!(matches!(text.as_str(&tx), Err(Error::Corrupt { .. })));
        assert!(matches!(text.check(&tx), Err(Error::Corrupt { .. })));
        assert!(matches!(text.pop(&mut tx), Err(Error::Corrupt { .. })));
    }
}

#[test]
fn a_change_in_a_long_text_logs_what_it_changes() {
    let dir = fast_dir();
    let arena = Options::new().create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let text = Text::from_str(&mut tx, &"0123456789".repeat(100_000)).unwrap();
    text.reserve(&mut tx, 1000).unwrap();
    tx.commit().unwrap();
    let logged = |change: &dyn Fn(&mut heapfile::WriteTxn<'_>)| {
        arena.checkpoint().unwrap();
        let mut tx = arena.write().unwrap();
        change(&mut tx);
        tx.commit().unwrap();
        arena.stats().unwrap().log_used_bytes
    };
    let least = logged(&|tx| text.bytes().set(tx, 0, b'x').unwrap());
    let replaced = logged(&|tx| text.replace_range(tx, 500_000..500_100, &"y".repeat(100)).unwrap());
    let appended = logged(&|tx| text.push_str(tx, &"z".repeat(100)).unwrap());
    assert!(replaced <= least + 8 * 1024 && appended <= least + 8 * 1024, "{least} {replaced} {appended}");
    let tail = text.slice(&arena.read().unwrap(), 1_000_090..).unwrap().to_owned();
    assert_eq!(tail, "zzzzzzzzzz");
}
