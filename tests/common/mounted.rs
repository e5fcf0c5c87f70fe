//! File systems made for a test, in a mount namespace of its own.

use super::{child, dir};
use std::process::{Command, Stdio};

/// Runs the test `test` as a child in a mount namespace of its own, after the commands `mount`, which find a directory in `$DISK` and a name for an
/// image in `$IMAGE`. Says so and returns false where that cannot be.
pub fn on_a_disk(test: &str, mount: &str) -> bool {
    let dir = dir();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let child = child(test, "full", &disk);
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", &format!("{mount} || exit 77; exec \"$@\""), "sh"]);
    inside.arg(child.get_program()).args(child.get_args()).stdin(Stdio::null());
    inside.env("DISK", &disk).env("IMAGE", dir.path().join("image"));
    for (name, value) in child.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    let Ok(output) = inside.output() else {
        println!("skipped: there is no `unshare` here");
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // One that a signal ended has begun.
    let has_begun = said.contains("panicked") || matches!(output.status.code(), None | Some(101));
    if !output.status.success() && !has_begun {
        println!("skipped: no file system can be mounted here: {said}");
        return false;
    }
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    true
}
