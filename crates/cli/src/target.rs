//! Files that a command is told to make: never the arena that it works with, and whole or not at all.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Why a target is refused that is the arena: under whatever name, it would be lost.
pub(crate) fn refused(target: &Path, arena: &Path) -> Option<String> {
    let key = |path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let key_of_arena = key(arena)?;
    (key(target) == Some(key_of_arena))
        .then(|| format!("{} is the arena itself: give another name", target.display()))
}

/// Makes a file, or puts it in the place of the one that is there, which stays as it was if that fails. What is no regular file is written to as it is: a device, a pipe, and a link,
/// which may lead to what others have open, as /dev/stdout does.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let permissions = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {
            // A rename asks only whether the directory may be written.
            File::options().write(true).open(path)?;
            Some(found.permissions())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        _ => return std::fs::write(path, bytes),
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let made = tempfile::Builder::new()
        .prefix(".heapfile-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory.unwrap_or(Path::new(".")));
    let mut new = match made {
        Err(e) if permissions.is_some() && e.kind() == ErrorKind::PermissionDenied => {
            return std::fs::write(path, bytes);
        }
        made => made?,
    };
    new.write_all(bytes)?;
    if let Some(permissions) = permissions {
        new.as_file().set_permissions(permissions)?;
    }
    new.persist(path)?;
    Ok(())
}
