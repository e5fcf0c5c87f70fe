//! Power loss: whatever a power cut leaves of an arena, every acknowledged commit is in it, whole, and nothing else.
//!
//! Seeded random histories run on a simulated disk; at every step of them images are built of what the disk could
//! hold then, and opened. `budget` says how to try more, and how to see a failure again.

mod budget;
mod controls;
mod model;
mod oracle;
mod recording;
mod whole;
