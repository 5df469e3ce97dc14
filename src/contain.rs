//! Containing panics of user code that is called in the middle of the cache's own work.
#![forbid(unsafe_code)]

use std::panic::{self, AssertUnwindSafe};

/// What `call` returns; `None` if it panics. The caller must be able to go on with whatever state
/// `call` left behind.
pub(crate) fn contain<R>(call: impl FnOnce() -> R) -> Option<R> {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Some(result),
        Err(payload) => {
            // The payload is user data as well: its drop may panic in turn. What that one carries
            // is leaked, or there would be no end.
            if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(again);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_panics_of_their_payloads_end_here() {
        struct Payload;
        impl Drop for Payload {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(contain(|| 1), Some(1));
        assert_eq!(contain(|| panic::panic_any(Payload)), None);
    }
}
