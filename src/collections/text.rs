//! [`Text`]: a string that is edited in place.
//!
//! The bytes are those of a [`Vector<u8>`](Vector), valid UTF-8 as far as this module writes them. A file may hold anything: reading
//! the whole text checks it, reading and changing a range looks at its ends only.
#![forbid(unsafe_code)]

use super::Vector;
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::txn::{View, WriteTxn};
use bytemuck::{Pod, Zeroable};
use std::ops::{Range, RangeBounds};

/// A text in an arena, edited in place: `String`, as a handle of 8 bytes that can be stored in blocks and other collections.
///
/// Places are counted in bytes, as in `str`, and have to lie between characters. A change writes what it changes: replacing a range by
/// one of the same length, that range; appending, what is appended; inserting or removing, also what is behind it.
///
/// ```
/// use heapfile::{Arena, collections::Text};
/// # let dir = tempfile::tempdir().unwrap();
/// let arena = Arena::create(dir.path().join("a.heap"))?;
/// let mut tx = arena.write()?;
/// let text = Text::from_str(&mut tx, "Foo")?;
/// text.push_str(&mut tx, "bar")?;
/// text.replace_range(&mut tx, 0..1, "f")?;
/// assert_eq!(text.as_str(&tx)?, "foobar");
/// # Ok::<(), heapfile::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Text(Vector<u8>);

const NOT_UTF8: &str = "a text is not UTF-8";

impl Text {
    /// An empty text: one block of 32 bytes, more with the first character.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(Text::new_in(&mut tx)?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn new_in(tx: &mut WriteTxn<'_>) -> Result<Self> {
        Ok(Self(Vector::new_in(tx)?))
    }

    /// A text that holds a copy of `text`.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert_eq!(Text::from_str(&mut tx, "Ada")?.as_str(&tx)?, "Ada");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn from_str(tx: &mut WriteTxn<'_>, text: &str) -> Result<Self> {
        Ok(Self(Vector::from_slice(tx, text.as_bytes())?))
    }

    /// The handle that leads nowhere, for fields that are filled later. Using it is [`Error::BadOffset`].
    ///
    /// ```
    /// assert!(heapfile::collections::Text::none().is_none());
    /// ```
    pub const fn none() -> Self {
        Self(Vector::none())
    }

    /// Whether this leads nowhere.
    ///
    /// ```
    /// assert!(heapfile::collections::Text::none().is_none());
    /// ```
    pub const fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// The text of the header block at `offset`. It is checked at each use.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Ada")?;
    /// assert_eq!(Text::from_offset(text.offset()), text);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub const fn from_offset(offset: Offset<[u8]>) -> Self {
        Self(Vector::from_offset(offset))
    }

    /// The header block.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(!Text::new_in(&mut tx)?.offset().is_null());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub const fn offset(&self) -> Offset<[u8]> {
        self.0.offset()
    }

    /// The bytes of the text as a vector of their own kind. Whoever changes them keeps them UTF-8, or reading as text fails.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Ada")?;
    /// text.bytes().as_mut_slice(&mut tx)?.make_ascii_uppercase();
    /// assert_eq!(text.as_str(&tx)?, "ADA");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub const fn bytes(&self) -> Vector<u8> {
        self.0
    }

    /// Length in bytes.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert_eq!(Text::from_str(&mut tx, "é")?.len(&tx)?, 2);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn len(&self, tx: &impl View) -> Result<u64> {
        self.0.len(tx)
    }

    /// Whether there is no character.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// assert!(!Text::from_str(&mut tx, "é")?.is_empty(&tx)?);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn is_empty(&self, tx: &impl View) -> Result<bool> {
        self.0.is_empty(tx)
    }

    /// The whole text, in place. Checks that it is UTF-8, which costs one pass: [`Error::Corrupt`] if not.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Ada Lovelace")?;
    /// assert!(text.as_str(&tx)?.ends_with("lace"));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn as_str<'t>(&self, tx: &'t impl View) -> Result<&'t str> {
        self.as_utf8(self.0.as_slice(tx)?)
    }

    /// A part of the text, in place. Looks at that part only.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Ada Lovelace")?;
    /// assert_eq!(text.slice(&tx, 4..8)?, "Love");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn slice<'t>(&self, tx: &'t impl View, range: impl RangeBounds<u64>) -> Result<&'t str> {
        let range = self.between_characters(tx, range)?;
        self.as_utf8(self.0.slice(tx, range)?)
    }

    fn as_utf8<'t>(&self, bytes: &'t [u8]) -> Result<&'t str> {
        std::str::from_utf8(bytes).map_err(|_| Error::corrupt(self.offset().raw(), NOT_UTF8))
    }

    /// The range, if both of its ends lie in the text and between characters.
    fn between_characters(&self, tx: &impl View, range: impl RangeBounds<u64>) -> Result<Range<u64>> {
        let range = super::shape::range(range, self.len(tx)?);
        for at in [range.start, range.end] {
            if self.0.get(tx, at)?.is_some_and(|byte| byte & 0xC0 == 0x80) {
                return Err(Error::BadOption {
                    option: "a place in a text",
                    value: at,
                    why: "it lies inside a character; places lie between characters",
                });
            }
        }
        Ok(range)
    }

    /// Appends a text: writes that, and the length.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Foo")?;
    /// text.push_str(&mut tx, "bar")?;
    /// assert_eq!(text.as_str(&tx)?, "Foobar");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn push_str(&self, tx: &mut WriteTxn<'_>, text: &str) -> Result<()> {
        self.0.extend_from_slice(tx, text.as_bytes())
    }

    /// Appends a character.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "caf")?;
    /// text.push(&mut tx, 'é')?;
    /// assert_eq!(text.as_str(&tx)?, "café");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn push(&self, tx: &mut WriteTxn<'_>, character: char) -> Result<()> {
        self.push_str(tx, character.encode_utf8(&mut [0; 4]))
    }

    /// Removes the last character and returns it.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "café")?;
    /// assert_eq!(text.pop(&mut tx)?, Some('é'));
    /// assert_eq!(text.as_str(&tx)?, "caf");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn pop(&self, tx: &mut WriteTxn<'_>) -> Result<Option<char>> {
        let len = self.len(tx)?;
        let tail = self.0.slice(tx, len.saturating_sub(4)..len)?;
        let start = tail.iter().rposition(|byte| byte & 0xC0 != 0x80).unwrap_or(0);
        let Some(last) = self.as_utf8(&tail[start..])?.chars().next() else { return Ok(None) };
        self.0.truncate(tx, len - last.len_utf8() as u64)?;
        Ok(Some(last))
    }

    /// Inserts a text before the byte at `at`; moves what is behind.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Fbar")?;
    /// text.insert_str(&mut tx, 1, "oo")?;
    /// assert_eq!(text.as_str(&tx)?, "Foobar");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn insert_str(&self, tx: &mut WriteTxn<'_>, at: u64, text: &str) -> Result<()> {
        self.replace_range(tx, at..at, text)
    }

    /// Removes a range and returns what was in it; moves what is behind.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Foobar")?;
    /// assert_eq!(text.drain(&mut tx, 1..5)?, "ooba");
    /// assert_eq!(text.as_str(&tx)?, "Fr");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn drain(&self, tx: &mut WriteTxn<'_>, range: impl RangeBounds<u64>) -> Result<String> {
        let range = self.between_characters(tx, range)?;
        let removed = self.as_utf8(self.0.slice(tx, range.clone())?)?.to_owned();
        self.0.replace_range(tx, range, &[])?;
        Ok(removed)
    }

    /// Replaces a range by a text of any length. Where the lengths are equal it writes that range alone.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "naïve")?;
    /// text.replace_range(&mut tx, 2..4, "i")?;
    /// assert_eq!(text.as_str(&tx)?, "naive");
    /// assert!(Text::from_str(&mut tx, "ï")?.replace_range(&mut tx, 1..2, "").is_err());
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn replace_range(
        &self,
        tx: &mut WriteTxn<'_>,
        range: impl RangeBounds<u64>,
        text: &str,
    ) -> Result<()> {
        let range = self.between_characters(tx, range)?;
        self.0.replace_range(tx, range, text.as_bytes())
    }

    /// Cuts the text off behind its first `len` bytes. The room stays.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Foobar")?;
    /// text.truncate(&mut tx, 3)?;
    /// assert_eq!(text.as_str(&tx)?, "Foo");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn truncate(&self, tx: &mut WriteTxn<'_>, len: u64) -> Result<()> {
        if len >= self.len(tx)? {
            return Ok(());
        }
        self.between_characters(tx, len..len)?;
        self.0.truncate(tx, len)
    }

    /// Moves what is behind the first `at` bytes to a new text, which is returned; it is copied.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Foobar")?;
    /// let rest = text.split_off(&mut tx, 3)?;
    /// assert_eq!((text.as_str(&tx)?, rest.as_str(&tx)?), ("Foo", "bar"));
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn split_off(&self, tx: &mut WriteTxn<'_>, at: u64) -> Result<Self> {
        let range = self.between_characters(tx, at..)?;
        Ok(Self(self.0.split_off(tx, range.start)?))
    }

    /// Removes all characters. The room stays.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Foo")?;
    /// text.clear(&mut tx)?;
    /// assert_eq!(text.as_str(&tx)?, "");
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn clear(&self, tx: &mut WriteTxn<'_>) -> Result<()> {
        self.0.clear(tx)
    }

    /// Makes sure that `more` bytes can be added without growing.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// Text::new_in(&mut tx)?.reserve(&mut tx, 1000)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn reserve(&self, tx: &mut WriteTxn<'_>, more: u64) -> Result<()> {
        self.0.reserve(tx, more)
    }

    /// Gives room that no character uses back to the heap.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// let text = Text::from_str(&mut tx, "Foobar")?;
    /// text.truncate(&mut tx, 3)?;
    /// text.shrink_to_fit(&mut tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn shrink_to_fit(&self, tx: &mut WriteTxn<'_>) -> Result<()> {
        self.0.shrink_to_fit(tx)
    }

    /// Frees the text.
    ///
    /// ```
    /// # use heapfile::{Arena, View, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// Text::from_str(&mut tx, "Foo")?.free(&mut tx)?;
    /// assert_eq!(tx.blocks().count(), 0);
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn free(self, tx: &mut WriteTxn<'_>) -> Result<()> {
        self.0.free(tx)
    }

    /// Verifies the structure, and that all of the text is UTF-8.
    ///
    /// ```
    /// # use heapfile::{Arena, collections::Text};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let arena = Arena::create(dir.path().join("a.heap"))?;
    /// # let mut tx = arena.write()?;
    /// Text::from_str(&mut tx, "Foo")?.check(&tx)?;
    /// # Ok::<(), heapfile::Error>(())
    /// ```
    pub fn check(&self, tx: &impl View) -> Result<()> {
        self.0.check(tx)?;
        self.as_str(tx).map(drop)
    }
}
