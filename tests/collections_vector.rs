//! Vectors behave as `Vec`, across transactions, save points and roll back.

mod common;

use common::model::{End, Subject, obey};
use common::{BOTH, fast_dir, small};
use heapfile::collections::Vector;
use heapfile::{Arena, Durability, Error, View, WriteTxn};
use proptest::prelude::*;

type Element = [u16; 3];

#[derive(Debug, Clone)]
enum Act {
    Push(Element),
    Extend(Vec<Element>),
    Insert(usize, Element),
    Remove(usize),
    SwapRemove(usize),
    Pop,
    Set(usize, Element),
    Update(usize),
    Swap(usize, usize),
    Replace(usize, usize, Vec<Element>),
    Drain(usize, usize),
    SplitOff(usize),
    Retain(u16),
    Truncate(usize),
    Resize(usize, Element),
    Sort,
    Reserve(u16),
    ShrinkToFit,
    Clear,
    Commit,
    RollBack,
    SavePoint(Vec<Act>, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let some = || proptest::collection::vec(any::<Element>(), 0..40);
    let act = prop_oneof![
        6 => any::<Element>().prop_map(Act::Push),
        3 => some().prop_map(Act::Extend),
        3 => (any::<usize>(), any::<Element>()).prop_map(|(i, e)| Act::Insert(i, e)),
        3 => any::<usize>().prop_map(Act::Remove),
        2 => any::<usize>().prop_map(Act::SwapRemove),
        2 => Just(Act::Pop),
        2 => (any::<usize>(), any::<Element>()).prop_map(|(i, e)| Act::Set(i, e)),
        1 => any::<usize>().prop_map(Act::Update),
        1 => any::<(usize, usize)>().prop_map(|(a, b)| Act::Swap(a, b)),
        4 => (any::<usize>(), any::<usize>(), some()).prop_map(|(a, b, e)| Act::Replace(a, b, e)),
        2 => any::<(usize, usize)>().prop_map(|(a, b)| Act::Drain(a, b)),
        1 => any::<usize>().prop_map(Act::SplitOff),
        1 => any::<u16>().prop_map(Act::Retain),
        1 => any::<usize>().prop_map(Act::Truncate),
        1 => (0..200usize, any::<Element>()).prop_map(|(n, e)| Act::Resize(n, e)),
        1 => Just(Act::Sort),
        1 => any::<u16>().prop_map(Act::Reserve),
        1 => Just(Act::ShrinkToFit),
        1 => Just(Act::Clear),
        2 => Just(Act::Commit),
        1 => Just(Act::RollBack),
    ];
    let nested = act.prop_recursive(1, 20, 10, |act| {
        (proptest::collection::vec(act, 0..10), any::<bool>())
            .prop_map(|(acts, keep)| Act::SavePoint(acts, keep))
    });
    proptest::collection::vec(nested, 0..60)
}

fn between(a: usize, b: usize, len: usize) -> std::ops::Range<usize> {
    let (a, b) = (a % (len + 1), b % (len + 1));
    a.min(b)..a.max(b)
}

fn wide(range: &std::ops::Range<usize>) -> std::ops::Range<u64> {
    range.start as u64..range.end as u64
}

/// Does the same to both; what they return has to be equal.
fn play(
    tx: &mut WriteTxn<'_>,
    v: Vector<Element>,
    model: &mut Vec<Element>,
    act: &Act,
) -> heapfile::Result<()> {
    let len = model.len();
    match act {
        Act::Push(e) => {
            v.push(tx, *e)?;
            model.push(*e);
        }
        Act::Extend(all) => {
            v.extend(tx, all.iter().copied())?;
            model.extend_from_slice(all);
        }
        Act::Insert(at, e) => {
            v.insert(tx, (at % (len + 1)) as u64, *e)?;
            model.insert(at % (len + 1), *e);
        }
        Act::Pop => assert_eq!(v.pop(tx)?, model.pop()),
        Act::Replace(a, b, with) => {
            let range = between(*a, *b, len);
            v.replace_range(tx, wide(&range), with)?;
            model.splice(range, with.iter().copied());
        }
        Act::Drain(a, b) => {
            let range = between(*a, *b, len);
            assert_eq!(v.drain(tx, wide(&range))?, model.drain(range).collect::<Vec<_>>());
        }
        Act::SplitOff(at) => {
            let rest = v.split_off(tx, (at % (len + 1)) as u64)?;
            assert_is(tx, rest, &model.split_off(at % (len + 1)));
            rest.free(tx)?;
        }
        Act::Retain(limit) => {
            v.retain(tx, |e| e[0] < *limit)?;
            model.retain(|e| e[0] < *limit);
        }
        Act::Truncate(n) => {
            v.truncate(tx, (n % (len + 3)) as u64)?;
            model.truncate(n % (len + 3));
        }
        Act::Resize(n, e) => {
            v.resize(tx, *n as u64, *e)?;
            model.resize(*n, *e);
        }
        Act::Sort => {
            v.as_mut_slice(tx)?.sort_unstable();
            model.sort_unstable();
            for e in model.iter().take(3) {
                let (found, expected) = (v.binary_search(tx, e)?, model.binary_search(e));
                assert!(found.is_ok() && expected.is_ok() && model[found.unwrap() as usize] == *e);
            }
            assert!(
                v.binary_search(tx, &[u16::MAX; 3])?.is_err_and(|at| at == model.len() as u64)
                    || model.contains(&[u16::MAX; 3])
            );
        }
        Act::Reserve(n) => {
            v.reserve(tx, u64::from(*n))?;
            assert!(v.capacity(tx)? >= len as u64 + u64::from(*n));
        }
        Act::ShrinkToFit => {
            v.shrink_to_fit(tx)?;
            assert_eq!(v.capacity(tx)?, len as u64);
        }
        Act::Clear => {
            v.clear(tx)?;
            model.clear();
        }
        Act::SavePoint(acts, keep) => {
            let (point, before) = (tx.save_point(), model.clone());
            for act in acts {
                play(tx, v, model, act)?;
            }
            if !keep {
                tx.roll_back_to(&point)?;
                *model = before;
            }
            tx.release(point)?;
        }
        _ if len == 0 => {}
        Act::Remove(at) => assert_eq!(v.remove(tx, (at % len) as u64)?, model.remove(at % len)),
        Act::SwapRemove(at) => assert_eq!(v.swap_remove(tx, (at % len) as u64)?, model.swap_remove(at % len)),
        Act::Set(at, e) => {
            v.set(tx, (at % len) as u64, *e)?;
            model[at % len] = *e;
        }
        Act::Update(at) => {
            let change = |e: &mut Element| std::mem::replace(&mut e[1], 7);
            assert_eq!(v.update(tx, (at % len) as u64, change)?, change(&mut model[at % len]));
        }
        Act::Swap(a, b) => {
            v.swap(tx, (a % len) as u64, (b % len) as u64)?;
            model.swap(a % len, b % len);
        }
        Act::Commit | Act::RollBack => {}
    }
    assert_is(tx, v, model);
    Ok(())
}

#[track_caller]
fn assert_is(tx: &impl View, v: Vector<Element>, model: &[Element]) {
    assert_eq!(v.as_slice(tx).unwrap(), model);
    assert_eq!((v.first(tx).unwrap(), v.last(tx).unwrap()), (model.first(), model.last()));
    v.check(tx).unwrap();
}

impl Subject for Vector<Element> {
    type Act = Act;
    type Model = Vec<Element>;

    fn new_in(tx: &mut WriteTxn<'_>) -> Self {
        Vector::new_in(tx).unwrap()
    }

    fn end(act: &Act) -> Option<End> {
        match act {
            Act::Commit => Some(End::Commit),
            Act::RollBack => Some(End::RollBack),
            _ => None,
        }
    }

    fn play(&self, tx: &mut WriteTxn<'_>, model: &mut Vec<Element>, act: &Act) {
        play(tx, *self, model, act).unwrap();
    }

    fn assert_is(&self, tx: &impl View, model: &Vec<Element>) {
        assert_is(tx, *self, model);
    }

    fn free(self, tx: &mut WriteTxn<'_>) {
        self.free(tx).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_vector_is_a_vec(acts in acts(), power in any::<bool>()) {
        obey::<Vector<Element>>(&acts, BOTH[usize::from(power)]);
    }
}

fn arena() -> Arena {
    heapfile::Options::new().durability(Durability::Process).create_anonymous().unwrap()
}

#[test]
fn what_lies_outside_is_an_error_and_changes_nothing() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let v = Vector::from_slice(&mut tx, &[1u32, 2, 3]).unwrap();
    let outside = |result: heapfile::Result<()>| assert!(matches!(result, Err(Error::OutOfBounds { .. })));
    outside(v.set(&mut tx, 3, 0));
    outside(v.insert(&mut tx, 4, 0));
    outside(v.remove(&mut tx, 3).map(drop));
    outside(v.swap_remove(&mut tx, u64::MAX).map(drop));
    outside(v.update(&mut tx, 3, |_| ()));
    outside(v.swap(&mut tx, 0, 3));
    outside(v.drain(&mut tx, 2..4).map(drop));
    outside(v.split_off(&mut tx, 4).map(drop));
    outside(v.slice(&tx, ..=u64::MAX).map(drop));
    #[expect(clippy::reversed_empty_ranges, reason = "this is what is tested")]
    outside(v.replace_range(&mut tx, 2..1, &[]));
    assert_eq!(v.get(&tx, 3).unwrap(), None);
    assert_eq!(v.as_slice(&tx).unwrap(), [1, 2, 3]);
}

#[test]
fn pushing_moves_the_elements_seldom() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let v = Vector::new_in(&mut tx).unwrap();
    let (mut grown, mut capacity) = (0, 0);
    for n in 0..100_000u64 {
        v.push(&mut tx, n).unwrap();
        let now = v.capacity(&tx).unwrap();
        grown += u32::from(now != capacity);
        capacity = now;
    }
    assert!(grown < 40, "{grown}");
    assert!(v.iter(&tx).unwrap().copied().eq(0..100_000));
}

#[test]
fn wide_elements_are_aligned() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let v = Vector::new_in(&mut tx).unwrap();
    for n in 0..1000u128 {
        v.push(&mut tx, n).unwrap();
        tx.alloc(&n).unwrap();
    }
    assert!(v.iter(&tx).unwrap().copied().eq(0..1000));
}

#[test]
fn a_full_arena_leaves_the_vector_as_it_was() {
    let dir = fast_dir();
    let arena = small(Durability::Power).max_size(4 << 20).create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let v = Vector::new_in(&mut tx).unwrap();
    let mut n = 0u64;
    let error = loop {
        match v.push(&mut tx, n) {
            Ok(()) => n += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, Error::MaxSize { .. }), "{error}");
    assert!(v.iter(&tx).unwrap().copied().eq(0..n));
    v.check(&tx).unwrap();
    v.truncate(&mut tx, 1000).unwrap();
    v.shrink_to_fit(&mut tx).unwrap();
    assert!(v.iter(&tx).unwrap().copied().eq(0..1000));
    v.free(&mut tx).unwrap();
    assert_eq!(tx.blocks().count(), 0);
}

#[test]
fn a_vector_of_vectors_is_freed_whole() {
    let arena = arena();
    let mut tx = arena.write().unwrap();
    let table = Vector::new_in(&mut tx).unwrap();
    for n in 0..20u64 {
        let row = Vector::from_slice(&mut tx, &vec![n; n as usize]).unwrap();
        table.push(&mut tx, row).unwrap();
    }
    let sum: u64 = table.iter(&tx).unwrap().map(|row| row.iter(&tx).unwrap().sum::<u64>()).sum();
    assert_eq!(sum, (0..20).map(|n| n * n).sum());
    table.free_with(&mut tx, |tx, row| row.free(tx)).unwrap();
    assert_eq!(tx.blocks().count(), 0);
}
