use super::*;
use crate::collections::BTreeMap;
use crate::{Arena, Options, View};
use std::collections::BTreeMap as Model;

/// Keys that come again, some of them too long to be collected; values of all kinds.
fn entry(n: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
    random ^= random >> 29;
    let id = random % 3000;
    let long = if id.is_multiple_of(97) { 600 } else { 0 };
    let key = [&id.to_be_bytes()[5..], &vec![b'k'; long]].concat();
    let len = [5, 100, 1023, 1024, 3000][(random >> 32) as usize % 5];
    (key, vec![n as u8; len])
}

/// Loads into a map that has some of the keys, with room for `most` bytes at a time.
fn load(arena: &Arena, most: usize, prepare: impl FnOnce(&mut Batch)) {
    let (mut model, mut tx) = (Model::new(), arena.write().unwrap());
    let map = BTreeMap::<[u8], [u8]>::new_in(&mut tx).unwrap();
    for n in 0..500 {
        let (key, value) = entry(n);
        map.insert(&mut tx, &key, &value).unwrap();
        model.insert(key, value);
    }
    let mut batch = Batch::with(map.tree(), most);
    prepare(&mut batch);
    for n in 500..9000 {
        let (key, value) = entry(n);
        batch.push(&mut tx, &key, &value).unwrap();
        model.insert(key, value);
    }
    batch.finish(&mut tx).unwrap();
    assert_eq!(map.len(&tx).unwrap(), model.len() as u64);
    map.check(&tx).unwrap();
    let found = map.iter(&tx).unwrap().map(|e| e.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec()));
    assert!(found.eq(model), "not what was put in");
    // Nothing is left behind: neither nodes nor blocks of values.
    map.free(&mut tx).unwrap();
    assert_eq!(tx.blocks().count(), 0);
}

#[test]
fn more_than_is_collected_goes_through_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    for most in [usize::MAX >> 32, 40_000, 1000] {
        let arena = Options::new().create(dir.path().join(format!("{most}"))).unwrap();
        load(&arena, most, |_| ());
    }
    // The files had no names, and are gone.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn where_there_is_no_spool_parts_are_put_in() {
    let arena = Options::new().create_anonymous().unwrap();
    load(&arena, 40_000, |_| ());
    load(&arena, 40_000, |batch| batch.has_no_spool = true);
}

/// What is in a spool that can be written no more is put in before what comes then.
#[test]
fn a_spool_that_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Options::new().create(dir.path().join("a.heap")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut before = Collection::new(1000);
    let ((key, _), old) = (entry(600), b"older than all");
    before.push(&key, old, old.len() as u16);
    let mut spool = Spool::new(file.reopen().unwrap());
    spool.write(&before).unwrap();
    // A key that comes again in the load.
    assert!(key.len() <= INLINE_KEY);
    let spool = spool.with_file(std::fs::File::open(file.path()).unwrap());
    load(&arena, 40_000, |batch| batch.spool = Some(spool));
}
