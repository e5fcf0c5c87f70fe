//! Power loss: whatever a power cut leaves of an arena, every acknowledged commit is in it, whole, and nothing else.
//!
//! Seeded random histories run on a simulated disk; at every step of them images are built of what the disk could
//! hold then, and opened. `budget` says how to try more, and how to see a failure again.
//!
//! | file | holds |
//! |---|---|
//! | `model`, `recording`, `oracle`, `budget` | what should be there; histories; judging images; how many |
//! | `whole` | cuts anywhere in the life of a `Power` arena |
//! | `create`, `recovery` | cuts during creation, and during recovery from a cut |
//! | `process` | cuts of a `Process` arena, with syncs |
//! | `killed`, `handles` | deaths of processes before the cut; several handles |
//! | `faults` | calls that fail, and the cut after that |
//! | `store` | the same for the tables of a store |
//! | `controls` | each rule of the log left out: the same images show violations |

mod budget;
mod controls;
mod create;
mod faults;
mod handles;
mod killed;
mod model;
#[path = "../common/objects.rs"]
mod objects;
mod oracle;
mod process;
mod recording;
mod recovery;
mod store;
mod whole;
