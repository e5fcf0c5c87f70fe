//! Power loss: whatever a power cut leaves of an arena, every acknowledged commit is in it, whole, and nothing else.
//!
//! Seeded random histories run on a simulated disk; at every step of them images are built of what the disk could
//! hold then, and opened. `harness::budget` says how to try more, and how to see a failure again.
//!
//! | file | holds |
//! |---|---|
//! | `harness` | what should be there; histories; judging images; how many; the families of histories |
//! | `cuts` | each family, cut at all its points |
//! | `deaths` | deaths of processes at every point |
//! | `mark` | the mark of a `Process` arena |
//! | `faults` | calls that fail, and the cut after that |
//! | `controls` | each rule of the log left out: the same images show violations |

#[path = "../common/mod.rs"]
mod common;
mod controls;
mod cuts;
mod deaths;
mod faults;
mod harness;
mod mark;
