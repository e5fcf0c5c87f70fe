//! An XML document cut into parts of which each byte of it is one: what parts say, put together again, is the document.
//!
//! quick-xml finds the parts and checks that tags match; what is in them is kept as it was written (quotes, entities, white space).
//! Limits: UTF-8 only, and the whole document in memory.

use crate::Failure;
use quick_xml::Reader;
use quick_xml::events::Event;
use std::ops::Range;

/// What a part of a document is. The numbers are stored in arenas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// The whole document; never a part.
    Document = 0,
    /// `<a>...</a>`
    Element = 1,
    /// `<a/>`
    EmptyElement = 2,
    /// Text between tags, entities and all.
    Text = 3,
    /// `<!--...-->`
    Comment = 4,
    /// `<![CDATA[...]]>`
    CData = 5,
    /// `<?...?>`, the XML declaration too.
    Instruction = 6,
    /// `<!DOCTYPE ...>`
    Doctype = 7,
}

impl Kind {
    /// The kind with this number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        use Kind::*;
        [Document, Element, EmptyElement, Text, Comment, CData, Instruction, Doctype]
            .get(number as usize)
            .copied()
    }

    /// What stands around the content in a document.
    pub(crate) fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::Comment => ("<!--", "-->"),
            Self::CData => ("<![CDATA[", "]]>"),
            Self::Instruction => ("<?", "?>"),
            Self::Doctype => ("<!", ">"),
            Self::Element => ("<", ">"),
            Self::EmptyElement => ("<", "/>"),
            Self::Document | Self::Text => ("", ""),
        }
    }
}

/// A part of a document.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// A start tag: an element (its parts and an end follow) or an empty element.
    Start(Kind, Tag<'a>),
    /// An end tag: what stands between its name and its `>`.
    End(&'a str),
    /// Everything else: its kind, and what stands between its marks.
    Leaf(Kind, &'a str),
}

/// What is in a start tag.
#[derive(Debug)]
pub(crate) struct Tag<'a> {
    pub(crate) name: &'a str,
    pub(crate) attributes: Vec<Attribute<'a>>,
}

/// Everything up to the opening quote (white space, name, `=`, the quote), and the value up to the closing one. Without a value:
/// what stands behind the last attribute.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) lead: &'a str,
    pub(crate) value: Option<&'a str>,
}

impl<'a> Tag<'a> {
    /// From what stands between the marks of a start tag.
    fn parse(content: &'a str) -> Self {
        let name_end = content.find(|c: char| c.is_ascii_whitespace()).unwrap_or(content.len());
        let (name, mut rest) = content.split_at(name_end);
        let mut attributes = Vec::new();
        while !rest.is_empty() {
            let attribute = rest.find(['"', '\'']).and_then(|quote_at| {
                let (lead, behind) = rest.split_at(quote_at + 1);
                let value_len = behind.find(&lead[quote_at..])?;
                Some((lead, &behind[..value_len], &behind[value_len + 1..]))
            });
            let Some((lead, value, behind)) = attribute else {
                attributes.push(Attribute { lead: rest, value: None });
                break;
            };
            attributes.push(Attribute { lead, value: Some(value) });
            rest = behind;
        }
        Self { name, attributes }
    }
}

/// Calls `each` with all parts of a document in order, and where they stand in it. Fails where the document is not well formed.
pub(crate) fn parse<'a>(
    document: &'a str,
    mut each: impl FnMut(Range<usize>, Part<'a>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // The reader would drop it.
    let mark = if document.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    if mark > 0 {
        each(0..mark, Part::Leaf(Kind::Text, &document[..mark]))?;
    }
    let mut reader = Reader::from_str(&document[mark..]);
    let mut open = Vec::new();
    let mut elements = 0u64;
    // Text that entities cut into several events is one part.
    let mut text = mark..mark;
    loop {
        let event = reader.read_event().map_err(|e| {
            format!("the document is not well formed at byte {}: {e}", mark as u64 + reader.error_position())
        })?;
        let range = text.end..mark + reader.buffer_position() as usize;
        if let Event::Text(_) | Event::GeneralRef(_) = event {
            text.end = range.end;
            continue;
        }
        if !text.is_empty() {
            each(text.clone(), Part::Leaf(Kind::Text, &document[text]))?;
        }
        text = range.end..range.end;
        let raw = &document[range.clone()];
        let part = match event {
            Event::Start(_) | Event::Empty(_) => {
                elements += 1;
                let kind = if let Event::Start(_) = event { Kind::Element } else { Kind::EmptyElement };
                if kind == Kind::Element {
                    open.push(range.start);
                }
                Part::Start(kind, Tag::parse(between(raw, kind)?))
            }
            Event::End(_) => {
                open.pop();
                let name_end = raw.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(raw.len());
                Part::End(raw[name_end..].strip_suffix('>').unwrap_or_default())
            }
            Event::Comment(_) => leaf(Kind::Comment, raw)?,
            Event::CData(_) => leaf(Kind::CData, raw)?,
            Event::Decl(_) | Event::PI(_) => leaf(Kind::Instruction, raw)?,
            Event::DocType(_) => leaf(Kind::Doctype, raw)?,
            Event::Text(_) | Event::GeneralRef(_) => continue,
            Event::Eof => break,
        };
        each(range, part)?;
    }
    match open.last() {
        Some(start) => {
            Err(format!("the document is not well formed: the element at byte {start} is not closed").into())
        }
        None if elements == 0 => Err("the document is no XML: there is no element in it".into()),
        None => Ok(()),
    }
}

fn leaf(kind: Kind, raw: &str) -> Result<Part<'_>, Failure> {
    Ok(Part::Leaf(kind, between(raw, kind)?))
}

/// What stands between the marks of a part.
fn between(raw: &str, kind: Kind) -> Result<&str, Failure> {
    let (before, behind) = kind.marks();
    raw.strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(behind))
        .ok_or_else(|| format!("this is no {kind:?} of XML: {raw:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_cut_without_loss() {
        let tag = Tag::parse("a  b = \"1>'\" c='\"' \n");
        assert_eq!(tag.name, "a");
        let expected = [("  b = \"", Some("1>'")), (" c='", Some("\"")), (" \n", None)];
        assert_eq!(tag.attributes, expected.map(|(lead, value)| Attribute { lead, value }));
        assert!(Tag::parse("a").attributes.is_empty());
    }

    #[test]
    fn text_is_one_part_whatever_is_in_it() {
        let mut texts = Vec::new();
        parse("<a>1 &amp; 2 &#33;<b/>]]</a>\n", |range, part| {
            if let Part::Leaf(Kind::Text, text) = part {
                texts.push((range, text));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(texts, [(3..18, "1 &amp; 2 &#33;"), (22..24, "]]"), (28..29, "\n")]);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for bad in
            ["", "text", "<a>", "<a></b>", "</a>", "<a", "<!-- <a/>", "<a>&</a>", "<?xml version='1.0'?>"]
        {
            assert!(parse(bad, |_, _| Ok(())).is_err(), "{bad}");
        }
    }
}
