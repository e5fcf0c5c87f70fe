//! What the processes of a round work on: the blocks of a script, or the tables of a store. Of either, what there is after so many commits follows
//! from their number. Beside the blocks of the script there may be those of `alone`.

use super::alone::{self, Single};
use crate::common::objects;
use crate::common::script::{self, Script};
use heapfile::{Arena, ReadTxn, Result, View, WriteTxn};

/// The state after so many commits, as it should be.
pub(super) enum Work {
    Blocks(Script),
    Tables { count: u64, model: objects::Model },
}

impl Work {
    /// Before the first commit.
    pub(super) fn new(tables: bool) -> Self {
        match tables {
            true => Self::Tables { count: 0, model: objects::Model::new() },
            false => Self::Blocks(Script::default()),
        }
    }

    /// Makes what the work needs in an empty arena, if nobody did it yet.
    pub(super) fn begin_if_empty(&self, arena: &Arena) -> Result<()> {
        match self {
            Self::Blocks(_) => script::begin_if_empty(arena),
            Self::Tables { .. } => Ok(()),
        }
    }

    /// How many commits there are in what the transaction sees.
    pub(super) fn count_in(&self, tx: &impl View) -> Result<u64> {
        match self {
            Self::Blocks(_) => script::count_in(tx),
            Self::Tables { .. } => objects::count_in(tx),
        }
    }

    /// Makes the changes of the next commit; which one it is.
    pub(super) fn edit(&self, tx: &mut WriteTxn<'_>) -> Result<u64> {
        match self {
            Self::Blocks(_) => script::edit(tx),
            Self::Tables { .. } => {
                let next = objects::count_in(tx)? + 1;
                objects::edit(tx, next)?;
                Ok(next)
            }
        }
    }

    /// Goes on to the state after `count` commits, if it is not there yet.
    pub(super) fn go_to(&mut self, to: u64) {
        match self {
            Self::Blocks(script) => (script.count..to).for_each(|_| script.next()),
            Self::Tables { count, model } => {
                (*count + 1..=to).for_each(|n| objects::step(model, n));
                *count = to.max(*count);
            }
        }
    }

    /// The blocks beside this state in what the transaction reads, or how that differs from this state.
    pub(super) fn look(&self, tx: &ReadTxn<'_>) -> Result<std::result::Result<Vec<Single>, String>> {
        match self {
            Self::Blocks(script) => match script.places(tx) {
                Ok(places) => alone::all(tx, &places, script::BESIDE),
                Err(what) => Ok(Err(what)),
            },
            Self::Tables { count, model } => {
                let there = objects::count_in(tx)?;
                let difference = match there == *count {
                    true => objects::difference_in(tx, model)?,
                    false => Some(format!("{there} commits, not {count}")),
                };
                Ok(difference.map_or(Ok(Vec::new()), Err))
            }
        }
    }

    /// What is wrong with an arena in this state if there are blocks that no table leads to; without tables [`look`](Self::look) knows all blocks. Nobody
    /// else works there.
    pub(super) fn left_over(&self, arena: &Arena) -> Option<String> {
        match self {
            Self::Blocks(_) => None,
            Self::Tables { model, .. } => objects::left_over(arena, model),
        }
    }
}
