//! Open-file-description locks on bytes of the file: they live exactly as long as the description that took them, whatever
//! happens to the process, and the kernel answers truly across PID namespaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

fn lock_request(kind: libc::c_int, offset: u64, len: u64) -> libc::flock {
    // SAFETY: a C struct of integers, for which all zeros is a value.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = offset as libc::off_t;
    request.l_len = len as libc::off_t;
    request
}

fn fcntl(fd: BorrowedFd<'_>, command: libc::c_int, request: &mut libc::flock) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open for the duration of the borrow, `request` is a valid `flock` that the call may
        // write to; `l_pid` is 0 as these commands ask.
        if unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_mut(request)) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Tries to lock bytes for this description; `false` if another has them.
pub(super) fn try_lock(fd: BorrowedFd<'_>, offset: u64, len: u64, exclusive: bool) -> io::Result<bool> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    match fcntl(fd, libc::F_OFD_SETLK, &mut lock_request(kind, offset, len)) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Releases bytes.
pub(super) fn unlock(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    fcntl(fd, libc::F_OFD_SETLK, &mut lock_request(libc::F_UNLCK, offset, len))
}

/// Whether another description holds an exclusive lock on any of the bytes. Shared ones do not count: who may only read the file can
/// take those.
pub(super) fn is_locked(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
    conflicts(fd, libc::F_RDLCK, offset, len)
}

/// Whether another description holds a lock of any kind on any of the bytes.
pub(super) fn is_shared(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
    conflicts(fd, libc::F_WRLCK, offset, len)
}

fn conflicts(fd: BorrowedFd<'_>, kind: libc::c_int, offset: u64, len: u64) -> io::Result<bool> {
    let mut request = lock_request(kind, offset, len);
    fcntl(fd, libc::F_OFD_GETLK, &mut request)?;
    Ok(request.l_type != libc::F_UNLCK as libc::c_short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::fd::AsFd;

    #[test]
    fn locks_belong_to_descriptions() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
        let (a, b) = (open(), open());
        assert!(try_lock(a.as_fd(), 7, 1, true).unwrap());
        assert!(!try_lock(b.as_fd(), 7, 1, true).unwrap());
        assert!(is_locked(b.as_fd(), 0, 100).unwrap() && !is_locked(a.as_fd(), 0, 100).unwrap());
        assert!(try_lock(b.as_fd(), 8, 1, true).unwrap());
        unlock(a.as_fd(), 7, 1).unwrap();
        assert!(try_lock(b.as_fd(), 7, 1, false).unwrap());
        assert!(is_locked(a.as_fd(), 0, 100).unwrap(), "byte 8");
        unlock(b.as_fd(), 8, 1).unwrap();
        assert!(!is_locked(a.as_fd(), 0, 100).unwrap() && is_shared(a.as_fd(), 0, 100).unwrap());
        drop(b);
        assert!(!is_locked(a.as_fd(), 0, 100).unwrap());
    }
}
