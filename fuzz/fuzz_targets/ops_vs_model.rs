//! Operations on an arena beside a model of it in memory; after each they have to agree.
#![no_main]

use arbitrary::Arbitrary;
use heapfile::{Arena, Error, Offset, SavePoint, View, WriteTxn};
use heapfile_fuzz::MemoryFile;
use heapfile_fuzz::image::Image;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Debug, Arbitrary)]
struct Input {
    power: bool,
    transactions: Vec<Transaction>,
}

#[derive(Debug, Arbitrary)]
struct Transaction {
    ops: Vec<Op>,
    end: End,
    then: Then,
}

#[derive(Debug, Arbitrary)]
enum Op {
    Alloc {
        len: Length,
        fill: u8,
    },
    AllocAligned {
        len: Length,
        align: u8,
        fill: u8,
    },
    Free {
        which: u8,
    },
    /// Frees a block and allocates one of its length, which is likely to get its place.
    Replace {
        which: u8,
        fill: u8,
    },
    FreeNothing {
        which: u8,
        away: u16,
    },
    Resize {
        which: u8,
        len: Length,
    },
    WriteAt {
        which: u8,
        at: u16,
        len: u8,
        fill: u8,
    },
    Mutate {
        which: u8,
        at: u16,
        fill: u8,
    },
    Copy {
        from: u8,
        to: u8,
        at: u16,
    },
    SetRoot {
        which: u8,
        name: u8,
    },
    RemoveRoot {
        name: u8,
    },
    SavePoint,
    RollBackTo {
        which: u8,
    },
    Release {
        which: u8,
    },
}

#[derive(Debug, Arbitrary)]
enum Length {
    Tiny(u8),
    Small(u16),
    Pages { pages: u8, less: u8 },
}

impl Length {
    fn get(&self) -> usize {
        match *self {
            // Few, so that what one block leaves is taken by another.
            Self::Tiny(which) => [0, 8, 24, 100][usize::from(which) % 4],
            Self::Small(len) => usize::from(len) % 20_000,
            Self::Pages { pages, less } => {
                (usize::from(pages % 40) * 4096 + 1).saturating_sub(usize::from(less))
            }
        }
    }
}

#[derive(Debug, Arbitrary)]
enum End {
    Commit,
    RollBack,
}

#[derive(Debug, Arbitrary)]
enum Then {
    GoOn,
    Sync,
    Checkpoint,
    Shrink,
    Reopen,
    /// Goes on with what the file held while the handle was still open.
    Die,
}

type Block = Offset<[u8]>;

/// What an arena has to hold: blocks, and roots that lead to some of them.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    /// Shared with earlier states where nothing was changed.
    blocks: BTreeMap<u64, Rc<Vec<u8>>>,
    roots: BTreeMap<String, u64>,
}

impl Model {
    fn pick(&self, which: u8) -> Option<Block> {
        let at = usize::from(which) % self.blocks.len().max(1);
        self.blocks.keys().nth(at).map(|&offset| Block::from_raw(offset))
    }

    fn put(&mut self, block: Block, content: Vec<u8>) {
        assert!(self.blocks.insert(block.raw(), Rc::new(content)).is_none(), "{block:?} was in use");
        let before = self.blocks.range(..block.raw()).next_back();
        assert!(before.is_none_or(|(at, old)| at + old.len() as u64 <= block.raw()), "{block:?} overlaps");
        let end = block.raw() + self.blocks[&block.raw()].len() as u64;
        let after = self.blocks.range(block.raw() + 1..).next();
        assert!(after.is_none_or(|(&at, _)| end <= at), "{block:?} overlaps");
    }

    fn content_mut(&mut self, block: Block) -> &mut Vec<u8> {
        Rc::make_mut(self.blocks.get_mut(&block.raw()).expect("it was picked from there"))
    }

    /// Frees a block, and the roots that lead to it.
    fn free(&mut self, tx: &mut WriteTxn<'_>, block: Block) {
        let lost: Vec<_> =
            self.roots.iter().filter(|(_, at)| **at == block.raw()).map(|(name, _)| name.clone()).collect();
        for name in lost {
            tx.remove_root(&name).expect("the model has this root");
            self.roots.remove(&name);
        }
        tx.free(block).expect("the model has this block");
        self.blocks.remove(&block.raw());
    }

    fn compare<V: View>(&self, tx: &V) {
        for (&offset, content) in &self.blocks {
            let block = Block::from_raw(offset);
            assert_eq!(tx.len_of(block).expect("the model has this block"), content.len() as u64);
            assert!(tx.bytes(block).expect("the model has this block") == **content, "content of {block:?}");
        }
        let roots: BTreeMap<_, _> =
            tx.roots().expect("roots are sound").into_iter().map(|r| (r.name, r.offset.raw())).collect();
        assert_eq!(roots, self.roots);
        // One for each root, and their directory: no block is there that nobody has.
        assert_eq!(own_blocks(tx, self).count(), roots.len() + usize::from(!roots.is_empty()));
    }
}

/// Offsets of the blocks that the model does not know: records of roots, and their directory.
fn own_blocks<'t, V: View>(tx: &'t V, model: &'t Model) -> impl Iterator<Item = u64> + 't {
    let all = tx.blocks().map(|block| block.expect("a sound heap can be walked").offset.raw());
    all.filter(|at| !model.blocks.contains_key(at))
}

fn run(tx: &mut WriteTxn<'_>, model: &mut Model, points: &mut Vec<(SavePoint, Model)>, op: &Op) {
    match op {
        Op::Alloc { len, fill } => {
            let content = vec![*fill; len.get()];
            model.put(tx.alloc_bytes(&content).expect("there is space"), content);
        }
        Op::AllocAligned { len, align, fill } => {
            let (len, align) = (len.get(), 1usize << (align % 13));
            let block = tx.alloc_zeroed(len as u64, align).expect("there is space");
            assert_eq!(block.raw() % align as u64, 0);
            tx.bytes_mut(block).expect("it was just made").fill(*fill);
            model.put(block, vec![*fill; len]);
        }
        Op::Free { which } => {
            if let Some(block) = model.pick(*which) {
                model.free(tx, block);
                assert!(matches!(tx.free(block), Err(Error::BadOffset { .. })), "freed twice");
            }
        }
        Op::Replace { which, fill } => {
            if let Some(block) = model.pick(*which) {
                let content = vec![*fill; model.blocks[&block.raw()].len()];
                model.free(tx, block);
                model.put(tx.alloc_bytes(&content).expect("there is space"), content);
            }
        }
        Op::FreeNothing { which, away } => {
            let at = model.pick(*which).map_or(0, Block::raw) + u64::from(*away);
            // Not by a look-up of the offset, which is what is tried here.
            let is_own = own_blocks(tx, model).any(|own| own == at);
            if !model.blocks.contains_key(&at) && !is_own {
                assert!(matches!(tx.free(Block::from_raw(at)), Err(Error::BadOffset { .. })), "{at:#x}");
            }
        }
        Op::Resize { which, len } => {
            if let Some(block) = model.pick(*which) {
                let new = tx.resize(block, len.get() as u64).expect("there is space");
                let mut content = model.blocks.remove(&block.raw()).expect("it was picked from there");
                Rc::make_mut(&mut content).resize(len.get(), 0);
                model.put(new, Rc::unwrap_or_clone(content));
                let moved: Vec<_> = model.roots.iter().filter(|(_, at)| **at == block.raw()).collect();
                let moved: Vec<_> = moved.into_iter().map(|(name, _)| name.clone()).collect();
                for name in moved.into_iter().filter(|_| new != block) {
                    tx.set_named_root(&name, new).expect("the block is there");
                    model.roots.insert(name, new.raw());
                }
            }
        }
        Op::WriteAt { which, at, len, fill } => {
            if let Some(block) = model.pick(*which) {
                let content = model.content_mut(block);
                let (at, new) = (usize::from(*at), vec![*fill; usize::from(*len) * 40]);
                let outcome = tx.write_at(block, at as u64, &new);
                match content.get_mut(at..at + new.len()) {
                    Some(old) => {
                        outcome.expect("it is inside the block");
                        old.copy_from_slice(&new);
                    }
                    None => assert!(matches!(outcome, Err(Error::OutOfBounds { .. }))),
                }
            }
        }
        Op::Mutate { which, at, fill } => {
            if let Some(block) = model.pick(*which) {
                let content = model.content_mut(block);
                let view = tx.bytes_mut(block).expect("the model has this block");
                assert!(view == content, "content of {block:?}");
                if let Some(byte) = content.get_mut(usize::from(*at)) {
                    *byte = *fill;
                    view[usize::from(*at)] = *fill;
                }
            }
        }
        Op::Copy { from, to, at } => {
            if let (Some(from), Some(to)) = (model.pick(*from), model.pick(*to)) {
                let source = model.blocks[&from.raw()].clone();
                let target = model.content_mut(to);
                let at = usize::from(*at);
                let len = source.len().min(target.len().saturating_sub(at));
                if at <= target.len() {
                    tx.copy(from, 0..len as u64, to, at as u64).expect("it is inside both blocks");
                    target[at..at + len].copy_from_slice(&source[..len]);
                }
            }
        }
        Op::SetRoot { which, name } => {
            if let Some(block) = model.pick(*which) {
                let name = format!("{}", name % 8);
                tx.set_named_root(&name, block).expect("the block is there");
                model.roots.insert(name, block.raw());
            }
        }
        Op::RemoveRoot { name } => {
            let name = format!("{}", name % 8);
            assert_eq!(tx.remove_root(&name).is_ok(), model.roots.remove(&name).is_some());
        }
        Op::SavePoint => points.push((tx.save_point(), model.clone())),
        Op::RollBackTo { which } => {
            if !points.is_empty() {
                points.truncate(usize::from(*which) % points.len() + 1);
                let (point, then) = points.last().expect("at least one was kept");
                tx.roll_back_to(point).expect("it is valid");
                *model = then.clone();
            }
        }
        Op::Release { which } => {
            if !points.is_empty() {
                points.truncate(usize::from(*which) % points.len() + 1);
                let (point, _) = points.pop().expect("at least one was kept");
                tx.release(point).expect("it is valid");
            }
        }
    }
}

fn empty(power: bool) -> MemoryFile {
    let image = if power { Image::power_empty() } else { Image::process_empty() };
    MemoryFile::new(&image.bytes)
}

fn assert_sound(arena: &Arena, model: &Model) {
    let report = arena.check().expect("a sound arena can be checked");
    assert!(report.is_clean(), "{:?}", report.findings);
    model.compare(&arena.read().expect("nobody writes"));
}

fuzz_target!(|input: Input| {
    let mut file = empty(input.power);
    let mut arena = file.open().expect("the image is sound");
    let mut model = Model::default();
    for transaction in input.transactions.iter().take(12) {
        let mut tx = arena.write().expect("nobody else writes");
        let mut working = model.clone();
        let mut points = Vec::new();
        for op in transaction.ops.iter().take(40) {
            run(&mut tx, &mut working, &mut points, op);
        }
        working.compare(&tx);
        match transaction.end {
            End::Commit => {
                tx.commit().expect("there is space");
                model = working;
            }
            End::RollBack => drop(tx),
        }
        match transaction.then {
            Then::GoOn => {}
            Then::Sync => arena.sync().expect("memory can be synced"),
            Then::Checkpoint => arena.checkpoint().expect("memory can be synced"),
            Then::Shrink => drop(arena.shrink().expect("memory can be cut")),
            Then::Reopen => {
                drop(arena);
                arena = file.open().expect("it was closed");
            }
            Then::Die => {
                let left = MemoryFile::new(&file.content());
                drop(arena);
                file = left;
                arena = file.open().expect("what a dead process leaves can be opened");
            }
        }
        assert_sound(&arena, &model);
    }
});
