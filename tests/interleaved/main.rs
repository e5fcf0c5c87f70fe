//! What one handle does in the middle, or after a failure, of what another does.

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod side;
mod steps;
