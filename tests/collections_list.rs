//! Lists behave as a deque whose elements have names that stay right.

mod common;

use common::BOTH;
use common::model::{End, Subject, obey};
use heapfile::collections::{List, list::Node};
use heapfile::{Durability, Error, Options, View, WriteTxn};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Act {
    PushBack(u64),
    PushFront(u64),
    InsertAfter(usize, u64),
    InsertBefore(usize, u64),
    Remove(usize),
    PopFront,
    PopBack,
    MoveToFront(usize),
    MoveToBack(usize),
    Update(usize),
    Extend(Vec<u64>),
    Append,
    SpliceAfter(usize),
    SplitOff(usize),
    Retain(u64),
    Clear,
    Commit,
    RollBack,
}

fn acts() -> impl Strategy<Value = Vec<(bool, Act)>> {
    let act = prop_oneof![
        4 => any::<u64>().prop_map(Act::PushBack),
        4 => any::<u64>().prop_map(Act::PushFront),
        3 => any::<(usize, u64)>().prop_map(|(i, v)| Act::InsertAfter(i, v)),
        3 => any::<(usize, u64)>().prop_map(|(i, v)| Act::InsertBefore(i, v)),
        3 => any::<usize>().prop_map(Act::Remove),
        1 => Just(Act::PopFront),
        1 => Just(Act::PopBack),
        2 => any::<usize>().prop_map(Act::MoveToFront),
        2 => any::<usize>().prop_map(Act::MoveToBack),
        1 => any::<usize>().prop_map(Act::Update),
        2 => proptest::collection::vec(any::<u64>(), 0..9).prop_map(Act::Extend),
        1 => Just(Act::Append),
        1 => any::<usize>().prop_map(Act::SpliceAfter),
        2 => any::<usize>().prop_map(Act::SplitOff),
        1 => any::<u64>().prop_map(Act::Retain),
        1 => Just(Act::Clear),
        1 => Just(Act::Commit),
        1 => Just(Act::RollBack),
    ];
    proptest::collection::vec((any::<bool>(), act), 0..80)
}

/// The elements in order, by name and value.
type Model = Vec<(Node<u64>, u64)>;

fn play(
    tx: &mut WriteTxn<'_>,
    list: List<u64>,
    model: &mut Model,
    other: (List<u64>, &mut Model),
    act: &Act,
) {
    let len = model.len();
    match *act {
        Act::Extend(ref values) => {
            list.extend(tx, values.iter().copied()).unwrap();
            let nodes: Vec<_> = list.nodes(tx).unwrap().map(Result::unwrap).skip(len).collect();
            model.extend(nodes.into_iter().zip(values.iter().copied()));
        }
        Act::PushBack(v) => model.push((list.push_back(tx, v).unwrap(), v)),
        Act::PushFront(v) => model.insert(0, (list.push_front(tx, v).unwrap(), v)),
        Act::PopFront => {
            let expected = (!model.is_empty()).then(|| model.remove(0).1);
            assert_eq!(list.pop_front(tx).unwrap(), expected);
        }
        Act::PopBack => assert_eq!(list.pop_back(tx).unwrap(), model.pop().map(|(_, v)| v)),
        Act::Append => {
            list.append(tx, &other.0).unwrap();
            model.append(other.1);
        }
        Act::Retain(limit) => {
            list.retain(tx, |v| *v < limit).unwrap();
            model.retain(|(_, v)| *v < limit);
        }
        Act::Clear => {
            list.clear(tx).unwrap();
            model.clear();
        }
        Act::Commit | Act::RollBack => {}
        _ if len == 0 => {}
        Act::InsertAfter(i, v) => {
            let node = list.insert_after(tx, model[i % len].0, v).unwrap();
            model.insert(i % len + 1, (node, v));
        }
        Act::InsertBefore(i, v) => {
            let node = list.insert_before(tx, model[i % len].0, v).unwrap();
            model.insert(i % len, (node, v));
        }
        Act::Remove(i) => {
            let (node, v) = model.remove(i % len);
            assert_eq!(list.remove(tx, node).unwrap(), v);
        }
        Act::MoveToFront(i) => {
            let element = model.remove(i % len);
            list.move_to_front(tx, element.0).unwrap();
            model.insert(0, element);
        }
        Act::MoveToBack(i) => {
            let element = model.remove(i % len);
            list.move_to_back(tx, element.0).unwrap();
            model.push(element);
        }
        Act::Update(i) => {
            let (node, v) = &mut model[i % len];
            *v ^= 1;
            assert_eq!(
                list.update(tx, *node, |v| {
                    *v ^= 1;
                    *v
                })
                .unwrap(),
                *v
            );
        }
        Act::SpliceAfter(i) => {
            list.splice_after(tx, model[i % len].0, &other.0).unwrap();
            model.splice(i % len + 1..i % len + 1, other.1.drain(..));
        }
        Act::SplitOff(i) => {
            let rest = list.split_off(tx, model[i % len].0).unwrap();
            let mut expected = model.split_off(i % len);
            assert_is(tx, rest, &expected);
            other.0.append(tx, &rest).unwrap();
            other.1.append(&mut expected);
            rest.free(tx).unwrap();
        }
    }
}

#[track_caller]
fn assert_is(tx: &impl View, list: List<u64>, model: &Model) {
    list.check(tx).unwrap();
    assert_eq!(list.len(tx).unwrap(), model.len() as u64);
    let nodes = model.iter().map(|(node, _)| *node);
    assert!(list.nodes(tx).unwrap().map(Result::unwrap).eq(nodes.clone()));
    assert!(list.nodes(tx).unwrap().rev().map(Result::unwrap).eq(nodes.rev()));
    assert!(list.iter(tx).unwrap().map(Result::unwrap).eq(model.iter().map(|(_, v)| v)));
    let (mut values, mut expected) = (list.iter(tx).unwrap(), model.iter());
    for turn in 0.. {
        let (found, element) = if turn % 3 == 0 {
            (values.next_back(), expected.next_back())
        } else {
            (values.next(), expected.next())
        };
        assert_eq!(found.map(Result::unwrap), element.map(|(_, v)| v));
        if element.is_none() {
            break;
        }
    }
    assert!(model.last().is_none_or(|(_, v)| list.contains(tx, v).unwrap()));
    assert_eq!(list.contains(tx, &7).unwrap(), model.iter().any(|(_, v)| *v == 7));
    for (i, (node, v)) in model.iter().enumerate().take(5) {
        assert_eq!(list.get(tx, *node).unwrap(), v);
        assert_eq!(list.next(tx, *node).unwrap(), model.get(i + 1).map(|e| e.0));
        assert_eq!(list.previous(tx, *node).unwrap(), i.checked_sub(1).map(|i| model[i].0));
    }
}

/// Two lists, and whether an act is for the second one.
impl Subject for [List<u64>; 2] {
    type Act = (bool, Act);
    type Model = [Model; 2];

    fn new_in(tx: &mut WriteTxn<'_>) -> Self {
        [List::new_in(tx).unwrap(), List::new_in(tx).unwrap()]
    }

    fn end((_, act): &Self::Act) -> Option<End> {
        match act {
            Act::Commit => Some(End::Commit),
            Act::RollBack => Some(End::RollBack),
            _ => None,
        }
    }

    fn play(&self, tx: &mut WriteTxn<'_>, [one, two]: &mut [Model; 2], (second, act): &Self::Act) {
        if *second {
            play(tx, self[1], two, (self[0], one), act);
        } else {
            play(tx, self[0], one, (self[1], two), act);
        }
        assert_is(tx, self[0], one);
        assert_is(tx, self[1], two);
    }

    fn assert_is(&self, tx: &impl View, models: &[Model; 2]) {
        for (list, model) in self.iter().zip(models) {
            assert_is(tx, *list, model);
        }
    }

    fn free(self, tx: &mut WriteTxn<'_>) {
        for list in self {
            list.free(tx).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn two_lists_are_two_deques(acts in acts(), power in any::<bool>()) {
        obey::<[List<u64>; 2]>(&acts, BOTH[usize::from(power)]);
    }
}

#[test]
fn a_removed_element_and_one_of_another_list_are_refused() {
    let arena = Options::new().durability(Durability::Process).create_anonymous().unwrap();
    let mut tx = arena.write().unwrap();
    let (a, b) = (List::new_in(&mut tx).unwrap(), List::new_in(&mut tx).unwrap());
    let (one, two) = (a.push_back(&mut tx, 1u32).unwrap(), a.push_back(&mut tx, 2).unwrap());
    a.remove(&mut tx, one).unwrap();
    assert!(matches!(a.remove(&mut tx, one), Err(Error::BadOffset { .. })));
    assert!(matches!(a.insert_after(&mut tx, one, 5), Err(Error::BadOffset { .. })));
    assert!(b.remove(&mut tx, two).is_err());
    assert!(b.move_to_front(&mut tx, two).is_err());
    assert!(b.split_off(&mut tx, two).is_err());
    assert!(matches!(a.append(&mut tx, &a), Err(Error::BadOption { .. })));
    b.extend(&mut tx, [5, 6, 7]).unwrap();
    let six = b.nodes(&tx).unwrap().nth(1).unwrap().unwrap();
    assert!(matches!(a.split_off(&mut tx, six), Err(Error::Corrupt { .. })), "neighbours of its own");
    b.clear(&mut tx).unwrap();
    a.check(&tx).unwrap();
    b.check(&tx).unwrap();
    assert_eq!((a.len(&tx).unwrap(), b.len(&tx).unwrap()), (1, 0));
}

#[test]
fn wide_elements_are_aligned() {
    let arena = Options::new().durability(Durability::Process).create_anonymous().unwrap();
    let mut tx = arena.write().unwrap();
    let list = List::new_in(&mut tx).unwrap();
    for n in 0..100u128 {
        list.push_back(&mut tx, n).unwrap();
        tx.alloc(&1u64).unwrap();
    }
    assert!(list.iter(&tx).unwrap().map(|n| *n.unwrap()).eq(0..100));
}
