//! The example `session_log`, run as a test.

#[allow(dead_code, reason = "main is the example's")]
#[path = "../examples/session_log.rs"]
mod session_log;

#[test]
fn session_log_is_heard_whole() {
    if let Some(role) = session_log::role() {
        return session_log::play(&role).expect("the child goes on");
    }
    assert!(session_log::run(1500).expect("the parent goes on"));
}
