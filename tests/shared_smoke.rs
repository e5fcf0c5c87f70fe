use heapfile::{Arena, Durability, Options, View, Offset};
use std::process::Command;
use std::time::Instant;
#[test]
fn shared_smoke() {
    if let Ok(path) = std::env::var("HF_CHILD") {
        let arena = Arena::open(&path).unwrap();
        let n: u64 = std::env::var("HF_N").unwrap().parse().unwrap();
        for _ in 0..n {
            let mut tx = arena.write().unwrap();
            let root: Offset<u64> = tx.root().unwrap().unwrap();
            *tx.get_mut(root).unwrap() += 1;
            tx.commit().unwrap();
            let _ = *arena.read().unwrap().get(root).unwrap();
        }
        return;
    }
    for (d, n) in [(Durability::Process, 100000u64), (Durability::Power, 500)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.heap");
        let arena = Options::new().durability(d).create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        let x = tx.alloc(&0u64).unwrap();
        tx.set_root(x).unwrap();
        tx.commit().unwrap();
        let t = Instant::now();
        let kids: Vec<_> = (0..3).map(|_| Command::new(std::env::current_exe().unwrap()).env("HF_CHILD", &path).env("HF_N", n.to_string()).arg("shared_smoke").arg("--exact").spawn().unwrap()).collect();
        for mut k in kids { assert!(k.wait().unwrap().success()); }
        assert_eq!(*arena.read().unwrap().get(x).unwrap(), 3 * n);
        println!("{d:?}: {:?} per op", t.elapsed() / (3 * n) as u32);
        println!("{:?}", arena.handles().unwrap());
        let t = Instant::now();
        let m = 200000u32;
        for _ in 0..m { std::hint::black_box(arena.read().unwrap()); }
        println!("read txn {:?}", t.elapsed() / m);
        if d == Durability::Process {
            let t = Instant::now();
            for _ in 0..m { let x = arena.alloc(&[0u64; 8]).unwrap(); arena.free(x).unwrap(); }
            println!("pair64 auto {:?}", t.elapsed() / m);
            let t = Instant::now();
            for _ in 0..m/1000 { let mut tx = arena.write().unwrap(); for _ in 0..1000 {let x = tx.alloc(&[0u64; 8]).unwrap(); tx.free(x).unwrap();} tx.commit().unwrap(); }
            println!("pair64 batch {:?}", t.elapsed() / m);
        }
        assert!(arena.check().unwrap().is_clean());
    }
}
