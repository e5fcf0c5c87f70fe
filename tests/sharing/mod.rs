//! What the sharing tests have in common: children of the test binary with pipes to them, arenas whose state shows at a glance.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use heapfile::{Arena, Durability, Error, Locking, Offset, Options, Result, View, WriteTxn};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const BOTH: [Durability; 2] = [Durability::Process, Durability::Power];

/// Longer than anything here takes on a machine that works; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory in memory where there is one: kills leave the same there, and flushes cost nothing.
pub fn dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory can be made")
}

/// Options of a small arena.
pub fn options(durability: Durability) -> Options {
    Options::new().durability(durability).log_size(64 << 10).max_size(256 << 20).lock_timeout(PATIENCE)
}

/// A child of this test binary: the same test, in another role.
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

const ROLE: &str = "SHARING_ROLE";
const FILE: &str = "SHARING_FILE";

/// The role and file of this process, if it is such a child.
pub fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FILE)?.into()))
}

/// The command of a child that runs `test` in `role`.
pub fn command(test: &str, role: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role).env(FILE, file);
    command
}

/// Starts a child that runs `test` in `role`.
pub fn start(test: &str, role: &str, file: &Path) -> Child {
    Child::start(&mut command(test, role, file))
}

/// Starts a child that is killed when it passes a failpoint.
pub fn start_killed_at(test: &str, role: &str, file: &Path, point: &str) -> Child {
    Child::start(command(test, role, file).env("HEAPFILE_FAILPOINT", point))
}

/// Starts a child that stops when it passes a failpoint.
pub fn start_stopped_at(test: &str, role: &str, file: &Path, point: &str) -> Child {
    Child::start(command(test, role, file).env("HEAPFILE_STOPPOINT", point))
}

/// The child's side: tells the parent a line, in one write.
pub fn say(line: &str) {
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).expect("the parent listens");
}

/// The child's side: waits for a line of the parent. The empty line: the parent is gone.
pub fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the parent's pipe can be read");
    line.trim().to_owned()
}

/// The child's side: does nothing more until it is killed.
pub fn wait_for_death() -> ! {
    loop {
        std::thread::park();
    }
}

impl Child {
    pub fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary can be started");
        let output = BufReader::new(process.stdout.take().expect("stdout is a pipe"));
        let input = process.stdin.take();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::<_, std::io::Error>::ok) {
                if let Some(line) = line.strip_prefix('@')
                    && sender.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { process, input, lines }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells the child a line. A child that is gone does not hear it.
    pub fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}");
        }
    }

    /// The next line that the child says.
    #[track_caller]
    pub fn hear(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the child says something")
    }

    /// The next line, which has to be this one.
    #[track_caller]
    pub fn expect(&self, line: &str) {
        assert_eq!(self.hear(), line);
    }

    /// Whether the child says nothing for so long.
    pub fn is_silent_for(&self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the process is a child of this one and was not waited for yet.
        assert_eq!(unsafe { libc::kill(self.process.id() as i32, signal) }, 0);
    }

    /// Stops the child, and waits until it is.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        self.wait_stopped();
    }

    /// State of the child's process, as `ps` shows it.
    fn state(&self) -> Option<char> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        text.rsplit(')').next()?.trim_start().chars().next()
    }

    pub fn is_stopped(&self) -> bool {
        self.state() == Some('T')
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.state(), Some('Z') | None)
    }

    /// Waits until the child is stopped.
    #[track_caller]
    pub fn wait_stopped(&self) {
        eventually("the child stops", || self.is_stopped());
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for the child's end.
    pub fn wait(&mut self) -> ExitStatus {
        self.input = None;
        self.process.wait().expect("the child can be waited for")
    }

    /// Waits for its good end.
    #[track_caller]
    pub fn finish(mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}");
    }

    /// Waits for its death by SIGKILL; when that was known.
    #[track_caller]
    pub fn wait_killed(&mut self) -> Instant {
        let status = self.process.wait().expect("the child can be waited for");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
        Instant::now()
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("the child can be killed");
        self.wait_killed();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Blocks of the table; they lie far from each other, so that one commit changes many places.
pub const CELLS: usize = 24;
type Table = [Offset<[u8]>; CELLS];
/// Words of each block.
const WORDS: usize = 256;

/// Makes the table: blocks of words that all hold the same number, here 0.
pub fn make_table(arena: &Arena) {
    let mut tx = arena.write().expect("a writer");
    let mut table = [Offset::null(); CELLS];
    for cell in &mut table {
        *cell = tx.alloc_zeroed(WORDS as u64 * 8, 8).expect("space");
        // What lies between them keeps the changes apart.
        tx.alloc_zeroed(WORDS as u64 * 8, 8).expect("space");
    }
    let table = tx.alloc(&table).expect("space");
    tx.set_root(table).expect("a root");
    tx.commit().expect("a commit");
}

/// Makes an arena with the table.
pub fn create(path: &Path, options: &Options) -> Arena {
    let arena = options.create(path).expect("the arena can be created");
    make_table(&arena);
    arena
}

/// The number that all words hold; fails where two differ, which is half a commit.
/// The number that all words hold; fails where two differ, which is half a commit.
#[track_caller]
pub fn number(view: &impl View) -> u64 {
    let table =
        view.get(view.root::<Table>().expect("a root").expect("the table is there")).expect("the table");
    let mut found = None;
    for &cell in table {
        for word in view.bytes(cell).expect("a cell").chunks_exact(8) {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            assert_eq!(*found.get_or_insert(word), word, "half a commit can be seen");
        }
    }
    found.expect("there are cells")
}

/// The number in the arena.
#[track_caller]
pub fn read_number(arena: &Arena) -> u64 {
    number(&arena.read().expect("a reader"))
}

/// Sets all words to `to`: a record of some 50 KB, which the small log ring of [`options`] spills, and a longer one does not.
pub fn set_number(tx: &mut WriteTxn<'_>, to: u64) -> Result<()> {
    let table = *tx.get(tx.root::<Table>()?.expect("the table is there"))?;
    for cell in table {
        tx.write_at(cell, 0, &to.to_le_bytes().repeat(WORDS))?;
    }
    Ok(())
}

/// Commits the next number.
pub fn commit_next(arena: &Arena) -> Result<u64> {
    let mut tx = arena.write()?;
    let next = number(&tx) + 1;
    set_number(&mut tx, next)?;
    tx.commit()?;
    Ok(next)
}

/// The check finds nothing.
#[track_caller]
pub fn assert_clean(arena: &Arena) {
    let report = arena.check().expect("the check runs");
    assert!(report.is_clean(), "{:#?}", report.findings);
}

/// The error of a call that waited for others in vain: slot and process that it names.
#[track_caller]
pub fn busy<T>(outcome: Result<T>) -> (Option<u32>, Option<u32>) {
    match outcome.map(drop) {
        Err(Error::Busy { slot, pid, .. }) => (slot, pid),
        other => panic!("Busy is expected, not {other:?}"),
    }
}

/// Waits until one of the arena's handles, other than that of `arena`, is as described.
#[track_caller]
pub fn until_handle(arena: &Arena, what: &str, is: impl Fn(&heapfile::Handle) -> bool) -> heapfile::Handle {
    let mut found = None;
    eventually(what, || {
        found = arena.handles().expect("the handles can be listed").into_iter().find(|h| is(h));
        found.is_some()
    });
    found.expect("it was just found")
}

/// Both ways of locking, to run the same scenario in each.
pub const LOCKINGS: [Locking; 2] = [Locking::Shared, Locking::File];
