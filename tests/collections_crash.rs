//! Collections nested in one another, changed by transactions; in the middle of these the file is taken as a kill leaves it and opened again.

mod common;

use bytemuck::{Pod, Zeroable};
use common::{assert_clean, copy_as_killed, fast_dir, small};
use heapfile::collections::{HashMap, List, Text, Vector};
use heapfile::{Arena, Durability, Options, View, WriteTxn};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A person of the address book.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Person {
    name: Text,
    visits: Vector<u64>,
}

/// The root.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Book {
    people: HashMap<u32, Person>,
    /// Who was changed last.
    recent: List<u32>,
}

type Model = (BTreeMap<u32, (String, Vec<u64>)>, Vec<u32>);

#[derive(Debug, Clone)]
enum Act {
    Visit(u32, u64),
    Rename(u32, String),
    Remove(u32),
    Crash,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    RollBack,
    Reopen,
}

fn transactions() -> impl Strategy<Value = Vec<(Vec<Act>, End)>> {
    let act = prop_oneof![
        8 => (0..60u32, any::<u64>()).prop_map(|(id, at)| Act::Visit(id, at)),
        4 => (0..60u32, "\\PC{0,300}").prop_map(|(id, name)| Act::Rename(id, name)),
        3 => (0..60u32).prop_map(Act::Remove),
        1 => Just(Act::Crash),
    ];
    let end = prop_oneof![4 => Just(End::Commit), 1 => Just(End::RollBack), 1 => Just(End::Reopen)];
    proptest::collection::vec((proptest::collection::vec(act, 0..25), end), 1..12)
}

fn begin(arena: &Arena) {
    let mut tx = arena.write().unwrap();
    let book = Book { people: HashMap::new_in(&mut tx).unwrap(), recent: List::new_in(&mut tx).unwrap() };
    let root = tx.alloc(&book).unwrap();
    tx.set_root(root).unwrap();
    tx.commit().unwrap();
}

fn book(tx: &impl View) -> Book {
    *tx.get(tx.root::<Book>().unwrap().unwrap()).unwrap()
}

/// The person of that number, made if there is none; named as the last one in `recent`.
fn person(tx: &mut WriteTxn<'_>, id: u32) -> heapfile::Result<Person> {
    let Book { people, recent } = book(tx);
    let found = recent.nodes(tx)?.find(|node| recent.get(tx, *node.as_ref().unwrap()).unwrap() == &id);
    match found {
        Some(node) => recent.move_to_back(tx, node?)?,
        None => drop(recent.push_back(tx, id)?),
    }
    if let Some(person) = people.get(tx, &id)? {
        return Ok(*person);
    }
    let person = Person { name: Text::new_in(tx)?, visits: Vector::new_in(tx)? };
    people.insert(tx, &id, &person)?;
    Ok(person)
}

fn play(tx: &mut WriteTxn<'_>, model: &mut Model, act: &Act) -> heapfile::Result<()> {
    let touch = |model: &mut Model, id: u32| {
        model.1.retain(|&other| other != id);
        model.1.push(id);
    };
    match act {
        Act::Visit(id, at) => {
            person(tx, *id)?.visits.push(tx, *at)?;
            touch(model, *id);
            model.0.entry(*id).or_default().1.push(*at);
        }
        Act::Rename(id, name) => {
            person(tx, *id)?.name.replace_range(tx, .., name)?;
            touch(model, *id);
            model.0.entry(*id).or_default().0.clone_from(name);
        }
        Act::Remove(id) => {
            let Book { people, recent } = book(tx);
            let removed = people.take(tx, id)?;
            assert_eq!(removed.is_some(), model.0.remove(id).is_some());
            if let Some(person) = removed {
                person.name.free(tx)?;
                person.visits.free(tx)?;
                recent.retain(tx, |other| other != id)?;
                model.1.retain(|other| other != id);
            }
        }
        Act::Crash => {}
    }
    Ok(())
}

#[track_caller]
fn assert_is(tx: &impl View, model: &Model) {
    let Book { people, recent } = book(tx);
    people.check(tx).unwrap();
    recent.check(tx).unwrap();
    let mut blocks = 3 + 2 + 1 + model.1.len();
    assert!(recent.iter(tx).unwrap().map(|id| *id.unwrap()).eq(model.1.iter().copied()));
    assert_eq!(people.len(tx).unwrap(), model.0.len() as u64);
    for (id, (name, visits)) in &model.0 {
        let person = people.get(tx, id).unwrap().unwrap();
        assert_eq!(person.name.as_str(tx).unwrap(), name);
        assert_eq!(person.visits.as_slice(tx).unwrap(), visits);
        blocks += 3 + usize::from(person.name.bytes().capacity(tx).unwrap() > 0);
        blocks += usize::from(person.visits.capacity(tx).unwrap() > 0);
    }
    // Nothing was lost or left over, but for segments and overflow blocks of the table, of which there are few.
    let found = tx.blocks().count();
    assert!((blocks..blocks + 8).contains(&found), "{found} blocks, {blocks} expected");
}

fn opened(options: &Options, path: &PathBuf, model: &Model) -> Arena {
    let arena = options.open(path).unwrap();
    assert_is(&arena.read().unwrap(), model);
    assert_clean(&arena);
    arena
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn committed_collections_are_found_again(transactions in transactions(), power in any::<bool>()) {
        let dir = fast_dir();
        let options = small(if power { Durability::Power } else { Durability::Process });
        let (mut path, mut crashes) = (dir.path().join("0"), 0);
        let mut arena = options.create(&path).unwrap();
        begin(&arena);
        let mut committed = Model::default();
        for (acts, end) in &transactions {
            let mut tx = arena.write().unwrap();
            let mut model = committed.clone();
            for act in acts {
                if matches!(act, Act::Crash) {
                    crashes += 1;
                    let copy = dir.path().join(crashes.to_string());
                    copy_as_killed(&path, &copy);
                    drop(opened(&options, &copy, &committed));
                }
                play(&mut tx, &mut model, act).unwrap();
            }
            assert_is(&tx, &model);
            if matches!(end, End::RollBack) {
                drop(tx);
                continue;
            }
            tx.commit().unwrap();
            committed = model;
            if matches!(end, End::Reopen) {
                // What a kill right after the commit leaves, and a program goes on with.
                crashes += 1;
                let copy = dir.path().join(crashes.to_string());
                copy_as_killed(&path, &copy);
                drop(arena);
                path = copy;
                arena = opened(&options, &path, &committed);
            }
        }
        drop(arena);
        opened(&options, &path, &committed);
    }
}
