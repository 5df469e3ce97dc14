//! Containing panics of user code that is called in the middle of the cache's own work.
#![forbid(unsafe_code)]

use std::any::Any;
#[cfg(not(larder_loom))]
use std::panic::{self, AssertUnwindSafe};

/// The payload of a panic: user data, whose drop may panic or call the cache.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls `call`, and returns its result or the payload of its panic. The caller must be able to go on with
/// any state that `call` leaves behind.
#[cfg(not(larder_loom))]
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, Payload> {
    panic::catch_unwind(AssertUnwindSafe(call))
}

/// Under loom panics are not caught, because they report failures of the model.
#[cfg(larder_loom)]
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, Payload> {
    Ok(call())
}

/// Calls `call`, and returns its result, or `None` if it panics. Drops the payload, which may run user
/// code.
pub(crate) fn contain<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch(call).map_err(|payload| discard([payload])).ok()
}

/// Drops the payloads of panics.
pub(crate) fn discard(payloads: impl IntoIterator<Item = Payload>) {
    for payload in payloads {
        if let Err(again) = catch(|| drop(payload)) {
            // Leaked, because its drop may panic again, without end.
            std::mem::forget(again);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_panics_of_their_payloads_end_here() {
        struct PanicsWhenDropped;
        impl Drop for PanicsWhenDropped {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(contain(|| 1), Some(1));
        assert_eq!(contain(|| panic::panic_any(PanicsWhenDropped)), None);
    }
}
