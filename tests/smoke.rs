use heapfile::{Arena, Durability, Options, View};
#[test]
fn smoke() {
    for durability in [Durability::Power, Durability::Process] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.heap");
        let arena = Options::new().durability(durability).create(&path).unwrap();
        let mut tx = arena.write().unwrap();
        let mut all = Vec::new();
        for i in 0..2000u32 {
            let b = tx.alloc_bytes(&vec![i as u8; (i * 7 % 9000) as usize]).unwrap();
            all.push(b);
        }
        let list = tx.alloc_slice(&all).unwrap();
        tx.set_root(list).unwrap();
        tx.commit().unwrap();
        let r = arena.check().unwrap();
        assert!(r.is_clean(), "{r:?}");
        drop(arena);
        let arena = Arena::open(&path).unwrap();
        let r = arena.check().unwrap();
        assert!(r.is_clean(), "{r:?}");
        let tx = arena.read().unwrap();
        let list = tx.slice(tx.root::<[heapfile::Offset<[u8]>]>().unwrap().unwrap()).unwrap();
        for (i, &o) in list.iter().enumerate() {
            assert_eq!(tx.bytes(o).unwrap(), vec![i as u8; i * 7 % 9000]);
        }
        drop(tx);
        for i in 0..2000 {
            let x = arena.alloc(&(i as u64)).unwrap();
            if i % 2 == 0 {
                arena.free(x).unwrap();
            }
        }
        println!("{:?}", arena.stats().unwrap());
        let r = arena.check().unwrap();
        assert!(r.is_clean(), "{r:?}");
    }
}
