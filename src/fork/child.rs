//! Processes that tests fork, and the wait for their end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// `WNOHANG` and `SIGKILL`, which are the same on every Unix that Rust supports.
const NO_HANG: i32 = 1;
const KILL: i32 = 9;

// `std` links the C library anyway, so four functions need no dependency. `pid_t` is an `int` on
// every Unix that Rust supports.
unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn kill(pid: i32, signal: i32) -> i32;
    safe fn _exit(status: i32) -> !;
}

/// Forks a child and returns its id. The child runs `work` and exits with 0 if that returns `true`.
#[track_caller]
pub(crate) fn fork_child(work: impl FnOnce() -> bool) -> i32 {
    // SAFETY: only this thread goes on in the child. It uses the allocator, which the C library
    // makes usable after a fork, and the code under test; it ends by `_exit`.
    let child = unsafe { fork() };
    assert!(child >= 0, "cannot fork");
    if child == 0 {
        let is_success = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
        _exit(i32::from(!is_success));
    }
    child
}

/// Waits until `child` has ended, and returns its status. Kills it if it has not ended after `patience`.
#[track_caller]
pub(crate) fn wait_for(child: i32, patience: Duration) -> i32 {
    let (mut status, end) = (0, Instant::now() + patience);
    loop {
        // SAFETY: `status` is writable, and the child is ours and was not waited for before.
        let waited = unsafe { waitpid(child, &mut status, NO_HANG) };
        if waited == child {
            return status;
        }
        assert_eq!(waited, 0, "cannot wait");
        if Instant::now() > end {
            // SAFETY: the child is ours, and its id is not reused before it is waited for.
            unsafe { kill(child, KILL) };
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
