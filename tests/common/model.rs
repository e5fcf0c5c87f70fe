//! Collections play the same acts as their models of std, with commits and roll backs in between.

use super::{assert_clean, fast_dir, small};
use heapfile::{Durability, View, WriteTxn};

/// How a transaction ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Commit,
    RollBack,
}

/// A collection, or several, with a model.
pub(crate) trait Subject: Sized {
    type Act;
    type Model: Clone + Default;

    fn new_in(tx: &mut WriteTxn<'_>) -> Self;

    /// Whether that act is the end of the transaction.
    fn end(act: &Self::Act) -> Option<End>;

    /// Does the same to both; what they return has to be equal.
    fn play(&self, tx: &mut WriteTxn<'_>, model: &mut Self::Model, act: &Self::Act);

    #[track_caller]
    fn assert_is(&self, tx: &impl View, model: &Self::Model);

    fn free(self, tx: &mut WriteTxn<'_>);
}

/// Plays the acts in an arena of that kind; in the end nothing of the collection is left.
pub(crate) fn obey<S: Subject>(acts: &[S::Act], durability: Durability) {
    let dir = fast_dir();
    let arena = small(durability).max_size(1 << 30).create(dir.path().join("a.heap")).unwrap();
    let mut tx = arena.write().unwrap();
    let subject = S::new_in(&mut tx);
    tx.commit().unwrap();
    let (mut model, mut committed) = (S::Model::default(), S::Model::default());
    let mut tx = arena.write().unwrap();
    for act in acts {
        match S::end(act) {
            Some(End::Commit) => {
                subject.assert_is(&tx, &model);
                tx.commit().unwrap();
                subject.assert_is(&arena.read().unwrap(), &model);
                committed.clone_from(&model);
                tx = arena.write().unwrap();
            }
            Some(End::RollBack) => {
                drop(tx);
                model.clone_from(&committed);
                tx = arena.write().unwrap();
                subject.assert_is(&tx, &model);
            }
            None => subject.play(&mut tx, &mut model, act),
        }
    }
    subject.assert_is(&tx, &model);
    tx.commit().unwrap();
    assert_clean(&arena);
    let mut tx = arena.write().unwrap();
    subject.free(&mut tx);
    assert_eq!(tx.blocks().count(), 0, "freeing leaves nothing behind");
    tx.commit().unwrap();
    assert_clean(&arena);
}
