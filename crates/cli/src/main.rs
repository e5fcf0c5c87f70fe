//! The command `heapfile`.
fn main() {}
