//! Many entries to look up one after the other: their lines are asked of memory together, so that it fetches them at the same time.
//!
//! Looked up alone each waits for its bucket, and then for the entry that this names. So these are found for several keys, and asked for; whatever cannot be found is passed
//! over, and looked up, or found damaged, when its turn comes. An entry that was found stays where it is until its value gets another length; from
//! the first one on that does, the others are looked up again.

#![forbid(unsafe_code)]

use super::entry::Layout;
use super::table::{Link, Table, bucket_of};
use super::{HashMap, hash};
use crate::collections::{Item, Key, KeyBuffer};
use crate::error::Result;
use crate::txn::WriteTxn;
use crate::txn::view::Source;
use std::borrow::Borrow;

/// Entries that are looked ahead: what the processor's first cache has room for, several times over.
pub(super) const AHEAD: usize = 16;

/// Bytes of values from which on no more entries are taken: of long ones there may be no room for several.
const MOST_BYTES: usize = 64 << 10;

impl<K: Key + ?Sized, V: Item + ?Sized> HashMap<K, V> {
    /// Takes the next entries; whether there were any.
    pub(super) fn look_ahead<Q, W: Borrow<V>>(
        entries: &mut impl Iterator<Item = (Q, W)>,
        next: &mut Vec<(Q, W)>,
    ) -> bool {
        let mut bytes = 0;
        while next.len() < AHEAD && bytes < MOST_BYTES {
            let Some(entry) = entries.next() else { break };
            bytes += entry.1.borrow().as_bytes().len();
            next.push(entry);
        }
        !next.is_empty()
    }

    /// Inserts these entries, no more than [`AHEAD`], and takes them out of the list.
    pub(super) fn insert_all<Q: Borrow<K>, W: Borrow<V>>(
        &self,
        tx: &mut WriteTxn<'_>,
        entries: &mut Vec<(Q, W)>,
    ) -> Result<()> {
        let found = self.fetch(tx, entries)?;
        let mut are_there = true;
        for ((key, value), entry) in entries.drain(..).zip(found) {
            let (key, value) = (key.borrow(), value.borrow());
            if let Some(entry) = entry.filter(|_| are_there) {
                if self.overwrite(tx, entry, key, value)? {
                    continue;
                }
                // The next with this key would come to where it was.
                are_there = false;
            }
            self.insert(tx, key, value)?;
        }
        Ok(())
    }

    /// Overwrites the value of an entry, if it has this key and a value of that length.
    fn overwrite(&self, tx: &mut WriteTxn<'_>, entry: Link, key: &K, value: &V) -> Result<bool> {
        let mut buffer = KeyBuffer::new();
        let Some((block, old)) = Layout::<K, V>::with_key(tx, entry, key.ordered(&mut buffer))? else {
            return Ok(false);
        };
        let value = value.as_bytes();
        let fits = value.len() as u64 == old.end - old.start;
        if fits {
            tx.write_in(block, old.start, value)?;
        }
        Ok(fits)
    }

    /// Has the buckets of these keys fetched, and then the entries that seem to have them, which it returns.
    fn fetch<Q: Borrow<K>, W>(&self, tx: &WriteTxn<'_>, entries: &[(Q, W)]) -> Result<[Option<Link>; AHEAD]> {
        let head = self.head(tx)?;
        let (table, mut buffer) = (Table::of(self.offset(), &head)?, KeyBuffer::new());
        let mut wanted = [const { None }; AHEAD];
        for (wanted, (key, _)) in wanted.iter_mut().zip(entries) {
            let hash = hash(&head, key.borrow().ordered(&mut buffer));
            let chain = table.chain(tx, bucket_of(hash, table.buckets))?;
            tx.prefetch(chain.offset());
            *wanted = Some((hash, chain));
        }
        Ok(wanted.map(|wanted| {
            let (hash, mut chain) = wanted?;
            let entry = chain.find(tx, hash).ok().flatten()?.word.entry();
            tx.prefetch_block(entry.raw());
            Some(entry)
        }))
    }
}
