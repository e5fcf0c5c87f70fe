//! A stream of edits that a number names: whoever has the seed knows what edit 517 is.
//!
//! The editor (the process that is killed) does them in an arena; the [`Model`] does them in memory, on the text of the document and
//! without any of the arena's code, and says what the document has to be after so many of them.

use super::tree::{Link, Node, replace_text, set};
use super::xml::Kind;
use bytemuck::Zeroable;
use heapfile::{Offset, View, WriteTxn};
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::ops::Range;

/// Blocks that an inserted element takes: the element, its name, its attribute with lead and value, the text node, its text.
pub(crate) const INSERTED_BLOCKS: u64 = 7;

/// A small generator of random numbers (Steele, Lea and Flood, OOPSLA 2014: SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// An edit of one text of the document, or behind one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Gives the text at this place another content.
    Text { place: usize, text: String },
    /// Inserts an element behind the text at this place or, where that was done before, removes it.
    Toggle { place: usize },
}

/// The edit with this number in a document with so many texts.
pub(crate) fn edit(seed: u64, number: u64, places: usize) -> Edit {
    let mut random = Random(seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let place = random.below(places as u64) as usize;
    match random.below(64) {
        // Few places, so that what was inserted is removed again soon enough.
        0..16 => Edit::Toggle { place: place % 64 },
        // From 64 KiB on a block takes another way to the disk.
        16 => Edit::Text { place, text: text(number, 40_000 + random.below(60_000)) },
        17 => Edit::Text { place, text: String::new() },
        _ => Edit::Text { place, text: text(number, 1 + random.below(200)) },
    }
}

/// A text of that length which tells the edit it came from.
fn text(number: u64, len: u64) -> String {
    format!("edit {number} ").bytes().cycle().take(len as usize).map(char::from).collect()
}

/// The value of the inserted element's attribute, and its text.
fn element_parts(number: u64) -> (String, String) {
    (number.to_string(), format!("inserted by edit {number}"))
}

const ELEMENT_NAME: &str = "edit";
const ELEMENT_LEAD: &str = " n=\"";

/// Does an edit in an arena, as a part of a transaction. `texts` are the document's text nodes.
pub(crate) fn apply(
    tx: &mut WriteTxn<'_>,
    texts: &[Offset<Node>],
    number: u64,
    edit: &Edit,
) -> heapfile::Result<()> {
    match edit {
        Edit::Text { place, text } => replace_text(tx, texts[*place], text),
        Edit::Toggle { place } => {
            let before = texts[*place];
            let next = tx.get(before)?.next;
            if !next.is_null() && tx.get(next)?.inserted != 0 {
                remove(tx, before, next)
            } else {
                insert(tx, before, next, number)
            }
        }
    }
}

fn insert(
    tx: &mut WriteTxn<'_>,
    before: Offset<Node>,
    next: Offset<Node>,
    number: u64,
) -> heapfile::Result<()> {
    let (value, content) = element_parts(number);
    let lead = tx.alloc_bytes(ELEMENT_LEAD.as_bytes())?;
    let value = tx.alloc_bytes(value.as_bytes())?;
    let attributes = tx.alloc(&Link { lead, value, next: Offset::null() })?;
    let text = tx.alloc_bytes(content.as_bytes())?;
    let child = tx.alloc(&Node { kind: Kind::Text as u32, text, ..Node::zeroed() })?;
    let text = tx.alloc_bytes(ELEMENT_NAME.as_bytes())?;
    let kind = Kind::Element as u32;
    let node = tx.alloc(&Node { kind, inserted: 1, text, attributes, child, next, ..Node::zeroed() })?;
    set(tx, before, offset_of!(Node, next), node)
}

fn remove(tx: &mut WriteTxn<'_>, before: Offset<Node>, at: Offset<Node>) -> heapfile::Result<()> {
    let node = *tx.get(at)?;
    let link = *tx.get(node.attributes)?;
    let child = *tx.get(node.child)?;
    for text in [node.text, link.lead, link.value, child.text] {
        tx.free(text)?;
    }
    tx.free(node.attributes)?;
    tx.free(node.child)?;
    tx.free(at)?;
    set(tx, before, offset_of!(Node, next), node.next)
}

/// What a document is after the first so many edits of a stream.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    document: &'a str,
    places: &'a [Range<usize>],
    seed: u64,
    edits: u64,
    texts: BTreeMap<usize, String>,
    inserted: BTreeMap<usize, u64>,
}

impl<'a> Model<'a> {
    /// Before the first edit.
    pub(crate) fn new(document: &'a str, places: &'a [Range<usize>], seed: u64) -> Self {
        Self { document, places, seed, edits: 0, texts: BTreeMap::new(), inserted: BTreeMap::new() }
    }

    /// Does edits until there have been so many.
    pub(crate) fn advance_to(&mut self, edits: u64) {
        while self.edits < edits {
            self.edits += 1;
            match edit(self.seed, self.edits, self.places.len()) {
                Edit::Text { place, text } => drop(self.texts.insert(place, text)),
                Edit::Toggle { place } => {
                    if self.inserted.remove(&place).is_none() {
                        self.inserted.insert(place, self.edits);
                    }
                }
            }
        }
    }

    /// The document as it has to be now.
    pub(crate) fn document(&self) -> String {
        let mut changed: Vec<usize> = self.texts.keys().chain(self.inserted.keys()).copied().collect();
        changed.sort_unstable();
        changed.dedup();
        let mut document = String::with_capacity(self.document.len() * 2);
        let mut copied = 0;
        for place in changed {
            let Range { start, end } = self.places[place];
            document.push_str(&self.document[copied..start]);
            document.push_str(self.texts.get(&place).map_or(&self.document[start..end], String::as_str));
            if let Some(&number) = self.inserted.get(&place) {
                let (value, text) = element_parts(number);
                document.push_str(&format!("<{ELEMENT_NAME}{ELEMENT_LEAD}{value}\">{text}</{ELEMENT_NAME}>"));
            }
            copied = end;
        }
        document.push_str(&self.document[copied..]);
        document
    }

    /// Blocks that the arena has more than before the first edit.
    pub(crate) fn more_blocks(&self) -> u64 {
        self.inserted.len() as u64 * INSERTED_BLOCKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_edits_of_each_sort() {
        let edits: Vec<Edit> = (1..=1000).map(|number| edit(7, number, 500)).collect();
        let texts = |wanted: fn(usize) -> bool| {
            edits.iter().filter(|e| matches!(e, Edit::Text { text, .. } if wanted(text.len()))).count()
        };
        assert!(texts(|len| len == 0) > 0 && texts(|len| len > 1 << 16) > 0 && texts(|len| len < 200) > 500);
        assert!(edits.iter().filter(|e| matches!(e, Edit::Toggle { .. })).count() > 100);
        assert_eq!(edits[3], edit(7, 4, 500));
    }

    #[test]
    fn the_model_edits_the_text_of_the_document() {
        let document = "<a>1<b>2</b>3</a>";
        let places = [3..4, 7..8, 12..13];
        let mut model = Model::new(document, &places, 1);
        assert_eq!(model.document(), document);
        model.texts.insert(1, "zwei".to_owned());
        model.inserted.insert(2, 9);
        assert_eq!(model.document(), "<a>1<b>zwei</b>3<edit n=\"9\">inserted by edit 9</edit></a>");
        assert_eq!(model.more_blocks(), 7);
    }
}
