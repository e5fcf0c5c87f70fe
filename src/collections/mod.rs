//! Collections inside an arena.
//!
//! Each collection is a handle of eight bytes that leads to a header block. Handles are plain data: they can be a field of a struct in a block, the
//! value of another collection, or a root's content, so collections nest to any depth. Methods that read take any transaction, and borrow
//! what they return from it; methods that change take the write transaction, and nobody sees their changes before its commit. Names and
//! behaviour are those of `std::collections` where it has them.
//!
//! | of std's | here |
//! |---|---|
//! | methods of slices and `str` | on what `as_slice`, `as_mut_slice`, `as_str` return: `v.as_mut_slice(&mut tx)?.sort()`, `text.as_str(&tx)?.find("x")` |
//! | `Vec::dedup` | `retain`, as the example of [`Vector::retain`] shows |
//! | `Vec::append`, `BTreeMap::append`, and a copy | `extend_from_slice`, `extend`, with what was taken out or collected before: nothing is borrowed from a transaction that changes |
//! | `LinkedList::front`, `back`, `iter_mut`, cursors | `front`, `back`, `nodes`, which name elements; `get` and `update` by that name |
//! | what `insert` and `remove` of a map return | whether there was an entry; its value: `get` before, `take` |
//! | `entry`, `get_mut` | `update`, `update_or_insert` |
//! | `first_key_value`, `last_key_value` | `first`, `last` |
//! | `drain` of a map | `iter`, then `clear` |
//! | `BTreeMap::split_off` | `range`, collected, then `retain` |
//! | `Clone`, `Drop` of the whole | none: a handle is a name; `free`, `free_with` |
//!
//! What is read from the file is never trusted: a damaged or hostile collection gives [`Error::Corrupt`](crate::Error::Corrupt), no panic and no
//! endless loop. A change that finds no room leaves the collection as it was, or the transaction such that it can only be rolled back, also to
//! a [`SavePoint`](crate::SavePoint) ([`Error::HalfChanged`](crate::Error::HalfChanged)); after `Corrupt` roll it back.
//!
//! Collections do not free what their items lead to: `free` frees the collection's own blocks, `free_with` calls a closure for each item before.

#[macro_use]
mod handle;
mod blocks;
pub mod btree;
pub mod hash_map;
mod item;
pub mod list;
mod shape;
mod text;
mod vector;

pub use btree::BTreeMap;
pub use hash_map::HashMap;
pub use item::{Item, Key, KeyBuffer, Number};
pub use list::List;
pub use text::Text;
pub use vector::Vector;

/// Where a value lies: its block, its first byte in that block, its length in bytes. See [`BTreeMap::place`] and [`HashMap::place`].
///
/// ```
/// # use heapfile::{Arena, collections::{BTreeMap, Place}};
/// # let dir = tempfile::tempdir().unwrap();
/// # let arena = Arena::create(dir.path().join("a.heap"))?;
/// # let mut tx = arena.write()?;
/// let map = BTreeMap::<str, [u8]>::new_in(&mut tx)?;
/// let place: Option<Place> = map.place(&tx, "nothing")?;
/// assert_eq!(place, None);
/// # Ok::<(), heapfile::Error>(())
/// ```
pub type Place = (crate::Offset<[u8]>, u64, u64);
