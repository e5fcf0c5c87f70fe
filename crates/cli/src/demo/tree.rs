//! A document as a tree of blocks in an arena, and back.
//!
//! Each element, text, comment and so on is a block that holds a [`Node`]; each attribute one that holds a [`Link`]. They lead to
//! their parts by offsets. Texts and values have blocks of their own, so that one of another length takes a new block and one
//! stored offset, wherever in the document it is. Names repeat: those of the loaded document are shared and never changed.

use super::xml::{self, Attribute, Kind, Part};
use crate::Failure;
use crate::progress::Bar;
use bytemuck::{Pod, Zeroable};
use heapfile::{Arena, Offset, View, WriteTxn};
use std::collections::HashMap;
use std::io::Write;
use std::mem::offset_of;
use std::ops::Range;

/// Name of the root that leads to the document's node.
pub(crate) const DOCUMENT: &str = "document";

/// An element, a text, or another part of a document.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Node {
    /// A [`Kind`] as number.
    pub(crate) kind: u32,
    /// 1 if the node was inserted by an edit.
    pub(crate) inserted: u32,
    /// The name of an element; else the content.
    pub(crate) text: Offset<[u8]>,
    /// What stands between name and `>` of the end tag; almost always null for nothing.
    pub(crate) tail: Offset<[u8]>,
    pub(crate) attributes: Offset<Link>,
    pub(crate) child: Offset<Node>,
    pub(crate) next: Offset<Node>,
}

/// An attribute: see [`Attribute`] for what `lead` and `value` are.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Link {
    pub(crate) lead: Offset<[u8]>,
    /// Null: there is no value, `lead` is all.
    pub(crate) value: Offset<[u8]>,
    pub(crate) next: Offset<Link>,
}

/// What a document is made of.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outline {
    pub(crate) elements: u64,
    pub(crate) attributes: u64,
    pub(crate) others: u64,
    /// Where the texts inside elements stand in the document.
    pub(crate) texts: Vec<Range<usize>>,
}

impl Outline {
    pub(crate) fn of(document: &str) -> Result<Self, Failure> {
        let mut outline = Self::default();
        let mut depth = 0;
        xml::parse(document, |range, part| {
            outline.add(&mut depth, range, &part);
            Ok(())
        })?;
        Ok(outline)
    }

    fn add(&mut self, depth: &mut usize, range: Range<usize>, part: &Part<'_>) {
        match part {
            Part::Start(kind, tag) => {
                *depth += usize::from(*kind == Kind::Element);
                self.elements += 1;
                self.attributes += tag.attributes.iter().filter(|a| a.value.is_some()).count() as u64;
            }
            Part::End(_) => *depth -= 1,
            Part::Leaf(Kind::Text, _) if *depth > 0 => self.texts.push(range),
            Part::Leaf(..) => self.others += 1,
        }
    }
}

/// Bytes of a document that are loaded by one transaction, so that memory stays bounded.
const BATCH: usize = 4 << 20;

/// Loads a document into an arena, and makes the root [`DOCUMENT`] lead to it once it is complete.
pub(crate) fn load(arena: &Arena, document: &str) -> Result<(), Failure> {
    let mut bar = Bar::new("loading", document.len() as u64);
    let mut tx = arena.write()?;
    let root = tx.alloc(&Node { kind: Kind::Document as u32, ..Node::zeroed() })?;
    let mut loader = Loader { names: HashMap::new(), path: vec![(root, Offset::null())] };
    let mut batch_end = BATCH;
    // A transaction cannot be replaced from within the callback that borrows it: the slot can.
    let mut slot = Some(tx);
    xml::parse(document, |range, part| {
        if range.start >= batch_end
            && let Some(tx) = slot.take()
        {
            tx.commit()?;
            batch_end = range.start + BATCH;
        }
        let tx = match &mut slot {
            Some(tx) => tx,
            none => none.insert(arena.write()?),
        };
        bar.set(range.end as u64);
        loader.add(tx, part)
    })?;
    let mut tx = match slot {
        Some(tx) => tx,
        None => arena.write()?,
    };
    tx.create_root(DOCUMENT, root)?;
    Ok(tx.commit()?)
}

struct Loader<'a> {
    /// Blocks of names and leads.
    names: HashMap<&'a str, Offset<[u8]>>,
    /// From the document down to the innermost open element: the node, and its last child so far.
    path: Vec<(Offset<Node>, Offset<Node>)>,
}

impl<'a> Loader<'a> {
    fn add(&mut self, tx: &mut WriteTxn<'_>, part: Part<'a>) -> Result<(), Failure> {
        match part {
            Part::Start(kind, tag) => {
                let text = self.name(tx, tag.name)?;
                let attributes = self.attributes(tx, &tag.attributes)?;
                let node = tx.alloc(&Node { kind: kind as u32, text, attributes, ..Node::zeroed() })?;
                self.append(tx, node)?;
                if kind == Kind::Element {
                    self.path.push((node, Offset::null()));
                }
            }
            Part::End(tail) => {
                let (node, _) = self.path.pop().ok_or("an end tag without a start tag")?;
                if !tail.is_empty() {
                    let tail = tx.alloc_bytes(tail.as_bytes())?;
                    set(tx, node, offset_of!(Node, tail), tail)?;
                }
            }
            Part::Leaf(kind, content) => {
                let text = tx.alloc_bytes(content.as_bytes())?;
                let node = tx.alloc(&Node { kind: kind as u32, text, ..Node::zeroed() })?;
                self.append(tx, node)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, tx: &mut WriteTxn<'_>, node: Offset<Node>) -> Result<(), Failure> {
        let (parent, last) = self.path.last_mut().ok_or("a part behind the end of the document")?;
        match last.is_null() {
            true => set(tx, *parent, offset_of!(Node, child), node)?,
            false => set(tx, *last, offset_of!(Node, next), node)?,
        }
        *last = node;
        Ok(())
    }

    fn attributes(
        &mut self,
        tx: &mut WriteTxn<'_>,
        attributes: &[Attribute<'a>],
    ) -> Result<Offset<Link>, Failure> {
        let mut next = Offset::null();
        for attribute in attributes.iter().rev() {
            let lead = self.name(tx, attribute.lead)?;
            let value = attribute
                .value
                .map(|value| tx.alloc_bytes(value.as_bytes()))
                .transpose()?
                .unwrap_or_default();
            next = tx.alloc(&Link { lead, value, next })?;
        }
        Ok(next)
    }

    fn name(&mut self, tx: &mut WriteTxn<'_>, name: &'a str) -> Result<Offset<[u8]>, Failure> {
        if let Some(&known) = self.names.get(name) {
            return Ok(known);
        }
        let block = tx.alloc_bytes(name.as_bytes())?;
        self.names.insert(name, block);
        Ok(block)
    }
}

/// Stores an offset in a field of a node: one word is written.
pub(crate) fn set<T: ?Sized + 'static>(
    tx: &mut WriteTxn<'_>,
    node: Offset<Node>,
    field: usize,
    to: Offset<T>,
) -> heapfile::Result<()> {
    tx.write_at(node.cast(), field as u64, bytemuck::bytes_of(&to))
}

/// The main job: gives a text node another text. The old text's block is freed, one for the new text allocated, its offset stored in the
/// node; nothing else in the document is touched, however long it is.
pub(crate) fn replace_text(tx: &mut WriteTxn<'_>, node: Offset<Node>, text: &str) -> heapfile::Result<()> {
    let old = tx.get(node)?.text;
    tx.free(old)?;
    let new = tx.alloc_bytes(text.as_bytes())?;
    set(tx, node, offset_of!(Node, text), new)
}

/// A step of a walk through a tree.
enum Step<'a> {
    /// A node begins.
    Enter(Offset<Node>, &'a Node, Kind),
    /// All children of an element were seen.
    Leave(&'a Node),
}

/// Calls `each` for all nodes in the order of the document. Needs memory for the depth of the tree only.
fn walk<'a, V: View>(
    tx: &'a V,
    mut each: impl FnMut(Step<'a>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut at = tx.named_root::<Node>(DOCUMENT)?.ok_or("there is no document in the arena")?;
    let mut above = Vec::new();
    loop {
        let node = tx.get(at)?;
        let kind = Kind::from_number(node.kind)
            .ok_or_else(|| format!("the block at {at} is no node of a document"))?;
        each(Step::Enter(at, node, kind))?;
        let mut next = node.next;
        if matches!(kind, Kind::Document | Kind::Element) {
            if !node.child.is_null() {
                above.push(node);
                at = node.child;
                continue;
            }
            each(Step::Leave(node))?;
        }
        while next.is_null() {
            let Some(parent) = above.pop() else { return Ok(()) };
            each(Step::Leave(parent))?;
            next = parent.next;
        }
        at = next;
    }
}

/// Writes the document that an arena holds.
pub(crate) fn export(tx: &impl View, out: &mut impl Write) -> Result<(), Failure> {
    walk(tx, |step| {
        match step {
            Step::Enter(_, node, kind) => {
                let (before, behind) = kind.marks();
                out.write_all(before.as_bytes())?;
                if kind != Kind::Document {
                    out.write_all(tx.bytes(node.text)?)?;
                }
                let mut next = node.attributes;
                while !next.is_null() {
                    let link = tx.get(next)?;
                    let lead = tx.bytes(link.lead)?;
                    out.write_all(lead)?;
                    if !link.value.is_null() {
                        out.write_all(tx.bytes(link.value)?)?;
                        // The lead ends with the opening quote.
                        out.write_all(&lead[lead.len().saturating_sub(1)..])?;
                    }
                    next = link.next;
                }
                out.write_all(behind.as_bytes())?;
            }
            Step::Leave(node) if node.kind == Kind::Element as u32 => {
                out.write_all(b"</")?;
                out.write_all(tx.bytes(node.text)?)?;
                if !node.tail.is_null() {
                    out.write_all(tx.bytes(node.tail)?)?;
                }
                out.write_all(b">")?;
            }
            Step::Leave(_) => {}
        }
        Ok(())
    })
}

/// The text nodes inside elements, in the order of the document, but for those that edits inserted: as [`Outline::texts`].
pub(crate) fn texts(tx: &impl View) -> Result<Vec<Offset<Node>>, Failure> {
    let mut texts = Vec::new();
    let mut depth = 0;
    let mut inserted = false;
    walk(tx, |step| {
        match step {
            Step::Enter(at, node, kind) => {
                depth += usize::from(kind == Kind::Element);
                inserted |= node.inserted != 0;
                if kind == Kind::Text && depth > 0 && !inserted {
                    texts.push(at);
                }
            }
            Step::Leave(node) => {
                depth -= usize::from(node.kind == Kind::Element as u32);
                inserted &= node.inserted == 0;
            }
        }
        Ok(())
    })?;
    Ok(texts)
}

/// A writer that compares with what is expected, and fails at the first difference.
#[derive(Debug)]
struct Compare<'a> {
    expected: &'a [u8],
    at: usize,
}

impl Write for Compare<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let rest = &self.expected[self.at..];
        let same = bytes.iter().zip(rest).take_while(|(a, b)| a == b).count();
        self.at += same;
        if same == bytes.len() { Ok(same) } else { Err(std::io::Error::other("it differs")) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Exports the document and compares it byte for byte. `Some`: the first byte that differs.
pub(crate) fn difference(arena: &Arena, expected: &[u8]) -> Result<Option<usize>, Failure> {
    let mut compare = Compare { expected, at: 0 };
    match export(&arena.read()?, &mut compare) {
        Ok(()) if compare.at == expected.len() => Ok(None),
        Ok(()) => Ok(Some(compare.at)),
        Err(e) if e.is::<std::io::Error>() => Ok(Some(compare.at)),
        Err(e) => Err(e),
    }
}
