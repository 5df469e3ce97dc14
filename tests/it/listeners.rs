//! What listeners are notified of, when, in which order, and what they may do.

mod queued;
mod atomic;
mod nesting;
