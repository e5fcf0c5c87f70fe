//! Many entries to look up one after the other: their lines are asked of memory together, so that it fetches them at the same time.
//!
//! Looked up alone each waits for its bucket, and then for the entry that this names. Only hints are given here: whatever cannot be found is passed over, and
//! looked up, or found damaged, when its turn comes.

#![forbid(unsafe_code)]

use super::table::{Table, bucket_of};
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

    /// Has the buckets of these keys fetched, and then the entries that have them. No more than [`AHEAD`] are looked at.
    pub(super) fn fetch<Q: Borrow<K>, W>(&self, tx: &WriteTxn<'_>, entries: &[(Q, W)]) -> Result<()> {
        let head = self.head(tx)?;
        let (table, mut buffer) = (Table::of(self.offset(), &head)?, KeyBuffer::new());
        let mut wanted = [const { None }; AHEAD];
        for (wanted, (key, _)) in wanted.iter_mut().zip(entries) {
            let hash = hash(&head, key.borrow().ordered(&mut buffer));
            let chain = table.chain(tx, bucket_of(hash, table.buckets))?;
            tx.prefetch(chain.offset());
            *wanted = Some((hash, chain));
        }
        for (hash, mut chain) in wanted.into_iter().flatten() {
            if let Ok(Some(found)) = chain.find(tx, hash) {
                tx.prefetch_block(found.word.entry().raw());
            }
        }
        Ok(())
    }
}
