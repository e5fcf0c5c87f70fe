//! Roots: created, found, renamed, replaced, removed, listed; typed; many; through save points, roll back, reopening.

mod common;

use bytemuck::{Pod, Zeroable};
use common::{BOTH, assert_clean, dir, fast_dir, small};
use heapfile::testing::SplitMix64;
use heapfile::{Arena, Error, Offset, View};
use std::collections::BTreeMap;

#[test]
fn the_life_of_a_root() {
    let dir = dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        assert_eq!(tx.root::<u32>().unwrap(), None);
        assert_eq!(tx.named_root::<u32>("a").unwrap(), None);
        assert!(matches!(tx.remove_root("a"), Err(Error::NoSuchRoot { name }) if name == "a"));
        assert!(matches!(tx.rename_root("a", "b"), Err(Error::NoSuchRoot { name }) if name == "a"));
        let (x, y) = (tx.alloc(&1u32).unwrap(), tx.alloc(&2u32).unwrap());
        tx.create_root("a", x).unwrap();
        assert!(matches!(tx.create_root("a", y), Err(Error::RootExists { name }) if name == "a"));
        assert_eq!(tx.named_root::<u32>("a").unwrap(), Some(x));
        tx.set_named_root("a", y).unwrap();
        assert_eq!(tx.named_root::<u32>("a").unwrap(), Some(y));
        tx.set_root(x).unwrap();
        assert_eq!(tx.root::<u32>().unwrap(), Some(x));
        tx.create_root("b", x).unwrap();
        for (from, to) in [("a", "b"), ("a", "a"), ("b", "")] {
            assert!(matches!(tx.rename_root(from, to), Err(Error::RootExists { name }) if name == to));
        }
        tx.rename_root("a", "ä long name, ∀ x").unwrap();
        tx.rename_root("", "a").unwrap();
        tx.remove_root("b").unwrap();
        tx.commit().unwrap();
        assert_clean(&arena);
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        let tx = arena.read().unwrap();
        let names: Vec<_> = tx.roots().unwrap().into_iter().map(|root| (root.name, root.offset)).collect();
        assert_eq!(names, [("a".into(), x.cast()), ("ä long name, ∀ x".into(), y.cast())]);
        assert_eq!(tx.root::<u32>().unwrap(), None);
        drop(tx);
        let mut tx = arena.write().unwrap();
        tx.remove_root("a").unwrap();
        tx.remove_root("ä long name, ∀ x").unwrap();
        // The blocks stay; of the roots themselves nothing does.
        assert_eq!(tx.blocks().count(), 2);
        tx.commit().unwrap();
        assert_clean(&arena);
    }
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Other {
    a: f32,
    b: f32,
}

#[test]
fn a_root_is_opened_as_what_it_was_stored_as() {
    let dir = dir();
    let path = dir.path().join("a.heap");
    let arena = small(BOTH[0]).create(&path).unwrap();
    let mut tx = arena.write().unwrap();
    let point = tx.alloc(&Point { x: 1.0, y: 2.0 }).unwrap();
    tx.create_root("point", point).unwrap();
    let points = tx.alloc_slice(&[Point { x: 1.0, y: 2.0 }; 3]).unwrap();
    tx.create_root("points", points).unwrap();
    let link = tx.alloc(&point).unwrap();
    tx.create_root("link", link).unwrap();
    tx.commit().unwrap();
    drop(arena);
    let arena = Arena::open(&path).unwrap();
    let tx = arena.read().unwrap();
    assert_eq!(tx.get(tx.named_root::<Point>("point").unwrap().unwrap()).unwrap().y, 2.0);
    assert_eq!(tx.slice(tx.named_root::<[Point]>("points").unwrap().unwrap()).unwrap().len(), 3);
    let link = tx.named_root::<Offset<Point>>("link").unwrap().unwrap();
    assert_eq!(tx.get(*tx.get(link).unwrap()).unwrap().x, 1.0);
    #[track_caller]
    fn mismatch<T: std::fmt::Debug>(outcome: heapfile::Result<T>, root: &str, stored: &str, asked: &str) {
        match outcome {
            Err(Error::TypeMismatch { name, stored: is, asked: wants }) => {
                assert_eq!(name, root);
                assert!(is.contains(stored) && wants.contains(asked), "{is} {wants}");
            }
            other => panic!("{other:?}"),
        }
    }
    mismatch(tx.named_root::<Other>("point"), "point", "Point (size 8, align 4)", "Other (size 8, align 4)");
    mismatch(tx.named_root::<u64>("point"), "point", "Point", "u64 (size 8, align 8)");
    mismatch(tx.named_root::<[Point]>("point"), "point", "Point", "[");
    mismatch(tx.named_root::<Point>("points"), "points", "[", "Point");
    mismatch(tx.named_root::<Offset<Other>>("link"), "link", "Point", "Other");
    let info = tx.roots().unwrap();
    assert_eq!(info.iter().map(|root| (root.size, root.align)).collect::<Vec<_>>(), [(8, 8), (8, 4), (8, 4)]);
}

#[test]
fn many_roots() {
    let dir = fast_dir();
    for (i, durability) in BOTH.into_iter().enumerate() {
        let path = dir.path().join(i.to_string());
        let arena = small(durability).create(&path).unwrap();
        let mut rng = SplitMix64(3);
        let mut model: BTreeMap<String, u64> = BTreeMap::new();
        for round in 0..40 {
            let mut tx = arena.write().unwrap();
            for _ in 0..15 {
                let name = format!("{:x}", rng.below(400));
                match rng.below(4) {
                    0 if !model.is_empty() => {
                        let name = model.keys().nth(rng.below(model.len() as u64) as usize).unwrap().clone();
                        tx.remove_root(&name).unwrap();
                        model.remove(&name);
                    }
                    1 if !model.is_empty() && !model.contains_key(&name) => {
                        let old = model.keys().nth(rng.below(model.len() as u64) as usize).unwrap().clone();
                        tx.rename_root(&old, &name).unwrap();
                        let value = model.remove(&old).unwrap();
                        model.insert(name, value);
                    }
                    _ => {
                        let value = rng.next();
                        let block = tx.alloc(&value).unwrap();
                        tx.set_named_root(&name, block).unwrap();
                        model.insert(name, value);
                    }
                }
            }
            if round % 5 == 4 {
                let point = tx.save_point();
                for name in model.keys() {
                    tx.remove_root(name).unwrap();
                }
                assert!(tx.roots().unwrap().is_empty());
                tx.roll_back_to(&point).unwrap();
            }
            tx.commit().unwrap();
        }
        let holds = |arena: &Arena| {
            let tx = arena.read().unwrap();
            let roots = tx.roots().unwrap();
            assert_eq!(roots.len(), model.len());
            for (root, (name, value)) in roots.iter().zip(&model) {
                assert_eq!(&root.name, name);
                let found = tx.named_root::<u64>(name).unwrap().unwrap();
                assert_eq!((tx.get(found).unwrap(), root.offset.raw()), (value, found.raw()));
            }
            drop(tx);
            assert_clean(arena);
            assert_eq!(arena.check().unwrap().counts.roots, model.len() as u64);
        };
        holds(&arena);
        drop(arena);
        holds(&Arena::open(&path).unwrap());
    }
}

/// A root that leads to a block which was freed is found by the check, and told of when it is used.
#[test]
fn a_root_of_a_freed_block() {
    let dir = dir();
    let arena = small(BOTH[0]).create(dir.path().join("a")).unwrap();
    let mut tx = arena.write().unwrap();
    let x = tx.alloc(&1u32).unwrap();
    tx.create_root("gone", x).unwrap();
    tx.commit().unwrap();
    arena.free(x).unwrap();
    let report = arena.check().unwrap();
    assert_eq!(report.findings.len(), 1);
    assert!(report.findings[0].what.contains("\"gone\""), "{}", report.findings[0]);
    let tx = arena.read().unwrap();
    let gone = tx.named_root::<u32>("gone").unwrap().unwrap();
    assert!(matches!(tx.get(gone), Err(Error::BadOffset { .. })));
    drop(tx);
    let mut tx = arena.write().unwrap();
    tx.remove_root("gone").unwrap();
    tx.commit().unwrap();
    assert_clean(&arena);
}
