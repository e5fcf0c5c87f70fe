//! Roots: the names under which a program finds its blocks again.
//!
//! One word of the heap's header leads to the directory, a block of offsets of root records, sorted by name; each record is a block
//! of its own: `offset, size | align << 32, name length | type name length << 32`, then name and type name. The unnamed
//! root is the one with the empty name.
//!
//! Limits: names up to 1,024 bytes; a change rewrites the directory (8 bytes a root), a look-up is a binary search.

use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::offset::{Offset, Shape};
use crate::txn::view::{RootInfo, Source, View};
use crate::txn::write::WriteTxn;

const MAX_NAME: usize = 1024;
const FIXED: usize = 24;

/// Where root records are.
type Records = Vec<Offset<[u8]>>;

fn directory<S: View + ?Sized>(tx: &S) -> Result<&[Offset<[u8]>]> {
    match tx.word(Heap::new(tx.heap_page()).roots_at())? {
        0 => Ok(&[]),
        offset => damaged(tx.slice(Offset::from_raw(offset)), offset),
    }
}

/// An offset of the root's own metadata that leads nowhere is damage, not the user's mistake.
fn damaged<T>(result: Result<T>, offset: u64) -> Result<T> {
    result.map_err(|e| match e {
        Error::BadOffset { .. } | Error::SizeMismatch { .. } => {
            Error::corrupt(offset, "the roots lead to no root record")
        }
        e => e,
    })
}

/// Fixed part, name and type name of a root record.
fn record<S: View + ?Sized>(tx: &S, at: Offset<[u8]>) -> Result<([u64; 3], &str, &str)> {
    parts(damaged(tx.bytes(at), at.raw())?, at.raw())
}

/// The same of the bytes of the record at `at`.
fn parts(bytes: &[u8], at: u64) -> Result<([u64; 3], &str, &str)> {
    let corrupt = |what| Error::corrupt(at, what);
    let (fixed, names) =
        bytes.split_at_checked(FIXED).ok_or_else(|| corrupt("a root record is too short"))?;
    let fixed: [u64; 3] = bytemuck::pod_read_unaligned(fixed);
    let (name_len, type_len) = (fixed[2] as u32 as usize, (fixed[2] >> 32) as usize);
    if name_len.checked_add(type_len) != Some(names.len()) {
        return Err(corrupt("a root record has another length than it says"));
    }
    let (name, type_name) = names.split_at(name_len);
    match (std::str::from_utf8(name), std::str::from_utf8(type_name)) {
        (Ok(name), Ok(type_name)) => Ok((fixed, name, type_name)),
        _ => Err(corrupt("a root's name is no text")),
    }
}

fn info((fixed, name, type_name): ([u64; 3], &str, &str)) -> RootInfo {
    RootInfo {
        name: name.to_owned(),
        offset: Offset::from_raw(fixed[0]),
        type_name: type_name.to_owned(),
        size: fixed[1] as u32,
        align: (fixed[1] >> 32) as u32,
    }
}

/// Index of the root in the directory, or where it belongs.
fn search<S: View + ?Sized>(tx: &S, name: &str) -> Result<Result<usize, usize>> {
    let all = directory(tx)?;
    let (mut low, mut high) = (0, all.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match record(tx, all[middle])?.1.cmp(name) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Ok(Ok(middle)),
        }
    }
    Ok(Err(low))
}

/// The root of that name.
pub(crate) fn find<S: View + ?Sized>(tx: &S, name: &str) -> Result<Option<RootInfo>> {
    match search(tx, name)? {
        Ok(at) => Ok(Some(info(record(tx, directory(tx)?[at])?))),
        Err(_) => Ok(None),
    }
}

/// All roots in the order of their names.
pub(crate) fn list<S: View + ?Sized>(tx: &S) -> Result<Vec<RootInfo>> {
    directory(tx)?.iter().map(|&at| Ok(info(record(tx, at)?))).collect()
}

/// Whether the root was stored as a `T`.
pub(crate) fn check_type<T: Shape + ?Sized>(root: &RootInfo) -> Result<()> {
    let same =
        root.type_name == T::type_name() && root.size as usize == T::SIZE && root.align as usize == T::ALIGN;
    if same {
        return Ok(());
    }
    let describe = |name: &str, size: usize, align: usize| format!("{name} (size {size}, align {align})");
    Err(Error::TypeMismatch {
        name: root.name.clone(),
        stored: describe(&root.type_name, root.size as usize, root.align as usize),
        asked: describe(T::type_name(), T::SIZE, T::ALIGN),
    })
}

/// Writes the record of a root.
fn alloc_record(tx: &mut WriteTxn<'_>, root: &RootInfo) -> Result<Offset<[u8]>> {
    if root.name.len() > MAX_NAME {
        return Err(Error::TooLarge {
            what: "a root's name",
            len: root.name.len() as u64,
            max: MAX_NAME as u64,
        });
    }
    let fixed = [
        root.offset.raw(),
        u64::from(root.size) | u64::from(root.align) << 32,
        root.name.len() as u64 | (root.type_name.len() as u64) << 32,
    ];
    let mut bytes = bytemuck::bytes_of(&fixed).to_vec();
    bytes.extend_from_slice(root.name.as_bytes());
    bytes.extend_from_slice(root.type_name.as_bytes());
    tx.alloc_bytes(&bytes)
}

/// Creates the root or points it elsewhere. The block has to exist.
pub(crate) fn set<T: Shape + ?Sized>(tx: &mut WriteTxn<'_>, name: &str, offset: u64) -> Result<()> {
    tx.block(offset)?;
    let root = RootInfo {
        name: name.to_owned(),
        offset: Offset::from_raw(offset),
        type_name: T::type_name().to_owned(),
        size: T::SIZE as u32,
        align: T::ALIGN as u32,
    };
    put(tx, &root)
}

fn put(tx: &mut WriteTxn<'_>, root: &RootInfo) -> Result<()> {
    let place = search(tx, &root.name)?;
    let new = alloc_record(tx, root)?;
    match place {
        Ok(at) => {
            let directory = tx.word(Heap::new(tx.heap_page()).roots_at())?;
            let old = directory_entry(tx, at)?;
            tx.write_at(Offset::from_raw(directory), at as u64 * 8, bytemuck::bytes_of(&new))?;
            tx.free(old)
        }
        Err(at) => {
            let mut all = directory(tx)?.to_vec();
            all.insert(at, new);
            replace_directory(tx, &all)
        }
    }
}

fn directory_entry(tx: &WriteTxn<'_>, at: usize) -> Result<Offset<[u8]>> {
    Ok(directory(tx)?[at])
}

fn replace_directory(tx: &mut WriteTxn<'_>, all: &[Offset<[u8]>]) -> Result<()> {
    let word = Heap::new(tx.heap_page()).roots_at();
    let old = tx.word(word)?;
    let new = if all.is_empty() { Offset::null() } else { tx.alloc_slice(all)? };
    tx.store_word(word, new.raw())?;
    if old == 0 { Ok(()) } else { tx.free(Offset::<[u8]>::from_raw(old)) }
}

/// Gives a root another name.
pub(crate) fn rename(tx: &mut WriteTxn<'_>, from: &str, to: &str) -> Result<()> {
    let Some(mut root) = find(tx, from)? else { return Err(Error::NoSuchRoot { name: from.to_owned() }) };
    if find(tx, to)?.is_some() {
        return Err(Error::RootExists { name: to.to_owned() });
    }
    root.name = to.to_owned();
    put(tx, &root)?;
    remove(tx, from)
}

/// Removes a root; its block stays.
pub(crate) fn remove(tx: &mut WriteTxn<'_>, name: &str) -> Result<()> {
    let Ok(at) = search(tx, name)? else { return Err(Error::NoSuchRoot { name: name.to_owned() }) };
    let mut all = directory(tx)?.to_vec();
    let record = all.remove(at);
    replace_directory(tx, &all)?;
    tx.free(record)
}

/// What the words of the block to which the header leads for the roots say, whatever its length; nothing if it is no block.
fn entries(tx: &WriteTxn<'_>, directory: u64) -> Result<Option<(u64, Records)>> {
    // A place is a multiple of a word: what a damaged length cuts off of one is there.
    let read = |tx: &WriteTxn<'_>| {
        let len = tx.block(directory)?.len;
        let bytes = tx.bytes_at(directory, len.next_multiple_of(8))?;
        let words = bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned::<u64>);
        Ok((len, words.map(Offset::from_raw).collect()))
    };
    match read(tx) {
        Ok(found) => Ok(Some(found)),
        Err(Error::BadOffset { .. } | Error::Corrupt { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Takes out of the directory what leads to no root record, and roots that lead to no block; leaves it if it has no root. Takes no space: there
/// may be none. Returns where what was lost.
pub(crate) fn mend(tx: &mut WriteTxn<'_>) -> Result<Vec<(u64, String)>> {
    let word = Heap::new(tx.heap_page()).roots_at();
    let at = tx.word(word)?;
    if at == 0 {
        return Ok(Vec::new());
    }
    let mut lost = Vec::new();
    let (len, all) = entries(tx, at)?.unwrap_or_default();
    if all.is_empty() {
        lost.push((at, "the directory of the roots: all roots are gone, their blocks are there".to_owned()));
    }
    let kept = sound_roots(tx, &all, &mut lost)?;
    if kept.is_empty() {
        // A block in which nothing is a root may be anybody's: it stays.
        tx.store_word(word, 0)?;
        return Ok(lost);
    }
    if len % 8 != 0 {
        let what = format!("the directory of the roots: it had {len} bytes, no whole number of roots");
        lost.push((at, what));
    }
    if kept != all || len % 8 != 0 {
        shorten_directory(tx, at, &kept)?;
    }
    Ok(lost)
}

/// The records of roots that lead to a block, of several of one name one, in the order of their names; tells what becomes of the others.
fn sound_roots(
    tx: &WriteTxn<'_>,
    all: &[Offset<[u8]>],
    lost: &mut Vec<(u64, String)>,
) -> Result<Vec<Offset<[u8]>>> {
    let mut kept: Vec<(String, Offset<[u8]>)> = Vec::new();
    for &at in all {
        match record(tx, at) {
            Ok((fixed, name, _)) if tx.block(fixed[0]).is_ok() => kept.push((name.to_owned(), at)),
            Ok((_, name, _)) => lost.push((at.raw(), format!("root {name:?}: it led to no block"))),
            Err(Error::Corrupt { what, .. }) => lost.push((at.raw(), format!("a root: {what}"))),
            Err(e) => return Err(e),
        }
    }
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    kept.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            lost.push((later.1.raw(), format!("root {:?}: there are two of that name", later.0)));
        }
        same
    });
    Ok(kept.into_iter().map(|(_, at)| at).collect())
}

/// Writes the directory anew where it lies, which has room for as many.
fn shorten_directory(tx: &mut WriteTxn<'_>, at: u64, kept: &[Offset<[u8]>]) -> Result<()> {
    let bytes = bytemuck::cast_slice(kept);
    if !tx.with_heap(|heap, work| heap.resize_in_place(work, at, bytes.len() as u64, true))? {
        return Err(Error::corrupt(at, "the directory of the roots has less room than it has roots"));
    }
    tx.write_at(Offset::from_raw(at), 0, bytes)
}
