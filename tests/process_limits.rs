//! Limits of the process, and signals: address space, descriptors, file length; calls that are interrupted. Each is an error that says so, or is
//! seen to; nothing is changed by it. The limits hold for a whole process, so each test runs in a child.

mod common;

use common::script::{self, Script};
use common::{BOTH, assert_clean, bytes, child, dir, role, small};
use heapfile::{Arena, Error, Options, SnapshotOptions, View};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// Runs the test again in a child of its own, once.
fn alone(test: &str, work: fn(&Path)) {
    if let Some((_, path)) = role() {
        return work(&path);
    }
    let dir = dir();
    let output = child(test, "alone", &dir.path().join("a.heap")).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

fn limit(resource: Resource, to: u64) -> Rlimit {
    let before = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(to), maximum: before.maximum }).unwrap();
    before
}

fn code(outcome: heapfile::Result<Arena>) -> Option<i32> {
    match outcome {
        Err(Error::Io { source, .. }) => source.raw_os_error(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn little_address_space() {
    alone("little_address_space", |path| {
        for durability in BOTH {
            let options = Options::new().durability(durability).log_size(64 << 10);
            script::begin(&options.create(path).unwrap()).unwrap();
            // Less than the default asks for: half of it, and half again, until it fits.
            let before = limit(Resource::As, 6 << 30);
            let arena = options.open(path).unwrap();
            let max = arena.stats().unwrap().max_bytes;
            assert!((1 << 30..6 << 30).contains(&max), "{max}");
            script::play(&arena).unwrap();
            drop(arena);
            // Not even the least.
            setrlimit(Resource::As, Rlimit { current: Some(600 << 20), ..before }).unwrap();
            assert_eq!(code(options.open(path)), Some(libc::ENOMEM));
            assert_eq!(code(options.open_read_only(path)), Some(libc::ENOMEM));
            // The message says what helps, and that does.
            let told = options.open(path).unwrap_err().to_string();
            assert!(told.contains("a smaller max_size"), "{told}");
            drop(options.clone().max_size(64 << 20).open(path).unwrap());
            setrlimit(Resource::As, before).unwrap();
            let arena = options.open(path).unwrap();
            Script::after(1).assert_in(&arena);
            assert_eq!(arena.handles().unwrap().len(), 1, "no slot was left taken");
            drop(arena);
            std::fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn few_descriptors() {
    alone("few_descriptors", |path| {
        let first = small(BOTH[0]).create(path).unwrap();
        script::begin(&first).unwrap();
        let before = limit(Resource::Nofile, 40);
        let mut handles = Vec::new();
        let refused = loop {
            match Arena::open(path) {
                Ok(arena) => handles.push(arena),
                other => break other,
            }
        };
        assert_eq!(code(refused), Some(libc::EMFILE));
        assert_eq!(code(Arena::create(path.with_extension("b"))), Some(libc::EMFILE));
        assert!(handles.len() > 5);
        // What is open goes on, growth and all, and no slot is lost.
        for _ in 0..10 {
            script::play(&first).unwrap();
        }
        Script::after(10).assert_in(&handles[3]);
        assert_eq!(first.handles().unwrap().len(), handles.len() + 1);
        handles.pop();
        handles.push(Arena::open(path).unwrap());
        setrlimit(Resource::Nofile, before).unwrap();
        assert_clean(&Arena::open(path).unwrap());
    });
}

/// A file that may not grow: a write over the limit is a short one, then `EFBIG`.
#[test]
fn a_short_file() {
    alone("a_short_file", |path| {
        // SAFETY: the signal that comes with it is to be ignored, not to end the process.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        for durability in BOTH {
            let arena = small(durability).create(path).unwrap();
            let kept = arena.alloc_bytes(&bytes(1, 30_000)).unwrap();
            let length = std::fs::metadata(path).unwrap().len();
            let before = limit(Resource::Fsize, length + 5_000);
            let refused = arena.alloc_bytes(&bytes(2, 3 << 20));
            assert!(
                matches!(refused, Err(Error::TooLarge { .. } | Error::NoSpace { .. } | Error::Io { .. })),
                "{refused:?}"
            );
            assert_clean(&arena);
            assert!(arena.read().unwrap().bytes(kept).unwrap() == bytes(1, 30_000));
            arena.free(kept).unwrap();
            setrlimit(Resource::Fsize, before).unwrap();
            arena.alloc_bytes(&bytes(2, 3 << 20)).unwrap();
            assert_clean(&arena);
            drop(arena);
            std::fs::remove_file(path).unwrap();
        }
        // A creation that finds no room is an error, and can be done again.
        let before = limit(Resource::Fsize, 100_000);
        assert!(small(BOTH[0]).create(path).is_err());
        setrlimit(Resource::Fsize, before).unwrap();
        assert_clean(&small(BOTH[0]).open_or_create(path).unwrap());
    });
}

/// Growth by more than is needed comes down to what is needed, up to the last pages, and never asks for so much that a signal ends the process.
#[test]
fn growth_takes_what_the_limit_of_a_file_leaves() {
    alone("growth_takes_what_the_limit_of_a_file_leaves", |path| {
        for durability in BOTH {
            let arena = small(durability).create(path).unwrap();
            let length = || std::fs::metadata(path).unwrap().len();
            let most = length() + 200_000;
            let before = limit(Resource::Fsize, most);
            let mut blocks = Vec::new();
            let refused = loop {
                match arena.alloc_bytes(&bytes(blocks.len() as u64, 8_000)) {
                    Ok(block) => blocks.push(block),
                    Err(e) => break e,
                }
            };
            assert!(matches!(refused, Error::TooLarge { max, .. } if max == most), "{refused}");
            // A slab takes sixteen pages.
            assert!((most - 18 * 4096..=most).contains(&length()), "{} of {most}", length());
            // What has room goes on.
            arena.free(blocks.pop().unwrap()).unwrap();
            blocks.push(arena.alloc_bytes(&bytes(blocks.len() as u64, 8_000)).unwrap());
            arena.shrink().unwrap();
            assert_clean(&arena);
            for (n, &block) in blocks.iter().enumerate() {
                assert!(arena.read().unwrap().bytes(block).unwrap() == bytes(n as u64, 8_000));
            }
            setrlimit(Resource::Fsize, before).unwrap();
            arena.alloc_bytes(&bytes(2, 3 << 20)).unwrap();
            assert_clean(&arena);
            drop(arena);
            std::fs::remove_file(path).unwrap();
        }
    });
}

/// Copies too: an error, and no file is left.
#[test]
fn copies_stay_within_the_limit_of_a_file() {
    alone("copies_stay_within_the_limit_of_a_file", |path| {
        let to = path.with_extension("copy");
        for durability in BOTH {
            let arena = small(durability).create(path).unwrap();
            let kept = arena.alloc_bytes(&bytes(1, 3 << 20)).unwrap();
            let most = 2 << 20;
            let before = limit(Resource::Fsize, most);
            let refused = |outcome: Error| match outcome {
                Error::TooLarge { max, .. } => assert_eq!(max, most),
                other => panic!("{other:?}"),
            };
            refused(arena.snapshot(&to, &SnapshotOptions::new()).unwrap_err());
            match arena.snapshot(&to, &SnapshotOptions::new().reflink(true)).unwrap_err() {
                Error::NoReflink { .. } => {}
                other => refused(other),
            }
            drop(arena);
            refused(Arena::salvage(path, &to).unwrap_err());
            assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
            setrlimit(Resource::Fsize, before).unwrap();
            Arena::salvage(path, &to).unwrap();
            assert!(Arena::open(&to).unwrap().read().unwrap().bytes(kept).unwrap() == bytes(1, 3 << 20));
            std::fs::remove_file(&to).unwrap();
            std::fs::remove_file(path).unwrap();
        }
    });
}

extern "C" fn nothing(_signal: libc::c_int) {}

/// Signals all the time, whose handler does not ask for calls to be started again: waiting for locks, flushing and writing go on.
#[test]
fn interrupted_all_the_time() {
    alone("interrupted_all_the_time", |path| {
        // SAFETY: the handler does nothing; the structures are made of integers, for which zeros are values.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()), 0);
            let every = libc::timeval { tv_sec: 0, tv_usec: 150 };
            let timer = libc::itimerval { it_interval: every, it_value: every };
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()), 0);
        }
        for durability in BOTH {
            for locking in [heapfile::Locking::Shared, heapfile::Locking::File] {
                let options = small(durability).locking(locking);
                script::begin(&options.create(path).unwrap()).unwrap();
                std::thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| {
                            let arena = options.open(path).unwrap();
                            for i in 0..10 {
                                script::play(&arena).unwrap();
                                match i % 4 {
                                    0 => arena.checkpoint().unwrap(),
                                    1 => arena.sync().unwrap(),
                                    2 => drop(arena.shrink().unwrap()),
                                    _ => drop(options.open(path).unwrap()),
                                }
                            }
                        });
                    }
                });
                let arena = options.open(path).unwrap();
                Script::after(30).assert_in(&arena);
                assert_clean(&arena);
                drop(arena);
                std::fs::remove_file(path).unwrap();
            }
        }
    });
}
