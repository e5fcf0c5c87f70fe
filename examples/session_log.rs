//! One process records what happens in a session; three others read each item, acknowledge it, and recycle what all have seen.
//!
//! Run it with `cargo run --release --example session_log`. The items form a linked list of blocks under the root. A listener acknowledges an
//! item in the same transaction in which it notes what it heard; whoever acknowledges last unlinks the item and frees its
//! blocks. One listener is killed again and again and started anew: it goes on where it was, and hears nothing twice. Another
//! one comes late: until then the items are kept for it, and the producer waits when too many are.

use heapfile::{Arena, Durability, Offset, Options, Result, View, WriteTxn};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const LISTENERS: usize = 3;
const KILLED: usize = 1;
const LATE: usize = 2;
/// Items that may wait for a listener.
const MOST_KEPT: u64 = 200;
const ROLE: &str = "SESSION_LOG_ROLE";
const FILE: &str = "SESSION_LOG_FILE";

/// One thing that happened. Its text may be of any length.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Item {
    next: Offset<Item>,
    text: Offset<[u8]>,
    number: u64,
    /// One bit for each listener.
    acknowledged: u64,
}

/// What the root leads to.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Session {
    first: Offset<Item>,
    last: Offset<Item>,
    recorded: u64,
    recycled: u64,
    /// How many items the producer will record.
    planned: u64,
    listeners: [Heard; LISTENERS],
}

/// What a listener made of the items, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Heard {
    items: u64,
    bytes: u64,
    digest: u64,
}

impl Heard {
    fn hear(&mut self, number: u64, text: &[u8]) {
        assert_eq!(number, self.items, "an item was lost, or heard twice");
        self.items += 1;
        self.bytes += text.len() as u64;
        self.digest = text.iter().fold(self.digest, |d, &b| d.wrapping_mul(31).wrapping_add(b.into()));
    }
}

/// A key, a click, a URL.
fn text(number: u64) -> String {
    match number % 3 {
        0 => format!("key {}", (b'a' + (number % 26) as u8) as char),
        1 => format!("click {} {}", number * 7 % 1920, number * 13 % 1080),
        _ => format!("https://example.org/{}?n={number}", "long/".repeat((number * number % 3000) as usize)),
    }
}

fn session(view: &impl View) -> Result<(Offset<Session>, Session)> {
    let at = view.root()?.expect("the parent made it");
    Ok((at, *view.get(at)?))
}

/// Appends an item. `false`: there are too many that wait.
fn record(arena: &Arena, text: &str) -> Result<bool> {
    let mut tx = arena.write()?;
    let (at, mut session) = session(&tx)?;
    if session.recorded - session.recycled >= MOST_KEPT {
        return Ok(false);
    }
    let text = tx.alloc_bytes(text.as_bytes())?;
    let item = Item { next: Offset::null(), text, number: session.recorded, acknowledged: 0 };
    let item = tx.alloc(&item)?;
    if session.last.is_null() {
        session.first = item;
    } else {
        tx.get_mut(session.last)?.next = item;
    }
    session.last = item;
    session.recorded += 1;
    *tx.get_mut(at)? = session;
    tx.commit()?;
    Ok(true)
}

/// The first item that `listener` has not acknowledged.
fn unheard(view: &impl View, session: &Session, listener: usize) -> Result<Option<(Offset<Item>, Item)>> {
    let mut at = session.first;
    while !at.is_null() {
        let item = *view.get(at)?;
        if item.acknowledged & 1 << listener == 0 {
            return Ok(Some((at, item)));
        }
        at = item.next;
    }
    Ok(None)
}

/// Acknowledges one item and recycles what all have acknowledged. `false`: there is none at the moment.
fn acknowledge(arena: &Arena, listener: usize) -> Result<bool> {
    {
        // Looking costs no lock.
        let tx = arena.read()?;
        let (_, session) = session(&tx)?;
        if unheard(&tx, &session, listener)?.is_none() {
            return Ok(false);
        }
    }
    let mut tx = arena.write()?;
    let (at, mut session) = session(&tx)?;
    let Some((item_at, item)) = unheard(&tx, &session, listener)? else { return Ok(false) };
    session.listeners[listener].hear(item.number, tx.bytes(item.text)?);
    tx.get_mut(item_at)?.acknowledged |= 1 << listener;
    recycle(&mut tx, &mut session)?;
    *tx.get_mut(at)? = session;
    tx.commit()?;
    Ok(true)
}

/// Frees the items at the front that everybody has acknowledged.
fn recycle(tx: &mut WriteTxn<'_>, session: &mut Session) -> Result<()> {
    while !session.first.is_null() {
        let item = *tx.get(session.first)?;
        if item.acknowledged != (1 << LISTENERS) - 1 {
            break;
        }
        tx.free(item.text)?;
        tx.free(session.first)?;
        session.first = item.next;
        session.recycled += 1;
    }
    if session.first.is_null() {
        session.last = Offset::null();
    }
    Ok(())
}

/// The role of this process, if it is a child.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A child: the producer, or a listener.
pub(crate) fn play(role: &str) -> Result<()> {
    let arena = Arena::open(std::env::var(FILE).expect("the parent names the file"))?;
    let planned = session(&arena.read()?)?.1.planned;
    let mut done = 0;
    while done < planned {
        let went_on = match role.parse::<usize>() {
            Ok(listener) => {
                let went_on = acknowledge(&arena, listener)?;
                done = session(&arena.read()?)?.1.listeners[listener].items;
                went_on
            }
            Err(_) => {
                let went_on = record(&arena, &text(done))?;
                done += u64::from(went_on);
                went_on
            }
        };
        if !went_on {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn start(role: &str, file: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .args(std::env::args_os().skip(1))
        .env(ROLE, role)
        .env(FILE, file)
        .spawn()
        .expect("this program can be started again")
}

/// Records `items` items, prints the table; whether every listener heard every item once and in order, and all space came back.
#[allow(
    clippy::zombie_processes,
    reason = "after an error the parent ends, and with it its children's entries"
)]
pub(crate) fn run(items: u64) -> Result<bool> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("session.heap");
    let arena = Options::new().durability(Durability::Process).create(&file)?;
    let mut tx = arena.write()?;
    let at = tx.alloc(&Session {
        first: Offset::null(),
        last: Offset::null(),
        recorded: 0,
        recycled: 0,
        planned: items,
        listeners: [Heard::default(); LISTENERS],
    })?;
    tx.set_root(at)?;
    tx.commit()?;
    let before = arena.check()?.counts;

    let heard = |listener: usize| Ok(arena.read()?.get(at)?.listeners[listener].items);
    let mut producer = start("producer", &file);
    let mut listeners: Vec<Option<Child>> =
        (0..LISTENERS).map(|l| (l != LATE).then(|| start(&l.to_string(), &file))).collect();
    let (mut killed, mut most_bytes) = (0, 0);
    let begin = Instant::now();
    while (0..LISTENERS).any(|l| heard(l).is_ok_and(|n: u64| n < items)) {
        std::thread::sleep(Duration::from_millis(100));
        most_bytes = most_bytes.max(arena.stats()?.heap_bytes);
        if let Some(child) = &mut listeners[KILLED]
            && heard(KILLED)? < items
        {
            child.kill().and_then(|()| child.wait()).expect("a child can be killed");
            killed += 1;
            *child = start(&KILLED.to_string(), &file);
        }
        if listeners[LATE].is_none() && begin.elapsed() > Duration::from_millis(500) {
            listeners[LATE] = Some(start(&LATE.to_string(), &file));
        }
    }
    for child in listeners.iter_mut().flatten().chain([&mut producer]) {
        assert!(child.wait().expect("a child can be waited for").success());
    }

    let mut expected = Heard::default();
    (0..items).for_each(|number| expected.hear(number, text(number).as_bytes()));
    let session = *arena.read()?.get(at)?;
    let report = arena.check()?;
    println!("listener           items       bytes");
    for (listener, heard) in session.listeners.iter().enumerate() {
        let what = match listener {
            KILLED => format!("killed {killed}x"),
            LATE => "late".to_owned(),
            _ => String::new(),
        };
        println!("{:>8} {what:<11} {:>7} {:>11}", listener + 1, heard.items, heard.bytes);
    }
    println!("recorded {:>17}, recycled {}", session.recorded, session.recycled);
    println!("heap at most {most_bytes} bytes for {} bytes of text", expected.bytes);
    Ok(session.listeners.iter().all(|heard| *heard == expected)
        && session.recycled == items
        && report.is_clean()
        && report.counts.blocks == before.blocks)
}

fn main() -> Result<()> {
    if let Some(role) = role() {
        return play(&role);
    }
    println!("{}", if run(20_000)? { "complete" } else { "WRONG" });
    Ok(())
}
