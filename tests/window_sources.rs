//! What can be opened, and what is refused.
#![cfg(target_os = "linux")]

use heapfile::Error;
use heapfile::window::{Access, Backend, WindowPool};
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::Seek as _;
use std::os::fd::{AsFd as _, OwnedFd};

/// Descriptors of this process on files in a directory.
fn descriptors(dir: &std::path::Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).filter(|to| to.starts_with(dir)).count()
}

fn memfd(bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("window", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&fd, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

#[test]
fn one_file_is_one_descriptor_however_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    std::fs::hard_link(&path, dir.path().join("b")).unwrap();
    let given = File::open(&path).unwrap();
    let pool = WindowPool::builder().window_size(4096).build().unwrap();
    let files = [
        pool.open(&path).unwrap(),
        pool.open(path.to_str().unwrap()).unwrap(),
        pool.open(dir.path().join("b")).unwrap(),
        pool.open(File::open(&path).unwrap()).unwrap(),
        pool.open(given.as_fd()).unwrap(),
    ];
    let windows: Vec<_> =
        (0..20).map(|page| files[page % 5].window(page as u64 * 4096, 1).unwrap()).collect();
    let readers: Vec<_> = files.iter().map(|file| (file.cursor(), file.buffer())).collect();
    assert_eq!(pool.stats().files, 1);
    assert_eq!(pool.stats().windows, 20);
    assert_eq!(descriptors(dir.path()), 2, "that of the pool, and the one that was lent to it");
    drop((windows, readers, files));
    assert_eq!(pool.stats().files, 0);
    assert_eq!(descriptors(dir.path()), 1);
}

#[test]
fn a_borrowed_descriptor_keeps_its_position() {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &[1; 10_000]).unwrap();
    file.seek(std::io::SeekFrom::Start(5)).unwrap();
    let opened = WindowPool::new().open(file.as_fd()).unwrap();
    assert_eq!(opened.count([1], ..).unwrap(), 10_000);
    assert_eq!(opened.data_ranges(..).unwrap().count(), 1);
    assert_eq!(file.stream_position().unwrap(), 5);
    drop(file);
    assert_eq!(opened.get::<u8>(9_999).unwrap(), 1, "it is open for the pool");
}

#[test]
fn a_sealed_memfd_is_mapped_safely_and_an_unsealed_one_is_copied() {
    let pool = WindowPool::builder().window_size(4096).build().unwrap();
    let only_mapped = WindowPool::builder().backend(Backend::Mmap).build().unwrap();
    let bytes: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    for (seals, backend) in [
        (sealed, Backend::Mmap),
        (SealFlags::SHRINK | SealFlags::WRITE, Backend::Mmap),
        (SealFlags::SHRINK, Backend::Pread),
        (SealFlags::WRITE, Backend::Pread),
        (SealFlags::empty(), Backend::Pread),
    ] {
        let fd = memfd(&bytes, seals);
        let file = pool.open(fd.as_fd()).unwrap();
        assert_eq!(file.backend(), backend, "{seals:?}");
        assert_eq!(&file.window(4000, 10_000).unwrap()[..], &bytes[4000..14_000]);
        assert_eq!(
            file.find(&bytes[16_000..16_300], ..).unwrap(),
            bytes.windows(300).position(|w| w == &bytes[16_000..16_300]).map(|at| at as u64)
        );
        assert_eq!(file.buffer().get(19_999).unwrap(), Some(bytes[19_999]));
        match only_mapped.open(fd) {
            Ok(file) => assert_eq!((file.backend(), backend), (Backend::Mmap, Backend::Mmap)),
            Err(e) => assert!(matches!(e, Error::Unsupported { .. }) && backend == Backend::Pread, "{e}"),
        }
    }
}

#[test]
fn a_file_that_nobody_vouches_for_is_refused_with_what_helps() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let told = WindowPool::builder()
        .backend(Backend::Mmap)
        .build()
        .unwrap()
        .open(file.path())
        .unwrap_err()
        .to_string();
    assert!(told.contains("trust_files") && !told.contains("file system"), "{told}");
}

#[test]
fn pipes_sockets_devices_and_directories_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let pool = WindowPool::new();
    let what = |refused: Result<_, Error>| match refused.unwrap_err() {
        Error::NotAFile { what, .. } => what,
        e => panic!("{e}"),
    };
    assert_eq!(what(pool.open(&fifo)), "a pipe");
    assert_eq!(what(pool.open(pipe.as_fd())), "a pipe");
    assert_eq!(what(pool.open(OwnedFd::from(pipe))), "a pipe");
    assert_eq!(what(pool.open(socket.as_fd())), "a socket");
    assert_eq!(what(pool.open("/dev/null")), "a device");
    assert_eq!(what(pool.open(dir.path())), "a directory");
    assert_eq!(what(pool.open(File::open(dir.path()).unwrap())), "a directory");
    assert_eq!(pool.stats().files, 0);
}

#[test]
fn a_descriptor_for_writing_only_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("a")).unwrap();
    assert!(matches!(WindowPool::new().open(file), Err(Error::Io { op: "read", .. })));
}

#[test]
fn without_permission_the_system_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, b"secret").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let refused = std::thread::spawn(move || {
        // The superuser may read all: this thread alone becomes somebody else for files.
        // SAFETY: changes the calling thread's identity for file access and nothing in memory.
        unsafe { libc::setfsuid(65_534) };
        WindowPool::new().open(&path).unwrap_err()
    });
    let refused = refused.join().unwrap();
    assert!(
        matches!(&refused, Error::Io { op: "open", source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{refused}"
    );
}

#[test]
fn advice_changes_no_result() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![5; 300_000]).unwrap();
    let opened = WindowPool::new().open(file.path()).unwrap();
    for access in [Access::Sequential, Access::Random, Access::Auto] {
        opened.advise(access);
        assert_eq!(opened.clone().access(), access, "one file, one advice");
        opened.prefetch(1000..2000).unwrap();
        assert_eq!(opened.count([5], ..).unwrap(), 300_000);
        assert_eq!(opened.buffer().get(299_999).unwrap(), Some(5));
    }
    assert!(opened.prefetch(..300_001).is_err());
}

/// The system says that it has no bytes, and gives some.
#[test]
fn a_file_of_unknown_length_is_refused() {
    let refused = WindowPool::new().open("/proc/self/status").unwrap_err();
    assert!(matches!(refused, Error::NotAFile { .. }), "{refused}");
}
