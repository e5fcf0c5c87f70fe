//! What an error of the library says to who runs the command: what to do is told in commands and options, not in calls.

use heapfile::Error;
use std::error::Error as Any;

/// A failure as it is told.
pub(crate) fn told(failure: &(dyn Any + 'static)) -> String {
    match library(failure) {
        Some(error) => of_library(error),
        None => failure.to_string(),
    }
}

/// The library's error, which may have passed through one of I/O.
fn library<'a>(failure: &'a (dyn Any + 'static)) -> Option<&'a Error> {
    let inner = || failure.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref();
    failure.downcast_ref().or_else(inner)
}

fn of_library(error: &Error) -> String {
    match error {
        Error::Unfinished { path } => format!(
            "the creation of {} was cut off: remove it, or run `heapfile create` on it, which starts again",
            path.display()
        ),
        Error::NoReflink { path } => format!(
            "the file system cannot share blocks between the arena and {}: without --reflink they are copied",
            path.display()
        ),
        Error::MaxSize { needed, max } => format!(
            "the arena would need {needed} bytes, and this command can map no more than {max}: see `ulimit -v`"
        ),
        Error::Busy { slot: Some(slot), pid: Some(pid), waited } => format!(
            "the arena was locked by process {pid} (slot {slot}) for {waited:?}: try again; `heapfile info` shows what it does"
        ),
        Error::Busy { waited, .. } if !waited.is_zero() => {
            format!("the arena was locked by another process for {waited:?}: try again")
        }
        // What a table or a root leads to: no offset that the user gave.
        Error::BadOffset { offset, .. }
        | Error::OutOfBounds { offset, .. }
        | Error::SizeMismatch { offset, .. } => Error::Corrupt {
            offset: *offset,
            what: "what leads there does not fit the block, or there is none",
        }
        .to_string(),
        Error::TypeMismatch { name, stored, asked } => {
            format!("this arena holds no store: its root {name:?} is {stored}, not {asked}")
        }
        Error::NoSuchRoot { name } => {
            format!("there is no root {name:?}: `heapfile info` lists those there are")
        }
        Error::ReadOnly => "this needs the right to write the arena's file".to_owned(),
        Error::Poisoned { why } => format!(
            "the commit failed half-way ({why}): any command that opens the arena again completes or drops it"
        ),
        Error::SyncFailed => {
            "an earlier sync of this arena failed: run this again, which writes it anew".to_owned()
        }
        Error::Unsynced { path } => format!(
            "{} was not synced before the machine went down: `heapfile check` tells what is sound, `heapfile check --repair` takes it into use again",
            path.display()
        ),
        Error::NoSlot { slots } => {
            format!("all {slots} slots of the arena are taken: end a program that has it open")
        }
        Error::Replaced { path } => {
            format!("{} was replaced, removed or cut while open: run this again", path.display())
        }
        Error::OutsideFile { start, end, len } => {
            format!("bytes {start}..{end} reach outside the file, which has {len} bytes")
        }
        Error::Unordered => {
            "the table is hashed and has no order: give whole keys, or make it without --hashed".to_owned()
        }
        Error::BadOption { option: option @ ("log_size" | "log_align" | "max_size"), value, why } => {
            format!("--{} of {value} is refused: {why}", option.replace('_', "-"))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapfile::OffsetFault;
    use std::time::Duration;

    /// The library's names for what the command has options or other words for.
    const CALLS: [&str; 10] = [
        "accept_unsynced",
        "open it again",
        "open_or_create",
        "lock_timeout",
        "max_size",
        "log_size",
        "refresh",
        "handle",
        "reflinks",
        "`roots`",
    ];

    #[test]
    fn advice_is_in_terms_of_the_command() {
        let (path, option, why) = (std::path::PathBuf::from("a.heap"), "log_size", "why");
        let (slot, pid, waited) = (Some(1), Some(2), Duration::from_secs(1));
        for error in [
            Error::Unfinished { path: path.clone() },
            Error::NoReflink { path: path.clone() },
            Error::MaxSize { needed: 2, max: 1 },
            Error::Busy { slot, pid, waited },
            Error::Busy { slot: None, pid: None, waited },
            Error::NoSuchRoot { name: "r".to_owned() },
            Error::ReadOnly,
            Error::Poisoned { why },
            Error::SyncFailed,
            Error::Unsynced { path: path.clone() },
            Error::NoSlot { slots: 1 },
            Error::Replaced { path },
            Error::OutsideFile { start: 1, end: 2, len: 0 },
            Error::BadOption { option, value: 1, why },
        ] {
            let said = told(&error);
            assert!(
                CALLS.iter().any(|call| error.to_string().contains(call)),
                "{error} needs no other words"
            );
            assert!(!CALLS.iter().any(|call| said.contains(call)), "{said}");
        }
    }

    #[test]
    fn an_error_that_passed_through_io_is_told_like_any() {
        let error = || Error::BadOffset { offset: 7, fault: OffsetFault::Null };
        assert_eq!(told(&std::io::Error::other(error())), told(&error()));
        assert!(told(&error()).starts_with("the file is damaged at offset 0x7: "));
    }
}
