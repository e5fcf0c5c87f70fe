//! The objects of an application, with references in both directions and a history to undo, and a crash in the middle of a change.
//!
//! A board has columns of cards; a card knows its column and the people it is given to, a person knows all of her cards. A
//! `HashMap` finds both by name, a `List` keeps a column's order, `Text` is edited in place. What a change replaces goes to the
//! history in the same transaction, so that board and history always fit together; undoing is one transaction more.
//!
//! The crash is a real one: the program runs itself, and that process aborts between two changes of one transaction.
//!
//!     cargo run --example object_graph

use bytemuck::{Pod, Zeroable};
use heapfile::collections::{HashMap, List, Text, Vector, list::Node};
use heapfile::{Arena, Offset, View, WriteTxn};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The root. Collections are handles of eight bytes, so a plain struct can hold them.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Board {
    columns: Vector<Column>,
    cards: HashMap<str, Offset<Card>>,
    people: HashMap<str, Offset<Person>>,
    history: List<Step>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Column {
    name: Text,
    cards: List<Offset<Card>>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Card {
    title: Text,
    /// The column, by its place, and the element there: moving a card is O(1).
    column: u64,
    place: Node<Offset<Card>>,
    people: Vector<Offset<Person>>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Person {
    name: Text,
    cards: Vector<Offset<Card>>,
}

/// A change, by what undoes it: the column that a card was in, or the title that it had.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Step {
    card: Offset<Card>,
    column: u64,
    /// None: the step was a move.
    title: Text,
}

fn main() -> Result<()> {
    if let Some(path) = std::env::var_os(CRASH) {
        crash(&PathBuf::from(path))?;
    }
    let dir = tempfile::tempdir()?;
    run(&dir.path().join("board.heap"), &std::env::current_exe()?, &[])
}

/// Set in the process that crashes, to the arena's path.
const CRASH: &str = "OBJECT_GRAPH_CRASH";

/// The example. `program` with `arguments` comes to [`crash_if_asked`].
pub fn run(path: &Path, program: &Path, arguments: &[&str]) -> Result<()> {
    let arena = Arena::create(path)?;
    let mut tx = arena.write()?;
    let board = make_board(&mut tx, &["to do", "doing", "done"])?;
    for (card, person) in [("engine", "Ada"), ("notes", "Ada"), ("compiler", "Grace")] {
        add_card(&mut tx, board, card)?;
        give(&mut tx, board, card, person)?;
    }
    give(&mut tx, board, "engine", "Charles")?;
    tx.commit()?;

    let mut tx = arena.write()?;
    move_card(&mut tx, board, "engine", 1)?;
    rename(&mut tx, board, "engine", "analytical engine")?;
    tx.commit()?;
    let before = describe(&arena.read()?, board)?;
    println!("{before}");
    drop(arena);

    // A process that dies after the first half of a change: it moves a card, and has not yet told the history.
    let status = std::process::Command::new(program)
        .args(arguments)
        .env(CRASH, path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()?;
    assert!(status.signal().is_some(), "it was to crash: {status}");

    let arena = Arena::open(path)?;
    assert_eq!(describe(&arena.read()?, board)?, before, "nothing of the half change is there");
    assert!(arena.check()?.is_clean());

    // Undo both steps, one transaction each.
    for left in [1, 0] {
        let mut tx = arena.write()?;
        undo(&mut tx, board)?;
        tx.commit()?;
        assert_eq!(board.history.len(&arena.read()?)?, left);
    }
    let after = describe(&arena.read()?, board)?;
    println!("{after}");
    assert!(after.contains("to do: notes (Ada), compiler (Grace), engine (Ada, Charles)"), "{after}");
    check(&arena.read()?, board)
}

/// What the process does that crashes: everything up to the middle of a change.
pub fn crash_if_asked() -> Result<()> {
    std::env::var_os(CRASH).map_or(Ok(()), |path| crash(&PathBuf::from(path)))
}

fn crash(path: &Path) -> Result<()> {
    let arena = Arena::open(path)?;
    let mut tx = arena.write()?;
    let board = *tx.get(tx.root::<Board>()?.ok_or("no board")?)?;
    let card = board.cards.get(&tx, "compiler")?.copied().ok_or("no card")?;
    put_into(&mut tx, board, card, 2)?;
    std::process::abort();
}

fn make_board(tx: &mut WriteTxn<'_>, columns: &[&str]) -> Result<Board> {
    let board = Board {
        columns: Vector::new_in(tx)?,
        cards: HashMap::new_in(tx)?,
        people: HashMap::new_in(tx)?,
        history: List::new_in(tx)?,
    };
    for name in columns {
        let column = Column { name: Text::from_str(tx, name)?, cards: List::new_in(tx)? };
        board.columns.push(tx, column)?;
    }
    let root = tx.alloc(&board)?;
    tx.set_root(root)?;
    Ok(board)
}

fn column(tx: &impl View, board: Board, index: u64) -> Result<Column> {
    Ok(*board.columns.get(tx, index)?.ok_or("no such column")?)
}

fn card(tx: &impl View, board: Board, name: &str) -> Result<Offset<Card>> {
    Ok(*board.cards.get(tx, name)?.ok_or("no such card")?)
}

fn add_card(tx: &mut WriteTxn<'_>, board: Board, title: &str) -> Result<()> {
    let (text, people) = (Text::from_str(tx, title)?, Vector::new_in(tx)?);
    let card = tx.alloc(&Card { title: text, column: 0, place: Node::none(), people })?;
    let place = column(tx, board, 0)?.cards.push_back(tx, card)?;
    tx.get_mut(card)?.place = place;
    board.cards.insert(tx, title, &card)?;
    Ok(())
}

/// The references go both ways: from the card to the person, and back.
fn give(tx: &mut WriteTxn<'_>, board: Board, title: &str, name: &str) -> Result<()> {
    let card = card(tx, board, title)?;
    let person = match board.people.get(tx, name)?.copied() {
        Some(person) => person,
        None => {
            let (text, cards) = (Text::from_str(tx, name)?, Vector::new_in(tx)?);
            let person = tx.alloc(&Person { name: text, cards })?;
            board.people.insert(tx, name, &person)?;
            person
        }
    };
    let (people, cards) = (tx.get(card)?.people, tx.get(person)?.cards);
    people.push(tx, person)?;
    cards.push(tx, card)?;
    Ok(())
}

/// Takes a card out of its column and puts it at the end of another one.
fn put_into(tx: &mut WriteTxn<'_>, board: Board, card: Offset<Card>, to: u64) -> Result<()> {
    let Card { column: from, place, .. } = *tx.get(card)?;
    column(tx, board, from)?.cards.remove(tx, place)?;
    let place = column(tx, board, to)?.cards.push_back(tx, card)?;
    let moved = tx.get_mut(card)?;
    (moved.column, moved.place) = (to, place);
    Ok(())
}

fn move_card(tx: &mut WriteTxn<'_>, board: Board, title: &str, to: u64) -> Result<()> {
    let card = card(tx, board, title)?;
    let from = tx.get(card)?.column;
    put_into(tx, board, card, to)?;
    board.history.push_back(tx, Step { card, column: from, title: Text::none() })?;
    Ok(())
}

fn rename(tx: &mut WriteTxn<'_>, board: Board, title: &str, new: &str) -> Result<()> {
    let card = card(tx, board, title)?;
    let Card { title: text, column, .. } = *tx.get(card)?;
    let old = Text::from_str(tx, title)?;
    retitle(tx, board, card, title, new)?;
    board.history.push_back(tx, Step { card, column, title: old })?;
    assert_eq!(text.as_str(tx)?, new);
    Ok(())
}

fn retitle(tx: &mut WriteTxn<'_>, board: Board, card: Offset<Card>, old: &str, new: &str) -> Result<()> {
    let text = tx.get(card)?.title;
    text.replace_range(tx, .., new)?;
    board.cards.remove(tx, old)?;
    board.cards.insert(tx, new, &card)?;
    Ok(())
}

fn undo(tx: &mut WriteTxn<'_>, board: Board) -> Result<()> {
    let Some(step) = board.history.pop_back(tx)? else { return Ok(()) };
    if step.title.is_none() {
        return put_into(tx, board, step.card, step.column);
    }
    let (now, before) = (tx.get(step.card)?.title.as_str(tx)?.to_owned(), step.title.as_str(tx)?.to_owned());
    retitle(tx, board, step.card, &now, &before)?;
    Ok(step.title.free(tx)?)
}

fn describe(tx: &impl View, board: Board) -> Result<String> {
    let mut text = String::new();
    for column in board.columns.iter(tx)? {
        let mut cards = Vec::new();
        for card in column.cards.iter(tx)? {
            let card = tx.get(*card?)?;
            let names: heapfile::Result<Vec<&str>> =
                card.people.iter(tx)?.map(|person| tx.get(*person)?.name.as_str(tx)).collect();
            cards.push(format!("{} ({})", card.title.as_str(tx)?, names?.join(", ")));
        }
        text += &format!("{}: {}\n", column.name.as_str(tx)?, cards.join(", "));
    }
    Ok(text)
}

/// All references lead somewhere, and back.
fn check(tx: &impl View, board: Board) -> Result<()> {
    for entry in board.cards.iter(tx)? {
        let (title, card) = entry?;
        assert_eq!(tx.get(*card)?.title.as_str(tx)?, title);
        for person in tx.get(*card)?.people.iter(tx)? {
            assert!(tx.get(*person)?.cards.as_slice(tx)?.contains(card));
        }
    }
    for entry in board.people.iter(tx)? {
        let (_, person) = entry?;
        for card in tx.get(*person)?.cards.iter(tx)? {
            assert!(tx.get(*card)?.people.as_slice(tx)?.contains(person));
        }
    }
    Ok(())
}
