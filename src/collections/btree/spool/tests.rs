use super::super::collect::LONG_VALUE;
use super::*;

fn collection(entries: &[(&str, &str, u16)]) -> Collection {
    let mut all = Collection::new(1 << 20);
    for (key, value, flag) in entries {
        all.push(key.as_bytes(), value.as_bytes(), value.len() as u16 | flag);
    }
    all.sort();
    all
}

fn told(all: &Collection) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    all.entries().iter().map(|e| (text(e.key(all.bytes())), text(e.value(all.bytes())))).collect()
}

fn merged(spool: &Spool, most: usize) -> (Vec<(String, String)>, Vec<u64>) {
    let (mut merge, mut outdated, mut found) = (spool.merge().unwrap(), Vec::new(), Vec::new());
    loop {
        let mut some = Collection::new(most);
        let has_more = merge.fill(&mut some, &mut outdated).unwrap();
        found.extend(told(&some));
        if !has_more {
            return (found, outdated.into_iter().map(Offset::raw).collect());
        }
        assert!(!some.entries().is_empty());
    }
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn runs_come_back_in_order_and_the_latest_of_a_key_counts() {
    let mut spool = Spool::new(tempfile::tempfile().unwrap());
    spool.write(&collection(&[("b", "1", 0), ("", "1", 0), ("d", "1", 0), ("b", "2", 0)])).unwrap();
    spool.write(&collection(&[])).unwrap();
    spool.write(&collection(&[("a", "3", 0), ("d", "3", 0), ("dd", "3", 0)])).unwrap();
    spool.write(&collection(&[("d", "4", 0), ("", "4", 0)])).unwrap();
    let all = pairs(&[("", "4"), ("a", "3"), ("b", "2"), ("d", "4"), ("dd", "3")]);
    // All at once, and each alone.
    assert_eq!(merged(&spool, 1 << 20), (all.clone(), vec![]));
    assert_eq!(merged(&spool, 1), (all, vec![]));
}

#[test]
fn blocks_of_values_that_count_no_more_are_told() {
    let mut spool = Spool::new(tempfile::tempfile().unwrap());
    let block = |n: u8| String::from_utf8(vec![n, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    for n in 8..11 {
        spool.write(&collection(&[("k", &block(n), LONG_VALUE), ("short", "v", 0)])).unwrap();
    }
    let (found, outdated) = merged(&spool, 1 << 20);
    assert_eq!(found, [("k".to_owned(), block(10)), ("short".to_owned(), "v".to_owned())]);
    assert_eq!(outdated, [9, 8]);
}

#[test]
fn runs_longer_than_what_is_read_ahead() {
    let mut spool = Spool::new(tempfile::tempfile().unwrap());
    let key = |n: u32| format!("{n:05}{}", "x".repeat(n as usize % 500));
    let value = |n: u32| "v".repeat(n as usize % 1024);
    let runs = 7;
    for run in 0..runs {
        let mut some = Collection::new(usize::MAX);
        for n in (0..20_000).filter(|n| n % runs == run) {
            some.push(key(n).as_bytes(), value(n).as_bytes(), value(n).len() as u16);
        }
        some.sort();
        spool.write(&some).unwrap();
    }
    let mut merge = spool.merge().unwrap();
    // As small as it may be, so that entries lie across what is read at a time.
    merge.heads = merge.heads.into_iter().map(|head| Head { room: 1, ..head }).collect();
    let mut all = Collection::new(usize::MAX);
    assert!(!merge.fill(&mut all, &mut Vec::new()).unwrap());
    assert_eq!(told(&all), (0..20_000).map(|n| (key(n), value(n))).collect::<Vec<_>>());
}

/// What was written before an error stays as it was, and the space of the rest is given back.
#[test]
fn a_file_that_cannot_be_written() {
    use std::io::Read;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut spool = Spool::new(File::open(file.path()).unwrap());
    assert!(spool.write(&collection(&[("a", "1", 0)])).is_err());
    assert_eq!(merged(&spool, 1 << 20).0, []);
    spool.file = file.reopen().unwrap();
    spool.write(&collection(&[("a", "1", 0)])).unwrap();
    spool.file = File::open(file.path()).unwrap();
    assert!(spool.write(&collection(&[("b", "2", 0)])).is_err());
    assert_eq!(merged(&spool, 1 << 20).0, pairs(&[("a", "1")]));
    let mut bytes = Vec::new();
    file.reopen().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"\x01\0\x01\0a1");
}

/// A file that was cut by somebody is an error, not a panic.
#[test]
fn a_file_that_lost_its_end() {
    let mut spool = Spool::new(tempfile::tempfile().unwrap());
    spool.write(&collection(&[("a", "1", 0), ("b", "2", 0)])).unwrap();
    spool.file.set_len(7).unwrap();
    assert!(matches!(spool.merge().map(|_| ()), Err(Error::Io { .. })));
}

/// Where the rest of a run can no longer be read, the run's entry of before is gone too, and nothing is compared with it.
#[test]
fn a_file_that_loses_its_end_between_two_entries() {
    let mut spool = Spool::new(tempfile::tempfile().unwrap());
    spool.write(&collection(&[("a", &"v".repeat(900), 0), ("b", "", 0)])).unwrap();
    spool.write(&collection(&[("c", "1", 0)])).unwrap();
    let mut merge = spool.merge().unwrap();
    // As it is when a run is longer than what is read ahead: of each the first entry was read.
    merge.heads = merge
        .heads
        .into_iter()
        .map(|head| {
            let (end, entry) = (head.rest.end, head.len());
            let start = end - (head.bytes.len() - entry) as u64;
            Head { room: 1, rest: start..end, bytes: head.bytes[..entry].to_vec(), ..head }
        })
        .collect();
    spool.file.set_len(0).unwrap();
    let mut all = Collection::new(usize::MAX);
    assert!(matches!(merge.fill(&mut all, &mut Vec::new()), Err(Error::Io { .. })));
    assert_eq!(told(&all).len(), 1);
}
