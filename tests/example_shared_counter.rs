//! The example `shared_counter`, run as a test.

#[allow(dead_code, reason = "main is the example's")]
#[path = "../examples/shared_counter.rs"]
mod shared_counter;

use std::time::Duration;

#[test]
fn shared_counter_counts_exactly() {
    if let Some(worker) = shared_counter::worker() {
        return shared_counter::count(worker).expect("the worker goes on");
    }
    let exact = shared_counter::run(Duration::from_millis(1200), Duration::from_millis(150));
    assert!(exact.expect("the parent goes on"));
}
