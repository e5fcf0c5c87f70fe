//! Arenas without a name: memory that is handed on by fork, by inheritance and over a socket; and one in `/dev/shm`.

mod sharing;

use heapfile::{Arena, Durability, Error, Offset, Options, View};
use sharing::*;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

fn patient() -> Options {
    options(Durability::Process)
}

/// The descriptor stays open across `exec`, under the same number.
fn inherit(fd: &OwnedFd) -> RawFd {
    // SAFETY: plain system calls on a descriptor that is open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flags & !libc::FD_CLOEXEC) }, 0);
    fd.as_raw_fd()
}

#[test]
fn by_inheritance() {
    const TEST: &str = "by_inheritance";
    if let Some((role, _)) = role() {
        // SAFETY: the parent left this descriptor open for this process, and nobody here owns it yet.
        let fd = unsafe { OwnedFd::from_raw_fd(role.parse().expect("a descriptor")) };
        let arena = patient().open_descriptor(&fd).expect("it opens");
        drop(fd);
        for _ in 0..100 {
            commit_next(&arena).expect("a commit");
        }
        say("committed");
        listen();
        let _tx = arena.write().expect("a writer");
        say("owns");
        listen();
        return;
    }
    for locking in LOCKINGS {
        let arena = patient().locking(locking).create_anonymous().expect("memory");
        assert_eq!((arena.durability(), arena.locking()), (Durability::Process, locking));
        make_table(&arena);
        let fd = arena.share().expect("a descriptor");
        let file = std::path::Path::new("none");
        let mut child = start(TEST, &inherit(&fd).to_string(), file);
        let mut other = start(TEST, &inherit(&fd).to_string(), file);
        for _ in 0..100 {
            commit_next(&arena).expect("a commit");
        }
        child.expect("committed");
        other.expect("committed");
        assert_eq!(read_number(&arena), 300);
        for child in [&mut child, &mut other] {
            child.tell("own");
            child.expect("owns");
            child.kill();
        }
        assert_eq!(commit_next(&arena).expect("the owner is dead"), 301);
        assert_clean(&arena);
    }
}

#[test]
fn by_fork() {
    const TEST: &str = "by_fork";
    if role().is_some() {
        let arena = patient().create_anonymous().expect("memory");
        make_table(&arena);
        let fd = arena.share().expect("a descriptor");
        // SAFETY: this process has one thread beside the harness's, which waits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let outcome = std::panic::catch_unwind(|| {
                let arena = patient().open_descriptor(&fd).expect("the child opens it");
                commit_next(&arena).expect("a commit");
            });
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        let mut status = 0;
        // SAFETY: waits for a child of this process, with a place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!((status, read_number(&arena)), (0, 1));
        return assert_clean(&arena);
    }
    start(TEST, "fork", std::path::Path::new("none")).finish();
}

/// Sends a descriptor along with one byte.
fn send(socket: &UnixStream, fd: BorrowedFd<'_>) {
    with_message(|message, control| {
        // SAFETY: `control` is large enough for one header and one descriptor, as `with_message` made it.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd.as_raw_fd());
            assert_eq!(libc::sendmsg(socket.as_raw_fd(), message, 0), 1, "{}", control.len());
        }
    });
}

fn receive(socket: &UnixStream) -> OwnedFd {
    let mut fd = -1;
    with_message(|message, control| {
        // SAFETY: as in `send`; the kernel filled the header in.
        unsafe {
            let flags = libc::MSG_CMSG_CLOEXEC;
            assert_eq!(libc::recvmsg(socket.as_raw_fd(), message, flags), 1, "{}", control.len());
            fd = libc::CMSG_DATA(libc::CMSG_FIRSTHDR(message)).cast::<i32>().read_unaligned();
        }
    });
    // SAFETY: a descriptor that the kernel just made for this process.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn with_message(call: impl FnOnce(*mut libc::msghdr, &[u64])) {
    let (mut byte, mut control) = ([7u8], [0u64; 8]);
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: a C struct of integers and pointers, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: computes a length.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    call(&mut message, &control);
}

#[test]
fn over_a_socket() {
    const TEST: &str = "over_a_socket";
    if let Some((_, path)) = role() {
        let socket = UnixStream::connect(path).expect("the parent listens");
        let arena = patient().open_descriptor(receive(&socket)).expect("it opens");
        commit_next(&arena).expect("a commit");
        // And back: what this process made outlives it in the other one.
        let own = patient().create_anonymous().expect("memory");
        make_table(&own);
        commit_next(&own).expect("a commit");
        use std::os::fd::AsFd;
        return send(&socket, own.share().expect("a descriptor").as_fd());
    }
    let dir = dir();
    let path = dir.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let arena = patient().create_anonymous().expect("memory");
    make_table(&arena);
    let child = start(TEST, "receive", &path);
    let (socket, _) = listener.accept().expect("the child connects");
    use std::os::fd::AsFd;
    send(&socket, arena.share().expect("a descriptor").as_fd());
    let other = patient().open_descriptor(receive(&socket)).expect("it opens");
    child.finish();
    assert_eq!((read_number(&arena), read_number(&other)), (1, 1));
    assert_eq!(commit_next(&other).expect("a commit"), 2);
    assert_clean(&other);
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let (read, _write) = std::io::pipe().expect("a pipe");
    assert!(matches!(patient().open_descriptor(&read), Err(Error::NotAFile { .. } | Error::Io { .. })));
    let memory = tempfile::tempfile().expect("a file");
    assert!(matches!(patient().open_descriptor(&memory), Err(Error::Unfinished { .. })));
}

#[test]
fn in_shared_memory() {
    const TEST: &str = "in_shared_memory";
    if let Some((_, file)) = role() {
        let arena = Options::new().lock_timeout(PATIENCE).open(&file).expect("it opens");
        for _ in 0..200 {
            commit_next(&arena).expect("a commit");
        }
        return;
    }
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        return println!("skipped: there is no /dev/shm");
    };
    let file = dir.path().join("a.heap");
    let arena = create(&file, &patient());
    let children: Vec<Child> = (0..3).map(|_| start(TEST, "commit", &file)).collect();
    children.into_iter().for_each(Child::finish);
    assert_eq!(read_number(&arena), 600);
    let tx = arena.read().expect("a reader");
    assert!(tx.get(Offset::<u64>::from_raw(8)).is_err());
    drop(tx);
    assert_clean(&arena);
}

#[test]
fn it_lives_as_long_as_a_handle_or_descriptor() {
    let arena: Arena = patient().create_anonymous().expect("memory");
    make_table(&arena);
    let fd = arena.share().expect("a descriptor");
    drop(arena);
    let arena = patient().open_descriptor(&fd).expect("the descriptor keeps it");
    assert_eq!(commit_next(&arena).expect("a commit"), 1);
    let other = patient().open_descriptor(arena.share().expect("a descriptor")).expect("it opens");
    drop(arena);
    assert_eq!(read_number(&other), 1);
}
